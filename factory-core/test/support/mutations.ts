/** Every value in a piece of data, altered in turn: enumerated from the data, so that a new field is tested the day it appears. */

export interface Mutation<T> {
  /** As validation names fields: `roster[3].key`. */
  readonly path: string;
  readonly what: string;
  /** Whether the new value is one its type may have, so that only knowledge of the rest can tell that it is wrong. */
  readonly plausible: boolean;
  readonly value: T;
}

type Leaf = string | number | bigint;
const isLeaf = (value: unknown): value is Leaf => ['string', 'number', 'bigint'].includes(typeof value);

const join = (path: string, key: string, inArray: boolean): string => (inArray ? `${path}[${key}]` : path === '' ? key : `${path}.${key}`);

/** All leaves below a value, with their paths. */
export const leaves = (value: unknown, path = ''): readonly { readonly path: string; readonly value: Leaf }[] => {
  if (isLeaf(value)) return [{ path, value }];
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, item]) => leaves(item, join(path, key, Array.isArray(value))));
};

const replaceAt = <T>(value: T, at: string, replacement: Leaf | readonly unknown[], path = ''): T => {
  if (path === at) return replacement as T;
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map((item, i) => replaceAt<unknown>(item, at, replacement, `${path}[${i}]`)) as T;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, replaceAt<unknown>(item, at, replacement, join(path, key, false))])) as T;
};

const flipped = (hex: string): string => hex.slice(0, -1) + (hex.endsWith('0') ? '1' : '0');

/** Of a MuSig2 nonce, in hex digits. */
const NONCE_LENGTH = 132;

type Alteration = readonly [what: string, replacement: Leaf, plausible: boolean];
const alterations = (value: Leaf): readonly Alteration[] => {
  if (typeof value === 'number') {
    return [
      ['one more', value + 1, true],
      // Of yes and no, the other one.
      ...(value === 1 ? [['none', 0, true] as const] : []),
      ['a fraction', value + 0.5, false],
      ['negative', -1, false],
      ['not a number', NaN, false],
      ['infinite', Infinity, false],
      ['beyond exact numbers', 2 ** 53, false],
    ];
  }
  if (typeof value === 'bigint') {
    return [
      ['one sat more', value + 1n, true],
      ['one sat less', value - 1n, true],
      ['negative', -1n, false],
      ['dust', 329n, false],
      ['all money and one sat', 2_100_000_000_000_001n, false],
      ['2^64', 2n ** 64n, false],
    ];
  }
  return [
    ['a byte short', value.slice(2), false],
    ['a byte long', `${value}00`, false],
    ['empty', '', false],
    ['upper case', value.toUpperCase().replace(/^\d+$/, `${value}A`), false],
    ['not hex', `zz${value.slice(2)}`, false],
    ['another value of its form', flipped(value), true],
    // Two points, and still two points.
    ...(value.length === NONCE_LENGTH ? [['its halves exchanged', value.slice(NONCE_LENGTH / 2) + value.slice(0, NONCE_LENGTH / 2), true] as const] : []),
  ];
};

export const mutationsOf = <T>(data: T): readonly Mutation<T>[] =>
  leaves(data).flatMap(({ path, value }) =>
    alterations(value).map(([what, replacement, plausible]) => ({ path, what, plausible, value: replaceAt(data, path, replacement) })),
  );

/** All lists below a value, with their paths. */
const lists = (value: unknown, path = ''): readonly { readonly path: string; readonly value: readonly unknown[] }[] => {
  if (typeof value !== 'object' || value === null) return [];
  const inner = Object.entries(value).flatMap(([key, item]) => lists(item, join(path, key, Array.isArray(value))));
  return Array.isArray(value) ? [{ path, value }, ...inner] : inner;
};

const listAlterations = (list: readonly unknown[]): readonly (readonly [what: string, replacement: readonly unknown[]])[] => [
  ['without its last', list.slice(0, -1)],
  ['without its first', list.slice(1)],
  ['its last twice', [...list, ...list.slice(-1)]],
  ...(list.length > 1 ? [['the other way round', [...list].reverse()] as const] : []),
];

/** Every list altered as a whole. */
export const listMutationsOf = <T>(data: T): readonly Mutation<T>[] =>
  lists(data).flatMap(({ path, value }) =>
    listAlterations(value).map(([what, replacement]) => ({ path, what, plausible: true, value: replaceAt(data, path, replacement) })),
  );
