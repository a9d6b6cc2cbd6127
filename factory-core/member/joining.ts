/** From the invitation to the specification (architecture 5.1, 5.2). */
import type { InstanceId, NodeId, PubKey, Script } from '../../blip/brands.js';
import type { Invite, Spec } from '../../blip/messages.js';
import { AbortCode } from '../protocol/abort-codes.js';
import type { Effect, Step } from '../protocol/effects.js';
import { step } from '../protocol/effects.js';
import type { FactorySpec, Signable } from '../model.js';
import { buildPath } from '../transactions.js';
import { validateSpec } from '../validate.js';
import type { Joined, MemberAborted, MemberEnv, MemberState, Signing } from './state.js';

export interface Acceptance {
  readonly instanceId: InstanceId;
  readonly coordinator: NodeId;
  readonly attempt: number;
  readonly invite: Invite;
  readonly key: PubKey;
  readonly payoutScript: Script;
  readonly height: number;
}

/** The first step: the policy has accepted, key and payout script are there. */
export const join = (a: Acceptance): Step<Joined> => {
  const state: Joined = {
    role: 'member',
    phase: 'joined',
    instanceId: a.instanceId,
    coordinator: a.coordinator,
    invite: a.invite,
    key: a.key,
    payoutScript: a.payoutScript,
    attempt: a.attempt,
    since: a.height,
  };
  return step(state, [joinMessage(state)]);
};

export const joinMessage = (state: Joined): Effect => reply(state, { type: 'join', key: state.key, payoutScript: state.payoutScript });

type Common = Pick<MemberState, 'coordinator' | 'attempt'>;
export const reply = (state: Common, message: Extract<Effect, { kind: 'send' }>['message']): Effect => ({
  kind: 'send',
  to: state.coordinator,
  attempt: state.attempt,
  message,
});

const common = (s: MemberState): Omit<MemberAborted, 'phase' | 'reason'> => ({
  role: 'member',
  instanceId: s.instanceId,
  coordinator: s.coordinator,
  invite: s.invite,
  key: s.key,
  payoutScript: s.payoutScript,
  attempt: s.attempt,
});
export { common as commonOf };

export const createKey = (state: { readonly instanceId: InstanceId; readonly attempt: number }): string =>
  `${state.instanceId}/create/${String(state.attempt)}`;

/** Everything this member signs, in the order of the messages: its splits from the root, then the distribution. */
export const signablesOf = (spec: FactorySpec, member: number): readonly Signable[] => {
  const path = buildPath(spec, member);
  return [...path.splits, path.distribution];
};

/** What the coordinator's words amount to, with the terms of the invitation. */
export const specOf = (state: Pick<MemberState, 'instanceId' | 'invite'>, message: Spec): FactorySpec => {
  const { chainHash, treeFeerate, activeBlocks, dyingBlocks, settlingBlocks, stockCsv, minDepth } = state.invite;
  return {
    instanceId: state.instanceId,
    terms: { chainHash, treeFeerate, activeBlocks, dyingBlocks, settlingBlocks, stockCsv, minDepth },
    coordinatorKey: message.coordinatorKey,
    roster: message.roster,
    fanouts: message.fanouts,
    startHeight: message.startHeight,
    expiryHeight: message.expiryHeight,
    funding: message.funding,
    fundingAmount: message.fundingAmount,
  };
};

/** Validates everything before the first nonce exists (architecture 12.1–4), derives, and answers with nonces. */
export const onSpec = (from: MemberState, attempt: number, message: Spec, env: MemberEnv): Step<MemberState> => {
  const state = { ...common(from), attempt };
  const spec = specOf(from, message);
  const expected = {
    instanceId: from.instanceId,
    invite: from.invite,
    memberIndex: message.memberIndex,
    ownKey: from.key,
    ownPayoutScript: from.payoutScript,
    tipHeight: env.height,
  };
  const problem = validateSpec(spec, expected, env.bounds);
  if (problem) return refuse(state, `spec.${problem.field}: ${problem.reason}`);
  const key = createKey(state);
  // A step that could not be stored left nonces behind that nobody has seen, perhaps for another spec of this attempt.
  env.signer.drop(key);
  const nonces = signablesOf(spec, message.memberIndex).map((s) => env.signer.nonce(key, s));
  const next: Signing = { ...state, phase: 'signing', spec, member: message.memberIndex, nonces };
  return step(next, [reply(next, { type: 'nonces', nonces })], { cancelPending: true });
};

export const LOST_NONCES = 'restarted before everything was signed';

export const refuse = (state: Omit<MemberAborted, 'phase' | 'reason'>, reason: string, code: number = AbortCode.Invalid): Step<MemberAborted> =>
  step({ ...state, phase: 'aborted', reason }, [
    reply(state, { type: 'abort', code, reason }),
    { kind: 'log', level: 'unusual', text: `refused: ${reason}` },
  ], { cancelPending: true });
