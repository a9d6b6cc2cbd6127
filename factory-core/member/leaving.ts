/**
 * A member that does not want to go on in the next factory (architecture 8). It says so, and is paid by the close of this one. Nothing
 * of its own depends on what the coordinator makes of that: until then its channels go on, and its way out is there.
 */
import type { FactoryMessage } from '../../blip/messages.js';
import type { Effect, Event, Step } from '../protocol/effects.js';
import { step } from '../protocol/effects.js';
import { stayed } from './migrating.js';
import type { MemberLive } from './state.js';

/** Numbers of decisions have two bytes. */
const MAX_DECISIONS = 0xffff;

/** Why it cannot decide to leave, or to stay, now. */
export const leaveProblem = (state: MemberLive): string | undefined => {
  if (state.migration && state.migration.step !== 'waiting') return 'it is moving to the next factory already';
  if (state.live.exits[state.member] || state.live.close) return 'it is leaving already';
  return (state.leaving?.attempt ?? 0) >= MAX_DECISIONS ? 'the mind was changed too often' : undefined;
};

export const isLeaving = ({ leaving }: Pick<MemberLive, 'leaving'>): boolean => leaving?.leaves === true;

const said = ({ coordinator, leaving }: MemberLive): Effect[] =>
  leaving && !leaving.noted ? [{ kind: 'send', to: coordinator, attempt: leaving.attempt, message: { type: 'leave', leaves: leaving.leaves ? 1 : 0 } }] : [];

export const onLeaving = (state: MemberLive, event: Event): Step<MemberLive> => {
  switch (event.type) {
    case 'leave_requested': {
      if (leaveProblem(state) !== undefined || isLeaving(state) === event.leaves) return step(state);
      const next: MemberLive = { ...stayed(state), leaving: { attempt: (state.leaving?.attempt ?? 0) + 1, leaves: event.leaves, noted: false } };
      return step(next, said(next));
    }
    case 'peer_connected':
      return step(state, event.peer === state.coordinator ? said(state) : []);
    case 'message':
      return onNoted(state, event.attempt, event.message);
    default:
      return step(state);
  }
};

const onNoted = (state: MemberLive, attempt: number, message: FactoryMessage): Step<MemberLive> => {
  const { leaving } = state;
  if (message.type !== 'leave_noted' || leaving?.attempt !== attempt || leaving.noted) return step(state);
  const leaves = message.leaves === 1;
  const refused = leaves !== leaving.leaves;
  return step({ ...state, leaving: { attempt, leaves, noted: true, ...(refused ? { refused: true } : {}) } }, [
    { kind: 'log', level: refused ? 'unusual' : 'info', text: `the coordinator ${leaves ? 'leaves this node out of the next rotation' : 'counts on this node in the next rotation'}` },
  ]);
};
