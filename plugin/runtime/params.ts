/**
 * Parameters of a command: a schema in positional order, from which come the usage line, the parsing of named *and*
 * positional parameters, and the handler's types. Values are read as lightningd reads them: `null` counts as absent, and
 * numbers and booleans may come as strings, since lightning-cli quotes whatever it does not take for JSON.
 */
import { CommandError, INVALID_PARAMS } from './command-error.js';
import { isObject, stringifyJson, type JsonObject, type JsonValue } from './json.js';

/** How one value is read. `parse` throws `CommandError` naming the field. */
export interface Param<T> {
  readonly parse: (value: JsonValue, field: string) => T;
  /** Set for a parameter that may be absent: what stands for it then. */
  readonly absent?: { readonly value: T };
}

/** Parameters by name, in positional order; those that must be given come first. */
export type ParamSchema = Readonly<Record<string, Param<unknown>>>;
export type ParamsOf<S extends ParamSchema> = { readonly [K in keyof S]: S[K] extends Param<infer T> ? T : never };

/** -32602, in the words lightningd uses, with the field in `data`. */
export const invalidParam = (field: string, expected: string, value: JsonValue): CommandError => {
  const shown = stringifyJson(value);
  const short = shown.length > 200 ? `${shown.slice(0, 200)}…` : shown;
  return new CommandError(INVALID_PARAMS, `${field}: should be ${expected}: invalid token ${short}`, { field });
};

const INTEGER = /^-?(?:0|[1-9][0-9]{0,30})$/;

/** An integer, or a string of one. */
const integer = (value: JsonValue): bigint | undefined => {
  if (typeof value === 'bigint') return value;
  if (typeof value === 'number') return Number.isSafeInteger(value) ? BigInt(value) : undefined;
  return typeof value === 'string' && INTEGER.test(value) ? BigInt(value) : undefined;
};

const MSAT_UNITS = { msat: { whole: 1n, decimals: [0] }, sat: { whole: 1_000n, decimals: [0, 3] }, btc: { whole: 100_000_000_000n, decimals: [0, 8, 11] } } as const;
const AMOUNT = /^([0-9]{1,20})(?:\.([0-9]{1,11}))?(msat|sat|btc)$/;
const MAX_MSAT = 2_100_000_000_000_000_000n;

/** An amount in the forms of lightningd-rpc(7): an integer of msat, "10msat", "10sat", "10.000sat", "1btc", "0.00000010btc", … */
const millisatoshis = (value: JsonValue): bigint | undefined => {
  const plain = integer(value);
  if (plain !== undefined || typeof value !== 'string') return plain;
  const [, whole = '', fraction = '', unit = ''] = AMOUNT.exec(value) ?? [];
  const rule = Object.entries(MSAT_UNITS).find(([name]) => name === unit)?.[1];
  if (rule === undefined || !rule.decimals.some((n) => n === fraction.length)) return undefined;
  const part = fraction === '' ? 0n : (BigInt(fraction) * rule.whole) / 10n ** BigInt(fraction.length);
  return BigInt(whole) * rule.whole + part;
};

const amount =
  (unit: 'msat' | 'sat', bounds: { readonly min?: bigint; readonly max?: bigint }) =>
  (value: JsonValue, field: string): bigint => {
    const msat = millisatoshis(value);
    const { min = 0n, max = MAX_MSAT } = bounds;
    if (msat === undefined || msat < min || msat > max || (unit === 'sat' && msat % 1_000n !== 0n)) {
      const form = unit === 'sat' ? 'a whole number of satoshis' : 'an amount';
      throw invalidParam(field, `${form} from ${min.toString()} to ${max.toString()} msat, as an integer of msat or like "100000sat"`, value);
    }
    return msat;
  };

export const param = {
  string: (rule: { readonly pattern?: RegExp; readonly expected?: string; readonly maxLength?: number } = {}): Param<string> => ({
    parse: (value, field) => {
      const { pattern, maxLength = 65_536 } = rule;
      // lightning-cli hands a label of digits over as a number.
      const text = typeof value === 'number' || typeof value === 'bigint' ? value.toString() : value;
      if (typeof text !== 'string' || text.length > maxLength || pattern?.test(text) === false)
        throw invalidParam(field, rule.expected ?? 'a string', value);
      return text;
    },
  }),

  /** A safe integer within bounds. */
  int: (min = Number.MIN_SAFE_INTEGER, max = Number.MAX_SAFE_INTEGER): Param<number> => ({
    parse: (value, field) => {
      const n = integer(value);
      if (n === undefined || n < BigInt(min) || n > BigInt(max)) throw invalidParam(field, `an integer from ${min} to ${max}`, value);
      return Number(n);
    },
  }),

  bool: (): Param<boolean> => ({
    parse: (value, field) => {
      if (value === true || value === 'true') return true;
      if (value === false || value === 'false') return false;
      throw invalidParam(field, "'true' or 'false'", value);
    },
  }),

  /** Millisatoshis. Bounds in msat. */
  msat: (bounds: { readonly min?: bigint; readonly max?: bigint } = {}): Param<bigint> => ({ parse: amount('msat', bounds) }),

  /** An amount of whole satoshis, in *millisatoshis*, as every amount of ours travels over RPC. Bounds in msat. */
  wholeSatMsat: (bounds: { readonly min?: bigint; readonly max?: bigint } = {}): Param<bigint> => ({ parse: amount('sat', bounds) }),

  hex: (bytes?: number): Param<string> => ({
    parse: (value, field) => {
      if (typeof value !== 'string' || !/^(?:[0-9a-fA-F]{2})*$/.test(value) || (bytes !== undefined && value.length !== 2 * bytes))
        throw invalidParam(field, bytes === undefined ? 'hex' : `${bytes} bytes of hex`, value);
      return value.toLowerCase();
    },
  }),

  oneOf: <const T extends string>(...choices: readonly T[]): Param<T> => ({
    parse: (value, field) => {
      const choice = choices.find((c) => c === value);
      if (choice === undefined) throw invalidParam(field, `one of ${choices.join(', ')}`, value);
      return choice;
    },
  }),

  /** Items are named `field[3]` in errors. */
  array: <T>(item: Param<T>, bounds: { readonly min?: number; readonly max?: number } = {}): Param<readonly T[]> => ({
    parse: (value, field) => {
      const { min = 0, max = 10_000 } = bounds;
      if (!Array.isArray(value) || value.length < min || value.length > max)
        throw invalidParam(field, `an array of ${min} to ${max} items`, value);
      return (value as readonly JsonValue[]).map((v, i) => item.parse(v, `${field}[${i}]`));
    },
  }),

  /** An object with these members and no others. They are named `field.member` in errors. */
  object: <S extends ParamSchema>(members: S): Param<ParamsOf<S>> => ({
    parse: (value, field) => {
      if (!isObject(value)) throw invalidParam(field, 'an object', value);
      return readNamed(members, value, `${field}.`);
    },
  }),

  /** Anything at all. */
  json: (): Param<JsonValue> => ({ parse: (value) => value }),

  /** Whatever `parse` makes of it. It throws `invalidParam(…)`; any other error's message becomes a -32602 that names the field. */
  custom: <T>(parse: (value: JsonValue, field: string) => T): Param<T> => ({
    parse: (value, field) => {
      try {
        return parse(value, field);
      } catch (error) {
        if (error instanceof CommandError) throw error;
        throw new CommandError(INVALID_PARAMS, `${field}: ${error instanceof Error ? error.message : String(error)}`, { field });
      }
    },
  }),

  /** The first of two readings that fits; `expected` describes both. */
  either: <A, B>(first: Param<A>, second: Param<B>, expected: string): Param<A | B> => ({
    parse: (value, field) => {
      for (const reading of [first, second] as const) {
        try {
          return reading.parse(value, field);
        } catch (error) {
          // An error inside the value says more than "neither".
          if (error instanceof CommandError && error.data?.['field'] !== field) throw error;
        }
      }
      throw invalidParam(field, expected, value);
    },
  }),

  optional: <T>(p: Param<T>): Param<T | undefined> => ({ parse: p.parse, absent: { value: undefined } }),
  withDefault: <T>(p: Param<T>, value: T): Param<T> => ({ parse: p.parse, absent: { value } }),
} as const;

/** `clients capacity [stock] …`, as lightningd wants it in the manifest. */
export const usageOf = (schema: ParamSchema): string =>
  Object.entries(schema)
    .map(([name, p]) => (p.absent === undefined ? name : `[${name}]`))
    .join(' ');

/** Reads an object or an array of parameters. Throws `CommandError` -32602. */
export const readParams = <S extends ParamSchema>(schema: S, params: JsonValue | undefined): ParamsOf<S> => {
  if (Array.isArray(params)) return readNamed(schema, byName(schema, params as readonly JsonValue[]), '');
  if (params === undefined || isObject(params)) return readNamed(schema, params ?? {}, '');
  throw new CommandError(INVALID_PARAMS, 'Expected array or object for params');
};

const byName = (schema: ParamSchema, values: readonly JsonValue[]): JsonObject => {
  const names = Object.keys(schema);
  if (values.length > names.length)
    throw new CommandError(INVALID_PARAMS, `too many parameters: got ${values.length}, expected ${names.length}`);
  return Object.fromEntries(values.map((value, i) => [names[i] ?? '', value]));
};

const readNamed = <S extends ParamSchema>(schema: S, given: JsonObject, prefix: string): ParamsOf<S> => {
  const unknown = Object.keys(given).find((name) => !Object.hasOwn(schema, name));
  if (unknown !== undefined) throw new CommandError(INVALID_PARAMS, `unknown parameter: ${prefix}${unknown}`, { field: prefix + unknown });
  const read = Object.entries(schema).map(([name, p]): [string, unknown] => {
    const field = prefix + name;
    const value = Object.hasOwn(given, name) ? given[name] : undefined;
    if (value !== undefined && value !== null) return [name, p.parse(value, field)];
    if (p.absent === undefined) throw new CommandError(INVALID_PARAMS, `missing required parameter: ${field}`, { field });
    return [name, p.absent.value];
  });
  return Object.fromEntries(read) as ParamsOf<S>;
};
