/** The signed transactions of a live factory: paths, leaves, distribution, close. */
import type { ChannelId, NodeId, Outpoint, Sat, Script } from '../../blip/brands.js';
import { earlyWarningTime, factoryEarlyWarningTime } from '../exit-plan.js';
import type { FactorySpec, MemberPath, Prevout, Signable, SignedTx, Split } from '../model.js';
import { buildClose, buildLeaf, buildPath, buildPurchase, pathOf, prevoutOf } from '../transactions.js';
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

const purchases = new WeakMap<Branch, readonly SignedTx[]>();

/** The purchases of a branch, in the order of publication: each spends the stock of the one before, the first that of the leaf. */
export const purchasePath = (live: Live, branch: Branch): readonly SignedTx[] => {
  const known = purchases.get(branch);
  if (known) return known;
  const path: SignedTx[] = [];
  let parent = leafOf(live, branch).signable;
  for (const { amount, channelScript, signature } of branch.purchases) {
    const signable = buildPurchase(live.spec, branch.member, present(stockOf(parent)), amount, channelScript);
    path.push({ signable, signature });
    parent = signable;
  }
  purchases.set(branch, path);
  return path;
};

/** One of a client's channels: the leaf's, or one that was bought. */
export interface BranchChannel {
  readonly member: number;
  readonly peer: NodeId;
  readonly channelId: ChannelId;
  readonly channelScript: Script;
  readonly capacity: Sat;
  readonly outpoint: Outpoint;
  /** Purchases on its way out: none for the leaf's. */
  readonly depth: number;
  /** The transaction it is in. */
  readonly funding: SignedTx;
}

const channels = new WeakMap<Branch, readonly BranchChannel[]>();

/** All channels of a branch, the leaf's first. */
export const channelsOf = (live: Live, branch: Branch): readonly BranchChannel[] => {
  const known = channels.get(branch);
  if (known) return known;
  const { member, peer } = branch;
  const list = [leafOf(live, branch), ...purchasePath(live, branch)].map((funding, depth): BranchChannel => {
    const { channelId, channelScript } = depth === 0 ? branch : present(branch.purchases[depth - 1]);
    const { vout, output } = present(channelOutput(funding.signable));
    return { member, peer, channelId, channelScript, capacity: output.amount, outpoint: { txid: funding.signable.txid, vout }, depth, funding };
  });
  channels.set(branch, list);
  return list;
};

/** From the funding output to one channel, in the order of publication. */
export const channelPath = (live: Live, branch: Branch, { depth }: Pick<BranchChannel, 'depth'>): readonly SignedTx[] => [
  ...exitPath(live, branch),
  ...purchasePath(live, branch).slice(0, depth),
];

/** The stock that is left to be sold, or to be taken back: the last transaction's; undefined when all is sold. */
export const lastStock = (live: Live, branch: Branch): Prevout | undefined =>
  stockOf((purchasePath(live, branch).at(-1) ?? leafOf(live, branch)).signable);

/** `factory_early_warning_time` of a channel: what was bought has more to confirm. */
export const earlyWarningOf = (spec: FactorySpec, depth: number): number =>
  factoryEarlyWarningTime(spec) + earlyWarningTime(depth) - earlyWarningTime(0);

/** Everything from the funding output to the leaf's channel, in the order of publication. */
export const exitPath = (live: Live, branch: Branch): readonly SignedTx[] => [
  ...pathFor(live, branch.member).splits.map((signable) => signed(live, signable)),
  leafOf(live, branch),
];

export const distributionOf = (live: Live): SignedTx => signed(live, pathFor(live, present(live.branches[0]).member).distribution);
export const rootOf = (live: Live): SignedTx => signed(live, present(pathFor(live, present(live.branches[0]).member).splits[0]));

/** The agreed close; signed only once the coordinator has all partial signatures. */
export const closeOf = (live: Live): Signable | undefined => live.close && buildClose(live.spec, live.close.outputs);

const signed = (live: Live, signable: Signable): SignedTx => ({ signable, signature: present(live.signatures[signable.txid]) });
/** @param split one that this node knows: any, or of its own path */
export const signedSplit = (live: Live, split: Split): SignedTx => signed(live, split);

export const outpointKey = (o: Outpoint): string => `${o.txid}:${String(o.vout)}`;

const channelOutput = (s: Signable) => {
  const vout = s.tx.outputs.findIndex((o) => o.role.kind === 'channel');
  const output = s.tx.outputs[vout];
  return output && { vout, output };
};
/** Of a leaf or a purchase. */
export const stockOf = (s: Signable): Prevout | undefined => {
  const vout = s.tx.outputs.findIndex((o) => o.role.kind === 'stock');
  return vout < 0 ? undefined : prevoutOf(s.txid, s.tx, vout);
};
