/** Hex, and a bounded reader and writer of BOLT 1's fundamental types (big-endian). */
import type { Hex } from './brands.js';
import { DecodeError, EncodeError } from './errors.js';

const BYTE_TO_HEX: readonly string[] = Array.from({ length: 256 }, (_, b) => b.toString(16).padStart(2, '0'));

/** Lowercase digits only: one value, one text. NaN for anything else. */
const digit = (code: number): number => {
  if (code >= 48 && code <= 57) return code - 48; // 0-9
  if (code >= 97 && code <= 102) return code - 87; // a-f
  return Number.NaN;
};

export const bytesToHex = (bytes: Uint8Array): Hex => {
  let text = '';
  for (const b of bytes) text += BYTE_TO_HEX[b] ?? '';
  return text as Hex;
};

/**
 * The bytes of a text from outside. The length is judged before anything is allocated.
 * @param maxBytes the most bytes `field` may have
 * @throws DecodeError too_long, not_hex
 */
export const hexToBytes = (text: string, maxBytes: number, field: string): Uint8Array => {
  if (text.length > maxBytes * 2) throw new DecodeError('too_long', field, `more than ${maxBytes} bytes`);
  if (text.length % 2 !== 0) throw new DecodeError('not_hex', field, 'odd number of hex digits');
  const bytes = new Uint8Array(text.length / 2);
  for (let i = 0; i < bytes.length; i++) {
    const value = digit(text.charCodeAt(2 * i)) * 16 + digit(text.charCodeAt(2 * i + 1));
    if (Number.isNaN(value)) throw new DecodeError('not_hex', field, `not lowercase hex at byte ${i}`);
    bytes[i] = value;
  }
  return bytes;
};

/** The largest unsigned integer of so many bytes. */
export const maxUint = (size: number): bigint => (1n << BigInt(8 * size)) - 1n;

/** Walks over bytes it does not copy. `field` in every call is who to blame. */
export class Reader {
  #offset = 0;
  constructor(private readonly bytes: Uint8Array) {}

  get remaining(): number {
    return this.bytes.length - this.#offset;
  }

  /** @throws DecodeError truncated */
  take(size: number, field: string): Uint8Array {
    if (size > this.remaining) {
      throw new DecodeError('truncated', field, `${size} bytes expected, ${this.remaining} left`);
    }
    const taken = this.bytes.subarray(this.#offset, this.#offset + size);
    this.#offset += size;
    return taken;
  }

  rest(): Uint8Array {
    return this.bytes.subarray(this.#offset, (this.#offset = this.bytes.length));
  }

  /** An unsigned integer of `size` bytes. */
  uint(size: number, field: string): bigint {
    let value = 0n;
    for (const b of this.take(size, field)) value = (value << 8n) | BigInt(b);
    return value;
  }

  /** A two's complement integer of `size` bytes (BOLT 1, s8 to s64). */
  int(size: number, field: string): bigint {
    return BigInt.asIntN(8 * size, this.uint(size, field));
  }

  /** An unsigned integer of at most 4 bytes. */
  u(size: 1 | 2 | 4, field: string): number {
    return Number(this.uint(size, field));
  }

  /** A truncated integer (BOLT 1, tu16 to tu64): all that is left, without leading zeros. */
  truncatedUint(maxSize: number, field: string): bigint {
    if (this.remaining > maxSize) throw new DecodeError('too_long', field, `more than ${maxSize} bytes`);
    const bytes = this.rest();
    if (bytes[0] === 0) throw new DecodeError('not_minimal', field, 'integer with leading zeros');
    return new Reader(bytes).uint(bytes.length, field);
  }

  /** @throws DecodeError trailing, unless everything has been read */
  end(field: string): void {
    if (this.remaining > 0) throw new DecodeError('trailing', field, `${this.remaining} bytes too many`);
  }
}

/** Collects bytes, up to a limit. */
export class Writer {
  #parts: Uint8Array[] = [];
  #length = 0;
  /** @param limit the most bytes `field` may take */
  constructor(
    private readonly limit: number,
    private readonly field: string,
  ) {}

  /** @throws EncodeError too_long */
  bytes(part: Uint8Array): this {
    this.#length += part.length;
    if (this.#length > this.limit) throw new EncodeError('too_long', this.field, `more than ${this.limit} bytes`);
    this.#parts.push(part);
    return this;
  }

  /** @throws EncodeError bad_value, if it does not fit `size` bytes */
  uint(value: bigint | number, size: number, field = this.field): this {
    return this.bytes(uintBytes(value, size, field));
  }

  /** Two's complement in `size` bytes. */
  int(value: bigint, size: number, field = this.field): this {
    if (BigInt.asIntN(8 * size, value) !== value) throw new EncodeError('bad_value', field, `does not fit ${size} bytes`);
    return this.uint(BigInt.asUintN(8 * size, value), size, field);
  }

  truncatedUint(value: bigint | number, maxSize: number, field = this.field): this {
    const bytes = uintBytes(value, maxSize, field);
    const first = bytes.findIndex((b) => b !== 0);
    return this.bytes(first < 0 ? new Uint8Array(0) : bytes.subarray(first));
  }

  finish(): Uint8Array {
    const all = new Uint8Array(this.#length);
    let offset = 0;
    for (const part of this.#parts) {
      all.set(part, offset);
      offset += part.length;
    }
    return all;
  }
}

const uintBytes = (value: bigint | number, size: number, field: string): Uint8Array => {
  if (typeof value === 'number' && !Number.isSafeInteger(value)) throw new EncodeError('bad_value', field, 'not an integer');
  let left = BigInt(value);
  if (left < 0n || left > maxUint(size)) throw new EncodeError('bad_value', field, `does not fit ${size} unsigned bytes`);
  const bytes = new Uint8Array(size);
  for (let i = size - 1; i >= 0; i--, left >>= 8n) bytes[i] = Number(left & 0xffn);
  return bytes;
};
