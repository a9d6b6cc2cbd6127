/** What was bought out of a stock: its transactions, and what a live factory makes of them (architecture 4, 7). */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { channelId, msat, sat, schnorrSignature, txid, type Sat } from '../../blip/brands.js';
import { branchStatus, channelStatus, hasLeft, mayCarryHtlcs, onChain, watched } from '../live/custody.js';
import { channelPath, channelsOf, earlyWarningOf, lastStock, purchasePath } from '../live/paths.js';
import { balanceOf } from '../live/payouts.js';
import { plan, sweeps } from '../live/plan.js';
import type { Branch, Live, Purchase } from '../live/state.js';
import type { Prevout, Signable } from '../model.js';
import { buildLeaf, buildPath, buildPurchase, DUST_LIMIT, feeFor, largestPurchase, prevoutOf, stockAfter, stockOutput, TreeError } from '../transactions.js';
import { alike, arbitrarySpec, channelScript, payoutScript, specFor } from './support/factory.js';
import { liveFactory, publish } from './support/live.js';

const spec = specFor({ clients: alike(3, 1_000_000n, 500_000n) });
const stockOfLeaf = (member: number): Prevout => {
  const leaf = buildLeaf(spec, member, buildPath(spec, member).slot, channelScript(member));
  return prevoutOf(leaf.txid, leaf.tx, 1);
};

describe('a purchase', () => {
  test('spends the stock into channel, the rest of the stock, and anchor; fee and anchor come out of the stock', () => {
    const stock = stockOfLeaf(1);
    const purchase = buildPurchase(spec, 1, stock, sat(200_000n), channelScript(7));
    expect(purchase.tx).toMatchObject({ version: 3, lockTime: 0, sequence: 0xfffffffe, prevout: stock });
    expect(purchase.signers).toEqual([spec.coordinatorKey, spec.roster[1]!.key]);
    expect(purchase.merkleRoot).toBe(stockOutput(spec, 1).merkleRoot);
    expect(purchase.tx.outputs).toEqual([
      { amount: 200_000n, script: channelScript(7), role: { kind: 'channel', member: 1 } },
      { amount: 500_000n - 200_000n - 240n - purchase.fee, script: stock.script, role: { kind: 'stock', member: 1 } },
      { amount: 240n, script: '51024e73', role: { kind: 'anchor' } },
    ]);
    expect([purchase.vsize, purchase.fee]).toEqual([167, feeFor(167, spec.terms.treeFeerate)]);
  });

  test('of all there is leaves no stock, and one satoshi more is refused', () => {
    const stock = stockOfLeaf(1);
    const most = largestPurchase(spec, stock.amount);
    expect(buildPurchase(spec, 1, stock, most, channelScript(7)).tx.outputs.map((o) => o.role.kind)).toEqual(['channel', 'anchor']);
    expect(() => buildPurchase(spec, 1, stock, sat(most + 1n), channelScript(7))).toThrow(TreeError);
  });

  test('is not built on another member’s stock', () => {
    expect(() => buildPurchase(spec, 0, stockOfLeaf(1), sat(200_000n), channelScript(7))).toThrow(TreeError);
  });

  test('conserves value, pays at least its fee, and leaves no dust, whatever is bought', () => {
    fc.assert(
      fc.property(arbitrarySpec, fc.bigInt(330n, 10_000_000n), fc.bigInt(330n, 10_000_000n), (some, held, wanted) => {
        const { script } = stockOutput(some, 0, sat(held));
        const stock: Prevout = { outpoint: { txid: txid('ab'.repeat(32)), vout: 1 }, amount: sat(held), script };
        const rest = stockAfter(some, stock.amount, sat(wanted));
        if (rest === undefined) {
          expect(wanted).toBeGreaterThan(largestPurchase(some, stock.amount));
          expect(() => buildPurchase(some, 0, stock, sat(wanted), channelScript(1))).toThrow(TreeError);
          return;
        }
        const { tx, fee, vsize } = buildPurchase(some, 0, stock, sat(wanted), channelScript(1));
        expect(tx.outputs.reduce((sum, o) => sum + o.amount, 0n) + fee).toBe(held);
        expect(fee).toBeGreaterThanOrEqual(feeFor(vsize, some.terms.treeFeerate));
        for (const { amount, role } of tx.outputs) expect(amount).toBeGreaterThanOrEqual(role.kind === 'anchor' ? 240n : DUST_LIMIT);
      }),
    );
  });
});

const bought = (n: number, amount: Sat): Purchase => ({
  amount,
  channelId: channelId(`0${n}`.repeat(32)),
  channelScript: channelScript(50 + n),
  signature: schnorrSignature('00'.repeat(64)),
  fee: msat(1_000n),
});
/** Client 0 has bought twice. */
const withPurchases = (role: 'coordinator' | 'member'): { readonly live: Live; readonly branch: Branch } => {
  const live = liveFactory(role, { clients: alike(3, 1_000_000n, 500_000n) });
  const branch = { ...live.branches[0]!, purchases: [bought(1, sat(200_000n)), bought(2, sat(100_000n))] };
  return { live: { ...live, branches: [branch, ...live.branches.slice(1)] }, branch };
};
const mine = (live: Live, { tx, txid: by }: Signable, blocks = 1): Live =>
  onChain(live, { type: 'block_connected', height: live.chain.tip + blocks, spends: [{ outpoint: tx.prevout.outpoint, by }], confirmed: [] });
const broadcasts = (live: Live, role: 'coordinator' | 'member') =>
  plan(live, role).flatMap((e) => (e.kind === 'broadcast' ? [{ txid: e.tx.signable.txid, deadline: e.deadline }] : []));

describe('a live factory with purchases', () => {
  test('has a channel for the leaf and for each, deeper and with more early warning', () => {
    const { live, branch } = withPurchases('member');
    const channels = channelsOf(live, branch);
    expect(channels.map((c) => [c.capacity, c.depth])).toEqual([
      [1_000_000n, 0],
      [200_000n, 1],
      [100_000n, 2],
    ]);
    expect(channels.map((c) => earlyWarningOf(live.spec, c.depth))).toEqual([30, 36, 42]);
    expect(channels.map((c) => channelPath(live, branch, c).length)).toEqual([2, 3, 4]);
    expect(channels.every((c) => mayCarryHtlcs(live, branch, false, c))).toBe(true);
    const paid = 300_000n + 2n * (240n + feeFor(167, live.spec.terms.treeFeerate));
    expect(lastStock(live, branch)?.amount).toBe(500_000n - paid);
    const outpoints = watched(live).outpoints.map((o) => o.txid);
    for (const { signable } of purchasePath(live, branch)) expect(outpoints).toContain(signable.txid);
  });

  test.each(['coordinator', 'member'] as const)('%s: whoever published the leaf, the purchases follow one by one, each within the relative lock', (role) => {
    const { live, branch } = withPurchases(role);
    expect(plan(live, role)).toEqual([]);
    const [first, second] = purchasePath(live, branch).map((t) => t.signable);
    const leafOut = publish(live, branch, 2);
    expect(branchStatus(leafOut, branch)).toMatchObject({ kind: 'on_chain' });
    expect(broadcasts(leafOut, role)).toEqual([{ txid: first!.txid, deadline: leafOut.chain.tip + 144 }]);
    const firstOut = mine(leafOut, first!, 3);
    expect(broadcasts(firstOut, role)).toEqual([{ txid: second!.txid, deadline: firstOut.chain.tip + 144 }]);
    const all = mine(firstOut, second!);
    expect(broadcasts(all, role)).toEqual([]);
    expect(channelsOf(all, branch).map((c) => channelStatus(all, branch, c).kind)).toEqual(['on_chain', 'on_chain', 'on_chain']);
    // Gone from the chain again: published again.
    expect(broadcasts(onChain(all, { type: 'block_disconnected', height: all.chain.tip }), role)).toHaveLength(1);
  });

  test('every channel of a client that leaves is closed, as soon as its transaction is on chain', () => {
    const { live, branch } = withPurchases('member');
    const leaving = { ...publish(live, branch, 2), exits: { 0: { since: 1 } } };
    const closed = (l: Live) => plan(l, 'member').flatMap((e) => (e.kind === 'close_channel' ? [e.channelId] : []));
    const [leafs, one] = channelsOf(live, branch);
    expect(closed(leaving)).toEqual([leafs!.channelId]);
    const next = mine(leaving, purchasePath(live, branch)[0]!.signable);
    expect(closed(next)).toEqual([leafs!.channelId, one!.channelId]);
    expect(hasLeft(next, branch)).toBe(false);
  });

  test('the coordinator takes back what is left of the stock, after the last purchase’s lock, and nothing before', () => {
    const { live, branch } = withPurchases('coordinator');
    const out = publish(live, branch, 2);
    const waited = { ...out, chain: { ...out.chain, tip: out.chain.tip + 1_000 } };
    expect(sweeps(waited, payoutScript(9))).toEqual([]);
    const all = purchasePath(live, branch).reduce((l, { signable }) => mine(l, signable), out);
    expect(sweeps(all, payoutScript(9))).toEqual([]);
    const later = { ...all, chain: { ...all.chain, tip: all.chain.tip + 143 } };
    expect(sweeps(later, payoutScript(9))).toMatchObject([{ kind: 'sweep_stock', member: 0, stock: lastStock(live, branch) }]);
  });

  test('a purchase whose stock was spent otherwise carries nothing any more', () => {
    const { live, branch } = withPurchases('coordinator');
    const out = publish(live, branch, 2);
    const { outpoint } = purchasePath(live, branch)[0]!.signable.tx.prevout;
    const swept = onChain(out, { type: 'block_connected', height: out.chain.tip + 1, spends: [{ outpoint, by: txid('ef'.repeat(32)) }], confirmed: [] });
    expect(broadcasts(swept, 'coordinator')).toEqual([]);
    expect(channelsOf(swept, branch).map((c) => mayCarryHtlcs(swept, branch, false, c))).toEqual([true, false, false]);
  });

  test('the balance of a client is that of all its channels, or unknown', () => {
    const { live, branch } = withPurchases('member');
    const facts = channelsOf(live, branch).map(({ channelId: id, capacity }) => ({ channelId: id, toUs: msat(1_001n), total: msat(capacity * 1000n) }));
    expect(balanceOf(channelsOf(live, branch), facts)).toEqual({ toUs: 3_003n, total: 1_300_000_000n });
    expect(balanceOf(channelsOf(live, branch), facts.slice(1))).toBeUndefined();
  });
});
