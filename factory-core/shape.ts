/**
 * The tree's shape as index arithmetic over the roster: no keys, no amounts, no transactions (architecture 4).
 *
 * A range of clients [from, to) is shared among as many children as its level's fan-out allows, as evenly as possible,
 * the first children getting the extra clients. A range of one client is that client's slot. All orders are fixed, so
 * that everyone derives the same tree from `(n, fanouts)`.
 */
import { CPFP_CHILD_VSIZE, LEAF_VSIZE, splitVsize } from './sizes.js';

/** A factory has at least two clients, and no more than its roster fits one Lightning message (65,535 bytes) with room to spare. */
export const MIN_CLIENTS = 2;
export const MAX_CLIENTS = 512;
export const MIN_FANOUT = 2;
export const MAX_FANOUT = 16;
/** 2^9 = 512: more levels than that nobody needs. */
export const MAX_LEVELS = 9;
/** Blocks one transaction of an exit is given to confirm (architecture 4). */
export const BLOCKS_PER_TRANSACTION = 6;

/** Clients [from, to) of the roster. */
export interface Range {
  readonly from: number;
  readonly to: number;
}

/** One split: which clients it covers, how it fans out, and whose output it spends. */
export interface ShapeNode extends Range {
  readonly level: number;
  /** The parent's index in the same list and the output it spends; absent for the root, which spends the funding output. */
  readonly parent?: { readonly index: number; readonly vout: number };
  readonly children: readonly Range[];
}

export interface ShapeProblem {
  readonly field: 'clients' | 'fanouts' | `fanouts[${number}]`;
  readonly reason: string;
}

/** A shape that cannot hold its clients. `field` names the culprit. */
export class ShapeError extends Error {
  readonly code = 'shape';
  readonly field: ShapeProblem['field'];
  constructor(problem: ShapeProblem) {
    super(`${problem.field}: ${problem.reason}`);
    this.name = 'ShapeError';
    this.field = problem.field;
  }
}

const whole = (value: number, min: number, max: number): boolean => Number.isInteger(value) && value >= min && value <= max;

/** What is wrong with this shape for `n` clients, or undefined. Bounds everything before any work that grows with it. */
export const checkShape = (n: number, fanouts: readonly number[]): ShapeProblem | undefined => {
  if (!whole(n, MIN_CLIENTS, MAX_CLIENTS)) return { field: 'clients', reason: `must be ${MIN_CLIENTS} to ${MAX_CLIENTS}` };
  if (!whole(fanouts.length, 1, MAX_LEVELS)) return { field: 'fanouts', reason: `must have 1 to ${MAX_LEVELS} levels` };
  let room = 1;
  for (const [level, fanout] of fanouts.entries()) {
    if (!whole(fanout, MIN_FANOUT, MAX_FANOUT)) {
      return { field: `fanouts[${level}]`, reason: `must be ${MIN_FANOUT} to ${MAX_FANOUT}` };
    }
    room *= fanout;
  }
  return room < n ? { field: 'fanouts', reason: `have room for ${room} clients, need ${n}` } : undefined;
};

const assertShape = (n: number, fanouts: readonly number[]): void => {
  const problem = checkShape(n, fanouts);
  if (problem) throw new ShapeError(problem);
};

export const isSlot = (range: Range): boolean => range.to - range.from === 1;

/** Shares a range among at most `fanout` children, as evenly as possible, the first ones getting the extra clients. */
export const childRanges = (range: Range, fanout: number): readonly Range[] => {
  const size = range.to - range.from;
  const count = Math.min(fanout, size);
  const base = Math.floor(size / count);
  const extra = size % count;
  const children: Range[] = [];
  let from = range.from;
  for (let i = 0; i < count; i++) {
    const to = from + base + (i < extra ? 1 : 0);
    children.push({ from, to });
    from = to;
  }
  return children;
};

/** `assertShape` has made sure that no range of two or more is left below the last level. */
const fanoutAt = (fanouts: readonly number[], level: number): number => {
  const fanout = fanouts[level];
  if (fanout === undefined) throw new ShapeError({ field: 'fanouts', reason: `end before level ${level}` });
  return fanout;
};

/**
 * All splits in preorder: parents before children, the first child's branch before the second's.
 * @throws ShapeError when the fan-outs do not fit the clients.
 */
export const shapeNodes = (n: number, fanouts: readonly number[]): readonly ShapeNode[] => {
  assertShape(n, fanouts);
  const nodes: ShapeNode[] = [];
  const visit = (range: Range, level: number, parent: ShapeNode['parent']): void => {
    const children = childRanges(range, fanoutAt(fanouts, level));
    const index = nodes.push({ ...range, level, ...(parent && { parent }), children }) - 1;
    for (const [vout, child] of children.entries()) {
      if (!isSlot(child)) visit(child, level + 1, { index, vout });
    }
  };
  visit({ from: 0, to: n }, 0, undefined);
  return nodes;
};

/** A split on one member's way down, and the output through which that way goes on. */
export interface PathNode extends ShapeNode {
  readonly exitVout: number;
}

/**
 * The splits from the root down to `member`'s slot; the last one's `exitVout` is the slot.
 * @throws ShapeError when the fan-outs do not fit the clients; RangeError when there is no such member.
 */
export const pathNodes = (n: number, fanouts: readonly number[], member: number): readonly PathNode[] => {
  assertShape(n, fanouts);
  if (!whole(member, 0, n - 1)) throw new RangeError(`member: must be 0 to ${n - 1}`);
  const path: PathNode[] = [];
  let range: Range = { from: 0, to: n };
  let parent: ShapeNode['parent'];
  while (!isSlot(range)) {
    const level = path.length;
    const children = childRanges(range, fanoutAt(fanouts, level));
    const exitVout = children.findIndex((c) => member >= c.from && member < c.to);
    path.push({ ...range, level, ...(parent && { parent }), children, exitVout });
    parent = { index: level, vout: exitVout };
    range = children[exitVout] ?? range;
  }
  return path;
};

export interface ShapeCost {
  /** Splits in the whole tree. */
  readonly splits: number;
  /** Splits on the longest path. */
  readonly pathSplits: number;
  /** Transactions from funding to channel on the longest path: its splits and the leaf. */
  readonly pathTransactions: number;
  /** The same in vB, on the heaviest path, with a leaf that has stock. */
  readonly pathVbytes: number;
  /** Blocks to allow for the longest path (`exit_blocks`, architecture 4). */
  readonly exitBlocks: number;
  /** All splits and all leaves, in vB: the chain space taken if everybody leaves alone. */
  readonly treeVbytes: number;
}

/** `exit_blocks` of a path of so many transactions, without delays of state layers (architecture 4). */
export const exitBlocks = (pathTransactions: number): number => BLOCKS_PER_TRANSACTION * pathTransactions;

/** What a shape costs in transactions, space and time. @throws ShapeError when the fan-outs do not fit the clients. */
export const shapeCost = (n: number, fanouts: readonly number[]): ShapeCost => {
  const nodes = shapeNodes(n, fanouts);
  const depth: { splits: number; vbytes: number }[] = [];
  let [pathSplits, pathVbytes, treeVbytes] = [0, 0, n * LEAF_VSIZE];
  for (const node of nodes) {
    const above = (node.parent && depth[node.parent.index]) ?? { splits: 0, vbytes: 0 };
    const vsize = splitVsize(node.children.length);
    const here = { splits: above.splits + 1, vbytes: above.vbytes + vsize };
    depth.push(here);
    pathSplits = Math.max(pathSplits, here.splits);
    pathVbytes = Math.max(pathVbytes, here.vbytes + LEAF_VSIZE);
    treeVbytes += vsize;
  }
  const pathTransactions = pathSplits + 1;
  return { splits: nodes.length, pathSplits, pathTransactions, pathVbytes, exitBlocks: exitBlocks(pathTransactions), treeVbytes };
};

/** Mean vB of a path, times n: what n members pay together when each leaves alone. Breaks ties between shapes. */
const sumOfPathVbytes = (n: number, fanouts: readonly number[]): number =>
  shapeNodes(n, fanouts).reduce((sum, node) => sum + splitVsize(node.children.length) * (node.to - node.from), 0);

interface Plan {
  readonly cost: number;
  readonly shapes: readonly (readonly number[])[];
}

/**
 * The fan-outs that make the worst way out cheapest: the path's vB, each of its transactions counted with the child
 * that bumps it (a deeper tree has smaller splits, but more of them to bump and to wait for). Among equals the one with
 * the cheapest average path, then the one with fewer transactions in all.
 * @throws ShapeError when n is not a number of clients a factory can have.
 */
export const planShape = (n: number): readonly number[] => {
  if (!whole(n, MIN_CLIENTS, MAX_CLIENTS)) throw new ShapeError({ field: 'clients', reason: `must be ${MIN_CLIENTS} to ${MAX_CLIENTS}` });
  const best = new Map<number, Plan>([[1, { cost: 0, shapes: [[]] }]]);
  // The heaviest path always goes through first children, which are the largest: it depends on the sizes alone.
  const plan = (size: number): Plan => {
    const known = best.get(size);
    if (known) return known;
    let [cost, shapes]: [number, (readonly number[])[]] = [Infinity, []];
    for (let fanout = MIN_FANOUT; fanout <= Math.min(MAX_FANOUT, size); fanout++) {
      const below = plan(Math.ceil(size / fanout));
      const total = splitVsize(fanout) + CPFP_CHILD_VSIZE + below.cost;
      if (total > cost) continue;
      if (total < cost) [cost, shapes] = [total, []];
      for (const shape of below.shapes) shapes.push([fanout, ...shape]);
    }
    const found = { cost, shapes };
    best.set(size, found);
    return found;
  };
  const ranked = plan(n).shapes.map((shape) => ({ shape, mean: sumOfPathVbytes(n, shape), splits: shapeNodes(n, shape).length }));
  ranked.sort((a, b) => a.mean - b.mean || a.splits - b.splits);
  const [first] = ranked;
  if (!first) throw new ShapeError({ field: 'clients', reason: 'no shape found' });
  return first.shape;
};
