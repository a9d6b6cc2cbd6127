/** The tree of a spec, built once: a spec is immutable and its tree a function of it. */
import type { FactorySpec, Prevout, Split } from './model.js';
import type { Range } from './shape.js';
import { buildTree, fundingPrevout, prevoutOf, type Tree } from './transactions.js';

const trees = new WeakMap<FactorySpec, Tree>();

export const treeOf = (spec: FactorySpec): Tree => {
  const known = trees.get(spec);
  if (known) return known;
  const tree = buildTree(spec);
  trees.set(spec, tree);
  return tree;
};

const indexes = new WeakMap<Tree, ReadonlyMap<string, Split>>();
const nameOf = ({ from, to }: Range): string => `${from}-${to}`;

/** The split of these clients; undefined for a slot. */
export const splitOf = (spec: FactorySpec, range: Range): Split | undefined => {
  const tree = treeOf(spec);
  const index = indexes.get(tree) ?? new Map(tree.splits.map((split) => [nameOf(split), split]));
  indexes.set(tree, index);
  return index.get(nameOf(range));
};

/** An output of the tree, and the clients below it. */
export interface Subtree extends Range {
  readonly output: Prevout;
}

/** The whole tree: the funding output. */
export const wholeOf = (spec: FactorySpec): Subtree => ({ from: 0, to: spec.roster.length, output: fundingPrevout(spec) });

/** What a split divides its clients into. */
export const childrenOf = ({ txid, tx }: Split): readonly Subtree[] =>
  tx.outputs.flatMap(({ role }, vout) => {
    const output = (): Prevout => prevoutOf(txid, tx, vout);
    if (role.kind === 'slot') return [{ from: role.member, to: role.member + 1, output: output() }];
    return role.kind === 'split' ? [{ from: role.from, to: role.to, output: output() }] : [];
  });
