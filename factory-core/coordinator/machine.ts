/** The coordinator as a pure function of state and event. */
import { AbortCode } from '../protocol/abort-codes.js';
import type { Effect, Event, Step } from '../protocol/effects.js';
import { step } from '../protocol/effects.js';
import { isOwnNonceLost } from '../musig/index.js';
import { abort, GIVEN_UP, participants, retry, sendTo } from './ceremony.js';
import { onArming } from './arming.js';
import { onInviting } from './inviting.js';
import { onLive } from './live.js';
import { onOpening } from './opening.js';
import { onPreparing } from './preparing.js';
import { onSigning } from './signing.js';
import type { CoordinatorState, Env, Opening, Signing } from './state.js';

export { begin } from './inviting.js';

/**
 * @param event what happened; events of another attempt, phase or peer change nothing (architecture 12.13)
 * @throws never for anything a peer can cause
 */
export const coordinatorStep = (state: CoordinatorState, event: Event, env: Env): Step<CoordinatorState> => {
  const notice = noticeToOutsider(state, event);
  if (notice) return step(state, [notice]);
  switch (state.phase) {
    case 'aborted':
      return step(state);
    case 'live':
      return onLive(state, event, env);
    case 'arming':
      // Past the point of no return for the ceremony: a restart changes nothing, what is to be done is in the outbox.
      return onArming(state, event, env);
    case 'inviting':
    case 'preparing':
    case 'signing':
    case 'opening':
      break;
  }
  if (event.type === 'restarted') return abort(state, 'the coordinator was restarted before everything was signed', env);
  if (event.type === 'abort_requested') return abort(state, event.reason, env);
  switch (state.phase) {
    case 'inviting':
      return onInviting(state, event, env);
    case 'preparing':
      return onPreparing(state, event, env);
    case 'signing':
      return orRetry(state, env, () => onSigning(state, event, env));
    case 'opening':
      return orRetry(state, env, () => onOpening(state, event, env));
  }
};

/** A step that signed and then could not be stored has used up its nonces: nobody's fault, and a new attempt has new ones. */
const orRetry = (state: Signing | Opening, env: Env, work: () => Step<CoordinatorState>): Step<CoordinatorState> => {
  try {
    return work();
  } catch (error) {
    if (!isOwnNonceLost(error)) throw error;
    return retry(state, 'this node has lost its nonces', env);
  }
};

/**
 * A client that speaks as if it were in a factory that was given up, or goes on without it, has missed that (it was sent
 * once, perhaps before the connection stood) and would wait for nothing. An abort is never answered, so this ends here.
 */
const noticeToOutsider = (state: CoordinatorState, event: Event): Effect | undefined => {
  if (event.type !== 'message' || event.message.type === 'abort' || event.message.type === 'decline') return undefined;
  const { from } = event;
  if (!state.request.clients.some((c) => c.nodeId === from)) return undefined;
  if (state.phase === 'aborted') return sendTo(from, state.attempt, GIVEN_UP);
  if (participants(state).includes(from)) return undefined;
  return sendTo(from, state.attempt, { type: 'abort', code: AbortCode.Evicted, reason: 'the factory goes on without you' });
};
