/**
 * Whether a transaction of ours needs a child, and what that child must pay: what the curve asks for, what mempools demand
 * before they let it replace what is in its way, and what we may spend. Pure; asked again with every block.
 */
import { sat, type Sat } from '../blip/brands.js';
import { targetFeerate, worthBumping, type FeeMarket } from './fees.js';
import { feeFor } from './sizes.js';

/** Least step of a replacement, in sat per 1,000 vB: Bitcoin Core's `incrementalrelayfee` up to version 29, higher than later ones’. */
export const INCREMENTAL_FEERATE = 1_000;
/** A child never pays more, in sat per 1,000 vB: nodes refuse it as a mistake (`maxfeerate` of `sendrawtransaction`, 0.1 BTC). */
const ABSURD_FEERATE = 10_000_000;

interface Weighed {
  readonly fee: Sat;
  /** vB. */
  readonly vsize: number;
}

/**
 * What has to leave the mempool for ours: a child on the same anchor, or the one descendant that a version-3 parent may
 * have (sibling eviction, BIP 431), or what spends the parent's own input.
 */
export interface Obstacle extends Weighed {
  /** Of it and of everything below it, which leaves with it. */
  readonly evicted: Sat;
}

export interface BumpCase {
  readonly parent: Weighed;
  /** Of the child we would make. */
  readonly childVsize: number;
  /** The child that is in the mempool, whoever made it. */
  readonly present?: Obstacle;
  /** What is in the mempool in the parent's place. */
  readonly rival?: Obstacle;
  readonly market: FeeMarket;
  /** The node's, if it is higher than ours. */
  readonly incremental?: number;
  readonly waited: number;
  readonly blocksLeft?: number;
  /** The most that the child may pay, in sat. */
  readonly limit: Sat;
}

export interface BumpDecision {
  /** sat per 1,000 vB that the parent is worth to a miner as it is; 0 while something else is in its place. */
  readonly reached: number;
  readonly target: number;
  /** The child to make now; its feerate is that of both together. */
  readonly child?: { readonly fee: Sat; readonly feerate: number };
  /** What a child would have to pay for what the market asks for, in sat, where that is above the limit. */
  readonly lacking?: Sat;
}

const rate = (fee: bigint, vsize: number): number => Number((fee * 1_000n) / BigInt(vsize));
const max = (...amounts: readonly bigint[]): bigint => amounts.reduce((a, b) => (a > b ? a : b));

/**
 * The least fee, in sat, with which transactions of `vsize` vB may take an obstacle's place: its fees and the relay of our
 * own bytes (BIP 125 rules 3 and 4), and a higher feerate than its own (Bitcoin Core's further rule).
 */
export const replacementFee = (vsize: number, { fee, vsize: size, evicted }: Obstacle, incremental = INCREMENTAL_FEERATE): Sat =>
  sat(max(evicted + feeFor(vsize, incremental), feeFor(vsize, rate(fee, size) + 1)));

/** The least that a child may pay here for any mempool to take it, in sat. */
const leastFee = ({ parent, childVsize, present, rival, incremental = INCREMENTAL_FEERATE }: BumpCase): bigint => {
  const step = Math.max(incremental, INCREMENTAL_FEERATE);
  return max(
    feeFor(childVsize, step),
    present ? replacementFee(childVsize, present, step) : 0n,
    // Parent and child come as a package, and their fees count together.
    rival ? replacementFee(parent.vsize + childVsize, rival, step) - parent.fee : 0n,
  );
};

/** What a child must pay so that both together reach a feerate, in sat; 0 where the parent alone pays for both. */
export const childFee = (parent: Weighed, childVsize: number, feerate: number): Sat =>
  sat(max(feeFor(parent.vsize + childVsize, feerate) - parent.fee, 0n));

/** sat per 1,000 vB. A miner takes the parent without a child that would be a burden to it. */
const reachedBy = ({ parent, present, rival }: BumpCase): number => {
  if (rival) return 0;
  const alone = rate(parent.fee, parent.vsize);
  return present ? Math.max(alone, rate(parent.fee + present.fee, parent.vsize + present.vsize)) : alone;
};

export const decideBump = (bump: BumpCase): BumpDecision => {
  const { parent, childVsize, market, waited, blocksLeft, limit } = bump;
  const together = parent.vsize + childVsize;
  const absurd = feeFor(childVsize, ABSURD_FEERATE);
  const most = limit < absurd ? limit : absurd;
  const ceiling = rate(parent.fee + most, together);
  const reached = reachedBy(bump);
  const wish = targetFeerate(market, waited, blocksLeft);
  const target = targetFeerate(market, waited, blocksLeft, ceiling);
  const needs = (feerate: number): bigint => max(childFee(parent, childVsize, feerate), leastFee(bump));
  const lacking = (): Pick<BumpDecision, 'lacking'> => (reached < market.floor || worthBumping(reached, wish) ? { lacking: sat(needs(wish)) } : {});

  // Below the floor any step that leads above it is worth it.
  if (reached >= market.floor && !worthBumping(reached, target)) return { reached, target, ...(wish > ceiling ? lacking() : {}) };
  const fee = needs(target);
  const feerate = rate(parent.fee + fee, together);
  if (fee > most || feerate < market.floor) return { reached, target, lacking: sat(max(fee, needs(Math.max(wish, market.floor)))) };
  return { reached, target, child: { fee: sat(fee), feerate }, ...(wish > ceiling ? lacking() : {}) };
};
