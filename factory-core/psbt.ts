/** PSBTs for Core Lightning: version 0 (BIP 174), which it takes and turns into its own. */
import { base64 } from '@scure/base';
import { Transaction } from '@scure/btc-signer/transaction.js';
import type { Signable, UnsignedTx } from './model.js';
import { bytesOf, type PlainInput, type PlainOutput } from './serialize.js';

/** An input, the output it spends (BIP 174 `witness_utxo`), and its final witness once there is one. */
export interface PsbtInput extends PlainInput {
  readonly prevout: PlainOutput;
  readonly witness?: readonly string[];
}
export interface PsbtTx {
  readonly version: number;
  readonly lockTime: number;
  readonly inputs: readonly PsbtInput[];
  readonly outputs: readonly PlainOutput[];
}

/** Base64 of a PSBT version 0. */
export const encodePsbt = ({ version, lockTime, inputs, outputs }: PsbtTx): string => {
  // Which scripts are spent and paid has been decided elsewhere; this only writes it down.
  const tx = new Transaction({ version, lockTime, allowUnknownInputs: true, allowUnknownOutputs: true, disableScriptCheck: true });
  // Outputs first: to a transaction with a final input nothing may be added.
  for (const { amount, script } of outputs) tx.addOutput({ amount, script: bytesOf(script) });
  for (const { outpoint, sequence, prevout, witness } of inputs) {
    tx.addInput({
      txid: outpoint.txid,
      index: outpoint.vout,
      sequence,
      witnessUtxo: { amount: prevout.amount, script: bytesOf(prevout.script) },
      ...(witness && { finalScriptWitness: witness.map(bytesOf) }),
    });
  }
  return base64.encode(tx.toPSBT(0));
};

const leaf = ({ version, lockTime, sequence, prevout, outputs }: UnsignedTx, witness?: readonly string[]): string =>
  encodePsbt({ version, lockTime, outputs, inputs: [{ outpoint: prevout.outpoint, sequence, prevout, ...(witness && { witness }) }] });

/**
 * The leaf, unsigned: for `fundchannel_complete`, which wants `witness_utxo` on every input. It must not be final there:
 * `sendpsbt` would then skip the channel when it is to be armed (architecture 3.3).
 */
export const leafPsbt = (signable: Signable): string => leaf(signable.tx);

/** Of a signature's size, and valid for no key: r = 0 is no point's coordinate (BIP 340). */
const NO_SIGNATURE = '00'.repeat(64);

/**
 * The leaf as final as `sendpsbt` wants it, which arms the channel (architecture 3.3), with a witness that no node accepts.
 * lightningd tries at every start to broadcast what funds its channels: with the true signature a client's leaf would go out
 * as soon as somebody else's exit has brought its slot to the chain (architecture 3.9). Publishing is this plugin's affair.
 */
export const armingPsbt = (signable: Signable): string => leaf(signable.tx, [NO_SIGNATURE]);
