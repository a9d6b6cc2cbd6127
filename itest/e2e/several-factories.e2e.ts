/**
 * Members of several factories at once (architecture 8, the ladder): factories of one LSP with staggered expiries and the same members.
 * Payments use the channels of all of them; one dies and is followed by the next while another goes on; and who leaves one of them
 * alone stays in the other.
 */
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { Cluster } from '../harness/cluster.js';
import type { LightningNode } from '../harness/lightningd.js';
import { exitOf, memberState, mineSeen, mineUntil, pluginsSynced, statusOf } from './chain-helpers.js';
import { activeFactory, factoryState } from './factory-helpers.js';

jest.setTimeout(240_000);

/** Satoshis, for each client. */
const SHORT = 400_000n;
const LONG = 300_000n;
/** Blocks. */
const ACTIVE = 40;

describe('two factories of staggered expiries with the same members', () => {
  let cluster: Cluster;
  let lsp: LightningNode;
  let one: LightningNode;
  let other: LightningNode;
  /** The one that dies first, the one that lasts, and the one that follows the first. */
  let [short, long, next] = ['', '', ''];
  beforeAll(async () => {
    cluster = await Cluster.start({ clients: 2, outsider: false, plugin: { lsp: { 'factory-min-depth': 1 }, client: {} }, options: { 'cltv-delta': 34 } });
    [lsp, one, other] = [cluster.lsp, cluster.client(0), cluster.client(1)];
    short = (await activeFactory(cluster, { capacity: SHORT, more: { active_blocks: ACTIVE, dying_blocks: 60 } })).factory_id;
    long = (await activeFactory(cluster, { capacity: LONG, stock: 50_000n })).factory_id;
  }, 240_000);
  afterAll(() => cluster.stop(), 240_000);

  const ofFactory = async (client: LightningNode, factoryId: string) => {
    const ids = (await statusOf(client, factoryId)).members[0]!.channels.map((c) => c.channel_id);
    return (await client.channels(lsp)).filter((c) => ids.includes(c.channel_id));
  };
  /** What the client has in its channels of a factory, in msat. */
  const has = async (client: LightningNode, factoryId: string): Promise<number> => (await ofFactory(client, factoryId)).reduce((sum, c) => sum + c.to_us_msat, 0);
  const hasAll = async (client: LightningNode): Promise<number> => (await cluster.balances(client)).channelMsat;
  const books = async () => ({ one: await hasAll(one), other: await hasAll(other) });
  const oldestFirst = async (node: LightningNode) => {
    const { factories } = await node.call('factory-list');
    return [...factories].sort((a, b) => a.expiry_height - b.expiry_height).map((f) => [f.factory_id, f.state]);
  };

  test('for two blocks payments spare the newer one, of which the other end may not have heard, unless it takes both', async () => {
    await cluster.pay(lsp, one, 20_000_000);
    await cluster.settled();
    await cluster.pay(one, lsp, 10_000_000);
    await cluster.settled();
    expect([await has(one, short), await has(one, long)]).toEqual([10_000_000, 0]);
  });

  test('payments larger than any channel go over the channels of both, in every direction, and the books are right to the msat', async () => {
    for (const node of [lsp, one, other]) expect(await oldestFirst(node)).toEqual([[short, 'active'], [long, 'active']]);
    const toOne = await cluster.pay(lsp, one, 590_000_000);
    await cluster.settled();
    expect(await books()).toEqual({ one: 600_000_000, other: 0 });
    const across = await cluster.pay(one, other, 450_000_000);
    await cluster.settled();
    expect(across.amount_sent_msat).toBeGreaterThan(450_000_000);
    expect(await books()).toEqual({ one: 600_000_000 - across.amount_sent_msat, other: 450_000_000 });
    const back = await cluster.pay(other, lsp, 420_000_000);
    await cluster.settled();
    expect(back.amount_sent_msat).toBe(420_000_000);
    expect(await books()).toEqual({ one: 600_000_000 - across.amount_sent_msat, other: 30_000_000 });
    for (const { successful_parts: parts } of [toOne, across, back]) expect(parts).toBeGreaterThan(1);
    // For the rest of the story both have something in both.
    await cluster.pay(lsp, other, 500_000_000);
    await cluster.settled();
    for (const client of [one, other]) for (const factory of [short, long]) expect(await has(client, factory)).toBeGreaterThan(0);
  });

  test('one dies, and its members move to a third by themselves, each balance where it belongs; the other is not touched', async () => {
    const before = await Promise.all([one, other].map(async (c) => ({ short: await has(c, short), long: await has(c, long) })));
    await mineSeen(cluster, ACTIVE);
    next = await lsp.waitFor('a rotation', async () => ((await statusOf(lsp, short)) as unknown as { readonly rotation?: { readonly to: string } }).rotation?.to);
    const funding = await lsp.waitFor('the next factory', async () => {
      const found = (await lsp.call('factory-list')).factories.find((f) => f.factory_id === next);
      return found?.state === 'funding' ? found.funding_txid : undefined;
    });
    await cluster.confirm(funding);
    await lsp.waitFor('both to have moved', async () => (await statusOf(lsp, short)).members.every((m) => m.migration?.step === 'done'));
    await cluster.settled();
    const after = await Promise.all([one, other].map(async (c) => ({ short: await has(c, next), long: await has(c, long) })));
    expect(after).toEqual(before);
    await mineUntil(cluster, 'the dead one to be closed', async () => (await factoryState(lsp, short)) === 'closed');
    for (const client of [one, other]) {
      await client.waitFor('closed', async () => (await factoryState(client, short)) === 'closed');
      await client.waitFor('its old channel to be retired', async () => (await client.channels(lsp)).filter((c) => c.state === 'CHANNELD_NORMAL').length === 2);
    }
    expect((await oldestFirst(lsp)).slice(1).map(([, state]) => state)).toEqual(['active', 'active']);
  });

  test('payments go over the new one and the one that stayed', async () => {
    const before = await books();
    const most = Math.max(await has(other, next), await has(other, long));
    const back = await cluster.pay(other, lsp, most + 5_000_000);
    expect(back.successful_parts).toBeGreaterThan(1);
    await cluster.settled();
    expect(await books()).toEqual({ ...before, other: before.other - most - 5_000_000 });
  });

  test('a member of both leaves one of them alone; in the other it pays on, and so does everybody', async () => {
    await cluster.pay(lsp, one, 200_000_000);
    await cluster.settled();
    const [leaving, staying] = [await has(one, long), await has(one, next)];
    const untouched = await has(other, next);
    for (const txid of await exitOf(one, long)) await cluster.confirm(txid);
    // Who opened the channel pays for its commitment; the sweep is the client's to pay.
    await mineUntil(cluster, 'what is its own to be in its wallet', async () => (await cluster.balances(one)).walletMsat > leaving - 1_000_000);
    expect((await cluster.balances(one)).walletMsat).toBeLessThanOrEqual(leaving);
    expect(await memberState(lsp, long, one)).not.toBe('in_factory');
    await pluginsSynced(cluster);
    for (const node of [lsp, one, other]) expect(await factoryState(node, next)).toBe('active');
    expect([await has(one, next), await has(other, next)]).toEqual([staying, untouched]);

    const before = await books();
    await cluster.pay(lsp, one, 10_000_000);
    await cluster.settled();
    const { amount_sent_msat: sent } = await cluster.pay(one, other, 20_000_000);
    await cluster.settled();
    expect(await books()).toEqual({ one: before.one + 10_000_000 - sent, other: before.other + 20_000_000 });
    for (const node of [lsp, one, other]) expect(await node.call('factory-verify')).toMatchObject({ ok: true });
  });
});
