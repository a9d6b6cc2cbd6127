import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  checkShape,
  childRanges,
  isSlot,
  MAX_CLIENTS,
  MAX_FANOUT,
  MAX_LEVELS,
  pathNodes,
  planShape,
  shapeCost,
  ShapeError,
  shapeNodes,
} from '../shape.js';
import { CPFP_CHILD_VSIZE } from '../sizes.js';
import { arbitraryFanouts } from './support/factory.js';

const shapes = fc.integer({ min: 2, max: MAX_CLIENTS }).chain((n) => fc.record({ n: fc.constant(n), fanouts: arbitraryFanouts(n) }));

describe('a range among children', () => {
  test('is shared as evenly as possible, the first ones getting the extra', () => {
    const sizes = (from: number, to: number, fanout: number): number[] => childRanges({ from, to }, fanout).map((c) => c.to - c.from);
    expect(sizes(0, 127, 5)).toEqual([26, 26, 25, 25, 25]);
    expect(sizes(26, 52, 5)).toEqual([6, 5, 5, 5, 5]);
    expect(sizes(10, 13, 16)).toEqual([1, 1, 1]);
  });

  test('is covered without gap or overlap', () => {
    fc.assert(
      fc.property(fc.nat(100), fc.integer({ min: 2, max: 500 }), fc.integer({ min: 2, max: 16 }), (from, size, fanout) => {
        const children = childRanges({ from, to: from + size }, fanout);
        expect(children.map((c) => c.from)).toEqual([from, ...children.slice(0, -1).map((c) => c.to)]);
        expect(children.at(-1)?.to).toBe(from + size);
        const sizes = children.map((c) => c.to - c.from);
        expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1);
      }),
    );
  });
});

describe('the splits of a shape', () => {
  test('give every client exactly one slot', () => {
    fc.assert(
      fc.property(shapes, ({ n, fanouts }) => {
        const slots = shapeNodes(n, fanouts).flatMap((node) => node.children.filter(isSlot).map((c) => c.from));
        expect(slots.sort((a, b) => a - b)).toEqual(Array.from({ length: n }, (_, i) => i));
      }),
    );
  });

  test('come parents first, each child range being what its parent says', () => {
    fc.assert(
      fc.property(shapes, ({ n, fanouts }) => {
        const nodes = shapeNodes(n, fanouts);
        expect(nodes[0]).toMatchObject({ from: 0, to: n, level: 0 });
        expect(nodes[0]).not.toHaveProperty('parent');
        expect(nodes.every((node) => node.children.length >= 2)).toBe(true);
        const fromParent = nodes.slice(1).map((node, i) => {
          const { index, vout } = node.parent!;
          return { ...nodes[index]!.children[vout], level: nodes[index]!.level + 1, before: index <= i };
        });
        expect(fromParent).toEqual(nodes.slice(1).map(({ from, to, level }) => ({ from, to, level, before: true })));
      }),
    );
  });

  test('lead to a member exactly as its path says', () => {
    fc.assert(
      fc.property(shapes, fc.nat(), ({ n, fanouts }, some) => {
        const member = some % n;
        const path = pathNodes(n, fanouts, member);
        const covering = shapeNodes(n, fanouts).filter((node) => member >= node.from && member < node.to);
        expect(path.map(({ from, to, level, children }) => ({ from, to, level, children }))).toEqual(
          covering.map(({ from, to, level, children }) => ({ from, to, level, children })),
        );
        expect(path.at(-1)?.children[path.at(-1)?.exitVout ?? -1]).toEqual({ from: member, to: member + 1 });
      }),
    );
  });
});

describe('the planner', () => {
  test('finds the published figures for 127 clients: 5×5×6, 4 transactions, 1,098 vB', () => {
    expect(planShape(127)).toEqual([5, 5, 6]);
    expect(shapeCost(127, [5, 5, 6])).toEqual({
      splits: 31,
      pathSplits: 3,
      pathTransactions: 4,
      pathVbytes: 1_098,
      exitBlocks: 24,
      treeVbytes: 31 * 81 + 43 * (5 + 25 + 127) + 127 * 167,
    });
  });

  test('gives a shape that fits, whatever the number of clients', () => {
    for (let n = 2; n <= MAX_CLIENTS; n++) expect(checkShape(n, planShape(n))).toBeUndefined();
  });

  test('is not beaten by any other shape of up to three levels', () => {
    const worst = (n: number, fanouts: readonly number[]): number => {
      const cost = shapeCost(n, fanouts);
      return cost.pathVbytes + cost.pathTransactions * CPFP_CHILD_VSIZE;
    };
    const fans = Array.from({ length: MAX_FANOUT - 1 }, (_, i) => i + 2);
    const all = fans.flatMap((a) => [[a], ...fans.flatMap((b) => [[a, b], ...fans.map((c) => [a, b, c])])]);
    for (const n of [2, 3, 7, 16, 17, 33, 127]) {
      const planned = worst(n, planShape(n));
      expect(Math.min(...all.filter((fanouts) => !checkShape(n, fanouts)).map((fanouts) => worst(n, fanouts)))).toBe(planned);
    }
  });
});

describe('a shape that does not fit', () => {
  test.each([
    ['one client', 1, [2], 'clients'],
    ['half a client', 2.5, [3], 'clients'],
    ['too many clients', MAX_CLIENTS + 1, [16, 16, 16], 'clients'],
    ['no level', 2, [], 'fanouts'],
    ['too many levels', 2, Array.from({ length: MAX_LEVELS + 1 }, () => 2), 'fanouts'],
    ['a fan-out of one', 4, [4, 1], 'fanouts[1]'],
    ['a fan-out too large', 4, [MAX_FANOUT + 1], 'fanouts[0]'],
    ['half a fan-out', 4, [2, 2.5], 'fanouts[1]'],
    ['too little room', 127, [5, 5, 5], 'fanouts'],
  ])('is refused: %s', (_, n, fanouts, field) => {
    expect(checkShape(n, fanouts)?.field).toBe(field);
    expect(() => shapeNodes(n, fanouts)).toThrow(ShapeError);
  });

  test('is not planned for a number of clients that no factory has', () => {
    for (const n of [0, 1, 2.5, MAX_CLIENTS + 1, NaN]) expect(() => planShape(n)).toThrow(ShapeError);
  });

  test('has no path for a member that does not exist', () => {
    expect(() => pathNodes(5, [5], 5)).toThrow(RangeError);
    expect(() => pathNodes(5, [5], -1)).toThrow(RangeError);
  });
});
