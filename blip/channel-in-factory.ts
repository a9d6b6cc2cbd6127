/**
 * bLIP-56's `channel_in_factory` (65600), the TLV of `open_channel`. Stock CLN refuses unknown even TLVs there, so its
 * exact bytes travel in `open_intent` instead (architecture 3.11).
 */
import type { Hex, InstanceId, ProtocolId } from './brands.js';
import { bytesToHex, hexToBytes, Writer } from './bytes.js';
import { readAll, struct, uint, type Codec } from './codec.js';
import { DecodeError, EncodeError } from './errors.js';
import { instanceIdField, protocolIdField } from './field-codecs.js';
import { decodeTlvStream, writeTlv } from './tlv.js';

export interface ChannelInFactory {
  readonly protocolId: ProtocolId;
  readonly instanceId: InstanceId;
  /** Blocks before an HTLC's timeout at which the factory must be told (architecture 4). */
  readonly earlyWarningTime: number;
}

export const CHANNEL_IN_FACTORY_TLV = 65_600;
/** Type (5 bytes), length (1), two ids and a u16. */
const RECORD_BYTES = 5 + 1 + 66;

const value = struct<ChannelInFactory>('channel_in_factory', {
  protocolId: protocolIdField,
  instanceId: instanceIdField,
  earlyWarningTime: uint('u16'),
});

const parse = (bytes: Uint8Array, field: string): ChannelInFactory => {
  const found = decodeTlvStream(bytes, new Set([CHANNEL_IN_FACTORY_TLV]), field).get(CHANNEL_IN_FACTORY_TLV);
  if (found === undefined) throw new DecodeError('missing_field', field, `tlv ${CHANNEL_IN_FACTORY_TLV} is missing`);
  return readAll(value, found, field);
};

/** The whole TLV record: type, length, value. */
export const encodeChannelInFactory = (channel: ChannelInFactory): Hex => {
  const inside = new Writer(66, 'channel_in_factory');
  value.write(inside, channel, 'channel_in_factory');
  const record = new Writer(RECORD_BYTES, 'channel_in_factory');
  writeTlv(record, CHANNEL_IN_FACTORY_TLV, inside.finish());
  return bytesToHex(record.finish());
};

/**
 * Reads one whole record, nothing before or after it.
 * @throws DecodeError
 */
export const decodeChannelInFactory = (record: string, field = 'channel_in_factory'): ChannelInFactory =>
  parse(hexToBytes(record, RECORD_BYTES, field), field);

/** The record inside a message of ours: kept as it came, after a look that it is one. */
export const channelInFactoryField: Codec<Hex> = {
  wire: 'channel_in_factory',
  shape: { kind: 'channel_in_factory' },
  write: (writer, record, field) => {
    try {
      const bytes = hexToBytes(record, RECORD_BYTES, field);
      parse(bytes, field);
      writer.bytes(bytes);
    } catch (e) {
      if (e instanceof DecodeError) throw new EncodeError(e.code, e.field, 'not a channel_in_factory record');
      throw e;
    }
  },
  read: (reader, field) => {
    const bytes = reader.take(RECORD_BYTES, field);
    parse(bytes, field);
    return bytesToHex(bytes);
  },
};
