/** `factory-tree` and `factory-plan`: shapes, drawn and compared. */
import { branchStatus, fundingStatus } from '../../factory-core/live/custody.js';
import { leafOf, outpointKey, pathFor } from '../../factory-core/live/paths.js';
import type { Branch, Live } from '../../factory-core/live/state.js';
import { drawMermaid, drawText, type Annotate } from '../../factory-core/draw.js';
import { feeFor } from '../../factory-core/sizes.js';
import { checkShape, MAX_CLIENTS, MIN_CLIENTS, planShape, shapeCost } from '../../factory-core/shape.js';
import { treeOf } from '../../factory-core/tree-of.js';
import { method, param } from '../runtime/plugin.js';
import type { JsonObject } from '../runtime/json.js';
import type { Context } from './context.js';
import { invalid } from './errors.js';
import { findLive } from './find.js';
import { factoryIdParam, feerateParam, shapeParam } from './params.js';
import { stateName } from './views.js';

export const factoryTree = (context: () => Context) =>
  method({
    description: 'Draw a channel factory’s transaction tree',
    category: 'factory',
    params: { factory_id: factoryIdParam, format: param.withDefault(param.oneOf('all', 'text', 'mermaid'), 'all') },
    check: ({ factory_id: id }) => {
      findLive(context(), id, 'factory-tree');
    },
    run: ({ factory_id: id, format }) => {
      const { state } = findLive(context(), id, 'factory-tree');
      const annotate = annotation(state.live);
      return {
        factory_id: id,
        state: stateName(state),
        // lightning-cli then prints the drawing instead of JSON.
        ...(format === 'text' ? { 'format-hint': 'simple' } : {}),
        ...(format === 'mermaid' ? {} : { text: drawText(state.live.spec, annotate) }),
        ...(format === 'text' ? {} : { mermaid: drawMermaid(state.live.spec, annotate) }),
      };
    },
  });

/** Whose it is, and what of it is on chain. A member knows the txids of its own path only. */
const annotation =
  (live: Live): Annotate =>
  (node) => {
    const short = (txid: string): string => `${txid.slice(0, 8)}…`;
    switch (node.kind) {
      case 'funding': {
        const status = fundingStatus(live);
        const how = status.kind === 'spent' ? `spent by ${status.by}` : status.kind;
        return `${short(live.spec.funding.txid)}:${live.spec.funding.vout}, ${how}`;
      }
      case 'split': {
        const known = live.branches.length > 1 ? treeOf(live.spec).splits : live.branches.flatMap((b) => pathFor(live, b.member).splits);
        const split = known.find((s) => s.from === node.from && s.to === node.to);
        if (!split) return undefined;
        const spent = live.chain.spends[outpointKey(split.tx.prevout.outpoint)];
        return `${short(split.txid)}${spent?.by === split.txid ? `, in block ${spent.height}` : ''}`;
      }
      case 'slot': {
        const branch = live.branches.find((b) => b.member === node.member);
        if (!branch) return undefined;
        const who = live.branches.length > 1 ? branch.peer.slice(0, 10) : 'this node';
        const bought = branch.purchases.map(({ amount }) => `, bought ${amount} sat`).join('');
        return `${who}…, leaf ${short(leafOf(live, branch).signable.txid)}, ${standing(live, branch)}${bought}`;
      }
    }
  };

const standing = (live: Live, branch: Branch): string => {
  const status = branchStatus(live, branch);
  // Not `publishing`: it may be a neighbour's exit that has confirmed a part of the way.
  return status.kind === 'publishing' ? `${status.confirmed} of ${status.of} on chain` : status.kind.replace('_', ' ');
};

export const factoryPlan = (context: () => Context) =>
  method({
    description: 'Compare shapes of a channel factory before creating one',
    longDescription:
      'For {clients} members: the planner’s shape and its alternatives, with what an exit would take and what it would cost if everyone left alone.',
    category: 'factory',
    params: {
      clients: param.int(MIN_CLIENTS, MAX_CLIENTS),
      feerate: param.optional(feerateParam),
      shape: param.optional(shapeParam),
    },
    check: ({ clients, shape }) => {
      holds(clients, shape);
    },
    run: ({ clients, feerate, shape }) => {
      const treeFeerate = feerate ?? context().settings.terms.treeFeerate;
      holds(clients, shape);
      const best = planShape(clients);
      const shapes = shape ? [shape] : alternatives(clients, best);
      return {
        clients,
        tree_feerate_perkb: treeFeerate,
        planned: best.join('x'),
        shapes: shapes.map((fanouts) => view(clients, fanouts, treeFeerate)),
      };
    },
  });

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
