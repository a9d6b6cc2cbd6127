/**
 * The public half of the typed layer: what coordinator and member compute from public data, on the `Signable` of the
 * model. Peers' input throws `MusigError` and nothing else; the two `verify…` functions answer false instead.
 */
import { bytesToHex, hexToBytes } from '@noble/hashes/utils.js';
import {
  aggregateNonce,
  type AggregateNonce,
  hex,
  type Hex,
  partialSignature,
  type PartialSignature,
  type PubKey,
  type PublicNonce,
  schnorrSignature,
  type SchnorrSignature,
  type Script,
} from '../../blip/brands.js';
import type { Signable } from '../model.js';
import { hasEvenY, type Point, pointFromBytes, xBytes } from '../secp256k1.js';
import { p2trScript, tapTweak } from '../taproot.js';
import { MusigError, type MusigErrorCode } from './errors.js';
import { applyTweak, keyAgg, type KeyAggContext } from './key-agg.js';
import { Memo } from './memo.js';
import { nonceAgg, NONCE_BYTES } from './nonce.js';
import { verifySchnorrPoint } from './schnorr.js';
import { partialAgg, partialVerify, type SessionValues, sessionValues } from './session.js';

/** A signer set's Taproot key. */
export interface AggregateKey {
  readonly keys: readonly PubKey[];
  /** x-only, 32 bytes: before the tweak; for the control block of a script-path spend. */
  readonly internalKey: Hex;
  /** x-only, 32 bytes: what the output pays to. */
  readonly outputKey: Hex;
  /** Whether the output key's y is odd; for the control block. */
  readonly parity: 0 | 1;
  /** P2TR of the output key. */
  readonly script: Script;
  /** For this folder. */
  readonly context: KeyAggContext;
}

// In characters of their keys. The signer sets of a factory of 127 take 45,000 of them, of 500 about 200,000.
const aggregateKeyMemo = new Memo<AggregateKey>(1_000_000);
// 66 a key: 3,000 keys.
const pointMemo = new Memo<Point>(200_000);
// 262 a session: 1,500 of them. A factory of 127 has 159 transactions, one of 500 about 620.
const sessionMemo = new Memo<SessionValues>(400_000);

// 133 a nonce. All nonces of a factory of 127 take 110,000: to look for a culprit is not to add them up again for each signer.
const sumMemo = new Memo<{ readonly sum: AggregateNonce }>(400_000);

/** A list as a memo's key. The length in front tells a valid list from one with a comma inside an item. */
const listKey = (list: readonly string[]): string => `${list.length}/${list.join()}`;

/** Hex of a peer to bytes; brands promise the form, casts do not. */
const bytes = (value: string, length: number, code: MusigErrorCode, index?: number): Uint8Array => {
  if (value.length !== 2 * length || !/^[0-9a-f]*$/.test(value)) throw new MusigError(code, `expected ${length} bytes of hex`, index);
  return hexToBytes(value);
};

const keyBytes = (key: string, index?: number): Uint8Array => bytes(key, 33, 'bad_key', index);

/**
 * The Taproot key of a signer set: BIP-327 aggregation in the order given (coordinator, then roster order; not sorted),
 * then the BIP-341 tweak with the root, or with none. Each set is computed once, ever (architecture 14).
 * @throws MusigError `wrong_count`, `bad_key` or `duplicate_key` with the index, `bad_tweak`, `infinity`
 */
export const aggregateKeys = (keys: readonly PubKey[], merkleRoot?: Hex): AggregateKey =>
  aggregateKeyMemo.get(`${listKey(keys)}/${merkleRoot ?? 'no script'}`, () => {
    // Rule 4. BIP-327 could do with duplicates; a roster with one is a mistake or an attack on the head count.
    keys.forEach((key, index) => {
      if (keys.indexOf(key) !== index) throw new MusigError('duplicate_key', 'this key is there already', index);
    });
    if (merkleRoot !== undefined) bytes(merkleRoot, 32, 'bad_tweak');
    const internal = keyAgg(keys.map(keyBytes), (key, index) =>
      pointMemo.get(keys[index] ?? '', () => pointFromBytes(key)),
    );
    const internalKey = xBytes(internal.point);
    const context = applyTweak(internal, tapTweak(internalKey, merkleRoot), true);
    const outputKey = hex(bytesToHex(xBytes(context.point)));
    return Object.freeze({
      keys: Object.freeze([...keys]),
      internalKey: hex(bytesToHex(internalKey)),
      outputKey,
      parity: hasEvenY(context.point) ? 0 : 1,
      script: p2trScript(outputKey),
      context,
    });
  });

/**
 * The aggregate key of a signable, bound to the output it spends: nobody signs for a key that is not there (rule 2).
 * @throws MusigError of `aggregateKeys`, and `wrong_output`
 */
export const keyOf = (s: Signable): AggregateKey => {
  const key = aggregateKeys(s.signers, s.merkleRoot);
  if (key.script !== s.tx.prevout.script) throw new MusigError('wrong_output', 'the output spent does not pay to these signers');
  return key;
};

/** The message: the BIP-341 sighash, 32 bytes. @throws MusigError `session_mismatch` when it is not a hash */
export const messageOf = (s: Signable): Uint8Array => bytes(s.sighash, 32, 'session_mismatch');

/**
 * Session values, computed once per (key, message, aggregate nonce): they are a function of these three.
 * @throws MusigError `bad_aggregate_nonce`
 */
export const valuesOf = (key: AggregateKey, s: Signable, aggregate: AggregateNonce): SessionValues =>
  sessionMemo.get(`${key.outputKey}/${s.sighash}/${aggregate}`, () =>
    sessionValues(key.context, bytes(aggregate, NONCE_BYTES, 'bad_aggregate_nonce'), messageOf(s)),
  );

/** BIP-327 NonceAgg. @throws MusigError `wrong_count`, `bad_nonce` with the index of the signer */
export const aggregateNonces = (nonces: readonly PublicNonce[]): AggregateNonce =>
  sumMemo.get(listKey(nonces), () => {
    const sum = nonceAgg(nonces.map((nonce, index) => bytes(nonce, NONCE_BYTES, 'bad_nonce', index)));
    return { sum: aggregateNonce(bytesToHex(sum)) };
  }).sum;

/**
 * BIP-327 PartialSigAgg: one partial per signer, in the signers' order. The result is not verified: call `verifyFinal`,
 * always, and `findCulprits` when it says no.
 * @throws MusigError `wrong_count`, `bad_partial` with the index, `bad_aggregate_nonce`, and those of `keyOf`
 */
export const aggregatePartials = (
  s: Signable,
  aggregate: AggregateNonce,
  partials: readonly PartialSignature[],
): SchnorrSignature => {
  const key = keyOf(s);
  if (partials.length !== s.signers.length) {
    throw new MusigError('wrong_count', `${partials.length} partial signatures of ${s.signers.length} signers`);
  }
  const all = partials.map((partial, index) => bytes(partial, 32, 'bad_partial', index));
  return schnorrSignature(bytesToHex(partialAgg(all, key.context, valuesOf(key, s, aggregate))));
};

const sessionIsConsistent = (s: Signable, aggregate: AggregateNonce, nonces: readonly PublicNonce[]): boolean =>
  nonces.length === s.signers.length && aggregateNonces(nonces) === aggregate;

const partialIsValid = (
  s: Signable,
  aggregate: AggregateNonce,
  nonce: PublicNonce | undefined,
  signer: PubKey | undefined,
  partial: PartialSignature | undefined,
): boolean => {
  if (nonce === undefined || signer === undefined || partial === undefined) return false;
  const key = keyOf(s);
  const values = valuesOf(key, s, aggregate);
  return partialVerify(bytes(partial, 32, 'bad_partial'), bytes(nonce, NONCE_BYTES, 'bad_nonce'), keyBytes(signer), key.context, values);
};

const falseIfMalformed = (check: () => boolean): boolean => {
  try {
    return check();
  } catch (error) {
    if (error instanceof MusigError) return false;
    throw error;
  }
};

/**
 * BIP-327 PartialSigVerify for the signer at `index`. False too when anything is malformed, or when `aggregate` is not
 * the sum of `nonces`; so a false alone names nobody. To name a culprit use `findCulprits`.
 */
export const verifyPartial = (
  s: Signable,
  aggregate: AggregateNonce,
  nonces: readonly PublicNonce[],
  index: number,
  partial: PartialSignature,
): boolean =>
  falseIfMalformed(
    () => sessionIsConsistent(s, aggregate, nonces) && partialIsValid(s, aggregate, nonces[index], s.signers[index], partial),
  );

/**
 * Who spoiled the final signature: the indices of the signers whose partial signature is not theirs (rule 14). Empty
 * when all are right. A missing or malformed partial counts as a bad one.
 * @throws MusigError `aggregate_mismatch`, `bad_nonce`, and those of `keyOf`: the session itself is not sound, and
 *   nobody may be blamed for its partials
 */
export const findCulprits = (
  s: Signable,
  aggregate: AggregateNonce,
  nonces: readonly PublicNonce[],
  partials: readonly PartialSignature[],
): readonly number[] => {
  valuesOf(keyOf(s), s, aggregate);
  if (!sessionIsConsistent(s, aggregate, nonces)) {
    throw new MusigError('aggregate_mismatch', 'the aggregate nonce is not the sum of these nonces');
  }
  return s.signers.flatMap((signer, index) =>
    falseIfMalformed(() => partialIsValid(s, aggregate, nonces[index], signer, partials[index])) ? [] : [index],
  );
};

/** BIP-340 for the output spent (rule 7). False when anything is malformed or the output is not these signers'. */
export const verifyFinal = (s: Signable, signature: SchnorrSignature): boolean =>
  falseIfMalformed(() => {
    const { point } = keyOf(s).context;
    return verifySchnorrPoint(bytes(signature, 64, 'bad_partial'), messageOf(s), hasEvenY(point) ? point : point.negate());
  });

/** A partial signature's bytes as its branded hex. */
export const toPartial = (value: Uint8Array): PartialSignature => partialSignature(bytesToHex(value));
