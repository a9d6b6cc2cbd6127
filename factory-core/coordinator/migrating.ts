/**
 * Rotation, the coordinator's side (architecture 8): each member is asked to move what is its own to another factory, is paid
 * what it could not move, and hands over its key of this one. Members are independent of each other; one that is away is
 * asked when it comes back.
 */
import type { FactoryMessage } from '../../blip/messages.js';
import type { KeyHandover, Migrated } from '../../blip/rotation-messages.js';
import { branchStatus, fundingStatus } from '../live/custody.js';
import { channelsOf } from '../live/paths.js';
import type { Branch } from '../live/state.js';
import { isHandedOverKey } from '../keys.js';
import type { Effect, Event, Step } from '../protocol/effects.js';
import { step } from '../protocol/effects.js';
import { present } from '../protocol/present.js';
import { memberIndex, sendTo } from './ceremony.js';
import { isLeaving } from './leaving.js';
import { sellingOf } from './selling.js';
import type { CoordinatorLive, Migration } from './state.js';

export const migrationOf = (state: CoordinatorLive, member: number): Migration | undefined => state.migrations?.[member];

const at = (state: CoordinatorLive, member: number, migration: Migration): CoordinatorLive => ({
  ...state,
  migrations: { ...state.migrations, [member]: migration },
});

/** What member `index` is to be told; what it has to say for itself it repeats by itself. */
const outstanding = (state: CoordinatorLive, index: number): Effect[] => {
  const migration = migrationOf(state, index);
  const member = state.members[index];
  if (!migration || !member || migration.step === 'done' || migration.step === 'refused') return [];
  return [sendTo(member.nodeId, migration.attempt, { type: 'migrate', toInstance: migration.to })];
};

/** Blocks until a member that was refused again and again is told to count anew, at most. */
const LONGEST_REFUSAL = 144;

/**
 * With every block. A message that was lost on a connection that stands is not asked for by anybody else; and who was refused
 * is told to count anew, in an attempt of its own: what was asked for in an earlier one will never be paid.
 */
export const onMigrationBlock = (state: CoordinatorLive): Step<CoordinatorLive> => {
  const due = state.members.flatMap((_, i) => {
    const known = migrationOf(state, i);
    return known?.step === 'refused' && known.again <= state.live.chain.tip && isVirtual(state, present(state.live.branches[i])) ? [{ index: i, known }] : [];
  });
  const attempt = (state.migrationAttempts ?? 0) + 1;
  const recounting = Object.fromEntries(due.map(({ index, known: { to, problem, refusals } }) => [index, { step: 'recounting', attempt, to, problem, refusals } as const]));
  const next = due.length === 0 ? state : { ...state, migrationAttempts: attempt, migrations: { ...state.migrations, ...recounting } };
  return step(next, next.members.flatMap((_, i) => outstanding(next, i)));
};

export const onMigrating = (state: CoordinatorLive, event: Event): Step<CoordinatorLive> => {
  switch (event.type) {
    case 'migrate_requested':
      return onRequested(state, event.to, event.members);
    case 'message': {
      const index = memberIndex(state.members, event.from);
      return index < 0 ? step(state) : onMessage(state, index, event.attempt, event.message);
    }
    case 'owed_paid': {
      const migration = migrationOf(state, event.member);
      if (migration?.step !== 'paying') return step(state);
      return step(at(state, event.member, { ...migration, step: 'paid' }), [progress(state)]);
    }
    case 'owed_refused': {
      const migration = migrationOf(state, event.member);
      if (migration?.step !== 'paying') return step(state);
      const { attempt, to } = migration;
      const refusals = (migration.refusals ?? 0) + 1;
      const again = state.live.chain.tip + Math.min(2 ** (refusals - 1), LONGEST_REFUSAL);
      return step(at(state, event.member, { step: 'refused', attempt, to, problem: event.reason, refusals, again }), [
        { kind: 'log', level: 'unusual', text: `${present(state.members[event.member]).nodeId}: what it asks for is not paid: ${event.reason}` },
      ]);
    }
    case 'peer_connected': {
      const index = memberIndex(state.members, event.peer);
      return step(state, index < 0 ? [] : outstanding(state, index));
    }
    default:
      return step(state);
  }
};

const isVirtual = ({ live }: CoordinatorLive, branch: Branch): boolean => fundingStatus(live).kind === 'confirmed' && branchStatus(live, branch).kind === 'virtual';

/** Whether this member can move to another factory: its branch is as it was made, and nothing else is under way. */
export const canMigrate = (state: CoordinatorLive, branch: Branch): boolean =>
  isVirtual(state, branch) &&
  !state.closing &&
  !state.live.close &&
  !state.live.exits[branch.member] &&
  sellingOf(state, branch.member).sale === undefined &&
  !isLeaving(state, branch) &&
  branch.heldKey === undefined;

const onRequested = (state: CoordinatorLive, to: Migration['to'], members: readonly number[]): Step<CoordinatorLive> => {
  const wanted = state.live.branches.filter((b) => members.includes(b.member) && canMigrate(state, b));
  const fresh = wanted.filter((b) => {
    const known = migrationOf(state, b.member);
    // Once it has said what it is owed, its balance is where it was told to go.
    return !known || ((known.step === 'asked' || known.step === 'moving') && known.to !== to);
  });
  if (fresh.length === 0) return step(state);
  const attempt = (state.migrationAttempts ?? 0) + 1;
  const migrations = Object.fromEntries(fresh.map((b) => [b.member, { step: 'asked', attempt, to } as const]));
  const next: CoordinatorLive = { ...state, migrationAttempts: attempt, migrations: { ...state.migrations, ...migrations } };
  return step(next, [...fresh.flatMap((b) => outstanding(next, b.member)), progress(next)]);
};

const onMessage = (state: CoordinatorLive, index: number, attempt: number, message: FactoryMessage): Step<CoordinatorLive> => {
  switch (message.type) {
    case 'migrating': {
      const migration = migrationOf(state, index);
      if (migration?.step !== 'asked' || attempt !== migration.attempt) return step(state);
      return step(at(state, index, { ...migration, step: 'moving' }));
    }
    case 'migrated':
      return onMigrated(state, index, attempt, message);
    case 'key_handover':
      return onKey(state, index, attempt, message);
    default:
      return step(state);
  }
};

/** From here on nothing goes over its channels here; what it asks for is compared with what this node sees before it is paid. */
const onMigrated = (state: CoordinatorLive, index: number, attempt: number, { owed, paymentHash, paymentSecret, finalCltv }: Migrated): Step<CoordinatorLive> => {
  const migration = migrationOf(state, index);
  const expected = migration?.step === 'asked' || migration?.step === 'moving' || migration?.step === 'recounting';
  if (!expected || attempt !== migration.attempt) return step(state);
  const { to } = migration;
  const refusals = migration.step === 'recounting' ? { refusals: migration.refusals } : {};
  const branch = present(state.live.branches[index]);
  const invoice = { owed, paymentHash, paymentSecret, finalCltv };
  const next = at(state, index, { step: 'paying', attempt, to, ...invoice, ...refusals });
  return step(next, [
    { kind: 'pay_owed', member: index, peer: branch.peer, from: channelsOf(state.live, branch).map((c) => c.channelId), to, invoice },
    progress(next),
  ]);
};

const onKey = (state: CoordinatorLive, index: number, attempt: number, { secretKey }: KeyHandover): Step<CoordinatorLive> => {
  const migration = migrationOf(state, index);
  const branch = present(state.live.branches[index]);
  const received = sendTo(branch.peer, attempt, { type: 'key_received' });
  if (branch.heldKey !== undefined) return step(state, branch.heldKey === secretKey ? [received] : []);
  if (!migration || attempt !== migration.attempt) return step(state);
  if (!isHandedOverKey(secretKey, present(state.live.spec.roster[index]).key)) {
    return step(state, [{ kind: 'log', level: 'unusual', text: `${branch.peer}: the key it has handed over is not the one in the roster` }]);
  }
  const branches = state.live.branches.map((b) => (b === branch ? { ...b, heldKey: secretKey } : b));
  const owed = 'owed' in migration ? { owed: migration.owed } : {};
  const next = at({ ...state, live: { ...state.live, branches } }, index, { step: 'done', attempt, to: migration.to, ...owed });
  return step(next, [received, progress(next), { kind: 'log', level: 'info', text: `${branch.peer} has moved to factory ${migration.to}` }]);
};

const progress = (state: CoordinatorLive): Effect => {
  const all = Object.values(state.migrations ?? {});
  return { kind: 'progress', text: 'moved', done: all.filter((m) => m.step === 'done').length, total: all.length };
};
