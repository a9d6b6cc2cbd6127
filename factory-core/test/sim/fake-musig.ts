/**
 * MuSig2 over a group where the discrete logarithm is no problem: the integers modulo a prime, generator 1. The algebra is
 * that of BIP-327 (coefficients, tweak, nonce coefficient, challenge), so what is inconsistent does not verify, whoever sent
 * it; and it is fast, for thousands of schedules. It stands in for `musig/index.ts`, name for name. That a nonce signs once
 * is kept here too, and checked by the spy in any case.
 */
import { createHash } from 'node:crypto';
import {
  aggregateNonce,
  hex,
  partialSignature,
  publicNonce,
  schnorrSignature,
  script,
  secretKey as toSecretKey,
  type AggregateNonce,
  type Hex,
  type PartialSignature,
  type PubKey,
  type PublicNonce,
  type SchnorrSignature,
  type Script,
  type Txid,
} from '../../../blip/brands.js';
import { publicKeyOf } from '../../keys.js';
import type { Signable } from '../../model.js';
import { isOwnNonceLost, MusigError } from '../../musig/errors.js';
import type { Signer } from '../../musig/signer.js';

export { isOwnNonceLost, MusigError };

const P = 2n ** 127n - 1n;
const mod = (n: bigint): bigint => ((n % P) + P) % P;
/** The real hash is as good as any; 120 bits of it stay below P. */
const hash = (...words: readonly string[]): bigint => BigInt(`0x${createHash('sha256').update(words.join('|')).digest('hex').slice(0, 30)}`);
const text = (n: bigint): string => n.toString(16).padStart(64, '0');

interface Key {
  readonly keys: readonly PubKey[];
  readonly internalKey: Hex;
  readonly outputKey: Hex;
  readonly parity: 0 | 1;
  readonly script: Script;
  readonly point: bigint;
  readonly tweak: bigint;
  readonly coefficients: readonly bigint[];
}

const points = new Map<PubKey, bigint>();
const pointOf = (key: PubKey): bigint => {
  const known = points.get(key) ?? hash('key', key);
  points.set(key, known);
  return known;
};

const memo = new Map<string, Key>();
const MEMO_LIMIT = 20_000;

export const aggregateKeys = (keys: readonly PubKey[], merkleRoot?: Hex): Key => {
  const id = `${keys.join()}/${merkleRoot ?? ''}`;
  const known = memo.get(id);
  if (known) return known;
  keys.forEach((key, index) => {
    if (keys.indexOf(key) !== index) throw new MusigError('duplicate_key', 'this key is there already', index);
  });
  const coefficients = keys.map((key) => hash('coefficient', keys.join(), key));
  const internal = mod(keys.reduce((sum, key, i) => sum + (coefficients[i] ?? 0n) * pointOf(key), 0n));
  const tweak = hash('tweak', text(internal), merkleRoot ?? '');
  const point = mod(internal + tweak);
  const outputKey = hex(text(point));
  const made: Key = { keys, internalKey: hex(text(internal)), outputKey, parity: 0, script: script(`5120${outputKey}`), point, tweak, coefficients };
  if (memo.size > MEMO_LIMIT) memo.clear();
  memo.set(id, made);
  return made;
};

const keyOf = (s: Signable): Key => {
  const key = aggregateKeys(s.signers, s.merkleRoot);
  if (key.script !== s.tx.prevout.script) throw new MusigError('wrong_output', 'the output spent does not pay to these signers');
  return key;
};

const scalar = (value: string, fail: () => never): bigint => {
  if (!/^[0-9a-f]{64}$/.test(value)) fail();
  const n = BigInt(`0x${value}`);
  return n < P ? n : fail();
};
const noncePoints = (nonce: string, infinity: boolean, fail: () => never): readonly [bigint, bigint] => {
  const half = (from: number): bigint => {
    const part = nonce.slice(from, from + 66);
    if (infinity && part === '00'.repeat(33)) return 0n;
    if (!part.startsWith('02')) fail();
    const n = scalar(part.slice(2), fail);
    return n === 0n ? fail() : n;
  };
  return [half(0), half(66)];
};
const nonceText = (r1: bigint, r2: bigint): string => [r1, r2].map((r) => (r === 0n ? '00'.repeat(33) : `02${text(r)}`)).join('');

export const aggregateNonces = (nonces: readonly PublicNonce[]): AggregateNonce => {
  if (nonces.length === 0) throw new MusigError('wrong_count', 'no nonces');
  const sums = nonces.map((nonce, index) =>
    noncePoints(nonce, false, () => {
      throw new MusigError('bad_nonce', 'not two points', index);
    }),
  );
  return aggregateNonce(nonceText(mod(sums.reduce((a, [r]) => a + r, 0n)), mod(sums.reduce((a, [, r]) => a + r, 0n))));
};

const values = (key: Key, s: Signable, aggregate: AggregateNonce): { readonly b: bigint; readonly r: bigint; readonly e: bigint } => {
  const [r1, r2] = noncePoints(aggregate, true, () => {
    throw new MusigError('bad_aggregate_nonce', 'not two points');
  });
  const b = hash('nonce coefficient', aggregate, key.outputKey, s.sighash);
  const r = mod(r1 + b * r2);
  return { b, r, e: hash('challenge', text(r), key.outputKey, s.sighash) };
};

export const aggregatePartials = (s: Signable, aggregate: AggregateNonce, partials: readonly PartialSignature[]): SchnorrSignature => {
  const key = keyOf(s);
  if (partials.length !== s.signers.length) throw new MusigError('wrong_count', 'not one partial signature per signer');
  const { r, e } = values(key, s, aggregate);
  const sum = partials.reduce((total, partial, index) => {
    const n = scalar(partial, () => {
      throw new MusigError('bad_partial', 'not a scalar', index);
    });
    return total + n;
  }, 0n);
  return schnorrSignature(text(r) + text(mod(sum + e * key.tweak)));
};

const partialIsValid = (s: Signable, aggregate: AggregateNonce, nonce: PublicNonce, index: number, partial: PartialSignature): boolean => {
  const bad = (): never => {
    throw new MusigError('bad_partial', 'malformed', index);
  };
  try {
    const key = keyOf(s);
    const { b, e } = values(key, s, aggregate);
    const [r1, r2] = noncePoints(nonce, false, bad);
    const signer = s.signers[index];
    if (signer === undefined) return false;
    return scalar(partial, bad) === mod(r1 + b * r2 + e * (key.coefficients[index] ?? 0n) * pointOf(signer));
  } catch (error) {
    if (error instanceof MusigError) return false;
    throw error;
  }
};

export const findCulprits = (
  s: Signable,
  aggregate: AggregateNonce,
  nonces: readonly PublicNonce[],
  partials: readonly PartialSignature[],
): readonly number[] => {
  if (nonces.length !== s.signers.length || aggregateNonces(nonces) !== aggregate) {
    throw new MusigError('aggregate_mismatch', 'the aggregate nonce is not the sum of these nonces');
  }
  return s.signers.flatMap((_, index) => {
    const nonce = nonces[index];
    const partial = partials[index];
    return nonce !== undefined && partial !== undefined && partialIsValid(s, aggregate, nonce, index, partial) ? [] : [index];
  });
};

export const verifyPartial = (
  s: Signable,
  aggregate: AggregateNonce,
  nonces: readonly PublicNonce[],
  index: number,
  partial: PartialSignature,
): boolean => {
  const nonce = nonces[index];
  return nonce !== undefined && aggregateNonces(nonces) === aggregate && partialIsValid(s, aggregate, nonce, index, partial);
};

export const verifyFinal = (s: Signable, signature: SchnorrSignature): boolean => {
  const key = aggregateKeys(s.signers, s.merkleRoot);
  if (key.script !== s.tx.prevout.script || !/^[0-9a-f]{128}$/.test(signature)) return false;
  const r = BigInt(`0x${signature.slice(0, 64)}`);
  const e = hash('challenge', text(r), key.outputKey, s.sighash);
  return BigInt(`0x${signature.slice(64)}`) === mod(r + e * key.point);
};

interface Entry {
  readonly nonce: PublicNonce;
  readonly secret: readonly [bigint, bigint];
  readonly session: string;
  used: boolean;
}

const identities = new Map<string, PubKey>();

export const createSigner = (secretKey: Uint8Array, random: (n: number) => Uint8Array): Signer => {
  const name = Buffer.from(secretKey).toString('hex');
  const publicKey = identities.get(name) ?? publicKeyOf(secretKey);
  identities.set(name, publicKey);
  const attempts = new Map<string, Map<Txid, Entry>>();
  const others = new Map<string, Signer>();
  const usable = (attempt: string, s: Signable): Entry | undefined => {
    const entry = attempts.get(attempt)?.get(s.txid);
    if (!entry) return undefined;
    if (entry.used) throw new MusigError('nonce_used', 'this nonce has signed');
    if (entry.session !== `${keyOf(s).outputKey} ${s.sighash}`) throw new MusigError('session_mismatch', 'made for another message');
    return entry;
  };
  return {
    publicKey,
    nonce: (attempt, s) => {
      const known = usable(attempt, s);
      if (known) return known.nonce;
      if (!s.signers.includes(publicKey)) throw new MusigError('not_a_signer', 'our key is not among the signers');
      const seed = Buffer.from(random(32)).toString('hex');
      const secret = [hash('k1', seed, name), hash('k2', seed, name)] as const;
      const nonce = publicNonce(nonceText(...secret));
      const entries = attempts.get(attempt) ?? new Map<Txid, Entry>();
      attempts.set(attempt, entries.set(s.txid, { nonce, secret, session: `${keyOf(s).outputKey} ${s.sighash}`, used: false }));
      return nonce;
    },
    sign: (attempt, s, aggregate) => {
      const entry = usable(attempt, s);
      if (!entry) throw new MusigError('nonce_absent', 'no nonce was made for this');
      const key = keyOf(s);
      const { b, e } = values(key, s, aggregate);
      entry.used = true;
      const [k1, k2] = entry.secret;
      const coefficient = key.coefficients[s.signers.indexOf(publicKey)] ?? 0n;
      return partialSignature(text(mod(k1 + b * k2 + e * coefficient * pointOf(publicKey))));
    },
    drop: (attempt) => {
      attempts.delete(attempt);
      others.forEach((other) => other.drop(attempt));
    },
    signSweep: () => schnorrSignature('00'.repeat(64)),
    held: (key) => {
      const known = others.get(key) ?? createSigner(Buffer.from(key, 'hex'), random);
      others.set(key, known);
      return known;
    },
    reveal: () => toSecretKey(name),
  };
};
