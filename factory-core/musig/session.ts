/** BIP-327 signing sessions, on bytes and points: session values, signing, partial verification, aggregation. */
import { concatBytes } from '@noble/hashes/utils.js';
import {
  addScalars,
  G,
  hasEvenY,
  integerFromBytes,
  mulAddPublic,
  mulBasePublic,
  mulBaseSecret,
  mulPublic,
  mulScalars,
  negateScalar,
  normalizedPoint,
  type Point,
  pointFromBytes,
  pointFromBytesExt,
  SCALAR_BYTES,
  scalarFromBytes,
  scalarToBytes,
  taggedScalar,
  xBytes,
} from '../secp256k1.js';
import { MusigError } from './errors.js';
import { evenSign, type KeyAggContext } from './key-agg.js';
import { noncePoints, nonceScalars, type SecretNonce } from './nonce.js';
import { challenge } from './schnorr.js';

/** What BIP-327 `GetSessionValues` finds besides the key: nonce coefficient, final nonce (normalised), challenge. */
export interface SessionValues {
  readonly b: bigint;
  readonly r: Point;
  readonly e: bigint;
}

/**
 * BIP-327 `GetSessionValues`. Depends on x(Q), aggregate nonce and message alone.
 * @throws MusigError `bad_aggregate_nonce`
 */
export const sessionValues = (context: KeyAggContext, aggregateNonce: Uint8Array, message: Uint8Array): SessionValues => {
  let halves: readonly [Point, Point];
  try {
    halves = noncePoints(aggregateNonce, pointFromBytesExt);
  } catch {
    throw new MusigError('bad_aggregate_nonce', 'not two compressed points on the curve');
  }
  const [r1, r2] = halves;
  const xOfKey = xBytes(context.point);
  const b = taggedScalar('MuSig/noncecoef', aggregateNonce, xOfKey, message);
  const sum = r1.add(mulPublic(r2, b));
  // Somebody among the signers is dishonest when the sum is infinity; the BIP goes on with G, so that it can be told who.
  const r = sum.is0() ? G : normalizedPoint(sum);
  return { b, r, e: challenge(xBytes(r), xOfKey, message) };
};

/** A secret key with its public key; made by `keyPair` only, so that the two belong together. */
export interface KeyPair {
  readonly secretKey: Uint8Array;
  readonly publicKey: Uint8Array;
}

/** @throws MusigError `bad_secret` unless 0 < secret key < n; the bytes are copied */
export const keyPair = (secretKey: Uint8Array): KeyPair => {
  const d = scalarFromBytes(secretKey);
  if (d === undefined || d === 0n) throw new MusigError('bad_secret', 'not a secret key');
  return { secretKey: Uint8Array.from(secretKey), publicKey: mulBaseSecret(d).toBytes(true) };
};

/**
 * BIP-327 `Sign`. Takes the secret nonce, whatever happens then. The result is not verified here: the BIP leaves that
 * open, it would cost as much as all the rest of a ceremony, and the final signature is verified before it counts.
 * (Scalars are bigints here, as everywhere in JavaScript: their arithmetic is not constant-time, and they cannot be
 * overwritten. The bytes they come from are.)
 * @throws MusigError `nonce_used`, `bad_secret` (zeroed or foreign nonce), `not_a_signer`
 */
export const partialSign = (secret: SecretNonce, pair: KeyPair, context: KeyAggContext, values: SessionValues): Uint8Array => {
  const taken = secret.take();
  try {
    const [k1, k2] = nonceScalars(taken);
    const madeFor = taken.subarray(2 * SCALAR_BYTES);
    if (!madeFor.every((byte, i) => byte === pair.publicKey[i])) {
      throw new MusigError('bad_secret', 'the secret nonce was made for another public key');
    }
    const { b, r, e } = values;
    const nonce = addScalars(k1, mulScalars(b, k2));
    const d = mulScalars(mulScalars(evenSign(context), context.sign), integerFromBytes(pair.secretKey));
    const share = mulScalars(mulScalars(e, context.coefficient(pair.publicKey)), d);
    return scalarToBytes(addScalars(hasEvenY(r) ? nonce : negateScalar(nonce), share));
  } finally {
    taken.fill(0);
  }
};

/**
 * BIP-327 `PartialSigVerifyInternal`: is this partial signature the one of `key` with `nonce`? False for whatever is
 * malformed. That the session's aggregate nonce is the sum of the signers' nonces is for the caller to know.
 */
export const partialVerify = (
  partial: Uint8Array,
  nonce: Uint8Array,
  key: Uint8Array,
  context: KeyAggContext,
  values: SessionValues,
): boolean => {
  const s = scalarFromBytes(partial);
  if (s === undefined) return false;
  try {
    const { b, r, e } = values;
    const [r1, r2] = noncePoints(nonce, pointFromBytes);
    const sign = mulScalars(evenSign(context), context.sign);
    const share = mulScalars(mulScalars(e, context.coefficient(key)), sign);
    // s·G = ±(R1 + b·R2) + e·a·g·P, the sign being that of R; both products in one walk.
    const even = hasEvenY(r);
    const products = mulAddPublic(even ? r2 : r2.negate(), b, pointFromBytes(key), share);
    return mulBasePublic(s).equals((even ? r1 : r1.negate()).add(products));
  } catch {
    return false;
  }
};

/**
 * BIP-327 `PartialSigAgg`: the final signature, 64 bytes. How many partials there are is for the caller to check.
 * @throws MusigError `bad_partial` with the index of a partial of n or more
 */
export const partialAgg = (partials: readonly Uint8Array[], context: KeyAggContext, values: SessionValues): Uint8Array => {
  const sum = partials.reduce((total, partial, index) => {
    const s = scalarFromBytes(partial);
    if (s === undefined) throw new MusigError('bad_partial', 'not a scalar below n', index);
    return addScalars(total, s);
  }, 0n);
  const tweak = mulScalars(values.e, mulScalars(evenSign(context), context.tweak));
  return concatBytes(xBytes(values.r), scalarToBytes(addScalars(sum, tweak)));
};
