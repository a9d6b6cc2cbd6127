/** Messages put together by hand, to say what no encoder of ours would. */
import { bytesToHex, hexToBytes, Writer } from '../bytes.js';
import { messageNumber, PROTOCOL_VERSION } from '../protocol-codec.js';
import { writeTlv } from '../tlv.js';
import type { FactoryMessageType } from '../messages.js';

export type TlvRecord = readonly [tlv: number, value: string];

const LIMIT = 200_000;

/** A TLV stream of these records, in the order given. */
export const stream = (records: readonly TlvRecord[]): string => {
  const writer = new Writer(LIMIT, 'raw');
  for (const [tlv, value] of records) writeTlv(writer, tlv, hexToBytes(value, LIMIT, 'raw'));
  return bytesToHex(writer.finish());
};

export const INSTANCE = 'f0'.repeat(32);

interface Header {
  readonly version?: number;
  readonly number?: number;
  readonly attempt?: number;
}

/** A payload of our protocol. */
export const rawMessage = (type: FactoryMessageType, records: readonly TlvRecord[], header: Header = {}): string => {
  const writer = new Writer(LIMIT, 'raw')
    .uint(header.version ?? PROTOCOL_VERSION, 1)
    .uint(header.number ?? messageNumber(type), 2)
    .bytes(hexToBytes(INSTANCE, 32, 'raw'))
    .uint(header.attempt ?? 1, 2);
  return bytesToHex(writer.finish()) + stream(records);
};

/** A sub-message of bLIP-56. */
export const rawSubMessage = (id: number, records: readonly TlvRecord[], type = 32_800): string =>
  bytesToHex(new Writer(4, 'raw').uint(type, 2).uint(id, 2).finish()) + stream(records);
