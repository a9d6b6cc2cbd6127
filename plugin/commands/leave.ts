/** `factory-leave`: this node does not go on in the next factory, and is paid when this one closes (architecture 8). */
import type { InstanceId } from '../../blip/brands.js';
import { isLeaving, leaveProblem } from '../../factory-core/member/leaving.js';
import type { MemberLive } from '../../factory-core/member/state.js';
import { fundingStatus } from '../../factory-core/live/custody.js';
import type { CommandContext } from '../runtime/definition.js';
import type { JsonObject } from '../runtime/json.js';
import { method, param } from '../runtime/plugin.js';
import { requireSigning, type Context } from './context.js';
import { ErrorCode, fail } from './errors.js';
import { findLive } from './find.js';
import { factoryIdParam } from './params.js';
import { within } from './until.js';
import { stateName } from './views.js';

interface Params {
  readonly factory_id: InstanceId;
  readonly withdraw: boolean;
}

export const factoryLeave = (context: () => Context) =>
  method({
    description: 'Take no part in the next rotation of a channel factory',
    longDescription:
      'The LSP leaves this node out of the factory that comes after {factory_id}, and pays it on chain when that one closes. Until then all goes on as before. ' +
      'With {withdraw} the mind is changed.',
    category: 'factory',
    params: { factory_id: factoryIdParam, withdraw: param.withDefault(param.bool(), false) },
    check: ({ factory_id: id, withdraw }) => {
      allowed(context(), id, !withdraw);
    },
    run: (p, command) => leave(context(), p, command),
  });

const memberOf = (ctx: Context, id: InstanceId): MemberLive => {
  const { state } = findLive(ctx, id, 'factory-leave');
  if (state.role === 'member') return state;
  return fail(ErrorCode.WrongState, 'factory-leave: this node is the coordinator; it closes a factory with factory-close', { factory_id: id, state: stateName(state) });
};

const allowed = (ctx: Context, id: InstanceId, leaves: boolean): MemberLive => {
  requireSigning(ctx);
  const state = memberOf(ctx, id);
  if (isLeaving(state) === leaves) return state;
  const problem = fundingStatus(state.live).kind === 'confirmed' ? leaveProblem(state) : `it is ${stateName(state)}`;
  if (problem !== undefined) fail(ErrorCode.WrongState, `factory-leave: ${problem}`, { factory_id: id, state: stateName(state) });
  return state;
};

const leave = async (ctx: Context, { factory_id: id, withdraw }: Params, { signal }: CommandContext): Promise<JsonObject> => {
  const leaves = !withdraw;
  if (isLeaving(allowed(ctx, id, leaves)) !== leaves) ctx.engine.dispatch(id, { type: 'leave_requested', leaves });
  // It is said again whenever the two connect, so there is no need to wait for long.
  const noted = (): MemberLive | undefined => {
    const state = memberOf(ctx, id);
    return state.leaving?.noted === false ? undefined : state;
  };
  const state = (await within(ctx.engine, signal, ctx.settings.stepTimeout, noted)) ?? memberOf(ctx, id);
  if (isLeaving(state) !== leaves) fail(ErrorCode.NotTaken, 'factory-leave: the LSP has not taken it: it counts this node among those who go on already', { factory_id: id });
  return { factory_id: id, leaves, noted: state.leaving?.noted ?? true };
};
