/** `factory-plan`: what a new factory would cost, by its shape; what a rotation would, client by client. */
import { feeFor } from '../../factory-core/sizes.js';
import { checkShape, MAX_CLIENTS, MIN_CLIENTS, planShape, shapeCost } from '../../factory-core/shape.js';
import { method, param } from '../runtime/plugin.js';
import type { JsonObject } from '../runtime/json.js';
import type { Context } from './context.js';
import { invalid } from './errors.js';
import { factoryIdParam, feerateParam, shapeParam } from './params.js';
import { planRotation } from './plan-rotation.js';
import { override } from './rotate.js';

const ROTATE = 'rotate';

export const factoryPlan = (context: () => Context) =>
  method({
    description: 'Compare shapes of a channel factory before creating one, or see what a rotation would do and cost',
    longDescription:
      'For {clients} members: the planner’s shape and its alternatives, with what an exit would take and what it would cost if everyone left ' +
      'alone. With *rotate* instead of a number: what **factory-rotate** {factory_id} would give each client, and why, and what it would ' +
      'cost; {overrides} are what the operator wants otherwise.',
    category: 'factory',
    params: {
      clients: param.either(param.oneOf(ROTATE), param.int(MIN_CLIENTS, MAX_CLIENTS), `a number from ${MIN_CLIENTS} to ${MAX_CLIENTS}, or ${ROTATE}`),
      factory_id: param.optional(factoryIdParam),
      feerate: param.optional(feerateParam),
      shape: param.optional(shapeParam),
      overrides: param.optional(param.array(override, { min: 1, max: 1_000 })),
    },
    check: async (p) => {
      await plan(context(), p);
    },
    run: (p) => plan(context(), p),
  });

type PlanParams = Omit<Parameters<typeof planRotation>[1], 'factory_id'> & {
  readonly clients: number | typeof ROTATE;
  readonly factory_id: Parameters<typeof planRotation>[1]['factory_id'] | undefined;
};

/** Either form reads only. */
const plan = async (ctx: Context, { clients, ...p }: PlanParams): Promise<JsonObject> => {
  const { factory_id } = p;
  if (clients === ROTATE) return factory_id === undefined ? invalid('factory_id', 'is missing: which factory is to be rotated') : planRotation(ctx, { ...p, factory_id });
  if (factory_id !== undefined) invalid('factory_id', `goes with clients=${ROTATE} only`);
  if (p.overrides) invalid('overrides', `go with clients=${ROTATE} only`);
  return compareShapes(clients, p.feerate ?? ctx.settings.terms.treeFeerate, p.shape);
};

const compareShapes = (clients: number, treeFeerate: number, shape: readonly number[] | undefined): JsonObject => {
  holds(clients, shape);
  const best = planShape(clients);
  const shapes = shape ? [shape] : alternatives(clients, best);
  return {
    clients,
    tree_feerate_perkb: treeFeerate,
    planned: best.join('x'),
    shapes: shapes.map((fanouts) => view(clients, fanouts, treeFeerate)),
  };
};

const holds = (clients: number, shape: readonly number[] | undefined): void => {
  const problem = shape && checkShape(clients, shape);
  if (problem) invalid('shape', problem.reason);
};

/** The planner's choice, then the flat ones that can hold so many. */
const alternatives = (n: number, best: readonly number[]): readonly (readonly number[])[] => {
  const flat = [2, 3, 4, 5, 6, 8, 10, 16].map((fanout) => {
    const levels = Math.max(1, Math.ceil(Math.log(n) / Math.log(fanout) - 1e-9));
    return Array.from({ length: levels }, () => fanout);
  });
  const all = [best, ...flat.filter((f) => checkShape(n, f) === undefined)];
  const seen = new Set<string>();
  return all.filter((f) => {
    const key = f.join('x');
    return seen.has(key) ? false : (seen.add(key), true);
  });
};

const view = (n: number, fanouts: readonly number[], feerate: number): JsonObject => {
  const cost = shapeCost(n, fanouts);
  return {
    shape: fanouts.join('x'),
    splits: cost.splits,
    exit_transactions: cost.pathTransactions,
    exit_vbytes: cost.pathVbytes,
    exit_blocks: cost.exitBlocks,
    exit_fee_msat: feeFor(cost.pathVbytes, feerate) * 1000n,
    everyone_leaves_vbytes: cost.treeVbytes,
    everyone_leaves_fee_msat: feeFor(cost.treeVbytes, feerate) * 1000n,
  };
};
