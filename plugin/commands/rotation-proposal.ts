/** Who would be in the next factory, and with what: from use, the waiting room, and the operator's word (architecture 8). */
import { sat, type InstanceId, type NodeId, type Sat } from '../../blip/brands.js';
import { allocate, withWaiting, type Allocation, type Use } from '../../factory-core/allocation.js';
import type { CoordinatorLive, CoordinatorState } from '../../factory-core/coordinator/state.js';
import { stragglers, underWay } from '../../factory-core/coordinator/schedule.js';
import { channelsOf, lastStock } from '../../factory-core/live/paths.js';
import type { Branch } from '../../factory-core/live/state.js';
import { MAX_CLIENTS, MIN_CLIENTS } from '../../factory-core/shape.js';
import { coordinatorOf } from '../engine/engine.js';
import type { Channel } from '../lightning/lightning.js';
import type { Context } from './context.js';
import { present } from './create-checks.js';
import { ErrorCode, fail, invalid } from './errors.js';
import { findLive } from './find.js';
import { stateName } from './views.js';

/** What the operator wants for one client, whatever is proposed. */
export interface Override {
  readonly node_id: NodeId;
  readonly capacity: Sat | undefined;
  readonly stock: Sat | undefined;
}

export interface Proposal {
  /** Of the old factory. */
  readonly state: CoordinatorLive;
  readonly allocations: readonly Allocation[];
  readonly uses: ReadonlyMap<NodeId, Use>;
  /** Members that would be in it if they were connected. */
  readonly away: readonly NodeId[];
  /** Those who wait and are connected, for whom there is no room, or no money. */
  readonly leftWaiting: readonly NodeId[];
}

/** Who would be in the next factory, and with what. */
export const proposal = async (ctx: Context, id: InstanceId, overrides: readonly Override[] | undefined): Promise<Proposal> => {
  const state = rotatable(ctx, id);
  const find = (other: InstanceId): CoordinatorState | undefined => coordinatorOf(ctx.engine, other);
  const busy = underWay(state, find);
  if (busy) return fail(ErrorCode.Busy, `factory-rotate: one is under way: ${busy.why}`, { factory_id: id });
  const staying = stragglers(state, find);
  const [channels, peers] = await Promise.all([ctx.lightning.channels(), ctx.lightning.peers()]);
  const connected = new Set(peers.filter((p) => p.connected && ctx.peers.speaksOurs(p.id)).map((p) => p.id));
  const there = staying.filter((b) => connected.has(b.peer));
  const uses = new Map(there.map((b) => [b.peer, useOf(state, b, channels)]));
  const asked = new Map((overrides ?? []).map((o) => [o.node_id, o]));
  const fromUse = [...uses.values()].map((use) => allocate(use, ctx.settings.allocation));
  const waiters = present(ctx);
  const known = new Set(state.members.map((m) => m.nodeId));
  const added = (overrides ?? []).filter((o) => !uses.has(o.node_id) && !staying.some((b) => b.peer === o.node_id)).map((o): Allocation => {
    const wish = waiters.find((w) => w.nodeId === o.node_id);
    const capacity = o.capacity ?? wish?.capacity;
    if (capacity === undefined) return invalid('clients', `${o.node_id} ${known.has(o.node_id) ? 'has moved, is moving, or leaves' : `is not in factory ${id}`}: its capacity has to be given`);
    return { nodeId: o.node_id, capacity, stock: o.stock ?? wish?.stock ?? sat(0n), why: 'new' };
  });
  const wallet = (await ctx.lightning.coins()).reduce((sum, coin) => sum + coin.amount, 0n);
  const waiting = waiters.filter((w) => !added.some((a) => a.nodeId === w.nodeId));
  const { allocations: all, left } = withWaiting([...fromUse, ...added], uses, waiting, { wallet: sat(wallet), clients: MAX_CLIENTS, treeFeerate: ctx.settings.terms.treeFeerate });
  const allocations = all.map((a) => (uses.has(a.nodeId) ? overridden(a, asked.get(a.nodeId)) : a));
  const away = staying.filter((b) => !connected.has(b.peer)).map((b) => b.peer);
  if (uses.size === 0 || allocations.length < MIN_CLIENTS) {
    const why = staying.length === 0 ? 'everybody has moved, is moving, or has left' : `a factory has at least ${MIN_CLIENTS} clients, ${allocations.length} could be in it now`;
    fail(ErrorCode.WrongState, `factory-rotate: ${why}`, { factory_id: id, away });
  }
  return { state, allocations, uses, away, leftWaiting: left };
};

const rotatable = (ctx: Context, id: InstanceId): CoordinatorLive => {
  const { state } = findLive(ctx, id, 'factory-rotate');
  const name = stateName(state);
  if (state.role !== 'coordinator') return fail(ErrorCode.WrongState, 'factory-rotate: only the coordinator rotates a factory', { factory_id: id, state: name });
  if (name !== 'active' && name !== 'dying' && name !== 'settling') {
    return fail(ErrorCode.WrongState, `factory-rotate: factory ${id} is ${name}`, { factory_id: id, state: name });
  }
  return state;
};

const useOf = (state: CoordinatorLive, branch: Branch, channels: readonly Channel[]): Use => {
  const own = channelsOf(state.live, branch);
  const now = own.flatMap((c) => channels.find((known) => known.channelId === c.channelId) ?? []);
  return {
    nodeId: branch.peer,
    capacity: sat(own.reduce((sum, c) => sum + c.capacity, 0n)),
    balance: now.reduce((sum, c) => (sum + c.total - c.toUs) as typeof sum, 0n as Use['balance']),
    received: now.reduce((sum, c) => (sum + c.sentInAll) as typeof sum, 0n as Use['received']),
    stock: state.live.spec.roster[branch.member]?.stock ?? sat(0n),
    unsold: lastStock(state.live, branch)?.amount ?? sat(0n),
  };
};

const overridden = (proposed: Allocation, by: { readonly capacity: Sat | undefined; readonly stock: Sat | undefined } | undefined): Allocation =>
  by ? { ...proposed, capacity: by.capacity ?? proposed.capacity, stock: by.stock ?? proposed.stock, why: 'as the operator wants it' } : proposed;

export const proposalView = ({ allocations, uses, away, leftWaiting }: Proposal) => ({
  clients: allocations.map(({ nodeId, capacity, stock, why }) => {
    const use = uses.get(nodeId);
    return {
      node_id: nodeId,
      capacity_msat: capacity * 1000n,
      stock_msat: stock * 1000n,
      why,
      // Capital of this node's that the factory keeps: all but what is the client's.
      locked_msat: (capacity + stock) * 1000n - (use?.balance ?? 0n),
      ...(use ? { before: { capacity_msat: use.capacity * 1000n, balance_msat: use.balance, stock_msat: use.unsold * 1000n } } : {}),
    };
  }),
  away: [...away],
  ...(leftWaiting.length > 0 ? { left_waiting: [...leftWaiting] } : {}),
});
