/**
 * JSON without loss. lightningd writes `*_msat` and ids as plain integers up to 2^64, and `JSON.parse` rounds what is
 * beyond 2^53; here such integers become `bigint`, and `bigint` is written as an integer. Everything else is as
 * `JSON.parse` and `JSON.stringify` have it (a property test compares them).
 */
export type JsonValue = null | boolean | number | bigint | string | readonly JsonValue[] | JsonObject;
export interface JsonObject {
  readonly [key: string]: JsonValue;
}

/** How deep values may nest, read or written: lightningd stays below 12, and recursion here must be bounded. */
export const MAX_DEPTH = 200;

/** `parse`: text that is not JSON (`position` in characters). `stringify`: a value JSON cannot express (`position` is -1). */
export class JsonError extends Error {
  readonly code = 'json';
  constructor(
    readonly action: 'parse' | 'stringify',
    message: string,
    readonly position: number,
  ) {
    super(position < 0 ? message : `${message} at ${position}`);
    this.name = 'JsonError';
  }
}

export const isObject = (value: unknown): value is JsonObject => typeof value === 'object' && value !== null && !Array.isArray(value);

const SPACE = /[ \t\n\r]*/y;
// Control characters must be escaped in JSON strings (RFC 8259, 7).
// eslint-disable-next-line no-control-regex
const PLAIN_STRING = /"[^"\\\u0000-\u001f]*"/y;
const NUMBER = /-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?/y;

class Parser {
  private at = 0;

  constructor(private readonly text: string) {}

  document(): JsonValue {
    const value = this.value(0);
    this.space();
    if (this.at < this.text.length) throw this.error('unexpected text after the value');
    return value;
  }

  private value(depth: number): JsonValue {
    this.space();
    switch (this.text.charCodeAt(this.at)) {
      case 0x7b: // {
        return this.object(this.deeper(depth));
      case 0x5b: // [
        return this.array(this.deeper(depth));
      case 0x22: // "
        return this.string();
      case 0x74: // t
        return this.literal('true', true);
      case 0x66: // f
        return this.literal('false', false);
      case 0x6e: // n
        return this.literal('null', null);
      default:
        return this.number();
    }
  }

  private object(depth: number): JsonObject {
    const result: Record<string, JsonValue> = {};
    this.at++;
    if (this.next(0x7d)) return result;
    do {
      this.space();
      if (this.text.charCodeAt(this.at) !== 0x22) throw this.error('expected a member name');
      const key = this.string();
      if (!this.next(0x3a)) throw this.error('expected ":"');
      const value = this.value(depth);
      // Assigning to `__proto__` would change the object instead of adding a member.
      if (key === '__proto__') Object.defineProperty(result, key, { value, enumerable: true, configurable: true, writable: true });
      else result[key] = value;
    } while (this.next(0x2c));
    if (!this.next(0x7d)) throw this.error('expected "," or "}"');
    return result;
  }

  private array(depth: number): readonly JsonValue[] {
    const result: JsonValue[] = [];
    this.at++;
    if (this.next(0x5d)) return result;
    do result.push(this.value(depth));
    while (this.next(0x2c));
    if (!this.next(0x5d)) throw this.error('expected "," or "]"');
    return result;
  }

  private string(): string {
    PLAIN_STRING.lastIndex = this.at;
    if (PLAIN_STRING.test(this.text)) {
      const plain = this.text.slice(this.at + 1, PLAIN_STRING.lastIndex - 1);
      this.at = PLAIN_STRING.lastIndex;
      return plain;
    }
    let end = this.at + 1;
    for (let c = this.text.charCodeAt(end); c !== 0x22; c = this.text.charCodeAt(end)) {
      if (Number.isNaN(c)) throw this.error('unterminated string');
      end += c === 0x5c ? 2 : 1;
    }
    let value: unknown;
    try {
      value = JSON.parse(this.text.slice(this.at, end + 1));
    } catch {
      throw this.error('bad escape or control character in a string');
    }
    this.at = end + 1;
    return value as string;
  }

  private number(): number | bigint {
    NUMBER.lastIndex = this.at;
    const match = NUMBER.exec(this.text);
    if (match === null) throw this.error(this.at < this.text.length ? 'unexpected character' : 'unexpected end');
    this.at = NUMBER.lastIndex;
    const value = Number(match[0]);
    return match[1] === undefined && match[2] === undefined && !Number.isSafeInteger(value) ? BigInt(match[0]) : value;
  }

  private literal<T>(word: string, value: T): T {
    if (!this.text.startsWith(word, this.at)) throw this.error('unexpected character');
    this.at += word.length;
    return value;
  }

  private next(charCode: number): boolean {
    this.space();
    if (this.text.charCodeAt(this.at) !== charCode) return false;
    this.at++;
    return true;
  }

  private space(): void {
    // Most text has no white space: look before running the expression.
    if (this.text.charCodeAt(this.at) > 0x20) return;
    SPACE.lastIndex = this.at;
    SPACE.test(this.text);
    this.at = SPACE.lastIndex;
  }

  private deeper(depth: number): number {
    if (depth >= MAX_DEPTH) throw this.error(`nested deeper than ${MAX_DEPTH}`);
    return depth + 1;
  }

  private error(message: string): JsonError {
    return new JsonError('parse', message, this.at);
  }
}

/** Parses one JSON text. Integers beyond ±(2^53 - 1) become `bigint`. Throws `JsonError`. */
export const parseJson = (text: string): JsonValue => new Parser(text).document();

/**
 * Writes a value as JSON text. As `JSON.stringify`, members that are `undefined` are left out; unlike it, whatever has no
 * form in JSON (NaN, functions, a cycle, a Date or Map) is a `JsonError` rather than a silent `null` or `{}`.
 */
export const stringifyJson = (value: unknown): string => write(value, []);

/** `path` leads to the value, so that an error can name the culprit. */
const write = (value: unknown, path: (string | number)[]): string => {
  switch (typeof value) {
    case 'string':
      return JSON.stringify(value);
    case 'bigint':
      return value.toString();
    case 'boolean':
      return value ? 'true' : 'false';
    case 'number':
      if (!Number.isFinite(value)) throw noForm(value.toString(), path);
      return JSON.stringify(value);
    case 'object':
      break;
    default:
      throw noForm(`a value of type ${typeof value}`, path);
  }
  if (value === null) return 'null';
  if (path.length >= MAX_DEPTH) throw noForm(`what nests deeper than ${MAX_DEPTH}, or a cycle,`, path.slice(0, 8));
  const member = (key: string | number, item: unknown): string => {
    path.push(key);
    const text = write(item, path);
    path.pop();
    return text;
  };
  if (Array.isArray(value)) return `[${value.map((item: unknown, i) => member(i, item)).join(',')}]`;
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== null && prototype !== Object.prototype) throw noForm('an object that is not plain', path);
  const members = Object.entries(value).filter(([, item]) => item !== undefined);
  return `{${members.map(([key, item]) => `${JSON.stringify(key)}:${member(key, item)}`).join(',')}}`;
};

const noForm = (what: string, path: readonly (string | number)[]): JsonError =>
  new JsonError('stringify', `${what} has no JSON form${path.length === 0 ? '' : ` (at ${path.join('.')})`}`, -1);
