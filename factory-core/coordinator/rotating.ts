/** One factory on its way into the next, as a whole: begun by the operator or the schedule, ended by the close of the old one. */
import type { InstanceId } from '../../blip/brands.js';
import { branchStatus, fundingStatus } from '../live/custody.js';
import { phaseAt } from '../live/deadlines.js';
import type { Branch } from '../live/state.js';
import type { Event, Step } from '../protocol/effects.js';
import { step } from '../protocol/effects.js';
import { isLeaving } from './leaving.js';
import { canMigrate } from './migrating.js';
import type { CoordinatorLive, CoordinatorState } from './state.js';

type RotationEvent = Extract<Event, { type: 'rotation_begun' | 'rotation_ended' | 'rotation_postponed' }>;

export const onRotating = (state: CoordinatorLive, event: RotationEvent): Step<CoordinatorLive> => {
  const { rotation, ...rest } = state;
  switch (event.type) {
    case 'rotation_begun': {
      const attempts = (rotation?.attempts ?? 0) + 1;
      const since = state.live.chain.tip;
      return step({ ...rest, rotation: { to: event.to, attempts, since }, schedule: { tries: state.schedule?.tries ?? 0, last: since } });
    }
    case 'rotation_ended':
      if (rotation?.to !== event.to || rotation.failure !== undefined) return step(state);
      return step({ ...tried(rest, event.reason), rotation: { ...rotation, failure: event.reason } }, [
        { kind: 'log', level: 'unusual', text: `rotation into ${event.to} has failed: ${event.reason}` },
      ]);
    case 'rotation_postponed':
      return step(tried(state, event.reason), [{ kind: 'log', level: 'unusual', text: `no rotation yet: ${event.reason}` }]);
  }
};

/** Each time in vain makes the next one wait longer. */
const tried = (state: CoordinatorLive, problem: string): CoordinatorLive => ({
  ...state,
  schedule: { tries: (state.schedule?.tries ?? 0) + 1, last: state.live.chain.tip, problem },
});

/** Everything that is still there belongs to the coordinator: it may close alone. */
export const isEmptied = (state: CoordinatorLive): boolean => state.live.branches.every((b) => b.heldKey !== undefined);

/** Members of this factory that are in the other one, too, and have not been told to move there. */
export const movers = (old: CoordinatorLive, target: CoordinatorLive): readonly Branch[] =>
  old.live.branches.filter((b) => {
    const known = old.migrations?.[b.member];
    const isNew = !known || ((known.step === 'asked' || known.step === 'moving') && known.to !== target.request.instanceId);
    return isNew && canMigrate(old, b) && target.live.branches.some((t) => t.peer === b.peer && t.heldKey === undefined);
  });

/**
 * What is to be done next for this factory, seeing the one it rotates into; nothing while somebody else's turn it is. Asked
 * after every change of either, at every block and after every start.
 * @param find other factories of this node
 */
export const nextForRotation = (old: CoordinatorLive, find: (id: InstanceId) => CoordinatorState | undefined): RotationEvent | Extract<Event, { type: 'migrate_requested' }> | undefined => {
  const { rotation } = old;
  if (!rotation || fundingStatus(old.live).kind !== 'confirmed') return undefined;
  const target = find(rotation.to);
  if (rotation.failure === undefined && (!target || target.phase === 'aborted')) {
    return { type: 'rotation_ended', to: rotation.to, reason: target?.reason ?? 'there is no such factory' };
  }
  if (target?.phase !== 'live' || !isActive(target)) return undefined;
  const members = movers(old, target).map((b) => b.member);
  return members.length > 0 ? { type: 'migrate_requested', to: rotation.to, members } : undefined;
};

export const isActive = ({ live }: CoordinatorLive): boolean => {
  const funding = fundingStatus(live);
  return funding.kind === 'confirmed' && funding.depth >= live.spec.terms.minDepth;
};

/**
 * Whether the old factory should be closed now: nobody is left in it but those who leave, and are paid by the close. In time: while it is active,
 * only after others have moved. A close that has been signed is published by itself.
 */
export const shouldClose = (state: CoordinatorLive): boolean => {
  const { live } = state;
  const over = phaseAt(live.spec, live.chain.tip) !== 'active' || live.branches.some((b) => b.heldKey !== undefined);
  const settled = live.branches.every((b) => b.heldKey !== undefined || (isLeaving(state, b) && branchStatus(live, b).kind === 'virtual' && !live.exits[b.member]));
  return over && settled && fundingStatus(live).kind === 'confirmed' && !state.closing && live.close?.signature === undefined;
};
