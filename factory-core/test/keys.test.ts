import { describe, expect, test } from '@jest/globals';
import { secp256k1 } from '@noble/curves/secp256k1.js';
import { bytesToHex, hexToBytes } from '@noble/hashes/utils.js';
import fc from 'fast-check';
import { FormatError, instanceId, nodeId, pubKey } from '../../blip/brands.js';
import { deriveFactoryKey, factorySecretLabel, firstValidKey, isSecretKeyOf, isValidPoint, publicKeyOf } from '../keys.js';
import { ORDER, scalarToBytes, taggedHash } from '../secp256k1.js';

const alice = nodeId(`02${'11'.repeat(32)}`);
const bob = nodeId(`03${'22'.repeat(32)}`);
const first = instanceId('33'.repeat(32));
const second = instanceId('44'.repeat(32));
const secret = new Uint8Array(32).fill(7);
const bytes32 = fc.uint8Array({ minLength: 32, maxLength: 32 });

describe('the label for makesecret', () => {
  test('names protocol, coordinator and instance', () => {
    expect(factorySecretLabel(alice, first)).toBe(`cln-factory/1/${alice}/${first}`);
  });
});

describe('deriveFactoryKey', () => {
  // Whoever changes the derivation locks operators out of their factories: this figure is part of the format.
  test('a fixed secret gives a fixed key', () => {
    const label = new TextEncoder().encode(`cln-factory/1/${alice}/${first}`);
    expect(deriveFactoryKey(secret, alice, first)).toEqual(taggedHash('cln-factory/1/key', secret, label));
    expect(bytesToHex(deriveFactoryKey(secret, alice, first))).toBe('48b8bc0dd802de3ae4422b29e797ddc51f7ab5c1e10ce7ed4ea10bfc753abb8d');
  });

  test('another secret, coordinator or instance gives another key', () => {
    const keys = [
      deriveFactoryKey(secret, alice, first),
      deriveFactoryKey(secret, bob, first),
      deriveFactoryKey(secret, alice, second),
      deriveFactoryKey(new Uint8Array(32).fill(8), alice, first),
    ];
    expect(new Set(keys.map(bytesToHex)).size).toBe(4);
  });

  test.each([0, 31, 33])('a secret of %i bytes is refused', (length) => {
    expect(() => deriveFactoryKey(new Uint8Array(length), alice, first)).toThrow(new FormatError('secret', '32 bytes'));
  });
});

describe('firstValidKey', () => {
  const outOfRange: readonly [string, Uint8Array][] = [
    ['0', new Uint8Array(32)],
    ['n', hexToBytes(ORDER.toString(16))],
    ['n + 1', hexToBytes((ORDER + 1n).toString(16))],
    ['2^256 - 1', new Uint8Array(32).fill(0xff)],
  ];

  test.each(outOfRange)('hashes %s again', (_, candidate) => {
    const key = firstValidKey(candidate);
    expect(key).toEqual(taggedHash('cln-factory/1/rehash', candidate));
    expect(secp256k1.utils.isValidSecretKey(key)).toBe(true);
  });

  test.each([['1', 1n], ['n - 1', ORDER - 1n]])('keeps %s', (_, scalar) => {
    const candidate = scalarToBytes(scalar);
    expect(firstValidKey(candidate)).toBe(candidate);
  });
});

describe('publicKeyOf, isSecretKeyOf', () => {
  test('what the library says', () => {
    fc.assert(
      fc.property(bytes32, (candidate) => {
        const key = firstValidKey(candidate);
        expect(publicKeyOf(key)).toBe(bytesToHex(secp256k1.getPublicKey(key)));
      }),
      { numRuns: 20 },
    );
  });

  test('a key belongs to its own public key only', () => {
    const key = deriveFactoryKey(secret, alice, first);
    const other = deriveFactoryKey(secret, alice, second);
    expect(isSecretKeyOf(key, publicKeyOf(key))).toBe(true);
    expect(isSecretKeyOf(other, publicKeyOf(key))).toBe(false);
  });

  test.each([
    ['zero', new Uint8Array(32)],
    ['n', hexToBytes(ORDER.toString(16))],
    ['31 bytes', new Uint8Array(31).fill(1)],
    ['33 bytes', new Uint8Array(33).fill(1)],
  ])('%s is no secret key', (_, bad) => {
    expect(() => publicKeyOf(bad)).toThrow(FormatError);
    expect(isSecretKeyOf(bad, publicKeyOf(secret))).toBe(false);
  });
});

describe('isValidPoint', () => {
  test('a point', () => expect(isValidPoint(publicKeyOf(secret))).toBe(true));
  test.each([
    ['not on the curve', `02${'05'.padStart(64, '0')}`],
    ['x of p or more', `02${'ff'.repeat(32)}`],
    ['x = 0', `02${'00'.repeat(32)}`],
  ])('%s', (_, key) => expect(isValidPoint(pubKey(key))).toBe(false));
});
