/**
 * The secret half of the typed layer: a capability to sign for one factory key. It lives in memory and nowhere else
 * (architecture 11: secret nonces are never stored). What it holds sits in closures: there is nothing to serialise, and
 * a copy of the object shares the same nonces, each of which signs once.
 */
import { sha256 } from '@noble/hashes/sha2.js';
import { schnorr } from '@noble/curves/secp256k1.js';
import { bytesToHex, concatBytes, hexToBytes, utf8ToBytes } from '@noble/hashes/utils.js';
import {
  type AggregateNonce,
  type PartialSignature,
  pubKey,
  type PubKey,
  publicNonce,
  type PublicNonce,
  schnorrSignature,
  type SchnorrSignature,
  secretKey as secretKeyOf,
  type SecretKey,
  type Txid,
} from '../../blip/brands.js';
import type { StockSweep } from '../leaf.js';
import type { Signable } from '../model.js';
import { sighashOf } from '../serialize.js';
import { TAPSCRIPT } from '../taproot.js';
import { type AggregateKey, keyOf, messageOf, toPartial, valuesOf } from './aggregate.js';
import { MusigError } from './errors.js';
import { nonceGen, type SecretNonce } from './nonce.js';
import { keyPair, partialSign } from './session.js';

export interface Signer {
  readonly publicKey: PubKey;
  /**
   * Our public nonce for a transaction in an attempt. The secret half is made on the first call; later calls return the
   * same public nonce, until it has signed.
   * @throws MusigError `not_a_signer`, `nonce_used`, `session_mismatch` (same txid, other message or keys),
   *   `bad_randomness`, and those of `keyOf`
   */
  nonce(attempt: string, s: Signable): PublicNonce;
  /**
   * Our partial signature. Takes the secret nonce, once, ever: keep the answer if it may have to be sent again. Whatever
   * is wrong with `s` or `aggregate` is found before, and then the nonce is still there.
   * @throws MusigError `nonce_absent`, `nonce_used`, `session_mismatch`, `bad_aggregate_nonce`, and those of `keyOf`
   */
  sign(attempt: string, s: Signable, aggregate: AggregateNonce): PartialSignature;
  /** Forgets an attempt and overwrites its secret nonces. */
  drop(attempt: string): void;
  /**
   * Our key alone, for the script path of a stock (architecture 4). Nothing else: a signer that signs any message is an oracle.
   * @throws MusigError `not_a_signer` when the stock is another coordinator's
   */
  signSweep(sweep: Pick<StockSweep, 'tx' | 'stock'>): SchnorrSignature;
  /**
   * The signer of a key that a member has handed over: the same one for the same key, with nonces of its own.
   * @throws MusigError `bad_secret`
   */
  held(key: SecretKey): Signer;
  /** Our secret key, to be handed over: whoever calls this has nothing left that it protects. */
  reveal(): SecretKey;
}

/** A nonce with what it was made for. */
interface Entry {
  readonly publicNonce: PublicNonce;
  readonly secret: SecretNonce;
  readonly session: string;
}

/** What the secret nonce is bound to, besides (attempt, txid): the key that signs and the message. */
const sessionOf = (key: AggregateKey, s: Signable): string => `${key.outputKey}/${s.sighash}`;

/**
 * @param secretKey 32 bytes, copied; the caller may overwrite its own
 * @param random a cryptographic source of n fresh bytes
 * @throws MusigError `bad_secret`
 */
export const createSigner = (secretKey: Uint8Array, random: (n: number) => Uint8Array): Signer => {
  const pair = keyPair(secretKey);
  const publicKey = pubKey(bytesToHex(pair.publicKey));
  const attempts = new Map<string, Map<Txid, Entry>>();
  const others = new Map<SecretKey, Signer>();
  let lastRandom = '';

  const freshRandom = (): Uint8Array => {
    const rand = random(32);
    // Its hash is kept, not itself: with the secret key, which may be handed over one day, it would give the nonce away.
    const seen = bytesToHex(sha256(rand));
    if (seen === lastRandom) throw new MusigError('bad_randomness', 'the random bytes repeat themselves');
    lastRandom = seen;
    return rand;
  };

  const makeEntry = (attempt: string, s: Signable, key: AggregateKey): Entry => {
    if (!s.signers.includes(publicKey)) throw new MusigError('not_a_signer', 'our key is not among the signers');
    const made = nonceGen(freshRandom(), {
      publicKey: pair.publicKey,
      secretKey: pair.secretKey,
      aggregateKey: hexToBytes(key.outputKey),
      message: messageOf(s),
      extra: concatBytes(hexToBytes(s.txid), utf8ToBytes(attempt)),
    });
    return { publicNonce: publicNonce(bytesToHex(made.publicNonce)), secret: made.secret, session: sessionOf(key, s) };
  };

  /** The entry for (attempt, txid), if there is one, and fit to be used for `s`. */
  const usableEntry = (attempt: string, s: Signable, key: AggregateKey): Entry | undefined => {
    const entry = attempts.get(attempt)?.get(s.txid);
    if (entry === undefined) return undefined;
    if (entry.secret.taken) throw new MusigError('nonce_used', 'this nonce has signed');
    if (entry.session !== sessionOf(key, s)) throw new MusigError('session_mismatch', 'this nonce was made for another message or other keys');
    return entry;
  };

  return Object.freeze({
    publicKey,
    nonce(attempt: string, s: Signable): PublicNonce {
      const key = keyOf(s);
      const known = usableEntry(attempt, s, key);
      if (known !== undefined) return known.publicNonce;
      const entry = makeEntry(attempt, s, key);
      const entries = attempts.get(attempt) ?? new Map<Txid, Entry>();
      attempts.set(attempt, entries.set(s.txid, entry));
      return entry.publicNonce;
    },
    sign(attempt: string, s: Signable, aggregate: AggregateNonce): PartialSignature {
      const key = keyOf(s);
      const entry = usableEntry(attempt, s, key);
      if (entry === undefined) throw new MusigError('nonce_absent', 'no nonce was made for this attempt and transaction');
      const values = valuesOf(key, s, aggregate);
      return toPartial(partialSign(entry.secret, pair, key.context, values));
    },
    signSweep({ tx, stock }: Pick<StockSweep, 'tx' | 'stock'>): SchnorrSignature {
      if (!stock.leafScript.includes(publicKey.slice(2))) throw new MusigError('not_a_signer', 'our key is not in the stock’s script');
      const sighash = sighashOf(tx, { script: stock.leafScript, version: TAPSCRIPT });
      return schnorrSignature(bytesToHex(schnorr.sign(hexToBytes(sighash), pair.secretKey, freshRandom())));
    },
    drop(attempt: string): void {
      attempts.get(attempt)?.forEach((entry) => entry.secret.destroy());
      attempts.delete(attempt);
      others.forEach((other) => other.drop(attempt));
    },
    held(key: SecretKey): Signer {
      const known = others.get(key) ?? createSigner(hexToBytes(key), random);
      others.set(key, known);
      return known;
    },
    reveal: (): SecretKey => secretKeyOf(bytesToHex(pair.secretKey)),
  });
};
