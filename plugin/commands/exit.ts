/** `factory-exit`: the unilateral way out (architecture 9). */
import type { NodeId } from '../../blip/brands.js';
import { fundingStatus, hasLeft, isHandedOver } from '../../factory-core/live/custody.js';
import { exitPath, purchasePath } from '../../factory-core/live/paths.js';
import type { Branch } from '../../factory-core/live/state.js';
import { method, param } from '../runtime/plugin.js';
import type { JsonObject } from '../runtime/json.js';
import type { Context } from './context.js';
import { ErrorCode, fail, invalid } from './errors.js';
import { findLive, type LiveFactory } from './find.js';
import { factoryIdParam, nodeIdParam } from './params.js';
import { stateName } from './views.js';

export const factoryExit = (context: () => Context) =>
  method({
    description: 'Leave a channel factory alone: publish the path to the channel, then close it',
    longDescription:
      'Publishes this node’s path, one confirmation per transaction, then its channel’s commitment. Needs nobody else. ' +
      'On the coordinator, {node_id} says whose branch (all of them when it is left out).',
    category: 'factory',
    params: { factory_id: factoryIdParam, node_id: param.optional(nodeIdParam) },
    check: ({ factory_id: id, node_id: node }) => {
      select(findLive(context(), id, 'factory-exit'), node);
    },
    run: ({ factory_id: id, node_id: node }) => {
      const ctx = context();
      const factory = findLive(ctx, id, 'factory-exit');
      const branches = select(factory, node);
      ctx.engine.dispatch(id, { type: 'exit_requested', members: branches.map((b) => b.member) });
      return view(findLive(ctx, id, 'factory-exit'), branches);
    },
  });

const select = ({ instanceId, state }: LiveFactory, node: NodeId | undefined): readonly Branch[] => {
  const { live } = state;
  const funding = fundingStatus(live);
  if (funding.kind === 'unconfirmed') {
    fail(ErrorCode.WrongState, 'factory-exit: the funding transaction is not confirmed: there is nothing to leave yet', { factory_id: instanceId });
  }
  if (funding.kind === 'spent' && funding.by !== 'tree') {
    fail(ErrorCode.WrongState, `factory-exit: factory ${instanceId} is ${stateName(state)}`, { factory_id: instanceId, state: stateName(state) });
  }
  const wanted = node === undefined ? live.branches : live.branches.filter((b) => b.peer === node);
  if (wanted.length === 0) return invalid('node_id', `${node} has no channel in factory ${instanceId}`);
  const own = wanted.filter((b) => !isHandedOver(live, b));
  if (own.length === 0) fail(ErrorCode.WrongState, `factory-exit: nothing is left there to leave with: all was moved to another factory`, { factory_id: instanceId });
  return node === undefined ? own.filter((b) => !hasLeft(live, b)) : own;
};

const view = ({ instanceId, state }: LiveFactory, branches: readonly Branch[]): JsonObject => ({
  factory_id: instanceId,
  state: stateName(state),
  exits: branches.map((branch) => ({
    node_id: branch.peer,
    channel_id: branch.channelId,
    transactions: [...exitPath(state.live, branch), ...purchasePath(state.live, branch)].map(({ signable }) => ({ txid: signable.txid, purpose: signable.purpose, vsize: signable.vsize })),
  })),
});
