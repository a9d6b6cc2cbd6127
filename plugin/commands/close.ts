/** `factory-close`: the cooperative close (architecture 9). */
import type { InstanceId } from '../../blip/brands.js';
import { branchStatus, fundingStatus } from '../../factory-core/live/custody.js';
import { closeOf } from '../../factory-core/live/paths.js';
import type { CoordinatorLive } from '../../factory-core/coordinator/state.js';
import { requireSigning, type Context } from './context.js';
import { ErrorCode, fail, invalid } from './errors.js';
import { findLive } from './find.js';
import { factoryIdParam, feerateParam } from './params.js';
import { awayFrom } from '../engine/watchdog.js';
import { untilChange } from './until.js';
import { method, param } from '../runtime/plugin.js';
import type { CommandContext } from '../runtime/definition.js';
import type { JsonObject } from '../runtime/json.js';
import { stateName } from './views.js';

export const factoryClose = (context: () => Context) =>
  method({
    description: 'Close a channel factory by agreement of all its members',
    longDescription:
      'Freezes and drains the channels, agrees on balances, and publishes one transaction that pays everyone at its own address. ' +
      'Every client must be connected, and none may be leaving.',
    category: 'factory',
    params: { factory_id: factoryIdParam, feerate: param.optional(feerateParam) },
    check: async ({ factory_id: id, feerate }) => {
      await closable(context(), id);
      await closingFeerate(context(), feerate);
    },
    run: ({ factory_id: id, feerate }, command) => close(context(), id, feerate, command),
  });

/** What stands in the way is said before anything is frozen. */
const closable = async (ctx: Context, id: InstanceId): Promise<CoordinatorLive> => {
  const { state } = findLive(ctx, id, 'factory-close');
  const wrong = (why: string): never => fail(ErrorCode.WrongState, `factory-close: ${why}`, { factory_id: id, state: stateName(state) });
  if (state.role !== 'coordinator') return wrong('only the coordinator closes a factory; a member leaves with factory-exit');
  const { live } = state;
  if (fundingStatus(live).kind !== 'confirmed') return wrong(`factory ${id} is ${stateName(state)}`);
  const gone = live.branches.filter((b) => live.exits[b.member] !== undefined || branchStatus(live, b).kind !== 'virtual');
  if (gone.length > 0) return wrong(`${gone.map((b) => b.peer).join(', ')} has left or is leaving; the others leave with factory-exit`);
  if (stateName(state) === 'funding') return wrong('the funding transaction is not deep enough yet');
  const connected = new Set((await ctx.lightning.peers()).filter((p) => p.connected).map((p) => p.id));
  const away = awayFrom(state, connected);
  if (away.length > 0) fail(ErrorCode.PeerNotConnected, `factory-close: not connected: ${away.join(', ')}`, { factory_id: id, missing: away });
  return state;
};

/** The feerate to use: what was asked for, if it relays. */
const closingFeerate = async (ctx: Context, asked: number | undefined): Promise<number> => {
  const { normal, floor } = await ctx.lightning.feerates();
  const feerate = asked ?? Math.max(normal, floor);
  return feerate < floor ? invalid('feerate', `${feerate} is below the node's floor of ${floor} sat/kvB`) : feerate;
};

const close = async (ctx: Context, id: InstanceId, asked: number | undefined, command: CommandContext): Promise<JsonObject> => {
  requireSigning(ctx);
  const { state } = findLive(ctx, id, 'factory-close');
  const done = result(id, state.role === 'coordinator' ? state : undefined);
  if (done) return done;
  await closable(ctx, id);
  const feerate = await closingFeerate(ctx, asked);
  const stop = ctx.engine.onProgress((of, { text }) => {
    if (of === id) command.message('info', text);
  });
  try {
    // A block may have come meanwhile, and a close that does not begin never ends.
    const { live } = findLive(ctx, id, 'factory-close').state;
    if (fundingStatus(live).kind !== 'confirmed') fail(ErrorCode.WrongState, `factory-close: factory ${id} has ended`, { factory_id: id });
    const ended = ending(ctx, id, command.signal);
    ctx.engine.dispatch(id, { type: 'close_requested', feerate });
    return await ended;
  } finally {
    stop();
  }
};

const result = (id: InstanceId, state: CoordinatorLive | undefined): JsonObject | undefined => {
  const tx = state && closeOf(state.live);
  if (!tx || state.live.close?.signature === undefined) return undefined;
  return {
    factory_id: id,
    state: stateName(state),
    txid: tx.txid,
    fee_msat: tx.fee * 1000n,
    outputs: state.live.close.outputs.map((o) => ({ amount_msat: o.amount * 1000n, scriptpubkey: o.script })),
  };
};

/** Resolves with the signed close, rejects when the attempt ends without. */
const ending = (ctx: Context, id: InstanceId, signal: AbortSignal): Promise<JsonObject> =>
  untilChange(ctx.engine, signal, ({ instanceId, before, after }) => {
    if (instanceId !== id || after.role !== 'coordinator' || after.phase !== 'live') return undefined;
    const closed = result(id, after);
    const stillClosing = before?.role !== 'coordinator' || before.phase !== 'live' || !before.closing || after.closing;
    if (closed || stillClosing) return closed;
    const frozen = after.live.close !== undefined;
    const next = frozen ? 'the channels stay frozen; run factory-close again to sign the same transaction' : 'the channels go on';
    return fail(ErrorCode.CloseFailed, `factory-close: ${after.closeFailure ?? 'given up'}; ${next}`, { factory_id: id, frozen });
  });
