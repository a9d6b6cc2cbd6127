/** `factory-create`: invite, ceremony, channels, funding (architecture 5). */
import { bytesToHex } from '@noble/hashes/utils.js';
import { instanceId as instanceIdOf, type InstanceId } from '../../blip/brands.js';
import { begin } from '../../factory-core/coordinator/machine.js';
import type { CoordinatorState, CreateRequest } from '../../factory-core/coordinator/state.js';
import type { FactoryPlan } from '../../factory-core/model.js';
import { shapeCost } from '../../factory-core/shape.js';
import { closeFeerateNote } from './text.js';
import type { RequestKey } from '../store/store.js';
import { factorySigner } from '../engine/joining.js';
import type { CommandContext } from '../runtime/definition.js';
import type { JsonObject } from '../runtime/json.js';
import { method, param } from '../runtime/plugin.js';
import type { Context } from './context.js';
import { checkParams, checkPeers, checkWallet, previewPlan, WAITING, warningsFor, type Checked, type CreateParams, type Wallet } from './create-checks.js';
import { ErrorCode, fail } from './errors.js';
import { inTurn } from './in-turn.js';
import { newFactoryParams } from './new-factory-params.js';
import { nodeIdParam, satAmount } from './params.js';
import { recordOf, requestKey } from './requests.js';
import { untilChange } from './until.js';
import { channelsOf, stateName } from './views.js';

const client = param.either(
  param.either(nodeIdParam, param.oneOf(WAITING), 'a node id, or “waiting”'),
  param.object({ node_id: nodeIdParam, capacity: param.optional(satAmount), stock: param.optional(satAmount) }),
  'a node id, {node_id, capacity, stock}, or “waiting”',
);

export const factoryCreate = (context: () => Context) =>
  method({
    description: 'Create a channel factory with these clients',
    longDescription:
      'Invites {clients} (node ids, {node_id, capacity, stock}, or “waiting” for all who wait and are connected), signs the transaction tree with them, opens a channel of ' +
      '{capacity} to each and publishes one funding transaction for all. {stock} is kept per client to be sold as inbound liquidity ' +
      'later. With {dry_run} nothing is done: the answer says what would be.',
    category: 'factory',
    params: {
      clients: param.array(client, { min: 1, max: 1_000 }),
      capacity: satAmount,
      stock: param.optional(satAmount),
      ...newFactoryParams,
    },
    check: async (p) => {
      const ctx = context();
      if (!requested(ctx, creation(p).request)) await allowedCreation(ctx, p);
    },
    run: (p, command) => createFactory(context(), creation(p), command),
  });

/** From the look at what is there to the record of what is begun, one command at a time: the same request may come twice at once. */
const admitted = inTurn();

/** A creation, whichever command asks for it. */
export interface Creation {
  readonly request: RequestKey | undefined;
  /** Looked for only when the request is a new one. */
  readonly params: () => CreateParams | Promise<CreateParams>;
  /** What else is to be recorded as soon as the factory has a name. */
  readonly begun?: (instanceId: InstanceId) => void;
}
const creation = (p: CreateParams): Creation => ({ request: requestKey('factory-create', p), params: () => p });

export const createFactory = async (ctx: Context, { request, params, begun: noted }: Creation, command: CommandContext): Promise<JsonObject> => {
  const begun = await admitted(async () => {
    const before = requested(ctx, request);
    if (before) return before;
    const p = await params();
    const { checked, plan, wallet } = await allowedCreation(ctx, p);
    if (p.dry_run) return { result: { ...preview(checked, plan, wallet), ...(await warningsFor(ctx, plan)) } };
    const instanceId = await start(ctx, checked, request);
    noted?.(instanceId);
    return { instanceId };
  });
  return begun.result ?? finished(ctx, begun.instanceId, command, request);
};

/** Everything that could stand in the way, without touching any of it. */
export const allowedCreation = async (ctx: Context, p: CreateParams): Promise<{ readonly checked: Checked; readonly plan: FactoryPlan; readonly wallet: Wallet }> => {
  const checked = checkParams(ctx, p);
  // The wallet's coins are for one ceremony at a time (architecture 12.17).
  const other = ctx.engine.all().find(({ state }) => state.role === 'coordinator' && state.phase !== 'live' && state.phase !== 'aborted');
  if (other && !p.dry_run) fail(ErrorCode.Busy, `factory ${other.instanceId} is being created; one at a time`, { factory_id: other.instanceId });
  await checkPeers(ctx, checked.clients);
  const plan = previewPlan(ctx, checked);
  return { checked, plan, wallet: await checkWallet(ctx, plan) };
};

type Begun = { readonly result: JsonObject } | { readonly instanceId: InstanceId; readonly result?: undefined };

/** Architecture 12.16: the same request again gets the first's result, never a second factory. */
export const requested = (ctx: Context, request: RequestKey | undefined): Begun | undefined => {
  const record = recordOf(ctx, request);
  if (record?.instanceId === undefined) return undefined;
  return record.result === undefined ? { instanceId: record.instanceId } : { result: record.result as JsonObject };
};

const start = async (ctx: Context, checked: Checked, request: RequestKey | undefined): Promise<InstanceId> => {
  const instanceId = instanceIdOf(bytesToHex(ctx.random(32)));
  const [signer, payout] = await Promise.all([
    factorySigner(ctx.lightning, ctx.self.nodeId, instanceId, ctx.random),
    ctx.lightning.newPayout(),
  ]);
  const create_: CreateRequest = {
    instanceId,
    clients: checked.clients,
    minClients: checked.minClients,
    terms: checked.terms,
    ...(checked.fanouts ? { fanouts: checked.fanouts } : {}),
    stepTimeout: ctx.settings.stepTimeout,
    coordinatorKey: signer.publicKey,
    payoutScript: payout.script,
  };
  const first = begin(create_);
  ctx.engine.begin(first.state, first.effects, signer, request && { ...request, instanceId });
  return instanceId;
};

/** Waits until the funding transaction is out, or all is given up; progress goes to the caller meanwhile. */
const finished = async (ctx: Context, id: InstanceId, command: CommandContext, request: RequestKey | undefined): Promise<JsonObject> => {
  const stop = ctx.engine.onProgress((of, { text, done, total }) => {
    if (of !== id) return;
    command.message('info', total > 0 ? `${text}: ${done} of ${total}` : text);
    if (total > 1) command.progress(done, total);
  });
  try {
    const state = await settled(ctx, id, command.signal);
    if (state.phase === 'aborted') {
      return fail(ErrorCode.CeremonyFailed, `the factory was not created: ${state.reason}`, {
        factory_id: id,
        excluded: state.excluded.map((x) => ({ node_id: x.nodeId, reason: x.reason })),
      });
    }
    const result = { ...created(id, state), ...(await warningsFor(ctx, state.live.spec)) };
    if (request) ctx.store.apply({ journal: { event: 'result', instanceId: id }, request: { ...request, instanceId: id, result } });
    return result;
  } finally {
    stop();
  }
};

type Settled = Extract<CoordinatorState, { phase: 'live' | 'aborted' }>;

const settled = async (ctx: Context, id: InstanceId, signal: AbortSignal): Promise<Settled> => {
  const look = (): Settled | undefined => {
    const state = ctx.engine.get(id)?.state;
    return state?.role === 'coordinator' && (state.phase === 'live' || state.phase === 'aborted') ? state : undefined;
  };
  return look() ?? untilChange(ctx.engine, signal, look);
};

const created = (id: InstanceId, state: Extract<Settled, { phase: 'live' }>): JsonObject => ({
  factory_id: id,
  state: stateName(state),
  funding_txid: state.live.spec.funding.txid,
  expiry_height: state.live.spec.expiryHeight,
  channels: channelsOf(state.live),
  ...(state.excluded.length > 0 ? { excluded: state.excluded.map((x) => ({ node_id: x.nodeId, reason: x.reason })) } : {}),
});

const preview = (checked: Checked, plan: FactoryPlan, wallet: Wallet): JsonObject => {
  const cost = shapeCost(plan.roster.length, plan.fanouts);
  return {
    dry_run: true,
    clients: checked.clients.map((c) => ({ node_id: c.nodeId, capacity_msat: c.capacity * 1000n, stock_msat: c.stock * 1000n })),
    min_clients: checked.minClients,
    shape: plan.fanouts.join('x'),
    funding_msat: wallet.amount * 1000n,
    funding_fee_msat: wallet.fee * 1000n,
    tree_feerate_perkb: plan.terms.treeFeerate,
    start_height: plan.startHeight,
    expiry_height: plan.expiryHeight,
    exit: { transactions: cost.pathTransactions, vbytes: cost.pathVbytes, blocks: cost.exitBlocks },
    note: closeFeerateNote,
  };
};
