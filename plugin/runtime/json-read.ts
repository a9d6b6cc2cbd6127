/**
 * Typed reading of what lightningd answers. A field that is missing or of another type is an `UnexpectedReply` that names
 * it by its full path, never an `undefined` that travels on.
 */
import { isObject, stringifyJson, type JsonObject, type JsonValue } from './json.js';

/** An answer without the documented form. `field` is a path, such as `channels[3].to_us_msat`. */
export class UnexpectedReply extends Error {
  readonly code = 'unexpected_reply';
  constructor(
    readonly method: string,
    readonly field: string,
    expected: string,
    value: JsonValue | undefined,
  ) {
    const got = value === undefined ? 'nothing' : stringifyJson(value).slice(0, 100);
    super(`${method}: ${field}: expected ${expected}, got ${got}`);
    this.name = 'UnexpectedReply';
  }
}

const toBig = (value: JsonValue): bigint | undefined => {
  if (typeof value === 'bigint') return value;
  return typeof value === 'number' && Number.isSafeInteger(value) ? BigInt(value) : undefined;
};

/** One object of an answer (or of a hook's or notification's payload: then `method` is its name). */
export class Reply {
  constructor(
    readonly method: string,
    readonly json: JsonObject,
    private readonly path = '',
  ) {}

  str(field: string): string {
    return this.need(field, 'a string', (v) => (typeof v === 'string' ? v : undefined));
  }
  bool(field: string): boolean {
    return this.need(field, 'true or false', (v) => (typeof v === 'boolean' ? v : undefined));
  }
  /** An integer no larger than 2^53. */
  int(field: string): number {
    return this.need(field, 'an integer', (v) => (Number.isSafeInteger(v) ? (v as number) : undefined));
  }
  /** A number, whole or not. */
  num(field: string): number {
    return this.need(field, 'a number', (v) => (typeof v === 'number' ? v : undefined));
  }
  /** An integer of any size. */
  big(field: string): bigint {
    return this.need(field, 'an integer', toBig);
  }
  /** Millisatoshis, as an integer or (before v23.02, and by some plugins) as "123msat". Not negative. */
  msat(field: string): bigint {
    return this.need(field, 'an amount in msat', (v) => {
      const amount = typeof v === 'string' && /^[0-9]{1,20}msat$/.test(v) ? BigInt(v.slice(0, -4)) : toBig(v);
      return amount !== undefined && amount >= 0n ? amount : undefined;
    });
  }
  /** Bytes, as lowercase hex. */
  hex(field: string): string {
    return this.need(field, 'hex', (v) => (typeof v === 'string' && /^(?:[0-9a-fA-F]{2})*$/.test(v) ? v.toLowerCase() : undefined));
  }
  obj(field: string): Reply {
    return this.need(field, 'an object', (v) => (isObject(v) ? new Reply(this.method, v, this.pathOf(field)) : undefined));
  }
  arr(field: string): readonly JsonValue[] {
    return this.need(field, 'an array', (v) => (Array.isArray(v) ? (v as readonly JsonValue[]) : undefined));
  }
  /** An array of objects. */
  objs(field: string): readonly Reply[] {
    return this.arr(field).map((item, i) => {
      if (isObject(item)) return new Reply(this.method, item, this.pathOf(`${field}[${i}]`));
      throw new UnexpectedReply(this.method, this.pathOf(`${field}[${i}]`), 'an object', item);
    });
  }
  /** An array of strings. */
  strs(field: string): readonly string[] {
    return this.arr(field).map((item, i) => {
      if (typeof item === 'string') return item;
      throw new UnexpectedReply(this.method, this.pathOf(`${field}[${i}]`), 'a string', item);
    });
  }

  /** Whether the field is there (`null` is not). */
  has(field: string): boolean {
    return Object.hasOwn(this.json, field) && this.json[field] !== null;
  }
  optStr(field: string): string | undefined {
    return this.has(field) ? this.str(field) : undefined;
  }
  optBool(field: string): boolean | undefined {
    return this.has(field) ? this.bool(field) : undefined;
  }
  optInt(field: string): number | undefined {
    return this.has(field) ? this.int(field) : undefined;
  }
  optBig(field: string): bigint | undefined {
    return this.has(field) ? this.big(field) : undefined;
  }
  optMsat(field: string): bigint | undefined {
    return this.has(field) ? this.msat(field) : undefined;
  }
  optHex(field: string): string | undefined {
    return this.has(field) ? this.hex(field) : undefined;
  }
  optObj(field: string): Reply | undefined {
    return this.has(field) ? this.obj(field) : undefined;
  }
  /** Empty when it is absent. */
  optObjs(field: string): readonly Reply[] {
    return this.has(field) ? this.objs(field) : [];
  }

  /** For checks of meaning: the field has the right type and still cannot be. */
  unexpected(field: string, expected: string): UnexpectedReply {
    return new UnexpectedReply(this.method, this.pathOf(field), expected, this.json[field]);
  }

  private need<T>(field: string, expected: string, read: (value: JsonValue) => T | undefined): T {
    const value = Object.hasOwn(this.json, field) ? this.json[field] : undefined;
    const result = value === undefined ? undefined : read(value);
    if (result === undefined) throw new UnexpectedReply(this.method, this.pathOf(field), expected, value);
    return result;
  }
  private pathOf(field: string): string {
    return this.path === '' ? field : `${this.path}.${field}`;
  }
}

/** Begins reading an answer. */
export const reply = (method: string, value: JsonValue): Reply => {
  if (isObject(value)) return new Reply(method, value);
  throw new UnexpectedReply(method, 'result', 'an object', value);
};
