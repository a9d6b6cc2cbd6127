/** Members that are left out of the next rotation, and paid by the close of this factory (architecture 8). */
import type { FactoryMessage } from '../../blip/messages.js';
import type { NodeId } from '../../blip/brands.js';
import type { Branch } from '../live/state.js';
import type { Event, Step } from '../protocol/effects.js';
import { step } from '../protocol/effects.js';
import { memberIndex, sendTo } from './ceremony.js';
import type { CoordinatorLive } from './state.js';

/** It is to be paid by the close. A member whose key is here has gone on. */
export const isLeaving = (state: CoordinatorLive, { member, heldKey }: Branch): boolean => heldKey === undefined && state.leaving?.[member]?.leaves === true;

export const onLeave = (state: CoordinatorLive, { from, attempt, message }: Extract<Event, { type: 'message' }>): Step<CoordinatorLive> => {
  const index = memberIndex(state.members, from);
  return index < 0 ? step(state) : decided(state, index, from, attempt, message);
};

const decided = (state: CoordinatorLive, index: number, from: NodeId, attempt: number, message: FactoryMessage): Step<CoordinatorLive> => {
  const before = state.leaving?.[index];
  if (message.type !== 'leave' || attempt < (before?.attempt ?? 0)) return step(state);
  if (before?.attempt === attempt) return step(state, [sendTo(from, attempt, { type: 'leave_noted', leaves: before.leaves ? 1 : 0 })]);
  const told = state.migrations?.[index];
  // If it was told to move and has not begun, as far as is known here, it will not.
  const leaves = message.leaves === 1 && (told === undefined || told.step === 'asked');
  const next: CoordinatorLive = { ...(leaves && told ? withoutMigration(state, index) : state), leaving: { ...state.leaving, [index]: { attempt, leaves } } };
  const text = leaves ? `${from} leaves: it is paid when this factory closes` : `${from} goes on in the next factory`;
  return step(next, [sendTo(from, attempt, { type: 'leave_noted', leaves: leaves ? 1 : 0 }), { kind: 'log', level: 'info', text }]);
};

const withoutMigration = (state: CoordinatorLive, index: number): CoordinatorLive => ({
  ...state,
  migrations: Object.fromEntries(Object.entries(state.migrations ?? {}).filter(([member]) => Number(member) !== index)),
});
