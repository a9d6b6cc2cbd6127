/** `factory-sell`: the LSP offers one of its clients a channel out of that client's stock (architecture 7). */
import { msat, type InstanceId, type NodeId, type Sat } from '../../blip/brands.js';
import { sellingOf } from '../../factory-core/coordinator/selling.js';
import type { CoordinatorLive } from '../../factory-core/coordinator/state.js';
import { priceOf } from '../../factory-core/live/purchasing.js';
import type { Branch } from '../../factory-core/live/state.js';
import { present } from '../../factory-core/protocol/present.js';
import type { CommandContext } from '../runtime/definition.js';
import type { JsonObject } from '../runtime/json.js';
import { method, param } from '../runtime/plugin.js';
import { requireSigning, type Context } from './context.js';
import { ErrorCode, fail, invalid } from './errors.js';
import { findLive, type LiveFactory } from './find.js';
import { inTurn } from './in-turn.js';
import { factoryIdParam, nodeIdParam, satAmount } from './params.js';
import { boughtFor, checkPurchase, failPurchase, previewOf, purchaseView, recordBegin, recordResult, reporter, resultOf } from './purchases.js';
import { requestKey } from './requests.js';
import { untilChange } from './until.js';

const NAME = 'factory-sell';
const STEPS = ['offered', 'intent', 'starting', 'completing', 'signing', 'storing'] as const;

interface Params {
  readonly factory_id: InstanceId;
  readonly node_id: NodeId;
  readonly amount: Sat;
  readonly fee: bigint;
  readonly request_id: string | undefined;
  readonly dry_run: boolean;
}

export const factorySell = (context: () => Context) =>
  method({
    description: 'Give a client of a channel factory one more channel, out of its stock',
    longDescription:
      'Offers {node_id} a channel of {amount} for {fee} (millisatoshis, nothing by default). What the client pays at most for an offer is its option ' +
      'factory-max-purchase-fee. Nothing on chain is needed. With {dry_run} nobody is asked: the answer says what would be.',
    category: 'factory',
    params: {
      factory_id: factoryIdParam,
      node_id: nodeIdParam,
      amount: satAmount,
      fee: param.withDefault(param.msat(), 0n),
      request_id: param.optional(param.string({ maxLength: 128 })),
      dry_run: param.withDefault(param.bool(), false),
    },
    check: (p) => {
      const ctx = context();
      if (!resultOf(ctx, requestKey(NAME, p))) allowed(ctx, p);
    },
    run: (p, command) => sell(context(), p, command),
  });

const admitted = inTurn();

const sell = async (ctx: Context, p: Params, command: CommandContext): Promise<JsonObject> => {
  const request = requestKey(NAME, p);
  const begun = await admitted(async () => resultOf(ctx, request) ?? resumed(ctx, p) ?? (await start(ctx, p)));
  if (typeof begun !== 'number') return begun;
  return recordResult(ctx, p.factory_id, request, await finished(ctx, p, begun, command));
};

type Coordinator = LiveFactory & { readonly state: CoordinatorLive };

const coordinatorOf = (ctx: Context, id: InstanceId): Coordinator => {
  const factory = findLive(ctx, id, NAME);
  const { state } = factory;
  if (state.role !== 'coordinator') return fail(ErrorCode.WrongState, `${NAME}: this node is a client of factory ${id}; it buys with factory-buy`, { factory_id: id });
  return { ...factory, state };
};
const branchOf = ({ state, instanceId }: Coordinator, node: NodeId): Branch =>
  state.live.branches.find((b) => b.peer === node) ?? invalid('node_id', `${node} has no channel in factory ${instanceId}`);

const allowed = (ctx: Context, { factory_id: id, node_id: node, amount }: Params): { readonly factory: Coordinator; readonly branch: Branch } => {
  requireSigning(ctx);
  const factory = coordinatorOf(ctx, id);
  const branch = branchOf(factory, node);
  const { sale, offer } = sellingOf(factory.state, branch.member);
  if (sale ?? offer) fail(ErrorCode.Busy, `${NAME}: another purchase of this client is under way (${sale?.progress.step ?? 'offered'})`, { factory_id: id, node_id: node });
  checkPurchase(factory, NAME, branch, amount, ctx.policy.capacity.min);
  return { factory, branch };
};

const resumed = (ctx: Context, { factory_id: id, node_id: node, request_id: requestId }: Params): JsonObject | number | undefined => {
  if (requestId === undefined) return undefined;
  const factory = coordinatorOf(ctx, id);
  const branch = branchOf(factory, node);
  const { sale, offer } = sellingOf(factory.state, branch.member);
  const current = [sale, offer].find((deal) => deal?.requestId === requestId);
  if (current) return current.attempt;
  const sold = boughtFor(branch, requestId);
  return sold && purchaseView(factory.state.live, branch, sold);
};

const start = async (ctx: Context, p: Params): Promise<JsonObject | number> => {
  const { factory_id: id, node_id: node, amount } = p;
  const fee = msat(p.fee, 'fee');
  const { factory, branch } = allowed(ctx, p);
  if (p.dry_run) {
    const price = priceOf(ctx.settings.pricing, amount);
    return { dry_run: true, factory_id: id, node_id: node, amount_msat: amount * 1000n, fee_msat: fee, price_msat: price, ...previewOf(factory.state.live, branch, amount) };
  }
  const peer = await ctx.lightning.peer(node);
  if (peer?.connected !== true) fail(ErrorCode.PeerNotConnected, `${NAME}: ${node} is not connected`, { factory_id: id, node_id: node });
  recordBegin(ctx, id, requestKey(NAME, p));
  const { member } = allowed(ctx, p).branch;
  ctx.engine.dispatch(id, { type: 'sell_requested', member, amount, fee, ...(p.request_id === undefined ? {} : { requestId: p.request_id }) });
  const { offer } = sellingOf(coordinatorOf(ctx, id).state, member);
  return offer ? offer.attempt : fail(ErrorCode.Busy, `${NAME}: the factory’s state has just changed; try again`, { factory_id: id });
};

const finished = async (ctx: Context, { factory_id: id, node_id: node }: Params, attempt: number, command: CommandContext): Promise<JsonObject> => {
  const report = reporter(command, STEPS);
  const look = (): JsonObject | undefined => {
    const factory = coordinatorOf(ctx, id);
    const branch = branchOf(factory, node);
    const { sale, offer, outcome } = sellingOf(factory.state, branch.member);
    report(sale?.attempt === attempt ? sale.progress.step : offer?.attempt === attempt ? 'offered' : undefined);
    if (outcome?.attempt !== attempt) return undefined;
    if (!outcome.ok) return failPurchase(id, NAME, outcome.code, outcome.reason);
    return purchaseView(factory.state.live, branch, present(branch.purchases.find((p) => p.channelId === outcome.channelId)));
  };
  return look() ?? untilChange(ctx.engine, command.signal, look);
};
