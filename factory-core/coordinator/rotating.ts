/** One factory on its way into the next, as a whole: begun by the operator or the schedule, ended by the close of the old one. */
import type { InstanceId } from '../../blip/brands.js';
import { fundingStatus } from '../live/custody.js';
import type { Branch } from '../live/state.js';
import type { Event, Step } from '../protocol/effects.js';
import { step } from '../protocol/effects.js';
import { canMigrate } from './migrating.js';
import type { CoordinatorLive, CoordinatorState } from './state.js';

type RotationEvent = Extract<Event, { type: 'rotation_begun' | 'rotation_ended' }>;

export const onRotating = (state: CoordinatorLive, event: RotationEvent): Step<CoordinatorLive> => {
  const { rotation, ...rest } = state;
  switch (event.type) {
    case 'rotation_begun': {
      const attempts = (rotation?.attempts ?? 0) + 1;
      return step({ ...rest, rotation: { to: event.to, attempts, since: state.live.chain.tip } });
    }
    case 'rotation_ended':
      if (rotation?.to !== event.to || rotation.failure !== undefined) return step(state);
      return step({ ...rest, rotation: { ...rotation, failure: event.reason } }, [
        { kind: 'log', level: 'unusual', text: `rotation into ${event.to} has failed: ${event.reason}` },
      ]);
  }
};

/** Everything that is still there belongs to the coordinator: it may close alone. */
export const isEmptied = (state: CoordinatorLive): boolean => state.live.branches.every((b) => b.heldKey !== undefined);

/** Members of this factory that are in the other one, too, and have not been told to move there. */
const movers = (old: CoordinatorLive, target: CoordinatorLive): readonly Branch[] =>
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

const isActive = ({ live }: CoordinatorLive): boolean => {
  const funding = fundingStatus(live);
  return funding.kind === 'confirmed' && funding.depth >= live.spec.terms.minDepth;
};

/** Whether the old factory should be closed now: nobody is left in it. A close that has been signed is published by itself. */
export const shouldClose = (state: CoordinatorLive): boolean =>
  state.rotation !== undefined && fundingStatus(state.live).kind === 'confirmed' && isEmptied(state) && !state.closing && state.live.close?.signature === undefined;
