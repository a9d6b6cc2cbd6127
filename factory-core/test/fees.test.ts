import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { sat } from '../../blip/brands.js';
import { childFee, decideBump, INCREMENTAL_FEERATE, replacementFee, type BumpCase, type Obstacle } from '../bump.js';
import { CALM_BLOCKS, LAST_BLOCKS, NORMAL_BLOCKS, PATIENCE_BLOCKS, targetFeerate, URGENT_BLOCKS, worthBumping, type FeeMarket } from '../fees.js';
import { CPFP_CHILD_VSIZE, feeFor } from '../sizes.js';

const feerate = fc.integer({ min: 1_000, max: 400_000 });
const market: fc.Arbitrary<FeeMarket> = fc.record({ floor: feerate, slow: feerate, normal: feerate, urgent: feerate });
const blocks = fc.integer({ min: -5, max: 300 });
const waited = fc.integer({ min: 0, max: 50 });
const calm: FeeMarket = { floor: 1_000, slow: 2_000, normal: 5_000, urgent: 20_000 };

describe('the curve', () => {
  test('passes its corners', () => {
    const at = (left: number): number => targetFeerate(calm, 0, left, 150_000);
    expect([CALM_BLOCKS + 1, CALM_BLOCKS, NORMAL_BLOCKS, URGENT_BLOCKS, LAST_BLOCKS, 0, -10].map(at)).toEqual([2_000, 2_000, 5_000, 20_000, 150_000, 150_000, 150_000]);
    // Between the last two: the same factor with every block, 7.5 in five.
    expect([5, 4, 3, 2].map(at)).toEqual([29_926, 44_777, 66_999, 100_249]);
  });

  test('never falls as the deadline comes nearer, nor as blocks are waited', () => {
    fc.assert(
      fc.property(market, feerate, waited, blocks, (m, ceiling, w, left) => {
        const now = targetFeerate(m, w, left, ceiling);
        expect(targetFeerate(m, w, left - 1, ceiling)).toBeGreaterThanOrEqual(now);
        expect(targetFeerate(m, w + 1, left, ceiling)).toBeGreaterThanOrEqual(now);
      }),
    );
  });

  test('stays between the floor and what the budget pays for, and ends there', () => {
    fc.assert(
      fc.property(market, feerate, waited, blocks, (m, ceiling, w, left) => {
        const now = targetFeerate(m, w, left, ceiling);
        expect(now).toBeLessThanOrEqual(ceiling);
        expect(now).toBeGreaterThanOrEqual(Math.min(m.floor, ceiling));
        expect(targetFeerate(m, w, Math.min(left, LAST_BLOCKS), ceiling)).toBe(ceiling);
      }),
    );
  });

  test('without a deadline it is patient, then not; without a budget it is the market’s', () => {
    expect([0, PATIENCE_BLOCKS - 1, PATIENCE_BLOCKS].map((w) => targetFeerate(calm, w, undefined, 150_000))).toEqual([2_000, 2_000, 5_000]);
    expect([200, 3, 0].map((left) => targetFeerate(calm, 0, left))).toEqual([2_000, 20_000, 20_000]);
  });

  test('a step is worth a child when it is more than a quarter', () => {
    expect(worthBumping(4_000, 5_000)).toBe(false);
    expect(worthBumping(4_000, 5_001)).toBe(true);
  });
});

const amount = (max: number): fc.Arbitrary<ReturnType<typeof sat>> => fc.integer({ min: 0, max }).map((n) => sat(BigInt(n)));
/** A child on an anchor may weigh up to 1,000 vB (BIP 431) and pays at least for its own relay. */
const obstacle: fc.Arbitrary<Obstacle> = fc
  .tuple(fc.integer({ min: 65, max: 1_000 }), fc.integer({ min: 1_000, max: 300_000 }), amount(20_000))
  .map(([vsize, rate, below]) => ({ vsize, fee: feeFor(vsize, rate), evicted: sat(feeFor(vsize, rate) + below) }));
const bumpCase: fc.Arbitrary<BumpCase> = fc
  .record({
    parentVsize: fc.integer({ min: 124, max: 800 }),
    treeFeerate: fc.integer({ min: 1_000, max: 20_000 }),
    childVsize: fc.constantFrom(CPFP_CHILD_VSIZE, 164),
    present: fc.option(obstacle, { nil: undefined }),
    rival: fc.option(obstacle, { nil: undefined }),
    market,
    incremental: fc.integer({ min: 100, max: 5_000 }),
    waited,
    blocksLeft: fc.option(blocks, { nil: undefined }),
    limit: amount(300_000),
  })
  .map(({ parentVsize, treeFeerate, present, rival, blocksLeft, ...rest }) => ({
    ...rest,
    parent: { vsize: parentVsize, fee: feeFor(parentVsize, treeFeerate) },
    ...(blocksLeft === undefined ? {} : { blocksLeft }),
    // A child is in the mempool with its parent, a rival instead of it.
    ...(rival ? { rival } : present ? { present } : {}),
  }));
const rate = (fee: bigint, vsize: number): number => Number((fee * 1_000n) / BigInt(vsize));

describe('what a child pays', () => {
  test('is within the limit, gets both above the floor, and is worth more than what was there', () => {
    fc.assert(
      fc.property(bumpCase, (bump) => {
        const { reached, target, child } = decideBump(bump);
        if (!child) return;
        expect(child.fee).toBeLessThanOrEqual(bump.limit);
        expect(child.fee).toBeGreaterThanOrEqual(feeFor(bump.childVsize, INCREMENTAL_FEERATE));
        expect(child.feerate).toBe(rate(bump.parent.fee + child.fee, bump.parent.vsize + bump.childVsize));
        expect(child.feerate).toBeGreaterThanOrEqual(bump.market.floor);
        expect(child.feerate).toBeGreaterThanOrEqual(target);
        expect(child.feerate).toBeGreaterThan(reached);
      }),
      { numRuns: 2_000 },
    );
  });

  test('satisfies BIP 125 rules 3 and 4 and Bitcoin Core’s own against any child that is there, so sibling eviction too', () => {
    fc.assert(
      fc.property(bumpCase, fc.integer({ min: 0, max: 2 }), (bump, smaller) => {
        const { child } = decideBump(bump);
        const there = bump.present;
        if (!child || !there) return;
        // An ECDSA signature may come out shorter than reckoned.
        const vsize = bump.childVsize - smaller;
        expect(child.fee).toBeGreaterThanOrEqual(there.evicted);
        expect(child.fee - there.evicted).toBeGreaterThanOrEqual(feeFor(vsize, Math.max(INCREMENTAL_FEERATE, bump.incremental ?? 0)));
        expect(rate(child.fee, vsize)).toBeGreaterThan(rate(there.fee, there.vsize));
      }),
      { numRuns: 2_000 },
    );
  });

  test('outbids, with its parent, what is in the parent’s place', () => {
    fc.assert(
      fc.property(bumpCase, (bump) => {
        const { child } = decideBump(bump);
        const { rival, parent, childVsize } = bump;
        if (!child || !rival) return;
        const [fee, vsize] = [parent.fee + child.fee, parent.vsize + childVsize];
        expect(fee - rival.evicted).toBeGreaterThanOrEqual(feeFor(vsize, INCREMENTAL_FEERATE));
        expect(rate(fee, vsize)).toBeGreaterThan(rate(rival.fee, rival.vsize));
      }),
    );
  });

  test('where there is none, either nothing is needed or it says what is lacking', () => {
    fc.assert(
      fc.property(bumpCase, (bump) => {
        const { reached, child, lacking } = decideBump(bump);
        const wish = targetFeerate(bump.market, bump.waited, bump.blocksLeft);
        if (lacking !== undefined) expect(lacking).toBeGreaterThan(bump.limit);
        if (child) return;
        const content = reached >= bump.market.floor && !worthBumping(reached, wish);
        expect(content || lacking !== undefined).toBe(true);
        if (lacking !== undefined) expect(lacking).toBeGreaterThanOrEqual(feeFor(bump.childVsize, INCREMENTAL_FEERATE));
      }),
      { numRuns: 2_000 },
    );
  });

  test('with enough money, is always made where one is needed', () => {
    fc.assert(
      fc.property(bumpCase, (bump) => {
        const { reached, target, child, lacking } = decideBump({ ...bump, limit: sat(5_000_000n) });
        if (reached < bump.market.floor || worthBumping(reached, target)) expect(child).toBeDefined();
        expect(lacking).toBeUndefined();
      }),
    );
  });

  test('grows along the curve until all that is allowed is paid', () => {
    const parent = { vsize: 253, fee: feeFor(253, 2_000) };
    const limit = sat(50_000n);
    let present: Obstacle | undefined;
    const paid: bigint[] = [];
    for (let blocksLeft = 30; blocksLeft >= 0; blocksLeft -= 1) {
      const { child } = decideBump({ parent, childVsize: CPFP_CHILD_VSIZE, market: calm, waited: 0, blocksLeft, limit, ...(present ? { present } : {}) });
      if (!child) continue;
      paid.push(child.fee);
      present = { vsize: CPFP_CHILD_VSIZE, fee: child.fee, evicted: child.fee };
    }
    expect(paid.every((fee, i) => i === 0 || fee >= paid[i - 1]! + feeFor(CPFP_CHILD_VSIZE, INCREMENTAL_FEERATE))).toBe(true);
    expect(paid.length).toBeGreaterThan(5);
    expect(paid.length).toBeLessThan(20);
    expect(paid.at(-1)).toBeGreaterThan(49_900n);
  });
});

describe('a junk child of somebody else', () => {
  const parent = { vsize: 253, fee: feeFor(253, 2_000) };
  const junk = (fee: bigint, vsize = 990): Obstacle => ({ vsize, fee: sat(fee), evicted: sat(fee) });
  const against = (present: Obstacle, limit: bigint, blocksLeft = 6) => decideBump({ parent, childVsize: CPFP_CHILD_VSIZE, present, market: calm, waited: 0, blocksLeft, limit: sat(limit) });

  test('large and cheap: replaced, for what it pays and our own relay at least', () => {
    expect(against(junk(990n), 50_000n).child?.fee).toBe(childFee(parent, CPFP_CHILD_VSIZE, 20_000));
    expect(against(junk(15_000n), 50_000n).child?.fee).toBe(replacementFee(CPFP_CHILD_VSIZE, junk(15_000n)));
    expect(replacementFee(CPFP_CHILD_VSIZE, junk(15_000n))).toBe(15_153n);
  });
  test('dearer than we may: it stays, and what is lacking is said', () => {
    const decision = against(junk(15_000n), 10_000n);
    expect(decision.child).toBeUndefined();
    expect(decision.lacking).toBe(15_153n);
  });
  test('that pays what we would: it does our work', () => {
    const decision = against(junk(30_000n), 50_000n);
    expect(decision).toEqual({ reached: 24_542, target: 20_000 });
  });
  test('small and dense: its feerate must be beaten, not only its fee', () => {
    const dense = junk(2_000n, 70);
    expect(replacementFee(CPFP_CHILD_VSIZE, dense)).toBe(feeFor(CPFP_CHILD_VSIZE, 28_572));
  });
});
