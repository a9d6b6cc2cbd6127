/**
 * The BIP-341 message written down from the BIP's text, to compare ours with. SIGHASH_DEFAULT, no annex. It is itself
 * tested against the BIP's vectors.
 */
import { schnorr } from '@noble/curves/secp256k1.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex, concatBytes, hexToBytes } from '@noble/hashes/utils.js';

export interface Spent {
  readonly amount: bigint;
  readonly script: string;
}
export interface Signed {
  readonly version: number;
  readonly lockTime: number;
  readonly inputs: readonly { readonly txid: string; readonly vout: number; readonly sequence: number }[];
  readonly outputs: readonly Spent[];
}

const le = (value: bigint | number, bytes: number): Uint8Array =>
  Uint8Array.from({ length: bytes }, (_, i) => Number((BigInt(value) >> BigInt(8 * i)) & 0xffn));
const withLength = (script: string): Uint8Array => {
  const bytes = hexToBytes(script);
  if (bytes.length > 252) throw new RangeError('short scripts only');
  return concatBytes(le(bytes.length, 1), bytes);
};

/** @param leaf a tapscript spent by its path (BIP 342), instead of the key */
export const bip341Message = (tx: Signed, spent: readonly Spent[], index: number, leaf?: string): string => {
  const tagged = schnorr.utils.taggedHash;
  const message = concatBytes(
    le(0, 1), // hash_type
    le(tx.version, 4),
    le(tx.lockTime, 4),
    sha256(concatBytes(...tx.inputs.map((i) => concatBytes(hexToBytes(i.txid).reverse(), le(i.vout, 4))))),
    sha256(concatBytes(...spent.map((s) => le(s.amount, 8)))),
    sha256(concatBytes(...spent.map((s) => withLength(s.script)))),
    sha256(concatBytes(...tx.inputs.map((i) => le(i.sequence, 4)))),
    sha256(concatBytes(...tx.outputs.map((o) => concatBytes(le(o.amount, 8), withLength(o.script))))),
    le(leaf === undefined ? 0 : 2, 1), // spend_type
    le(index, 4),
    ...(leaf === undefined ? [] : [tagged('TapLeaf', le(0xc0, 1), withLength(leaf)), le(0, 1), le(0xffffffff, 4)]),
  );
  return bytesToHex(tagged('TapSighash', le(0, 1), message));
};
