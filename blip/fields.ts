/**
 * A message's fields as a table: each is one TLV. The table alone drives encoding and decoding, of our protocol's
 * messages and of bLIP-56's own.
 */
import { Writer, type Reader } from './bytes.js';
import { readAll, wireName, type Codec } from './codec.js';
import { DecodeError, EncodeError } from './errors.js';
import { decodeTlvStream, writeTlv } from './tlv.js';

export interface Field {
  /** The property in TypeScript. */
  readonly name: string;
  /** The name on paper and in errors. */
  readonly wireName: string;
  readonly tlv: number;
  readonly codec: Codec<unknown>;
  readonly optional: boolean;
}

type Required<T> = readonly [tlv: number, codec: Codec<T>];
type Optional<T> = readonly [tlv: number, codec: Codec<T>, optional: 'optional'];

/** One entry per property of a message's type, optional exactly where the property is: a forgotten one does not compile. */
export type Layout<T> = {
  readonly [K in keyof T]-?: undefined extends T[K] ? Optional<Exclude<T[K], undefined>> : Required<T[K]>;
};

/** The table of a layout, in ascending order of TLV type, which is the order on the wire. */
export const fieldTable = <T>(layout: Layout<T>): readonly Field[] =>
  (Object.entries(layout) as readonly [string, Required<unknown> | Optional<unknown>][])
    .map(([name, [tlv, codec, optional]]) => ({ name, wireName: wireName(name), tlv, codec, optional: optional !== undefined }))
    .sort((a, b) => a.tlv - b.tlv);

/**
 * Appends the fields of `body` as a TLV stream.
 * @param path the message's name, for errors
 * @throws EncodeError
 */
export const encodeFields = (writer: Writer, fields: readonly Field[], body: object, limit: number, path: string): void => {
  const values: Readonly<Record<string, unknown>> = { ...body };
  for (const { name, wireName: short, tlv, codec, optional } of fields) {
    const field = `${path}.${short}`;
    const value = values[name];
    if (value === undefined) {
      if (optional) continue;
      throw new EncodeError('missing_field', field, 'is missing');
    }
    const inside = new Writer(limit, field);
    codec.write(inside, value, field);
    writeTlv(writer, tlv, inside.finish());
  }
};

/**
 * Reads what is left of a message as its fields.
 * @throws DecodeError
 */
export const decodeFields = (reader: Reader, fields: readonly Field[], path: string): Readonly<Record<string, unknown>> => {
  const records = decodeTlvStream(reader.rest(), new Set(fields.map((f) => f.tlv)), path);
  const values: Record<string, unknown> = {};
  for (const { name, wireName: short, tlv, codec, optional } of fields) {
    const field = `${path}.${short}`;
    const bytes = records.get(tlv);
    if (bytes !== undefined) values[name] = readAll(codec, bytes, field);
    else if (!optional) throw new DecodeError('missing_field', field, `tlv ${tlv} is missing`);
  }
  return values;
};
