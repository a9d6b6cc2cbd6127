/** `factory-rotate`: the next factory, and everybody's way there (architecture 8). */
import { sat, type InstanceId } from '../../blip/brands.js';
import { MIN_CLIENTS } from '../../factory-core/shape.js';
import type { Begun } from '../engine/scheduler.js';
import { CommandError, PLUGIN_TERMINATED } from '../runtime/command-error.js';
import type { CommandContext } from '../runtime/definition.js';
import type { JsonObject } from '../runtime/json.js';
import { method, param } from '../runtime/plugin.js';
import type { Context } from './context.js';
import { createFactory, requested } from './create.js';
import type { CreateParams } from './create-checks.js';
import { ErrorCode } from './errors.js';
import { factoryIdParam, feerateParam, nodeIdParam, satAmount, shapeParam } from './params.js';
import { requestKey } from './requests.js';
import { proposal, proposalView, type Override, type Proposal } from './rotation-proposal.js';

/** What the operator wants for one client instead of what is proposed. */
export const override = param.object({ node_id: nodeIdParam, capacity: param.optional(satAmount), stock: param.optional(satAmount) });

export interface RotateParams {
  readonly factory_id: InstanceId;
  readonly clients: readonly Override[] | undefined;
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

/** As the schedule asks for it: what is proposed, with nobody on the command line. */
export const rotateByItself = async (ctx: Context, id: InstanceId, signal: AbortSignal): Promise<Begun> => {
  const nothing = { clients: undefined, request_id: undefined, min_clients: undefined, feerate: undefined, active_blocks: undefined, dying_blocks: undefined, shape: undefined };
  try {
    await rotate(ctx, { factory_id: id, ...nothing, dry_run: false }, { id: 'schedule', check: false, signal, progress: () => undefined, message: () => undefined });
    return { kind: 'begun' };
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    const busy = error.code === ErrorCode.Busy || error.code === PLUGIN_TERMINATED;
    return { kind: busy ? 'busy' : 'failed', reason: error.message };
  }
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
