/** The ways out: alone with the LSP away, by the LSP with a client away, after another has left, and by distribution. */
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { Cluster } from '../harness/cluster.js';
import type { LightningNode } from '../harness/lightningd.js';
import { activeFactory, factoryState } from './factory-helpers.js';

jest.setTimeout(240_000);

/** Mines, block by block, until the node's wallet holds at least so much. */
const mineUntilPaid = async (cluster: Cluster, node: LightningNode, msat: number, patience = 60): Promise<void> => {
  for (let i = 0; i < patience; i += 1) {
    if ((await cluster.balances(node)).walletMsat >= msat) return;
    await cluster.mine();
    // Give CLN and the plugin the chance to answer this block before the next.
    const height = await cluster.bitcoind.height();
    await node.waitFor(`the plugin to see block ${height}`, async () => {
      const status = (await node.call('factory-status')) as unknown as { node: { height: number } };
      return status.node.height >= height;
    });
  }
  throw new Error(`${node.name} was not paid within ${patience} blocks`);
};

describe('leaving alone', () => {
  let cluster: Cluster;
  let factoryId = '';
  beforeAll(async () => {
    cluster = await Cluster.start({ clients: 3, outsider: false, plugin: { lsp: { 'factory-min-depth': 1, 'factory-stock-csv': 20 }, client: {} } });
    factoryId = (await activeFactory(cluster, { stock: 100_000n })).factory_id;
    for (const client of cluster.clients) await cluster.pay(cluster.lsp, client, 300_000_000);
    await cluster.settled();
  }, 240_000);
  afterAll(() => cluster.stop(), 240_000);

  test('a client leaves while the LSP is offline, without a coin of its own', async () => {
    const client = cluster.client(0);
    await cluster.lsp.stop();
    const exit = (await client.call('factory-exit', { factory_id: factoryId })) as { exits: readonly { transactions: readonly { txid: string }[] }[] };
    const path = exit.exits[0]!.transactions.map((t) => t.txid);
    expect(path).toHaveLength(2);
    for (const txid of path) await cluster.confirm(txid);
    // Its own commitment follows, and 300,000 sat less its fee arrive after the to_self_delay.
    await mineUntilPaid(cluster, client, 290_000_000);
    expect(await factoryState(client, factoryId)).toBe('exiting');
    await cluster.lsp.resume();
  });

  test('the others’ channels keep paying', async () => {
    const { lsp } = cluster;
    for (const client of [cluster.client(1), cluster.client(2)]) {
      await client.connect(lsp);
      const [channel] = await client.channels(lsp);
      await cluster.usable(client, channel!.channel_id);
    }
    await cluster.pay(cluster.client(1), cluster.client(2), 10_000_000);
    await cluster.pay(lsp, cluster.client(1), 10_000_000);
    await cluster.settled();
  });

  test('the LSP closes the branch of a client that is away, from where the tree stands', async () => {
    const { lsp } = cluster;
    const away = cluster.client(1);
    await away.stop();
    const before = (await cluster.balances(lsp)).walletMsat;
    await lsp.call('factory-exit', { factory_id: factoryId, node_id: away.id });
    // Its own side of the channel: 690,000 sat and some.
    await mineUntilPaid(cluster, lsp, before + 600_000_000);
    await away.resume();
    await mineUntilPaid(cluster, away, 290_000_000);
  });

  test('a client leaves when others have left before', async () => {
    const client = cluster.client(2);
    await client.call('factory-exit', { factory_id: factoryId });
    await mineUntilPaid(cluster, client, 300_000_000);
    await cluster.lsp.waitFor('everyone to have left', async () => (await factoryState(cluster.lsp, factoryId)) === 'closed');
  });

  test('the LSP takes back the stock of every branch that is on chain, after its relative lock', async () => {
    const { lsp, bitcoind } = cluster;
    const stocks = (await lsp.call('listpeerchannels')).channels.map((c) => ({ txid: c.funding_txid, vout: 1 }));
    expect(stocks).toHaveLength(3);
    await cluster.mine(20);
    // The mempool counts: they go out one after the other.
    for (const { txid, vout } of stocks) await lsp.waitFor(`stock ${txid} to be taken`, () => bitcoind.spender(txid, vout, 60));
  });
});

describe('distribution', () => {
  let cluster: Cluster;
  let factory: Awaited<ReturnType<typeof activeFactory>>;
  beforeAll(async () => {
    cluster = await Cluster.start({
      clients: 2,
      outsider: false,
      plugin: { lsp: { 'factory-min-depth': 1, 'factory-active-blocks': 20, 'factory-dying-blocks': 10, 'factory-settling-blocks': 10, 'factory-auto-rotate': 'false' }, client: {} },
    });
    factory = await activeFactory(cluster, { stock: 100_000n });
  }, 240_000);
  afterAll(() => cluster.stop(), 240_000);

  test('one client alone, at expiry: everybody is paid its whole slot', async () => {
    await cluster.lsp.stop();
    await cluster.client(1).stop();
    const client = cluster.client(0);
    await cluster.bitcoind.mineTo(factory.expiry_height - 1);
    await cluster.synced();
    expect(await cluster.bitcoind.call('getrawmempool')).toEqual([]);
    await cluster.mine();
    await cluster.confirm();
    await client.waitFor('its payout', async () => (await cluster.balances(client)).walletMsat >= 1_100_000_000);
    // The wallet may hear of the block before the plugin does.
    await client.waitFor('the distribution', async () => (await factoryState(client, factory.factory_id)) === 'distributed');
    // The other one finds its money when it comes back.
    await cluster.client(1).resume();
    await cluster.client(1).waitFor('its payout', async () => (await cluster.balances(cluster.client(1))).walletMsat >= 1_100_000_000);
  });
});
