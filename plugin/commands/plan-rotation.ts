/** `factory-plan rotate`: what a rotation would give each client, and why, and what it would cost (architecture 8). */
import { msat, type InstanceId } from '../../blip/brands.js';
import { turnoverCost } from '../../factory-core/live/turnover-cost.js';
import type { JsonObject } from '../runtime/json.js';
import type { Context } from './context.js';
import { allowedCreation } from './create.js';
import { NOTHING_SAID } from './new-factory-params.js';
import { createParams, type RotateParams } from './rotate.js';
import { proposal, proposalView } from './rotation-proposal.js';
import { costView } from './turnover-view.js';

export interface PlanRotationParams {
  readonly factory_id: InstanceId;
  readonly feerate: number | undefined;
  readonly shape: readonly number[] | undefined;
  readonly overrides: RotateParams['clients'];
}

/** On chain a rotation is two transactions when everybody comes along: the new funding, and the end of the old one. */
export const planRotation = async (ctx: Context, { factory_id: id, feerate, shape, overrides }: PlanRotationParams): Promise<JsonObject> => {
  const params: RotateParams = { ...NOTHING_SAID, factory_id: id, clients: overrides, feerate, shape, dry_run: true };
  const proposed = await proposal(ctx, id, overrides);
  const [{ plan, wallet }, { normal }] = await Promise.all([allowedCreation(ctx, createParams(params, proposed)), ctx.lightning.feerates()]);
  const { live, request } = proposed.state;
  // Who neither comes along now nor has left already; those whose keys are here need no more of anything.
  const coming = new Set(proposed.allocations.map((a) => a.nodeId));
  const staying = new Set(live.branches.filter((b) => b.heldKey === undefined && !coming.has(b.peer)).map((b) => b.member));
  const end = turnoverCost(live, staying, request.payoutScript, normal);
  const fundingVbytes = Number((wallet.fee * 1000n + BigInt(normal) - 1n) / BigInt(normal));
  const vbytes = fundingVbytes + end.vbytes;
  const cost = (wallet.fee + end.fee) * 1000n;
  const count = proposed.allocations.length;
  const { clients, away, ...rest } = proposalView(proposed);
  return {
    rotate: id,
    clients,
    away,
    ...rest,
    per_client: { vbytes: Math.ceil(vbytes / count), cost_msat: msat((cost + BigInt(count) - 1n) / BigInt(count)) },
    shape: plan.fanouts.join('x'),
    tree_feerate_perkb: plan.terms.treeFeerate,
    feerate_perkb: normal,
    funding: { amount_msat: wallet.amount * 1000n, vbytes: fundingVbytes, fee_msat: wallet.fee * 1000n },
    old_factory: { staying: live.branches.filter((b) => staying.has(b.member)).map((b) => b.peer), ...costView(end) },
    vbytes,
    cost_msat: cost,
  };
};
