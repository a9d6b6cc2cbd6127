/**
 * The member's side of the cooperative close. Until its partial signature has left, the channel may thaw; afterwards it
 * stays frozen, and only that very transaction is signed again (architecture 12.6).
 */
import type { AggregateNonce, Msat, SchnorrSignature } from '../../blip/brands.js';
import type { CloseOutput, FactoryMessage } from '../../blip/messages.js';
import type { Signable } from '../model.js';
import { MusigError, verifyFinal } from '../musig/index.js';
import { AbortCode } from '../protocol/abort-codes.js';
import type { Effect, Event, Step } from '../protocol/effects.js';
import { signOnceOf, step } from '../protocol/effects.js';
import { present } from '../protocol/present.js';
import { buildClose } from '../transactions.js';
import { branchStatus, fundingStatus } from '../live/custody.js';
import { channelsOf } from '../live/paths.js';
import { balanceOf, closeProblem } from '../live/payouts.js';
import { plan } from '../live/plan.js';
import type { MemberClosing, MemberEnv, MemberLive } from './state.js';

/** Seconds a coordinator has to come to the signing before the channel thaws. */
const PATIENCE = 900;

const nonceKey = (state: MemberLive, attempt: number): string => `${state.instanceId}/close/${String(attempt)}`;
const answer = (state: MemberLive, attempt: number, message: FactoryMessage): Effect => ({
  kind: 'send',
  to: state.coordinator,
  attempt,
  message,
});
const timerName = (attempt: number): string => `close/${String(attempt)}`;
const isSame = (a: readonly CloseOutput[], b: readonly CloseOutput[]): boolean =>
  a.length === b.length && a.every((o, i) => o.amount === b[i]?.amount && o.script === b[i].script);

/** Back to work, unless our partial signature is out. */
const giveUp = (state: MemberLive, env: MemberEnv): MemberLive => {
  const { closing, ...rest } = state;
  if (closing) env.signer.drop(nonceKey(state, closing.attempt));
  return rest;
};

const fail = (state: MemberLive, attempt: number, reason: string, env: MemberEnv, code: number = AbortCode.Invalid): Step<MemberLive> =>
  step(giveUp(state, env), [
    answer(state, attempt, { type: 'abort', code, reason }),
    { kind: 'log', level: 'unusual', text: `close refused: ${reason}` },
  ]);

export const onClosing = (state: MemberLive, event: Event, env: MemberEnv): Step<MemberLive> => {
  const { closing } = state;
  switch (event.type) {
    case 'message':
      return onMessage(state, event.attempt, event.message, env);
    case 'drained': {
      if (closing?.progress.step !== 'draining' || event.attempt !== closing.attempt) return step(state);
      const branch = present(state.live.branches[0]);
      const balance = balanceOf(channelsOf(state.live, branch), event.channels)?.toUs;
      if (balance === undefined) return fail(state, closing.attempt, 'its channel is gone', env, AbortCode.Busy);
      const { outputs } = closing.progress;
      if (outputs) return checkedNonce(state, closing.attempt, balance, outputs, env);
      return step({ ...state, closing: { attempt: closing.attempt, progress: { step: 'ready', balance } } }, [
        answer(state, closing.attempt, { type: 'close_ready', balance }),
      ]);
    }
    case 'timeout':
      return closing && event.name === timerName(closing.attempt) ? step(giveUp(state, env)) : step(state);
    case 'restarted':
      return step(giveUp(state, env));
    default:
      return step(state);
  }
};

const onMessage = (state: MemberLive, attempt: number, message: FactoryMessage, env: MemberEnv): Step<MemberLive> => {
  switch (message.type) {
    case 'close_request':
      return onRequest(state, attempt, env);
    case 'close_proposal':
      return onProposal(state, attempt, message.outputs, env);
    case 'close_aggregate_nonce':
      return onAggregate(state, attempt, message.nonce, env);
    case 'close_signature':
      return onSignature(state, message.signature, env);
    case 'abort':
      return state.closing?.attempt === attempt ? step(giveUp(state, env)) : step(state);
    default:
      return step(state);
  }
};

const onRequest = (state: MemberLive, attempt: number, env: MemberEnv): Step<MemberLive> => {
  const { closing, live } = state;
  if (closing?.attempt === attempt) {
    const { progress } = closing;
    return step(state, progress.step === 'ready' ? [answer(state, attempt, { type: 'close_ready', balance: progress.balance })] : []);
  }
  if (live.close) return fail(state, attempt, 'a close has been signed already', env, AbortCode.Busy);
  return drain(state, attempt, env);
};

/** @param outputs of a close that only waits for this client's balance to be known */
const drain = (state: MemberLive, attempt: number, env: MemberEnv, outputs?: readonly CloseOutput[]): Step<MemberLive> => {
  const { live } = state;
  const branch = present(live.branches[0]);
  const usable = fundingStatus(live).kind === 'confirmed' && branchStatus(live, branch).kind === 'virtual' && !live.exits[branch.member];
  if (state.migration) return fail(state, attempt, 'this node is moving to another factory', env, AbortCode.Busy);
  if (!usable) return fail(state, attempt, 'the factory is not active here', env, AbortCode.Busy);
  const next: MemberLive = { ...giveUp(state, env), closing: { attempt, progress: { step: 'draining', ...(outputs ? { outputs } : {}) } } };
  return step(next, [
    { kind: 'drain', attempt, channelIds: channelsOf(live, branch).map((c) => c.channelId) },
    { kind: 'timer', name: timerName(attempt), seconds: PATIENCE },
  ]);
};

const onProposal = (state: MemberLive, attempt: number, outputs: readonly CloseOutput[], env: MemberEnv): Step<MemberLive> => {
  const { closing, live } = state;
  if (live.close) {
    // Signed before: this very transaction again, or nothing.
    if (!isSame(live.close.outputs, outputs)) return fail(state, attempt, 'close_proposal: another close has been signed', env);
    if (closing?.attempt !== attempt) return giveNonce(giveUp(state, env), attempt, outputs, env);
  }
  // Some have signed this in an earlier attempt, and will sign nothing else; this client's balance decides whether it may.
  if (closing?.attempt !== attempt) return closing && closing.attempt > attempt ? step(state) : drain(state, attempt, env, outputs);
  const { progress } = closing;
  if (progress.step === 'nonce') {
    const same = isSame(progress.outputs, outputs);
    return step(state, same ? [answer(state, attempt, { type: 'close_nonce', nonce: progress.nonce })] : []);
  }
  return progress.step === 'ready' ? checkedNonce(state, attempt, progress.balance, outputs, env) : step(state);
};

const checkedNonce = (state: MemberLive, attempt: number, balance: Msat, outputs: readonly CloseOutput[], env: MemberEnv): Step<MemberLive> => {
  const problem = closeProblem(state.live.spec, state.member, balance, outputs);
  if (problem !== undefined) return fail(state, attempt, `close_proposal.${problem}`, env);
  return giveNonce(state, attempt, outputs, env);
};

const giveNonce = (state: MemberLive, attempt: number, outputs: readonly CloseOutput[], env: MemberEnv): Step<MemberLive> => {
  const nonce = env.signer.nonce(nonceKey(state, attempt), closeTx(state, outputs));
  const closing: MemberClosing = { attempt, progress: { step: 'nonce', outputs, nonce } };
  return step({ ...state, closing }, [answer(state, attempt, { type: 'close_nonce', nonce })]);
};

const closeTx = (state: MemberLive, outputs: readonly CloseOutput[]): Signable => buildClose(state.live.spec, outputs);

const onAggregate = (state: MemberLive, attempt: number, aggregate: AggregateNonce, env: MemberEnv): Step<MemberLive> => {
  const { closing } = state;
  if (closing?.attempt !== attempt) return step(state);
  const { progress } = closing;
  if (progress.step === 'partial') return step(state, [answer(state, attempt, { type: 'close_partial', partial: progress.partial })]);
  if (progress.step !== 'nonce') return step(state);
  const tx = closeTx(state, progress.outputs);
  try {
    const partial = env.signer.sign(nonceKey(state, attempt), tx, aggregate);
    const next: MemberLive = {
      ...state,
      live: { ...state.live, close: { outputs: progress.outputs } },
      closing: { attempt, progress: { step: 'partial', partial } },
    };
    return step(next, [answer(state, attempt, { type: 'close_partial', partial })], { signOnce: [signOnceOf(tx)] });
  } catch (error) {
    if (!(error instanceof MusigError)) throw error;
    return fail(state, attempt, `close_aggregate_nonce: ${error.message}`, env);
  }
};

const onSignature = (state: MemberLive, signature: SchnorrSignature, env: MemberEnv): Step<MemberLive> => {
  const { close } = state.live;
  if (!close || close.signature !== undefined) return step(state);
  if (!verifyFinal(closeTx(state, close.outputs), signature)) {
    return step(state, [{ kind: 'log', level: 'unusual', text: 'close_signature: does not verify' }]);
  }
  const next: MemberLive = { ...giveUp(state, env), live: { ...state.live, close: { outputs: close.outputs, signature } } };
  return step(next, plan(next.live, 'member'));
};
