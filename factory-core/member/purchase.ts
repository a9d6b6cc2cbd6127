/**
 * Buying a channel out of the stock (architecture 7). This node pays, by an HTLC whose preimage it alone knows, before it
 * signs, and lets go of the preimage when it holds the whole signature; what it has signed it never replaces.
 */
import type { ChannelId, Msat, PublicNonce, Sat, SchnorrSignature, Script } from '../../blip/brands.js';
import { decodeChannelInFactory } from '../../blip/channel-in-factory.js';
import { DecodeError } from '../../blip/errors.js';
import type { FactoryMessage } from '../../blip/messages.js';
import { FACTORY_PROTOCOL_ID } from '../../blip/protocol-id.js';
import type { PurchaseIntent, PurchaseMessage, PurchaseOffer } from '../../blip/purchase-messages.js';
import { earlyWarningOf } from '../live/paths.js';
import {
  branchOver,
  branchProblem,
  FEE_LOCK,
  hashOf,
  isOffers,
  isPurchaseMessage,
  MAX_NUMBER,
  newPreimage,
  nextEarlyWarning,
  nextPurchase,
  purchaseProblem,
  withPurchase,
} from '../live/purchasing.js';
import type { Branch, Purchase } from '../live/state.js';
import type { Signable } from '../model.js';
import { aggregateNonces, MusigError, verifyFinal } from '../musig/index.js';
import { AbortCode } from '../protocol/abort-codes.js';
import type { Effect, Event, Step } from '../protocol/effects.js';
import { andThen, signOnceOf, step } from '../protocol/effects.js';
import { present } from '../protocol/present.js';
import { auditProblem } from './opening.js';
import type { Buying, BuyingProgress, MemberEnv, MemberLive, Purchasing } from './state.js';

const NOTHING_BOUGHT: Purchasing = { last: 0, lastOffer: 0, expected: [] };
export const purchasingOf = (state: MemberLive): Purchasing => state.purchasing ?? NOTHING_BOUGHT;
const with_ = (state: MemberLive, change: Partial<Purchasing>): MemberLive => ({ ...state, purchasing: { ...purchasingOf(state), ...change } });
const at = (state: MemberLive, current: Buying, progress: BuyingProgress): MemberLive => with_(state, { current: { ...current, progress } });

const branchOf = (state: MemberLive): Branch => present(state.live.branches[0]);
/** A close is being agreed, or this member is on its way to another factory. */
const isClosing = (state: MemberLive): boolean => state.closing !== undefined || state.migration !== undefined;
const say = (state: MemberLive, attempt: number, message: FactoryMessage): Effect => ({ kind: 'send', to: state.coordinator, attempt, message });
const refusal = (state: MemberLive, attempt: number, code: number, reason: string): Effect => say(state, attempt, { type: 'purchase_abort', code, reason });

/** A nonce belongs to one purchase. */
const nonceKey = (state: MemberLive, { attempt }: Buying): string => `${state.instanceId}/purchase/${String(attempt)}`;
const timerName = (attempt: number, what: string): string => `purchase/${String(attempt)}/${what}`;
/** Seconds the coordinator has for an answer, and for opening the channel. */
const PATIENCE = 120;
/** Seconds until a fee that is owed, and could not be sent, is tried again: twice as many each time, then not until the coordinator asks. */
const FEE_PAUSE = 5;
const FEE_TRIES = 6;
const FEE_AGAIN = 'fee';

/** Under way, and not a thing of the past. */
const isOpen = ({ progress }: Buying): boolean => progress.step !== 'stored';
/** The partial signature may be out, or the purchase is in the branch. */
const isBound = ({ progress }: Buying): boolean => progress.step === 'signed' || progress.step === 'stored';

const purchaseTx = (state: MemberLive, current: Buying, channelScript: Script): Signable => nextPurchase(state.live, branchOf(state), current.amount, channelScript);

/** What the coordinator has heard from us last, if all went well. */
const lastAnswer = (state: MemberLive): Effect[] => {
  const { current } = purchasingOf(state);
  if (!current) return [];
  const { attempt, amount, fee, preimage, progress } = current;
  switch (progress.step) {
    case 'requested':
      return [say(state, attempt, { type: 'purchase_request', amount, fee, paymentHash: hashOf(preimage) })];
    case 'expecting':
      return [say(state, attempt, { type: 'purchase_ready' })];
    case 'auditing':
    case 'paying':
      return [];
    case 'signed':
      return [say(state, attempt, { type: 'purchase_partial', coordinatorNonce: progress.theirs, nonce: progress.nonce, partial: progress.partial })];
    case 'stored':
      return [say(state, attempt, { type: 'purchase_stored', preimage })];
  }
};
/** A coordinator that has been away may have forgotten it: it keeps nothing of a question. */
const unansweredQuestion = (state: MemberLive): Effect[] => {
  const { last, asked, quote, failure } = purchasingOf(state);
  if (!asked || asked.attempt !== last || quote?.attempt === last || failure?.attempt === last) return [];
  return [say(state, last, { type: 'purchase_quote_request', amount: asked.amount })];
};
const waiting = (state: MemberLive, current: Buying): Effect[] => [
  ...lastAnswer(state),
  { kind: 'timer', name: timerName(current.attempt, current.progress.step), seconds: PATIENCE },
];

/** Back to where it was; nothing of ours is at stake before the partial signature. */
const giveUp = (state: MemberLive, code: number, reason: string, env: MemberEnv, notify = true): Step<MemberLive> => {
  const { current } = purchasingOf(state);
  return current && !isBound(current) ? drop(state, current, code, reason, env, notify) : step(state);
};
const drop = (state: MemberLive, current: Buying, code: number, reason: string, env: MemberEnv, notify: boolean): Step<MemberLive> => {
  const { last, lastOffer, expected, quote } = purchasingOf(state);
  env.signer.drop(nonceKey(state, current));
  const { attempt, progress } = current;
  const next: MemberLive = { ...state, purchasing: { last, lastOffer, expected, ...(quote ? { quote } : {}), failure: { attempt, code, reason } } };
  const opened = 'channelScript' in progress ? purchaseTx(state, current, progress.channelScript).txid : undefined;
  return step(next, [
    ...(opened === undefined ? [] : [{ kind: 'drop_purchase' as const, member: state.member, peer: state.coordinator, fundingTxid: opened }]),
    ...(notify ? [refusal(state, attempt, code, reason)] : []),
    { kind: 'log', level: 'info', text: `purchase ${String(attempt)} given up: ${reason}` },
  ]);
};

/** Events that concern a purchase; everything else leaves the state as it is. */
export const onPurchase = (state: MemberLive, event: Event, env: MemberEnv): Step<MemberLive> => {
  const { last, current } = purchasingOf(state);
  switch (event.type) {
    case 'message':
      return isPurchaseMessage(event.message) ? onMessage(state, event.attempt, event.message, env) : step(state);
    case 'quote_requested': {
      const attempt = last + 1 + (last % 2);
      if (attempt > MAX_NUMBER) return step(state);
      const next = with_(state, { last: attempt, asked: { attempt, amount: event.amount } });
      return step(next, unansweredQuestion(next));
    }
    case 'buy_requested': {
      const attempt = last + 1 + (last % 2);
      // The command has looked before; this is for what has changed since.
      if (attempt > MAX_NUMBER || busyWith(state) !== undefined || purchaseProblem(state.live, branchOf(state), isClosing(state), event.amount)) return step(state);
      return begin(with_(state, { last: attempt }), attempt, event, env);
    }
    case 'audited':
      return onAudited(state, event, env);
    case 'fee_sent':
      return current?.attempt === event.attempt && current.progress.step === 'paying' ? sign(state, current, current.progress, env) : step(state);
    case 'fee_failed':
      if (current?.attempt !== event.attempt) return step(state);
      // What is signed is paid for: a channel that is just coming back can send in a moment.
      if (current.progress.step !== 'paying') return feeAgain(state, current, event.reason);
      return giveUp(state, AbortCode.Cancelled, `the fee could not be paid: ${event.reason}`, env);
    case 'timeout':
      if (current && isBound(current) && event.name === timerName(current.attempt, FEE_AGAIN)) return step(state, payFee(state, current));
      if (!current || event.name !== timerName(current.attempt, current.progress.step)) return step(state);
      return giveUp(state, AbortCode.Cancelled, `the coordinator did not answer in time (${current.progress.step})`, env);
    case 'peer_connected':
      return step(state, event.peer === state.coordinator ? [...unansweredQuestion(state), ...lastAnswer(state)] : []);
    case 'restarted':
      return giveUp(state, AbortCode.Cancelled, 'the client was restarted', env);
    case 'abort_requested':
      return giveUp(state, AbortCode.Cancelled, event.reason, env);
    case 'block_connected':
    case 'exit_requested': {
      // What was signed binds no longer, once this stock can be sold to nobody any more.
      const over = branchOver(state.live, branchOf(state));
      return over && current && isOpen(current) ? drop(state, current, AbortCode.Busy, over.reason, env, true) : step(state);
    }
    default:
      return step(state);
  }
};

/** Why no other purchase can begin. */
export const busyWith = (state: MemberLive): string | undefined => {
  const { current } = purchasingOf(state);
  if (!current || !isOpen(current)) return undefined;
  const standing = current.progress.step === 'signed' ? 'is signed, and the coordinator has not finished it yet: it is this one or none' : `is under way (${current.progress.step})`;
  return `a purchase of ${current.amount.toString()} sat ${standing}`;
};

interface Wanted {
  readonly amount: Sat;
  readonly fee: Msat;
  readonly requestId?: string;
}
const begin = (state: MemberLive, attempt: number, { amount, fee, requestId }: Wanted, env: MemberEnv): Step<MemberLive> => {
  const progress = { step: 'requested' } as const;
  const current: Buying = { attempt, amount, fee, preimage: newPreimage(env.random), progress, ...(requestId === undefined ? {} : { requestId }) };
  const next = with_(state, { current });
  return step(next, waiting(next, current));
};

const onMessage = (state: MemberLive, attempt: number, message: PurchaseMessage, env: MemberEnv): Step<MemberLive> => {
  const purchasing = purchasingOf(state);
  const current = purchasing.current?.attempt === attempt ? purchasing.current : undefined;
  switch (message.type) {
    case 'purchase_quote': {
      const { amount, fee, stockLeft, refusal: why } = message;
      const quote = { attempt, amount, fee, stockLeft, ...(why === undefined ? {} : { refusal: why }) };
      return attempt === purchasing.last ? step(with_(state, { quote })) : step(state);
    }
    case 'purchase_offer':
      return current ? step(state, lastAnswer(state)) : onOffer(state, attempt, message, env);
    case 'purchase_intent':
      return current ? onIntent(state, current, message, env) : unknown(state, attempt);
    case 'purchase_opened':
      return current ? onOpened(state, current, message, env) : unknown(state, attempt);
    case 'purchase_signature':
      return current ? onSignature(state, current, message.signature, env) : unknown(state, attempt);
    case 'purchase_abort': {
      const { code, reason } = message;
      if (current && !isBound(current)) return giveUp(state, code, `the coordinator: ${reason}`, env, false);
      if (current?.progress.step === 'signed') {
        const failure = { attempt, code, reason: `the coordinator has given up a purchase that was signed; this stock cannot be sold otherwise any more: ${reason}` };
        return step(with_(state, { failure }), [{ kind: 'log', level: 'unusual', text: failure.reason }]);
      }
      // Of a quote: nothing to give up, but somebody waits.
      return attempt === purchasing.last && purchasing.current?.attempt !== attempt ? step(with_(state, { failure: { attempt, code, reason } })) : step(state);
    }
    default:
      return step(state);
  }
};

/** The coordinator goes on with something that was given up here before anything was signed. */
const unknown = (state: MemberLive, attempt: number): Step<MemberLive> =>
  step(state, [refusal(state, attempt, AbortCode.Cancelled, 'this purchase was given up')]);

const onOffer = (state: MemberLive, attempt: number, { amount, fee }: PurchaseOffer, env: MemberEnv): Step<MemberLive> => {
  if (!isOffers(attempt) || attempt <= purchasingOf(state).lastOffer) return unknown(state, attempt);
  const next = with_(state, { lastOffer: attempt });
  const no = (code: number, reason: string): Step<MemberLive> => step(next, [refusal(state, attempt, code, reason)]);
  const busy = busyWith(state);
  if (busy !== undefined) return no(AbortCode.Busy, busy);
  const problem = purchaseProblem(state.live, branchOf(state), isClosing(state), amount);
  if (problem) return no(problem.kind === 'busy' ? AbortCode.Busy : AbortCode.Invalid, problem.reason);
  if (fee > env.maxPurchaseFee) return no(AbortCode.NotAccepted, `this node pays ${env.maxPurchaseFee.toString()} msat at most for what it has not asked for (its option factory-max-purchase-fee)`);
  return begin(next, attempt, { amount, fee }, env);
};

/** bLIP-56 `channel_in_factory`: it must be this factory, with the early warning that this channel's place demands. */
const onIntent = (state: MemberLive, current: Buying, message: PurchaseIntent, env: MemberEnv): Step<MemberLive> => {
  const { progress, amount } = current;
  if (progress.step !== 'requested' && progress.step !== 'expecting') return step(state);
  const wrong = intentProblem(state, current, message);
  if (wrong !== undefined) return giveUp(state, AbortCode.Invalid, `purchase_intent.${wrong}`, env);
  const { expected } = purchasingOf(state);
  const next = with_(at(state, current, { step: 'expecting' }), { expected: expected.includes(amount) ? expected : [...expected, amount] });
  return step(next, progress.step === 'expecting' ? lastAnswer(next) : waiting(next, { ...current, progress: { step: 'expecting' } }));
};

const intentProblem = (state: MemberLive, { amount }: Buying, message: PurchaseIntent): string | undefined => {
  const branch = branchOf(state);
  if (message.amount !== amount) return 'amount: not the one that was asked for';
  if (message.index !== branch.purchases.length) return `index: there are ${String(branch.purchases.length)} purchases of this stock`;
  try {
    const tlv = decodeChannelInFactory(message.channelInFactory);
    if (tlv.protocolId !== FACTORY_PROTOCOL_ID) return 'channel_in_factory: another protocol';
    if (tlv.instanceId !== state.instanceId) return 'channel_in_factory: another factory';
    return tlv.earlyWarningTime === nextEarlyWarning(state.live, branch) ? undefined : 'channel_in_factory: early warning time';
  } catch (error) {
    if (error instanceof DecodeError) return `channel_in_factory: ${error.message}`;
    throw error;
  }
};

type Opened = Extract<BuyingProgress, { step: 'auditing' }>;

const onOpened = (
  state: MemberLive,
  current: Buying,
  { channelScript, channelId, nonce: theirs }: { readonly channelScript: Script; readonly channelId: ChannelId; readonly nonce: PublicNonce },
  env: MemberEnv,
): Step<MemberLive> => {
  const { progress } = current;
  switch (progress.step) {
    case 'requested':
    case 'stored':
      return step(state, progress.step === 'stored' ? lastAnswer(state) : []);
    case 'expecting': {
      // A channel output is P2WSH (BOLT 3).
      if (!/^0020[0-9a-f]{64}$/.test(channelScript)) return giveUp(state, AbortCode.Invalid, 'purchase_opened.channel_script: not P2WSH', env);
      const { txid } = purchaseTx(state, current, channelScript);
      const next = at(state, current, { step: 'auditing', channelScript, channelId, theirs });
      return step(next, [{ kind: 'audit', attempt: current.attempt, peer: state.coordinator, funding: { txid, vout: 0 } }]);
    }
    case 'auditing':
    case 'paying':
    case 'signed': {
      if (progress.channelScript !== channelScript || progress.channelId !== channelId) return step(state);
      if (progress.step !== 'signed') return step(at(state, current, { ...progress, theirs }));
      // Asked again: it may have lost the HTLC as well as our answer. Another nonce: the same transaction anew.
      return andThen(feeAsked(state, current), (s) => (progress.theirs === theirs ? step(s, lastAnswer(s)) : sign(s, present(purchasingOf(s).current), { channelScript, channelId, theirs }, env)));
    }
  }
};

/** The script audit (architecture 6): the channel CLN has is the one this node has derived, and it holds what was asked for. */
const onAudited = (state: MemberLive, event: Extract<Event, { type: 'audited' }>, env: MemberEnv): Step<MemberLive> => {
  const { current } = purchasingOf(state);
  if (current?.attempt !== event.attempt || current.progress.step !== 'auditing') return step(state);
  const { progress } = current;
  const wrong = auditProblem(current.amount, progress.channelScript, progress.channelId, event.result);
  if (wrong !== undefined) return giveUp(state, AbortCode.Invalid, `audit: ${wrong}`, env);
  if (current.fee === 0n) return sign(state, current, progress, env);
  const problem = branchProblem(state.live, branchOf(state), isClosing(state));
  if (problem) return giveUp(state, AbortCode.Busy, problem.reason, env);
  const next = at(state, current, { ...progress, step: 'paying' });
  return step(next, payFee(next, current));
};

const feeAgain = (state: MemberLive, current: Buying, reason: string): Step<MemberLive> => {
  const { attempt, feeFailures = 0 } = current;
  const next = with_(state, { current: { ...current, feeFailures: feeFailures + 1 } });
  const log: Effect = { kind: 'log', level: 'debug', text: `the fee of purchase ${String(attempt)}: ${reason}` };
  const again: Effect = { kind: 'timer', name: timerName(attempt, FEE_AGAIN), seconds: FEE_PAUSE * 2 ** feeFailures };
  return step(next, feeFailures < FEE_TRIES ? [log, again] : [log]);
};
/** The coordinator has asked: as if it were for the first time. */
const feeAsked = (state: MemberLive, current: Buying): Step<MemberLive> => {
  const first: Buying = { ...current, feeFailures: 0 };
  return step(with_(state, { current: first }), payFee(state, first));
};

/**
 * Before the signature: a fee that cannot be paid ends the purchase, and the stock is as it was. Not while balances are being told
 * for a close, nor after they were signed: it would be lost on top of what the close pays out (architecture 12.10).
 */
const payFee = (state: MemberLive, { attempt, fee, preimage }: Buying): Effect[] => {
  if (fee === 0n || isClosing(state) || state.live.close) return [];
  const deepest = earlyWarningOf(state.live.spec, branchOf(state).purchases.length + 1);
  return [{ kind: 'pay_fee', attempt, peer: state.coordinator, amount: fee, paymentHash: hashOf(preimage), blocks: deepest + FEE_LOCK }];
};

/** On record before it leaves (architecture 12.6), and never another one of this stock. */
const sign = (state: MemberLive, current: Buying, { channelScript, channelId, theirs }: Omit<Opened, 'step'>, env: MemberEnv): Step<MemberLive> => {
  const problem = isBound(current) ? undefined : branchProblem(state.live, branchOf(state), isClosing(state));
  if (problem) return giveUp(state, AbortCode.Busy, problem.reason, env);
  const tx = purchaseTx(state, current, channelScript);
  const key = nonceKey(state, current);
  try {
    env.signer.drop(key);
    const nonce = env.signer.nonce(key, tx);
    const partial = env.signer.sign(key, tx, aggregateNonces([theirs, nonce]));
    env.signer.drop(key);
    const next = at(state, current, { step: 'signed', channelScript, channelId, theirs, nonce, partial });
    return step(next, lastAnswer(next), { signOnce: [signOnceOf(tx)] });
  } catch (error) {
    if (!(error instanceof MusigError)) throw error;
    env.signer.drop(key);
    return giveUp(state, AbortCode.Invalid, `purchase_opened.nonce: ${error.message}`, env);
  }
};

const onSignature = (state: MemberLive, current: Buying, signature: SchnorrSignature, env: MemberEnv): Step<MemberLive> => {
  const { progress } = current;
  // It has not seen our preimage, or not the HTLC that it settles.
  if (progress.step === 'stored') return andThen(feeAsked(state, current), (s) => step(s, lastAnswer(s)));
  if (progress.step !== 'signed') return step(state);
  const { channelScript, channelId } = progress;
  if (!verifyFinal(purchaseTx(state, current, channelScript), signature)) {
    return step(state, [{ kind: 'log', level: 'unusual', text: 'purchase_signature: does not verify' }]);
  }
  env.signer.drop(nonceKey(state, current));
  const { amount, fee, requestId } = current;
  const purchase: Purchase = { amount, channelId, channelScript, signature, fee, ...(requestId === undefined ? {} : { requestId }) };
  const next = at({ ...state, live: withPurchase(state.live, state.member, purchase) }, current, { step: 'stored', channelId });
  return step(next, lastAnswer(next));
};
