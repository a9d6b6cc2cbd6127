/** The main job: a factory is created, paid through, survives restarts, and is closed. */
import { statSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { Cluster } from '../harness/cluster.js';
import { waitFor } from '../harness/wait.js';
import { createFactory, factoryState, rpcError } from './factory-helpers.js';

jest.setTimeout(240_000);

const CAPACITY = 1_000_000n;
const STOCK = 200_000n;

describe('a factory of three clients', () => {
  let cluster: Cluster;
  let factoryId = '';
  beforeAll(async () => {
    cluster = await Cluster.start({ clients: 3, plugin: { lsp: { 'factory-min-depth': 1 }, client: {} } });
  }, 240_000);
  afterAll(() => cluster.stop(), 240_000);

  test('dry_run tells everything and touches nothing', async () => {
    const { lsp, clients } = cluster;
    const before = await lsp.call('listfunds');
    const preview = (await lsp.call('factory-create', {
      clients: clients.map((c) => c.id),
      capacity: Number(CAPACITY),
      stock: Number(STOCK),
      dry_run: true,
    })) as unknown as { dry_run: boolean; funding_msat: number; exit: { transactions: number } };
    expect(preview.dry_run).toBe(true);
    expect(preview.funding_msat).toBeGreaterThan(3 * 1_200_000_000);
    expect(preview.exit.transactions).toBe(2);
    expect(await lsp.call('listfunds')).toEqual(before);
    expect((await lsp.call('factory-list')).factories).toEqual([]);
  });

  test('create: one transaction, a channel for each, active on every side at depth', async () => {
    const { lsp, clients, bitcoind } = cluster;
    const created = await createFactory(cluster, { capacity: CAPACITY, stock: STOCK, requestId: 'first' });
    factoryId = created.factory_id;
    expect(created.channels.map((c) => c.node_id).sort()).toEqual(clients.map((c) => c.id).sort());
    expect(created.channels.every((c) => c.capacity_msat === 1_000_000_000)).toBe(true);
    expect(await bitcoind.call('getrawmempool')).toEqual([created.funding_txid]);
    // Nothing below the root is on chain, and nothing is withheld any more.
    for (const channel of await lsp.channels()) {
      if (!created.channels.some((c) => c.channel_id === channel.channel_id)) continue;
      expect(channel.funding?.withheld).not.toBe(true);
      expect(await bitcoind.confirmations(channel.funding_txid)).toBeUndefined();
    }
    await cluster.confirm(created.funding_txid);
    for (const node of [lsp, ...clients]) await node.waitFor('active', async () => (await factoryState(node, factoryId)) === 'active');
  });

  test('the same request again is the same factory; other arguments are refused', async () => {
    const { lsp, clients } = cluster;
    const again = await createFactory(cluster, { capacity: CAPACITY, stock: STOCK, requestId: 'first' });
    expect(again.factory_id).toBe(factoryId);
    const other = rpcError(lsp.call('factory-create', { clients: clients.map((c) => c.id), capacity: 50_000, request_id: 'first' }));
    await expect(other).resolves.toMatchObject({ code: 3005 });
    expect((await lsp.call('factory-list')).factories).toHaveLength(1);
  });

  test('a copy of the database is made while the node works, whole, and never over another file', async () => {
    const client = cluster.client(0);
    const file = path.join(client.dir, 'copy.sqlite3');
    const copy = await client.call('factory-backup', { file });
    expect(copy).toMatchObject({ file, bytes: statSync(file).size, factories: 1 });
    await expect(rpcError(client.call('factory-backup', { file }))).resolves.toMatchObject({ code: -32602, data: { field: 'file' } });
    await expect(rpcError(client.call('factory-backup', { file: 'copy.sqlite3' }))).resolves.toMatchObject({ code: -32602, data: { field: 'file' } });
    await expect(rpcError(client.call('factory-backup', { file: '/nowhere/copy.sqlite3' }))).resolves.toMatchObject({ code: 3008 });
  });

  test('payments: LSP to client, client to client, in from and out to the world', async () => {
    await cluster.pay(cluster.lsp, cluster.client(0), 200_000_000);
    await cluster.pay(cluster.lsp, cluster.client(1), 100_000_000);
    await cluster.settled();
    await cluster.pay(cluster.client(0), cluster.client(1), 30_000_000);
    await cluster.pay(cluster.client(1), cluster.client(2), 20_000_000);
    await cluster.pay(cluster.outsider, cluster.client(2), 50_000_000);
    await cluster.pay(cluster.client(2), cluster.outsider, 10_000_000);
    await cluster.settled();
  });

  test('a client’s invoice has a route hint and leaves time for the exit', async () => {
    const client = cluster.client(0);
    const { early_warning_time: early } = await client.call('factory-status', { factory_id: factoryId });
    const invoice = await client.call('invoice', { amount_msat: 1_000, label: 'hint', description: 'x' });
    const decoded = (await client.call('decode', { string: invoice.bolt11 })) as { min_final_cltv_expiry: number; routes?: readonly unknown[] };
    expect(decoded.min_final_cltv_expiry).toBeGreaterThan(early);
    expect(decoded.routes).toHaveLength(1);
  });

  test('restarts of any node change nothing', async () => {
    for (const node of [cluster.lsp, cluster.client(1)]) {
      await node.restart();
      await node.waitFor('active', async () => (await factoryState(node, factoryId)) === 'active');
      // CLN begins some blocks below the tip; the plugin must not wait for the next block to know better.
      const height = await cluster.bitcoind.height();
      await node.waitFor('its height', async () => ((await node.call('factory-status')) as unknown as { node: { height: number } }).node.height === height);
    }
    await waitFor('everyone to be connected', async () => {
      const status = await cluster.lsp.call('factory-status', { factory_id: factoryId });
      return status.members.every((m) => m.connected);
    });
    for (const client of cluster.clients) {
      const [channel] = await client.channels(cluster.lsp);
      await cluster.usable(client, channel!.channel_id);
      await cluster.usable(cluster.lsp, channel!.channel_id);
    }
    await cluster.pay(cluster.client(0), cluster.client(2), 5_000_000);
    await cluster.pay(cluster.outsider, cluster.client(1), 5_000_000);
    await cluster.pay(cluster.client(1), cluster.outsider, 1_000_000);
    await cluster.settled();
  });

  test('status, list, tree, plan and verify', async () => {
    const { lsp } = cluster;
    const status = await lsp.call('factory-status', { factory_id: factoryId });
    expect(status).toMatchObject({ state: 'active', members: expect.arrayContaining([]) });
    expect(status.members).toHaveLength(3);
    expect(status.exit).toMatchObject({ transactions: 2, blocks: 12 });
    for (const member of status.members) expect(member.channels[0]!.total_msat).toBe(1_000_000_000);
    const mine = await cluster.client(0).call('factory-list');
    expect(mine.factories).toMatchObject([{ factory_id: factoryId, role: 'member', state: 'active', member_count: 3 }]);
    const tree = (await lsp.call('factory-tree', { factory_id: factoryId })) as { text: string; mermaid: string };
    expect(tree.text).toContain('client 2');
    expect(tree.mermaid).toContain('flowchart');
    const plan = (await lsp.call('factory-plan', { clients: 127 })) as { planned: string; shapes: readonly { shape: string; exit_vbytes: number }[] };
    expect(plan.shapes[0]!.exit_vbytes).toBeLessThanOrEqual(1_100);
    for (const node of [lsp, cluster.client(0)]) {
      expect(await node.call('factory-verify')).toMatchObject({ ok: true, factories: [{ factory_id: factoryId, problems: [] }] });
    }
  });

  test('an operator’s close of a channel that is not on chain is refused, and says what to do', async () => {
    const [channel] = await cluster.client(0).channels(cluster.lsp);
    for (const node of [cluster.lsp, cluster.client(0)]) {
      const error = await rpcError(node.call('close', { id: channel!.channel_id }));
      expect(error.message).toMatch(/factory-exit/);
    }
  });

  test('close: one transaction pays everyone to the satoshi, channels are retired', async () => {
    const { lsp, clients, bitcoind } = cluster;
    const due = await Promise.all(clients.map(async (c) => Math.ceil((await c.channels(lsp))[0]!.to_us_msat / 1000)));
    const walletsBefore = await Promise.all(clients.map(async (c) => (await cluster.balances(c)).walletMsat));
    const closed = (await lsp.call('factory-close', { factory_id: factoryId })) as { txid: string };
    await bitcoind.waitForMempool(closed.txid);
    const tx = await bitcoind.transaction(closed.txid);
    expect(tx.vin).toHaveLength(1);
    await cluster.confirm(closed.txid);
    for (const [i, client] of clients.entries()) {
      await client.waitFor('its payout', async () => (await cluster.balances(client)).walletMsat === walletsBefore[i]! + due[i]! * 1000);
      await client.waitFor('closed', async () => (await factoryState(client, factoryId)) === 'closed');
    }
    await lsp.waitFor('closed', async () => (await factoryState(lsp, factoryId)) === 'closed');
    for (const client of clients) {
      await client.waitFor('its channel to be retired', async () => (await client.channels(lsp)).every((c) => c.state !== 'CHANNELD_NORMAL'));
    }
  });
});
