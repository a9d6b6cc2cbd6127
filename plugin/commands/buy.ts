/** `factory-buy`: one more channel out of this client's stock (architecture 7). */
import { setTimeout as pause } from 'node:timers/promises';
import { msat, type InstanceId, type Msat, type Sat } from '../../blip/brands.js';
import { busyWith, purchasingOf } from '../../factory-core/member/purchase.js';
import type { MemberLive } from '../../factory-core/member/state.js';
import { hashOf } from '../../factory-core/live/purchasing.js';
import type { Branch } from '../../factory-core/live/state.js';
import { present } from '../../factory-core/protocol/present.js';
import type { CommandContext } from '../runtime/definition.js';
import type { JsonObject } from '../runtime/json.js';
import { method, param } from '../runtime/plugin.js';
import { requireSigning, type Context } from './context.js';
import { ErrorCode, fail } from './errors.js';
import { findLive, type LiveFactory } from './find.js';
import { inTurn } from './in-turn.js';
import { factoryIdParam, satAmount } from './params.js';
import { boughtFor, checkPurchase, failPurchase, previewOf, purchaseView, recordBegin, recordResult, reporter, resultOf } from './purchases.js';
import { requestKey } from './requests.js';
import { untilChange } from './until.js';

const NAME = 'factory-buy';
/** What the LSP has for a quote. */
const QUOTE_MS = 30_000;
/** After the purchase is there: what the LSP has to take its fee. */
const SETTLE_MS = 10_000;
const STEPS = ['requested', 'expecting', 'auditing', 'paying', 'signed', 'stored'] as const;

interface Params {
  readonly factory_id: InstanceId;
  readonly amount: Sat;
  readonly dry_run: boolean;
  readonly request_id: string | undefined;
  readonly max_fee: bigint | undefined;
}

export const factoryBuy = (context: () => Context) =>
  method({
    description: 'Buy inbound liquidity: one more channel from the LSP, out of this client’s stock in a channel factory',
    longDescription:
      'Asks the LSP for its price, opens a channel of {amount} that nothing on chain is needed for, and pays. The fee is settled only when this node holds ' +
      'the new channel’s signed transaction. With {dry_run} nothing is done but asking. With {max_fee} the purchase is not begun at a higher price.',
    category: 'factory',
    params: {
      factory_id: factoryIdParam,
      amount: satAmount,
      dry_run: param.withDefault(param.bool(), false),
      request_id: param.optional(param.string({ maxLength: 128 })),
      max_fee: param.optional(param.msat()),
    },
    check: (p) => {
      const ctx = context();
      if (!resultOf(ctx, requestKey(NAME, p))) allowed(ctx, p);
    },
    run: (p, command) => buy(context(), p, command),
  });

/** From the look at what is there to what is begun, one command at a time: the same request may come twice at once. */
const admitted = inTurn();

const buy = async (ctx: Context, p: Params, command: CommandContext): Promise<JsonObject> => {
  const request = requestKey(NAME, p);
  const begun = await admitted(async () => resultOf(ctx, request) ?? resumed(ctx, p) ?? (await start(ctx, p, command)));
  if (typeof begun !== 'number') return begun;
  return recordResult(ctx, p.factory_id, request, await finished(ctx, p.factory_id, begun, command));
};

type Member = LiveFactory & { readonly state: MemberLive };
const branchOf = (state: MemberLive): Branch => present(state.live.branches[0]);

const memberOf = (ctx: Context, id: InstanceId): Member => {
  const factory = findLive(ctx, id, NAME);
  const { state } = factory;
  if (state.role !== 'member') return fail(ErrorCode.WrongState, `${NAME}: this node is the LSP of factory ${id}; it sells with factory-sell`, { factory_id: id });
  return { ...factory, state };
};

const allowed = (ctx: Context, { factory_id: id, amount }: Params): Member => {
  requireSigning(ctx);
  const factory = memberOf(ctx, id);
  const busy = busyWith(factory.state);
  if (busy !== undefined) fail(ErrorCode.Busy, `${NAME}: ${busy}`, { factory_id: id });
  checkPurchase(factory, NAME, branchOf(factory.state), amount, ctx.policy.capacity.min);
  return factory;
};

/** The same request before, in a process that ended: its purchase is there, or under way. */
const resumed = (ctx: Context, { factory_id: id, request_id: requestId }: Params): JsonObject | number | undefined => {
  if (requestId === undefined) return undefined;
  const { state } = memberOf(ctx, id);
  const { current } = purchasingOf(state);
  if (current?.requestId === requestId) return current.attempt;
  const bought = boughtFor(branchOf(state), requestId);
  return bought && purchaseView(state.live, branchOf(state), bought);
};

/** The number of what has begun, or what a dry run comes to. */
const start = async (ctx: Context, p: Params, command: CommandContext): Promise<JsonObject | number> => {
  const { factory_id: id, amount, max_fee: maxFee } = p;
  const { state: before } = allowed(ctx, p);
  const peer = await ctx.lightning.peer(before.coordinator);
  if (peer?.connected !== true) fail(ErrorCode.PeerNotConnected, `${NAME}: the LSP, ${before.coordinator}, is not connected`, { factory_id: id, node_id: before.coordinator });
  const fee = await quoted(ctx, id, amount, command);
  const { state } = allowed(ctx, p);
  if (p.dry_run) return { dry_run: true, factory_id: id, node_id: state.coordinator, amount_msat: amount * 1000n, fee_msat: fee, ...previewOf(state.live, branchOf(state), amount) };
  if (maxFee !== undefined && fee > maxFee) fail(ErrorCode.TooExpensive, `max_fee: the price is ${fee} msat`, { field: 'max_fee', fee_msat: fee });
  await canPay(ctx, state, fee);
  recordBegin(ctx, id, requestKey(NAME, p));
  ctx.engine.dispatch(id, { type: 'buy_requested', amount, fee, ...(p.request_id === undefined ? {} : { requestId: p.request_id }) });
  const { last, current } = purchasingOf(memberOf(ctx, id).state);
  return current?.attempt === last ? last : fail(ErrorCode.Busy, `${NAME}: the factory’s state has just changed; try again`, { factory_id: id });
};

const quoted = async (ctx: Context, id: InstanceId, amount: Sat, command: CommandContext): Promise<Msat> => {
  ctx.engine.dispatch(id, { type: 'quote_requested', amount });
  const attempt = purchasingOf(memberOf(ctx, id).state).last;
  const look = (): Msat | undefined => {
    const { quote, failure } = purchasingOf(memberOf(ctx, id).state);
    if (failure?.attempt === attempt) return failPurchase(id, NAME, failure.code, failure.reason);
    if (quote?.attempt !== attempt) return undefined;
    return quote.refusal === undefined ? quote.fee : failPurchase(id, NAME, 0, `the LSP: ${quote.refusal}`);
  };
  const late = AbortSignal.timeout(QUOTE_MS);
  try {
    return await untilChange(ctx.engine, AbortSignal.any([late, command.signal]), look);
  } catch (error) {
    if (!late.aborted) throw error;
    return fail(ErrorCode.PurchaseFailed, `${NAME}: the LSP did not answer within ${QUOTE_MS / 1000} s`, { factory_id: id });
  }
};

const canPay = async (ctx: Context, { coordinator }: MemberLive, fee: Msat): Promise<void> => {
  const channels = (await ctx.lightning.channels({ peer: coordinator })).filter((c) => c.connected && c.state === 'CHANNELD_NORMAL');
  const most = channels.reduce((best, { spendable }) => (spendable > best ? spendable : best), msat(0n));
  if (fee > most) fail(ErrorCode.CannotAfford, `${NAME}: the price is ${fee} msat, this node’s channels with the LSP can send ${most} msat`, { fee_msat: fee, spendable_msat: most });
};

/** Until the purchase is in the branch and the LSP has its fee, or nothing comes of it. */
const finished = async (ctx: Context, id: InstanceId, attempt: number, command: CommandContext): Promise<JsonObject> => {
  const report = reporter(command, STEPS);
  const look = (): MemberLive | undefined => {
    const { state } = memberOf(ctx, id);
    const { current, failure } = purchasingOf(state);
    if (failure?.attempt === attempt) return failPurchase(id, NAME, failure.code, failure.reason);
    if (current?.attempt !== attempt) return undefined;
    report(current.progress.step);
    return current.progress.step === 'stored' ? state : undefined;
  };
  const state = look() ?? (await untilChange(ctx.engine, command.signal, look));
  const bought = present(purchasingOf(state).current);
  const channelId = bought.progress.step === 'stored' ? bought.progress.channelId : undefined;
  const paid = bought.fee === 0n || (await settled(ctx, hashOf(bought.preimage), command.signal));
  const purchase = present(branchOf(state).purchases.find((p) => p.channelId === channelId));
  return { ...purchaseView(state.live, branchOf(state), purchase), fee_settled: paid };
};

const settled = async (ctx: Context, hash: ReturnType<typeof hashOf>, signal: AbortSignal): Promise<boolean> => {
  const deadline = Date.now() + SETTLE_MS;
  while (Date.now() < deadline && !signal.aborted) {
    if ((await ctx.lightning.paymentTries(hash)).some(({ status }) => status === 'complete')) return true;
    await pause(50);
  }
  return false;
};
