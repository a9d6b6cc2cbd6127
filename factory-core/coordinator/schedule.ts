/**
 * When a factory's members are brought into the next one, without anybody's word (architecture 8, 9): a decision by block height, from what
 * is on record. In the dying window a rotation is begun, again and again if it fails, ever later; then the calendar goes on: close, root.
 */
import type { InstanceId, NodeId } from '../../blip/brands.js';
import { branchStatus, fundingStatus } from '../live/custody.js';
import { calendarOf, closeDelay, dutyAt, type Calendar } from '../live/deadlines.js';
import type { Branch } from '../live/state.js';
import { MIN_CLIENTS } from '../shape.js';
import { isLeaving } from './leaving.js';
import { canMigrate } from './migrating.js';
import { isActive, movers } from './rotating.js';
import type { CoordinatorLive, CoordinatorState } from './state.js';

/** What only the shell knows. */
export interface Around {
  readonly connected: ReadonlySet<NodeId>;
  /** How many others wait, and are connected. */
  readonly newcomers: number;
  /** Other factories of this node. */
  readonly find: (id: InstanceId) => CoordinatorState | undefined;
}

/** `until`: the height at which it comes to something else by itself, if there is one. */
export interface Decision {
  readonly step:
    /** Its time has not come. */
    | 'idle'
    /** A rotation is to be begun now. */
    | 'rotate'
    /** Another factory is being created, or has not the depth yet. */
    | 'creating'
    /** Members are on their way. */
    | 'moving'
    /** A rotation cannot be begun yet, or failed and is tried again later. */
    | 'waiting'
    /** The factory is to be closed by agreement. */
    | 'close'
    | 'publish_root'
    /** Nothing is left to be done but to watch. */
    | 'done';
  readonly why: string;
  readonly until?: number;
}

/** Blocks that a rotation takes at least, besides the new factory's depth: a later one would be overtaken by the close. */
const LEAST_BLOCKS = 3;
/** The part of the dying window in which members that are away are waited for: each of them would need a rotation of its own, later. */
const PATIENCE = 4;

export const scheduled = (state: CoordinatorLive, around: Around): Decision => {
  const { live } = state;
  const { spec, chain } = live;
  const calendar = calendarOf(spec);
  if (fundingStatus(live).kind !== 'confirmed') return { step: 'done', why: 'its output is spent, or not there' };
  const under = underWay(state, around.find);
  switch (dutyAt(spec, 'coordinator', chain.tip)) {
    case 'close':
      return { step: 'close', why: afterFailure(state, 'it is settling: closed as soon as all are connected'), until: calendar.guard };
    case 'publish_root':
      return { step: 'publish_root', why: 'it has not been closed in time' };
    case 'rotate':
      return under ?? dying(state, calendar, around);
    default:
      return under ?? { step: 'idle', why: 'it is active', until: calendar.dying };
  }
};

const afterFailure = ({ schedule, closeFailure }: CoordinatorLive, text: string): string => {
  const problem = closeFailure ?? schedule?.problem;
  return problem === undefined ? text : `${text} (${problem})`;
};

/** A rotation that has been begun and is not through yet: there is never another one beside it. */
export const underWay = (state: CoordinatorLive, find: Around['find']): Decision | undefined => {
  const { rotation } = state;
  if (!rotation || rotation.failure !== undefined) return undefined;
  const target = find(rotation.to);
  if (!target || target.phase === 'aborted') return undefined;
  if (target.phase !== 'live' || (fundingStatus(target.live).kind !== 'spent' && !isActive(target))) return { step: 'creating', why: `factory ${rotation.to} is being created` };
  const told = movers(state, target);
  return told.length > 0 ? { step: 'moving', why: `${String(told.length)} are to be told to move to ${rotation.to}` } : undefined;
};

/** Those who are neither gone nor on their way into a factory that is there, or may still come to be. */
export const stragglers = (state: CoordinatorLive, find: Around['find']): readonly Branch[] => {
  const target = state.rotation && find(state.rotation.to);
  const inNext = !target || target.phase === 'aborted' ? [] : target.phase === 'inviting' ? target.invitees : target.members;
  return state.live.branches.filter((branch) => {
    const migration = state.migrations?.[branch.member];
    const told = migration && migration.step !== 'asked' && migration.step !== 'moving';
    return canMigrate(state, branch) && !told && !inNext.some((m) => m.nodeId === branch.peer);
  });
};

const dying = (state: CoordinatorLive, { dying: begun, settling }: Calendar, { connected, newcomers, find }: Around): Decision => {
  const { live, schedule } = state;
  const { tip } = live.chain;
  const left = stragglers(state, find);
  const away = left.filter((b) => !connected.has(b.peer));
  const wait = (why: string, until = settling): Decision => ({ step: 'waiting', why, until: Math.min(until, settling) });
  if (left.length === 0) return withoutStragglers(state, settling);
  if (tip + live.spec.terms.minDepth + LEAST_BLOCKS > settling) return wait(afterFailure(state, 'too late for another factory: it is closed instead'));
  const patience = begun + Math.ceil(live.spec.terms.dyingBlocks / PATIENCE);
  const names = away.map((b) => b.peer).join(', ');
  if (away.length > 0 && tip < patience) return wait(`not connected: ${names}`, patience);
  const there = left.length - away.length;
  if (there === 0 || there + newcomers < MIN_CLIENTS) {
    const missing = away.length > 0 ? `; not connected: ${names}` : '';
    return wait(`a factory has at least ${String(MIN_CLIENTS)} clients, and ${String(there + newcomers)} could be in it now${missing}`);
  }
  const due = schedule ? schedule.last + closeDelay(schedule.tries) : tip;
  return tip < due ? wait(schedule?.problem ?? 'after a rotation', due) : { step: 'rotate', why: `${String(there)} members, ${String(newcomers)} others` };
};

/** Who is still in it is moving, leaves, or has gone to the chain. */
const withoutStragglers = (state: CoordinatorLive, settling: number): Decision => {
  const { live } = state;
  const rest = live.branches.filter((b) => b.heldKey === undefined);
  if (rest.length === 0 || rest.every((b) => isLeaving(state, b))) return { step: 'close', why: afterFailure(state, rest.length === 0 ? 'all have moved' : 'those who leave are paid') };
  if (rest.some((b) => live.exits[b.member] !== undefined || branchStatus(live, b).kind !== 'virtual')) return { step: 'done', why: 'somebody leaves alone' };
  return { step: 'moving', why: `${String(rest.length)} are on their way`, until: settling };
};
