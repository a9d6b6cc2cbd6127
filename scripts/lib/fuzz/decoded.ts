/** What every target that hears messages begins with. */
import { bytesToHex } from '@noble/hashes/utils.js';
import { DecodeError, decodeMessage, type FactoryEnvelope } from '../../../blip/index.js';

/** undefined: refused, as it should be; anything else that is thrown is a finding. */
export const decoded = (bytes: Uint8Array): FactoryEnvelope | undefined => {
  try {
    return decodeMessage(bytesToHex(bytes));
  } catch (error) {
    if (error instanceof DecodeError) return undefined;
    throw error;
  }
};
