/** A transaction read back by the library, with the types its coder loses on the way. */
import { bytesToHex, hexToBytes } from '@noble/hashes/utils.js';
import { RawTx } from '@scure/btc-signer/script.js';

interface Raw {
  readonly version: number;
  readonly lockTime: number;
  readonly inputs: readonly { readonly txid: Uint8Array; readonly index: number; readonly finalScriptSig: Uint8Array; readonly sequence: number }[];
  readonly outputs: readonly { readonly amount: bigint; readonly script: Uint8Array }[];
  readonly witnesses?: readonly (readonly Uint8Array[])[];
}
export interface DecodedTx {
  readonly version: number;
  readonly lockTime: number;
  readonly inputs: readonly { readonly txid: string; readonly vout: number; readonly sequence: number }[];
  readonly outputs: readonly { readonly amount: bigint; readonly script: string }[];
  /** One stack per input; absent in the form without witness. */
  readonly witnesses?: readonly (readonly string[])[];
  readonly vsize: number;
}

export const decodeTx = (hex: string): DecodedTx => {
  const { witnesses, ...raw } = RawTx.decode(hexToBytes(hex)) as Raw;
  const stripped = RawTx.encode({ ...raw, segwitFlag: false } as unknown as Parameters<typeof RawTx.encode>[0]).length;
  return {
    version: raw.version,
    lockTime: raw.lockTime,
    inputs: raw.inputs.map((i) => ({ txid: bytesToHex(i.txid), vout: i.index, sequence: i.sequence })),
    outputs: raw.outputs.map((o) => ({ amount: o.amount, script: bytesToHex(o.script) })),
    ...(witnesses && { witnesses: witnesses.map((stack) => stack.map((item) => bytesToHex(item))) }),
    vsize: Math.ceil((stripped * 3 + hex.length / 2) / 4),
  };
};
