/** BIP-327 nonces: generation, the take-once holder of the secret half, aggregation. On bytes. */
import { numberToBytesBE } from '@noble/curves/utils.js';
import { concatBytes } from '@noble/hashes/utils.js';
import {
  mulBaseSecretOnce,
  normalized,
  type Point,
  POINT_BYTES,
  pointFromBytes,
  pointToBytesExt,
  SCALAR_BYTES,
  scalarFromBytes,
  scalarToBytes,
  taggedHash,
  taggedScalar,
} from '../secp256k1.js';
import { MusigError } from './errors.js';

/** Bytes of a public or aggregate nonce. */
export const NONCE_BYTES = 2 * POINT_BYTES;
const SECRET_NONCE_BYTES = 2 * SCALAR_BYTES + POINT_BYTES;

/**
 * A secret nonce (k1, k2 and the public key it was made for). It can be taken once; nothing brings it back. It has no
 * enumerable state: JSON, `structuredClone` and the spread operator copy an empty object.
 */
export class SecretNonce {
  #bytes: Uint8Array | undefined;

  /** @param bytes BIP-327 `secnonce`, 97 bytes; copied. */
  constructor(bytes: Uint8Array) {
    if (bytes.length !== SECRET_NONCE_BYTES) throw new MusigError('bad_secret', 'a secret nonce has 97 bytes');
    this.#bytes = Uint8Array.from(bytes);
  }

  /**
   * The 97 bytes, for the one signature. The caller overwrites them when done.
   * @throws MusigError `nonce_used` when they were taken or destroyed before
   */
  take(): Uint8Array {
    const bytes = this.#bytes;
    if (bytes === undefined) throw new MusigError('nonce_used', 'this secret nonce has been taken');
    this.#bytes = undefined;
    return bytes;
  }

  /** Whether it is gone. */
  get taken(): boolean {
    return this.#bytes === undefined;
  }

  /** Overwrites the secret, if it is still there. */
  destroy(): void {
    this.#bytes?.fill(0);
    this.#bytes = undefined;
  }
}

/** What BIP-327 `NonceGen` mixes into the nonce. All but the public key are optional, and each one is a seat belt. */
export interface NonceInput {
  readonly publicKey: Uint8Array;
  readonly secretKey?: Uint8Array;
  /** x-only. */
  readonly aggregateKey?: Uint8Array;
  /** Of any length; the empty message differs from no message. */
  readonly message?: Uint8Array;
  readonly extra?: Uint8Array;
}

const EMPTY = new Uint8Array(0);

const xor = (a: Uint8Array, b: Uint8Array): Uint8Array => a.map((byte, i) => byte ^ (b[i] ?? 0));

/**
 * BIP-327 `NonceGen`.
 * @param rand 32 fresh random bytes; never the same twice
 * @throws MusigError `bad_randomness`, `bad_secret` (probability 2^-256)
 */
export const nonceGen = (rand: Uint8Array, input: NonceInput): { readonly secret: SecretNonce; readonly publicNonce: Uint8Array } => {
  if (rand.length !== SCALAR_BYTES) throw new MusigError('bad_randomness', 'a nonce needs 32 random bytes');
  const { publicKey, secretKey, aggregateKey = EMPTY, message, extra = EMPTY } = input;
  const seed = secretKey === undefined ? rand : xor(secretKey, taggedHash('MuSig/aux', rand));
  const prefixed = message === undefined ? [Uint8Array.of(0)] : [Uint8Array.of(1), numberToBytesBE(message.length, 8), message];
  const scalar = (i: number): bigint =>
    taggedScalar(
      'MuSig/nonce',
      seed,
      numberToBytesBE(publicKey.length, 1),
      publicKey,
      numberToBytesBE(aggregateKey.length, 1),
      aggregateKey,
      ...prefixed,
      numberToBytesBE(extra.length, 4),
      extra,
      Uint8Array.of(i),
    );
  const k1 = scalar(0);
  const k2 = scalar(1);
  if (k1 === 0n || k2 === 0n) throw new MusigError('bad_secret', 'the nonce came out as zero');
  const bytes = concatBytes(scalarToBytes(k1), scalarToBytes(k2), publicKey);
  const secret = new SecretNonce(bytes);
  bytes.fill(0);
  return { secret, publicNonce: nonceToBytes(mulBaseSecretOnce(k1), mulBaseSecretOnce(k2)) };
};

/** The two scalars of a taken secret nonce: BIP-327 `Sign` fails on 0 and on n or more. */
export const nonceScalars = (taken: Uint8Array): readonly [bigint, bigint] => {
  const scalar = (from: number, which: string): bigint => {
    const k = scalarFromBytes(taken.subarray(from, from + SCALAR_BYTES));
    if (k === undefined || k === 0n) throw new MusigError('bad_secret', `${which} secnonce value is out of range`);
    return k;
  };
  return [scalar(0, 'first'), scalar(SCALAR_BYTES, 'second')];
};

const nonceToBytes = (r1: Point, r2: Point): Uint8Array => concatBytes(...normalized([r1, r2]).map(pointToBytesExt));

/** The two points of a nonce; `decode` says whether infinity is allowed. Throws what `decode` throws. */
export const noncePoints = (nonce: Uint8Array, decode: (bytes: Uint8Array) => Point): readonly [Point, Point] => [
  decode(nonce.subarray(0, POINT_BYTES)),
  decode(nonce.subarray(POINT_BYTES)),
];

/**
 * BIP-327 `NonceAgg`. A half that sums to infinity is 33 zero bytes.
 * @throws MusigError `wrong_count`, `bad_nonce` with the signer's index
 */
export const nonceAgg = (nonces: readonly Uint8Array[]): Uint8Array => {
  const points = nonces.map((nonce, index) => {
    try {
      return noncePoints(nonce, pointFromBytes);
    } catch {
      throw new MusigError('bad_nonce', 'not two compressed points on the curve', index);
    }
  });
  const [first, ...rest] = points;
  if (first === undefined) throw new MusigError('wrong_count', 'no nonces');
  const [r1, r2] = rest.reduce(([a, b], [c, d]) => [a.add(c), b.add(d)], first);
  return nonceToBytes(r1, r2);
};
