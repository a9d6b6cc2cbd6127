import { describe, expect, test } from '@jest/globals';
import { schnorr } from '@noble/curves/secp256k1.js';
import { hexToBytes } from '@noble/hashes/utils.js';
import { aggregateKeys, aggregateNonces, aggregatePartials, findCulprits, verifyFinal, verifyPartial } from '../index.js';
import { signableOf, signersOf } from './signables.js';

describe('a session from keys to signature', () => {
  test.each([1, 2, 5, 33])('%i signers', (count) => {
    const signers = signersOf(count);
    const s = signableOf(signers.map((one) => one.publicKey));
    const nonces = signers.map((one) => one.nonce('1', s));
    const aggregate = aggregateNonces(nonces);
    const partials = signers.map((one) => one.sign('1', s, aggregate));
    const signature = aggregatePartials(s, aggregate, partials);
    expect(verifyFinal(s, signature)).toBe(true);
    expect(partials.every((partial, i) => verifyPartial(s, aggregate, nonces, i, partial))).toBe(true);
    expect(findCulprits(s, aggregate, nonces, partials)).toEqual([]);
    // The library's own BIP-340 agrees.
    const { outputKey } = aggregateKeys(s.signers);
    expect(schnorr.verify(hexToBytes(signature), hexToBytes(s.sighash), hexToBytes(outputKey))).toBe(true);
  });
});
