/** Our MuSig2 and the one of @scure/btc-signer, signer by signer in the same sessions. */
import { describe, expect, test } from '@jest/globals';
import { schnorr } from '@noble/curves/secp256k1.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex, hexToBytes } from '@noble/hashes/utils.js';
import * as scure from '@scure/btc-signer/musig2.js';
import fc from 'fast-check';
import { hex, type Hex, type PartialSignature, partialSignature, publicNonce } from '../../../blip/brands.js';
import { firstValidKey, publicKeyOf } from '../../keys.js';
import { tapTweak } from '../../taproot.js';
import { aggregateKeys, aggregateNonces, aggregatePartials, createSigner, findCulprits, verifyFinal, verifyPartial } from '../index.js';
import { nonceAgg, nonceGen } from '../nonce.js';
import { keyPair, partialAgg, partialSign, partialVerify, sessionValues } from '../session.js';
import { contextOf } from './bip327.js';
import { countingRandom, signableOf } from './signables.js';

const bytes = (length: number): fc.Arbitrary<Uint8Array> => fc.uint8Array({ minLength: length, maxLength: length });
const secretKey = bytes(32).map((candidate) => firstValidKey(sha256(candidate)));
/** A signer: its secret key, whether it runs our code, and what its randomness grows from. */
const party = fc.record({ secretKey, ours: fc.boolean(), seed: fc.string() });
const parties = fc.uniqueArray(party, { minLength: 1, maxLength: 9, selector: (one) => bytesToHex(one.secretKey) });
const root: fc.Arbitrary<Hex | undefined> = fc.option(bytes(32).map((value) => hex(bytesToHex(value))), { nil: undefined });

describe('with @scure/btc-signer/musig2', () => {
  test('mixed signers make one Taproot signature, and both libraries agree on every step', () => {
    fc.assert(
      fc.property(parties, root, fc.string(), (all, merkleRoot, name) => {
        const keys = all.map((one) => publicKeyOf(one.secretKey));
        const s = signableOf(keys, name, merkleRoot);
        const message = hexToBytes(s.sighash);
        const theirKeys = keys.map((key) => hexToBytes(key));
        const tweak = tapTweak(hexToBytes(aggregateKeys(keys, merkleRoot).internalKey), merkleRoot);
        const outputKey = scure.keyAggExport(scure.keyAggregate(theirKeys, [tweak], [true]));
        expect(bytesToHex(outputKey)).toBe(aggregateKeys(keys, merkleRoot).outputKey);

        const signers = all.map((one, i) => {
          if (one.ours) {
            const signer = createSigner(one.secretKey, countingRandom(one.seed));
            return { nonce: signer.nonce('1', s), sign: (aggregate: Parameters<typeof signer.sign>[2]) => signer.sign('1', s, aggregate) };
          }
          const made = scure.nonceGen(theirKeys[i]!, one.secretKey, outputKey, message, undefined, sha256(new TextEncoder().encode(one.seed)));
          const sign = (aggregate: string): PartialSignature => {
            const session = new scure.Session(hexToBytes(aggregate), theirKeys, message, [tweak], [true]);
            return partialSignature(bytesToHex(session.sign(made.secret, one.secretKey)));
          };
          return { nonce: publicNonce(bytesToHex(made.public)), sign };
        });
        const nonces = signers.map((one) => one.nonce);
        const aggregate = aggregateNonces(nonces);
        expect(bytesToHex(scure.nonceAggregate(nonces.map((nonce) => hexToBytes(nonce))))).toBe(aggregate);

        const partials = signers.map((one) => one.sign(aggregate));
        const session = new scure.Session(hexToBytes(aggregate), theirKeys, message, [tweak], [true]);
        partials.forEach((partial, i) => {
          expect(verifyPartial(s, aggregate, nonces, i, partial)).toBe(true);
          expect(session.partialSigVerify(hexToBytes(partial), nonces.map((nonce) => hexToBytes(nonce)), i)).toBe(true);
        });
        expect(findCulprits(s, aggregate, nonces, partials)).toEqual([]);

        const signature = aggregatePartials(s, aggregate, partials);
        expect(bytesToHex(session.partialSigAgg(partials.map((partial) => hexToBytes(partial))))).toBe(signature);
        expect(verifyFinal(s, signature)).toBe(true);
        expect(schnorr.verify(hexToBytes(signature), message, outputKey)).toBe(true);
      }),
      { numRuns: 30 },
    );
  });

  test('below the typed layer: any tweaks, duplicate keys, messages of any length', () => {
    const tweaks = fc.array(fc.tuple(secretKey, fc.boolean()), { maxLength: 4 });
    const people = fc.array(party, { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(people, fc.boolean(), tweaks, fc.uint8Array({ maxLength: 70 }), bytes(32), (some, twice, steps, message, seed) => {
        const all = twice ? [...some, ...some] : some;
        const pairs = all.map((one) => keyPair(one.secretKey));
        const keys = pairs.map((pair) => pair.publicKey);
        const tweakBytes = steps.map(([tweak]) => tweak);
        const isXonly = steps.map(([, xonly]) => xonly);
        const context = contextOf(keys, tweakBytes, isXonly);
        const made = pairs.map(({ publicKey }, i) => nonceGen(sha256(Uint8Array.of(...seed, i)), { publicKey, message }));
        const nonces = made.map((one) => one.publicNonce);
        const aggregate = nonceAgg(nonces);
        const values = sessionValues(context, aggregate, message);
        const session = new scure.Session(aggregate, keys, message, tweakBytes, isXonly);
        const partials = made.map((one, i) => partialSign(one.secret, pairs[i]!, context, values));
        partials.forEach((partial, i) => {
          expect(partialVerify(partial, nonces[i]!, keys[i]!, context, values)).toBe(true);
          expect(session.partialSigVerify(partial, nonces, i)).toBe(true);
        });
        expect(partialAgg(partials, context, values)).toEqual(session.partialSigAgg(partials));
      }),
      { numRuns: 30 },
    );
  });

  test('the same input gives the same nonces', () => {
    fc.assert(
      fc.property(secretKey, bytes(32), bytes(32), fc.uint8Array({ maxLength: 50 }), fc.uint8Array({ maxLength: 300 }), (sk, rand, aggregateKey, message, extra) => {
        const { publicKey } = keyPair(sk);
        const ours = nonceGen(rand, { publicKey, secretKey: sk, aggregateKey, message, extra });
        const theirs = scure.nonceGen(publicKey, sk, aggregateKey, message, extra, rand);
        expect(ours.publicNonce).toEqual(theirs.public);
        expect(ours.secret.take()).toEqual(theirs.secret);
      }),
      { numRuns: 30 },
    );
  });
});
