/**
 * The cooperative close (architecture 9): freeze and drain, agree on balances, one transaction signed by all. Up to the
 * request for partial signatures it can be given up and the channels thaw; from there on only this transaction exists.
 *
 * A member whose key this node holds (rotation, architecture 8) is not asked: nothing in the factory is its own any more, and
 * this node signs in its stead. With all keys that is a close without anybody.
 */
import { msat, type Msat, type PartialSignature, type PublicNonce } from '../../blip/brands.js';
import type { CloseOutput, FactoryMessage } from '../../blip/messages.js';
import { AbortCode } from '../protocol/abort-codes.js';
import type { ChannelFacts, Effect, Event, Step } from '../protocol/effects.js';
import { signOnceOf, step } from '../protocol/effects.js';
import { present, withAt } from '../protocol/present.js';
import type { Signable } from '../model.js';
import { buildClose } from '../transactions.js';
import { aggregateNonces, findCulprits, isOwnNonceLost, MusigError, verifyFinal, type Signer } from '../musig/index.js';
import { fundingStatus } from '../live/custody.js';
import { channelsOf } from '../live/paths.js';
import { balanceOf, closeOutputs } from '../live/payouts.js';
import { plan } from '../live/plan.js';
import { memberIndex, sendTo, tryAggregate } from './ceremony.js';
import type { Closing, CoordinatorLive, Env } from './state.js';

type Progress = Closing['progress'];
type In<S extends Progress['step']> = CoordinatorLive & { readonly closing: Closing & { readonly progress: Extract<Progress, { step: S }> } };
type Active = CoordinatorLive & { readonly closing: Closing };

/** HTLCs have this many steps' time to settle before a close is given up. */
const DRAIN_STEPS = 4;

const with_ = (state: CoordinatorLive, attempt: number, feerate: number, progress: Progress): Active => ({
  ...state,
  closeAttempts: attempt,
  closing: { attempt, feerate, progress },
});
const nonceKey = (state: Active): string => `${state.request.instanceId}/close/${String(state.closing.attempt)}`;
const timerName = (closing: Closing): string => `close/${String(closing.attempt)}/${closing.progress.step}`;
/** Those who still have something in it. */
const parties = (state: CoordinatorLive) => state.live.branches.filter((b) => b.heldKey === undefined);
const everyone = (state: CoordinatorLive, attempt: number, message: FactoryMessage): Effect[] =>
  parties(state).map((b) => sendTo(b.peer, attempt, message));
const channelIds = (state: CoordinatorLive) => parties(state).flatMap((b) => channelsOf(state.live, b).map((c) => c.channelId));
const heldKey = (state: CoordinatorLive, member: number) => state.live.branches[member]?.heldKey;

/** Enters a step: everyone who owes an answer is asked, and a deadline runs. */
const ask = (state: Active, extra: readonly Effect[] = []): Step<CoordinatorLive> => {
  const { closing } = state;
  const messages = state.members.flatMap((m, i) => {
    const message = outstanding(state, i);
    return message ? [sendTo(m.nodeId, closing.attempt, message)] : [];
  });
  const factor = closing.progress.step === 'draining' ? DRAIN_STEPS : 1;
  return step(state, [
    ...extra,
    ...messages,
    { kind: 'timer', name: timerName(closing), seconds: state.request.stepTimeout * factor },
    { kind: 'progress', text: `close: ${closing.progress.step}`, done: 0, total: state.members.length },
  ]);
};

const outstanding = (state: Active, index: number): FactoryMessage | undefined => {
  const { progress } = state.closing;
  if (heldKey(state, index) !== undefined) return undefined;
  switch (progress.step) {
    case 'draining':
      return progress.balances[index] === null ? { type: 'close_request' } : undefined;
    case 'freezing':
      return undefined;
    case 'nonces':
      return progress.nonces[index] === null ? { type: 'close_proposal', outputs: progress.outputs } : undefined;
    case 'partials':
      return progress.partials[index] === null ? { type: 'close_aggregate_nonce', nonce: progress.aggregate } : undefined;
  }
};

export const beginClose = (state: CoordinatorLive, feerate: number, env: Env): Step<CoordinatorLive> => {
  // Once the factory's output is spent payments pass again below the tree: what balances were agreed is the past.
  const over = fundingStatus(state.live).kind === 'spent';
  if (over || state.closing || state.live.close?.signature !== undefined) return step(state);
  const attempt = state.closeAttempts + 1;
  const clean = withoutFailure(state);
  if (state.live.close) return askNonces(clean, attempt, feerate, state.live.close.outputs, env);
  const balances = state.members.map((_, i) => (heldKey(state, i) === undefined ? null : msat(0n)));
  return ask(with_(clean, attempt, feerate, { step: 'draining', balances }), [
    { kind: 'drain', attempt, channelIds: channelIds(state) },
  ]);
};

const withoutFailure = (state: CoordinatorLive): CoordinatorLive => {
  const clean: { -readonly [K in keyof CoordinatorLive]: CoordinatorLive[K] } = { ...state };
  delete clean.closeFailure;
  return clean;
};

/** Gives this attempt up. Before a partial signature may have left, the channels go on; after, they stay frozen. */
const fail = (state: Active, reason: string, env: Env): Step<CoordinatorLive> => {
  env.signer.drop(nonceKey(state));
  const { closing, ...rest } = state;
  const next: CoordinatorLive = { ...rest, closeFailure: reason };
  if (state.live.close) return step(next, [{ kind: 'log', level: 'unusual', text: `close not finished: ${reason}` }]);
  return step(next, [
    { kind: 'thaw', channelIds: channelIds(state) },
    ...everyone(state, closing.attempt, { type: 'abort', code: AbortCode.CloseGivenUp, reason: 'the close was given up' }),
  ]);
};

export const onClosing = (state: CoordinatorLive, event: Event, env: Env): Step<CoordinatorLive> => {
  if (event.type === 'restarted') return onRestart(state, env);
  if (!isActive(state)) return step(state);
  const { closing } = state;
  const { progress } = closing;
  switch (event.type) {
    case 'message': {
      const index = memberIndex(state.members, event.from);
      if (index < 0 || event.attempt !== closing.attempt) return step(state);
      return onMessage(state, index, event.message, env);
    }
    case 'drained': {
      if (event.attempt !== closing.attempt || progress.step !== 'draining') return step(state);
      return agree(with_(state, closing.attempt, closing.feerate, { ...progress, channels: event.channels }), env);
    }
    case 'frozen': {
      if (event.attempt !== closing.attempt || progress.step !== 'freezing') return step(state);
      return askNonces(state, closing.attempt, closing.feerate, progress.outputs, env);
    }
    case 'freeze_failed':
      if (event.attempt !== closing.attempt || progress.step !== 'freezing') return step(state);
      return fail(state, `the channels could not be frozen: ${event.reason}`, env);
    case 'timeout': {
      if (event.name !== timerName(closing)) return step(state);
      const silent = state.members.filter((_, i) => outstanding(state, i)).map((m) => m.nodeId);
      const who = silent.length > 0 ? `no answer from ${silent.join(', ')}` : 'HTLCs did not settle in time';
      return fail(state, `${progress.step}: ${who}`, env);
    }
    case 'peer_connected': {
      const index = memberIndex(state.members, event.peer);
      const message = index < 0 ? undefined : outstanding(state, index);
      return step(state, message ? [sendTo(event.peer, closing.attempt, message)] : []);
    }
    default:
      return step(state);
  }
};

const isActive = (state: CoordinatorLive): state is Active => state.closing !== undefined;

/** Secret nonces are gone. What was not released is given up, what was is signed again, the same transaction anew. */
const onRestart = (state: CoordinatorLive, env: Env): Step<CoordinatorLive> => {
  if (state.live.close && state.live.close.signature === undefined) {
    const { closing, ...rest } = state;
    return beginClose(rest, closing?.feerate ?? 0, env);
  }
  return isActive(state) ? fail(state, 'this node was restarted', env) : step(state);
};

const onMessage = (state: Active, index: number, message: FactoryMessage, env: Env): Step<CoordinatorLive> => {
  const { closing } = state;
  const { progress, attempt, feerate } = closing;
  const { nodeId } = present(state.members[index]);
  if (message.type === 'abort') return fail(state, `${nodeId}: ${message.reason}`, env);
  if (progress.step === 'draining' && message.type === 'close_ready' && progress.balances[index] === null) {
    return agree(with_(state, attempt, feerate, { ...progress, balances: withAt(progress.balances, index, message.balance) }), env);
  }
  if (progress.step === 'nonces' && message.type === 'close_nonce' && progress.nonces[index] === null) {
    const nonces = withAt(progress.nonces, index, message.nonce);
    return onNonces({ ...state, closing: { ...closing, progress: { ...progress, nonces } } }, env);
  }
  if (progress.step === 'partials' && message.type === 'close_partial' && progress.partials[index] === null) {
    const partials = withAt(progress.partials, index, message.partial);
    return onPartials({ ...state, closing: { ...closing, progress: { ...progress, partials } } }, env);
  }
  return step(state);
};

/** Once both sides of every channel have said what they have: the two must add up, then the outputs are fixed. */
const agree = (state: Active, env: Env): Step<CoordinatorLive> => {
  const { progress, attempt, feerate } = state.closing;
  if (progress.step !== 'draining' || !progress.channels) return step(state);
  const balances = progress.balances.filter((b) => b !== null);
  if (balances.length < progress.balances.length) return step(state);
  const wrong = mismatch(state, balances, progress.channels);
  if (wrong !== undefined) return fail(state, wrong, env);
  const outputs = closeOutputs(state.live.spec, balances, state.request.payoutScript, feerate);
  if (!outputs) return fail(state, 'the factory does not hold enough to pay everyone and the fee', env);
  return ask(with_(state, attempt, feerate, { step: 'freezing', outputs }), [
    { kind: 'freeze', attempt, channelIds: channelIds(state) },
  ]);
};

const mismatch = (state: Active, balances: readonly Msat[], channels: readonly ChannelFacts[]): string | undefined => {
  for (const branch of parties(state)) {
    const theirs = balances[branch.member];
    const ours = balanceOf(channelsOf(state.live, branch), channels);
    if (!ours) return `${branch.peer}: its channel is gone`;
    if (theirs === undefined || theirs + ours.toUs !== ours.total) {
      return `${branch.peer}: says its balance is ${String(theirs)} msat; this node has ${ours.toUs.toString()} of ${ours.total.toString()}`;
    }
  }
  return undefined;
};

const closeTx = (state: CoordinatorLive, outputs: readonly CloseOutput[]): Signable => buildClose(state.live.spec, outputs);

const askNonces = (from: CoordinatorLive, attempt: number, feerate: number, outputs: readonly CloseOutput[], env: Env): Step<CoordinatorLive> => {
  const progress = { step: 'nonces', outputs, nonces: from.members.map(() => null) } as const;
  const state = with_(from, attempt, feerate, progress);
  return parties(state).length > 0 ? ask(state) : onNonces({ ...state, closing: { attempt, feerate, progress } }, env);
};

/** What every member has said, and this node for those whose keys it holds; undefined while somebody is awaited. */
const complete = <T>(state: CoordinatorLive, said: readonly (T | null)[], inStead: (signer: Signer) => T, env: Env): readonly T[] | undefined => {
  if (parties(state).some((b) => said[b.member] === null)) return undefined;
  return said.map((one, i) => {
    const key = heldKey(state, i);
    return key === undefined ? present(one) : inStead(env.signer.held(key));
  });
};

const onNonces = (state: In<'nonces'>, env: Env): Step<CoordinatorLive> => {
  const { progress, attempt, feerate } = state.closing;
  const tx = closeTx(state, progress.outputs);
  const key = nonceKey(state);
  try {
    const nonces = complete<PublicNonce>(state, progress.nonces, (held) => held.nonce(key, tx), env);
    if (!nonces) return step(state);
    const aggregate = aggregateNonces([env.signer.nonce(key, tx), ...nonces]);
    // From here on partial signatures may be out: the transaction is agreed, whatever becomes of this attempt.
    const live = { ...state.live, close: state.live.close ?? { outputs: progress.outputs } };
    const partials = { step: 'partials', nonces, aggregate, partials: state.members.map(() => null) } as const;
    const next = with_({ ...state, live }, attempt, feerate, partials);
    return parties(next).length > 0 ? ask(next) : onPartials({ ...next, closing: { attempt, feerate, progress: partials } }, env);
  } catch (error) {
    if (!(error instanceof MusigError)) throw error;
    const culprit = error.index ? state.members[error.index - 1] : undefined;
    return fail(state, culprit ? `${culprit.nodeId}: sent an invalid nonce` : error.message, env);
  }
};

const onPartials = (state: In<'partials'>, env: Env): Step<CoordinatorLive> => {
  const { nonces, aggregate, partials: all } = state.closing.progress;
  if (parties(state).some((b) => all[b.member] === null)) return step(state);
  const { outputs } = present(state.live.close);
  const tx = closeTx(state, outputs);
  const key = nonceKey(state);
  try {
    const ownNonce = env.signer.nonce(key, tx);
    const partials = present(complete<PartialSignature>(state, all, (held) => held.sign(key, tx, aggregate), env));
    const own = env.signer.sign(key, tx, aggregate);
    const signature = tryAggregate(tx, aggregate, [own, ...partials]);
    if (signature !== undefined && verifyFinal(tx, signature)) {
      env.signer.drop(key);
      const { closing, ...rest } = state;
      const next: CoordinatorLive = { ...rest, live: { ...state.live, close: { outputs, signature } } };
      return step(
        next,
        [
          ...plan(next.live, 'coordinator'),
          ...everyone(state, closing.attempt, { type: 'close_signature', signature }),
          { kind: 'progress', text: 'close: published', done: 1, total: 1 },
        ],
        { signOnce: [signOnceOf(tx)] },
      );
    }
    const bad = findCulprits(tx, aggregate, [ownNonce, ...nonces], [own, ...partials]).flatMap((at) => state.members[at - 1]?.nodeId ?? []);
    return fail(state, `${bad.join(', ')}: sent a bad partial signature`, env);
  } catch (error) {
    if (!(error instanceof MusigError)) throw error;
    return fail(state, isOwnNonceLost(error) ? 'this node has lost its nonces' : error.message, env);
  }
};
