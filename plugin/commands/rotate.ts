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
import { newFactoryParams, NOTHING_SAID, type NewFactoryParams } from './new-factory-params.js';
import { factoryIdParam, nodeIdParam, satAmount } from './params.js';
import { requestKey } from './requests.js';
import { proposal, proposalView, type Override, type Proposal } from './rotation-proposal.js';

/** What the operator wants for one client instead of what is proposed. */
export const override = param.object({ node_id: nodeIdParam, capacity: param.optional(satAmount), stock: param.optional(satAmount) });

export interface RotateParams extends NewFactoryParams {
  readonly factory_id: InstanceId;
  readonly clients: readonly Override[] | undefined;
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
      ...newFactoryParams,
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
  try {
    await rotate(ctx, { ...NOTHING_SAID, factory_id: id, clients: undefined }, { id: 'schedule', check: false, signal, progress: () => undefined, message: () => undefined });
    return { kind: 'begun' };
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    const busy = error.code === ErrorCode.Busy || error.code === PLUGIN_TERMINATED;
    return { kind: busy ? 'busy' : 'failed', reason: error.message };
  }
};

export const createParams = (p: RotateParams, { allocations }: Proposal): CreateParams => {
  const clients = allocations.map(({ nodeId, capacity, stock }) => ({ node_id: nodeId, capacity, stock }));
  // Whoever fails now moves later, into another one.
  return { ...p, clients, capacity: sat(0n), stock: undefined, min_clients: p.min_clients ?? Math.min(MIN_CLIENTS, clients.length) };
};
