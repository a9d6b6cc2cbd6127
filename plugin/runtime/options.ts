/**
 * Configuration options of the plugin. lightningd checks the form on its command line; what a value means is checked here,
 * at `init` and at every `setconfig`, so that a handler only ever sees values of the right type.
 */
import { isObject, stringifyJson, type JsonObject, type JsonValue } from './json.js';

/** An option whose value cannot be used. The operator reads the message. */
export class OptionError extends Error {
  readonly code = 'option';
  constructor(
    readonly option: string,
    message: string,
  ) {
    super(`${option}: ${message}`);
    this.name = 'OptionError';
  }
}

export interface Option<T> {
  readonly type: 'string' | 'int' | 'bool' | 'flag';
  readonly description: string;
  readonly default?: string | number | boolean;
  readonly multi: boolean;
  readonly dynamic: boolean;
  readonly deprecated: boolean;
  /** From `init` (typed JSON) or `setconfig` (strings); undefined when it is not set. Throws `OptionError`. */
  readonly read: (value: JsonValue | undefined, name: string) => T;
}

export type OptionSchema = Readonly<Record<string, Option<unknown>>>;
export type OptionsOf<S extends OptionSchema> = { readonly [K in keyof S]: S[K] extends Option<infer T> ? T : never };

interface Spec<V, T> {
  readonly description: string;
  readonly default?: V;
  /** May be changed while we run; the plugin's `optionChanged` hears of it. */
  readonly dynamic?: boolean;
  readonly deprecated?: boolean;
  /** Checks and converts. Any exception's message is shown to the operator. */
  readonly convert?: (value: V) => T;
}

const bad = (name: string, expected: string, value: JsonValue): OptionError =>
  new OptionError(name, `should be ${expected}, not ${stringifyJson(value)}`);

const readString = (value: JsonValue, name: string): string => {
  if (typeof value === 'string') return value;
  throw bad(name, 'a string', value);
};
const readInt = (value: JsonValue, name: string): number => {
  const n = typeof value === 'string' && /^[+-]?[0-9]{1,16}$/.test(value) ? Number(value) : value;
  if (typeof n === 'number' && Number.isSafeInteger(n)) return n;
  throw bad(name, 'an integer', value);
};
const readBool = (value: JsonValue, name: string): boolean => {
  if (typeof value === 'boolean') return value;
  const word = typeof value === 'string' ? value.toLowerCase() : '';
  if (['true', 'yes', '1'].includes(word)) return true;
  if (['false', 'no', '0'].includes(word)) return false;
  throw bad(name, "'true' or 'false'", value);
};

const converted = <V, T>(spec: Spec<V, T>, value: V, name: string): T => {
  try {
    // Without `convert`, T is V: the signatures of the constructors below see to that.
    return spec.convert === undefined ? (value as unknown as T) : spec.convert(value);
  } catch (error) {
    throw error instanceof OptionError ? error : new OptionError(name, error instanceof Error ? error.message : String(error));
  }
};

type Scalar = string | number | boolean;

const shape = <V extends Scalar>(type: Option<unknown>['type'], spec: Spec<V, unknown>, multi: boolean) => ({
  type,
  description: spec.description,
  multi,
  dynamic: spec.dynamic ?? false,
  deprecated: spec.deprecated ?? false,
  ...(spec.default === undefined ? {} : { default: spec.default }),
});

const one = <V extends Scalar, T>(
  type: Option<unknown>['type'],
  spec: Spec<V, T>,
  readOne: (value: JsonValue, name: string) => V,
): Option<T | undefined> => ({
  ...shape(type, spec, false),
  read: (value, name) => {
    const given = value === undefined ? spec.default : readOne(value, name);
    return given === undefined ? undefined : converted(spec, given, name);
  },
});

const many = <V extends Scalar, T>(
  type: Option<unknown>['type'],
  spec: Spec<V, T>,
  readOne: (value: JsonValue, name: string) => V,
): Option<readonly T[]> => ({
  ...shape(type, spec, true),
  read: (value, name) => {
    const unset = spec.default === undefined ? [] : [spec.default];
    const items = value === undefined ? unset : Array.isArray(value) ? (value as readonly JsonValue[]) : [value];
    return items.map((item) => converted(spec, readOne(item, name), name));
  },
});

type WithDefault<V, T> = Spec<V, T> & { readonly default: V };

function string<T = string>(spec: WithDefault<string, T>): Option<T>;
function string<T = string>(spec: Spec<string, T>): Option<T | undefined>;
function string<T>(spec: Spec<string, T>): Option<T | undefined> {
  return one('string', spec, readString);
}
function int<T = number>(spec: WithDefault<number, T>): Option<T>;
function int<T = number>(spec: Spec<number, T>): Option<T | undefined>;
function int<T>(spec: Spec<number, T>): Option<T | undefined> {
  return one('int', spec, readInt);
}
function bool<T = boolean>(spec: WithDefault<boolean, T>): Option<T>;
function bool<T = boolean>(spec: Spec<boolean, T>): Option<T | undefined>;
function bool<T>(spec: Spec<boolean, T>): Option<T | undefined> {
  return one('bool', spec, readBool);
}

export const option = {
  string,
  int,
  bool,
  /** Given any number of times. */
  strings: <T = string>(spec: Spec<string, T>): Option<readonly T[]> => many('string', spec, readString),
  ints: <T = number>(spec: Spec<number, T>): Option<readonly T[]> => many('int', spec, readInt),
  /** Takes no value: it is there or it is not. */
  flag: (spec: Omit<Spec<boolean, boolean>, 'default' | 'convert'>): Option<boolean> => ({
    ...shape('flag', spec, false),
    read: (value, name) => value !== undefined && readBool(value, name),
  }),
} as const;

/** Reads all options of `init`. Throws `OptionError` for the first that cannot be used. */
export const readOptions = <S extends OptionSchema>(schema: S, given: JsonValue | undefined): OptionsOf<S> => {
  const values: JsonObject = isObject(given) ? given : {};
  const read = Object.entries(schema).map(([name, o]): [string, unknown] => [name, o.read(values[name], name)]);
  return Object.fromEntries(read) as OptionsOf<S>;
};
