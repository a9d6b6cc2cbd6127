/**
 * What this node must do now about a live factory. Planned from the state alone, at every block and after every start,
 * until the chain shows that it is done; so there is nothing to lose in a crash, and doing it twice is harmless.
 */
import type { SignedTx } from '../model.js';
import type { Script } from '../../blip/brands.js';
import { exitBlocks, spendableFrom } from '../exit-plan.js';
import type { Effect } from '../protocol/effects.js';
import { branchStatus, channelStatus, depthOf, endOf, fundingStatus, isHandedOver, RIVAL_DEPTH, voidReason } from './custody.js';
import { calendarOf } from './deadlines.js';
import { channelsOf, closeOf, distributionOf, exitPath, lastStock, leafOf, outpointKey, purchasePath, rootOf, signedSplit } from './paths.js';
import type { Branch, Exit, Live } from './state.js';
import { publishableOf } from './turnover.js';

export const plan = (live: Live, role: 'coordinator' | 'member'): Effect[] => {
  const funding = fundingStatus(live);
  const { tip } = live.chain;
  if (funding.kind === 'unconfirmed' || live.handedOver) return [];
  const close = funding.kind === 'confirmed' ? signedClose(live) : [];
  if (funding.kind === 'confirmed') {
    if (role === 'member' && tip >= live.spec.expiryHeight) return [...close, publish(distributionOf(live), 'expired: paying everyone out')];
  }
  const root = role === 'coordinator' && funding.kind === 'confirmed' ? guardingRoot(live, close.length > 0) : [];
  return onceEach([
    ...close,
    ...root,
    ...(role === 'coordinator' ? turnoverStep(live) : []),
    ...live.branches.flatMap((branch) => [...(branch.heldKey === undefined ? exitStep(live, role, branch) : closeChannels(live, branch)), ...purchaseStep(live, branch)]),
  ]);
};

/** What several want published goes out once, by the earliest of their deadlines. */
const onceEach = (effects: readonly Effect[]): Effect[] => {
  const merged = new Map<unknown, Effect>();
  for (const effect of effects) {
    const key = effect.kind === 'broadcast' ? effect.tx.signable.txid : effect;
    const before = merged.get(key);
    if (before?.kind !== 'broadcast' || effect.kind !== 'broadcast') merged.set(key, effect);
    else merged.set(key, { ...before, ...earliest([before.deadline, effect.deadline]) });
  }
  return [...merged.values()];
};

const earliest = (deadlines: readonly (number | undefined)[]): { readonly deadline?: number } => {
  const set = deadlines.filter((deadline) => deadline !== undefined);
  return set.length === 0 ? {} : { deadline: Math.min(...set) };
};

/**
 * The root in time (architecture 3.5), whoever else is leaving. A signed close has until the last call to confirm alone; from
 * there on one of the two does. Past expiry it is a race with the distribution, and still worth it.
 */
const guardingRoot = (live: Live, closeSigned: boolean): Effect[] => {
  const { guard, lastCall, expiry } = calendarOf(live.spec);
  if (live.chain.tip < (closeSigned ? lastCall : guard)) return [];
  return [publish(rootOf(live), 'expiry is near: the root ends the distribution', { deadline: expiry })];
};

/** It binds nobody until it confirms: whoever wants out by the tree tries that as well, and one of the two confirms. */
const signedClose = (live: Live): Effect[] => {
  const signable = closeOf(live);
  const signature = live.close?.signature;
  return signable && signature !== undefined ? [publish({ signable, signature }, 'the agreed close', { deadline: live.spec.expiryHeight })] : [];
};

/** The next transaction of one way out: one confirmation per level, then the channel itself (TRUC: one unconfirmed parent). */
const exitStep = (live: Live, role: 'coordinator' | 'member', branch: Branch): Effect[] => {
  if (!live.exits[branch.member]) return [];
  const status = branchStatus(live, branch);
  switch (status.kind) {
    case 'virtual':
    case 'publishing': {
      const path = exitPath(live, branch);
      const at = path.findIndex((t) => !live.chain.spends[outpointKey(t.signable.tx.prevout.outpoint)]);
      const next = path[at];
      if (!next) return [];
      const left = path.length - at;
      return [publish(next, `exit of client ${String(branch.member)}`, { exit: { member: branch.member, left }, ...deadlineOf(live, role, branch, left) })];
    }
    case 'on_chain':
    case 'channel_closed':
      return closeChannels(live, branch);
    case 'gone':
      return [];
  }
};

/**
 * Those that have come to the chain. So, too, of a branch that was handed over, if its former member publishes what it has copies of:
 * this node’s last commitment pays this node all that was moved, and an older one is punished by lightningd.
 */
const closeChannels = (live: Live, branch: Branch): Effect[] =>
  channelsOf(live, branch)
    .filter((channel) => channelStatus(live, branch, channel).kind === 'on_chain')
    .map(({ peer, channelId }) => ({ kind: 'close_channel', peer, channelId, unilateral: true }));

/**
 * Partial turnover: what is signed is published as long as its output is there. That is not a matter of height: former members have
 * copies of what is below. A split that the absent would have to be drawn to the chain for has time until expiry is near, as the
 * root has; by then everybody may have left in a cheaper way.
 */
const turnoverStep = (live: Live): Effect[] => {
  if (!live.branches.some((b) => b.heldKey !== undefined)) return [];
  const { splits, spends } = publishableOf(live);
  const due = live.chain.tip >= calendarOf(live.spec).guard ? splits : [];
  return [
    ...due.map((signable) => publish(signedSplit(live, signable), 'the way to what absent members’ neighbours have left')),
    ...spends.map((tx) => publish(tx, 'every key below this output is here')),
  ];
};

/**
 * Whoever has published the leaf: what was bought must be on chain before the relative lock of the stock it spends is over,
 * or the LSP could take that stock back (architecture 7). One at a time, as on the way down.
 */
const purchaseStep = (live: Live, branch: Branch): Effect[] => {
  let parent = live.chain.spends[outpointKey(leafOf(live, branch).signable.tx.prevout.outpoint)];
  if (parent?.by !== leafOf(live, branch).signable.txid) return [];
  const path = purchasePath(live, branch);
  for (const [index, purchase] of path.entries()) {
    const spend = live.chain.spends[outpointKey(purchase.signable.tx.prevout.outpoint)];
    const lockedUntil = parent.height + live.spec.terms.stockCsv;
    if (!spend) {
      return [publish(purchase, `purchase of client ${String(branch.member)}`, { deadline: lockedUntil, exit: { member: branch.member, left: path.length - index } })];
    }
    if (spend.by !== purchase.signable.txid) return [];
    parent = spend;
  }
  return [];
};

/** A way out that is wanted (again): the earlier of two deadlines counts. */
export const exitFrom = (known: Exit | undefined, since: number, by: number | undefined): Exit => {
  const { deadline } = earliest([known?.by, by]);
  return { since: known?.since ?? since, ...(deadline === undefined ? {} : { by: deadline }) };
};

/**
 * By when the next of `left` steps should be confirmed. The root ends the distribution, which would pay the coordinator
 * nothing; a member loses nothing by it. What forces an exit leaves its time for the steps that follow.
 */
const deadlineOf = (live: Live, role: 'coordinator' | 'member', branch: Branch, left: number): { readonly deadline?: number } => {
  const beforeExpiry = role === 'coordinator' && fundingStatus(live).kind === 'confirmed' && live.chain.tip < live.spec.expiryHeight;
  const by = live.exits[branch.member]?.by;
  return earliest([beforeExpiry ? live.spec.expiryHeight : undefined, by === undefined ? undefined : by - exitBlocks(left - 1)]);
};

type Broadcast = Extract<Effect, { kind: 'broadcast' }>;
const publish = (tx: SignedTx, why: string, more: Pick<Broadcast, 'deadline' | 'exit'> = {}): Effect => ({ kind: 'broadcast', tx, why, ...more });

/**
 * The coordinator's own money in branches that are on chain: stock nobody has bought, spendable by it alone once the
 * relative lock has passed. Each is small; it goes to `destination` by itself.
 */
export const sweeps = (live: Live, destination: Script): Effect[] =>
  live.branches.flatMap((branch) => {
    const stock = lastStock(live, branch);
    const { signable } = purchasePath(live, branch).at(-1) ?? leafOf(live, branch);
    const confirmed = live.chain.spends[outpointKey(signable.tx.prevout.outpoint)];
    if (!stock || confirmed?.by !== signable.txid || live.chain.spends[outpointKey(stock.outpoint)]) return [];
    if (live.chain.tip < spendableFrom(confirmed.height, live.spec.terms.stockCsv)) return [];
    return [{ kind: 'sweep_stock' as const, spec: live.spec, member: branch.member, stock, destination }];
  });

/**
 * The channels under a factory that has ended by close or distribution, or that never came to be, can never be published:
 * close them in the node, once that is deep enough. So it is with those of a branch that was handed over, once something else has
 * spent an output above its leaf; until then, the node must know them, to punish whoever publishes an old state.
 */
export const retire = (live: Live): { readonly live: Live; readonly effects: Effect[] } => {
  if (live.retired) return { live, effects: [] };
  const before = live.retiredMembers ?? [];
  const over = isOver(live);
  const now = live.branches.filter((b) => !before.includes(b.member) && (over || isTurnedOver(live, b)));
  if (now.length === 0) return { live, effects: [] };
  const effects = now.flatMap((branch) => channelsOf(live, branch)).map(({ peer, channelId }) => ({ kind: 'retire_channel' as const, peer, channelId }));
  const retiredMembers = [...before, ...now.map((b) => b.member)];
  return { live: { ...live, retired: retiredMembers.length === live.branches.length, retiredMembers }, effects };
};

const isOver = (live: Live): boolean => {
  const funding = fundingStatus(live);
  if (funding.kind !== 'spent') return voidReason(live) !== undefined;
  return (funding.by === 'close' || funding.by === 'distribution') && funding.depth >= live.spec.terms.minDepth;
};
const isTurnedOver = (live: Live, branch: Branch): boolean => {
  const end = isHandedOver(live, branch) ? endOf(live, branch) : undefined;
  return end !== undefined && depthOf(live, end.height) >= Math.max(RIVAL_DEPTH, live.spec.terms.minDepth);
};
