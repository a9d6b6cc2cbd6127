/** What a change of a factory means to the people behind a node, as events: pure. Phases have a notification of their own. */
import type { NodeId } from '../../blip/brands.js';
import type { CoordinatorLive } from '../../factory-core/coordinator/state.js';
import type { Change } from './engine.js';
import type { FactoryEvent } from './events.js';

type Happening = Pick<FactoryEvent, 'event' | 'text' | 'node'>;

export const happeningsIn = ({ instanceId, before, after }: Change): readonly FactoryEvent[] => {
  if (before?.phase !== 'live' || after.phase !== 'live') return [];
  const told = { instanceId, height: after.live.chain.tip };
  if (after.role === 'coordinator') return before.role === 'coordinator' ? ofCoordinator(before, after).map((h) => ({ ...h, ...told })) : [];
  if (before.role !== 'member' || before.migration?.step === after.migration?.step || after.migration?.step !== 'handing_over') return [];
  return [{ event: 'moved', text: `everything is in factory ${after.migration.to}`, ...told }];
};

const ofCoordinator = (before: CoordinatorLive, after: CoordinatorLive): readonly Happening[] => {
  const { rotation } = after;
  const was = before.rotation;
  const list: Happening[] = [];
  if (rotation && rotation.to !== was?.to) list.push({ event: 'rotation_begun', text: `into factory ${rotation.to}` });
  if (rotation?.failure !== undefined && was?.failure === undefined) list.push({ event: 'rotation_failed', text: rotation.failure });
  if (after.schedule?.problem !== undefined && after.schedule !== before.schedule && rotation === was) list.push({ event: 'rotation_postponed', text: after.schedule.problem });
  if (after.closing && !before.closing) list.push({ event: 'close_begun', text: 'it is closed by agreement of those who are left in it' });
  if (before.closing && !after.closing && after.closeFailure !== undefined) list.push({ event: 'close_failed', text: after.closeFailure });
  if (after.live.close?.signature !== undefined && before.live.close?.signature === undefined) list.push({ event: 'close_signed', text: 'one transaction pays everybody' });
  for (const { member, peer } of after.live.branches) list.push(...ofMember(before, after, member, peer));
  return list;
};

const ofMember = (before: CoordinatorLive, after: CoordinatorLive, member: number, node: NodeId): readonly Happening[] => {
  const [was, is] = [before, after].map((s) => s.leaving?.[member]?.leaves === true);
  const list: Happening[] = [];
  if (was !== is) list.push(is === true ? { event: 'member_leaves', text: `${node} is paid when this factory closes`, node } : { event: 'member_stays', text: `${node} goes on after all`, node });
  const migration = after.migrations?.[member];
  if (migration?.step === 'done' && before.migrations?.[member]?.step !== 'done') list.push({ event: 'member_moved', text: `${node} is in factory ${migration.to}`, node });
  return list;
};
