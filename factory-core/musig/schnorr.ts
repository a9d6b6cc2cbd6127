/** BIP-340 verification. */
import {
  hasEvenY,
  liftX,
  mulBasePublic,
  mulPublic,
  negateScalar,
  normalizedPoint,
  type Point,
  SCALAR_BYTES,
  scalarFromBytes,
  taggedScalar,
  xBytes,
} from '../secp256k1.js';

/** BIP-340 challenge `e`. */
export const challenge = (xOfR: Uint8Array, xOfKey: Uint8Array, message: Uint8Array): bigint =>
  taggedScalar('BIP0340/challenge', xOfR, xOfKey, message);

/** BIP-340 `Verify` for a key that is a point already (with even y, not infinity). Never throws. */
export const verifySchnorrPoint = (signature: Uint8Array, message: Uint8Array, key: Point): boolean => {
  const xOfR = signature.subarray(0, SCALAR_BYTES);
  // Of another length than 64 bytes there is no second half of 32.
  const s = scalarFromBytes(signature.subarray(SCALAR_BYTES));
  if (s === undefined) return false;
  const e = challenge(xOfR, xBytes(key), message);
  const sum = mulBasePublic(s).add(mulPublic(key, negateScalar(e)));
  if (sum.is0()) return false;
  const r = normalizedPoint(sum);
  if (!hasEvenY(r)) return false;
  // That r is below p needs no check of its own: x(R) always is.
  return xBytes(r).every((byte, i) => byte === xOfR[i]);
};

/** BIP-340 `Verify`. `key` is x-only, 32 bytes; the message may have any length. False for whatever is malformed. */
export const verifySchnorr = (signature: Uint8Array, message: Uint8Array, key: Uint8Array): boolean => {
  let point: Point;
  try {
    point = liftX(key);
  } catch {
    return false;
  }
  return verifySchnorrPoint(signature, message, point);
};
