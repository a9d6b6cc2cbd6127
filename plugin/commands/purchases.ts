/** What `factory-buy` and `factory-sell` have in common: requests that are done once, and what a purchase comes to. */
import type { InstanceId } from '../../blip/brands.js';
import { channelPath, channelsOf, earlyWarningOf } from '../../factory-core/live/paths.js';
import { purchaseProblem, stockLeft, unsoldStock } from '../../factory-core/live/purchasing.js';
import type { Branch, Live, Purchase } from '../../factory-core/live/state.js';
import { AbortCode } from '../../factory-core/protocol/abort-codes.js';
import { exitBlocks } from '../../factory-core/shape.js';
import { feeFor, leafVsize } from '../../factory-core/transactions.js';
import type { Sat } from '../../blip/brands.js';
import type { RequestKey } from '../store/store.js';
import type { JsonObject } from '../runtime/json.js';
import type { CommandContext } from '../runtime/definition.js';
import type { Context } from './context.js';
import { ErrorCode, fail, invalid } from './errors.js';
import { recordOf } from './requests.js';
import { stateName } from './views.js';
import type { LiveFactory } from './find.js';

/** A transaction with a channel and stock, of any length of purchases. */
const PURCHASE_VSIZE = leafVsize(true);

/** What the same request came to before, if anything. */
export const resultOf = (ctx: Context, request: RequestKey | undefined): JsonObject | undefined => recordOf(ctx, request)?.result as JsonObject | undefined;
/** That it has begun; the purchase itself knows what it was made for, so a request that came to nothing can be made again. */
export const recordBegin = (ctx: Context, id: InstanceId, request: RequestKey | undefined): void => {
  if (request) ctx.store.apply({ journal: { event: 'request', instanceId: id }, request: { ...request, instanceId: id } });
};
export const recordResult = (ctx: Context, id: InstanceId, request: RequestKey | undefined, result: JsonObject): JsonObject => {
  if (request) ctx.store.apply({ journal: { event: 'result', instanceId: id }, request: { ...request, instanceId: id, result } });
  return result;
};

export const boughtFor = (branch: Branch, requestId: string | undefined): Purchase | undefined =>
  requestId === undefined ? undefined : branch.purchases.find((p) => p.requestId === requestId);

/** What stands in the way on this node, before anybody is asked. */
export const checkPurchase = ({ instanceId, state }: LiveFactory, command: string, branch: Branch, amount: Sat, min: Sat): void => {
  if (amount < min) invalid('amount', `${amount} sat: a channel has at least ${min} sat`);
  const moving = state.role === 'member' ? state.migration : state.migrations?.[branch.member];
  const problem = purchaseProblem(state.live, branch, state.closing !== undefined || moving !== undefined, amount);
  if (!problem) return;
  if (problem.kind === 'busy') fail(ErrorCode.WrongState, `${command}: ${problem.reason}`, { factory_id: instanceId, state: stateName(state) });
  fail(ErrorCode.InvalidParams, `amount: ${problem.reason}`, { field: 'amount', stock_msat: unsoldStock(state.live, branch) * 1000n });
};

/** The other side said no, or nothing came of it. */
export const failPurchase = (id: InstanceId, command: string, code: number, reason: string): never =>
  fail(code === AbortCode.Busy ? ErrorCode.Busy : ErrorCode.PurchaseFailed, `${command}: ${reason}`, { factory_id: id, reason });

/** What the next purchase of a branch would be like. */
export const previewOf = (live: Live, branch: Branch, amount: Sat): JsonObject => {
  const depth = branch.purchases.length + 1;
  const transactions = channelPath(live, branch, { depth }).length + 1;
  return {
    stock_left_msat: stockLeft(live, branch, amount) * 1000n,
    vbytes: PURCHASE_VSIZE,
    transaction_fee_msat: feeFor(PURCHASE_VSIZE, live.spec.terms.treeFeerate) * 1000n,
    early_warning_time: earlyWarningOf(live.spec, depth),
    exit: { transactions, blocks: exitBlocks(transactions) },
  };
};

/** A purchase that is in its branch. */
export const purchaseView = (live: Live, branch: Branch, { channelId, fee }: Pick<Purchase, 'channelId' | 'fee'>): JsonObject => {
  const channel = channelsOf(live, branch).find((c) => c.channelId === channelId) ?? fail(ErrorCode.Unavailable, `no channel ${channelId}`);
  return {
    factory_id: live.spec.instanceId,
    node_id: branch.peer,
    channel_id: channelId,
    amount_msat: channel.capacity * 1000n,
    fee_msat: fee,
    stock_left_msat: unsoldStock(live, branch) * 1000n,
    txid: channel.funding.signable.txid,
    vbytes: channel.funding.signable.vsize,
    purchases: branch.purchases.length,
    early_warning_time: earlyWarningOf(live.spec, channel.depth),
  };
};

/** Tells the caller of each step, once. */
export const reporter = (command: CommandContext, steps: readonly string[]): ((step: string | undefined) => void) => {
  let last: string | undefined;
  return (step) => {
    if (step === undefined || step === last) return;
    last = step;
    const done = steps.indexOf(step) + 1;
    command.message('info', `purchase: ${step}`);
    if (done > 0) command.progress(done, steps.length);
  };
};
