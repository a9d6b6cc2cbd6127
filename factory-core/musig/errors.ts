/**
 * Everything that can go wrong in a signing session, by kind.
 *
 * A peer's contribution: `bad_key`, `duplicate_key`, `bad_nonce`, `bad_partial` (with `index`, the signer's place in the
 * session's signers: the culprit), `bad_aggregate_nonce` (the coordinator's). Our own use of the session: the others.
 */
export type MusigErrorCode =
  /** Not one contribution per signer, or no signer at all. */
  | 'wrong_count'
  | 'bad_key'
  | 'duplicate_key'
  | 'bad_nonce'
  | 'bad_aggregate_nonce'
  /** The aggregate nonce is not the sum of these nonces. */
  | 'aggregate_mismatch'
  | 'bad_partial'
  /** A tweak of n or more (BIP-327 ApplyTweak). */
  | 'bad_tweak'
  /** An aggregate key came out as the point at infinity. */
  | 'infinity'
  /** Our key is not among the signers. */
  | 'not_a_signer'
  /** The output that the transaction spends is not the signers' aggregate key. */
  | 'wrong_output'
  /** A secret key or nonce out of range, or not the one of this public key. */
  | 'bad_secret'
  /** The source of randomness returned the wrong number of bytes, or bytes it had returned before. */
  | 'bad_randomness'
  /** There is no secret nonce for this attempt and transaction: never made, or lost with the process. */
  | 'nonce_absent'
  /** The secret nonce of this attempt and transaction has signed already (architecture 12, rule 5). */
  | 'nonce_used'
  /** The secret nonce was made for another message or other keys than it is asked to sign for. */
  | 'session_mismatch';

/** The only error this folder throws. */
export class MusigError extends Error {
  constructor(
    readonly code: MusigErrorCode,
    detail: string,
    /** The culprit: its place among the session's signers. */
    readonly index?: number,
  ) {
    super(index === undefined ? `${code}: ${detail}` : `${code}: ${detail} (signer ${index})`);
    this.name = 'MusigError';
  }
}

/** A signer's own nonce for the attempt is gone: it has signed in a step that was never stored, or the process is new. */
export const isOwnNonceLost = (error: unknown): boolean =>
  error instanceof MusigError && (error.code === 'nonce_absent' || error.code === 'nonce_used' || error.code === 'aggregate_mismatch');
