import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { earlyWarningTime, exitBlocks } from '../exit-plan.js';
import { minCltvExpiry } from '../htlc-policy.js';
import { channelDeadline, exitHeight } from '../live/htlc-deadline.js';

const EXPIRY = 900_000;
const out = { direction: 'out', expiry: EXPIRY, fulfilled: false } as const;
const held = { direction: 'in', expiry: EXPIRY, fulfilled: false } as const;
const paid = { direction: 'in', expiry: EXPIRY, fulfilled: true } as const;

describe('when an HTLC forces the way to the chain', () => {
  test('offered to us, the preimage still ours: never', () => {
    expect(exitHeight(held, 4, true)).toBeUndefined();
    expect(exitHeight(held, 4, false)).toBeUndefined();
    expect(channelDeadline(held)).toBeUndefined();
  });

  test.each([
    ['offered by us', out],
    ['offered to us and fulfilled', paid],
  ])('%s: the early warning before it expires; with the peer there, half of the margin less', (_, htlc) => {
    expect(exitHeight(htlc, 4, false)).toBe(EXPIRY - 4 * 6 - 18);
    expect(exitHeight(htlc, 4, true)).toBe(EXPIRY - 4 * 6 - 9);
    // What is on chain already need not be waited for.
    expect(exitHeight(htlc, 1, false)).toBe(EXPIRY - 6 - 18);
  });

  test('there is always time for the whole path and some blocks more, and one just taken on is in no hurry', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 10 }), fc.integer({ min: 1, max: 1_000_000 }), fc.boolean(), (path, height, connected) => {
        const expiry = minCltvExpiry(height, earlyWarningTime(path));
        const limit = exitHeight({ ...out, expiry }, path, connected) ?? 0;
        expect(limit + exitBlocks(path)).toBeLessThanOrEqual(expiry - 9);
        expect(channelDeadline({ ...out, expiry })).toBe(expiry - 9);
        expect(limit).toBeGreaterThan(height);
      }),
    );
  });
});
