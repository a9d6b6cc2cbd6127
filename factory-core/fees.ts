/** What feerate a transaction of ours should reach, and when (architecture 10): a curve that rises towards its deadline. */

/** sat per 1,000 vB. */
export interface FeeMarket {
  /** Below it no mempool takes anything. */
  readonly floor: number;
  readonly slow: number;
  readonly normal: number;
  readonly urgent: number;
}

/** The curve's corners, in blocks until the deadline: up to the first the slow feerate is paid, at the last all that the budget allows. */
export const CALM_BLOCKS = 144;
export const NORMAL_BLOCKS = 24;
export const URGENT_BLOCKS = 6;
export const LAST_BLOCKS = 1;
/** Blocks a transaction waits at the slow feerate before it gets the normal one, deadline or not. */
export const PATIENCE_BLOCKS = 3;
/** A replacement must raise the feerate by so much, in percent, or it is not worth a new child. */
export const BUMP_STEP_PERCENT = 25;

type Corner = readonly [blocksLeft: number, feerate: number];

/** Between two corners the feerate grows by the same factor with every block: what helps is a multiple, not a sum. */
const between = ([far, low]: Corner, [near, high]: Corner, blocksLeft: number): number =>
  Math.round(low * Math.exp((Math.log(high / low) * (far - blocksLeft)) / (far - near)));

const onCurve = (corners: readonly Corner[], blocksLeft: number): number => {
  let before: Corner | undefined;
  for (const corner of corners) {
    if (blocksLeft >= corner[0]) return before ? between(before, corner, blocksLeft) : corner[1];
    before = corner;
  }
  return before?.[1] ?? 0;
};

/**
 * The feerate to reach now, in sat per 1,000 vB: never below the floor, never above the ceiling (which comes first when they
 * contradict), never less with fewer blocks left. At the deadline, and after it, the ceiling.
 * @param waited blocks since the transaction was first published
 * @param blocksLeft blocks until its deadline; undefined without one
 * @param ceiling what the budget pays for; `urgent` when absent, which gives what the market alone asks for
 */
export const targetFeerate = (market: FeeMarket, waited: number, blocksLeft: number | undefined, ceiling?: number): number => {
  const slow = Math.max(market.floor, market.slow, 1);
  const normal = Math.max(slow, market.normal);
  const urgent = Math.max(normal, market.urgent);
  const patient = waited >= PATIENCE_BLOCKS ? normal : slow;
  const corners: readonly Corner[] = [
    [CALM_BLOCKS, slow],
    [NORMAL_BLOCKS, normal],
    [URGENT_BLOCKS, urgent],
    [LAST_BLOCKS, Math.max(urgent, ceiling ?? 0)],
  ];
  const wanted = blocksLeft === undefined ? patient : Math.max(patient, onCurve(corners, blocksLeft));
  return ceiling === undefined ? wanted : Math.min(wanted, ceiling);
};

/** Whether a child that reaches `wanted` is worth making, when parent and present child reach `reached`. */
export const worthBumping = (reached: number, wanted: number): boolean => wanted * 100 > reached * (100 + BUMP_STEP_PERCENT);
