/**
 * Reading PSBTs (BIP-174, BIP-370) that CLN made or signed. Parsing is the library's; the final raw transaction is put
 * together from its raw coders, because its own extraction refuses an input without a witness, and a pay-to-anchor input
 * has none. Writing them: `factory-core/psbt.ts`.
 */
import { base64, hex as hexCoder } from '@scure/base';
import { RawTx } from '@scure/btc-signer/script.js';
import { Transaction } from '@scure/btc-signer/transaction.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { hex, sat, script, txid } from '../../blip/brands.js';
import type { Hex, Outpoint, Sat, Script, Txid } from '../../blip/brands.js';
import { LightningError } from './lightning.js';
import type { Psbt } from './lightning.js';

/** Everything is allowed here that only a signer should refuse: we read what CLN made, and CLN signs. */
const READ_OPTIONS = {
  allowUnknownInputs: true,
  allowUnknownOutputs: true,
  allowLegacyWitnessUtxo: true,
  disableScriptCheck: true,
  allowUnknownVersion: true,
  unknown: 'ignore',
} as const;

export interface PsbtInput {
  readonly outpoint: Outpoint;
  readonly prevout?: { readonly amount: Sat; readonly script: Script };
  /** A redeem script means a P2SH-wrapped coin: its signature ends up in the scriptSig and changes the txid. */
  readonly wrapped: boolean;
  /** The final witness, or what makes one (a single key's signature); undefined while unsigned. */
  readonly witness?: readonly Uint8Array[];
}

export interface PsbtView {
  readonly txid: Txid;
  readonly unsignedTx: Hex;
  readonly inputs: readonly PsbtInput[];
  readonly outputs: readonly { readonly amount: Sat; readonly script: Script }[];
}

type RawInput = ReturnType<Transaction['getInput']>;

/** CLN leaves some inputs for the finaliser: one ECDSA signature (P2WPKH) or one Schnorr signature (P2TR key path). */
const witnessOf = (found: RawInput): readonly Uint8Array[] | undefined => {
  if (found.finalScriptWitness !== undefined) return found.finalScriptWitness;
  if (found.tapKeySig !== undefined) return [found.tapKeySig];
  const [ecdsa, ...more] = found.partialSig ?? [];
  return ecdsa !== undefined && more.length === 0 && found.witnessScript === undefined ? [ecdsa[1], ecdsa[0]] : undefined;
};

const prevoutOf = (found: RawInput): PsbtInput['prevout'] => {
  const outputs: readonly { readonly amount: bigint; readonly script: Uint8Array }[] = found.nonWitnessUtxo?.outputs ?? [];
  const output = found.witnessUtxo ?? outputs[found.index ?? -1];
  return output === undefined
    ? undefined
    : { amount: sat(output.amount, 'psbt input amount'), script: script(hexCoder.encode(output.script), 'psbt input script') };
};

const readInput = (found: RawInput): PsbtInput => {
  if (found.txid === undefined || found.index === undefined) throw new LightningError('protocol', 'PSBT input without outpoint', 'psbt');
  const prevout = prevoutOf(found);
  const witness = witnessOf(found);
  return {
    outpoint: { txid: txid(hexCoder.encode(found.txid), 'psbt input txid'), vout: found.index },
    wrapped: found.redeemScript !== undefined || found.finalScriptSig !== undefined || prevout?.script.startsWith('a914') === true,
    ...(prevout === undefined ? {} : { prevout }),
    ...(witness === undefined ? {} : { witness }),
  };
};

const parse = (psbt: Psbt): Transaction => {
  try {
    return Transaction.fromPSBT(base64.decode(psbt), READ_OPTIONS);
  } catch (cause) {
    throw new LightningError('protocol', 'not a PSBT we can read', 'psbt', { cause });
  }
};

const txidOf = (unsignedTx: Uint8Array): Txid => txid(hexCoder.encode(sha256(sha256(unsignedTx)).reverse()));

export const readPsbt = (psbt: Psbt): PsbtView => {
  const tx = parse(psbt);
  const unsigned = tx.unsignedTx;
  return {
    txid: txidOf(unsigned),
    unsignedTx: hex(hexCoder.encode(unsigned)),
    inputs: Array.from({ length: tx.inputsLength }, (_, i) => readInput(tx.getInput(i))),
    outputs: Array.from({ length: tx.outputsLength }, (_, i) => {
      const output = tx.getOutput(i);
      if (output.amount === undefined || output.script === undefined) throw new LightningError('protocol', `PSBT output ${i} lacks amount or script`, 'psbt');
      return { amount: sat(output.amount, 'psbt output amount'), script: script(hexCoder.encode(output.script), 'psbt output script') };
    }),
  };
};

/**
 * The raw transaction with every witness there is; inputs not in `signed` get an empty one. Fails (`protocol`) when an input of
 * `signed` has no signature.
 */
export const rawTransaction = (psbt: Psbt, signed: readonly number[]): { readonly rawTx: Hex; readonly txid: Txid } => {
  const view = readPsbt(psbt);
  const witnesses = view.inputs.map((found, i) => {
    if (!signed.includes(i)) return [];
    if (found.witness === undefined) throw new LightningError('protocol', `input ${i} is not signed`, 'psbt');
    return [...found.witness];
  });
  const { version, inputs, outputs, lockTime } = RawTx.decode(hexCoder.decode(view.unsignedTx));
  const rawTx = RawTx.encode({ version, segwitFlag: true, inputs, outputs, witnesses, lockTime });
  return { rawTx: hex(hexCoder.encode(rawTx)), txid: view.txid };
};
