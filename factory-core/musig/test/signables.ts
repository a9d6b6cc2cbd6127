/** Signables to sign in tests: of any signers, without a real transaction behind them. */
import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex, utf8ToBytes } from '@noble/hashes/utils.js';
import { type Hex, hex, type PubKey, sat, script, txid } from '../../../blip/brands.js';
import type { Signable } from '../../model.js';
import { aggregateKeys, createSigner, type Signer } from '../index.js';

export const hashOf = (text: string): string => bytesToHex(sha256(utf8ToBytes(text)));

/** A source of "random" bytes that is the same in each run and never repeats itself. */
export const countingRandom = (seed: string): ((n: number) => Uint8Array) => {
  let count = 0;
  return (n) => sha256(utf8ToBytes(`${seed}/${count++}`)).slice(0, n);
};

export const secretOf = (name: string): Uint8Array => sha256(utf8ToBytes(`secret of ${name}`));
export const signerOf = (name: string): Signer => createSigner(secretOf(name), countingRandom(name));
export const signersOf = (count: number, name = 'signer'): readonly Signer[] =>
  Array.from({ length: count }, (_, i) => signerOf(`${name} ${i}`));

/** A signable of these signers; `name` decides txid and sighash. */
export const signableOf = (signers: readonly PubKey[], name = 'a transaction', merkleRoot?: Hex): Signable => ({
  purpose: 'split',
  tx: {
    version: 3,
    lockTime: 0,
    sequence: 0xfffffffe,
    prevout: {
      outpoint: { txid: txid(hashOf(`funding of ${name}`), 'txid'), vout: 0 },
      amount: sat(100_000n),
      script: aggregateKeys(signers, merkleRoot).script,
    },
    outputs: [{ amount: sat(99_000n), script: script('51024e73'), role: { kind: 'anchor' } }],
  },
  txid: txid(hashOf(`txid of ${name}`), 'txid'),
  sighash: hex(hashOf(`sighash of ${name}`)),
  signers,
  ...(merkleRoot === undefined ? {} : { merkleRoot }),
  vsize: 100,
  fee: sat(1_000n),
});
