/**
 * The sale of stock to one client (architecture 7). The stock is the LSP's money, so the channel is complete, with
 * commitments for both, before anybody signs; and the fee is the client's until it holds the whole signature.
 */
import type { Msat, PaymentHash, Sat } from '../../blip/brands.js';
import type { FactoryMessage } from '../../blip/messages.js';
import { branchOver, branchProblem, isOffers, MAX_NUMBER, priceOf, purchaseProblem, stockLeft, type Refusal } from '../live/purchasing.js';
import { AbortCode } from '../protocol/abort-codes.js';
import type { Event, Step } from '../protocol/effects.js';
import { andThen, step } from '../protocol/effects.js';
import { memberIndex } from './ceremony.js';
import { onPartial, onPreimage, renewed, trySign } from './purchase-signing.js';
import { ask, at, branchAt, entered, giveUp, isSigned, peerOf, refuse, saleKey, saleTx, sellingOf, tell, timer, timerName, withSale, withSelling } from './selling.js';
import type { CoordinatorLive, Deal, Env, Sale, SaleProgress } from './state.js';

const codeOf = ({ kind }: Refusal): number => (kind === 'busy' ? AbortCode.Busy : AbortCode.Invalid);

const saleWith = (state: CoordinatorLive, hash: PaymentHash): number | undefined => {
  const entry = Object.entries(state.selling ?? {}).find(([, { sale }]) => sale?.paymentHash === hash);
  return entry && Number(entry[0]);
};
const members = (state: CoordinatorLive): readonly number[] => Object.keys(state.selling ?? {}).map(Number);

/** Events that concern a purchase; everything else leaves the state as it is. */
export const onPurchase = (state: CoordinatorLive, event: Event, env: Env): Step<CoordinatorLive> => {
  switch (event.type) {
    case 'message': {
      const member = memberIndex(state.members, event.from);
      return member < 0 ? step(state) : onMessage(state, member, event.attempt, event.message, env);
    }
    case 'sell_requested':
      return onOffer(state, event.member, { amount: event.amount, fee: event.fee, ...(event.requestId === undefined ? {} : { requestId: event.requestId }) });
    case 'open_started': {
      const sale = saleAt(state, event.member, event.attempt, 'starting');
      if (!sale) return step(state);
      const next = at(state, event.member, sale, { step: 'completing', channelScript: event.script });
      const leaf = saleTx(state, event.member, sale, event.script);
      return step(next, [
        { kind: 'open_complete', attempt: sale.attempt, member: event.member, peer: peerOf(state, event.member), leaf },
        ...entered(next, event.member, sale.attempt, 'completing'),
      ]);
    }
    case 'open_completed': {
      const sale = saleAt(state, event.member, event.attempt, 'completing');
      if (!sale) return step(state);
      const { channelScript } = sale.progress;
      const nonce = env.signer.nonce(saleKey(state, event.member, sale), saleTx(state, event.member, sale, channelScript));
      const next = at(state, event.member, sale, { step: 'signing', channelScript, channelId: event.channelId, nonce, armed: false });
      return step(next, entered(next, event.member, sale.attempt, 'signing'));
    }
    case 'open_failed': {
      const sale = saleAt(state, event.member, event.attempt, 'starting') ?? saleAt(state, event.member, event.attempt, 'completing');
      return sale ? giveUp(state, event.member, AbortCode.Busy, `the channel could not be opened: ${event.reason}`, env) : step(state);
    }
    case 'armed': {
      const { sale } = sellingOf(state, event.member);
      if (sale?.progress.step !== 'signing' || sale.progress.armed) return step(state);
      return trySign(at(state, event.member, sale, { ...sale.progress, armed: true }), event.member, env);
    }
    case 'arm_failed':
      return giveUp(state, event.member, AbortCode.Cancelled, `the channel is gone: ${event.reason}`, env);
    case 'fee_held':
    case 'fee_lost':
      return onFee(state, event.paymentHash, event.type === 'fee_held', env);
    case 'timeout':
      return onTimeout(state, event.name, env);
    case 'peer_connected': {
      const member = memberIndex(state.members, event.peer);
      return step(state, member < 0 ? [] : ask(state, member));
    }
    case 'restarted':
      return forEach(state, (s, member) => onRestart(s, member, env));
    case 'block_connected':
      // A client that has not answered may have lost the question, or its HTLC.
      return andThen(forEach(state, (s, member) => review(s, member, env)), (s) => step(s, members(s).flatMap((m) => ask(s, m))));
    case 'exit_requested':
    case 'close_requested':
      return forEach(state, (s, member) => review(s, member, env));
    default:
      return step(state);
  }
};

const forEach = (state: CoordinatorLive, work: (state: CoordinatorLive, member: number) => Step<CoordinatorLive>): Step<CoordinatorLive> =>
  members(state).reduce((done, member) => andThen(done, (s) => work(s, member)), step(state));

type SaleIn<S extends SaleProgress['step']> = Sale & { readonly progress: Extract<SaleProgress, { step: S }> };
const isIn = <S extends SaleProgress['step']>(sale: Sale, name: S): sale is SaleIn<S> => sale.progress.step === name;
const saleAt = <S extends SaleProgress['step']>(state: CoordinatorLive, member: number, attempt: number, name: S): SaleIn<S> | undefined => {
  const { sale } = sellingOf(state, member);
  return sale?.attempt === attempt && isIn(sale, name) ? sale : undefined;
};

/** What cannot come to anything any more is given up; a close that is only being tried spares what the client may have signed. */
const review = (state: CoordinatorLive, member: number, env: Env): Step<CoordinatorLive> => {
  const { sale, offer } = sellingOf(state, member);
  const branch = branchAt(state, member);
  const problem = sale?.progress.step === 'signing' ? branchOver(state.live, branch) : branchProblem(state.live, branch, closing(state, member));
  return problem && (sale ?? offer) ? giveUp(state, member, codeOf(problem), problem.reason, env) : step(state);
};

/** An opening does not outlive the process; what the client may have signed does, with another nonce. */
const onRestart = (state: CoordinatorLive, member: number, env: Env): Step<CoordinatorLive> => {
  const { sale } = sellingOf(state, member);
  if (!sale) return giveUp(state, member, AbortCode.Cancelled, 'the coordinator was restarted', env);
  if (isSigned(sale)) return step(withSale(state, member, { ...sale, held: false }), [timer(state, member, sale.attempt, sale.progress.step)]);
  if (!isIn(sale, 'signing')) return giveUp(state, member, AbortCode.Cancelled, 'the coordinator was restarted', env);
  return step(renewed(withSale(state, member, { ...sale, held: false }), member, env));
};

const onFee = (state: CoordinatorLive, hash: PaymentHash, held: boolean, env: Env): Step<CoordinatorLive> => {
  const member = saleWith(state, hash);
  const sale = member === undefined ? undefined : sellingOf(state, member).sale;
  if (member === undefined || !sale || sale.held === held) return step(state);
  const next = withSale(state, member, { ...sale, held });
  if (!held) return step(next);
  return sale.progress.step === 'settling' ? onPreimage(next, member, sale.progress.preimage) : trySign(next, member, env);
};

const onTimeout = (state: CoordinatorLive, name: string, env: Env): Step<CoordinatorLive> => {
  for (const member of members(state)) {
    const { sale, offer } = sellingOf(state, member);
    const what = sale ? sale.progress.step : 'offer';
    const attempt = (sale ?? offer)?.attempt;
    if (attempt === undefined || name !== timerName(member, attempt, what)) continue;
    // Perhaps it signed, or the HTLC we have lost was just being taken back: once more, and then with every block and connection.
    if (what === 'signing' || what === 'settling') return step(state, ask(state, member));
    return giveUp(state, member, AbortCode.Cancelled, what === 'offer' ? 'the client did not answer' : `the client did not answer in time (${what})`, env);
  }
  return step(state);
};

const onMessage = (state: CoordinatorLive, member: number, attempt: number, message: FactoryMessage, env: Env): Step<CoordinatorLive> => {
  const { sale, offer } = sellingOf(state, member);
  const current = sale?.attempt === attempt ? sale : undefined;
  switch (message.type) {
    case 'purchase_quote_request':
      return onQuoteRequest(state, member, attempt, message.amount, env);
    case 'purchase_request':
      return current ? step(state, ask(state, member)) : onRequest(state, member, attempt, message, env);
    case 'purchase_ready': {
      if (!current || !isIn(current, 'intent')) return unknown(state, member, attempt);
      const next = at(state, member, current, { step: 'starting' });
      return step(next, [
        { kind: 'open_start', attempt, member, peer: peerOf(state, member), amount: current.amount },
        ...entered(next, member, attempt, 'starting'),
      ]);
    }
    case 'purchase_partial':
      return current ? onPartial(state, member, current, message, env) : unknown(state, member, attempt);
    case 'purchase_stored':
      return current ? onPreimage(state, member, message.preimage) : step(state);
    case 'purchase_abort':
      if (attempt !== (sale ?? offer)?.attempt) return step(state);
      return giveUp(state, member, message.code, `the client: ${message.reason}`, env, false);
    default:
      return step(state);
  }
};

/** A client that speaks of a purchase that was given up has missed that; one that is done needs no answer. */
const unknown = (state: CoordinatorLive, member: number, attempt: number): Step<CoordinatorLive> => {
  const { sale, outcome } = sellingOf(state, member);
  if (sale?.attempt === attempt || (outcome?.attempt === attempt && outcome.ok)) return step(state);
  return step(state, [refuse(state, member, attempt, AbortCode.Cancelled, 'this purchase was given up')]);
};

/** A close is being agreed, or this member is on its way to another factory. */
const closing = (state: CoordinatorLive, member: number): boolean => state.closing !== undefined || state.migrations?.[member] !== undefined;

const onQuoteRequest = (state: CoordinatorLive, member: number, attempt: number, amount: Sat, env: Env): Step<CoordinatorLive> => {
  const selling = sellingOf(state, member);
  const branch = branchAt(state, member);
  const problem = selling.sale ? BUSY : purchaseProblem(state.live, branch, closing(state, member), amount);
  const quote: FactoryMessage = {
    type: 'purchase_quote',
    amount,
    fee: priceOf(env.pricing, amount),
    stockLeft: stockLeft(state.live, branch, amount),
    ...(problem ? { refusal: problem.reason } : {}),
  };
  return step(state, [tell(state, member, attempt, quote)]);
};
const BUSY: Refusal = { kind: 'busy', reason: 'another purchase is under way' };

const onRequest = (
  state: CoordinatorLive,
  member: number,
  attempt: number,
  { amount, fee, paymentHash }: { readonly amount: Sat; readonly fee: Msat; readonly paymentHash: PaymentHash },
  env: Env,
): Step<CoordinatorLive> => {
  const { sale: other, offer, ...selling } = sellingOf(state, member);
  const offered = offer?.attempt === attempt && offer.amount === amount && offer.fee === fee ? offer : undefined;
  if (!offered && (isOffers(attempt) || attempt <= selling.lastRequest)) return unknown(state, member, attempt);
  const lastRequest = offered ? selling.lastRequest : attempt;
  const no = (code: number, reason: string): Step<CoordinatorLive> =>
    step(withSelling(state, member, { ...sellingOf(state, member), lastRequest }), [refuse(state, member, attempt, code, reason)]);
  if (other) return no(AbortCode.Busy, BUSY.reason);
  const problem = purchaseProblem(state.live, branchAt(state, member), closing(state, member), amount);
  if (problem) return no(codeOf(problem), problem.reason);
  const price = priceOf(env.pricing, amount);
  if (!offered && fee < price) return no(AbortCode.NotAccepted, `the price is ${price.toString()} msat`);
  // An offer that crosses with a purchase of the client's own is over.
  const crossed = offer && !offered ? { outcome: { attempt: offer.attempt, ok: false, code: AbortCode.Busy, reason: 'the client buys by itself' } as const } : {};
  const deal: Deal = { attempt, amount, fee, ...(offered?.requestId === undefined ? {} : { requestId: offered.requestId }) };
  const sale: Sale = { ...deal, paymentHash, held: false, progress: { step: 'intent' } };
  const next = withSelling(state, member, { ...selling, ...crossed, lastRequest, sale });
  return step(next, entered(next, member, attempt, 'intent'));
};

const onOffer = (state: CoordinatorLive, member: number, terms: Omit<Deal, 'attempt'>): Step<CoordinatorLive> => {
  const selling = state.live.branches[member] && sellingOf(state, member);
  if (!selling) return step(state);
  const attempt = selling.lastOffer + 2;
  const problem = (selling.sale ?? selling.offer) ? BUSY : purchaseProblem(state.live, branchAt(state, member), closing(state, member), terms.amount);
  // The command has looked before; this is for what has changed since.
  if (problem || attempt > MAX_NUMBER) return step(state);
  const next = withSelling(state, member, { ...selling, lastOffer: attempt, offer: { ...terms, attempt } });
  return step(next, entered(next, member, attempt, 'offer'));
};
