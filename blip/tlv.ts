/** BOLT 1's TLV streams. */
import { readBigSize, writeBigSize } from './bigsize.js';
import type { Writer } from './bytes.js';
import { Reader } from './bytes.js';
import { DecodeError } from './errors.js';

/**
 * The records of a stream by type, as views on `bytes`. Types ascend strictly; unknown odd ones are skipped without
 * being kept, unknown even ones refused ("it's OK to be odd").
 * @param known the types this stream may hold
 * @throws DecodeError truncated, not_minimal, order, unknown_even_field
 */
export const decodeTlvStream = (
  bytes: Uint8Array,
  known: { has(type: number): boolean },
  field: string,
): ReadonlyMap<number, Uint8Array> => {
  const records = new Map<number, Uint8Array>();
  const reader = new Reader(bytes);
  let last = -1n;
  while (reader.remaining > 0) {
    const type = readBigSize(reader, `${field} tlv type`);
    const name = `${field} tlv ${type.toString()}`;
    if (type <= last) throw new DecodeError('order', name, `after tlv ${last.toString()}`);
    last = type;
    const length = readBigSize(reader, name);
    if (length > BigInt(reader.remaining)) {
      throw new DecodeError('truncated', name, `${length.toString()} bytes expected, ${reader.remaining} left`);
    }
    const value = reader.take(Number(length), name);
    // A type beyond 2^53 is rounded by Number(), which then is in no table of ours.
    if (known.has(Number(type))) records.set(Number(type), value);
    else if (type % 2n === 0n) throw new DecodeError('unknown_even_field', name, 'unknown even type');
  }
  return records;
};

/** Appends one record. The caller writes them in ascending order of type. */
export const writeTlv = (writer: Writer, type: number, value: Uint8Array): void => {
  writeBigSize(writer, BigInt(type));
  writeBigSize(writer, BigInt(value.length)).bytes(value);
};
