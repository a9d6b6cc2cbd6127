/** A purchase from the client's partial signature to the fee (architecture 7, 12.5 to 12.8). */
import type { Preimage, SchnorrSignature } from '../../blip/brands.js';
import type { PurchasePartial } from '../../blip/purchase-messages.js';
import { branchProblem, hashOf, withPurchase } from '../live/purchasing.js';
import type { Purchase } from '../live/state.js';
import { aggregateNonces, aggregatePartials, isOwnNonceLost, MusigError, verifyFinal } from '../musig/index.js';
import { AbortCode } from '../protocol/abort-codes.js';
import type { Step } from '../protocol/effects.js';
import { signOnceOf, step } from '../protocol/effects.js';
import { ask, at, branchAt, entered, giveUp, isSigned, saleKey, saleTx, sellingOf, withSelling } from './selling.js';
import type { CoordinatorLive, Env, Sale, SaleProgress } from './state.js';

type Signing = Extract<SaleProgress, { step: 'signing' }>;

/** With a fresh nonce, for the same transaction; what the client has signed was for the old one. */
export const renewed = (state: CoordinatorLive, member: number, env: Env): CoordinatorLive => {
  const { sale } = sellingOf(state, member);
  if (sale?.progress.step !== 'signing') return state;
  const key = saleKey(state, member, sale);
  env.signer.drop(key);
  const { step: name, channelScript, channelId, armed } = sale.progress;
  return at(state, member, sale, { step: name, channelScript, channelId, armed, nonce: env.signer.nonce(key, saleTx(state, member, sale, channelScript)) });
};

/** The nonce that was sent is in the state; its secret may have gone with a step that could not be stored. */
const hasNonce = (state: CoordinatorLive, member: number, sale: Sale, { channelScript, nonce }: Signing, env: Env): boolean => {
  try {
    return env.signer.nonce(saleKey(state, member, sale), saleTx(state, member, sale, channelScript)) === nonce;
  } catch (error) {
    if (!isOwnNonceLost(error)) throw error;
    return false;
  }
};

const askAnew = (state: CoordinatorLive, member: number, env: Env): Step<CoordinatorLive> => {
  const next = renewed(state, member, env);
  return step(next, ask(next, member));
};

export const onPartial = (state: CoordinatorLive, member: number, sale: Sale, message: PurchasePartial, env: Env): Step<CoordinatorLive> => {
  const { progress } = sale;
  // It has missed the signature.
  if (isSigned(sale)) return step(state, ask(state, member));
  if (progress.step !== 'signing') return step(state);
  if (!hasNonce(state, member, sale, progress, env)) return askAnew(state, member, env);
  // For a nonce of before a restart: it has the new one by now, and will answer that.
  if (message.coordinatorNonce !== progress.nonce || progress.theirs) return step(state);
  const next = at(state, member, sale, { ...progress, theirs: { nonce: message.nonce, partial: message.partial } });
  if (progress.armed) return trySign(next, member, env);
  const leaf = saleTx(state, member, sale, progress.channelScript);
  return step(next, [{ kind: 'arm', member, leaf }]);
};

/** Once the client's signature and fee are there, and nothing can take the channel away (architecture 3.3). */
export const trySign = (state: CoordinatorLive, member: number, env: Env): Step<CoordinatorLive> => {
  const { sale } = sellingOf(state, member);
  if (sale?.progress.step !== 'signing') return step(state);
  const { theirs, armed, nonce, channelScript, channelId } = sale.progress;
  const paid = sale.held || sale.fee === 0n;
  if (!theirs || !armed || !paid || branchProblem(state.live, branchAt(state, member), state.closing !== undefined)) return step(state);
  if (!hasNonce(state, member, sale, sale.progress, env)) return askAnew(state, member, env);
  const tx = saleTx(state, member, sale, channelScript);
  const key = saleKey(state, member, sale);
  const bad = (what: string): Step<CoordinatorLive> => giveUp(state, member, AbortCode.Invalid, `purchase_partial: ${what}`, env);
  let signature: SchnorrSignature;
  try {
    const aggregate = aggregateNonces([nonce, theirs.nonce]);
    signature = aggregatePartials(tx, aggregate, [env.signer.sign(key, tx, aggregate), theirs.partial]);
  } catch (error) {
    if (!(error instanceof MusigError)) throw error;
    return bad(error.message);
  }
  // With two signers, one of them us, a signature that does not verify has one possible culprit.
  if (!verifyFinal(tx, signature)) return bad('does not verify');
  env.signer.drop(key);
  const purchase: Purchase = {
    amount: sale.amount,
    channelId,
    channelScript,
    signature,
    fee: sale.fee,
    ...(sale.requestId === undefined ? {} : { requestId: sale.requestId }),
  };
  const live = withPurchase(state.live, member, purchase);
  const next = at({ ...state, live }, member, sale, { step: 'storing', channelId, signature });
  return step(next, ask(next, member), { signOnce: [signOnceOf(tx)] });
};

/** The client has its channel. With its HTLC at hand the fee is settled (the shell sees the preimage in the state); else it comes again. */
export const onPreimage = (state: CoordinatorLive, member: number, preimage: Preimage): Step<CoordinatorLive> => {
  const { sale, ...selling } = sellingOf(state, member);
  if (!sale || !isSigned(sale) || hashOf(preimage) !== sale.paymentHash) return step(state);
  if (sale.progress.step !== 'storing' && sale.progress.step !== 'settling') return step(state);
  const { channelId, signature } = sale.progress;
  if (sale.fee > 0n && !sale.held) {
    if (sale.progress.step === 'settling') return step(state);
    const next = at(state, member, sale, { step: 'settling', channelId, signature, preimage });
    // Asked again, it offers the HTLC again.
    return step(next, entered(next, member, sale.attempt, 'settling'));
  }
  const paid = sale.fee > 0n ? [...selling.paid, { paymentHash: sale.paymentHash, preimage }] : selling.paid;
  return step(withSelling(state, member, { ...selling, paid, outcome: { attempt: sale.attempt, ok: true, channelId } }));
};
