/** A live factory to look at: confirmed, nobody gone. Its signatures are nobody's. */
import { bytesToHex } from '@noble/hashes/utils.js';
import { channelId, nodeId, schnorrSignature, type Outpoint, type Txid } from '../../../blip/brands.js';
import { exitPath } from '../../live/paths.js';
import { onChain } from '../../live/custody.js';
import type { Branch, Live } from '../../live/state.js';
import { fundingPrevout, pathOf } from '../../transactions.js';
import { treeOf } from '../../tree-of.js';
import type { SchnorrSignature } from '../../../blip/brands.js';
import { channelScript, client, COORDINATOR, digest, publicKey, specFor, type FactoryOptions } from './factory.js';

const NOBODYS = schnorrSignature('00'.repeat(64));
/** Blocks since the funding transaction was confirmed, that block included. */
const DEPTH = 6;

export const channelIdOf = (member: number) => channelId(bytesToHex(digest(`channel id ${member}`)));

const branchOf = (member: number, role: 'coordinator' | 'member'): Branch => ({
  member,
  peer: nodeId(publicKey(role === 'coordinator' ? client(member) : COORDINATOR)),
  channelId: channelIdOf(member),
  channelScript: channelScript(member),
  leafSignature: NOBODYS,
  purchases: [],
});

/** The coordinator's view, or that of member 0. */
export const liveFactory = (role: 'coordinator' | 'member', options: FactoryOptions): Live => {
  const spec = specFor(options);
  const tree = treeOf(spec);
  const members = role === 'member' ? [0] : spec.roster.map((_, i) => i);
  const known = [...members.flatMap((m) => pathOf(tree, m).splits), tree.distribution];
  const signatures: Record<Txid, SchnorrSignature> = Object.fromEntries(known.map((s) => [s.txid, NOBODYS]));
  const fresh: Live = {
    spec,
    signatures,
    branches: members.map((m) => branchOf(m, role)),
    chain: { tip: spec.startHeight, everFunded: false, spends: {} },
    exits: {},
    retired: false,
  };
  const { amount, script } = fundingPrevout(spec);
  const outputs = Array.from({ length: spec.funding.vout + 1 }, () => ({ amount, script }));
  const funded = onChain(fresh, { type: 'block_connected', height: spec.startHeight + 1, spends: [], confirmed: [{ txid: spec.funding.txid, inputs: [], outputs }] });
  return { ...funded, chain: { ...funded.chain, tip: spec.startHeight + DEPTH } };
};

/** So many transactions of a branch's way out are in blocks, from the root down. */
export const publish = (live: Live, branch: Branch, transactions: number): Live =>
  exitPath(live, branch)
    .slice(0, transactions)
    .reduce((l, { signable }) => spendIn(l, signable.tx.prevout.outpoint, signable.txid), live);

/** The next block spends this. */
export const spendIn = (live: Live, outpoint: Outpoint, by: Txid): Live =>
  onChain(live, { type: 'block_connected', height: live.chain.tip + 1, spends: [{ outpoint, by }], confirmed: [] });
