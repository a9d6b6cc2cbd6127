/** `factory-rotate`: the next factory, and everybody's way there (architecture 8). */
import { sat, type InstanceId, type NodeId, type Sat } from '../../blip/brands.js';
import { allocate, type Allocation, type Use } from '../../factory-core/allocation.js';
import type { CoordinatorLive } from '../../factory-core/coordinator/state.js';
import { canMigrate } from '../../factory-core/coordinator/migrating.js';
import { channelsOf, lastStock } from '../../factory-core/live/paths.js';
import type { Branch } from '../../factory-core/live/state.js';
import { MIN_CLIENTS } from '../../factory-core/shape.js';
import type { Channel } from '../lightning/lightning.js';
import type { CommandContext } from '../runtime/definition.js';
import type { JsonObject } from '../runtime/json.js';
import { method, param } from '../runtime/plugin.js';
import type { Context } from './context.js';
import { createFactory, requested } from './create.js';
import type { CreateParams } from './create-checks.js';
import { ErrorCode, fail, invalid } from './errors.js';
import { findLive } from './find.js';
import { factoryIdParam, feerateParam, nodeIdParam, satAmount, shapeParam } from './params.js';
import { requestKey } from './requests.js';
import { stateName } from './views.js';

/** What the operator wants for one client instead of what is proposed. */
export const override = param.object({ node_id: nodeIdParam, capacity: param.optional(satAmount), stock: param.optional(satAmount) });

export interface RotateParams {
  readonly factory_id: InstanceId;
  readonly clients: readonly { readonly node_id: NodeId; readonly capacity: Sat | undefined; readonly stock: Sat | undefined }[] | undefined;
  readonly request_id: string | undefined;
  readonly min_clients: number | undefined;
  readonly feerate: number | undefined;
  readonly active_blocks: number | undefined;
  readonly dying_blocks: number | undefined;
  readonly shape: readonly number[] | undefined;
  readonly dry_run: boolean;
}

export const factoryRotate = (context: () => Context) =>
  method({
    description: 'Move a channel factory’s members to a new one',
    longDescription:
      'Creates a factory with the members of {factory_id} that are connected. Once it is active, each moves its balance there by ' +
      'paying itself through this node, and hands over its key; when all have, this node closes the old factory alone. Payments go on. ' +
      '{clients} overrides what is proposed, and adds new ones. With {dry_run} nothing is done, and the proposal shown.',
    category: 'factory',
    params: {
      factory_id: factoryIdParam,
      clients: param.optional(param.array(override, { min: 1, max: 1_000 })),
      request_id: param.optional(param.string({ maxLength: 128 })),
      min_clients: param.optional(param.int(1, 1_000)),
      feerate: param.optional(feerateParam),
      active_blocks: param.optional(param.int(1, 1_000_000)),
      dying_blocks: param.optional(param.int(1, 1_000_000)),
      shape: param.optional(shapeParam),
      dry_run: param.withDefault(param.bool(), false),
    },
    check: async (p) => {
      if (!requested(context(), keyOf(p))) await proposal(context(), p.factory_id, p.clients);
    },
    run: (p, command) => rotate(context(), p, command),
  });

const keyOf = (p: RotateParams) => requestKey('factory-rotate', p);

export const rotate = async (ctx: Context, p: RotateParams, command: CommandContext): Promise<JsonObject> => {
  let proposed: Proposal | undefined;
  const created = await createFactory(
    ctx,
    {
      request: keyOf(p),
      params: async () => {
        proposed = await proposal(ctx, p.factory_id, p.clients);
        return createParams(p, proposed);
      },
      begun: (to) => ctx.engine.dispatch(p.factory_id, { type: 'rotation_begun', to }),
    },
    command,
  );
  return { factory_id: p.factory_id, to: created, ...(proposed ? proposalView(proposed) : {}) };
};

export const createParams = (p: RotateParams, { allocations }: Proposal): CreateParams => {
  const clients = allocations.map(({ nodeId, capacity, stock }) => ({ node_id: nodeId, capacity, stock }));
  return {
    clients,
    capacity: sat(0n),
    stock: undefined,
    request_id: p.request_id,
    // Whoever fails now moves later, into another one.
    min_clients: p.min_clients ?? Math.min(MIN_CLIENTS, clients.length),
    feerate: p.feerate,
    active_blocks: p.active_blocks,
    dying_blocks: p.dying_blocks,
    shape: p.shape,
    dry_run: p.dry_run,
  };
};

export interface Proposal {
  /** Of the old factory. */
  readonly state: CoordinatorLive;
  readonly allocations: readonly Allocation[];
  readonly uses: ReadonlyMap<NodeId, Use>;
  /** Members that would be in it if they were connected. */
  readonly away: readonly NodeId[];
}

/** Who would be in the next factory, and with what. */
export const proposal = async (ctx: Context, id: InstanceId, overrides: RotateParams['clients']): Promise<Proposal> => {
  const state = rotatable(ctx, id);
  const staying = state.live.branches.filter((b) => mayStillMove(ctx, state, b));
  const [channels, peers] = await Promise.all([ctx.lightning.channels(), ctx.lightning.peers()]);
  const connected = new Set(peers.filter((p) => p.connected && ctx.peers.speaksOurs(p.id)).map((p) => p.id));
  const present = staying.filter((b) => connected.has(b.peer));
  const uses = new Map(present.map((b) => [b.peer, useOf(state, b, channels)]));
  const asked = new Map((overrides ?? []).map((o) => [o.node_id, o]));
  const members = [...uses.values()].map((use) => overridden(allocate(use, ctx.settings.allocation), asked.get(use.nodeId)));
  const known = new Set(state.members.map((m) => m.nodeId));
  const added = (overrides ?? []).filter((o) => !known.has(o.node_id)).map((o): Allocation => {
    if (o.capacity === undefined) return invalid('clients', `${o.node_id} is not in factory ${id}: its capacity has to be given`);
    return { nodeId: o.node_id, capacity: o.capacity, stock: o.stock ?? sat(0n), why: 'new' };
  });
  const allocations = [...members, ...added];
  const away = staying.filter((b) => !connected.has(b.peer)).map((b) => b.peer);
  if (members.length === 0 || allocations.length < MIN_CLIENTS) {
    const why = staying.length === 0 ? 'everybody has moved, is moving, or has left' : `a factory has at least ${MIN_CLIENTS} clients, ${allocations.length} could be in it now`;
    fail(ErrorCode.WrongState, `factory-rotate: ${why}`, { factory_id: id, away });
  }
  return { state, allocations, uses, away };
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

/** Neither gone nor on its way into a factory that is there, or may still come to be. */
const mayStillMove = (ctx: Context, state: CoordinatorLive, branch: Branch): boolean => {
  const migration = state.migrations?.[branch.member];
  if (!canMigrate(state, branch) || (migration && migration.step !== 'asked' && migration.step !== 'moving')) return false;
  const next = state.rotation && ctx.engine.get(state.rotation.to)?.state;
  if (next?.role !== 'coordinator' || next.phase === 'aborted') return true;
  const inNext = next.phase === 'inviting' ? next.invitees : next.members;
  return !inNext.some((m) => m.nodeId === branch.peer);
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

export const proposalView = ({ allocations, uses, away }: Proposal) => ({
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
});
