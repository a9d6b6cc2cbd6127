/**
 * What each hop is told (BOLT 4, payload format), as real TLV. The onion itself is only the list of the payloads of the hops that
 * follow: nothing is encrypted between stand-ins, every hop could read on.
 */
import { bytesToHex, hexToBytes } from '@noble/hashes/utils.js';

export interface HopPayload {
  /** Millisatoshis to forward, or delivered. */
  readonly amount: number;
  /** Block height at which the outgoing HTLC expires. */
  readonly cltv: number;
  /** Absent at the last hop. */
  readonly scid?: string;
  readonly secret?: string;
  readonly total?: number;
  /** Spontaneous payments carry their preimage. */
  readonly keysend?: string;
}

const TYPE = { amount: 2n, cltv: 4n, scid: 6n, paymentData: 8n, keysend: 5482373484n } as const;

const bigSize = (value: bigint): string => {
  const hex = (bytes: number): string => value.toString(16).padStart(bytes * 2, '0');
  return value < 0xfdn ? hex(1) : value < 0x10000n ? `fd${hex(2)}` : value < 0x100000000n ? `fe${hex(4)}` : `ff${hex(8)}`;
};

const readBigSize = (bytes: Uint8Array, at: number): { readonly value: bigint; readonly next: number } => {
  const first = bytes[at] ?? 0;
  const length = first < 0xfd ? 0 : first === 0xfd ? 2 : first === 0xfe ? 4 : 8;
  const hex = bytesToHex(bytes.subarray(at + 1, at + 1 + length));
  return { value: length === 0 ? BigInt(first) : BigInt(`0x0${hex}`), next: at + 1 + length };
};

/** Truncated unsigned integer: no leading zeros. */
const tu = (value: number): string => {
  const hex = value === 0 ? '' : value.toString(16);
  return hex.length % 2 === 0 ? hex : `0${hex}`;
};
const fromTu = (bytes: Uint8Array): number => Number(BigInt(`0x0${bytesToHex(bytes)}`));

export const scidToHex = (scid: string): string => {
  const [block = 0, tx = 0, output = 0] = scid.split('x').map(Number);
  return block.toString(16).padStart(6, '0') + tx.toString(16).padStart(6, '0') + output.toString(16).padStart(4, '0');
};
export const scidFromHex = (hex: string): string => [hex.slice(0, 6), hex.slice(6, 12), hex.slice(12, 16)].map((part) => Number.parseInt(part, 16)).join('x');

const record = (type: bigint, value: string): string => bigSize(type) + bigSize(BigInt(value.length / 2)) + value;

/** With its length in front, as the hook shows it. */
export const encodePayload = ({ amount, cltv, scid, secret, total, keysend }: HopPayload): string => {
  const stream = [
    record(TYPE.amount, tu(amount)),
    record(TYPE.cltv, tu(cltv)),
    ...(scid === undefined ? [] : [record(TYPE.scid, scidToHex(scid))]),
    ...(secret === undefined ? [] : [record(TYPE.paymentData, secret + tu(total ?? amount))]),
    ...(keysend === undefined ? [] : [record(TYPE.keysend, keysend)]),
  ].join('');
  return bigSize(BigInt(stream.length / 2)) + stream;
};

/** undefined: not a payload with an amount and an expiry. `prefixed`: with its length in front. */
export const decodePayload = (hex: string, prefixed: boolean): HopPayload | undefined => {
  const bytes = hexToBytes(hex);
  const fields = new Map<bigint, Uint8Array>();
  for (let at = prefixed ? readBigSize(bytes, 0).next : 0; at < bytes.length; ) {
    const type = readBigSize(bytes, at);
    const length = readBigSize(bytes, type.next);
    const end = length.next + Number(length.value);
    if (end > bytes.length) return undefined;
    fields.set(type.value, bytes.subarray(length.next, end));
    at = end;
  }
  const [amount, cltv, scid, data, keysend] = [TYPE.amount, TYPE.cltv, TYPE.scid, TYPE.paymentData, TYPE.keysend].map((type) => fields.get(type));
  if (amount === undefined || cltv === undefined) return undefined;
  return {
    amount: fromTu(amount),
    cltv: fromTu(cltv),
    ...(scid === undefined ? {} : { scid: scidFromHex(bytesToHex(scid)) }),
    ...(data === undefined ? {} : { secret: bytesToHex(data.subarray(0, 32)), total: fromTu(data.subarray(32)) }),
    ...(keysend === undefined ? {} : { keysend: bytesToHex(keysend) }),
  };
};
