/** What every phase of the creation shares: who is who, eviction, giving up. */
import type { AggregateNonce, NodeId, PartialSignature, SchnorrSignature, Txid } from '../../blip/brands.js';
import type { FactoryMessage } from '../../blip/messages.js';
import type { Effect, Step } from '../protocol/effects.js';
import { step } from '../protocol/effects.js';
import { AbortCode } from '../protocol/abort-codes.js';
import type { FactoryPlan, Signable } from '../model.js';
import { aggregatePartials, MusigError } from '../musig/index.js';
import { leafOf } from '../live/paths.js';
import { planShape } from '../shape.js';
import { fundingRequirement } from '../transactions.js';
import { defaultPolicy, validatePlan } from '../validate.js';
import type { Aborted, Arming, CoordinatorState, Env, Excluded, Inviting, Member, Opening, Preparing, Signing } from './state.js';
import { coordinatorLeaf } from './leaf.js';

/** A ceremony restarted this often is not going to succeed (architecture 12.14: eviction is bounded). */
export const MAX_ATTEMPTS = 6;

export type Creating = Inviting | Preparing | Signing | Opening | Arming;

export interface Culprit {
  readonly nodeId: NodeId;
  readonly reason: string;
}

export const sendTo = (to: NodeId, attempt: number, message: FactoryMessage): Effect => ({ kind: 'send', to, attempt, message });

/** The members' node ids, or the invitees' before there are members. */
export const participants = (state: Exclude<CoordinatorState, Aborted>): readonly NodeId[] =>
  (state.phase === 'inviting' ? state.invitees : state.members).map((m) => m.nodeId);

/** Gives back coins and channels of the attempt: everything it may have touched, whether or not we saw the result. */
const release = (state: Creating): Effect[] => {
  switch (state.phase) {
    case 'inviting':
      return [];
    case 'preparing':
      return state.coins ? [{ kind: 'release_funding', coins: state.coins }] : [];
    case 'signing':
      return [{ kind: 'release_funding', ...state.reserved }];
    case 'opening':
    case 'arming':
      return [
        { kind: 'discard_channels', peers: state.members.map((m) => m.nodeId), fundingTxids: leafTxids(state) },
        { kind: 'release_funding', ...state.reserved },
      ];
  }
};

/** The leaves CLN may know: those whose channel script has been fixed. */
const leafTxids = (state: Opening | Arming): Txid[] =>
  state.phase === 'arming'
    ? state.live.branches.map((branch) => leafOf(state.live, branch).signable.txid)
    : state.leaves.flatMap((leaf, member) => ('channelScript' in leaf ? [coordinatorLeaf(state, member, leaf.channelScript).txid] : []));

export const GIVEN_UP: FactoryMessage = { type: 'abort', code: AbortCode.Cancelled, reason: 'the creation was given up' };

/** Ends the creation: nothing stays reserved, no channel stays open, everyone is told (architecture 5, 12.17). */
export const abort = (state: Creating, reason: string, env: Env, tell: readonly NodeId[] = participants(state)): Step<Aborted> => {
  forget(state, env);
  // Members need not know of each other: who was to blame is for the operator.
  const notices = tell.map((to) => sendTo(to, state.attempt, GIVEN_UP));
  return step(
    { role: 'coordinator', phase: 'aborted', request: state.request, attempt: state.attempt, excluded: state.excluded, reason },
    [...release(state), ...notices, { kind: 'log', level: 'info', text: `aborted: ${reason}` }],
    { cancelPending: true },
  );
};

/** Nonces belong to one attempt of one factory. */
export const attemptKey = (state: { readonly request: { readonly instanceId: string }; readonly attempt: number }): string =>
  `${state.request.instanceId}/create/${String(state.attempt)}`;

export const leafKey = (state: Parameters<typeof attemptKey>[0], index: number): string => `${attemptKey(state)}/leaf/${String(index)}`;

/** No nonce of an attempt outlives it. */
export const forget = (state: Creating, env: Env): void => {
  env.signer.drop(attemptKey(state));
  if (state.phase === 'opening') state.leaves.forEach((_, i) => env.signer.drop(leafKey(state, i)));
};

/**
 * Goes on without the culprits, with a new attempt and fresh nonces, if enough members are left (architecture 5);
 * otherwise gives up.
 */
export const evict = (
  state: Preparing | Signing | Opening,
  culprits: readonly Culprit[],
  env: Env,
): Step<CoordinatorState> => {
  const gone = new Map(culprits.map((c) => [c.nodeId, c.reason]));
  const rest = state.members.filter((m) => !gone.has(m.nodeId));
  const excluded: Excluded[] = [...state.excluded, ...culprits];
  const why = culprits.map((c) => `${c.nodeId}: ${c.reason}`).join('; ');
  if (rest.length < state.request.minClients || state.attempt >= MAX_ATTEMPTS) {
    return abort({ ...state, excluded }, why, env);
  }
  forget(state, env);
  const farewell = culprits.map((c) => sendTo(c.nodeId, state.attempt, { type: 'abort', code: AbortCode.Evicted, reason: c.reason }));
  const cleanup = [...release(state), ...farewell];
  const next = startAttempt({ ...base(state), attempt: state.attempt + 1, excluded }, rest, env);
  return {
    ...next,
    effects: [...cleanup, { kind: 'progress', text: `without ${why}`, done: 0, total: 0 }, ...next.effects],
    cancelPending: true,
  };
};

interface Base {
  readonly role: 'coordinator';
  readonly request: Creating['request'];
  readonly attempt: number;
  readonly excluded: readonly Excluded[];
}

export const base = (state: Creating): Base => ({
  role: 'coordinator',
  request: state.request,
  attempt: state.attempt,
  excluded: state.excluded,
});

/** The same attempt anew, nobody evicted: a member lost its nonces by a restart. Bounded like eviction. */
export const retry = (state: Signing | Opening, reason: string, env: Env): Step<CoordinatorState> => {
  if (state.attempt >= MAX_ATTEMPTS) return abort(state, reason, env);
  forget(state, env);
  const cleanup = release(state);
  // The same plan: should the funding transaction come out the same, the sign-once record must still fit.
  const next = startAttempt({ ...base(state), attempt: state.attempt + 1 }, state.members, { ...env, height: state.spec.startHeight });
  return { ...next, effects: [...cleanup, ...next.effects], cancelPending: true };
};

export const memberIndex = (members: readonly Member[], nodeId: NodeId): number => members.findIndex((m) => m.nodeId === nodeId);

/** Everyone who is to be in it has joined: fix the plan, and choose the coins that pay for it. */
export const startAttempt = (common: Base, members: readonly Member[], env: Env): Step<Preparing | Aborted> => {
  const { terms, instanceId, coordinatorKey, fanouts } = common.request;
  const plan: FactoryPlan = {
    instanceId,
    terms,
    coordinatorKey,
    roster: members.map(({ key, payoutScript, capacity, stock }) => ({ key, payoutScript, capacity, stock })),
    fanouts: fanouts ?? planShape(members.length),
    startHeight: env.height,
    expiryHeight: env.height + terms.activeBlocks + terms.dyingBlocks + terms.settlingBlocks,
  };
  const problem = validatePlan(plan, defaultPolicy(terms.chainHash));
  if (problem) {
    const notices = members.map((m) => sendTo(m.nodeId, common.attempt, GIVEN_UP));
    return step({ ...common, phase: 'aborted', reason: `${problem.field}: ${problem.reason}` }, notices);
  }
  return step({ ...common, phase: 'preparing', members, plan }, [
    { kind: 'select_coins', attempt: common.attempt, amount: fundingRequirement(plan).amount },
    { kind: 'progress', text: `attempt ${String(common.attempt)}: preparing the funding for ${String(members.length)} clients`, done: 0, total: 0 },
  ]);
};

/** A partial signature out of range makes aggregation fail (BIP-327); the search for the culprit then finds it. */
export const tryAggregate = (s: Signable, aggregate: AggregateNonce, partials: readonly PartialSignature[]): SchnorrSignature | undefined => {
  try {
    return aggregatePartials(s, aggregate, partials);
  } catch (error) {
    if (error instanceof MusigError) return undefined;
    throw error;
  }
};
