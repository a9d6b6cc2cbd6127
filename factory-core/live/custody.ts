/** What the chain has made of a live factory: watching, and what follows from it. Pure functions of `Live`. */
import type { Outpoint, Txid } from '../../blip/brands.js';
import type { ChainEvent, ConfirmedTx } from '../protocol/effects.js';
import { present } from '../protocol/present.js';
import { fundingPrevout } from '../transactions.js';
import { phaseAt } from './deadlines.js';
import { channelPath, channelsOf, closeOf, distributionOf, exitPath, lastStock, outpointKey, purchasePath, rootOf, type BranchChannel } from './paths.js';
import type { Branch, ChainView, Live } from './state.js';

/** Which outputs and transactions concern this factory. */
export const watched = (live: Live): { readonly outpoints: readonly Outpoint[]; readonly txids: readonly Txid[] } => {
  const outpoints = live.branches.flatMap((branch) => {
    const path = [...exitPath(live, branch), ...purchasePath(live, branch)];
    const stock = lastStock(live, branch);
    return [...path.map((t) => t.signable.tx.prevout.outpoint), ...channelsOf(live, branch).map((c) => c.outpoint), ...(stock ? [stock.outpoint] : [])];
  });
  const unique = new Map([...outpoints, ...(live.chain.fundingInputs ?? [])].map((o) => [outpointKey(o), o]));
  return { outpoints: [...unique.values()], txids: [live.spec.funding.txid] };
};

export const onChain = (live: Live, event: ChainEvent): Live => {
  const { chain } = live;
  if (event.type === 'block_connected') {
    const spends = { ...chain.spends };
    for (const s of event.spends) spends[outpointKey(s.outpoint)] = { by: s.by, height: event.height };
    const found = event.confirmed.find((tx) => tx.txid === live.spec.funding.txid);
    const funding = found ? fundedBy(live, found, event.height) : {};
    return { ...live, chain: { ...chain, tip: event.height, spends, ...funding } };
  }
  // Whatever was in that block or above it is unconfirmed again (architecture 12.11: fail closed).
  const { fundingHeight, ...rest } = chain;
  const spends = Object.fromEntries(Object.entries(chain.spends).filter(([, s]) => s.height < event.height));
  const still = fundingHeight !== undefined && fundingHeight < event.height ? { fundingHeight } : {};
  return { ...live, chain: { ...rest, ...still, tip: event.height - 1, spends } };
};

/**
 * Architecture 12.2: the root is bound to outpoint, amount and *recomputed* script. A coordinator names the outpoint before
 * anyone can see the transaction; only the block shows whether it pays to all of us.
 */
const fundedBy = (live: Live, tx: ConfirmedTx, height: number): Partial<ChainView> => {
  const expected = fundingPrevout(live.spec);
  const output = tx.outputs[live.spec.funding.vout];
  if (output?.script === expected.script && output.amount === expected.amount) return { fundingHeight: height, everFunded: true, fundingInputs: tx.inputs };
  return { badFunding: output?.script === expected.script ? 'the funding output has another amount' : 'the funding output does not pay to all members' };
};

export const depthOf = (live: Live, height: number): number => live.chain.tip - height + 1;

/** Where the factory's one output on chain is. */
export type FundingStatus =
  /** `rival`: a transaction in a block that spends what the funding transaction needs. */
  | { readonly kind: 'unconfirmed'; readonly rival?: { readonly txid: Txid; readonly depth: number } }
  | { readonly kind: 'confirmed'; readonly depth: number }
  | { readonly kind: 'spent'; readonly by: 'tree' | 'distribution' | 'close' | 'unknown'; readonly txid: Txid; readonly depth: number };

export const fundingStatus = (live: Live): FundingStatus => {
  const spend = live.chain.spends[outpointKey(live.spec.funding)];
  if (spend) return { kind: 'spent', by: spender(live, spend.by), txid: spend.by, depth: depthOf(live, spend.height) };
  if (live.chain.fundingHeight === undefined) return unconfirmed(live);
  return { kind: 'confirmed', depth: depthOf(live, live.chain.fundingHeight) };
};
const unconfirmed = (live: Live): FundingStatus => {
  const spends = (live.chain.fundingInputs ?? []).flatMap((o) => live.chain.spends[outpointKey(o)] ?? []);
  const rival = spends.find((s) => s.by !== live.spec.funding.txid);
  return { kind: 'unconfirmed', ...(rival && { rival: { txid: rival.by, depth: depthOf(live, rival.height) } }) };
};

/** Blocks, with its own, until a transaction that excludes the funding transaction is taken for final. */
export const RIVAL_DEPTH = 6;

/** Why there is no factory and never will be; undefined while there may be one. Like all of this it may turn with the chain. */
export const voidReason = (live: Live): string | undefined => {
  if (live.chain.badFunding !== undefined) return live.chain.badFunding;
  const funding = fundingStatus(live);
  if (funding.kind !== 'unconfirmed' || !funding.rival || funding.rival.depth < Math.max(RIVAL_DEPTH, live.spec.terms.minDepth)) return undefined;
  return `the funding transaction’s coins were spent by ${funding.rival.txid}`;
};

const spender = (live: Live, by: Txid): 'tree' | 'distribution' | 'close' | 'unknown' => {
  if (by === rootOf(live).signable.txid) return 'tree';
  if (by === distributionOf(live).signable.txid) return 'distribution';
  // The coordinator closes without those whose keys it holds: they do not know the transaction, and need not.
  if (by === closeOf(live)?.txid || live.handedOver) return 'close';
  return 'unknown';
};

/** How far a channel of a branch has come to the chain. */
export type BranchStatus =
  | { readonly kind: 'virtual' }
  /** Some of its transactions are confirmed, the leaf is not. */
  | { readonly kind: 'publishing'; readonly confirmed: number; readonly of: number }
  /** Its transaction is confirmed: the channel is an ordinary one, at this outpoint. */
  | { readonly kind: 'on_chain'; readonly height: number }
  /** The channel's output is spent: commitment or mutual close. */
  | { readonly kind: 'channel_closed'; readonly by: Txid; readonly height: number }
  /** The factory's output was spent in another way, or an output of the path by a transaction that is not ours. */
  | { readonly kind: 'gone'; readonly by: Txid };

/** That of the leaf and its channel. */
export const branchStatus = (live: Live, branch: Branch): BranchStatus => channelStatus(live, branch, leafChannel(live, branch));
const leafChannel = (live: Live, branch: Branch): BranchChannel => present(channelsOf(live, branch)[0]);

export const channelStatus = (live: Live, branch: Branch, channel: BranchChannel): BranchStatus => {
  const path = channelPath(live, branch, channel);
  let confirmed = 0;
  let height = 0;
  for (const { signable } of path) {
    const spend = live.chain.spends[outpointKey(signable.tx.prevout.outpoint)];
    if (!spend) return confirmed === 0 ? { kind: 'virtual' } : { kind: 'publishing', confirmed, of: path.length };
    if (spend.by !== signable.txid) return { kind: 'gone', by: spend.by };
    confirmed += 1;
    height = spend.height;
  }
  const closed = live.chain.spends[outpointKey(channel.outpoint)];
  return closed ? { kind: 'channel_closed', by: closed.by, height: closed.height } : { kind: 'on_chain', height };
};

/** Architecture 11's names, and `closing` while a cooperative close is under way. */
export type LiveState = 'aborted' | 'funding' | 'active' | 'dying' | 'settling' | 'closing' | 'exiting' | 'distributed' | 'closed';

export const liveState = (live: Live, closing: boolean): LiveState => {
  const funding = fundingStatus(live);
  const { spec, chain } = live;
  if (funding.kind === 'spent') {
    if (funding.by === 'close') return 'closed';
    if (funding.by === 'distribution') return 'distributed';
    return everyoneHasLeft(live) ? 'closed' : 'exiting';
  }
  if (voidReason(live) !== undefined) return 'aborted';
  if (funding.kind === 'unconfirmed' || funding.depth < spec.terms.minDepth) return 'funding';
  if (Object.keys(live.exits).length > 0) return 'exiting';
  if (closing || live.close) return 'closing';
  const phase = phaseAt(spec, chain.tip);
  return phase === 'active' || phase === 'dying' ? phase : 'settling';
};

/** What of the others? Only the coordinator, who has all branches, can know; to whom nothing here belongs any more it does not matter. */
const everyoneHasLeft = (live: Live): boolean =>
  (live.branches.length === live.spec.roster.length || live.handedOver === true) && live.branches.every((branch) => hasLeft(live, branch));

/** All its channels are closed on chain. A purchase nobody has published in time is the LSP's again, with its stock. */
export const hasLeft = (live: Live, branch: Branch): boolean =>
  (isHandedOver(live, branch) && endOf(live, branch) !== undefined) ||
  channelsOf(live, branch).every((channel) => {
    const { kind } = channelStatus(live, branch, channel);
    return kind === 'channel_closed' || (kind === 'gone' && channel.depth > 0);
  });

/** What has spent an output on the way to this branch's leaf, if it is none of that way: nothing below it can come to the chain. */
export const endOf = (live: Live, branch: Branch): { readonly by: Txid; readonly height: number } | undefined => {
  for (const { signable } of exitPath(live, branch)) {
    const spend = live.chain.spends[outpointKey(signable.tx.prevout.outpoint)];
    if (spend?.by !== signable.txid) return spend;
  }
  return undefined;
};

/** Nothing below this branch's slot is the member's any more. */
export const isHandedOver = (live: Live, branch: Branch): boolean => branch.heldKey !== undefined || live.handedOver === true;

/**
 * May HTLCs pass over this channel of a branch? Not before the funding is deep enough, not while a close is being agreed,
 * not once its own exit has begun or the factory has ended under it.
 */
export const mayCarryHtlcs = (live: Live, branch: Branch, closing: boolean, channel: BranchChannel = leafChannel(live, branch)): boolean => {
  const funding = fundingStatus(live);
  if (funding.kind === 'unconfirmed' || (funding.kind === 'confirmed' && funding.depth < live.spec.terms.minDepth)) return false;
  if (funding.kind === 'spent' && funding.by !== 'tree') return false;
  // Balances may change again only when an agreed close can no longer confirm.
  const ended = funding.kind === 'spent' && funding.depth >= live.spec.terms.minDepth;
  if (closing || (live.close && !ended) || live.exits[branch.member] || isHandedOver(live, branch)) return false;
  const { kind } = channelStatus(live, branch, channel);
  return kind === 'virtual' || kind === 'publishing' || kind === 'on_chain';
};
