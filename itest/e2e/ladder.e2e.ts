/**
 * The ladder (architecture 8): who would like to be in an LSP's next factory waits for it, who wants to leave is paid when the
 * old one closes, and the LSP's plugin rotates by itself when a factory is dying.
 */
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { InProcessPlugin } from '../fixtures/in-process-plugin.js';
import { Cluster } from '../harness/cluster.js';
import type { LightningNode } from '../harness/lightningd.js';
import { activeFactory, factoryState, lspSees, rpcError } from './factory-helpers.js';

jest.setTimeout(240_000);

interface Waiting {
  readonly waiting_room: readonly { readonly node_id: string; readonly connected: boolean; readonly capacity_msat: number; readonly stock_msat: number }[];
  readonly wishes: readonly { readonly lsp_node_id: string; readonly state: string; readonly capacity_msat: number; readonly reason?: string }[];
}
const waitingOf = async (node: LightningNode): Promise<Waiting> => ((await node.call('factory-status')) as unknown as { readonly node: Waiting }).node;

describe('the waiting room', () => {
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await Cluster.start({ clients: 2, outsider: false, plugin: { lsp: { 'factory-min-depth': 1 }, client: {} } });
    await lspSees(cluster);
  }, 240_000);
  afterAll(() => cluster.stop(), 240_000);

  test('is closed to everybody until the operator opens it; then it keeps wishes over restarts, and lets go of who withdraws', async () => {
    const { lsp } = cluster;
    const client = cluster.client(0);
    const join = (capacity: number) => client.call('factory-join', { lsp_node_id: lsp.id, capacity, stock: 100_000 });
    expect(await rpcError(join(1_000_000))).toMatchObject({ code: 3010 });
    expect(await waitingOf(client)).toMatchObject({ wishes: [{ lsp_node_id: lsp.id, state: 'over', reason: expect.stringContaining('factory-waiting') }] });

    // At once: nobody has to restart the node to let somebody in.
    const set = (config: string, val: string) => lsp.call('setconfig', { config, val, transient: true });
    expect(await rpcError(set('factory-waiting', 'everybody'))).toMatchObject({ code: -32_602, message: expect.stringContaining('factory-waiting') });
    expect(await rpcError(set('factory-mainnet', 'true'))).toMatchObject({ code: -32_602, message: expect.stringContaining('dynamic') });
    expect(await set('factory-waiting', client.id)).toMatchObject({ config: { config: 'factory-waiting', value_str: client.id, dynamic: true } });
    expect(await join(1_000_000)).toMatchObject({ state: 'waiting', capacity_msat: 1_000_000_000 });
    expect(await join(800_000)).toMatchObject({ state: 'waiting', capacity_msat: 800_000_000, stock_msat: 100_000_000 });
    expect(await rpcError(cluster.client(1).call('factory-join', { lsp_node_id: lsp.id, capacity: 800_000 }))).toMatchObject({ code: 3010 });
    await Promise.all([lsp.restart({ 'factory-min-depth': 1, 'factory-waiting': client.id }), client.restart()]);
    for (const c of cluster.clients) await c.connect(lsp);
    await lspSees(cluster);
    await lsp.waitFor('it to be connected', async () => (await waitingOf(lsp)).waiting_room[0]?.connected === true);
    expect((await waitingOf(lsp)).waiting_room).toMatchObject([{ node_id: client.id, capacity_msat: 800_000_000, stock_msat: 100_000_000 }]);
    expect((await waitingOf(client)).wishes).toMatchObject([{ state: 'waiting' }]);
    expect(await join(0)).toEqual({ lsp_node_id: lsp.id, state: 'withdrawn' });
    expect([(await waitingOf(lsp)).waiting_room, (await waitingOf(client)).wishes]).toEqual([[], []]);
  });

  test('the operator can take all who wait into a factory', async () => {
    const { lsp } = cluster;
    const [client, other] = [cluster.client(0), cluster.client(1)];
    await client.call('factory-join', { lsp_node_id: lsp.id, capacity: 800_000 });
    const created = await lsp.call('factory-create', { clients: ['waiting', other.id], capacity: 500_000 });
    expect(created.channels.map((c) => [c.node_id, c.capacity_msat]).sort()).toEqual([[client.id, 800_000_000], [other.id, 500_000_000]].sort());
    expect((await waitingOf(lsp)).waiting_room).toEqual([]);
    await cluster.confirm(created.funding_txid);
    await client.waitFor('its wish to be fulfilled', async () => (await waitingOf(client)).wishes.length === 0);
  });
});

interface Status {
  readonly height: number;
  readonly heights: { readonly dying: number; readonly settling: number; readonly guard: number };
  readonly funding: { readonly txid: string; readonly vout: number; readonly spending_txid?: string };
  readonly members: readonly { readonly node_id: string; readonly state: string; readonly leaving?: { readonly noted: boolean }; readonly migration?: { readonly step: string } }[];
  readonly rotation?: { readonly to: string };
  readonly schedule?: { readonly step: string; readonly why: string; readonly auto: boolean; readonly tries: number };
}
const statusOf = async (node: LightningNode, factoryId: string): Promise<Status> => (await node.call('factory-status', { factory_id: factoryId })) as unknown as Status;

describe('the schedule', () => {
  const LSP = { 'factory-min-depth': 1, 'factory-active-blocks': 12, 'factory-dying-blocks': 20, 'factory-settling-blocks': 20, 'factory-waiting': 'any' };
  const heard: { readonly event: string; readonly factory_id?: string; readonly node_id?: string }[] = [];
  const listener = new InProcessPlugin(() => ({
    name: 'listener',
    subscriptions: { factory_event: (event) => void heard.push(event as unknown as (typeof heard)[number]) },
  }));
  let cluster: Cluster;
  const said = (event: string, factory?: string): Promise<unknown> =>
    cluster.lsp.waitFor(`${event} to be said`, () => Promise.resolve(heard.some((h) => h.event === event && (factory === undefined || h.factory_id === factory))));
  let next = '';
  beforeAll(async () => {
    await listener.start();
    cluster = await Cluster.start({ clients: 4, outsider: false, plugin: { lsp: LSP, client: {} }, options: { 'cltv-delta': 34, plugin: [listener.executable] } });
    await lspSees(cluster);
  }, 240_000);
  afterAll(async () => {
    await cluster.stop();
    await listener.stop();
  }, 240_000);

  /** The LSP's plugin has seen the block. */
  const mineTo = async (factoryId: string, height: number): Promise<void> => {
    await cluster.bitcoind.mineTo(height);
    await cluster.synced();
    await cluster.lsp.waitFor(`its plugin to see block ${height}`, async () => (await statusOf(cluster.lsp, factoryId)).height >= height);
  };

  test('in the dying window it rotates by itself, with who waits, and without who leaves: that one is paid by the close, to the satoshi', async () => {
    const { lsp, bitcoind } = cluster;
    const [stays, too, leaver, newcomer] = [0, 1, 2, 3].map((i) => cluster.client(i)) as [LightningNode, LightningNode, LightningNode, LightningNode];
    const { factory_id: old } = await activeFactory(cluster, { clients: [stays, too, leaver], stock: 100_000n });
    const { heights, funding: oldFunding } = await statusOf(lsp, old);
    for (const [i, client] of [stays, too, leaver].entries()) await cluster.pay(lsp, client, 123_456_789 + i * 100_000_000);
    await cluster.settled();
    expect(await newcomer.call('factory-join', { lsp_node_id: lsp.id, capacity: 700_000 })).toMatchObject({ state: 'waiting' });
    expect(await leaver.call('factory-leave', { factory_id: old })).toEqual({ factory_id: old, leaves: true, noted: true });
    expect((await statusOf(leaver, old)).members[0]?.leaving).toEqual({ noted: true });
    expect((await statusOf(lsp, old)).members.map((m) => m.leaving !== undefined)).toEqual([false, false, true]);
    expect((await statusOf(lsp, old)).schedule).toMatchObject({ step: 'idle', auto: true });
    const due = Math.ceil((await leaver.channels(lsp))[0]!.to_us_msat / 1000);

    await mineTo(old, heights.dying);
    next = await lsp.waitFor('a rotation', async () => (await statusOf(lsp, old)).rotation?.to);
    const funding = await lsp.waitFor('the next factory', async () => {
      const found = (await lsp.call('factory-list')).factories.find((f) => f.factory_id === next);
      return found?.state === 'funding' ? found.funding_txid : undefined;
    });
    await cluster.confirm(funding);
    await lsp.waitFor('the old factory to be closed by all', () => bitcoind.spender(oldFunding.txid, oldFunding.vout, 60));
    expect((await statusOf(lsp, next)).members.map((m) => m.node_id).sort()).toEqual([stays, too, newcomer].map((c) => c.id).sort());
    expect((await statusOf(lsp, old)).members.map((m) => m.state)).toEqual(['moved', 'moved', 'in_factory']);
    await cluster.confirm();
    await leaver.waitFor('its payout', async () => (await cluster.balances(leaver)).walletMsat === due * 1000);
    for (const node of [lsp, stays, too, leaver]) await node.waitFor('the old factory to be over', async () => (await factoryState(node, old)) === 'closed');
    for (const event of ['waiting', 'member_leaves', 'schedule_rotate', 'rotation_begun', 'member_moved', 'close_signed']) await said(event);
    expect(await waitingOf(lsp)).toMatchObject({ waiting_room: [] });

    await cluster.pay(lsp, newcomer, 50_000_000);
    await cluster.pay(stays, newcomer, 1_000_000);
    await cluster.pay(newcomer, too, 1_000_000);
    await cluster.settled();
  });

  test('when members are away it says so, and falls back in time: the root is published', async () => {
    const { lsp, bitcoind } = cluster;
    const { heights, funding } = await statusOf(lsp, next);
    const away = [cluster.client(1), cluster.client(3)];
    await Promise.all(away.map((node) => node.stop()));
    await lsp.waitFor('them to be away', async () => (await lsp.call('listpeers')).peers.every((p) => !p.connected || away.every((node) => node.id !== p.id)));
    await mineTo(next, heights.dying);
    const { schedule } = await statusOf(lsp, next);
    expect(schedule).toMatchObject({ step: 'waiting', why: expect.stringContaining('not connected') });
    for (const node of away) expect(schedule?.why).toContain(node.id);
    await said('schedule_waiting', next);
    await mineTo(next, heights.settling);
    expect((await statusOf(lsp, next)).schedule).toMatchObject({ step: 'close' });
    expect(await bitcoind.call('getrawmempool')).toEqual([]);
    await said('schedule_close', next);
    await mineTo(next, heights.guard);
    await lsp.waitFor('the root to be published', () => bitcoind.spender(funding.txid, funding.vout, 60));
    // It is out before that is said.
    await said('schedule_publish_root', next);
    expect((await lsp.call('factory-list')).factories).toHaveLength(2);
  });
});
