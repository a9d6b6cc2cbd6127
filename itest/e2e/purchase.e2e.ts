/**
 * The sale of stock (architecture 7): one more channel in seconds, between two nodes, without the chain; paid for once, when it is
 * there; and brought to the chain in time with the rest. What a power failure in the middle of it comes to is in kill.e2e.ts.
 */
import { beforeAll, describe, expect, test } from '@jest/globals';
import { whenLogged } from '../fixtures/when-logged.js';
import type { Cluster } from '../harness/cluster.js';
import type { Bought } from '../harness/lightning-results.js';
import type { LightningNode } from '../harness/lightningd.js';
import { clusterForSuite } from '../harness/suite.js';
import { exitOf, mineSeen, pluginsSynced } from './chain-helpers.js';
import { activeFactory, lspSees, openChannels, rpcError } from './factory-helpers.js';
import { feesPaid, priceOf } from './purchase-helpers.js';

/** Satoshis. */
const CAPACITY = 200_000;
const STOCK = 400_000;
const AMOUNT = 50_000;
/** Of a purchase's transaction at 2 sat/vB, and its anchor. */
const COST = 2 * 167 + 240;
const CSV = 20;

/** Error codes (README, schemas). */
const INVALID = -32602;
const TOO_EXPENSIVE = 206;
const CANNOT_AFFORD = 301;
const NOT_CONNECTED = 305;
const UNKNOWN_FACTORY = 3000;
const WRONG_STATE = 3001;
const BUSY = 3004;
const REQUEST_MISMATCH = 3005;
const FAILED = 3009;

const toUs = async (node: LightningNode, peer: LightningNode): Promise<number> => (await node.channels(peer)).reduce((sum, c) => sum + c.to_us_msat, 0);

const allUsable = async (cluster: Cluster, client: LightningNode): Promise<void> => {
  for (const id of await openChannels(client, cluster.lsp)) await Promise.all([cluster.usable(client, id), cluster.usable(cluster.lsp, id)]);
};

describe('purchases', () => {
  const suite = clusterForSuite({
    clients: 3,
    outsider: false,
    // A channel that is all but empty cannot pay for its own sweep; lightningd calls that broken (v26.06, onchaind).
    allowBroken: /TX can't afford minimal feerate/,
    plugin: { lsp: { 'factory-min-depth': 1, 'factory-stock-csv': CSV }, client: { 'factory-max-purchase-fee': 5_000 } },
  });
  let cluster: Cluster;
  let lsp: LightningNode;
  let factoryId = '';
  beforeAll(async () => {
    cluster = suite();
    ({ lsp } = cluster);
    ({ factory_id: factoryId } = await activeFactory(cluster, { capacity: BigInt(CAPACITY), stock: BigInt(STOCK) }));
    for (const client of cluster.clients) await cluster.pay(lsp, client, 60_000_000);
    await cluster.settled();
  }, 240_000);

  const buy = (client: LightningNode, amount = AMOUNT, more = {}): Promise<Bought> =>
    client.call('factory-buy', { factory_id: factoryId, amount, ...more });
  const sell = (client: LightningNode, amount = AMOUNT, more = {}): Promise<Bought> =>
    lsp.call('factory-sell', { factory_id: factoryId, node_id: client.id, amount, ...more });

  test('a quote: what it would cost, and nothing happens', async () => {
    const client = cluster.client(0);
    const channels = await openChannels(client);
    const quote = await buy(client, AMOUNT, { dry_run: true });
    expect(quote).toMatchObject({ dry_run: true, fee_msat: priceOf(AMOUNT), stock_left_msat: (STOCK - AMOUNT - COST) * 1000, vbytes: 167, early_warning_time: 36, exit: { transactions: 3, blocks: 18 } });
    expect(await sell(client, AMOUNT, { dry_run: true })).toMatchObject({ dry_run: true, fee_msat: 0, price_msat: priceOf(AMOUNT), stock_left_msat: (STOCK - AMOUNT - COST) * 1000 });
    expect(await openChannels(client)).toEqual(channels);
    expect(await feesPaid(client)).toBe(0);
  });

  test('a price that the LSP was asked for when it died is asked for again when it is back', async () => {
    const client = cluster.client(0);
    const pid = lsp.pluginPid();
    expect(pid).toBeDefined();
    process.kill(pid!, 'SIGSTOP');
    const asked = whenLogged(client, /purchase_quote_request/);
    const quote = buy(client, AMOUNT, { dry_run: true });
    quote.catch(() => undefined); // for whoever waits for it, below
    await asked;
    await lsp.kill();
    await lsp.resume();
    await client.connect(lsp);
    expect(await quote).toMatchObject({ dry_run: true, fee_msat: priceOf(AMOUNT) });
    for (const c of cluster.clients) await c.connect(lsp);
    await lspSees(cluster);
    for (const c of cluster.clients) await allUsable(cluster, c);
  });

  test('a client buys while the others are away, and payments go over both channels', async () => {
    const client = cluster.client(0);
    await cluster.client(1).stop();
    const [first] = await openChannels(client, lsp);
    const [before, height] = [await toUs(client, lsp), await cluster.bitcoind.height()];
    const bought = await buy(client, AMOUNT, { request_id: 'first' });
    expect(bought).toMatchObject({ amount_msat: AMOUNT * 1000, fee_msat: priceOf(AMOUNT), purchases: 1, early_warning_time: 36, fee_settled: true });
    expect(await openChannels(client, lsp)).toEqual([first, bought.channel_id].sort());
    expect(await cluster.bitcoind.call('getrawmempool')).toEqual([]);
    expect(await cluster.bitcoind.height()).toBe(height);
    await cluster.settled();
    expect(await toUs(client, lsp)).toBe(before - priceOf(AMOUNT));
    await allUsable(cluster, client);
    // More than either of them has room for, and back.
    const most = async (node: LightningNode, side: 'receivable_msat' | 'spendable_msat'): Promise<number> => Math.max(...(await node.channels(lsp)).map((c) => c[side]));
    expect(await most(client, 'receivable_msat')).toBeLessThan(160_000_000);
    await cluster.pay(lsp, client, 160_000_000);
    await cluster.settled();
    expect(await most(client, 'spendable_msat')).toBeLessThan(205_000_000);
    await cluster.pay(client, lsp, 205_000_000);
    await cluster.settled();
    await cluster.pay(lsp, client, 60_000_000);
    await cluster.settled();
    await cluster.client(1).resume();
    await cluster.client(1).connect(lsp);
    await lspSees(cluster);
    await allUsable(cluster, cluster.client(1));
  });

  test('the same request is done once', async () => {
    const client = cluster.client(0);
    const [channels, before] = [await openChannels(client), await toUs(client, lsp)];
    expect(await buy(client, AMOUNT, { request_id: 'first' })).toMatchObject({ purchases: 1, fee_settled: true });
    expect((await rpcError(buy(client, AMOUNT + 1, { request_id: 'first' }))).code).toBe(REQUEST_MISMATCH);
    const [one, other] = await Promise.all([buy(client, AMOUNT, { request_id: 'second' }), buy(client, AMOUNT, { request_id: 'second' })]);
    expect(one.channel_id).toBe(other.channel_id);
    await cluster.settled();
    expect(await openChannels(client)).toEqual([...channels, one.channel_id].sort());
    expect(await toUs(client, lsp)).toBe(before - priceOf(AMOUNT));
    expect(await feesPaid(client)).toBe(2);
  });

  test('the LSP sells: for nothing, and for what the client’s operator allows', async () => {
    const client = cluster.client(1);
    const before = await toUs(client, lsp);
    const gift = await sell(client, AMOUNT, { request_id: 'gift' });
    expect(gift).toMatchObject({ fee_msat: 0, purchases: 1, stock_left_msat: (STOCK - AMOUNT - COST) * 1000 });
    expect(await sell(client, AMOUNT, { request_id: 'gift' })).toEqual(gift);
    expect(await sell(client, AMOUNT, { fee: 5_000 })).toMatchObject({ fee_msat: 5_000, purchases: 2, early_warning_time: 42 });
    const refused = await rpcError(sell(client, AMOUNT, { fee: 5_001 }));
    expect(refused).toMatchObject({ code: FAILED, message: expect.stringContaining('this node pays 5000 msat at most') });
    await cluster.settled();
    expect(await toUs(client, lsp)).toBe(before - 5_000);
    await allUsable(cluster, client);
    await cluster.pay(lsp, client, 200_000_000);
    await cluster.settled();
  });

  test('two at once: of one client one, of two clients both', async () => {
    const [a, b] = [cluster.client(1), cluster.client(2)];
    const [before, had] = [await openChannels(a), await toUs(a, lsp)];
    const outcomes = await Promise.allSettled([buy(a, 20_000), buy(a, 30_000), sell(a, 25_000), buy(b, 20_000)]);
    const done = outcomes.slice(0, 3).flatMap((o) => (o.status === 'fulfilled' ? [o.value] : []));
    expect(outcomes[3]).toMatchObject({ status: 'fulfilled' });
    expect(done.length).toBeGreaterThan(0);
    for (const o of outcomes.slice(0, 3)) if (o.status === 'rejected') expect([BUSY, WRONG_STATE, FAILED]).toContain((o.reason as { readonly code: number }).code);
    await cluster.settled();
    // Each has spent another part of the stock, and each is paid for once.
    expect((await openChannels(a)).length).toBe(before.length + done.length);
    expect(new Set(done.map((d) => d.txid)).size).toBe(done.length);
    expect(await toUs(a, lsp)).toBe(had - done.reduce((sum, d) => sum + d.fee_msat, 0));
  });

  describe('what is wrong is refused, with a code', () => {
    const STRANGER = '0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798';
    test.each([
      ['an amount below lightningd’s least', () => buy(cluster.client(2), 9_999), INVALID, 'amount'],
      ['an amount beyond the stock', () => buy(cluster.client(2), STOCK), INVALID, 'amount'],
      ['a price above max_fee', () => buy(cluster.client(2), AMOUNT, { max_fee: priceOf(AMOUNT) - 1 }), TOO_EXPENSIVE, 'max_fee'],
      ['an unknown factory', () => cluster.client(2).call('factory-buy', { factory_id: 'ab'.repeat(32), amount: AMOUNT }), UNKNOWN_FACTORY, undefined],
      ['the LSP that buys', () => lsp.call('factory-buy', { factory_id: factoryId, amount: AMOUNT }), WRONG_STATE, undefined],
      ['a client that sells', () => cluster.client(2).call('factory-sell', { factory_id: factoryId, node_id: lsp.id, amount: AMOUNT }), WRONG_STATE, undefined],
      ['a sale to a stranger', () => lsp.call('factory-sell', { factory_id: factoryId, node_id: STRANGER, amount: AMOUNT }), INVALID, 'node_id'],
      ['a sale beyond the stock', () => sell(cluster.client(2), STOCK), INVALID, 'amount'],
      ['a parameter that does not exist', () => buy(cluster.client(2), AMOUNT, { price: 1 }), INVALID, undefined],
    ])('%s', async (_, call, code, field) => {
      const before = await openChannels(cluster.client(2));
      const error = await rpcError(call());
      expect(error).toMatchObject({ code, ...(field === undefined ? {} : { data: expect.objectContaining({ field }) }) });
      expect(await openChannels(cluster.client(2))).toEqual(before);
    });

    test('a fee that nobody can pay, and an LSP that is not there', async () => {
      const client = cluster.client(2);
      const left = Math.max(...(await client.channels(lsp)).map((c) => c.spendable_msat));
      await cluster.pay(client, lsp, left - 10_000);
      await cluster.settled();
      expect((await rpcError(buy(client))).code).toBe(CANNOT_AFFORD);
      await cluster.pay(lsp, client, 60_000_000);
      await cluster.settled();
      await client.stop();
      await lsp.waitFor('the client to be gone', async () => (await lsp.channels(client)).every((c) => !c.peer_connected));
      expect((await rpcError(sell(client))).code).toBe(NOT_CONNECTED);
      await client.resume();
      await client.connect(lsp);
      await allUsable(cluster, client);
    });
  });

  describe('the way out', () => {
    const onChain = async (txid: string): Promise<boolean> => ((await cluster.bitcoind.confirmations(txid)) ?? 0) > 0;

    test('a client leaves with all it has bought, while the LSP is away', async () => {
      const client = cluster.client(0);
      const purchases = (await client.channels(lsp)).map((c) => c.funding_txid);
      expect(purchases).toHaveLength(3);
      const due = (await client.channels(lsp)).filter((c) => c.to_us_msat > 10_000_000).map((c) => c.to_us_msat - 5_000_000);
      await lsp.stop();
      const path = await exitOf(client, factoryId);
      expect(path).toHaveLength(4);
      for (const txid of path) await cluster.confirm(txid);
      for (const txid of purchases) expect(await onChain(txid)).toBe(true);
      await client.waitFor('its money', async () => {
        if ((await cluster.balances(client)).walletMsat >= due.reduce((a, b) => a + b, 0)) return true;
        await mineSeen(cluster);
        return false;
      });
      await lsp.resume();
    });

    test('when the LSP has published the leaf, the client follows with its purchases before the stock can be taken', async () => {
      const client = cluster.client(1);
      await client.connect(lsp);
      const { bitcoind } = cluster;
      const channels = await client.channels(lsp);
      const [first, ...purchases] = channels.map((c) => c.funding_txid);
      await client.stop();
      const path = await exitOf(lsp, factoryId, client);
      const leaf = path.find((txid) => txid === first) ?? '';
      await bitcoind.waitForMempool(leaf);
      await lsp.stop();
      await mineSeen(cluster);
      expect(await onChain(leaf)).toBe(true);
      await client.resume();
      let stock = { txid: leaf, vout: 1 };
      for (let i = 0; i < purchases.length; i += 1) {
        const next = await client.waitFor('the next purchase', () => bitcoind.spender(stock.txid, stock.vout));
        expect(purchases).toContain(next.txid);
        await cluster.confirm(next.txid);
        await pluginsSynced(cluster);
        stock = { txid: next.txid, vout: 1 };
      }
      for (const txid of purchases) expect(await onChain(txid)).toBe(true);
      // What nobody bought is the LSP's, when its time has come.
      await lsp.resume();
      await cluster.mine(CSV);
      await lsp.waitFor('the rest of the stock', () => bitcoind.spender(stock.txid, stock.vout, 60));
    });
  });
});
