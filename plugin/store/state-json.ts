/**
 * Plain data as canonical JSON: the same data gives the same text (keys in code-unit order, no white space), and the text
 * gives back the same data. What JSON lacks is tagged: a bigint is {"$big":"-12"}, bytes are {"$bytes":"00ff"}. Anything
 * else that JSON would quietly change (NaN, -0, Map, Date, class instances) is refused, and so are unknown tags.
 */
import { createHash } from 'node:crypto';

import type { Hex } from '../../blip/brands.js';
import { StoreError } from './errors.js';

/** Data nest this deep at most; a cycle ends here too. */
const MAX_DEPTH = 64;
const BIG = /^(?:0|-?[1-9][0-9]*)$/;
const HEX = /^(?:[0-9a-f]{2})*$/;

const refuse = (path: string, message: string): never => {
  throw new StoreError('codec', path, message);
};
const checkDepth = (depth: number, path: string): void => {
  if (depth > MAX_DEPTH) refuse(path, `nested deeper than ${MAX_DEPTH}, or in a cycle`);
};
/** '$…' are tags; '__proto__' would set a prototype rather than a property. */
const checkKey = (key: string, path: string): void => {
  if (key.startsWith('$') || key === '__proto__') refuse(path, `the key '${key}' is reserved`);
};

const isPlainObject = (value: object): value is Readonly<Record<string, unknown>> => {
  const proto: unknown = Object.getPrototypeOf(value);
  return proto === Object.prototype || proto === null;
};

const encodeObject = (value: object, path: string, depth: number): string => {
  checkDepth(depth, path);
  if (value instanceof Uint8Array) return `{"$bytes":"${Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('hex')}"}`;
  if (Array.isArray(value)) {
    // Array.from, because map skips the holes of a sparse array, and a hole is as wrong as an undefined.
    return `[${Array.from(value as unknown[], (item, i) => encodeAt(item, `${path}[${i}]`, depth + 1)).join(',')}]`;
  }
  if (!isPlainObject(value)) return refuse(path, `${value.constructor.name} is not plain data`);
  let text = '';
  for (const key of Object.keys(value).sort()) {
    const item = value[key];
    // {a: undefined} and {} are the same to whoever reads a property.
    if (item === undefined) continue;
    checkKey(key, path);
    text += `${text === '' ? '' : ','}${JSON.stringify(key)}:${encodeAt(item, `${path}.${key}`, depth + 1)}`;
  }
  return `{${text}}`;
};

const encodeAt = (value: unknown, path: string, depth: number): string => {
  switch (typeof value) {
    case 'string':
      return JSON.stringify(value);
    case 'boolean':
      return value ? 'true' : 'false';
    case 'bigint':
      return `{"$big":"${value.toString()}"}`;
    case 'number':
      if (!Number.isFinite(value) || Object.is(value, -0)) refuse(path, 'a number that JSON cannot hold');
      return JSON.stringify(value);
    case 'object':
      return value === null ? 'null' : encodeObject(value, path, depth);
    case 'undefined':
    case 'function':
    case 'symbol':
      return refuse(path, `${typeof value} is not data`);
  }
};

/** @throws StoreError 'codec', its culprit the path of what is not plain data */
export const encodeValue = (value: unknown, name = 'value'): string => encodeAt(value, name, 0);

const decodeTag = (tag: string, value: unknown, path: string): bigint | Uint8Array => {
  if (tag === '$big' && typeof value === 'string' && BIG.test(value)) return BigInt(value);
  if (tag === '$bytes' && typeof value === 'string' && HEX.test(value)) return new Uint8Array(Buffer.from(value, 'hex'));
  return refuse(path, `an unknown or malformed tag '${tag}'`);
};

const revive = (value: unknown, path: string, depth: number): unknown => {
  if (typeof value === 'number' && !Number.isFinite(value)) return refuse(path, 'a number out of range');
  if (typeof value !== 'object' || value === null) return value;
  checkDepth(depth, path);
  if (Array.isArray(value)) return value.map((item, i) => revive(item, `${path}[${i}]`, depth + 1));
  const entries = Object.entries(value);
  const [first] = entries;
  if (first !== undefined && entries.length === 1 && first[0].startsWith('$')) return decodeTag(first[0], first[1], path);
  const result: Record<string, unknown> = {};
  for (const [key, item] of entries) {
    checkKey(key, path);
    result[key] = revive(item, `${path}.${key}`, depth + 1);
  }
  return result;
};

/** @throws StoreError 'codec' for what `encodeValue` cannot have written */
export const decodeValue = (text: string, name = 'value'): unknown => {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (cause) {
    throw new StoreError('codec', name, 'not JSON', { cause });
  }
  return revive(parsed, name, 0);
};

/** What makes a state of version n (its index + 1) one of version n + 1. Only ever appended to. */
export type StateUpgrades = readonly ((old: unknown) => unknown)[];
export const STATE_UPGRADES: StateUpgrades = [];

/** A state with the version of its shape. */
export const encodeState = (state: unknown, upgrades: StateUpgrades = STATE_UPGRADES): string =>
  `{"state":${encodeValue(state, 'state')},"version":${upgrades.length + 1}}`;

/**
 * The state, brought to this version's shape.
 * @throws StoreError 'newer_schema' when a later version of the plugin wrote it, 'codec' when nobody did
 */
export const decodeState = (text: string, upgrades: StateUpgrades = STATE_UPGRADES): unknown => {
  const stored = decodeValue(text, 'state');
  if (typeof stored !== 'object' || stored === null || !('version' in stored) || !('state' in stored)) {
    throw new StoreError('codec', 'state', 'has no version');
  }
  const { state, version } = stored;
  if (typeof version !== 'number' || !Number.isSafeInteger(version) || version < 1) {
    throw new StoreError('codec', 'state.version', 'not a version');
  }
  const current = upgrades.length + 1;
  if (version > current) {
    throw new StoreError('newer_schema', 'state', `has version ${version}; this version of the plugin knows up to ${current}`);
  }
  return upgrades.slice(version - 1).reduce((old, upgrade) => upgrade(old), state);
};

/** The fingerprint of a command's arguments: sha256 of their canonical JSON. */
export const digest = (value: unknown): Hex => createHash('sha256').update(encodeValue(value)).digest('hex') as Hex;
