/** BOLT 1's BigSize: 1, 3, 5 or 9 bytes, big-endian, the shortest form only. */
import type { Reader, Writer } from './bytes.js';
import { DecodeError } from './errors.js';

/** @throws DecodeError truncated, not_minimal */
export const readBigSize = (reader: Reader, field: string): bigint => {
  const first = reader.u(1, field);
  if (first < 0xfd) return BigInt(first);
  const size = first === 0xfd ? 2 : first === 0xfe ? 4 : 8;
  const value = reader.uint(size, field);
  const smallest = size === 2 ? 0xfdn : 1n << BigInt(4 * size); // one more than the next shorter form can hold
  if (value < smallest) throw new DecodeError('not_minimal', field, 'BigSize longer than it needs to be');
  return value;
};

/** @throws EncodeError bad_value, beyond 64 bits */
export const writeBigSize = (writer: Writer, value: bigint, field?: string): Writer => {
  if (value < 0xfdn) return writer.uint(value, 1, field);
  if (value < 1n << 16n) return writer.uint(0xfd, 1).uint(value, 2, field);
  if (value < 1n << 32n) return writer.uint(0xfe, 1).uint(value, 4, field);
  return writer.uint(0xff, 1).uint(value, 8, field);
};
