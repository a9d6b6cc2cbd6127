/** How much of a balance goes over to another channel at a time. */
import { msat, type Msat } from '../../blip/brands.js';

/** What the node in between asks for (its channel_update). */
export interface ForwardConditions {
  readonly feeBase: Msat;
  readonly feePpm: number;
  readonly htlcMin: Msat;
  readonly htlcMax: Msat;
}

/** The next piece, with the fee on top; `rest`: what is left is too little to be moved. */
export interface Piece {
  readonly amount: Msat;
  readonly fee: Msat;
  readonly rest: boolean;
}

/** Less than this, in msat, is not worth a payment of its own: it is paid with what the reserve keeps. */
const LEAST = 1_000n;
/** Up to so much, in msat, goes in one piece. */
const ONE_PIECE = 10_000_000n;
/** Otherwise a part of what there is, so that payments find something on both sides all the while. */
const PARTS = 4n;

const MILLION = 1_000_000n;

export const feeOf = (amount: bigint, { feeBase, feePpm }: ForwardConditions): Msat => msat(feeBase + (amount * BigInt(feePpm)) / MILLION);

const leastOf = ({ htlcMin }: ForwardConditions): bigint => (htlcMin > LEAST ? htlcMin : LEAST);

/**
 * @param spendable of the old channel, @param receivable of the new one
 * @returns an amount of 0 when nothing can be sent now
 */
export const movable = (spendable: Msat, receivable: Msat, conditions: ForwardConditions): Piece => {
  const most = spendable > conditions.feeBase ? ((spendable - conditions.feeBase) * MILLION) / (MILLION + BigInt(conditions.feePpm)) : 0n;
  const none = { amount: msat(0n), fee: msat(0n) };
  const least = leastOf(conditions);
  if (most < least) return { ...none, rest: true };
  const piece = most > ONE_PIECE ? most / PARTS : most;
  const amount = [piece, receivable, conditions.htlcMax].reduce((a, b) => (b < a ? b : a));
  if (amount < least) return { ...none, rest: false };
  return { amount: msat(amount), fee: feeOf(amount, conditions), rest: false };
};

/**
 * The most that can be left in a channel out of which everything was moved that can be, in the view of the node in between:
 * who says that it is through and has more has not moved, and is not paid what it says it could not (architecture 8).
 * @param reserve what that node wants left in the channel
 */
export const unmovable = (reserve: Msat, conditions: ForwardConditions): Msat => {
  const least = leastOf(conditions);
  return msat(reserve + least + feeOf(least, conditions) + LEAST);
};
