/** `factory-tree`: the tree, drawn. */
import { branchStatus, fundingStatus } from '../../factory-core/live/custody.js';
import { leafOf, outpointKey, pathFor } from '../../factory-core/live/paths.js';
import type { Branch, Live } from '../../factory-core/live/state.js';
import { drawMermaid, drawText, type Annotate } from '../../factory-core/draw.js';
import { treeOf } from '../../factory-core/tree-of.js';
import { method, param } from '../runtime/plugin.js';
import type { Context } from './context.js';
import { findLive } from './find.js';
import { factoryIdParam } from './params.js';
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
