/**
 * BIP-327 key aggregation and tweaking, on bytes and points, to the letter of the BIP: duplicate keys are allowed here
 * (the typed layer above refuses them).
 */
import {
  addScalars,
  hasEvenY,
  INFINITY,
  mulBasePublic,
  negateScalar,
  normalizedPoint,
  type Point,
  POINT_BYTES,
  pointFromBytes,
  scalarFromBytes,
  sumOfProductsPublic,
  taggedHash,
  taggedScalar,
} from '../secp256k1.js';
import { MusigError } from './errors.js';

/** BIP-327 KeyAgg Context: the aggregate point Q (never infinity, normalised) and what the tweaks did to it. */
export interface KeyAggContext {
  readonly point: Point;
  /** `gacc`: 1 or n − 1. */
  readonly sign: bigint;
  /** `tacc`. */
  readonly tweak: bigint;
  /** `GetSessionKeyAggCoeff`; throws MusigError `not_a_signer` for a key that is not one of this context. */
  readonly coefficient: (key: Uint8Array) => bigint;
}

const compareBytes = (a: Uint8Array, b: Uint8Array): number => {
  for (let i = 0; i < a.length && i < b.length; i++) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
};

/** BIP-327 `KeySort`: a sorted copy. Our trees keep the roster's order and do not sort. */
export const sortKeys = (keys: readonly Uint8Array[]): readonly Uint8Array[] => [...keys].sort(compareBytes);

/**
 * BIP-327 `KeyAgg`.
 * @param toPoint decodes a key; a caller that has decoded it before may answer from memory
 * @throws MusigError `wrong_count`, `bad_key` with the index, `infinity`
 */
export const keyAgg = (
  keys: readonly Uint8Array[],
  toPoint: (key: Uint8Array, index: number) => Point = (key) => pointFromBytes(key),
): KeyAggContext => {
  const [first] = keys;
  if (first === undefined) throw new MusigError('wrong_count', 'no keys');
  const points = keys.map((key, index) => {
    try {
      return toPoint(key, index);
    } catch {
      throw new MusigError('bad_key', 'not a compressed point on the curve', index);
    }
  });
  // GetSecondKey: the first key that differs from the first one has the coefficient 1 (the optimisation of MuSig2*).
  const second = keys.find((key) => compareBytes(key, first) !== 0) ?? new Uint8Array(POINT_BYTES);
  const list = taggedHash('KeyAgg list', ...keys);
  const keyAggCoeff = (key: Uint8Array): bigint =>
    compareBytes(key, second) === 0 ? 1n : taggedScalar('KeyAgg coefficient', list, key);
  const coefficient = (key: Uint8Array): bigint => {
    if (!keys.some((one) => compareBytes(one, key) === 0)) throw new MusigError('not_a_signer', 'the key is not among the signers');
    return keyAggCoeff(key);
  };
  const sum = sumOfProductsPublic(keys.map((key, i) => [keyAggCoeff(key), points[i] ?? INFINITY]));
  return { point: notInfinity(sum), sign: 1n, tweak: 0n, coefficient };
};

const notInfinity = (point: Point): Point => {
  if (point.is0()) throw new MusigError('infinity', 'the aggregate key is the point at infinity');
  return normalizedPoint(point);
};

/**
 * BIP-327 `ApplyTweak`.
 * @throws MusigError `bad_tweak` when the tweak is not below n, `infinity`
 */
export const applyTweak = (context: KeyAggContext, tweak: Uint8Array, isXonly: boolean): KeyAggContext => {
  const t = scalarFromBytes(tweak);
  if (t === undefined) throw new MusigError('bad_tweak', 'the tweak must be less than n');
  const negate = isXonly && !hasEvenY(context.point);
  const point = notInfinity((negate ? context.point.negate() : context.point).add(mulBasePublic(t)));
  return {
    point,
    sign: negate ? negateScalar(context.sign) : context.sign,
    tweak: addScalars(t, negate ? negateScalar(context.tweak) : context.tweak),
    coefficient: context.coefficient,
  };
};

/** `g`: 1 when Q has even y, else n − 1. A signature is for the x coordinate, that is, for the point with even y. */
export const evenSign = (context: KeyAggContext): bigint => (hasEvenY(context.point) ? 1n : negateScalar(1n));
