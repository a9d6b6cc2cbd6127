import { hexToBytes } from '@noble/hashes/utils.js';
import { stringifyJson } from '../../plugin/runtime/json.js';
import { CODE, type Json, RpcError, show } from './types.js';

/** Turns one JSON parameter into a value. @throws RpcError as lightningd's param_* functions answer */
export type Parser<T> = (value: Json, name: string) => T;

export interface Param<T> {
  readonly parse: Parser<T>;
  readonly required: boolean;
  readonly absent: T;
}

export type Params = Readonly<Record<string, Param<unknown>>>;
export type Args<P extends Params> = { readonly [K in keyof P]: P[K] extends Param<infer T> ? T : never };

// The value for "absent" of a required parameter is never looked at.
export const req = <T>(parse: Parser<T>): Param<T> => ({ parse, required: true, absent: undefined as T });
export const opt = <T>(parse: Parser<T>): Param<T | undefined> => ({ parse, required: false, absent: undefined });
export const def = <T>(parse: Parser<T>, absent: T): Param<T> => ({ parse, required: false, absent });

export const badParam = (name: string, expected: string, value: Json): RpcError =>
  new RpcError(CODE.invalidParams, `${name}: ${expected}: invalid token '${stringifyJson(value)}'`);

/** Positional or named parameters to arguments, with lightningd's complaints. */
export const readArgs = <P extends Params>(specs: P, given: Json | undefined): Args<P> => {
  const names = Object.keys(specs);
  const values = new Map<string, Json>();
  if (Array.isArray(given)) {
    if (given.length > names.length) throw new RpcError(CODE.invalidParams, `too many parameters: got ${given.length}, expected ${names.length}`);
    given.forEach((value: Json, index) => values.set(names[index] ?? '', value));
  } else {
    for (const [name, value] of Object.entries(given ?? {})) {
      if (!names.includes(name)) throw new RpcError(CODE.invalidParams, `unknown parameter: ${name}, ${KEYWORD_HINT}`);
      if (value !== undefined) values.set(name, value as Json);
    }
  }
  const args: Record<string, unknown> = {};
  for (const [name, spec] of Object.entries(specs)) {
    const value = values.get(name);
    // As in lightningd, null stands for "not given".
    if (value === undefined || value === null) {
      if (spec.required) throw new RpcError(CODE.invalidParams, `missing required parameter: ${name}`);
      args[name] = spec.absent;
    } else args[name] = spec.parse(value, name);
  }
  return args as Args<P>;
};

const KEYWORD_HINT =
  'this may be caused by a failure to autodetect key=value-style parameters. Please try using the -k flag and explicit key=value pairs of parameters.';

export const any: Parser<Json> = (value) => value;

export const str: Parser<string> = (value, name) => {
  if (typeof value === 'string') return value;
  if (typeof value === 'number' || typeof value === 'bigint') return String(value);
  throw badParam(name, 'should be a string', value);
};

export const bool: Parser<boolean> = (value, name) => {
  if (value === true || value === 'true') return true;
  if (value === false || value === 'false') return false;
  throw badParam(name, "should be 'true' or 'false'", value);
};

const integer = (value: Json): number | undefined => {
  const number = typeof value === 'string' && /^\d+$/.test(value) ? Number(value) : typeof value === 'number' ? value : Number.NaN;
  return Number.isSafeInteger(number) && number >= 0 ? number : undefined;
};

export const int: Parser<number> = (value, name) => {
  const number = integer(value);
  if (number === undefined) throw badParam(name, 'should be an integer', value);
  return number;
};

const UNITS: Readonly<Record<string, number>> = { '': 1, msat: 1, sat: 1_000, btc: 100_000_000_000 };

/** An amount with an optional unit, in millisatoshis. */
const amount = (value: Json, bare: number): number | undefined => {
  const match = /^(\d+(?:\.\d+)?)(msat|sat|btc|)$/.exec(show(value));
  if (match === null || (typeof value !== 'string' && typeof value !== 'number')) return undefined;
  const unit = match[2] ?? '';
  const msat = Math.round(Number(match[1]) * (unit === '' ? bare : (UNITS[unit] ?? 1)));
  return Number.isSafeInteger(msat) ? msat : undefined;
};

export const msat: Parser<number> = (value, name) => {
  const found = amount(value, 1);
  if (found === undefined) throw badParam(name, 'should be a millisatoshi amount', value);
  return found;
};

export const sat: Parser<number> = (value, name) => {
  const found = amount(value, 1_000);
  if (found === undefined || found % 1_000 !== 0) throw badParam(name, 'should be a satoshi amount', value);
  return found / 1_000;
};

export const satOrAll: Parser<number | 'all'> = (value, name) => (value === 'all' ? 'all' : sat(value, name));
export const msatOrAny: Parser<number | 'any'> = (value, name) => (value === 'any' ? 'any' : msat(value, name));

const hexOf =
  (expected: string, bytes?: number): Parser<string> =>
  (value, name) => {
    if (typeof value !== 'string' || !/^(?:[0-9a-fA-F]{2})*$/.test(value) || (bytes !== undefined && value.length !== bytes * 2)) throw badParam(name, expected, value);
    return value.toLowerCase();
  };

export const hex = hexOf('should be a hex value');
export const txid = hexOf('should be a txid', 32);
export const hash = hexOf('should be a 32 byte hex value', 32);
export const channelId = hexOf('should be a channel id', 32);
export const nodeId: Parser<string> = (value, name) => {
  const id = hexOf('should be a node id', 33)(value, name);
  if (!/^0[23]/.test(id)) throw badParam(name, 'should be a node id', value);
  return id;
};
export const bytes: Parser<Uint8Array> = (value, name) => hexToBytes(hex(value, name));

export const scid: Parser<string> = (value, name) => {
  if (typeof value !== 'string' || !/^\d+x\d+x\d+$/.test(value)) throw badParam(name, 'should be a short_channel_id', value);
  return value;
};

export interface Outpoint {
  readonly txid: string;
  readonly vout: number;
}
export const outpoint: Parser<Outpoint> = (value, name) => {
  const match = /^([0-9a-f]{64}):(\d+)$/.exec(show(value));
  if (match === null) throw badParam(name, 'should be a txid:outnum', value);
  return { txid: match[1] ?? '', vout: Number(match[2]) };
};

export const arrayOf =
  <T>(parse: Parser<T>): Parser<readonly T[]> =>
  (value, name) => {
    if (!Array.isArray(value)) throw badParam(name, 'should be an array', value);
    return value.map((item: Json, index) => parse(item, `${name}[${index}]`));
  };

export const oneOf =
  <T extends string>(...choices: readonly T[]): Parser<T> =>
  (value, name) => {
    const found = choices.find((choice) => choice === value);
    if (found === undefined) throw badParam(name, `should be one of ${choices.map((choice) => `'${choice}'`).join(', ')}`, value);
    return found;
  };

/** sat per 1,000 weight: what regtest lightningd falls back to without estimates, and its floor. */
export const FLOOR_PERKW = 253;

/** sat per 1,000 weight of a commitment with anchors, on regtest. */
export const COMMITMENT_PERKW = 1250;

/** A feerate parameter, in satoshis per 1,000 weight units. */
export const feerate: Parser<number> = (value, name) => {
  if (['slow', 'normal', 'urgent', 'minimum', 'opening', 'mutual_close', 'unilateral_close', 'penalty'].includes(show(value))) return FLOOR_PERKW;
  const match = /^(\d+)(perkw|perkb|)$/.exec(show(value));
  if (match === null) throw badParam(name, 'should be an integer with optional perkw/perkb, or slow/normal/urgent', value);
  const rate = Number(match[1]);
  return match[2] === 'perkw' ? rate : Math.max(Math.floor(rate / 4), FLOOR_PERKW);
};
