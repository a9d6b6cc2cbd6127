/** Factories that are so new that the other end may not have seen them active yet. */
import type { InstanceId } from '../../blip/brands.js';
import { mayCarryHtlcs } from '../../factory-core/live/custody.js';
import type { Branch } from '../../factory-core/live/state.js';
import { rotationOf } from '../../factory-core/rotation.js';
import type { FactoryChannel } from './channel-book.js';
import type { Engine } from './engine.js';
import { isClosing } from './factory.js';

/** Blocks beyond `min_depth` after which the other end will have seen that a factory is active, unless it is to say so. */
const PROVEN = 2;

/**
 * A factory that has just become active here may not be there yet, and the other end would fail what comes in. As long as
 * there is an older one, that is taken if it has room; unless the other end has shown that it knows (architecture 8).
 */
export const isUnproven = (engine: Pick<Engine, 'all'>, { state, branch }: Pick<FactoryChannel, 'state' | 'branch'>): boolean => {
  const { fundingHeight } = state.live.chain;
  if (fundingHeight === undefined) return false;
  const { instanceId, terms } = state.live.spec;
  const older = engine.all().flatMap((other) => {
    if (other.state.phase !== 'live' || other.state.role !== state.role) return [];
    const { live } = other.state;
    if (live.chain.fundingHeight === undefined || live.chain.fundingHeight >= fundingHeight) return [];
    const before: FactoryChannel['state'] = other.state;
    return live.branches.filter((b) => b.peer === branch.peer).map((b) => ({ state: before, branch: b }));
  });
  if (older.some((o) => knowsNext(o.state, o.branch, instanceId))) return false;
  const old = state.live.chain.tip - fundingHeight + 1 >= terms.minDepth + PROVEN;
  const stays = older.filter((o) => rotationOf(o.state, o.branch.member) === 'stays' && mayCarryHtlcs(o.state.live, o.branch, isClosing(o.state)));
  return stays.some((o) => !old || willSay(o.state, instanceId));
};

/** Being told to move shows a member that the coordinator's factory is active; moving shows it the coordinator. */
const knowsNext = (state: FactoryChannel['state'], branch: Branch, to: InstanceId): boolean => {
  if (state.role === 'member') return state.migration?.to === to;
  const migration = state.migrations?.[branch.member];
  return migration?.to === to && migration.step !== 'asked';
};
const willSay = (state: FactoryChannel['state'], to: InstanceId): boolean => state.role === 'coordinator' && state.rotation?.to === to;
