/** Transactions and PSBTs as the stand-in handles them. The library reads, writes and hashes; nothing is checked twice. */
import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex, hexToBytes } from '@noble/hashes/utils.js';
import { base64 } from '@scure/base';
import { Address, OutScript, p2tr, p2wpkh, Transaction } from '@scure/btc-signer';
import { RawOldTx, RawTx } from '@scure/btc-signer/script.js';
import { type KeyPair, xOnly } from './keys.js';
import { badParam, type Parser } from './params.js';
import { CODE, RpcError } from './types.js';

export const REGTEST = { bech32: 'bcrt', pubKeyHash: 0x6f, scriptHash: 0xc4, wif: 0xef } as const;

/** A signer checks; here everything is let through, the chain has the last word. */
export const READ = {
  allowUnknownInputs: true,
  allowUnknownOutputs: true,
  allowLegacyWitnessUtxo: true,
  disableScriptCheck: true,
  allowUnknownVersion: true,
  allowMissingTxModifiable: true,
  unknown: 'ignore',
} as const;

/** A transaction, field by field; txids in display order. */
export interface Raw {
  readonly version: number;
  readonly segwitFlag: boolean;
  readonly inputs: { readonly txid: Uint8Array; readonly index: number; readonly finalScriptSig: Uint8Array; readonly sequence: number }[];
  readonly outputs: { readonly amount: bigint; readonly script: Uint8Array }[];
  readonly witnesses?: Uint8Array[][];
  readonly lockTime: number;
}

export const decodeTx = (hex: string): Raw => RawTx.decode(hexToBytes(hex)) as Raw;
export const encodeTx = (tx: Raw): string => bytesToHex(RawTx.encode({ ...tx, witnesses: tx.witnesses }));

const display = (hash: Uint8Array): string => bytesToHex(Uint8Array.from(hash).reverse());
export const txidOf = ({ version, inputs, outputs, lockTime }: Pick<Raw, 'version' | 'inputs' | 'outputs' | 'lockTime'>): string =>
  display(sha256(sha256(RawOldTx.encode({ version, inputs, outputs, lockTime }))));
/** A txid in internal byte order, from or to the display form. */
export const reverseHex = (hex: string): string => display(hexToBytes(hex));

export const outpointKey = (txid: string, vout: number): string => `${txid}:${vout}`;

export const parsePsbt = (psbt: string): Transaction => Transaction.fromPSBT(base64.decode(psbt), READ);
export const encodePsbt = (tx: Transaction, version: number): string => base64.encode(tx.toPSBT(version));
/** The first field of a version-0 PSBT is its unsigned transaction (0x00), of a version-2 one the transaction version (0x02). */
export const psbtVersion = (psbt: string): number => (base64.decode(psbt)[6] === 0 ? 0 : 2);
export const unsignedRaw = (tx: Transaction): Raw => RawTx.decode(tx.unsignedTx) as Raw;

export const psbtParam: Parser<{ readonly tx: Transaction; readonly version: number }> = (value, name) => {
  if (typeof value !== 'string') throw badParam(name, 'should be a PSBT', value);
  try {
    return { tx: parsePsbt(value), version: psbtVersion(value) };
  } catch {
    throw badParam(name, 'should be a PSBT', value);
  }
};

/** Every witness there is; undefined when an input has none. What wallets leave for the finaliser is finalised here. */
export const finalTx = (psbt: Transaction): Raw | undefined => {
  const raw = unsignedRaw(psbt);
  const witnesses: Uint8Array[][] = [];
  for (let i = 0; i < psbt.inputsLength; i += 1) {
    const { finalScriptWitness, tapKeySig, partialSig, witnessScript } = psbt.getInput(i);
    const [signature] = partialSig ?? [];
    if (finalScriptWitness !== undefined) witnesses.push([...finalScriptWitness]);
    else if (tapKeySig !== undefined) witnesses.push([tapKeySig]);
    else if (signature !== undefined && witnessScript === undefined) witnesses.push([signature[1], signature[0]]);
    else if (signature !== undefined && witnessScript !== undefined) witnesses.push([signature[1], witnessScript]);
    else return undefined;
  }
  return { ...raw, segwitFlag: true, witnesses };
};

export const isFinalPsbt = (psbt: Transaction): boolean =>
  Array.from({ length: psbt.inputsLength }, (_, i) => psbt.getInput(i)).every(({ finalScriptWitness, finalScriptSig }) => finalScriptWitness !== undefined || finalScriptSig !== undefined);

/** Same inputs (outpoint, sequence) and outputs in the same order: lightningd's notion of the same PSBT. */
export const sameTransaction = (a: Transaction, b: Transaction): boolean => {
  const shape = (tx: Transaction): string => {
    const { inputs, outputs } = unsignedRaw(tx);
    return JSON.stringify([
      inputs.map(({ txid, index, sequence }) => [bytesToHex(txid), index, sequence]),
      outputs.map(({ amount, script }) => [amount.toString(), bytesToHex(script)]),
    ]);
  };
  return shape(a) === shape(b);
};

export const scriptToAddress = (script: string): string | undefined => {
  try {
    return Address(REGTEST).encode(OutScript.decode(hexToBytes(script)));
  } catch {
    return undefined;
  }
};

/** undefined: not a regtest address. */
export const addressToScript = (address: string): string | undefined => {
  try {
    return bytesToHex(OutScript.encode(Address(REGTEST).decode(address)));
  } catch {
    return undefined;
  }
};

export const addressParam: Parser<string> = (value, name) => {
  const script = typeof value === 'string' ? addressToScript(value) : undefined;
  if (script === undefined) throw new RpcError(CODE.lightningd, `Could not parse destination address, ${name} should be a valid address`);
  return script;
};

export const p2wpkhScript = (key: KeyPair): string => bytesToHex(p2wpkh(hexToBytes(key.pub)).script);
export const p2trScript = (key: KeyPair): string => bytesToHex(p2tr(xOnly(key)).script);

/** Weight that an output of this script adds. */
export const outputWeight = (scriptLength: number): number => 4 * (8 + 1 + scriptLength);
/** version, lock time, counts, segwit marker */
export const coreWeight = 4 * (4 + 1 + 1 + 4) + 2;
export const feeFor = (perKw: number, weight: number): number => Math.floor((perKw * weight) / 1000);
