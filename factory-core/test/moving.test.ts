/** How a balance goes over piece by piece, and what is left in the end. */
import { describe, expect, test } from '@jest/globals';
import { msat } from '../../blip/brands.js';
import { feeOf, movable, unmovable, type ForwardConditions } from '../live/moving.js';

const CONDITIONS: ForwardConditions = { feeBase: msat(1n), feePpm: 10, htlcMin: msat(0n), htlcMax: msat(990_000_000n) };
const PLENTY = msat(10_000_000_000n);

/** Moves until there is nothing left to move. */
const moveAll = (spendable: bigint, conditions: ForwardConditions): { readonly pieces: readonly bigint[]; readonly left: bigint } => {
  const pieces: bigint[] = [];
  let left = spendable;
  for (;;) {
    const piece = movable(msat(left), PLENTY, conditions);
    if (piece.amount === 0n) {
      expect(piece.rest).toBe(true);
      return { pieces, left };
    }
    expect(piece.fee).toBe(feeOf(piece.amount, conditions));
    expect(piece.amount + piece.fee).toBeLessThanOrEqual(left);
    pieces.push(piece.amount);
    left -= piece.amount + piece.fee;
  }
};

describe('pieces', () => {
  test('at most a quarter of what there is at a time, the last few sats at once', () => {
    const { pieces, left } = moveAll(500_000_000n, CONDITIONS);
    expect(pieces[0]).toBeLessThanOrEqual(125_000_000n);
    expect(pieces.length).toBeGreaterThan(4);
    expect(pieces.length).toBeLessThan(25);
    expect(left).toBeLessThan(1_010n);
  });
  test('no more than fits, and than the node in between takes at a time', () => {
    expect(movable(msat(400_000_000n), msat(7_000_000n), CONDITIONS).amount).toBe(7_000_000n);
    expect(movable(msat(400_000_000n), PLENTY, { ...CONDITIONS, htlcMax: msat(5_000_000n) }).amount).toBe(5_000_000n);
  });
  test('waits when there is no room, and has nothing to do when there is nothing', () => {
    expect(movable(msat(400_000_000n), msat(0n), CONDITIONS)).toEqual({ amount: 0n, fee: 0n, rest: false });
    expect(movable(msat(0n), PLENTY, CONDITIONS)).toEqual({ amount: 0n, fee: 0n, rest: true });
    expect(movable(msat(900n), PLENTY, CONDITIONS).rest).toBe(true);
  });

  test.each([
    CONDITIONS,
    { ...CONDITIONS, feeBase: msat(5_000n), feePpm: 2_500 },
    { ...CONDITIONS, htlcMin: msat(40_000n) },
    { ...CONDITIONS, feeBase: msat(0n), feePpm: 0 },
  ])('what is left is never more than the node in between allows for: %j', (conditions) => {
    const reserve = msat(546_000n);
    for (let spendable = 1n; spendable < 3_000_000_000n; spendable = spendable * 2n + 977n) {
      expect(reserve + moveAll(spendable, conditions).left).toBeLessThanOrEqual(unmovable(reserve, conditions));
    }
    // And that is little.
    expect(unmovable(reserve, conditions) - reserve).toBeLessThan(50_000n);
  });
});
