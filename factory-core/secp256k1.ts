/**
 * The one place that touches the curve library: points, scalars and tagged hashes of secp256k1 as BIP-340, BIP-341 and
 * BIP-327 need them. Which multiplication runs in constant time is decided here, by name: `…Secret` for secrets,
 * `…Public` for what everybody may see. The functions throw plain `RangeError`; callers turn that into their own typed
 * errors, because only they know whose input it was.
 */
import { mulAddUnsafe, normalizeZ, ScalarMultiplier } from '@noble/curves/abstract/curve.js';
import { schnorr, secp256k1 } from '@noble/curves/secp256k1.js';
import { bytesToNumberBE } from '@noble/curves/utils.js';

const Curve = secp256k1.Point;
const Scalars = Curve.Fn;

/** A point of secp256k1, infinity included. Immutable. */
export type Point = typeof Curve.BASE;

/** The point at infinity. */
export const INFINITY: Point = Curve.ZERO;
/** The generator. */
export const G: Point = Curve.BASE;
/** The order n of the group. */
export const ORDER: bigint = Scalars.ORDER;

/** Bytes of a compressed point. */
export const POINT_BYTES = 33;
/** Bytes of a scalar, and of an x coordinate. */
export const SCALAR_BYTES = 32;

const normalize = (points: Point[]): Point[] => normalizeZ(Curve, points);

/**
 * A table of multiples of G of our own: windows of 8 bits (1 MB, 20 ms on first use) halve the time of a nonce against
 * the library's `G.multiply`, whose scalar is also blinded. Blinding protects a secret that is multiplied again and
 * again; a nonce is used once. `mulCT` touches every table entry of every window, whatever the scalar.
 */
const base = Curve.fromAffine(Curve.BASE.toAffine()).precompute(8);
const multiplier = new ScalarMultiplier(Curve);

/** k·G in constant time, for scalars that are used once (nonces); 0 < k < n. */
export const mulBaseSecretOnce = (k: bigint): Point => multiplier.mulCT(base, k, normalize).p;
/** d·G in constant time and blinded, for secrets that live long (keys); 0 < d < n. */
export const mulBaseSecret = (d: bigint): Point => Curve.BASE.multiply(d);
/** k·G for public k; 0 ≤ k < n. */
export const mulBasePublic = (k: bigint): Point => multiplier.mulUnsafe(base, k, normalize);
/** k·P for public k and P; 0 ≤ k < n. Variable time, with the endomorphism. */
export const mulPublic = (point: Point, k: bigint): Point => point.multiplyUnsafe(k);
/** a·P + b·Q for public values, in one walk. Variable time, with the endomorphism. */
export const mulAddPublic = (p: Point, a: bigint, q: Point, b: bigint): Point => p.mulAddUnsafe(a, q, b);

/** k·P, as a pair. */
export type Product = readonly [bigint, Point];

/**
 * Σ kᵢ·Pᵢ for public values. A factor 1 costs an addition; one other product alone is fastest with the endomorphism, more
 * of them share one chain of doublings (Strauss), which the library does not combine with it.
 */
export const sumOfProductsPublic = (products: readonly Product[]): Point => {
  const plain = products.filter(([k]) => k === 1n);
  const weighted = products.filter(([k]) => k !== 1n);
  const [only] = weighted;
  const sum =
    only !== undefined && weighted.length === 1
      ? mulPublic(only[1], only[0])
      : mulAddUnsafe(Curve, weighted.map(([, point]) => point), weighted.map(([k]) => k));
  return plain.reduce((total, [, point]) => total.add(point), sum);
};

/** BIP-327 `cpoint`: 33 bytes to a point. Throws unless they are a point on the curve, compressed, not infinity. */
export const pointFromBytes = (bytes: Uint8Array): Point => {
  if (bytes.length !== POINT_BYTES) throw new RangeError('a compressed point has 33 bytes');
  return Curve.fromBytes(bytes);
};

const isZero = (bytes: Uint8Array): boolean => bytes.every((byte) => byte === 0);

/** BIP-327 `cpoint_ext`: as `pointFromBytes`, and 33 zero bytes are infinity. */
export const pointFromBytesExt = (bytes: Uint8Array): Point =>
  bytes.length === POINT_BYTES && isZero(bytes) ? INFINITY : pointFromBytes(bytes);

/** BIP-340 `lift_x`: the point with this x and even y. Throws if there is none. */
export const liftX = (x: Uint8Array): Point => {
  if (x.length !== SCALAR_BYTES) throw new RangeError('an x coordinate has 32 bytes');
  return schnorr.utils.lift_x(bytesToNumberBE(x));
};

/** The same points with Z = 1, for the price of one inversion. Do this before asking for coordinates. */
export const normalized = (points: readonly Point[]): readonly Point[] => normalize([...points]);
/** The same point with Z = 1. */
export const normalizedPoint = (point: Point): Point => Curve.fromAffine(point.toAffine());

/** BIP-327 `cbytes_ext` of one point: 33 bytes, infinity as zeros. */
export const pointToBytesExt = (point: Point): Uint8Array =>
  point.is0() ? new Uint8Array(POINT_BYTES) : point.toBytes(true);
/** BIP-340 `bytes(x(P))`; P must not be infinity. */
export const xBytes = (point: Point): Uint8Array => point.toBytes(true).slice(1);
/** BIP-340 `has_even_y(P)`; P must not be infinity. */
export const hasEvenY = (point: Point): boolean => (point.toAffine().y & 1n) === 0n;

/** 32 big-endian bytes as a number, which may be n or more. */
export const integerFromBytes = (bytes: Uint8Array): bigint => bytesToNumberBE(bytes);
/** 32 big-endian bytes as a scalar; undefined when the number is n or more. */
export const scalarFromBytes = (bytes: Uint8Array): bigint | undefined => {
  if (bytes.length !== SCALAR_BYTES) return undefined;
  const value = bytesToNumberBE(bytes);
  return value < ORDER ? value : undefined;
};
/** A scalar as 32 big-endian bytes. */
export const scalarToBytes = (k: bigint): Uint8Array => Scalars.toBytes(k);

export const addScalars = (a: bigint, b: bigint): bigint => Scalars.add(a, b);
export const mulScalars = (a: bigint, b: bigint): bigint => Scalars.mul(a, b);
export const negateScalar = (a: bigint): bigint => Scalars.neg(a);

/** BIP-340 `hash_tag(parts…)`: SHA-256 with the tag's hash twice in front. */
export const taggedHash = (tag: string, ...parts: readonly Uint8Array[]): Uint8Array => schnorr.utils.taggedHash(tag, ...parts);
/** `int(hash_tag(parts…)) mod n`. */
export const taggedScalar = (tag: string, ...parts: readonly Uint8Array[]): bigint =>
  Scalars.create(bytesToNumberBE(taggedHash(tag, ...parts)));
