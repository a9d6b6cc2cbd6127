/** `factory-status` and `factory-list`. */
import { method, param } from '../runtime/plugin.js';
import type { JsonObject } from '../runtime/json.js';
import type { Context } from './context.js';
import type { Waiting } from '../../factory-core/waiting.js';
import { findFactory } from './find.js';
import { wishView } from './join.js';
import { factoryIdParam } from './params.js';
import { listEntry, statusView, type Surroundings } from './views.js';

export const factoryList = (context: () => Context) =>
  method({
    description: 'List the channel factories this node is part of',
    category: 'factory',
    params: {},
    run: () => ({ factories: context().engine.all().map(listEntry) }),
  });

export const factoryStatus = (context: () => Context) =>
  method({
    description: 'Show the state of one channel factory, or of all',
    longDescription:
      'Members, channels with balances, heights, what an exit would take now, and what is pending on whom. Without {factory_id}: all factories of this node.',
    category: 'factory',
    params: { factory_id: param.optional(factoryIdParam) },
    check: ({ factory_id: id }) => {
      if (id !== undefined) findFactory(context(), id);
    },
    run: async ({ factory_id: id }) => {
      const ctx = context();
      const around = await surroundings(ctx);
      if (id !== undefined) return statusView(findFactory(ctx, id), around);
      return { factories: ctx.engine.all().map((f) => statusView(f, around)), node: await nodeView(ctx) };
    },
  });

const surroundings = async (ctx: Context): Promise<Surroundings> => {
  const [channels, peers, feerates] = await Promise.all([ctx.lightning.channels(), ctx.lightning.peers(), ctx.lightning.feerates()]);
  return {
    channels,
    peers,
    feerates,
    publishing: (id) => ctx.broadcaster.statusOf(id),
    childFee: (txid) => ctx.ledger.spentOn(txid),
    schedule: (state) => ctx.scheduler.decide(state),
    autoRotate: ctx.settings.autoRotate,
  };
};

const nodeView = async (ctx: Context): Promise<JsonObject> => {
  const problem = ctx.watchOnly();
  const { received, ignored, dropped, unanswered, refused, noisy } = ctx.inbox.counts();
  return {
    height: ctx.engine.currentHeight(),
    received_messages: received,
    ignored_messages: ignored,
    dropped_messages: dropped,
    unanswered_messages: unanswered,
    refused_beginnings: refused,
    noisy_peers: noisy.map((n) => ({ node_id: n.peer, received: n.received, ignored: n.ignored, dropped: n.dropped })),
    waiting_room: ctx.waiting.waiting().map((w) => waitingView(w, ctx.peers.speaksOurs(w.nodeId))),
    wishes: ctx.waiting.wishes().map(wishView),
    fees: await feesView(ctx),
    ...(problem === undefined ? {} : { problem }),
  };
};

const waitingView = ({ nodeId, capacity, stock, since }: Waiting, connected: boolean): JsonObject => ({
  node_id: nodeId,
  connected,
  capacity_msat: capacity * 1000n,
  stock_msat: stock * 1000n,
  since,
});

/** Asked now, so that an operator sees it before it matters. */
const feesView = async ({ bumper, ledger, engine, settings: { budget } }: Context): Promise<JsonObject> => {
  const problem = await bumper.probe();
  return {
    packages: problem === undefined,
    ...(problem === undefined ? {} : { packages_problem: problem }),
    spent_in_day_msat: ledger.spentInDay(engine.currentHeight()) * 1000n,
    bump_budget_msat: budget.perExit * 1000n,
    daily_budget_msat: budget.perDay * 1000n,
    wallet_reserve_msat: budget.reserve * 1000n,
  };
};
