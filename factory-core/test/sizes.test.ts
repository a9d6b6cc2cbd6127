import { describe, expect, test } from '@jest/globals';
import { script } from '../../blip/brands.js';
import { compactSizeLength, feeFor, keySpendVsize, leafVsize, splitVsize } from '../sizes.js';

describe('sizes (architecture 4)', () => {
  test('of splits: 68 + 43a + 13', () => {
    expect([2, 5, 6, 16].map(splitVsize)).toEqual([167, 296, 339, 769]);
  });

  test('of leaves: 167, one P2TR output less without stock', () => {
    expect([leafVsize(true), leafVsize(false)]).toEqual([167, 124]);
  });

  test('grow by two bytes with the 253rd output', () => {
    const of = (outputs: number): number => keySpendVsize(Array.from({ length: outputs }, () => script('51024e73')));
    expect([of(1), of(252), of(253)]).toEqual([68 + 13, 68 + 252 * 13, 68 + 253 * 13 + 2]);
  });
});

test('CompactSize takes 1, 3 or 5 bytes', () => {
  expect([0, 252, 253, 0xffff, 0x10000].map(compactSizeLength)).toEqual([1, 1, 3, 3, 5]);
});

test('a fee is rounded up to the satoshi', () => {
  expect(feeFor(167, 2_000)).toBe(334n);
  expect(feeFor(167, 1_001)).toBe(168n);
  expect(feeFor(1, 1)).toBe(1n);
  expect(feeFor(0, 1_000)).toBe(0n);
  expect(feeFor(100_000, 1_000_000)).toBe(100_000_000n);
});
