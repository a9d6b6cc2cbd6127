/**
 * Transactions as bytes: serialisation, txid and BIP-341 message, over `@scure/btc-signer`'s coders.
 */
import { hex as hexCoder } from '@scure/base';
import { RawOldTx, RawTx } from '@scure/btc-signer/script.js';
import { SigHash, Transaction } from '@scure/btc-signer/transaction.js';
import { sha256x2 } from '@scure/btc-signer/utils.js';
import { hex, txid, type Hex, type Outpoint, type Sat, type SchnorrSignature, type Script, type Txid } from '../blip/brands.js';
import type { Prevout, SignedTx, UnsignedTx } from './model.js';

/** What serialisation needs of an output; `UnsignedTx` outputs carry their role besides. */
export interface PlainOutput {
  readonly amount: Sat;
  readonly script: Script;
}
/** What serialisation needs of a transaction with one input. */
export interface PlainTx extends Omit<UnsignedTx, 'outputs'> {
  readonly outputs: readonly PlainOutput[];
}

const EMPTY = new Uint8Array();

/** Hex to bytes, by the library; our brands have checked the form. */
export const bytesOf = (value: string): Uint8Array => hexCoder.decode(value);
export const hexOf = (bytes: Uint8Array): Hex => hex(hexCoder.encode(bytes));

/** What serialisation needs of an input. */
export interface PlainInput {
  readonly outpoint: Outpoint;
  readonly sequence: number;
}

/** A transaction without witness, as the library's coders take it. */
export const rawUnsigned = (version: number, lockTime: number, inputs: readonly PlainInput[], outputs: readonly PlainOutput[]) => ({
  version,
  inputs: inputs.map(({ outpoint, sequence }) => ({
    // Txids are shown in reverse byte order; the coder turns them round.
    txid: bytesOf(outpoint.txid),
    index: outpoint.vout,
    finalScriptSig: EMPTY,
    sequence,
  })),
  outputs: outputs.map(({ amount, script }) => ({ amount, script: bytesOf(script) })),
  lockTime,
});
export type RawUnsigned = ReturnType<typeof rawUnsigned>;

const rawOf = (tx: PlainTx): RawUnsigned =>
  rawUnsigned(tx.version, tx.lockTime, [{ outpoint: tx.prevout.outpoint, sequence: tx.sequence }], tx.outputs);

/** Double SHA-256 of the serialisation without witness, in display order (BIP 141). */
export const rawTxid = (raw: RawUnsigned): Txid => txid(hexCoder.encode(sha256x2(RawOldTx.encode(raw)).reverse()));
export const txidOf = (tx: PlainTx): Txid => rawTxid(rawOf(tx));

/** The whole transaction, with one witness stack per input; all of them empty gives the form without witness (BIP 144). */
export const rawHex = (raw: RawUnsigned, witnesses: readonly (readonly Hex[])[]): Hex =>
  hexOf(
    witnesses.every((stack) => stack.length === 0)
      ? RawOldTx.encode(raw)
      : RawTx.encode({ ...raw, segwitFlag: true, witnesses: witnesses.map((stack) => stack.map(bytesOf)) }),
  );
/** A script of a script tree that an input is spent by, instead of the key path. */
export interface SpentLeaf {
  readonly script: Script;
  /** BIP-342 leaves: 0xc0. */
  readonly version: number;
}

/**
 * The BIP-341 message of the only input, SIGHASH_DEFAULT: key path, or the script path of `leaf` (BIP 342).
 * The library's own preimage; it knows version 3 and commits to the prevout's amount and script.
 */
export const sighashOf = (tx: PlainTx, leaf?: SpentLeaf): Hex => {
  const { prevout } = tx;
  // Which scripts may be paid is our validators' decision, not the library's; and its checks take a square root per output.
  const t = new Transaction({ version: tx.version, lockTime: tx.lockTime, allowUnknownOutputs: true, disableScriptCheck: true });
  t.addInput({ txid: prevout.outpoint.txid, index: prevout.outpoint.vout, sequence: tx.sequence });
  for (const output of tx.outputs) t.addOutput({ amount: output.amount, script: bytesOf(output.script) });
  const spent: [number, Uint8Array[], number, bigint[]] = [0, [bytesOf(prevout.script)], SigHash.DEFAULT, [prevout.amount]];
  return hexOf(leaf ? t.preimageWitnessV1(...spent, undefined, bytesOf(leaf.script), leaf.version) : t.preimageWitnessV1(...spent));
};

/** The transaction in hex with this witness stack. */
export const serializeWithWitness = (tx: PlainTx, witness: readonly Hex[]): Hex => rawHex(rawOf(tx), [witness]);

/** The transaction in hex, with its key-path signature if there is one (SIGHASH_DEFAULT: 64 bytes, no suffix; BIP 341). */
export const serialize = (tx: PlainTx, signature?: SchnorrSignature): Hex =>
  serializeWithWitness(tx, signature === undefined ? [] : [hex(signature)]);

/** A signed transaction in hex, as `sendrawtransaction` takes it. */
export const signedHex = ({ signable, signature }: SignedTx): Hex => serialize(signable.tx, signature);

/** The output number `vout` of a transaction, as what the next one spends. @throws RangeError when there is none. */
export const prevoutOf = (id: Txid, tx: UnsignedTx, vout: number): Prevout => {
  const output = tx.outputs[vout];
  if (!output) throw new RangeError(`vout: ${id} has no output ${vout}`);
  return { outpoint: { txid: id, vout }, amount: output.amount, script: output.script };
};
