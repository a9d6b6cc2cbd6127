/**
 * MuSig2 (BIP-327) for the transactions of a factory.
 *
 * The order of things, and the only one that works: `aggregateKeys` (in the builder of the transaction) →
 * `signer.nonce` → `aggregateNonces` → `signer.sign` → `aggregatePartials` → `verifyFinal`, and, if that says no,
 * `findCulprits`. The functions on bytes below this layer (key-agg, nonce, session, schnorr) follow the BIP's names and
 * run its vectors; nothing outside this folder calls them. Deterministic signing (BIP-327 DeterministicSign) is not
 * implemented: every signer here has randomness and memory, and the variant is of use to one signer only.
 */
export {
  type AggregateKey,
  aggregateKeys,
  aggregateNonces,
  aggregatePartials,
  findCulprits,
  verifyFinal,
  verifyPartial,
} from './aggregate.js';
export { isOwnNonceLost, MusigError, type MusigErrorCode } from './errors.js';
export { createSigner, type Signer } from './signer.js';
