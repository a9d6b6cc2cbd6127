/**
 * The tree's transactions, derived from a spec: splits down to the slots, and the distribution (architecture 4).
 *
 * Everybody derives them alone and must come to the same txids, so nothing here depends on anything but the spec.
 * These functions assume a spec that `validateSpec` accepts; they still refuse to build what does not add up.
 */
import type { PubKey, Sat, Script } from '../blip/brands.js';
import { sat } from '../blip/brands.js';
import type { FactoryPlan, FactorySpec, MemberPath, Prevout, RosterEntry, Signable, Split, TxOutput, UnsignedTx } from './model.js';
import { aggregateKeys } from './musig/index.js';
import { prevoutOf, sighashOf, txidOf } from './serialize.js';
import { isSlot, pathNodes, shapeNodes, type Range, type ShapeNode } from './shape.js';
import { ANCHOR_AMOUNT, DUST_LIMIT, feeFor, keySpendVsize, leafVsize, splitVsize } from './sizes.js';
import { P2A_SCRIPT } from './taproot.js';

/** No relative lock, lock time enforced where there is one, no replacement signalled (TRUC transactions are replaceable anyway). */
export const SEQUENCE = 0xfffffffe;

/** A transaction that its spec does not pay for, or that cannot be built from it. `field` names the culprit. */
export class TreeError extends Error {
  readonly code = 'tree';
  constructor(
    readonly field: string,
    reason: string,
  ) {
    super(`${field}: ${reason}`);
    this.name = 'TreeError';
  }
}

/** The whole tree, for the coordinator. */
export interface Tree {
  /** In preorder: parents before children. */
  readonly splits: readonly Split[];
  /** By roster index. */
  readonly slots: readonly Prevout[];
  readonly distribution: Signable;
}

/** The last output of every tree transaction: anyone may spend it to raise the fee (BIP 433). */
export const anchorOutput: TxOutput = { amount: ANCHOR_AMOUNT, script: P2A_SCRIPT, role: { kind: 'anchor' } };

/** @throws TreeError `member` when the roster has no such entry. */
export const rosterEntry = (plan: FactoryPlan, member: number): RosterEntry => {
  const entry = plan.roster[member];
  if (!entry) throw new TreeError('member', `the roster has no entry ${member}`);
  return entry;
};

/** Who signs for the clients of a range: the coordinator first, then the clients in the roster's order. */
export const signersOf = (plan: FactoryPlan, range: Range): readonly PubKey[] => [
  plan.coordinatorKey,
  ...plan.roster.slice(range.from, range.to).map((entry) => entry.key),
];
const everyone = (plan: FactoryPlan): Range => ({ from: 0, to: plan.roster.length });
const scriptOf = (plan: FactoryPlan, range: Range): Script => aggregateKeys(signersOf(plan, range)).script;

/** What a client's slot holds, in sat: its channel, its stock, the leaf's fee and the leaf's anchor. */
export const slotAmount = (plan: FactoryPlan, member: number): Sat => {
  const { capacity, stock } = rosterEntry(plan, member);
  return sat(capacity + stock + feeFor(leafVsize(stock > 0n), plan.terms.treeFeerate) + ANCHOR_AMOUNT, `roster[${member}]`);
};

/** What the output for each range holds: for a slot its amount, for a split what its children need, its fee and its anchor. */
type Amounts = (range: Range) => Sat;
const amountsOf = (plan: FactoryPlan): Amounts => {
  const nodes = shapeNodes(plan.roster.length, plan.fanouts);
  const bySplit = new Map<string, Sat>();
  const key = (range: Range): string => `${range.from}-${range.to}`;
  const amountOf = (range: Range): Sat => {
    const known = isSlot(range) ? slotAmount(plan, range.from) : bySplit.get(key(range));
    if (known === undefined) throw new TreeError('fanouts', `no split covers ${key(range)}`);
    return known;
  };
  // Preorder backwards: children before parents.
  for (const node of [...nodes].reverse()) {
    const fee = feeFor(splitVsize(node.children.length), plan.terms.treeFeerate);
    const total = node.children.reduce((sum, child) => sum + amountOf(child), fee + ANCHOR_AMOUNT);
    bySplit.set(key(node), sat(total, 'fundingAmount'));
  }
  return amountOf;
};

/** The amount the funding output must have, in sat, for this plan. No keys are needed for it. */
export const fundingAmount = (plan: FactoryPlan): Sat => amountsOf(plan)(everyone(plan));

/** What the funding transaction must pay: the amount and P2TR(all). */
export const fundingRequirement = (plan: FactoryPlan): { readonly amount: Sat; readonly script: Script } => ({
  amount: fundingAmount(plan),
  script: scriptOf(plan, everyone(plan)),
});

/** The funding output as its spenders see it: outpoint from the spec, script recomputed (safety rule 2). */
export const fundingPrevout = (spec: FactorySpec): Prevout => ({
  outpoint: spec.funding,
  amount: spec.fundingAmount,
  script: scriptOf(spec, everyone(spec)),
});

/**
 * A transaction with everything that follows from it.
 * @throws TreeError when its outputs exceed its input, or one but the anchor is dust (safety rule 3)
 */
export const signable = <P extends Signable['purpose']>(
  purpose: P,
  tx: UnsignedTx,
  signers: readonly PubKey[],
): Signable & { readonly purpose: P } => {
  const fee = tx.outputs.reduce<bigint>((left, output) => left - output.amount, tx.prevout.amount);
  if (fee < 0n) throw new TreeError(purpose, `outputs exceed the input by ${-fee} sat`);
  const dust = tx.outputs.find((output) => output.role.kind !== 'anchor' && output.amount < DUST_LIMIT);
  if (dust) throw new TreeError(purpose, `its ${dust.role.kind} output of ${dust.amount} sat is dust`);
  const vsize = keySpendVsize(tx.outputs.map((output) => output.script));
  return { purpose, tx, txid: txidOf(tx), sighash: sighashOf(tx), signers, vsize, fee: sat(fee, 'fee') };
};

const buildSplit = (spec: FactorySpec, node: ShapeNode, prevout: Prevout, amountOf: Amounts): Split => {
  const outputs = node.children.map(
    (child): TxOutput => ({
      amount: amountOf(child),
      script: scriptOf(spec, child),
      role: isSlot(child) ? { kind: 'slot', member: child.from } : { kind: 'split', from: child.from, to: child.to },
    }),
  );
  const tx: UnsignedTx = { version: 3, lockTime: 0, sequence: SEQUENCE, prevout, outputs: [...outputs, anchorOutput] };
  const { level, from, to } = node;
  return { ...signable('split', tx, signersOf(spec, node)), level, from, to };
};

/** Splits for the nodes of a shape, each node's parent being before it in the list. */
const buildSplits = (spec: FactorySpec, nodes: readonly ShapeNode[]): readonly Split[] => {
  const amountOf = amountsOf(spec);
  if (amountOf(everyone(spec)) !== spec.fundingAmount) {
    throw new TreeError('fundingAmount', `the tree needs ${amountOf(everyone(spec))} sat, the funding output has ${spec.fundingAmount}`);
  }
  const splits: Split[] = [];
  for (const node of nodes) {
    const parent = node.parent && splits[node.parent.index];
    const prevout = node.parent && parent ? prevoutOf(parent.txid, parent.tx, node.parent.vout) : fundingPrevout(spec);
    splits.push(buildSplit(spec, node, prevout, amountOf));
  }
  return splits;
};

/**
 * The time-locked transaction that pays every client its slot's value if nobody acts before expiry. What the tree's fees
 * and anchors would have taken is its fee.
 */
const buildDistribution = (spec: FactorySpec): Signable => {
  const payouts = spec.roster.map(
    ({ payoutScript }, member): TxOutput => ({ amount: slotAmount(spec, member), script: payoutScript, role: { kind: 'payout', member } }),
  );
  const tx: UnsignedTx = {
    // Not TRUC: with hundreds of clients it may exceed the 10,000 vB that BIP 431 allows.
    version: 2,
    lockTime: spec.expiryHeight,
    sequence: SEQUENCE,
    prevout: fundingPrevout(spec),
    outputs: [...payouts, anchorOutput],
  };
  return signable('distribution', tx, signersOf(spec, everyone(spec)));
};

const slotPrevouts = (splits: readonly Split[]): readonly Prevout[] => {
  const slots: Prevout[] = [];
  for (const { tx, txid } of splits) {
    for (const [vout, { role }] of tx.outputs.entries()) if (role.kind === 'slot') slots[role.member] = prevoutOf(txid, tx, vout);
  }
  return slots;
};

/**
 * The whole tree. One key aggregation per signer set.
 * @throws ShapeError, TreeError (`fundingAmount` is not what the tree needs), MusigError (a key)
 */
export const buildTree = (spec: FactorySpec): Tree => {
  const splits = buildSplits(spec, shapeNodes(spec.roster.length, spec.fanouts));
  return { splits, slots: slotPrevouts(splits), distribution: buildDistribution(spec) };
};

const slotOnPath = (member: number, splits: readonly Split[]): Prevout => {
  const slot = slotPrevouts(splits.slice(-1))[member];
  if (!slot) throw new TreeError('member', `no slot of member ${member} below its last split`);
  return slot;
};

/**
 * One member's path, without building any other transaction; keys are aggregated for the outputs on the path only.
 * @throws as `buildTree`, and RangeError when there is no such member
 */
export const buildPath = (spec: FactorySpec, member: number): MemberPath => {
  const splits = buildSplits(spec, pathNodes(spec.roster.length, spec.fanouts, member));
  return { member, splits, slot: slotOnPath(member, splits), distribution: buildDistribution(spec) };
};

/** The same path, picked from the whole tree. @throws TreeError when there is no such member. */
export const pathOf = (tree: Tree, member: number): MemberPath => {
  const splits = tree.splits.filter((split) => member >= split.from && member < split.to);
  return { member, splits, slot: slotOnPath(member, splits), distribution: tree.distribution };
};
