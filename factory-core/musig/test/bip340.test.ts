/** BIP-340's vectors, every one, on our verification; and the library's verification on random input. */
import { describe, expect, test } from '@jest/globals';
import { schnorr } from '@noble/curves/secp256k1.js';
import { hexToBytes } from '@noble/hashes/utils.js';
import fc from 'fast-check';
import { vectorText } from '../../../blip/test/published-vectors.js';
import { verifySchnorr } from '../schnorr.js';

const rows = vectorText('bip340/test-vectors.csv')
  .trim()
  .split(/\r?\n/)
  .slice(1)
  .map((line) => line.split(','))
  .map(([index, , key, , message, signature, result, ...comment]) => ({
    index: index!,
    key: hexToBytes(key!),
    message: hexToBytes(message!),
    signature: hexToBytes(signature!),
    valid: result === 'TRUE',
    comment: comment.join(','),
  }));

describe('BIP-340 verification', () => {
  test('the file is whole', () => expect(rows).toHaveLength(19));

  test.each(rows)('vector $index $comment', ({ key, message, signature, valid }) => {
    expect(verifySchnorr(signature, message, key)).toBe(valid);
  });

  test('signatures and keys of another length are false', () => {
    const { signature, message, key } = rows[0]!;
    expect(verifySchnorr(signature.slice(0, 63), message, key)).toBe(false);
    expect(verifySchnorr(Uint8Array.of(...signature, 0), message, key)).toBe(false);
    expect(verifySchnorr(signature, message, key.slice(1))).toBe(false);
  });

  test('says what the library says, whichever byte is spoiled', () => {
    const bytes = (n: number): fc.Arbitrary<Uint8Array> => fc.uint8Array({ minLength: n, maxLength: n });
    fc.assert(
      fc.property(bytes(32), bytes(32), bytes(32), fc.nat(63), fc.nat(255), (seed, message, aux, at, flip) => {
        const { secretKey, publicKey } = schnorr.keygen(Uint8Array.of(...seed, ...seed.slice(0, 16)));
        const signature = Uint8Array.from(schnorr.sign(message, secretKey, aux));
        signature[at]! ^= flip;
        expect(verifySchnorr(signature, message, publicKey)).toBe(flip === 0);
        expect(schnorr.verify(signature, message, publicKey)).toBe(flip === 0);
      }),
      { numRuns: 50 },
    );
  });
});
