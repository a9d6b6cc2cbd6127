/** R1: who comes? (architecture 5.1) */
import type { NodeId, PubKey } from '../../blip/brands.js';
import type { FactoryMessage, Invite, Join } from '../../blip/messages.js';
import { AbortCode } from '../protocol/abort-codes.js';
import type { Effect, Event, Step } from '../protocol/effects.js';
import { step } from '../protocol/effects.js';
import { validateJoin } from '../validate.js';
import { abort, base, sendTo, startAttempt } from './ceremony.js';
import type { CoordinatorState, CreateRequest, Env, Excluded, Invitee, Inviting, Member } from './state.js';

const TIMER = 'join';

/** The first step of all: asks every client. */
export const begin = (request: CreateRequest): Step<Inviting> => {
  const state: Inviting = {
    role: 'coordinator',
    phase: 'inviting',
    request,
    attempt: 1,
    excluded: [],
    invitees: request.clients.map((c) => ({ ...c, answer: { kind: 'pending' } })),
  };
  return step(state, [
    ...state.invitees.map((i) => invitation(state, i)),
    { kind: 'timer', name: TIMER, seconds: request.stepTimeout },
    { kind: 'progress', text: `inviting ${String(state.invitees.length)} clients`, done: 0, total: state.invitees.length },
  ]);
};

const invitation = (state: Inviting, to: Invitee): Effect => {
  const { terms, minClients, clients } = state.request;
  const message: Invite = { type: 'invite', ...terms, capacity: to.capacity, stock: to.stock, minClients, maxClients: clients.length };
  return sendTo(to.nodeId, state.attempt, message);
};

export const onInviting = (state: Inviting, event: Event, env: Env): Step<CoordinatorState> => {
  switch (event.type) {
    case 'message':
      return event.attempt === state.attempt ? onAnswer(state, event.from, event.message, env) : step(state);
    case 'peer_connected': {
      const invitee = state.invitees.find((i) => i.nodeId === event.peer && i.answer.kind === 'pending');
      return step(state, invitee ? [invitation(state, invitee)] : []);
    }
    case 'timeout':
      return event.name === TIMER ? onTimeout(state, env) : step(state);
    default:
      return step(state);
  }
};

const onAnswer = (state: Inviting, from: NodeId, message: FactoryMessage, env: Env): Step<CoordinatorState> => {
  const invitee = state.invitees.find((i) => i.nodeId === from);
  if (invitee?.answer.kind !== 'pending') return step(state); // first write wins
  switch (message.type) {
    case 'join': {
      const problem = joinProblem(state, message);
      if (problem) return told(exclude(state, { nodeId: from, reason: problem }, env), state, [from], problem);
      const answer = { kind: 'joined', key: message.key, payoutScript: message.payoutScript } as const;
      return proceed({ ...state, invitees: state.invitees.map((i) => (i === invitee ? { ...i, answer } : i)) }, env);
    }
    case 'decline':
      return exclude(state, { nodeId: from, reason: `declined: ${message.reason}` }, env);
    case 'abort':
      return exclude(state, { nodeId: from, reason: `aborted: ${message.reason}` }, env);
    default:
      return step(state);
  }
};

/** Architecture 12.4: a valid key that nobody else has, and a payout that relays. */
const joinProblem = (state: Inviting, join: Join): string | undefined => {
  const problem = validateJoin(join);
  if (problem) return `join.${problem.field}: ${problem.reason}`;
  // By x-coordinate, as every member compares them: a negated key is the same key to BIP-340.
  const same = (key: PubKey): boolean => key.slice(2) === join.key.slice(2);
  if (same(state.request.coordinatorKey)) return 'join.key: is the coordinator’s';
  if (state.invitees.some((i) => i.answer.kind === 'joined' && same(i.answer.key))) return 'join.key: is another client’s';
  return undefined;
};

const exclude = (state: Inviting, out: Excluded, env: Env): Step<CoordinatorState> =>
  proceed({ ...state, excluded: [...state.excluded, out], invitees: state.invitees.filter((i) => i.nodeId !== out.nodeId) }, env);

/** Whoever may think it is in learns that it is not. */
const told = (next: Step<CoordinatorState>, state: Inviting, out: readonly NodeId[], reason: string): Step<CoordinatorState> => ({
  ...next,
  effects: [...out.map((to) => sendTo(to, state.attempt, { type: 'abort', code: AbortCode.Evicted, reason })), ...next.effects],
});

const onTimeout = (state: Inviting, env: Env): Step<CoordinatorState> => {
  const silent = state.invitees.filter((i) => i.answer.kind === 'pending');
  const reason = `no answer to the invitation within ${String(state.request.stepTimeout)} s`;
  const excluded = [...state.excluded, ...silent.map((i) => ({ nodeId: i.nodeId, reason }))];
  const invitees = state.invitees.filter((i) => i.answer.kind !== 'pending');
  return told(proceed({ ...state, excluded, invitees }, env), state, silent.map((i) => i.nodeId), reason);
};

/** On, if all that are left have joined and are enough. */
const proceed = (state: Inviting, env: Env): Step<CoordinatorState> => {
  if (state.invitees.length < state.request.minClients) {
    return abort(state, state.excluded.map((x) => `${x.nodeId}: ${x.reason}`).join('; '), env);
  }
  const members: Member[] = state.invitees.flatMap(({ answer, ...client }) =>
    answer.kind === 'joined' ? [{ ...client, key: answer.key, payoutScript: answer.payoutScript }] : [],
  );
  if (members.length < state.invitees.length) {
    return step(state, [{ kind: 'progress', text: 'joined', done: members.length, total: state.invitees.length }]);
  }
  return startAttempt(base(state), members, env);
};
