/**
 * The specification's worked example: the first invite and the spec of our message vectors, derived to transactions by
 * factory-core. The one place here that looks into the next room, since the two must say the same.
 */
import { buildLeaf, buildTree, fundingRequirement, pathOf, serialize, stockOutput } from '../../factory-core/transactions.js';
import type { FactorySpec, Signable } from '../../factory-core/model.js';
import type { Invite, Leaf, Spec } from '../index.js';
import { toJson, type Json } from './vector-json.js';
import { INSTANCE, samples } from './vector-samples.js';

const sample = (type: string): unknown => samples.find(({ message }) => message.type === type)?.message;

const example = (): { readonly spec: FactorySpec; readonly member: number; readonly leaf: Leaf } => {
  const [invite, message, leaf] = [sample('invite') as Invite, sample('spec') as Spec, sample('leaf') as Leaf];
  const { chainHash, treeFeerate, activeBlocks, dyingBlocks, settlingBlocks, stockCsv, minDepth } = invite;
  const terms = { chainHash, treeFeerate, activeBlocks, dyingBlocks, settlingBlocks, stockCsv, minDepth };
  const { coordinatorKey, memberIndex, roster, fanouts, startHeight, expiryHeight, funding, fundingAmount } = message;
  const plan = { instanceId: INSTANCE, terms, coordinatorKey, roster, fanouts, startHeight, expiryHeight };
  return { spec: { ...plan, funding, fundingAmount }, member: memberIndex, leaf };
};

const outpoint = ({ txid, vout }: { readonly txid: string; readonly vout: number }): string => `${txid}:${vout}`;
const transaction = ({ tx, txid, sighash, signers, vsize, fee }: Signable): object => ({
  spends: outpoint(tx.prevout.outpoint),
  spent_amount: tx.prevout.amount,
  spent_script: tx.prevout.script,
  signers,
  unsigned: serialize(tx),
  txid,
  sighash,
  vsize,
  fee,
});

/** Everything derived, in the vectors' way of writing. */
export const treeVector = (): Json => {
  const { spec, member, leaf } = example();
  const tree = buildTree(spec);
  const path = pathOf(tree, member);
  const stock = stockOutput(spec, 0);
  return toJson({
    about: 'The tree of the messages "invite with the default terms" and "spec with each kind of payout script" (messages.json)',
    funding: fundingRequirement(spec),
    splits: tree.splits.map((s) => ({ level: s.level, from: s.from, to: s.to, ...transaction(s) })),
    slots: tree.slots.map((s) => ({ outpoint: outpoint(s.outpoint), amount: s.amount, script: s.script })),
    distribution: transaction(tree.distribution),
    member,
    path: path.splits.map((s) => s.txid),
    leaf: { channelScript: leaf.channelScript, ...transaction(buildLeaf(spec, member, path.slot, leaf.channelScript)) },
    stockOfMember0: stock,
  });
};
