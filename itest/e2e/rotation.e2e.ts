/**
 * Rotation (architecture 8): the members of a factory move to the next one, payments through every one of them all the while
 * and none lost; then the LSP ends the old factory alone, in one transaction. What each step costs is printed; ROTATION_CLIENTS says of
 * how many clients.
 */
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { Holder } from '../fixtures/holder.js';
import { Cluster } from '../harness/cluster.js';
import type { LightningResults } from '../harness/lightning-results.js';
import type { LightningNode } from '../harness/lightningd.js';
import { mineSeen, mineUntil, pluginsSynced } from './chain-helpers.js';
import { activeFactory, factoryState, lspSees, rpcError } from './factory-helpers.js';
import { closeOf, Figures, fundingOf } from './rotation-figures.js';
import { sendAlong } from './routes.js';
import { Traffic } from './traffic.js';

jest.setTimeout(240_000);

/** How many clients; more than the default make it slow. */
const CLIENTS = Number(process.env['ROTATION_CLIENTS'] ?? 2);
const CAPACITY = 1_000_000n;
/** Every way of a payment, in milliseconds. */
const EVERY_MS = 200;

const migrations = async (lsp: LightningNode, id: string): Promise<readonly (string | undefined)[]> =>
  (await lsp.call('factory-status', { factory_id: id })).members.map((m) => m.migration?.step);

const say = (line: string): void => {
  process.stderr.write(`rotation: ${line}\n`);
};

type Channels = LightningResults['factory-create']['channels'];
/** Millisatoshis. */
const balanceIn = async ({ lsp }: Cluster, client: LightningNode, channels: Channels): Promise<number> => {
  const ids = channels.map((c) => c.channel_id);
  return (await client.channels(lsp)).filter((c) => ids.includes(c.channel_id)).reduce((sum, c) => sum + c.to_us_msat, 0);
};

describe(`rotation of a factory of ${CLIENTS} clients`, () => {
  let cluster: Cluster;
  let old = '';
  let next = '';
  let figures: Figures;
  beforeAll(async () => {
    cluster = await Cluster.start({ clients: CLIENTS, plugin: { lsp: { 'factory-min-depth': 1 }, client: {} }, options: { 'cltv-delta': 34 } });
    old = (await activeFactory(cluster, { capacity: CAPACITY, stock: 100_000n })).factory_id;
    for (const [i, client] of cluster.clients.entries()) await cluster.pay(cluster.lsp, client, 200_000_000 + i * 100_000_000);
    await cluster.settled();
    figures = new Figures(cluster.lsp, cluster.client(0));
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
    const ways = clients.flatMap((c) => [
      { from: outsider, to: c, amountMsat: 1_000_000 },
      { from: c, to: outsider, amountMsat: 1_000_000 },
      { from: lsp, to: c, amountMsat: 500_000 },
    ]);
    const before = await Promise.all(clients.map(async (c) => (await cluster.balances(c)).channelMsat));
    const traffic = new Traffic(cluster, ways, (EVERY_MS * ways.length) / clients.length);
    traffic.start();
    figures.begin();
    const rotated = await lsp.call('factory-rotate', { factory_id: old, request_id: 'turn' });
    next = rotated.to.factory_id;
    figures.end('creation');
    await cluster.confirm(rotated.to.funding_txid);
    figures.begin();
    await lsp.waitFor('every key to be here', async () => (await migrations(lsp, old)).every((step) => step === 'done'), { timeout: 150_000 });
    figures.end('moving');
    const tally = await traffic.stop();
    say(`${tally.attempted} payments while ${CLIENTS} clients moved, ${tally.lost.length} lost, slowest ${tally.slowestMs} ms`);
    expect(tally.lost).toEqual([]);
    expect(tally.paid).toBeGreaterThan(10);
    await cluster.settled();
    // Moving has cost nobody a millisatoshi. What is left in the old channels is the LSP's now.
    const due = clients.map((c, i) => before[i]! + (tally.net.get(c.name) ?? 0));
    expect(await Promise.all(clients.map((c) => balanceIn(cluster, c, rotated.to.channels)))).toEqual(due);
    say(`balances, in msat, before: ${before.join(', ')}; by payments: ${clients.map((c) => tally.net.get(c.name) ?? 0).join(', ')}; after: ${due.join(', ')}`);
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
    const { lsp, clients } = cluster;
    const waited = Date.now();
    await mineUntil(cluster, 'the old factory to be closed', async () => (await factoryState(lsp, old)) === 'closed');
    const [close, funding] = await Promise.all([closeOf(cluster, old), fundingOf(cluster, next)]);
    expect(close.tx.vin).toHaveLength(1);
    expect(close.tx.vout).toHaveLength(1);
    say(`closed in ${Date.now() - waited} ms; on chain ${funding.tx.vsize} + ${close.tx.vsize} vB, ${((funding.tx.vsize + close.tx.vsize) / CLIENTS).toFixed(1)} vB for each client, ${funding.feeSat + close.feeSat} sat`);
    for (const line of figures.lines()) say(line);
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

/** In satoshis, what each of the first three is paid at first. */
const BALANCES = [150_000n, 250_000n, 50_000n] as const;
/** Millisatoshis. */
const IN = 20_000_000;
const OUT = 30_000_000;
/** What forwarding costs in `sendAlong`. */
const FORWARDED = 50_000;
/** More than a day: long before the old factory dies. */
const LATER = 200;

describe('rotation of a factory whose members are busy, or away', () => {
  const holder = new Holder();
  let cluster: Cluster;
  let [old, next, third] = ['', '', ''];
  let before = 0;
  beforeAll(async () => {
    await holder.start();
    cluster = await Cluster.start({ clients: 4, plugin: { lsp: { 'factory-min-depth': 1 }, client: {} }, options: { plugin: holder.executable, 'cltv-delta': 34 } });
    const { lsp, clients } = cluster;
    old = (await activeFactory(cluster, { clients: clients.slice(0, 3), capacity: CAPACITY, stock: 100_000n })).factory_id;
    for (const [i, sats] of BALANCES.entries()) await cluster.pay(lsp, cluster.client(i), sats * 1_000n);
    await cluster.settled();
    before = (await cluster.balances(lsp)).walletMsat;
  }, 240_000);
  afterAll(async () => {
    await cluster.stop();
    await holder.stop();
  }, 240_000);

  /** Of the new factories. */
  const channels: Channels[number][] = [];
  const balance = (index: number): Promise<number> => balanceIn(cluster, cluster.client(index), channels);
  const moved = (index: number): Promise<boolean> =>
    cluster.lsp.waitFor(`client ${index} to have moved`, async () => {
      const status = await cluster.lsp.call('factory-status', { factory_id: old });
      return status.members.find((m) => m.node_id === cluster.client(index).id)?.migration?.step === 'done';
    });
  const parted = async (node: LightningNode): Promise<void> => {
    expect((await node.call('factory-status', { factory_id: old })).members[0]!.migration?.step).toMatch(/^hand(ing_over|ed_over)$/);
  };

  test('HTLCs under way in both directions end well: two fulfilled, two failed; what could move has moved before', async () => {
    const { lsp, outsider } = cluster;
    const busy = cluster.client(0);
    holder.hold(busy, 2);
    holder.hold(outsider, 2);
    const into = () => sendAlong([{ from: outsider, to: lsp, delay: 110 }, { from: lsp, to: busy, delay: 70 }], IN);
    const out = () => sendAlong([{ from: busy, to: lsp, delay: 110 }, { from: lsp, to: outsider, delay: 70 }], OUT);
    const [taken, lost, paid, failed] = [await into(), await into(), await out(), await out()];
    await Promise.all([holder.held(busy, 2), holder.held(outsider, 2)]);
    for (const [node, { paymentHash }] of [[busy, lost], [outsider, failed]] as const) {
      const [invoice] = ((await node.call('listinvoices', { payment_hash: paymentHash })) as { readonly invoices: readonly { readonly label: string }[] }).invoices;
      await node.call('delinvoice', { label: invoice!.label, status: 'unpaid' });
    }
    await cluster.client(2).stop();
    const rotated = await lsp.call('factory-rotate', { factory_id: old });
    next = rotated.to.factory_id;
    channels.push(...rotated.to.channels);
    expect(rotated.away).toEqual([cluster.client(2).id]);
    // Gone before it can move; its place in the next factory waits for it.
    await cluster.client(1).stop();
    await cluster.confirm(rotated.to.funding_txid);
    await busy.waitFor('what can move to have moved', async () => (await busy.call('factory-status', { factory_id: old })).members[0]!.migration?.step === 'settling');
    expect((await migrations(lsp, old))[0]).toBe('moving');
    const [oldChannel] = (await busy.channels(lsp)).filter((c) => c.htlcs.length > 0);
    expect(oldChannel!.htlcs).toHaveLength(4);
    holder.release(busy);
    holder.release(outsider);
    await Promise.all([taken.done, paid.done]);
    await expect(lost.done).rejects.toThrow();
    await expect(failed.done).rejects.toThrow();
    await moved(0);
    await cluster.settled();
    await parted(busy);
    expect(await balance(0)).toBe(Number(BALANCES[0]) * 1_000 + IN - OUT - FORWARDED);
  });

  test('a member that was away when it began to move, and comes back days later, moves then', async () => {
    const { lsp } = cluster;
    await mineSeen(cluster, LATER);
    const away = cluster.client(1);
    await away.resume();
    await away.connect(lsp);
    await moved(1);
    await cluster.settled();
    await parted(away);
    expect(await balance(1)).toBe(Number(BALANCES[1]) * 1_000);
    expect(await factoryState(away, next)).toBe('active');
  });

  test('one that was away when the next factory was made moves to the one after that, with somebody new; then the LSP closes the old one alone', async () => {
    const { lsp, clients } = cluster;
    const [late, newcomer] = [cluster.client(2), cluster.client(3)];
    await late.resume();
    await late.connect(lsp);
    await lspSees(cluster, [late, newcomer]);
    await pluginsSynced(cluster);
    const rotated = await lsp.call('factory-rotate', { factory_id: old, clients: [{ node_id: newcomer.id, capacity: 200_000 }] });
    third = rotated.to.factory_id;
    channels.push(...rotated.to.channels);
    expect(rotated.to.channels.map((c) => c.node_id).sort()).toEqual([late.id, newcomer.id].sort());
    await cluster.confirm(rotated.to.funding_txid);
    await moved(2);
    await cluster.settled();
    expect(await balance(2)).toBe(Number(BALANCES[2]) * 1_000);
    // One that moved long ago is away while the old factory ends: its old channel waits for it, and goes like the others'.
    const gone = cluster.client(0);
    await gone.stop();
    await mineUntil(cluster, 'the old factory to be closed', async () => (await factoryState(lsp, old)) === 'closed');
    await mineSeen(cluster, 6);
    await gone.resume();
    await gone.connect(lsp);
    for (const client of clients.slice(0, 3)) {
      await client.waitFor('closed', async () => (await factoryState(client, old)) === 'closed');
      await client.waitFor('its old channel to be retired', async () => (await client.channels(lsp)).filter((c) => c.state === 'CHANNELD_NORMAL').length === 1);
      await lsp.waitFor('the same', async () => (await lsp.channels(client)).filter((c) => c.state === 'CHANNELD_NORMAL').length === 1);
      // By agreement: nobody publishes a commitment of a channel that is nowhere.
      for (const c of [...(await client.channels(lsp)), ...(await lsp.channels(client))]) expect(c.state).not.toBe('AWAITING_UNILATERAL');
    }
    const [close, ...created] = await Promise.all([closeOf(cluster, old), fundingOf(cluster, next), fundingOf(cluster, third)]);
    expect([close.tx.vin.length, close.tx.vout.length]).toEqual([1, 1]);
    // The wallet's books, to the satoshi: all of the old factory has come back, two new ones were paid for.
    const spent = created.reduce((sum, f) => sum + f.amountSat + f.feeSat, 0);
    await lsp.waitFor('its coins', async () => (await cluster.balances(lsp)).walletMsat === before + (close.amountSat - close.feeSat - spent) * 1_000);
  });

  test('everybody has what is due, and pays', async () => {
    const { lsp, clients, outsider } = cluster;
    await cluster.settled();
    expect(await Promise.all(clients.map((_, i) => balance(i)))).toEqual([Number(BALANCES[0]) * 1_000 + IN - OUT - FORWARDED, Number(BALANCES[1]) * 1_000, Number(BALANCES[2]) * 1_000, 0]);
    for (const client of clients) await cluster.pay(outsider, client, 5_000_000);
    await cluster.settled();
    for (const client of clients) await cluster.pay(client, outsider, 1_000_000);
    for (const node of [lsp, ...clients]) expect(await node.call('factory-verify')).toMatchObject({ ok: true });
  });
});
