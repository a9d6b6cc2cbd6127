/** How much a transaction of ours may cost, and when (architecture 10). */

/** sat per 1,000 vB. */
export interface FeeMarket {
  readonly floor: number;
  readonly slow: number;
  readonly normal: number;
  readonly urgent: number;
}

/** Blocks before a deadline from which on the urgent feerate is paid. */
export const URGENT_BLOCKS = 12;
/** Blocks a transaction may wait at its built-in fee before a child helps. */
export const PATIENCE_BLOCKS = 3;
/** A replacement must raise the feerate by so much, in percent, or it is not worth a new child. */
export const BUMP_STEP_PERCENT = 25;

/**
 * The feerate a transaction should reach now, in sat per 1,000 vB. Calm weather asks for the slow rate; waiting and an
 * approaching deadline for more.
 * @param waited blocks since it was first published
 * @param blocksLeft blocks until its deadline; undefined without one
 */
export const wantedFeerate = (market: FeeMarket, waited: number, blocksLeft: number | undefined): number => {
  if (blocksLeft !== undefined && blocksLeft <= URGENT_BLOCKS) return market.urgent;
  return waited >= PATIENCE_BLOCKS ? market.normal : market.slow;
};

/** Whether a child that reaches `wanted` is worth making, when parent and present child reach `reached`. */
export const worthBumping = (reached: number, wanted: number): boolean => wanted * 100 > reached * (100 + BUMP_STEP_PERCENT);
