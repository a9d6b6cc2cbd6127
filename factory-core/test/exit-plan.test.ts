import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { schnorrSignature, txid, type Outpoint, type Txid } from '../../blip/brands.js';
import {
  earlyWarningTime,
  exitBlocks,
  exitCost,
  exitTransactions,
  factoryEarlyWarningTime,
  isFinalAfter,
  planExit,
  spendableFrom,
  type ChainView,
  type ExitPath,
} from '../exit-plan.js';
import type { FactorySpec, SignedTx, Signable } from '../model.js';
import { CPFP_CHILD_VSIZE } from '../sizes.js';
import { buildLeaf, buildPath, feeFor } from '../transactions.js';
import { alike, arbitrarySpec, channelScript, specFor } from './support/factory.js';

const signed = (signable: Signable): SignedTx => ({ signable, signature: schnorrSignature('00'.repeat(64)) });
const exitPath = (spec: FactorySpec, member: number): ExitPath => {
  const { splits, slot, distribution } = buildPath(spec, member);
  const leaf = buildLeaf(spec, member, slot, channelScript(member));
  return { member, splits: splits.map(signed), leaf: signed(leaf), distribution: signed(distribution) };
};

/** A chain as a list of what each block spends; the first block is number 1. */
class Chain implements ChainView {
  readonly blocks: { readonly outpoint: Outpoint; readonly by: Txid }[][] = [];
  constructor(readonly base = 0) {}
  get height(): number {
    return this.base + this.blocks.length;
  }
  confirm(...transactions: readonly SignedTx[]): void {
    this.blocks.push(transactions.map(({ signable }) => ({ outpoint: signable.tx.prevout.outpoint, by: signable.txid })));
  }
  spend(outpoint: Outpoint, by: Txid): void {
    this.blocks.push([{ outpoint, by }]);
  }
  readonly spenderOf: ChainView['spenderOf'] = ({ txid: id, vout }) => {
    for (const [index, block] of this.blocks.entries()) {
      const hit = block.find(({ outpoint }) => outpoint.txid === id && outpoint.vout === vout);
      if (hit) return { txid: hit.by, height: this.base + index + 1 };
    }
    return undefined;
  };
}

const spec = specFor({ clients: alike(127), fanouts: [5, 5, 6] });
const path = exitPath(spec, 0);
const stranger = txid('ab'.repeat(32));

describe('the next step out', () => {
  test('is the first transaction that is not in the chain, down to the leaf; replayed after any loss', () => {
    fc.assert(
      fc.property(arbitrarySpec, fc.nat(), fc.array(fc.boolean(), { maxLength: 40 }), (s, some, events) => {
        const out = exitPath(s, some % s.roster.length);
        const transactions = exitTransactions(out);
        const chain = new Chain();
        for (const reorganised of events) {
          const step = planExit(out, chain);
          const done = chain.blocks.flat().length;
          if (done === transactions.length) expect(step).toEqual({ kind: 'complete', height: chain.height });
          else expect(step).toEqual({ kind: 'publish', next: transactions[done], remaining: transactions.slice(done) });
          if (reorganised) chain.blocks.pop();
          else if (step.kind === 'publish') chain.confirm(step.next);
        }
      }),
      { numRuns: 30 },
    );
  });

  test('does not depend on what siblings publish', () => {
    const sibling = exitPath(spec, 1);
    const chain = new Chain();
    chain.confirm(path.splits[0]!);
    chain.confirm(path.splits[1]!);
    chain.confirm(sibling.splits[2]!);
    chain.confirm(sibling.leaf!);
    expect(planExit(path, chain)).toMatchObject({ kind: 'publish', next: path.leaf });
  });

  test('ends at the slot while there is no leaf', () => {
    const { leaf, ...bare } = path;
    const chain = new Chain(99);
    for (const split of bare.splits) chain.confirm(split);
    expect(planExit(bare, chain)).toEqual({ kind: 'complete', height: 102 });
    expect(exitTransactions(bare)).not.toContain(leaf);
  });

  test('offers the distribution from the expiry height on, while nothing has been published', () => {
    const before = new Chain(spec.expiryHeight - 1);
    expect(planExit(path, before)).not.toHaveProperty('distribution');
    before.confirm();
    expect(planExit(path, before)).toMatchObject({ kind: 'publish', next: path.splits[0], distribution: path.distribution });
    before.confirm(path.splits[0]!);
    expect(planExit(path, before)).not.toHaveProperty('distribution');
  });

  test('is over when something else has spent an output of the path', () => {
    const closed = new Chain();
    closed.spend(spec.funding, stranger);
    expect(planExit(path, closed)).toEqual({ kind: 'ended', outpoint: spec.funding, by: stranger, distributed: false });

    const distributed = new Chain();
    distributed.confirm(path.distribution);
    expect(planExit(path, distributed)).toMatchObject({ kind: 'ended', by: path.distribution.signable.txid, distributed: true });

    const slotGone = new Chain();
    for (const split of path.splits) slotGone.confirm(split);
    slotGone.spend(path.leaf!.signable.tx.prevout.outpoint, stranger);
    expect(planExit(path, slotGone)).toMatchObject({ kind: 'ended', outpoint: path.leaf!.signable.tx.prevout.outpoint, by: stranger });
  });
});

describe('heights', () => {
  test('a lock time of h may be in block h + 1, so from tip h on', () => {
    expect([isFinalAfter(500, 499), isFinalAfter(500, 500)]).toEqual([false, true]);
  });

  test('a relative lock of n on block h may be spent in block h + n', () => {
    expect(spendableFrom(1_000, 144)).toBe(1_143);
  });
});

describe('times (architecture 4)', () => {
  test('exit_blocks is 6 per transaction, the early warning 18 more', () => {
    expect(exitBlocks(4)).toBe(24);
    expect(earlyWarningTime(4)).toBe(42);
    expect(factoryEarlyWarningTime(spec)).toBe(42);
    expect(factoryEarlyWarningTime(specFor({ clients: alike(2) }))).toBe(30);
  });
});

describe('what the way out costs', () => {
  const transactions = exitTransactions(path).map((t) => t.signable);

  test('at the feerate built in, nothing more: 4 transactions, 1,098 vB, 24 blocks', () => {
    expect(exitCost(transactions, spec.terms.treeFeerate)).toEqual({ transactions: 4, vbytes: 1_098, blocks: 24, fee: 0n });
  });

  test('above it, a child for each, less what has been paid', () => {
    const paid = transactions.reduce<bigint>((sum, t) => sum + t.fee, 0n);
    const wanted = transactions.reduce<bigint>((sum, t) => sum + feeFor(t.vsize + CPFP_CHILD_VSIZE, 10_000), 0n);
    expect(exitCost(transactions, 10_000).fee).toBe(wanted - paid);
  });

  test('is nothing when nothing is left', () => {
    expect(exitCost([], 10_000)).toEqual({ transactions: 0, vbytes: 0, blocks: 0, fee: 0n });
  });
});
