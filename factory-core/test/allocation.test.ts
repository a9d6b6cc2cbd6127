import { describe, expect, test } from '@jest/globals';
import { msat, nodeId, sat } from '../../blip/brands.js';
import { allocate, leastCapacity, withWaiting, type Allocation, type AllocationBounds, type Use } from '../allocation.js';

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

describe('those who wait', () => {
  const node = (n: number) => nodeId(`02${n.toString(16).padStart(64, '0')}`);
  const waiter = (n: number, capacity: bigint, stock = 0n) => ({ nodeId: node(n), wish: 1, capacity: sat(capacity), stock: sat(stock), since: 1, seen: 1 });
  const MEMBERS: readonly Allocation[] = [1, 2].map((n) => ({ nodeId: node(n), capacity: sat(1_000_000n), stock: sat(0n), why: 'as it was' }));
  const USES = new Map([1, 2].map((n) => [node(n), { ...used({ balance: 900_000_000n }), nodeId: node(n) }]));
  const added = (waiting: readonly ReturnType<typeof waiter>[], wallet: bigint, clients = 512) => {
    const { allocations, left } = withWaiting(MEMBERS, USES, waiting, { wallet: sat(wallet), clients, treeFeerate: 2_000 });
    return [allocations.map((a) => a.capacity), left] as const;
  };

  test('come in the order of the room as long as there is money, and the members before them all', () => {
    const room = [waiter(3, 500_000n), waiter(4, 3_000_000n), waiter(5, 400_000n)];
    expect(added(room, 10_000_000n)).toEqual([[1_000_000n, 1_000_000n, 500_000n, 3_000_000n, 400_000n], []]);
    expect(added(room, 3_200_000n)).toEqual([[1_000_000n, 1_000_000n, 500_000n, 400_000n], [node(4)]]);
    expect(added(room, 2_000_000n)).toEqual([[1_000_000n, 1_000_000n], [node(3), node(4), node(5)]]);
    expect(added(room, 10_000_000n, 3)).toEqual([[1_000_000n, 1_000_000n, 500_000n], [node(4), node(5)]]);
  });
  test('a member that waits gets what it asks for, but not less than its balance needs', () => {
    expect(added([waiter(1, 2_000_000n)], 10_000_000n)).toEqual([[2_000_000n, 1_000_000n], []]);
    expect(added([waiter(1, 100_000n)], 10_000_000n)).toEqual([[leastCapacity(msat(900_000_000n)), 1_000_000n], []]);
    expect(added([waiter(1, 9_000_000n)], 3_000_000n)).toEqual([[1_000_000n, 1_000_000n], [node(1)]]);
    // Less is possible without any money.
    expect(added([waiter(2, 950_000n)], 0n, 2)).toEqual([[1_000_000n, 950_000n], []]);
  });
});
