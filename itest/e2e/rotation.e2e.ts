/**
 * Rotation (architecture 8): the members of a factory move to the next one, payments through every one of them all the while
 * and none lost; then the LSP ends the old factory alone, in one transaction.
 */
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { Cluster } from '../harness/cluster.js';
import type { LightningNode } from '../harness/lightningd.js';
import { mineUntil } from './chain-helpers.js';
import { activeFactory, factoryState, lspSees, rpcError } from './factory-helpers.js';
import { Traffic } from './traffic.js';

jest.setTimeout(240_000);

/** How many clients; more than the default make it slow. */
const CLIENTS = Number(process.env['ROTATION_CLIENTS'] ?? 2);
const CAPACITY = 1_000_000n;
/** Every way of a payment, in milliseconds. */
const EVERY_MS = 200;

const migrations = async (lsp: LightningNode, id: string): Promise<readonly (string | undefined)[]> =>
  (await lsp.call('factory-status', { factory_id: id })).members.map((m) => m.migration?.step);

describe(`rotation of a factory of ${CLIENTS} clients`, () => {
  let cluster: Cluster;
  let old = '';
  let next = '';
  let traffic: Traffic;
  beforeAll(async () => {
    cluster = await Cluster.start({ clients: CLIENTS, plugin: { lsp: { 'factory-min-depth': 1 }, client: {} }, options: { 'cltv-delta': 34 } });
    old = (await activeFactory(cluster, { capacity: CAPACITY, stock: 100_000n })).factory_id;
    for (const [i, client] of cluster.clients.entries()) await cluster.pay(cluster.lsp, client, 200_000_000 + i * 100_000_000);
    await cluster.settled();
  }, 240_000);
  afterAll(() => cluster.stop(), 240_000);

  test('dry_run proposes and touches nothing', async () => {
    const { lsp, clients } = cluster;
    const proposed = (await lsp.call('factory-rotate', { factory_id: old, dry_run: true })) as unknown as {
      readonly clients: readonly { readonly node_id: string; readonly capacity_msat: number; readonly before: { readonly balance_msat: number } }[];
      readonly away: readonly string[];
    };
    expect(proposed.clients.map((c) => c.node_id).sort()).toEqual(clients.map((c) => c.id).sort());
    for (const c of proposed.clients) expect(c.capacity_msat).toBeGreaterThan(c.before.balance_msat);
    expect(proposed.away).toEqual([]);
    const plan = (await lsp.call('factory-plan', { clients: 'rotate', factory_id: old })) as {
      readonly clients: readonly { readonly node_id: string; readonly capacity_msat: number; readonly locked_msat: number }[];
      readonly per_client: { readonly vbytes: number; readonly cost_msat: number };
      readonly old_factory: { readonly transactions: number; readonly staying: readonly string[] };
      readonly vbytes: number;
    };
    expect(plan.clients).toEqual(proposed.clients);
    expect(plan.old_factory).toMatchObject({ transactions: 1, staying: [] });
    expect(plan.per_client.vbytes).toBe(Math.ceil(plan.vbytes / CLIENTS));
    const [first] = plan.clients;
    const overrides = [{ node_id: first!.node_id, capacity: 700_000 }];
    const other = (await lsp.call('factory-plan', { clients: 'rotate', factory_id: old, overrides })) as typeof plan;
    expect(other.clients[0]).toMatchObject({ capacity_msat: 700_000_000, locked_msat: first!.locked_msat + 700_000_000 - first!.capacity_msat });
    expect((await lsp.call('factory-list')).factories).toHaveLength(1);
  });

  test('everybody moves; a payment every 200 ms through every member, and none is lost', async () => {
    const { lsp, clients, outsider } = cluster;
    const before = await Promise.all(clients.map(async (c) => (await cluster.balances(c)).channelMsat));
    const ways = clients.flatMap((c) => [
      { from: outsider, to: c, amountMsat: 1_000_000 },
      { from: c, to: outsider, amountMsat: 1_000_000 },
      { from: lsp, to: c, amountMsat: 500_000 },
    ]);
    traffic = new Traffic(cluster, ways, (EVERY_MS * ways.length) / clients.length);
    traffic.start();
    const began = Date.now();
    const rotated = await lsp.call('factory-rotate', { factory_id: old, request_id: 'turn' });
    next = rotated.to.factory_id;
    const created = Date.now();
    await cluster.confirm(rotated.to.funding_txid);
    await lsp.waitFor('every key to be here', async () => (await migrations(lsp, old)).every((step) => step === 'done'));
    const moved = Date.now();
    const tally = await traffic.stop();
    process.stderr.write(`rotation of ${CLIENTS}: created in ${created - began} ms, moved in ${moved - created} ms; ${tally.attempted} payments, ${tally.lost.length} lost, slowest ${tally.slowestMs} ms\n`);
    expect(tally.lost).toEqual([]);
    expect(tally.paid).toBeGreaterThan(10);
    await cluster.settled();
    expect(before.length).toBe(CLIENTS);
    for (const client of clients) {
      expect(await factoryState(client, next)).toBe('active');
      const status = await client.call('factory-status', { factory_id: old });
      expect(status.members[0]!.migration?.step).toMatch(/^hand(ing_over|ed_over)$/);
    }
  });

  test('the same request again is the same rotation', async () => {
    const again = await cluster.lsp.call('factory-rotate', { factory_id: old, request_id: 'turn' });
    expect(again.to.factory_id).toBe(next);
  });

  test('the old factory ends in one transaction that pays the LSP alone, signed without anybody', async () => {
    const { lsp, clients, bitcoind } = cluster;
    await mineUntil(cluster, 'the old factory to be closed', async () => (await factoryState(lsp, old)) === 'closed');
    const status = (await lsp.call('factory-status', { factory_id: old })) as unknown as { readonly funding: { readonly spent_by: string; readonly spending_txid: string; readonly amount_msat: number } };
    expect(status.funding.spent_by).toBe('close');
    const tx = await bitcoind.transaction(status.funding.spending_txid);
    expect(tx.vin).toHaveLength(1);
    expect(tx.vout).toHaveLength(1);
    for (const client of clients) {
      await client.waitFor('closed', async () => (await factoryState(client, old)) === 'closed');
      await client.waitFor('its old channel to be retired', async () => (await client.channels(lsp)).filter((c) => c.state === 'CHANNELD_NORMAL').length === 1);
    }
  });

  test('everybody pays over the new factory', async () => {
    const { lsp, clients, outsider } = cluster;
    for (const client of clients) {
      await cluster.pay(client, outsider, 5_000_000);
      await cluster.pay(outsider, client, 5_000_000);
      await cluster.pay(lsp, client, 1_000_000);
    }
    await cluster.settled();
    for (const node of [lsp, ...clients]) expect(await node.call('factory-verify')).toMatchObject({ ok: true });
    const over = await rpcError(lsp.call('factory-rotate', { factory_id: old }));
    expect(over).toMatchObject({ code: 3001 });
    await lspSees(cluster);
  });
});
