import { describe, expect, test } from '@jest/globals';
import { msat, nodeId, sat } from '../../blip/brands.js';
import { allocate, leastCapacity, type AllocationBounds, type Use } from '../allocation.js';

const NODE = nodeId('02'.padEnd(66, '1'));
const BOUNDS: AllocationBounds = { minCapacity: sat(50_000n), maxCapacity: sat(5_000_000n), maxStock: sat(1_000_000n) };
const used = (over: Partial<Record<'capacity' | 'balance' | 'received' | 'stock' | 'unsold', bigint>>): Use => {
  const { capacity = 1_000_000n, balance = 400_000_000n, received = 600_000_000n, stock = 100_000n, unsold = 60_000n } = over;
  return { nodeId: NODE, capacity: sat(capacity), balance: msat(balance), received: msat(received), stock: sat(stock), unsold: sat(unsold) };
};
const proposed = (over: Parameters<typeof used>[0], bounds = BOUNDS) => {
  const { capacity, stock, why } = allocate(used(over), bounds);
  return [capacity, stock, why];
};

describe('allocation from use', () => {
  test.each([
    ['as it was', {}, [1_000_000n, 100_000n, 'as it was']],
    ['more for who has run out of inbound', { balance: 850_000_000n }, [1_500_000n, 100_000n, 'it has run out of inbound']],
    ['less for who uses little', { balance: 20_000_000n, received: 20_000_000n }, [750_000n, 100_000n, 'its channel lies idle']],
    ['not less for who has received much and spent it', { balance: 20_000_000n }, [1_000_000n, 100_000n, 'as it was']],
    ['more stock for who bought half of it', { unsold: 50_000n }, [1_000_000n, 150_000n, 'as it was, its stock was sold']],
    ['less stock where nothing was bought', { unsold: 100_000n }, [1_000_000n, 50_000n, 'as it was, its stock lies idle']],
    ['no stock where there was none', { stock: 0n, unsold: 0n }, [1_000_000n, 0n, 'as it was']],
    ['no stock that is dust', { stock: 600n, unsold: 600n }, [1_000_000n, 1_000n, 'as it was, its stock lies idle']],
  ])('%s', (_, use, expected) => {
    expect(proposed(use)).toEqual(expected);
  });

  test('stays within the operator’s bounds', () => {
    expect(proposed({ balance: 850_000_000n }, { ...BOUNDS, maxCapacity: sat(1_200_000n) })).toEqual([1_200_000n, 100_000n, 'it has run out of inbound, within bounds']);
    expect(proposed({ capacity: 60_000n, balance: 0n, received: 0n, unsold: 100_000n })).toEqual([50_000n, 50_000n, 'its channel lies idle, within bounds, its stock lies idle']);
    expect(proposed({}, { ...BOUNDS, maxStock: sat(300n) })).toEqual([1_000_000n, 0n, 'as it was']);
  });

  test('a balance always fits, whatever the bounds say', () => {
    const [capacity, , why] = proposed({ balance: 990_000_000n }, { ...BOUNDS, maxCapacity: sat(900_000n) });
    expect(capacity).toBeGreaterThanOrEqual(leastCapacity(msat(990_000_000n)));
    expect(why).toBe('its balance has to fit');
    for (let balance = 1n; balance < 2_000_000_000n; balance = balance * 3n + 7n) {
      const now = allocate(used({ balance, capacity: 2_000_000n }), BOUNDS);
      // 1 % reserve on either side and room for the fee of a commitment.
      expect((now.capacity * 99n) / 100n - 15_000n).toBeGreaterThanOrEqual(balance / 1000n);
    }
  });
});
