/** Finds what a command names. */
import type { InstanceId } from '../../blip/brands.js';
import type { Factory, FactoryState } from '../engine/factory.js';
import type { Context } from './context.js';
import { ErrorCode, fail } from './errors.js';
import { stateName } from './views.js';

export const findFactory = (ctx: Context, id: InstanceId): Factory =>
  ctx.engine.get(id) ?? fail(ErrorCode.UnknownFactory, `factory_id: this node knows no factory ${id}`, { field: 'factory_id' });

/** The only factory there is, when none is named. */
export type LiveFactory = Factory & { readonly state: Extract<FactoryState, { phase: 'live' }> };

export const findLive = (ctx: Context, id: InstanceId, command: string): LiveFactory => {
  const factory = findFactory(ctx, id);
  const { state } = factory;
  if (state.phase !== 'live') {
    return fail(ErrorCode.WrongState, `${command}: factory ${id} is ${stateName(state)}, it has no funding transaction`, {
      factory_id: id,
      state: stateName(state),
    });
  }
  return { ...factory, state };
};
