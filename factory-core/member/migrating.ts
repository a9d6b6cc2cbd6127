/**
 * Rotation, the member's side (architecture 8). Its key of this factory is the last thing it gives away: everything it has is
 * in channels of another factory by then, and that is on disk.
 */
import type { FactoryMessage } from '../../blip/messages.js';
import type { Migrate } from '../../blip/rotation-messages.js';
import { branchStatus, fundingStatus } from '../live/custody.js';
import { channelsOf } from '../live/paths.js';
import type { Effect, Event, Step } from '../protocol/effects.js';
import { step } from '../protocol/effects.js';
import { present } from '../protocol/present.js';
import { busyWith } from './purchase.js';
import type { MemberEnv, MemberLive, MemberMigration } from './state.js';

const answer = (state: MemberLive, attempt: number, message: FactoryMessage): Effect => ({ kind: 'send', to: state.coordinator, attempt, message });
const channelIds = (state: MemberLive) => state.live.branches.flatMap((b) => channelsOf(state.live, b).map((c) => c.channelId));

/** What the coordinator should know by now. */
const said = (state: MemberLive, env: MemberEnv): Effect[] => {
  const { migration } = state;
  switch (migration?.step) {
    case 'owed': {
      const { attempt, owed, paymentHash, paymentSecret, finalCltv } = migration;
      return [answer(state, attempt, { type: 'migrated', owed, paymentHash, paymentSecret, finalCltv })];
    }
    case 'handing_over':
      return [answer(state, migration.attempt, { type: 'key_handover', secretKey: env.signer.reveal() })];
    case 'moving':
    case 'settling':
      return [answer(state, migration.attempt, { type: 'migrating' })];
    case 'waiting':
    case 'handed_over':
    case undefined:
      return [];
  }
};

/** As long as the member has not said that it is through, it may be sent elsewhere, or leave alone. */
const isUnderWay = (migration: MemberMigration | undefined): boolean =>
  migration?.step === 'waiting' || migration?.step === 'moving' || migration?.step === 'settling';

/** It leaves by another way: what has not been moved goes with it. */
export const stayed = (state: MemberLive): MemberLive => {
  const { migration, ...rest } = state;
  return isUnderWay(migration) ? rest : state;
};

export const onMigrating = (state: MemberLive, event: Event, env: MemberEnv): Step<MemberLive> => {
  const { migration } = state;
  switch (event.type) {
    case 'message':
      return onMessage(state, event.attempt, event.message, env);
    case 'next_active': {
      if (migration?.step !== 'waiting' || event.attempt !== migration.attempt) return step(state);
      const { attempt, to } = migration;
      const next: MemberLive = { ...state, migration: { step: 'moving', attempt, to } };
      return step(next, [...said(next, env), { kind: 'move_balance', attempt, from: channelIds(state), to }]);
    }
    case 'balance_moved': {
      if (migration?.step !== 'moving' || event.attempt !== migration.attempt) return step(state);
      // Nothing comes in over the old channels from here on; what is still pending ends first.
      return settle(state, migration);
    }
    case 'balance_settled': {
      if (migration?.step !== 'settling' || event.attempt !== migration.attempt) return step(state);
      const { attempt, to } = migration;
      const { invoice } = event;
      if (!invoice) return handOver(state, { attempt, to }, env);
      const next: MemberLive = { ...state, migration: { step: 'owed', attempt, to, ...invoice } };
      return step(next, [...said(next, env), { kind: 'await_owed', to, paymentHash: invoice.paymentHash }]);
    }
    case 'owed_received': {
      if (migration?.step !== 'owed' || event.paymentHash !== migration.paymentHash) return step(state);
      return handOver(state, migration, env);
    }
    case 'peer_connected':
      return step(state, event.peer === state.coordinator ? said(state, env) : []);
    default:
      return step(state);
  }
};

const settle = (state: MemberLive, { attempt, to }: Pick<MemberMigration, 'attempt' | 'to'>): Step<MemberLive> => {
  const unpaid = state.unpaidInvoice === undefined ? {} : { unpaid: state.unpaidInvoice };
  return step({ ...state, migration: { step: 'settling', attempt, to } }, [{ kind: 'settle_balance', attempt, from: channelIds(state), to, ...unpaid }]);
};

/** The state is stored before the key leaves (architecture 12.8): after a crash this member knows that it is out. */
const handOver = (state: MemberLive, { attempt, to }: Pick<MemberMigration, 'attempt' | 'to'>, env: MemberEnv): Step<MemberLive> => {
  const next: MemberLive = { ...state, live: { ...state.live, handedOver: true }, migration: { step: 'handing_over', attempt, to } };
  return step(next, [...said(next, env), { kind: 'log', level: 'info', text: `everything is in factory ${to}: the key of this one is handed over` }]);
};

const onMessage = (state: MemberLive, attempt: number, message: FactoryMessage, env: MemberEnv): Step<MemberLive> => {
  const { migration } = state;
  if (message.type === 'migrate') return onMigrate(state, attempt, message, env);
  if (message.type === 'key_received' && migration?.step === 'handing_over') {
    const { to } = migration;
    return step({ ...state, migration: { step: 'handed_over', attempt: migration.attempt, to } });
  }
  return step(state);
};

const onMigrate = (state: MemberLive, attempt: number, { toInstance: to }: Migrate, env: MemberEnv): Step<MemberLive> => {
  const { migration, live } = state;
  if (!migration) {
    const branch = present(live.branches[0]);
    const free =
      fundingStatus(live).kind === 'confirmed' &&
      branchStatus(live, branch).kind === 'virtual' &&
      !live.exits[branch.member] &&
      !live.close &&
      !state.closing &&
      state.leaving?.leaves !== true &&
      busyWith(state) === undefined &&
      to !== state.instanceId;
    return free ? begin(state, attempt, to) : step(state);
  }
  if (attempt < migration.attempt) return step(state);
  if (attempt === migration.attempt) return step(state, said(state, env));
  if (isUnderWay(migration)) return begin(state, attempt, to);
  // The coordinator has not paid what was asked for in an earlier attempt, and will not. What is there already stays there.
  if (migration.step === 'owed') {
    const next = settle({ ...state, unpaidInvoice: migration.paymentHash }, { attempt, to: migration.to });
    return step(next.state, [...said(next.state, env), ...next.effects]);
  }
  const next: MemberLive = { ...state, migration: { ...migration, attempt } };
  return step(next, said(next, env));
};

const begin = (state: MemberLive, attempt: number, to: Migrate['toInstance']): Step<MemberLive> =>
  step({ ...state, migration: { step: 'waiting', attempt, to } }, [{ kind: 'await_next', attempt, to }]);
