/** A signer that keeps the books: which nonce has signed, which partial signature is for what. */
import type { PartialSignature, PubKey } from '../../../blip/brands.js';
import type { Signable } from '../../model.js';
import type { Signer } from '../../musig/index.js';

export interface SignedPart {
  readonly node: string;
  readonly signable: Signable;
}

/** Of one node, over all its restarts. */
export class SignRecord {
  private readonly used = new Set<string>();
  /** What each partial signature ever made is for. */
  readonly parts = new Map<PartialSignature, SignedPart>();
  /** With keys of others. */
  readonly held: { readonly key: PubKey; readonly signable: Signable }[] = [];
  violations: string[] = [];

  constructor(readonly node: string) {}

  /** A second signature under one nonce gives the key away (architecture 12.5). */
  use(nonce: string, signable: Signable, partial: PartialSignature): void {
    if (this.used.has(nonce)) this.violations.push(`${this.node} signed twice with one nonce (${signable.purpose})`);
    this.used.add(nonce);
    this.parts.set(partial, { node: this.node, signable });
  }
}

/** @param isHeld whether the key is somebody else's */
export const spyOn = (inner: Signer, record: SignRecord, isHeld = false): Signer => {
  const nonces = new Map<string, string>();
  const others = new Map<string, Signer>();
  const key = (attempt: string, s: Signable): string => `${attempt} ${s.txid}`;
  return {
    publicKey: inner.publicKey,
    nonce: (attempt, s) => {
      const nonce = inner.nonce(attempt, s);
      nonces.set(key(attempt, s), nonce);
      return nonce;
    },
    sign: (attempt, s, aggregate) => {
      const partial = inner.sign(attempt, s, aggregate);
      if (isHeld) record.held.push({ key: inner.publicKey, signable: s });
      record.use(nonces.get(key(attempt, s)) ?? 'a nonce nobody has seen', s, partial);
      return partial;
    },
    drop: (attempt) => {
      inner.drop(attempt);
    },
    signSweep: (sweep) => inner.signSweep(sweep),
    held: (other) => {
      const known = others.get(other) ?? spyOn(inner.held(other), record, true);
      others.set(other, known);
      return known;
    },
    reveal: () => inner.reveal(),
  };
};
