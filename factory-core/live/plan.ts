/**
 * What this node must do now about a live factory. Planned from the state alone, at every block and after every start,
 * until the chain shows that it is done; so there is nothing to lose in a crash, and doing it twice is harmless.
 */
import type { SignedTx } from '../model.js';
import type { Script } from '../../blip/brands.js';
import { spendableFrom } from '../exit-plan.js';
import type { Effect } from '../protocol/effects.js';
import { prevoutOf } from '../transactions.js';
import { branchStatus, fundingStatus, voidReason } from './custody.js';
import { closeOf, distributionOf, exitPath, leafOf, outpointKey, rootOf, stockOutpoint } from './paths.js';
import type { Branch, Live } from './state.js';

/** Blocks before expiry at which the coordinator publishes the root: that alone ends the distribution (architecture 3.5). */
export const ROOT_GUARD = 144;

export const plan = (live: Live, role: 'coordinator' | 'member'): Effect[] => {
  const funding = fundingStatus(live);
  const { tip } = live.chain;
  if (funding.kind === 'unconfirmed') return [];
  const close = funding.kind === 'confirmed' ? signedClose(live) : [];
  if (funding.kind === 'confirmed') {
    if (role === 'member' && tip >= live.spec.expiryHeight) return [...close, publish(distributionOf(live), 'expired: paying everyone out')];
    const guard = live.spec.expiryHeight - Math.min(ROOT_GUARD, live.spec.terms.settlingBlocks);
    if (role === 'coordinator' && close.length === 0 && tip >= guard && Object.keys(live.exits).length === 0) {
      return [publish(rootOf(live), 'expiry is near: the root ends the distribution', live.spec.expiryHeight)];
    }
  }
  const seen = new Set<string>();
  return [...close, ...live.branches.flatMap((branch) => (live.exits[branch.member] ? exitStep(live, branch, seen) : []))];
};

/** It binds nobody until it confirms: whoever wants out by the tree tries that as well, and one of the two confirms. */
const signedClose = (live: Live): Effect[] => {
  const signable = closeOf(live);
  const signature = live.close?.signature;
  return signable && signature !== undefined ? [publish({ signable, signature }, 'the agreed close', live.spec.expiryHeight)] : [];
};

/** The next transaction of one way out: one confirmation per level, then the channel itself (TRUC: one unconfirmed parent). */
const exitStep = (live: Live, branch: Branch, seen: Set<string>): Effect[] => {
  const status = branchStatus(live, branch);
  switch (status.kind) {
    case 'virtual':
    case 'publishing': {
      const next = exitPath(live, branch).find((t) => !live.chain.spends[outpointKey(t.signable.tx.prevout.outpoint)]);
      if (!next || seen.has(next.signable.txid)) return [];
      seen.add(next.signable.txid);
      const before = live.chain.tip < live.spec.expiryHeight && next.signable.txid === rootOf(live).signable.txid;
      return [publish(next, `exit of client ${String(branch.member)}`, before ? live.spec.expiryHeight : undefined)];
    }
    case 'on_chain':
      return [{ kind: 'close_channel', peer: branch.peer, channelId: branch.channelId, unilateral: true }];
    case 'channel_closed':
    case 'gone':
      return [];
  }
};

const publish = (tx: SignedTx, why: string, deadline?: number): Effect => ({
  kind: 'broadcast',
  tx,
  why,
  ...(deadline === undefined ? {} : { deadline }),
});

/**
 * The coordinator's own money in branches that are on chain: stock nobody has bought, spendable by it alone once the
 * relative lock has passed. Each is small; it goes to `destination` by itself.
 */
export const sweeps = (live: Live, destination: Script): Effect[] =>
  live.branches.flatMap((branch) => {
    const { signable: leaf } = leafOf(live, branch);
    const outpoint = stockOutpoint(leaf);
    const confirmed = live.chain.spends[outpointKey(leaf.tx.prevout.outpoint)];
    if (!outpoint || confirmed?.by !== leaf.txid || live.chain.spends[outpointKey(outpoint)]) return [];
    if (live.chain.tip < spendableFrom(confirmed.height, live.spec.terms.stockCsv)) return [];
    const stock = prevoutOf(leaf.txid, leaf.tx, outpoint.vout);
    return [{ kind: 'sweep_stock' as const, spec: live.spec, member: branch.member, stock, destination }];
  });

/**
 * The channels under a factory that has ended by close or distribution, or that never came to be, can never be published:
 * close them in the node, once that is deep enough.
 */
export const retire = (live: Live): { readonly live: Live; readonly effects: Effect[] } => {
  if (live.retired || !isOver(live)) return { live, effects: [] };
  const effects = live.branches.map(({ peer, channelId }) => ({ kind: 'retire_channel' as const, peer, channelId }));
  return { live: { ...live, retired: true }, effects };
};

const isOver = (live: Live): boolean => {
  const funding = fundingStatus(live);
  if (funding.kind !== 'spent') return voidReason(live) !== undefined;
  return (funding.by === 'close' || funding.by === 'distribution') && funding.depth >= live.spec.terms.minDepth;
};
