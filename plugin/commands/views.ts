/** Factories as commands show them. */
import type { InstanceId, Msat, NodeId, Sat, Txid } from '../../blip/brands.js';
import { branchStatus, channelStatus, depthOf, fundingStatus, isHandedOver, liveState, voidReason, type BranchStatus } from '../../factory-core/live/custody.js';
import { channelsOf as channelsOfBranch, exitPath, lastStock, outpointKey, purchasePath } from '../../factory-core/live/paths.js';
import type { Branch, Live } from '../../factory-core/live/state.js';
import type { Decision } from '../../factory-core/coordinator/schedule.js';
import type { CoordinatorLive } from '../../factory-core/coordinator/state.js';
import { calendarOf } from '../../factory-core/live/deadlines.js';
import type { Warning } from '../../factory-core/live/warnings.js';
import { exitCost, factoryEarlyWarningTime } from '../../factory-core/exit-plan.js';
import { shapeCost } from '../../factory-core/shape.js';
import { isClosing, type Factory, type FactoryState } from '../engine/factory.js';
import { warningsFor } from '../engine/watchdog.js';
import type { Published } from '../engine/broadcaster.js';
import type { Channel, Feerates, Peer } from '../lightning/lightning.js';
import type { JsonObject } from '../runtime/json.js';
import { turnoverView } from './turnover-view.js';

/** Architecture 11's names. */
export const stateName = (state: FactoryState): string => {
  switch (state.phase) {
    case 'inviting':
    case 'joined':
      return 'inviting';
    case 'preparing':
    case 'signing':
    case 'opening':
      return 'signing';
    case 'arming':
      return 'funding';
    case 'live':
      return liveState(state.live, isClosing(state));
    case 'aborted':
      return 'aborted';
  }
};

export const channelsOf = (live: Live): readonly JsonObject[] =>
  live.branches
    .flatMap((branch) => channelsOfBranch(live, branch))
    .map(({ peer, channelId, capacity }) => ({ node_id: peer, channel_id: channelId, capacity_msat: capacity * 1000n }));

const fundingTxid = (state: FactoryState): string | undefined => specOf(state)?.funding.txid;
const specOf = (state: FactoryState) => (state.phase === 'live' ? state.live.spec : 'spec' in state ? state.spec : undefined);

const memberCount = (state: FactoryState): number => {
  const spec = specOf(state);
  if (spec) return spec.roster.length;
  return state.role === 'coordinator' ? state.request.clients.length : state.invite.maxClients;
};

/** A line of `factory-list`. */
export const listEntry = ({ instanceId, state }: Factory): JsonObject => {
  const spec = specOf(state);
  const funding = fundingTxid(state);
  return {
    factory_id: instanceId,
    role: state.role,
    state: stateName(state),
    ...(funding === undefined ? {} : { funding_txid: funding }),
    ...(spec ? { expiry_height: spec.expiryHeight } : {}),
    member_count: memberCount(state),
  };
};

/** What the node says about the world around a factory. */
export interface Surroundings {
  readonly channels: readonly Channel[];
  readonly peers: readonly Peer[];
  readonly feerates: Feerates;
  /** What the schedule makes of a factory of this node. */
  readonly schedule: (state: CoordinatorLive) => Decision;
  /** Whether it acts upon it (option `factory-auto-rotate`). */
  readonly autoRotate: boolean;
  /** Transactions of a factory that are being published. */
  readonly publishing: (id: InstanceId) => readonly Published[];
  /** What children have paid for a transaction of ours. */
  readonly childFee: (txid: Txid) => Sat;
}

export const statusView = (factory: Factory, around: Surroundings): JsonObject => {
  const { state } = factory;
  const head = listEntry(factory);
  if (state.phase === 'aborted') return { ...head, reason: state.reason, members: [], ...excludedOf(state) };
  if (state.phase !== 'live') return { ...head, pending: pendingOf(state), members: creatingMembers(state, around), ...excludedOf(state) };
  return { ...head, ...liveView(state, around, around.publishing(factory.instanceId)), ...excludedOf(state) };
};

const excludedOf = (state: FactoryState): JsonObject =>
  state.role === 'coordinator' && state.excluded.length > 0
    ? { excluded: state.excluded.map((x) => ({ node_id: x.nodeId, reason: x.reason })) }
    : {};

const isConnected = (around: Surroundings, id: NodeId): boolean => around.peers.some((p) => p.id === id && p.connected);

type CreatingState = Exclude<FactoryState, { phase: 'live' | 'aborted' }>;

const creatingMembers = (state: CreatingState, around: Surroundings): readonly JsonObject[] => {
  if (state.role === 'member') return [{ node_id: state.coordinator, connected: isConnected(around, state.coordinator), state: state.phase, channels: [] }];
  const list = state.phase === 'inviting' ? state.invitees : state.members;
  return list.map((m, i) => ({ node_id: m.nodeId, connected: isConnected(around, m.nodeId), state: progressOf(state, i), channels: [] }));
};

/** How far a client is in the ceremony. */
const progressOf = (state: Extract<CreatingState, { role: 'coordinator' }>, index: number): string => {
  switch (state.phase) {
    case 'inviting':
      return state.invitees[index]?.answer.kind === 'joined' ? 'joined' : 'invited';
    case 'preparing':
      return 'joined';
    case 'signing': {
      const { progress } = state;
      const answered = progress.step === 'nonces' ? progress.nonces[index] : progress.step === 'partials' ? progress.partials[index] : progress.stored[index];
      return answered ? `${progress.step}: done` : `${progress.step}: awaited`;
    }
    case 'opening':
      return `leaf: ${state.leaves[index]?.step ?? ''}`;
    case 'arming':
      return state.armed[index] === true ? 'armed' : 'arming';
  }
};

/** What is awaited, and from whom. */
const pendingOf = (state: CreatingState): readonly JsonObject[] => {
  if (state.role === 'member') return [{ what: state.phase, on: state.coordinator }];
  const list = state.phase === 'inviting' ? state.invitees : state.members;
  return list.flatMap((m, i) => {
    const what = progressOf(state, i);
    return what.endsWith('done') || what === 'joined' || what === 'armed' || what === 'leaf: ready' ? [] : [{ what, on: m.nodeId }];
  });
};

type LiveState = Extract<FactoryState, { phase: 'live' }>;

const liveView = (state: LiveState, around: Surroundings, publishing: readonly Published[]): JsonObject => {
  const { live } = state;
  const { spec, chain } = live;
  const early = factoryEarlyWarningTime(spec);
  const funding = fundingStatus(live);
  const { dying, settling, guard, expiry } = calendarOf(spec);
  return {
    early_warning_time: early,
    height: chain.tip,
    heights: {
      start: spec.startHeight,
      dying,
      settling,
      guard,
      expiry,
      ...(chain.fundingHeight === undefined ? {} : { funding: chain.fundingHeight }),
    },
    funding: {
      txid: spec.funding.txid,
      vout: spec.funding.vout,
      amount_msat: spec.fundingAmount * 1000n,
      status: funding.kind,
      ...fundingProblem(live),
      ...(funding.kind === 'unconfirmed' ? {} : { depth: funding.depth }),
      ...(funding.kind === 'spent' ? { spent_by: funding.by, spending_txid: funding.txid } : {}),
    },
    shape: spec.fanouts.join('x'),
    members: live.branches.map((branch) => ({ ...memberView(live, branch, around), ...migrationView(state, branch), ...leavingView(state, branch) })),
    ...rotationView(state),
    ...scheduleView(state, around),
    ...turnoverView(state, around.feerates.normal, around.childFee),
    exit: exitView(live, around.feerates),
    warnings: warningsFor(state, new Set(around.peers.filter((p) => p.connected).map((p) => p.id))).map(warningView),
    pending: livePending(state, publishing),
    ...problemsOf(publishing),
  };
};

const warningView = ({ code, urgency, text, deadline }: Warning): JsonObject => ({ code, urgency, text, deadline });
/** The factory this one's members move to. */
const rotationView = (state: LiveState): JsonObject => {
  if (state.role === 'member' || !state.rotation) return {};
  const { to, attempts, since, failure } = state.rotation;
  const all = state.live.branches;
  return {
    rotation: {
      to,
      attempts,
      since,
      moved: all.filter((b) => b.heldKey !== undefined).length,
      members: all.length,
      ...(failure === undefined ? {} : { problem: failure }),
    },
  };
};

/** What comes next, and why it has not come yet. */
const scheduleView = (state: LiveState, { schedule, autoRotate }: Surroundings): JsonObject => {
  if (state.role === 'member') return {};
  const { step, why, until } = schedule(state);
  return { schedule: { step, why, auto: autoRotate, tries: state.schedule?.tries ?? 0, ...(until === undefined ? {} : { until }) } };
};

/** How far one member is on its way. */
const migrationView = (state: LiveState, branch: Branch): JsonObject => {
  const migration = state.role === 'member' ? state.migration : state.migrations?.[branch.member];
  if (!migration) return {};
  return {
    migration: {
      to: migration.to,
      step: migration.step,
      ...('owed' in migration ? { owed_msat: migration.owed } : {}),
      ...('problem' in migration ? { problem: migration.problem } : {}),
    },
  };
};

/** Whether it is to be paid by the close, in the place of going on. */
const leavingView = (state: LiveState, branch: Branch): JsonObject => {
  if (state.role === 'coordinator') return state.leaving?.[branch.member]?.leaves === true ? { leaving: { noted: true } } : {};
  return state.leaving?.leaves === true ? { leaving: { noted: state.leaving.noted } } : {};
};

const fundingProblem = (live: Live): JsonObject => {
  const funding = fundingStatus(live);
  const rival = funding.kind === 'unconfirmed' ? funding.rival : undefined;
  const problem = voidReason(live) ?? (rival && `a transaction that spends its coins, ${rival.txid}, is ${rival.depth} blocks deep`);
  return problem === undefined ? {} : { problem };
};

const memberView = (live: Live, branch: Branch, around: Surroundings): JsonObject => {
  const status = branchStatus(live, branch);
  return {
    node_id: branch.peer,
    connected: isConnected(around, branch.peer),
    state: branchName(live, branch, status),
    path: pathView(live, branch),
    stock_msat: (lastStock(live, branch)?.amount ?? 0n) * 1000n,
    channels: channelsOfBranch(live, branch).map(({ channelId, capacity }) => {
      const channel = around.channels.find((c) => c.channelId === channelId);
      return {
        channel_id: channelId,
        total_msat: capacity * 1000n,
        ...(channel ? { to_us_msat: channel.toUs, state: channel.state, htlcs: channel.htlcs.length, ...aliasOf(channel) } : { to_us_msat: 0n as Msat, state: 'FORGOTTEN' }),
      };
    }),
  };
};
const aliasOf = (channel: Channel): JsonObject => ({
  ...(channel.localAlias === undefined ? {} : { alias: channel.localAlias }),
  ...(channel.shortChannelId === undefined ? {} : { short_channel_id: channel.shortChannelId }),
});

const branchName = (live: Live, branch: Branch, status: BranchStatus): string => {
  switch (status.kind) {
    case 'virtual':
    case 'publishing':
      if (isHandedOver(live, branch)) return 'moved';
      return live.exits[branch.member] === undefined ? 'in_factory' : 'leaving';
    case 'on_chain':
      return 'on_chain';
    case 'channel_closed':
      return 'left';
    case 'gone':
      return 'ended';
  }
};

/** How much of the way from the funding output to the channel is in blocks; whoever left before has paid for a part of it. */
const pathView = (live: Live, branch: Branch): JsonObject => {
  const path = [...exitPath(live, branch), ...purchasePath(live, branch)].map((t) => t.signable);
  const confirmed = path.filter((s) => live.chain.spends[outpointKey(s.tx.prevout.outpoint)]?.by === s.txid);
  return { transactions: path.length, confirmed: confirmed.length };
};

/** What leaving now takes: the longest way of those this node would go. */
const exitView = (live: Live, feerates: Feerates): JsonObject => {
  const costs = live.branches.map((branch) => {
    const rest = [...exitPath(live, branch), ...purchasePath(live, branch)].map((t) => t.signable).filter((s) => !live.chain.spends[outpointKey(s.tx.prevout.outpoint)]);
    return exitCost(rest, feerates.normal);
  });
  const worst = costs.reduce((a, b) => (b.vbytes > a.vbytes ? b : a), { transactions: 0, vbytes: 0, blocks: 0, fee: 0n });
  return {
    transactions: worst.transactions,
    vbytes: worst.vbytes,
    blocks: worst.blocks,
    cost_msat: worst.fee * 1000n,
    feerate_perkb: feerates.normal,
    longest_path: shapeCost(live.spec.roster.length, live.spec.fanouts).pathTransactions,
  };
};

/** What keeps a transaction of ours from being confirmed in time. */
const problemsOf = (publishing: readonly Published[]): JsonObject => {
  const problems = publishing.flatMap(({ purpose, txid, problem, deadline }) =>
    problem === undefined ? [] : [{ what: purpose, txid, problem, ...(deadline === undefined ? {} : { deadline }) }],
  );
  return problems.length === 0 ? {} : { problems };
};

const publishedView = ({ since, feerate, child, problem }: Published): JsonObject => ({
  published_at: since,
  feerate_perkb: feerate,
  ...(child ? { child_txid: child.txid, child_fee_msat: child.fee * 1000n } : {}),
  ...(problem === undefined ? {} : { problem }),
});

const livePending = (state: LiveState, publishing: readonly Published[]): readonly JsonObject[] => {
  const { live } = state;
  const funding = fundingStatus(live);
  const list: JsonObject[] = [];
  if (funding.kind === 'unconfirmed') list.push({ what: 'funding transaction', on: 'chain' });
  else if (funding.kind === 'confirmed' && funding.depth < live.spec.terms.minDepth) {
    list.push({ what: `funding depth ${funding.depth} of ${live.spec.terms.minDepth}`, on: 'chain' });
  }
  if (state.role === 'coordinator' && state.closing) list.push({ what: `close: ${state.closing.progress.step}`, on: 'members' });
  if (state.role === 'member' && state.closing) list.push({ what: `close: ${state.closing.progress.step}`, on: state.coordinator });
  if (live.close && funding.kind === 'confirmed') {
    const published = publishing.find(({ purpose }) => purpose === 'close');
    const what = live.close.signature === undefined ? 'close: agreed, not yet signed by all; channels stay frozen' : 'close: unconfirmed';
    list.push({ what, on: 'chain', ...(published && { txid: published.txid, ...publishedView(published) }) });
  }
  for (const branch of live.branches) {
    if (!live.exits[branch.member]) continue;
    const next = [...exitPath(live, branch), ...purchasePath(live, branch)].find((t) => !live.chain.spends[outpointKey(t.signable.tx.prevout.outpoint)]);
    if (next) {
      const published = publishing.find(({ txid }) => txid === next.signable.txid);
      list.push({ what: `exit of client ${branch.member}: ${next.signable.purpose}`, on: 'chain', txid: next.signable.txid, ...(published && publishedView(published)) });
    }
    for (const channel of channelsOfBranch(live, branch)) {
      const status = channelStatus(live, branch, channel);
      if (status.kind === 'on_chain') list.push({ what: `channel ${outpointKey(channel.outpoint)}: commitment`, on: 'chain', depth: depthOf(live, status.height) });
    }
  }
  // What is published without anybody's wish to leave: the root or the distribution, when the time has come.
  const listed = new Set(list.map((entry) => entry['txid']));
  for (const published of publishing) if (!listed.has(published.txid)) list.push({ what: published.purpose, on: 'chain', txid: published.txid, ...publishedView(published) });
  return list;
};
