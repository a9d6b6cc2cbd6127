/** What the BIP-327 vector files look like, and helpers to run them. */
import { bytesToHex, hexToBytes } from '@noble/hashes/utils.js';
import { vectorJson } from '../../../blip/test/published-vectors.js';
import { MusigError, type MusigErrorCode } from '../errors.js';
import { applyTweak, keyAgg, type KeyAggContext } from '../key-agg.js';

export interface VectorError {
  readonly type: 'invalid_contribution' | 'value';
  readonly signer?: number | null;
  readonly contrib?: 'pubkey' | 'pubnonce' | 'aggnonce' | 'aggothernonce' | 'psig';
  readonly message?: string;
}

export interface TweakCase {
  readonly tweak_indices?: readonly number[];
  readonly is_xonly?: readonly boolean[];
}

/** A vector file; the test says what it looks like. */
export const vectors = (name: string): unknown => vectorJson(`bip327/${name}_vectors.json`);

export const bytes = (hex: string): Uint8Array => hexToBytes(hex);
export const upper = (value: Uint8Array): string => bytesToHex(value).toUpperCase();
export const pick = (list: readonly string[], indices: readonly number[]): readonly Uint8Array[] =>
  indices.map((i) => bytes(list[i]!));

/** KeyAgg, then the tweaks in order. */
export const contextOf = (
  keys: readonly Uint8Array[],
  tweaks: readonly Uint8Array[] = [],
  isXonly: readonly boolean[] = [],
): KeyAggContext => tweaks.reduce((context, tweak, i) => applyTweak(context, tweak, isXonly[i]!), keyAgg(keys));

/** The MusigError of a call that must throw one. */
export const refusal = (call: () => unknown): MusigError => {
  try {
    call();
  } catch (error) {
    if (error instanceof MusigError) return error;
    throw error;
  }
  throw new Error('was accepted');
};

const CONTRIBUTION: Readonly<Record<NonNullable<VectorError['contrib']>, MusigErrorCode>> = {
  pubkey: 'bad_key',
  pubnonce: 'bad_nonce',
  aggnonce: 'bad_aggregate_nonce',
  aggothernonce: 'bad_nonce',
  psig: 'bad_partial',
};
const VALUE: Readonly<Record<string, MusigErrorCode>> = {
  'The tweak must be less than n.': 'bad_tweak',
  'The result of tweaking cannot be infinity.': 'infinity',
  "The signer's pubkey must be included in the list of pubkeys.": 'not_a_signer',
  'first secnonce value is out of range.': 'bad_secret',
};

/** Code and culprit's index that a vector's error stands for here. */
export const expectedError = (error: VectorError): { readonly code: MusigErrorCode; readonly index: number | undefined } => {
  const code = error.contrib === undefined ? VALUE[error.message ?? ''] : CONTRIBUTION[error.contrib];
  if (code === undefined) throw new Error(`a vector error without a code here: ${JSON.stringify(error)}`);
  return { code, index: error.signer ?? undefined };
};
