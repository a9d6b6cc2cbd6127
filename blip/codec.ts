/**
 * Codecs: how one kind of value is written and read. Everything on the wire is composed of these few; each checks its
 * bounds in both directions, and says what it is, so that specification and tests are held against the same table.
 */
import { FormatError } from './brands.js';
import { bytesToHex, hexToBytes, maxUint, Reader, Writer } from './bytes.js';
import { DecodeError, EncodeError } from './errors.js';

/** The structure of a codec's values: what a test needs to make some up. */
export type Shape =
  | { readonly kind: 'uint'; readonly min: bigint; readonly max: bigint; readonly type: 'number' | 'bigint' }
  | { readonly kind: 'int'; readonly min: bigint; readonly max: bigint }
  | { readonly kind: 'bytes'; readonly min: number; readonly max: number }
  | { readonly kind: 'point' }
  | { readonly kind: 'channel_in_factory' }
  | { readonly kind: 'text'; readonly maxBytes: number }
  | { readonly kind: 'list'; readonly item: Shape; readonly min: number; readonly max: number }
  | { readonly kind: 'struct'; readonly fields: Readonly<Record<string, Shape>> };

export interface Codec<T> {
  /** The type's name in the specification. */
  readonly wire: string;
  readonly shape: Shape;
  /** @throws EncodeError */
  write(writer: Writer, value: T, field: string): void;
  /** @throws DecodeError */
  read(reader: Reader, field: string): T;
}

/** `payoutScript` in code is `payout_script` on the wire, in the specification and in errors. */
export const wireName = (name: string): string => name.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`);

type Failure = typeof DecodeError | typeof EncodeError;

/** A constructor of a branded type, its complaint turned into ours. */
const branded = <I, T>(make: (value: I, field: string) => T, value: I, field: string, failure: Failure): T => {
  try {
    return make(value, field);
  } catch (e) {
    if (e instanceof FormatError) throw new failure('bad_value', field, `expected ${e.expected}`);
    throw e;
  }
};

const within = (value: bigint, min: bigint, max: bigint, field: string, failure: Failure): void => {
  if (value < min || value > max) {
    throw new failure('bad_value', field, `expected ${min.toString()} to ${max.toString()}, not ${value.toString()}`);
  }
};

/**
 * Exactly `size` bytes, as hex of a branded type.
 * @param options.reversed travels in the opposite order of its text, as transaction ids do
 */
export const fixedBytes = <T extends string>(
  wire: string,
  size: number,
  make: (value: string, field: string) => T,
  options: { readonly point?: boolean; readonly reversed?: boolean } = {},
): Codec<T> => {
  const order = (bytes: Uint8Array): Uint8Array => (options.reversed ? Uint8Array.from(bytes).reverse() : bytes);
  return {
    wire,
    shape: options.point ? { kind: 'point' } : { kind: 'bytes', min: size, max: size },
    write: (writer, value, field) => {
      writer.bytes(order(hexToBytes(branded(make, value, field, EncodeError), size, field)));
    },
    read: (reader, field) => branded(make, bytesToHex(order(reader.take(size, field))), field, DecodeError),
  };
};

/** All bytes that are left, `min` to `max` of them. */
export const restBytes = <T extends string>(
  wire: string,
  min: number,
  max: number,
  make: (value: string, field: string) => T,
): Codec<T> => {
  const sized = (size: number, field: string, failure: Failure): void => {
    if (size < min) throw new failure(failure === DecodeError ? 'truncated' : 'bad_value', field, `fewer than ${min} bytes`);
    if (size > max) throw new failure('too_long', field, `more than ${max} bytes`);
  };
  return {
    wire,
    shape: { kind: 'bytes', min, max },
    write: (writer, value, field) => {
      const text = branded(make, value, field, EncodeError);
      sized(text.length / 2, field, EncodeError);
      writer.bytes(hexToBytes(text, max, field));
    },
    read: (reader, field) => {
      sized(reader.remaining, field, DecodeError);
      return branded(make, bytesToHex(reader.rest()), field, DecodeError);
    },
  };
};

/** An unsigned integer as a `number`, of fixed size (`u16`) or truncated (`tu16`, which takes all that is left). */
export const uint = (wire: 'u8' | 'u16' | 'tu16' | 'tu32', max = Infinity, min = 0): Codec<number> => {
  const size = Number(/\d+/.exec(wire)?.[0]) / 8;
  const truncated = wire.startsWith('t');
  const most = Math.min(max, Number(maxUint(size)));
  return {
    wire,
    shape: { kind: 'uint', min: BigInt(min), max: BigInt(most), type: 'number' },
    write: (writer, value, field) => {
      if (!Number.isInteger(value)) throw new EncodeError('bad_value', field, 'not an integer');
      within(BigInt(value), BigInt(min), BigInt(most), field, EncodeError);
      if (truncated) writer.truncatedUint(value, size, field);
      else writer.uint(value, size, field);
    },
    read: (reader, field) => {
      const value = truncated ? reader.truncatedUint(size, field) : reader.uint(size, field);
      within(value, BigInt(min), BigInt(most), field, DecodeError);
      return Number(value);
    },
  };
};

/** A bounded amount as a `bigint` of a branded type. */
export const amount = <T extends bigint>(
  wire: 'u64' | 'tu64',
  max: bigint,
  make: (value: bigint, field: string) => T,
): Codec<T> => ({
  wire,
  shape: { kind: 'uint', min: 0n, max, type: 'bigint' },
  write: (writer, value, field) => {
    const checked = branded(make, value, field, EncodeError);
    if (wire === 'tu64') writer.truncatedUint(checked, 8, field);
    else writer.uint(checked, 8, field);
  },
  read: (reader, field) =>
    branded(make, wire === 'tu64' ? reader.truncatedUint(8, field) : reader.uint(8, field), field, DecodeError),
});

/** A signed 64-bit integer within ±`max`. */
export const s64 = (max: bigint): Codec<bigint> => ({
  wire: 's64',
  shape: { kind: 'int', min: -max, max },
  write: (writer, value, field) => {
    within(value, -max, max, field, EncodeError);
    writer.int(value, 8, field);
  },
  read: (reader, field) => {
    const value = reader.int(8, field);
    within(value, -max, max, field, DecodeError);
    return value;
  },
});

/**
 * UTF-8 for people to read. Reading is strict; writing cuts what is too long at a character's border and replaces what
 * is not Unicode, since a message that says why something failed must not fail for its wording.
 */
export const text = (maxBytes: number): Codec<string> => ({
  wire: 'text',
  shape: { kind: 'text', maxBytes },
  write: (writer, value) => {
    const whole = new TextEncoder().encode(value);
    let end = Math.min(whole.length, maxBytes);
    while (end < whole.length && ((whole[end] ?? 0) & 0xc0) === 0x80) end--; // a continuation byte: inside a character
    writer.bytes(whole.subarray(0, end));
  },
  read: (reader, field) => {
    if (reader.remaining > maxBytes) throw new DecodeError('too_long', field, `more than ${maxBytes} bytes`);
    try {
      return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(reader.rest());
    } catch {
      throw new DecodeError('bad_value', field, 'not valid UTF-8');
    }
  },
});

/** Items one after the other until the value ends; `max` is enforced before the item beyond it is read. */
export const list = <T>(item: Codec<T>, min: number, max: number): Codec<readonly T[]> => {
  const counted = (count: number, field: string, failure: Failure): void => {
    if (count < min || count > max) throw new failure('count', field, `expected ${min} to ${max} entries`);
  };
  return {
    wire: `...*${item.wire}`,
    shape: { kind: 'list', item: item.shape, min, max },
    write: (writer, values, field) => {
      counted(values.length, field, EncodeError);
      values.forEach((value, i) => item.write(writer, value, `${field}[${i}]`));
    },
    read: (reader, field) => {
      const values: T[] = [];
      while (reader.remaining > 0) {
        if (values.length === max) counted(max + 1, field, DecodeError);
        values.push(item.read(reader, `${field}[${values.length}]`));
      }
      counted(values.length, field, DecodeError);
      return values;
    },
  };
};

/** The fields one after the other, in the order of the object given. */
export const struct = <T extends object>(
  wire: string,
  fields: { readonly [K in keyof T & string]: Codec<T[K]> },
): Codec<T> => {
  const entries = Object.entries<Codec<unknown>>(fields);
  return {
    wire,
    shape: { kind: 'struct', fields: Object.fromEntries(entries.map(([name, codec]) => [name, codec.shape])) },
    write: (writer, value, field) => {
      for (const [name, codec] of entries) codec.write(writer, value[name as keyof T], `${field}.${wireName(name)}`);
    },
    read: (reader, field) =>
      Object.fromEntries(entries.map(([name, codec]) => [name, codec.read(reader, `${field}.${wireName(name)}`)])) as T,
  };
};

/** A byte that says how long the rest is, then a value that takes all it is given. */
export const lengthPrefixed = <T>(inner: Codec<T>): Codec<T> => ({
  wire: `u8 len + ${inner.wire}`,
  shape: inner.shape,
  write: (writer, value, field) => {
    const inside = new Writer(255, field);
    inner.write(inside, value, field);
    const bytes = inside.finish();
    writer.uint(bytes.length, 1, field).bytes(bytes);
  },
  read: (reader, field) => readAll(inner, reader.take(reader.u(1, field), field), field),
});

/** A value that takes exactly these bytes. */
export const readAll = <T>(codec: Codec<T>, bytes: Uint8Array, field: string): T => {
  const reader = new Reader(bytes);
  const value = codec.read(reader, field);
  reader.end(field);
  return value;
};
