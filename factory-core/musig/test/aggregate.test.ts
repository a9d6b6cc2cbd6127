/** The public half: every input of a peer that is wrong is refused, with the culprit's index where there is one. */
import { describe, expect, test } from '@jest/globals';
import { bytesToHex, hexToBytes } from '@noble/hashes/utils.js';
import fc from 'fast-check';
import {
  aggregateNonce,
  type AggregateNonce,
  hex,
  type Hex,
  partialSignature,
  type PartialSignature,
  type PubKey,
  pubKey,
  publicNonce,
  type PublicNonce,
  schnorrSignature,
  type SchnorrSignature,
  script,
} from '../../../blip/brands.js';
import type { Signable } from '../../model.js';
import { negateScalar, ORDER, pointFromBytes, scalarFromBytes, scalarToBytes } from '../../secp256k1.js';
import { taprootOutput } from '../../taproot.js';
import { keyOf, valuesOf } from '../aggregate.js';
import {
  aggregateKeys,
  aggregateNonces,
  aggregatePartials,
  findCulprits,
  MusigError,
  type Signer,
  verifyFinal,
  verifyPartial,
} from '../index.js';
import { refusal } from './bip327.js';
import { hashOf, signableOf, signersOf } from './signables.js';

const NOT_ON_CURVE = `02${'05'.padStart(64, '0')}`;
const TOO_BIG = ORDER.toString(16);

interface Session {
  readonly signers: readonly Signer[];
  readonly s: Signable;
  readonly nonces: readonly PublicNonce[];
  readonly aggregate: AggregateNonce;
  readonly partials: readonly PartialSignature[];
}
const sessionOf = (count: number, name?: string): Session => {
  const signers = signersOf(count);
  const s = signableOf(signers.map((one) => one.publicKey), name);
  const nonces = signers.map((one) => one.nonce('1', s));
  const aggregate = aggregateNonces(nonces);
  return { signers, s, nonces, aggregate, partials: signers.map((one) => one.sign('1', s, aggregate)) };
};
const replaced = <T>(list: readonly T[], index: number, value: T): readonly T[] => list.map((one, i) => (i === index ? value : one));
const swapped = <T>(list: readonly T[]): readonly T[] => [list[1]!, list[0]!, ...list.slice(2)];
const negated = (partial: PartialSignature): PartialSignature =>
  partialSignature(bytesToHex(scalarToBytes(negateScalar(scalarFromBytes(hexToBytes(partial))!))));

describe('aggregateKeys', () => {
  const keys = signersOf(3).map((one) => one.publicKey);

  test('is the Taproot output of the aggregate, with and without a script', () => {
    for (const root of [undefined, hex(hashOf('a root'))]) {
      const key = aggregateKeys(keys, root);
      expect(key).toMatchObject(taprootOutput(key.internalKey, root));
      expect(key.keys).toEqual(keys);
    }
  });

  test('parity is that of the output key', () => {
    const parities = signersOf(8, 'parity').map(({ publicKey }) => {
      const { outputKey, parity, context } = aggregateKeys([publicKey]);
      expect(context.point.equals(pointFromBytes(hexToBytes(`0${2 + parity}${outputKey}`)))).toBe(true);
      return parity;
    });
    expect(new Set(parities).size).toBe(2);
  });

  test('order, keys and root all matter; the memo mixes nothing up', () => {
    const sets: readonly [readonly PubKey[], Hex?][] = [
      [keys],
      [[...keys].reverse()],
      [keys.slice(0, 2)],
      [keys.slice(1)],
      [keys, hex(hashOf('a root'))],
      [keys, hex(hashOf('another root'))],
    ];
    const scripts = sets.map(([some, root]) => aggregateKeys(some, root).script);
    expect(new Set(scripts).size).toBe(sets.length);
    expect(sets.map(([some, root]) => aggregateKeys(some, root).script)).toEqual(scripts);
  });

  test('a set is aggregated once', () => {
    expect(aggregateKeys([...keys])).toBe(aggregateKeys(keys));
  });

  test('the result does not change with the caller’s array', () => {
    const mine = [...keys];
    const key = aggregateKeys(mine);
    mine.pop();
    expect(key.keys).toHaveLength(3);
    expect(Object.isFrozen(key) && Object.isFrozen(key.keys)).toBe(true);
  });

  test('a duplicate key is refused, the second one named', () => {
    expect(refusal(() => aggregateKeys([keys[0]!, keys[1]!, keys[0]!]))).toMatchObject({ code: 'duplicate_key', index: 2 });
    expect(refusal(() => aggregateKeys([keys[0]!, keys[0]!]))).toMatchObject({ code: 'duplicate_key', index: 1 });
  });

  test.each([
    ['not on the curve', NOT_ON_CURVE],
    ['x of p or more', `02${'ff'.repeat(32)}`],
    ['x = 0', `02${'00'.repeat(32)}`],
    ['infinity', '00'.repeat(33)],
    ['an uncompressed tag', `04${'11'.repeat(32)}`],
    ['x-only', '11'.repeat(32)],
    ['empty', ''],
    ['not hex', 'zz'.repeat(33)],
  ])('a key that is %s is refused by index, every time', (_, bad) => {
    for (const index of [0, 1, 2, 2]) {
      expect(refusal(() => aggregateKeys(replaced(keys, index, bad as PubKey)))).toMatchObject({ code: 'bad_key', index });
    }
  });

  test('the upper case of a key is not a second key', () => {
    const upper = keys[0]!.toUpperCase() as PubKey;
    expect(refusal(() => aggregateKeys([keys[0]!, upper]))).toMatchObject({ code: 'bad_key', index: 1 });
  });

  test('keys run together are not the keys, though the memo knows these', () => {
    aggregateKeys(keys);
    expect(refusal(() => aggregateKeys([keys.join() as PubKey]))).toMatchObject({ code: 'bad_key', index: 0 });
    expect(refusal(() => aggregateKeys([keys.slice(0, 2).join() as PubKey, keys[2]!]))).toMatchObject({ code: 'bad_key', index: 0 });
  });

  test('no keys, a root of another length', () => {
    expect(refusal(() => aggregateKeys([]))).toMatchObject({ code: 'wrong_count' });
    expect(refusal(() => aggregateKeys(keys, hex('00')))).toMatchObject({ code: 'bad_tweak' });
    expect(refusal(() => aggregateKeys(keys, hex('')))).toMatchObject({ code: 'bad_tweak' });
  });

  test('a key and its negative, in any order, are a set like another: MuSig2 does not let them cancel', () => {
    const negative = pubKey(`${keys[0]!.startsWith('02') ? '03' : '02'}${keys[0]!.slice(2)}`);
    expect(aggregateKeys([keys[0]!, negative]).script).not.toBe(aggregateKeys([negative, keys[0]!]).script);
  });
});

describe('session values', () => {
  test('are one set per key, message and aggregate nonce; the memo mixes nothing up', () => {
    const { s, aggregate, nonces } = sessionOf(3);
    const rooted = signableOf(s.signers, undefined, hex(hashOf('a root')));
    const all = [
      valuesOf(keyOf(s), s, aggregate),
      valuesOf(keyOf(rooted), rooted, aggregate),
      valuesOf(keyOf(s), { ...s, sighash: hex(hashOf('another sighash')) }, aggregate),
      valuesOf(keyOf(s), s, aggregateNonces(nonces.slice(1))),
    ];
    expect(new Set(all.map(({ e }) => e)).size).toBe(4);
    expect(new Set(all.map(({ b }) => b)).size).toBe(4);
    expect(valuesOf(keyOf(s), s, aggregate)).toBe(all[0]);
  });
});

describe('aggregateNonces', () => {
  const { nonces } = sessionOf(3);

  test.each([
    ['first half not on the curve', NOT_ON_CURVE + nonces[0]!.slice(66)],
    ['second half not on the curve', nonces[0]!.slice(0, 66) + NOT_ON_CURVE],
    ['infinity in the first half', '00'.repeat(33) + nonces[0]!.slice(66)],
    ['infinity in the second half', nonces[0]!.slice(0, 66) + '00'.repeat(33)],
    ['too short', nonces[0]!.slice(2)],
    ['too long', `${nonces[0]!}00`],
    ['upper case', nonces[0]!.toUpperCase()],
    ['not hex', 'zz'.repeat(66)],
  ])('%s: the signer is named', (_, bad) => {
    for (const index of [0, 1, 2]) {
      expect(refusal(() => aggregateNonces(replaced(nonces, index, bad as PublicNonce)))).toMatchObject({ code: 'bad_nonce', index });
    }
  });

  test('nonces run together are not the nonces', () => {
    expect(refusal(() => aggregateNonces([nonces.join() as PublicNonce]))).toMatchObject({ code: 'bad_nonce', index: 0 });
  });

  test('none at all', () => {
    expect(refusal(() => aggregateNonces([]))).toMatchObject({ code: 'wrong_count' });
  });

  test('nonces that cancel out give infinity; the session goes on, and tells who is to blame', () => {
    const { signers, s, nonces: pair } = sessionOf(2, 'cancelled');
    const flip = (half: string): string => `${half.startsWith('02') ? '03' : '02'}${half.slice(2)}`;
    const rogue = publicNonce(flip(pair[0]!.slice(0, 66)) + flip(pair[0]!.slice(66)));
    const fresh = signers[0]!.nonce('2', s);
    const cancelling = publicNonce(flip(fresh.slice(0, 66)) + flip(fresh.slice(66)));
    expect(aggregateNonces([pair[0]!, rogue])).toBe('00'.repeat(66));
    const aggregate = aggregateNonces([fresh, cancelling]);
    expect(aggregate).toBe('00'.repeat(66));
    const honest = signers[0]!.sign('2', s, aggregate);
    expect(verifyPartial(s, aggregate, [fresh, cancelling], 0, honest)).toBe(true);
    const guess = partialSignature('11'.repeat(32));
    expect(findCulprits(s, aggregate, [fresh, cancelling], [honest, guess])).toEqual([1]);
    expect(verifyFinal(s, aggregatePartials(s, aggregate, [honest, guess]))).toBe(false);
  });
});

describe('aggregatePartials', () => {
  const { s, aggregate, partials } = sessionOf(3);

  test('a missing or a surplus partial', () => {
    expect(refusal(() => aggregatePartials(s, aggregate, partials.slice(1)))).toMatchObject({ code: 'wrong_count' });
    expect(refusal(() => aggregatePartials(s, aggregate, []))).toMatchObject({ code: 'wrong_count' });
    expect(refusal(() => aggregatePartials(s, aggregate, [...partials, partials[0]!]))).toMatchObject({ code: 'wrong_count' });
  });

  test.each([
    ['n', TOO_BIG],
    ['2^256 - 1', 'ff'.repeat(32)],
    ['31 bytes', '11'.repeat(31)],
    ['33 bytes', '00'.repeat(33)],
    ['not hex', 'zz'.repeat(32)],
  ])('a partial of %s: the signer is named', (_, bad) => {
    for (const index of [0, 1, 2]) {
      expect(refusal(() => aggregatePartials(s, aggregate, replaced(partials, index, bad as PartialSignature)))).toMatchObject({
        code: 'bad_partial',
        index,
      });
    }
  });

  test('a malformed aggregate nonce', () => {
    for (const bad of ['', NOT_ON_CURVE + aggregate.slice(66), aggregate.slice(0, 66) + NOT_ON_CURVE, aggregate.slice(2)]) {
      expect(refusal(() => aggregatePartials(s, bad as AggregateNonce, partials))).toMatchObject({ code: 'bad_aggregate_nonce' });
    }
  });

  test('an output that is not these signers’', () => {
    const foreign = { ...s, tx: { ...s.tx, prevout: { ...s.tx.prevout, script: script('51024e73') } } };
    expect(refusal(() => aggregatePartials(foreign, aggregate, partials))).toMatchObject({ code: 'wrong_output' });
  });
});

describe('verifyFinal', () => {
  const { s, aggregate, partials } = sessionOf(3);
  const signature = aggregatePartials(s, aggregate, partials);

  test('the signature of this transaction, for this output, by these signers, and no other', () => {
    const other = sessionOf(3, 'another transaction');
    const foreign = signableOf(signersOf(3, 'stranger').map((one) => one.publicKey));
    expect(verifyFinal(s, signature)).toBe(true);
    expect(verifyFinal(other.s, signature)).toBe(false);
    expect(verifyFinal({ ...s, sighash: other.s.sighash }, signature)).toBe(false);
    expect(verifyFinal({ ...foreign, sighash: s.sighash }, signature)).toBe(false);
    expect(verifyFinal({ ...signableOf(s.signers, undefined, hex(hashOf('a root'))), sighash: s.sighash }, signature)).toBe(false);
  });

  test('the output must be the signers’, though the signature fits the signers', () => {
    const prevout = { ...s.tx.prevout, script: aggregateKeys(s.signers.slice(1)).script };
    expect(verifyFinal({ ...s, tx: { ...s.tx, prevout } }, signature)).toBe(false);
  });

  test('both parities of the output key verify', () => {
    const parities = Array.from({ length: 8 }, (_, i) => {
      const signers = signersOf(2, `parity ${i}`);
      const one = signableOf(signers.map((signer) => signer.publicKey));
      const sum = aggregateNonces(signers.map((signer) => signer.nonce('1', one)));
      expect(verifyFinal(one, aggregatePartials(one, sum, signers.map((signer) => signer.sign('1', one, sum))))).toBe(true);
      return aggregateKeys(one.signers).parity;
    });
    expect(new Set(parities).size).toBe(2);
  });

  test('a wrong partial, aggregate nonce or byte spoils it', () => {
    const otherAggregate = sessionOf(3, 'another transaction').aggregate;
    expect(verifyFinal(s, aggregatePartials(s, aggregate, replaced(partials, 1, partials[0]!)))).toBe(false);
    expect(verifyFinal(s, aggregatePartials(s, aggregate, replaced(partials, 1, negated(partials[1]!))))).toBe(false);
    expect(verifyFinal(s, aggregatePartials(s, otherAggregate, partials))).toBe(false);
    expect(verifyFinal(s, aggregatePartials(s, aggregateNonce('00'.repeat(66)), partials))).toBe(false);
    fc.assert(
      fc.property(fc.nat(63), fc.integer({ min: 1, max: 255 }), (at, flip) => {
        const bytes = hexToBytes(signature);
        bytes[at]! ^= flip;
        expect(verifyFinal(s, schnorrSignature(bytesToHex(bytes)))).toBe(false);
      }),
      { numRuns: 40 },
    );
  });

  test('anything malformed is false', () => {
    for (const bad of ['', signature.slice(2), `${signature}00`, 'zz'.repeat(64), signature.slice(0, 64) + TOO_BIG]) {
      expect(verifyFinal(s, bad as SchnorrSignature)).toBe(false);
    }
    expect(verifyFinal({ ...s, signers: replaced(s.signers, 0, NOT_ON_CURVE as PubKey) }, signature)).toBe(false);
    expect(verifyFinal({ ...s, signers: [] }, signature)).toBe(false);
    expect(verifyFinal({ ...s, sighash: hex('00') }, signature)).toBe(false);
  });
});

describe('verifyPartial', () => {
  const { s, nonces, aggregate, partials } = sessionOf(3);
  const verify = (index: number, partial = partials[index]!, sum = aggregate, all = nonces, what = s): boolean =>
    verifyPartial(what, sum, all, index, partial);

  test('each signer’s own, at its own place', () => {
    for (const i of [0, 1, 2]) {
      for (const j of [0, 1, 2]) expect(verify(i, partials[j])).toBe(i === j);
    }
  });

  test('another sighash, aggregate, nonce, signer, or the negative', () => {
    const other = sessionOf(3, 'another transaction');
    expect(verify(0, negated(partials[0]!))).toBe(false);
    expect(verify(0, partials[0], aggregate, nonces, { ...s, sighash: other.s.sighash })).toBe(false);
    expect(verify(0, partials[0], other.aggregate, other.nonces)).toBe(false);
    expect(verify(0, partials[0], aggregate, swapped(nonces))).toBe(false);
    expect(verify(0, partials[0], aggregate, nonces, signableOf(swapped(s.signers)))).toBe(false);
  });

  test('the aggregate must be the sum of the nonces, as BIP-327 PartialSigVerify has it', () => {
    // Alice signed with `aggregate`; shown with another third nonce her partial says nothing.
    const others = replaced(nonces, 2, sessionOf(3, 'another transaction').nonces[2]!);
    expect(verify(0, partials[0], aggregate, others)).toBe(false);
  });

  test('anything malformed, missing or out of place is false', () => {
    for (const bad of ['', TOO_BIG, 'zz'.repeat(32), '11'.repeat(31)]) expect(verify(0, bad as PartialSignature)).toBe(false);
    for (const index of [-1, 3, 0.5]) expect(verifyPartial(s, aggregate, nonces, index, partials[0]!)).toBe(false);
    for (const bad of ['', NOT_ON_CURVE + NOT_ON_CURVE]) {
      expect(verify(0, partials[0], bad as AggregateNonce)).toBe(false);
      expect(verify(0, partials[0], aggregate, replaced(nonces, 0, bad as PublicNonce))).toBe(false);
    }
    expect(verify(0, partials[0], aggregate, nonces.slice(0, 2))).toBe(false);
    expect(verify(0, partials[0], aggregate, nonces, { ...s, signers: s.signers.slice(1) })).toBe(false);
  });
});

describe('findCulprits', () => {
  const { s, nonces, aggregate, partials } = sessionOf(4);

  test('names exactly those whose partial is wrong, malformed or missing', () => {
    expect(findCulprits(s, aggregate, nonces, partials)).toEqual([]);
    expect(findCulprits(s, aggregate, nonces, swapped(partials))).toEqual([0, 1]);
    expect(findCulprits(s, aggregate, nonces, replaced(partials, 2, negated(partials[2]!)))).toEqual([2]);
    expect(findCulprits(s, aggregate, nonces, replaced(partials, 3, TOO_BIG as PartialSignature))).toEqual([3]);
    expect(findCulprits(s, aggregate, nonces, replaced(partials, 1, '' as PartialSignature))).toEqual([1]);
    expect(findCulprits(s, aggregate, nonces, partials.slice(0, 2))).toEqual([2, 3]);
  });

  test('blames nobody in a session that is not sound', () => {
    const other = sessionOf(4, 'another transaction');
    expect(refusal(() => findCulprits(s, other.aggregate, nonces, partials))).toMatchObject({ code: 'aggregate_mismatch' });
    expect(refusal(() => findCulprits(s, aggregate, nonces.slice(1), partials))).toMatchObject({ code: 'aggregate_mismatch' });
    // One nonce that happens to be the sum is not four that add up to it.
    const sum = publicNonce(aggregate);
    expect(refusal(() => findCulprits(s, aggregate, [sum], partials))).toMatchObject({ code: 'aggregate_mismatch' });
    expect(refusal(() => findCulprits(s, '00' as AggregateNonce, nonces, partials))).toMatchObject({ code: 'bad_aggregate_nonce' });
    expect(refusal(() => findCulprits(s, aggregate, replaced(nonces, 1, '00' as PublicNonce), partials))).toMatchObject({ code: 'bad_nonce', index: 1 });
    const foreign = { ...s, tx: { ...s.tx, prevout: { ...s.tx.prevout, script: script('51024e73') } } };
    expect(refusal(() => findCulprits(foreign, aggregate, nonces, partials))).toMatchObject({ code: 'wrong_output' });
  });
});

describe('whatever a peer sends', () => {
  const { s, nonces, aggregate, partials } = sessionOf(2);
  const onlyMusigError = (call: () => unknown): void => {
    try {
      call();
    } catch (error) {
      expect(error).toBeInstanceOf(MusigError);
    }
  };
  const junk = fc.oneof(fc.string(), fc.uint8Array({ maxLength: 70 }).map(bytesToHex), fc.uint8Array({ minLength: 66, maxLength: 66 }).map(bytesToHex));

  test('throws MusigError or nothing, and never verifies', () => {
    fc.assert(
      fc.property(junk, fc.nat(1), (text, at) => {
        onlyMusigError(() => aggregateKeys(replaced(s.signers, at, text as PubKey)));
        onlyMusigError(() => aggregateNonces(replaced(nonces, at, text as PublicNonce)));
        onlyMusigError(() => aggregatePartials(s, text as AggregateNonce, partials));
        onlyMusigError(() => aggregatePartials(s, aggregate, replaced(partials, at, text as PartialSignature)));
        expect(verifyPartial(s, aggregate, nonces, at, text as PartialSignature)).toBe(false);
        expect(verifyPartial(s, text as AggregateNonce, nonces, at, partials[at]!)).toBe(false);
        expect(verifyFinal(s, text as SchnorrSignature)).toBe(false);
      }),
    );
  });
});
