import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { sat, script, txid, type Sat } from '../../../blip/brands.js';
import { select } from '../coin-selection.js';
import { LightningError, type Coin } from '../lightning.js';

const P2TR = script(`5120${'11'.repeat(32)}`);
const P2WPKH = script(`0014${'22'.repeat(20)}`);
const P2WSH = script(`0020${'33'.repeat(32)}`);
const coin = (amount: bigint, vout = 0, paid = P2TR): Coin => ({ outpoint: { txid: txid('ab'.repeat(32)), vout }, amount: sat(amount), script: paid, height: 1 });
const coins = (...amounts: readonly bigint[]): readonly Coin[] => amounts.map((amount, i) => coin(amount, i));
const RESERVE = sat(25_000n);
const NONE = sat(0n);

const missing = (run: () => unknown): Sat | undefined => {
  try {
    run();
    return undefined;
  } catch (error) {
    if (error instanceof LightningError && error.code === 'insufficient_funds') return error.details.missing;
    throw error;
  }
};

describe('select', () => {
  test('as many as it takes', () => {
    expect(select(coins(100_000n, 50_000n, 10_000n), sat(90_000n), 1_000, NONE)).toEqual({ coins: coins(100_000n), total: 100_000n, fee: 154n });
    expect(select(coins(100_000n, 50_000n, 10_000n), sat(100_000n), 1_000, NONE).coins).toHaveLength(2);
  });

  test('fees by what is spent, at any feerate', () => {
    expect(select([coin(100_000n, 0, P2WPKH)], sat(1_000n), 1_000, NONE).fee).toBe(165n);
    expect(select([coin(100_000n, 0, P2WSH)], sat(1_000n), 1_000, NONE).fee).toBe(167n);
    expect(select(coins(100_000n), sat(1_000n), 1_500, NONE).fee).toBe(231n);
  });

  test('the reserve may be in coins not taken, or in the change, or in both', () => {
    expect(select(coins(100_000n, 25_000n), sat(99_000n), 1_000, RESERVE).coins).toHaveLength(1);
    expect(select(coins(200_000n), sat(100_000n), 1_000, RESERVE).coins).toHaveLength(1);
    expect(select(coins(110_000n, 20_000n), sat(100_000n), 1_000, RESERVE).coins).toHaveLength(1);
    expect(missing(() => select(coins(110_000n, 10_000n), sat(100_000n), 1_000, RESERVE))).toBe(25_000n + 100_000n + 212n - 120_000n);
  });

  test('change that would be dust is no reserve', () => {
    expect(select(coins(100_654n), sat(100_000n), 1_000, NONE).coins).toHaveLength(1);
    expect(missing(() => select(coins(100_654n), sat(100_000n), 1_000, sat(400n)))).toBe(546n);
  });

  test('an empty wallet lacks everything', () => {
    expect(missing(() => select([], sat(1_000n), 1_000, NONE))).toBe(1_097n);
  });

  test('what it says is missing is enough', () => {
    const amounts = fc.array(fc.bigInt({ min: 1_000n, max: 1_000_000n }), { maxLength: 6 });
    fc.assert(
      fc.property(amounts, fc.bigInt({ min: 1n, max: 5_000_000n }), fc.integer({ min: 250, max: 500_000 }), fc.constantFrom(NONE, RESERVE), (held, target, feerate, reserve) => {
        const wallet = coins(...held);
        const lack = missing(() => select(wallet, sat(target), feerate, reserve));
        if (lack === undefined) {
          const { coins: taken, total, fee } = select(wallet, sat(target), feerate, reserve);
          expect(total).toBe(taken.reduce((sum, one) => sum + one.amount, 0n));
          expect(total).toBeGreaterThanOrEqual(target + fee);
          return;
        }
        expect(lack).toBeGreaterThan(0n);
        // One more coin brings its own input's fee.
        const more = sat(lack + BigInt(Math.ceil((58 * feerate) / 1000)) + 1n);
        expect(missing(() => select([...wallet, coin(more, 99)], sat(target), feerate, reserve))).toBeUndefined();
      }),
    );
  });
});
