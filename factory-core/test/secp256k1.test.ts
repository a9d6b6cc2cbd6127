/** The curve layer: every way to multiply gives the same point, and only what the BIPs call a point is one. */
import { describe, expect, test } from '@jest/globals';
import { secp256k1 } from '@noble/curves/secp256k1.js';
import fc from 'fast-check';
import {
  addScalars,
  G,
  hasEvenY,
  INFINITY,
  liftX,
  mulAddPublic,
  mulBasePublic,
  mulBaseSecret,
  mulBaseSecretOnce,
  mulPublic,
  mulScalars,
  negateScalar,
  normalized,
  normalizedPoint,
  ORDER,
  type Point,
  pointFromBytes,
  pointFromBytesExt,
  pointToBytesExt,
  scalarFromBytes,
  scalarToBytes,
  sumOfProductsPublic,
  xBytes,
} from '../secp256k1.js';

const edges = [1n, 2n, 255n, 256n, ORDER / 2n, ORDER - 2n, ORDER - 1n];
const scalar = fc.oneof(fc.constantFrom(...edges), fc.bigInt({ min: 1n, max: ORDER - 1n }));
const same = (a: Point, b: Point): void => expect(a.equals(b)).toBe(true);

describe('multiplication', () => {
  test('all of G agree with the library', () => {
    fc.assert(
      fc.property(scalar, (k) => {
        const expected = secp256k1.Point.BASE.multiply(k);
        for (const mul of [mulBaseSecret, mulBaseSecretOnce, mulBasePublic, (n: bigint) => mulPublic(G, n)]) same(mul(k), expected);
      }),
      { numRuns: 40 },
    );
  });

  test('zero: infinity for what is public, an error for a secret', () => {
    same(mulBasePublic(0n), INFINITY);
    same(mulPublic(G, 0n), INFINITY);
    for (const mul of [mulBaseSecret, mulBaseSecretOnce]) {
      for (const bad of [0n, ORDER]) expect(() => mul(bad)).toThrow();
    }
  });

  test('sums of products', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.oneof(fc.constant(0n), fc.constant(1n), scalar), scalar), { maxLength: 6 }), (factors) => {
        const products = factors.map(([k, d]) => [k, mulBasePublic(d)] as const);
        const sum = factors.reduce((total, [k, d]) => addScalars(total, mulScalars(k, d)), 0n);
        same(sumOfProductsPublic(products), mulBasePublic(sum));
        const [first, second] = products;
        if (first && second) same(mulAddPublic(first[1], first[0], second[1], second[0]), sumOfProductsPublic([first, second]));
      }),
      { numRuns: 40 },
    );
  });

  test('what is normalised is the same point', () => {
    const points = edges.map((k) => mulPublic(G, k).double());
    normalized([...points, INFINITY]).forEach((point, i) => same(point, points[i] ?? INFINITY));
    points.forEach((point) => same(normalizedPoint(point), point));
  });
});

describe('encoding', () => {
  test('points, infinity as zeros where the BIP extends the encoding', () => {
    for (const point of [G, G.negate(), G.double()]) {
      same(pointFromBytes(pointToBytesExt(point)), point);
      same(pointFromBytesExt(pointToBytesExt(point)), point);
      same(liftX(xBytes(point)), hasEvenY(point) ? point : point.negate());
    }
    expect(pointToBytesExt(INFINITY)).toEqual(new Uint8Array(33));
    same(pointFromBytesExt(new Uint8Array(33)), INFINITY);
    expect(() => pointFromBytes(new Uint8Array(33))).toThrow();
  });

  test('nothing but 33 bytes compressed, 32 bytes x-only', () => {
    const uncompressed = G.toBytes(false);
    for (const decode of [pointFromBytes, pointFromBytesExt]) {
      for (const bad of [uncompressed, new Uint8Array(0), new Uint8Array(32), new Uint8Array(34), xBytes(G)]) expect(() => decode(bad)).toThrow();
    }
    for (const bad of [G.toBytes(true), Uint8Array.of(0, ...xBytes(G)), Uint8Array.of(1), new Uint8Array(32)]) expect(() => liftX(bad)).toThrow();
  });

  test('scalars: 32 bytes, below n', () => {
    for (const k of [0n, ...edges]) expect(scalarFromBytes(scalarToBytes(k))).toBe(k);
    expect(scalarFromBytes(new Uint8Array(32).fill(0xff))).toBeUndefined();
    const n = scalarToBytes(ORDER - 1n);
    n[31]! += 1;
    expect(scalarFromBytes(n)).toBeUndefined();
    for (const length of [0, 31, 33]) expect(scalarFromBytes(new Uint8Array(length))).toBeUndefined();
    expect(addScalars(negateScalar(5n), 5n)).toBe(0n);
  });
});
