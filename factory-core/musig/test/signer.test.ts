/** The capability to sign: each secret nonce once, for what it was made for, and never outside the process (rule 5). */
import { inspect } from 'node:util';
import { describe, expect, jest, test } from '@jest/globals';
import { bytesToHex, concatBytes, hexToBytes, utf8ToBytes } from '@noble/hashes/utils.js';
import { aggregateNonce, type AggregateNonce, hex, type PartialSignature, script, txid } from '../../../blip/brands.js';
import { publicKeyOf } from '../../keys.js';
import type { Signable } from '../../model.js';
import { addScalars, mulScalars, negateScalar, ORDER, scalarFromBytes } from '../../secp256k1.js';
import { aggregateKeys, aggregateNonces, createSigner, MusigError, type Signer, verifyPartial } from '../index.js';
import { nonceGen, SecretNonce } from '../nonce.js';
import { keyPair, partialSign, sessionValues } from '../session.js';
import { contextOf, refusal } from './bip327.js';
import { countingRandom, hashOf, secretOf, signableOf, signerOf } from './signables.js';

const INFINITE = aggregateNonce('00'.repeat(66));

/** Alice, and Bob whose public part is all that matters here. */
const two = (name?: string): { readonly alice: Signer; readonly bob: Signer; readonly s: Signable } => {
  const alice = signerOf('alice');
  const bob = signerOf('bob');
  return { alice, bob, s: signableOf([alice.publicKey, bob.publicKey], name) };
};
const aggregateOf = (s: Signable, ...signers: readonly Signer[]): AggregateNonce =>
  aggregateNonces(signers.map((one) => one.nonce('1', s)));

describe('a signer', () => {
  test('has the public key of its secret key', () => {
    expect(signerOf('alice').publicKey).toBe(publicKeyOf(secretOf('alice')));
  });

  test.each([
    ['zero', new Uint8Array(32)],
    ['n or more', new Uint8Array(32).fill(0xff)],
    ['31 bytes', new Uint8Array(31).fill(1)],
  ])('is not made of a secret key of %s', (_, secret) => {
    expect(refusal(() => createSigner(secret, countingRandom('x')))).toMatchObject({ code: 'bad_secret' });
  });

  test('has its own copy of the secret key', () => {
    const secret = Uint8Array.from(secretOf('alice'));
    const alice = createSigner(secret, countingRandom('alice'));
    secret.fill(0xff);
    const s = signableOf([alice.publicKey]);
    const nonce = alice.nonce('1', s);
    const aggregate = aggregateNonces([nonce]);
    expect(verifyPartial(s, aggregate, [nonce], 0, alice.sign('1', s, aggregate))).toBe(true);
  });

  test('does not sign, nor make a nonce, for others', () => {
    const { alice, bob, s } = two();
    const carol = signerOf('carol');
    expect(refusal(() => carol.nonce('1', s))).toMatchObject({ code: 'not_a_signer' });
    expect(refusal(() => carol.sign('1', s, aggregateOf(s, alice, bob)))).toMatchObject({ code: 'nonce_absent' });
  });
});

describe('nonces', () => {
  test('the same one for the same attempt and transaction, another one otherwise', () => {
    const { alice, bob, s } = two();
    const other = signableOf([alice.publicKey, bob.publicKey], 'another transaction');
    const first = alice.nonce('1', s);
    expect(alice.nonce('1', s)).toBe(first);
    expect(new Set([first, alice.nonce('2', s), alice.nonce('1', other)]).size).toBe(3);
  });

  test('depend on the randomness, and on each thing they are bound to though the randomness repeats', () => {
    const { alice, bob, s } = two();
    const fixed = (n: number): Uint8Array => new Uint8Array(n).fill(1);
    const made = (attempt: string, what: Signable, random = fixed): string => createSigner(secretOf('alice'), random).nonce(attempt, what);
    const nonces = [
      made('1', s),
      made('1', s, (n) => new Uint8Array(n).fill(2)),
      made('2', s),
      made('1', { ...s, txid: txid(hashOf('another txid'), 'txid') }),
      made('1', { ...s, sighash: hex(hashOf('another sighash')) }),
      made('1', signableOf([bob.publicKey, alice.publicKey])),
      made('1', signableOf(s.signers, undefined, hex(hashOf('a root')))),
    ];
    expect(new Set(nonces).size).toBe(nonces.length);
  });

  test('are those of BIP-327 NonceGen with all its inputs', () => {
    const { s } = two();
    const rand = secretOf('rand');
    const { secretKey, publicKey } = keyPair(secretOf('alice'));
    const expected = nonceGen(rand, {
      publicKey,
      secretKey,
      aggregateKey: hexToBytes(aggregateKeys(s.signers).outputKey),
      message: hexToBytes(s.sighash),
      extra: concatBytes(hexToBytes(s.txid), utf8ToBytes('attempt 7')),
    });
    expect(createSigner(secretKey, () => rand).nonce('attempt 7', s)).toBe(bytesToHex(expected.publicNonce));
  });

  test.each([
    ['31 bytes', (): Uint8Array => new Uint8Array(31).fill(1)],
    ['33 bytes', (): Uint8Array => new Uint8Array(33).fill(1)],
  ])('are not made of %s of randomness', (_, random) => {
    const signer = createSigner(secretOf('alice'), random);
    const s = signableOf([signer.publicKey]);
    expect(refusal(() => signer.nonce('1', s))).toMatchObject({ code: 'bad_randomness' });
    expect(refusal(() => nonceGen(random(), { publicKey: keyPair(secretOf('alice')).publicKey }))).toMatchObject({ code: 'bad_randomness' });
  });

  test('are not made of randomness that repeats itself', () => {
    const signer = createSigner(secretOf('alice'), (n) => new Uint8Array(n).fill(1));
    const s = signableOf([signer.publicKey]);
    signer.nonce('1', s);
    expect(refusal(() => signer.nonce('2', s))).toMatchObject({ code: 'bad_randomness' });
  });

  test('are not made for keys that the output does not pay to', () => {
    const { alice, bob, s } = two();
    const foreign = { ...s, tx: { ...s.tx, prevout: { ...s.tx.prevout, script: aggregateKeys([bob.publicKey]).script } } };
    expect(refusal(() => alice.nonce('1', foreign))).toMatchObject({ code: 'wrong_output' });
  });

  test('are not made for a message that is not a hash', () => {
    const { alice, s } = two();
    expect(refusal(() => alice.nonce('1', { ...s, sighash: hex('00') }))).toMatchObject({ code: 'session_mismatch' });
  });
});

describe('a secret nonce signs once', () => {
  test('not a second time, with the same aggregate or with another', () => {
    const { alice, bob, s } = two();
    const aggregate = aggregateOf(s, alice, bob);
    alice.sign('1', s, aggregate);
    expect(refusal(() => alice.sign('1', s, aggregate))).toMatchObject({ code: 'nonce_used' });
    expect(refusal(() => alice.sign('1', s, INFINITE))).toMatchObject({ code: 'nonce_used' });
  });

  test('nor is it handed out or made again under its name', () => {
    const { alice, bob, s } = two();
    alice.sign('1', s, aggregateOf(s, alice, bob));
    expect(refusal(() => alice.nonce('1', s))).toMatchObject({ code: 'nonce_used' });
    expect(refusal(() => alice.sign('1', s, INFINITE))).toMatchObject({ code: 'nonce_used' });
  });

  test('without a nonce there is no signature: never made, other attempt, other transaction', () => {
    const { alice, bob, s } = two();
    expect(refusal(() => alice.sign('1', s, INFINITE))).toMatchObject({ code: 'nonce_absent' });
    const aggregate = aggregateOf(s, alice, bob);
    const other = signableOf(s.signers, 'another transaction');
    expect(refusal(() => alice.sign('2', s, aggregate))).toMatchObject({ code: 'nonce_absent' });
    expect(refusal(() => alice.sign('1', other, aggregate))).toMatchObject({ code: 'nonce_absent' });
  });

  test('only what it was made for: not another sighash, other keys, another script under the same txid', () => {
    const { alice, bob, s } = two();
    const aggregate = aggregateOf(s, alice, bob);
    const moved = (other: Signable): Signable => ({ ...other, txid: s.txid, sighash: s.sighash });
    const others: readonly Signable[] = [
      { ...s, sighash: hex(hashOf('another sighash')) },
      moved(signableOf([bob.publicKey, alice.publicKey])),
      moved(signableOf([alice.publicKey, signerOf('carol').publicKey])),
      moved(signableOf(s.signers, undefined, hex(hashOf('a root')))),
    ];
    for (const other of others) {
      expect(refusal(() => alice.sign('1', other, aggregate))).toMatchObject({ code: 'session_mismatch' });
      expect(refusal(() => alice.nonce('1', other))).toMatchObject({ code: 'session_mismatch' });
    }
    // All that was refused before the secret was touched: it still signs what it was made for.
    expect(alice.sign('1', s, aggregate)).toHaveLength(64);
  });

  test('a malformed aggregate nonce costs nothing', () => {
    const { alice, bob, s } = two();
    const aggregate = aggregateOf(s, alice, bob);
    const notOnCurve = `02${'05'.padStart(64, '0')}`;
    const bad = ['', '00', aggregate.slice(2), `${aggregate}00`, aggregate.toUpperCase(), `${notOnCurve}${aggregate.slice(66)}`, `${aggregate.slice(0, 66)}${notOnCurve}`, `04${aggregate.slice(2)}`];
    for (const one of bad) {
      expect(refusal(() => alice.sign('1', s, one as AggregateNonce))).toMatchObject({ code: 'bad_aggregate_nonce', index: undefined });
    }
    expect(alice.sign('1', s, aggregate)).toHaveLength(64);
  });

  test('an output that is not the signers’ is refused, and costs nothing', () => {
    const { alice, bob, s } = two();
    const aggregate = aggregateOf(s, alice, bob);
    const foreign = { ...s, tx: { ...s.tx, prevout: { ...s.tx.prevout, script: script('5120'.padEnd(68, '1')) } } };
    expect(refusal(() => alice.sign('1', foreign, aggregate))).toMatchObject({ code: 'wrong_output' });
    expect(alice.sign('1', s, aggregate)).toHaveLength(64);
  });

  test('a dropped attempt is forgotten, others are not; what comes after has a fresh nonce', () => {
    const { alice, bob, s } = two();
    const first = alice.nonce('1', s);
    alice.nonce('2', s);
    alice.drop('1');
    alice.drop('never begun');
    expect(refusal(() => alice.sign('1', s, aggregateNonces([first, bob.nonce('1', s)])))).toMatchObject({ code: 'nonce_absent' });
    expect(alice.sign('2', s, aggregateNonces([alice.nonce('2', s), bob.nonce('2', s)]))).toHaveLength(64);
    expect(alice.nonce('1', s)).not.toBe(first);
  });

  // Why all this: two signatures with one nonce give the secret key away. Done on bytes, where one can be that careless.
  test('what a reused nonce would cost', () => {
    const pair = keyPair(secretOf('alice'));
    const context = contextOf([pair.publicKey]);
    const { secret, publicNonce } = nonceGen(secretOf('rand'), { publicKey: pair.publicKey });
    const copied = secret.take();
    const [v1, v2] = ['one message', 'another'].map((text) => sessionValues(context, publicNonce, new TextEncoder().encode(text)));
    // The same b and R make it plain: the two equations differ in the challenge alone.
    const again = { ...v1!, e: v2!.e };
    const [s1, s2] = [v1!, again].map((values) => scalarFromBytes(partialSign(new SecretNonce(copied), pair, context, values))!);
    const difference = addScalars(v1!.e, negateScalar(again.e));
    const product = addScalars(s1!, negateScalar(s2!));
    // s1 − s2 = (e1 − e2)·a·g·d
    const d = scalarFromBytes(pair.secretKey)!;
    const share = mulScalars(difference, mulScalars(context.coefficient(pair.publicKey), d));
    expect([share, ORDER - share]).toContain(product);
  });
});

describe('nothing secret leaves the object', () => {
  const secrets = (signer: string): readonly string[] => [bytesToHex(secretOf(signer)), scalarFromBytes(secretOf(signer))!.toString()];

  test('neither JSON nor inspection shows a secret', () => {
    const { alice, bob, s } = two();
    aggregateOf(s, alice, bob);
    expect(JSON.stringify(alice)).toBe(JSON.stringify({ publicKey: alice.publicKey }));
    const shown = inspect(alice, { depth: 10, showHidden: true, getters: true });
    for (const secret of secrets('alice')) expect(shown).not.toContain(secret);
  });

  test('a structured clone is refused, a spread copy shares the nonces', () => {
    const { alice, bob, s } = two();
    const aggregate = aggregateOf(s, alice, bob);
    expect(() => structuredClone(alice)).toThrow();
    const copy: Signer = { ...alice };
    const signed: PartialSignature = copy.sign('1', s, aggregate);
    expect(signed).toHaveLength(64);
    expect(refusal(() => alice.sign('1', s, aggregate))).toMatchObject({ code: 'nonce_used' });
    expect(Object.isFrozen(alice)).toBe(true);
  });

  test('a secret nonce: no JSON, no clone, no second taking, and it is overwritten', () => {
    const pair = keyPair(secretOf('alice'));
    const { secret, publicNonce } = nonceGen(secretOf('rand'), { publicKey: pair.publicKey });
    expect(JSON.stringify(secret)).toBe('{}');
    expect(structuredClone(secret)).toEqual({});
    expect(secret.taken).toBe(false);
    const context = contextOf([pair.publicKey]);
    const values = sessionValues(context, publicNonce, new Uint8Array(32));
    partialSign(secret, pair, context, values);
    expect(secret.taken).toBe(true);
    expect(refusal(() => partialSign(secret, pair, context, values))).toMatchObject({ code: 'nonce_used' });
    expect(refusal(() => secret.take())).toMatchObject({ code: 'nonce_used' });
  });

  test('signing overwrites the bytes it took, also when it fails', () => {
    const pair = keyPair(secretOf('alice'));
    const context = contextOf([pair.publicKey]);
    const spied = (of: { readonly publicKey: Uint8Array }): { readonly secret: SecretNonce; readonly bytes: Uint8Array; readonly nonce: Uint8Array } => {
      const made = nonceGen(secretOf('rand'), of);
      const bytes = made.secret.take();
      const secret = new SecretNonce(bytes);
      secret.take = () => bytes;
      return { secret, bytes, nonce: made.publicNonce };
    };
    const good = spied(pair);
    const values = sessionValues(context, good.nonce, new Uint8Array(32));
    partialSign(good.secret, pair, context, values);
    const foreign = spied(keyPair(secretOf('bob')));
    expect(refusal(() => partialSign(foreign.secret, pair, context, values))).toMatchObject({ code: 'bad_secret' });
    expect([good.bytes, foreign.bytes]).toEqual([new Uint8Array(97), new Uint8Array(97)]);
  });

  test('destroying and dropping overwrite, and there is nothing to take afterwards', () => {
    const overwritten: Uint8Array[] = [];
    const fill = jest.spyOn(Uint8Array.prototype, 'fill').mockImplementation(function (this: Uint8Array, value: number) {
      overwritten.push(this);
      return this.map(() => value);
    });
    const { secret } = nonceGen(secretOf('rand'), { publicKey: keyPair(secretOf('alice')).publicKey });
    // The bytes that the holder's copy was made from.
    expect(overwritten.map((bytes) => bytes.length)).toContain(97);
    overwritten.length = 0;
    secret.destroy();
    secret.destroy();
    expect(overwritten.map((bytes) => bytes.length)).toEqual([97]);
    expect(refusal(() => secret.take())).toMatchObject({ code: 'nonce_used' });

    const { alice, bob, s } = two();
    aggregateOf(s, alice, bob);
    overwritten.length = 0;
    alice.drop('1');
    expect(overwritten.map((bytes) => bytes.length)).toEqual([97]);
    fill.mockRestore();
  });

  test.each([
    ['first', 0],
    ['second', 32],
  ])('a secret nonce whose %s scalar is zero, or n, does not sign', (_, at) => {
    const pair = keyPair(secretOf('alice'));
    const context = contextOf([pair.publicKey]);
    const { secret, publicNonce } = nonceGen(secretOf('rand'), { publicKey: pair.publicKey });
    const values = sessionValues(context, publicNonce, new Uint8Array(32));
    const bytes = secret.take();
    for (const fill of [0x00, 0xff]) {
      const bad = Uint8Array.from(bytes).fill(fill, at, at + 32);
      expect(refusal(() => partialSign(new SecretNonce(bad), pair, context, values))).toMatchObject({ code: 'bad_secret' });
    }
    expect(refusal(() => new SecretNonce(bytes.slice(1)))).toMatchObject({ code: 'bad_secret' });
  });

  test('errors are typed and say what is wrong', () => {
    const error = new MusigError('bad_key', 'not a point', 3);
    expect(error).toBeInstanceOf(Error);
    expect(error.message).toBe('bad_key: not a point (signer 3)');
    expect(new MusigError('nonce_used', 'gone').message).toBe('nonce_used: gone');
  });
});
