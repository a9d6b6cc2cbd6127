/** The tree of a spec, built once: a spec is immutable and its tree a function of it. */
import type { FactorySpec } from './model.js';
import { buildTree, type Tree } from './transactions.js';

const trees = new WeakMap<FactorySpec, Tree>();

export const treeOf = (spec: FactorySpec): Tree => {
  const known = trees.get(spec);
  if (known) return known;
  const tree = buildTree(spec);
  trees.set(spec, tree);
  return tree;
};
