/**
 * Keys of a factory (architecture 3.8): one per factory, hardened. CLN's `makesecret` turns the label below into 32
 * bytes that only the node's seed can restore; from these the factory's key is derived. Who is handed one of these keys
 * (rotation hands over the old factory's) learns nothing about another, nor about the node.
 */
import { bytesToHex, hexToBytes, utf8ToBytes } from '@noble/hashes/utils.js';
import { FormatError, type InstanceId, type NodeId, type PubKey, pubKey, type SecretKey } from '../blip/brands.js';
import { mulBaseSecret, pointFromBytes, SCALAR_BYTES, scalarFromBytes, taggedHash } from './secp256k1.js';

const DOMAIN = 'cln-factory/1';

/** The `string` to give to `makesecret`. One per factory: an instance id is the coordinator's choice, hence both. */
export const factorySecretLabel = (coordinator: NodeId, instance: InstanceId): string => `${DOMAIN}/${coordinator}/${instance}`;

/**
 * The first valid secret key of a chain of hashes: BIP-327 wants 0 < d < n, and a hash misses that range with a
 * probability of 2^-128. Then it is hashed again.
 */
export const firstValidKey = (candidate: Uint8Array): Uint8Array => {
  const scalar = scalarFromBytes(candidate);
  return scalar === undefined || scalar === 0n ? firstValidKey(taggedHash(`${DOMAIN}/rehash`, candidate)) : candidate;
};

/**
 * The secret key of this node in this factory, 32 bytes. The factory is hashed in once more, so that a secret asked for
 * with the wrong label still gives no key twice.
 * @param secret what `makesecret` answered to `factorySecretLabel`, 32 bytes
 * @throws FormatError `secret`
 */
export const deriveFactoryKey = (secret: Uint8Array, coordinator: NodeId, instance: InstanceId): Uint8Array => {
  if (secret.length !== SCALAR_BYTES) throw new FormatError('secret', '32 bytes');
  return firstValidKey(taggedHash(`${DOMAIN}/key`, secret, utf8ToBytes(factorySecretLabel(coordinator, instance))));
};

/**
 * @param secretKey 32 bytes
 * @throws FormatError `secret_key` unless 0 < secret key < n
 */
export const publicKeyOf = (secretKey: Uint8Array): PubKey => {
  const d = scalarFromBytes(secretKey);
  if (d === undefined || d === 0n) throw new FormatError('secret_key', 'a number from 1 to n - 1 in 32 bytes');
  return pubKey(bytesToHex(mulBaseSecret(d).toBytes(true)));
};

/** Whether a key is a point on the curve (rule 4); the brand promises the form only. */
export const isValidPoint = (key: PubKey): boolean => {
  try {
    pointFromBytes(hexToBytes(key));
    return true;
  } catch {
    return false;
  }
};

/** The same for a key as it travels. */
export const isHandedOverKey = (secret: SecretKey, key: PubKey): boolean => isSecretKeyOf(hexToBytes(secret), key);

/** Whether 32 bytes are the secret key of this public key: how a key that was handed over is checked. */
export const isSecretKeyOf = (secretKey: Uint8Array, key: PubKey): boolean => {
  const d = scalarFromBytes(secretKey);
  return d !== undefined && d !== 0n && publicKeyOf(secretKey) === key;
};
