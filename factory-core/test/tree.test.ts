import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { txid } from '../../blip/brands.js';
import type { FactorySpec, Signable, Split, TxOutput } from '../model.js';
import { aggregateKeys } from '../musig/index.js';
import {
  ANCHOR_AMOUNT,
  buildPath,
  buildTree,
  DUST_LIMIT,
  feeFor,
  fundingRequirement,
  pathOf,
  serialize,
  slotAmount,
  TreeError,
  type Tree,
} from '../transactions.js';
import { alike, arbitrarySpec, client, COORDINATOR, publicKey, specFor } from './support/factory.js';

const runs = { numRuns: 30 };
const members = (spec: FactorySpec): readonly number[] => spec.roster.map((_, member) => member);
const all = (tree: Tree): readonly Signable[] => [...tree.splits, tree.distribution];
const total = (outputs: readonly TxOutput[]): bigint => outputs.reduce((sum, output) => sum + output.amount, 0n);

describe('published sizes (architecture 4)', () => {
  test('127 clients at 5×5×6: 31 splits, 4 transactions and 1,098 vB from funding to channel', () => {
    const spec = specFor({ clients: alike(127), fanouts: [5, 5, 6] });
    const tree = buildTree(spec);
    expect(tree.splits).toHaveLength(31);
    expect(tree.slots).toHaveLength(127);
    expect(pathOf(tree, 0).splits.map((s) => s.vsize)).toEqual([68 + 43 * 5 + 13, 68 + 43 * 5 + 13, 68 + 43 * 6 + 13]);
    expect(pathOf(tree, 0).splits.reduce((sum, s) => sum + s.vsize, 167)).toBe(1_098);
  });

  test('a split with a children is 68 + 43a + 13 vB', () => {
    for (const n of [2, 5, 16]) {
      const [root] = buildTree(specFor({ clients: alike(n), fanouts: [n] })).splits;
      expect(root?.vsize).toBe(68 + 43 * n + 13);
    }
  });
});

describe('every tree', () => {
  test('conserves value at every node: outputs, fee and nothing else', () => {
    fc.assert(
      fc.property(arbitrarySpec, (spec) => {
        for (const { tx, fee, vsize, purpose } of all(buildTree(spec))) {
          expect(total(tx.outputs) + fee).toBe(tx.prevout.amount);
          if (purpose === 'split') expect(fee).toBe(feeFor(vsize, spec.terms.treeFeerate));
          else expect(fee).toBeGreaterThanOrEqual(feeFor(vsize, spec.terms.treeFeerate));
        }
      }),
      runs,
    );
  });

  test('has one anchor per transaction, the last output, and no other output below 330 sat', () => {
    fc.assert(
      fc.property(arbitrarySpec, (spec) => {
        for (const { tx } of all(buildTree(spec))) {
          const [anchor, ...others] = [...tx.outputs].reverse();
          expect(anchor).toEqual({ amount: ANCHOR_AMOUNT, script: '51024e73', role: { kind: 'anchor' } });
          for (const { amount, role } of others) {
            expect(amount).toBeGreaterThanOrEqual(DUST_LIMIT);
            expect(role.kind).not.toBe('anchor');
          }
        }
      }),
      runs,
    );
  });

  test('holds every client once: a slot of its amount, a payout of the same, to its script', () => {
    fc.assert(
      fc.property(arbitrarySpec, (spec) => {
        const tree = buildTree(spec);
        const outputs = all(tree).flatMap(({ tx }) => tx.outputs);
        expect(tree.slots).toHaveLength(spec.roster.length);
        for (const member of members(spec)) {
          const entry = spec.roster[member];
          const slots = outputs.filter(({ role }) => role.kind === 'slot' && role.member === member);
          const payouts = outputs.filter(({ role }) => role.kind === 'payout' && role.member === member);
          expect(slots).toMatchObject([{ amount: slotAmount(spec, member), script: aggregateKeys([spec.coordinatorKey, entry!.key]).script }]);
          expect(payouts).toMatchObject([{ amount: slotAmount(spec, member), script: entry?.payoutScript }]);
          expect(tree.slots[member]).toMatchObject({ amount: slots[0]?.amount, script: slots[0]?.script });
        }
      }),
      runs,
    );
  });

  test('hangs together: a split spends the parent output that names its clients, all begin at the funding output', () => {
    fc.assert(
      fc.property(arbitrarySpec, (spec) => {
        const { splits, slots, distribution } = buildTree(spec);
        const [root, ...others] = splits;
        const funding = { outpoint: spec.funding, ...fundingRequirement(spec) };
        expect(root?.tx.prevout).toEqual(funding);
        expect(distribution.tx.prevout).toEqual(funding);
        const outputOf = (at: Split['tx']['prevout']['outpoint']) => splits.find((s) => s.txid === at.txid)?.tx.outputs[at.vout];
        for (const { tx, from, to } of others) {
          expect(outputOf(tx.prevout.outpoint)).toEqual({ amount: tx.prevout.amount, script: tx.prevout.script, role: { kind: 'split', from, to } });
        }
        for (const [member, { outpoint }] of slots.entries()) expect(outputOf(outpoint)?.role).toEqual({ kind: 'slot', member });
      }),
      runs,
    );
  });

  test('is signed by coordinator and the clients below, in that order, for the output it spends', () => {
    fc.assert(
      fc.property(arbitrarySpec, (spec) => {
        const { splits, distribution } = buildTree(spec);
        const keys = spec.roster.map((entry) => entry.key);
        for (const { signers, from, to, tx } of splits) {
          expect(signers).toEqual([spec.coordinatorKey, ...keys.slice(from, to)]);
          expect(tx.prevout.script).toBe(aggregateKeys(signers).script);
        }
        expect(distribution.signers).toEqual([spec.coordinatorKey, ...keys]);
      }),
      runs,
    );
  });

  test('has the versions, lock times and sequences of architecture 4', () => {
    fc.assert(
      fc.property(arbitrarySpec, (spec) => {
        const { splits, distribution } = buildTree(spec);
        for (const { tx } of splits) expect(tx).toMatchObject({ version: 3, lockTime: 0, sequence: 0xfffffffe });
        expect(distribution.tx).toMatchObject({ version: 2, lockTime: spec.expiryHeight, sequence: 0xfffffffe });
      }),
      runs,
    );
  });

  test('gives each member the path that the member builds alone', () => {
    fc.assert(
      fc.property(arbitrarySpec, (spec) => {
        const tree = buildTree(spec);
        for (const member of members(spec)) expect(buildPath(spec, member)).toEqual(pathOf(tree, member));
      }),
      runs,
    );
  });

  test('depends on every field of its spec that transactions carry', () => {
    const spec = specFor({ clients: alike(5) });
    const root = (s: FactorySpec): string => serialize(buildTree(s).splits[0]!.tx);
    const other = txid('11'.repeat(32));
    expect(root({ ...spec, funding: { ...spec.funding, txid: other } })).not.toBe(root(spec));
    expect(root({ ...spec, funding: { ...spec.funding, vout: 7 } })).not.toBe(root(spec));
  });
});

describe('what does not add up is not built', () => {
  const spec = specFor({ clients: alike(5) });
  const lavish = { ...spec, fundingAmount: (spec.fundingAmount + 1n) as typeof spec.fundingAmount };

  test('a funding amount that is not what the tree needs', () => {
    expect(() => buildTree(lavish)).toThrow(new TreeError('fundingAmount', `the tree needs ${spec.fundingAmount} sat, the funding output has ${lavish.fundingAmount}`));
    expect(() => buildPath(lavish, 0)).toThrow(TreeError);
  });

  test('a path of nobody', () => {
    expect(() => buildPath(spec, 5)).toThrow(RangeError);
    expect(() => pathOf(buildTree(spec), 5)).toThrow(TreeError);
  });
});

describe('a path', () => {
  test('is the splits that cover the member, and its slot', () => {
    const path = buildPath(specFor({ clients: alike(9), fanouts: [3, 3] }), 4);
    expect(path.splits.map(({ from, to }) => [from, to])).toEqual([
      [0, 9],
      [3, 6],
    ]);
    expect(path.slot.script).toBe(aggregateKeys([publicKey(COORDINATOR), publicKey(client(4))]).script);
  });
});
