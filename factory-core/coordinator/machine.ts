/** The coordinator as a pure function of state and event. */
import type { Event, Step } from '../protocol/effects.js';
import { step } from '../protocol/effects.js';
import { abort } from './ceremony.js';
import { onArming } from './arming.js';
import { onInviting } from './inviting.js';
import { onLive } from './live.js';
import { onOpening } from './opening.js';
import { onPreparing } from './preparing.js';
import { onSigning } from './signing.js';
import type { CoordinatorState, Env } from './state.js';

export { begin } from './inviting.js';

/**
 * @param event what happened; events of another attempt, phase or peer change nothing (architecture 12.13)
 * @throws never for anything a peer can cause
 */
export const coordinatorStep = (state: CoordinatorState, event: Event, env: Env): Step<CoordinatorState> => {
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
      return onSigning(state, event, env);
    case 'opening':
      return onOpening(state, event, env);
  }
};
