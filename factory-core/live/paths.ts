/** The signed transactions of a live factory: paths, leaves, distribution, close. */
import type { Outpoint } from '../../blip/brands.js';
import type { FactorySpec, MemberPath, Signable, SignedTx } from '../model.js';
import { buildClose, buildLeaf, buildPath, pathOf } from '../transactions.js';
import { treeOf } from '../tree-of.js';
import { present } from '../protocol/present.js';
import type { Branch, Live } from './state.js';

const single = new WeakMap<FactorySpec, MemberPath>();

/** A member knows one path and builds no more than that; the coordinator has the whole tree. */
export const pathFor = (live: Live, member: number): MemberPath => {
  if (live.branches.length > 1) return pathOf(treeOf(live.spec), member);
  const known = single.get(live.spec);
  if (known?.member === member) return known;
  const path = buildPath(live.spec, member);
  single.set(live.spec, path);
  return path;
};

const leaves = new WeakMap<Branch, SignedTx>();

export const leafOf = (live: Live, branch: Branch): SignedTx => {
  const known = leaves.get(branch);
  if (known) return known;
  const signable = buildLeaf(live.spec, branch.member, pathFor(live, branch.member).slot, branch.channelScript);
  const leaf = { signable, signature: branch.leafSignature };
  leaves.set(branch, leaf);
  return leaf;
};

/** Everything from the funding output to the channel, in the order of publication. */
export const exitPath = (live: Live, branch: Branch): readonly SignedTx[] => [
  ...pathFor(live, branch.member).splits.map((signable) => signed(live, signable)),
  leafOf(live, branch),
];

export const distributionOf = (live: Live): SignedTx => signed(live, pathFor(live, present(live.branches[0]).member).distribution);
export const rootOf = (live: Live): SignedTx => signed(live, present(pathFor(live, present(live.branches[0]).member).splits[0]));

/** The agreed close; signed only once the coordinator has all partial signatures. */
export const closeOf = (live: Live): Signable | undefined => live.close && buildClose(live.spec, live.close.outputs);

const signed = (live: Live, signable: Signable): SignedTx => ({ signable, signature: present(live.signatures[signable.txid]) });

export const outpointKey = (o: Outpoint): string => `${o.txid}:${String(o.vout)}`;

/** The leaf's outputs, by role. */
export const channelOutpoint = (leaf: Signable): Outpoint => ({ txid: leaf.txid, vout: voutOf(leaf, 'channel') });
export const stockOutpoint = (leaf: Signable): Outpoint | undefined => {
  const vout = leaf.tx.outputs.findIndex((o) => o.role.kind === 'stock');
  return vout < 0 ? undefined : { txid: leaf.txid, vout };
};
const voutOf = (s: Signable, kind: 'channel'): number => s.tx.outputs.findIndex((o) => o.role.kind === kind);
