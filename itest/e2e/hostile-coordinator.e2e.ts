/**
 * A coordinator that cheats, at every step of a creation: the members refuse, say why, sign nothing they should not, take no
 * payment over what is no channel of a factory, and are none the worse for it afterwards.
 */
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { encodeChannelInFactory, decodeChannelInFactory } from '../../blip/channel-in-factory.js';
import type { AggregateNonce, PubKey, PublicNonce, Sat, Script, Txid } from '../../blip/brands.js';
import type { Spec } from '../../blip/messages.js';
import type { Signable } from '../../factory-core/model.js';
import { txidOf } from '../../factory-core/serialize.js';
import { Hostile, instead, type Mischief } from '../fixtures/hostile.js';
import { Cluster } from '../harness/cluster.js';
import type { LightningNode } from '../harness/lightningd.js';
import { factoryState, openChannels, reservedCoins, rpcError } from './factory-helpers.js';

jest.setTimeout(120_000);

const CAPACITY = 100_000;
const PATIENCE = 4;
const NO_POINT = `02${'ff'.repeat(32)}`;
const other = <T extends string>(hex: T): T => `${hex.slice(0, -1)}${hex.endsWith('0') ? '1' : '0'}` as T;
const swapped = <T>(list: readonly T[]): readonly T[] => [...list].reverse();
const spec = (change: (honest: Spec) => Partial<Spec>): Mischief => instead('spec', (m) => ({ ...m, ...change(m) }));
const ownEntry = (m: Spec, change: Partial<Spec['roster'][0]>): Partial<Spec> => ({ roster: m.roster.map((entry, i) => (i === m.memberIndex ? { ...entry, ...change } : entry)) });

/** What the coordinator does, what a member says, and whether it may have given away a nonce, or a signature, by then. */
const CHEATS: readonly (readonly [string, Mischief, RegExp, 'nothing' | 'nonces' | 'partials'])[] = [
  ['asks for more funding than the tree needs', spec((m) => ({ fundingAmount: (m.fundingAmount + 1n) as Sat })), /spec\.fundingAmount/, 'nothing'],
  ['asks for less', spec((m) => ({ fundingAmount: (m.fundingAmount - 1n) as Sat })), /spec\.fundingAmount/, 'nothing'],
  ['pays a member’s share elsewhere', spec((m) => ownEntry(m, { payoutScript: `5120${'11'.repeat(32)}` as Script })), /spec\.roster\[\d\]\.payoutScript/, 'nothing'],
  ['gives a member less than it was promised', spec((m) => ownEntry(m, { capacity: 50_000n as Sat })), /spec\.roster\[\d\]\.capacity/, 'nothing'],
  ['takes another key for a member’s', spec((m) => ownEntry(m, { key: `02${'11'.repeat(32)}` as PubKey })), /spec\.roster\[\d\]\.key/, 'nothing'],
  ['tells a member it is another one', spec((m) => ({ memberIndex: 1 - m.memberIndex })), /spec\.roster\[\d\]\.key/, 'nothing'],
  ['tells a member it is none', spec(() => ({ memberIndex: 7 })), /spec\.memberIndex/, 'nothing'],
  ['leaves the others out', spec((m) => ({ roster: m.roster.filter((_, i) => i === m.memberIndex), memberIndex: 0 })), /spec\.roster\.length/, 'nothing'],
  ['enters a member’s key twice', spec((m) => ({ coordinatorKey: m.roster[m.memberIndex]!.key })), /spec\.roster\[\d\]\.key: is in the factory already/, 'nothing'],
  ['has a key that is no point', spec(() => ({ coordinatorKey: NO_POINT as PubKey })), /spec\.coordinatorKey/, 'nothing'],
  ['draws a tree that cannot hold them', spec(() => ({ fanouts: [1] })), /spec\./, 'nothing'],
  ['lets it expire later than agreed', spec((m) => ({ expiryHeight: m.expiryHeight + 1 })), /spec\.expiryHeight/, 'nothing'],
  ['lets it begin in the past', spec((m) => ({ startHeight: m.startHeight - 20, expiryHeight: m.expiryHeight - 20 })), /spec\.startHeight/, 'nothing'],
  ['sends too few aggregate nonces', instead('aggregate_nonces', (m) => ({ ...m, nonces: m.nonces.slice(1) })), /aggregate_nonces: 1 of them, expected 2/, 'nonces'],
  ['sends aggregate nonces that are no points', instead('aggregate_nonces', (m) => ({ ...m, nonces: m.nonces.map(() => (NO_POINT + NO_POINT) as AggregateNonce) })), /aggregate_nonces: /, 'nonces'],
  ['sends a signature that does not hold', instead('signatures', (m) => ({ ...m, signatures: m.signatures.map((s, i) => (i === 1 ? other(s) : s)) })), /signatures: number 1 does not verify/, 'partials'],
  ['sends signatures in another order', instead('signatures', (m) => ({ ...m, signatures: swapped(m.signatures) })), /signatures: number 0 does not verify/, 'partials'],
  ['sends a signature too few', instead('signatures', (m) => ({ ...m, signatures: m.signatures.slice(0, 1) })), /signatures: number 1 does not verify/, 'partials'],
  ['announces a smaller channel', instead('open_intent', (m) => ({ ...m, fundingAmount: (m.fundingAmount - 1n) as Sat })), /open_intent\.funding_amount/, 'partials'],
  [
    'announces another early warning time',
    instead('open_intent', (m) => ({ ...m, channelInFactory: encodeChannelInFactory({ ...decodeChannelInFactory(m.channelInFactory), earlyWarningTime: 1 }) })),
    /open_intent\.channel_in_factory: early warning time/,
    'partials',
  ],
  ['puts something else than a channel into the leaf', instead('leaf', (m) => ({ ...m, channelScript: `5120${'11'.repeat(32)}` as Script })), /leaf\.channel_script/, 'partials'],
  ['sends a nonce for the leaf that is no point', instead('leaf', (m) => ({ ...m, nonce: (NO_POINT + NO_POINT) as PublicNonce })), /leaf\.nonce/, 'partials'],
  ['sends a leaf signature that does not hold', instead('leaf_signature', (m) => ({ ...m, signature: other(m.signature) })), /leaf_signature: does not verify/, 'partials'],
  ['names another channel', instead('channel_opened', (m) => ({ ...m, channelId: other(m.channelId) })), /audit: another channel id/, 'partials'],
];

describe('a coordinator that cheats', () => {
  let cluster: Cluster;
  let boss: LightningNode;
  let clients: readonly LightningNode[] = [];
  const hostile = new Hostile();
  const plugins: (number | undefined)[] = [];

  beforeAll(async () => {
    await hostile.start();
    cluster = await Cluster.start({ clients: 0, outsider: false });
    boss = await cluster.addNode('boss', false, { plugin: hostile.executable, 'factory-step-timeout': PATIENCE, 'factory-min-depth': 1 });
    await cluster.fund(boss, [10_000_000n]);
    // They know it: a stranger could not try so often.
    clients = await Promise.all(['c0', 'c1'].map((name) => cluster.addNode(name, { 'factory-accept': boss.id })));
    for (const client of clients) await client.connect(boss);
    plugins.push(...clients.map((c) => c.pluginPid()));
  }, 240_000);
  afterAll(async () => {
    try {
      await cluster.stop();
    } finally {
      await hostile.stop();
    }
  }, 240_000);

  const create = (): Promise<unknown> => boss.call('factory-create', { clients: clients.map((c) => c.id), capacity: CAPACITY, stock: 1_000 });

  /** The members are out of it, without a channel, and well. */
  const unharmed = async (marks: readonly number[]): Promise<void> => {
    for (const [i, client] of clients.entries()) {
      await client.waitFor('no channel', async () => (await openChannels(client, boss)).length === 0);
      expect(client.pluginPid()).toBe(plugins[i]);
      expect(client.log(marks[i]).filter((line) => /plugin-cln-factory.*(fatal|Error:)/.test(line))).toEqual([]);
    }
    await boss.waitFor('its coins', async () => (await reservedCoins(boss)) === 0);
    expect(await openChannels(boss)).toEqual([]);
  };

  test.each(CHEATS)('%s', async (_, mischief, reason, given) => {
    hostile.set(boss, mischief);
    const marks = clients.map((c) => c.logMark());
    const { code, data } = await rpcError(create());
    expect(code).toBe(3002);
    const { factory_id: id, excluded } = data as { readonly factory_id: string; readonly excluded: readonly { readonly reason: string }[] };
    expect(excluded[0]?.reason).toMatch(new RegExp(`^aborted: ${reason.source}`));
    for (const [i, client] of clients.entries()) {
      await client.waitFor('the end of it', async () => (await factoryState(client, id)) === 'aborted');
      const sent = client.log(marks[i]).flatMap((line) => /-> [0-9a-f]{66}: (\w+)/.exec(line)?.[1] ?? []);
      if (given === 'nothing') expect(sent).not.toContain('nonces');
      if (given !== 'partials') expect(sent).not.toContain('partials');
    }
    // At least one has said so itself; the other may have been told that it is over.
    const reasons = await Promise.all(clients.map(async (c) => ((await c.call('factory-status', { factory_id: id })) as unknown as { readonly reason: string }).reason));
    expect(reasons.some((r) => reason.test(r))).toBe(true);
    await unharmed(marks);
  });

  test('asks for another signature for the same output: nothing is signed, and nobody dies of it', async () => {
    const specs = new Map<string, Spec>();
    hostile.set(boss, {
      send: ({ header, message }, _, to) => {
        if (message.type === 'spec') specs.set(to, message);
        const asked = specs.get(to);
        if (message.type !== 'signatures' || asked === undefined) return undefined;
        // A new attempt with other heights, for the funding output of the one that has been signed.
        const again = { ...header, attempt: header.attempt + 1 };
        const later: Spec = { ...asked, startHeight: asked.startHeight + 1, expiryHeight: asked.expiryHeight + 1 };
        const nonces = message.signatures.map(() => ANY_NONCE);
        return [
          { header: again, message: later },
          { header: again, message: { type: 'aggregate_nonces', nonces } },
          { header: again, message: { type: 'aggregate_nonces', nonces } },
        ];
      },
    });
    const marks = clients.map((c) => c.logMark());
    const { data } = await rpcError(create());
    const { factory_id: id } = data as { readonly factory_id: string };
    for (const [i, client] of clients.entries()) {
      expect(client.log(marks[i]).filter((line) => /signed for sighash/.test(line))).toHaveLength(1);
      expect(client.log(marks[i]).filter((line) => /-> [0-9a-f]{66}: partials/.test(line))).toHaveLength(1);
      await client.waitFor('the end of it', async () => (await factoryState(client, id)) === 'aborted');
    }
    await unharmed(marks);
  });

  const opening = (extra: Readonly<Record<string, unknown>>): Mischief => ({
    node: (_, rpc) => ({
      openStart: async ({ peer, amount }) => {
        const request = { id: peer, amount, announce: false, mindepth: 0, reserve: 0, channel_type: [12, 22, 46, 50], ...extra };
        return { script: ((await rpc.call('fundchannel_start', request)) as { readonly scriptpubkey: Script }).scriptpubkey };
      },
    }),
  });

  test.each([
    ['pushes money', opening({ push_msat: 1_000_000 }), /must not push/],
    ['announces the channel to the world', opening({ announce: true, channel_type: [12, 22, 50] }), /is not announced/],
  ])('%s', async (_, mischief, reason) => {
    hostile.set(boss, mischief);
    const marks = clients.map((c) => c.logMark());
    const { data } = await rpcError(create());
    const { excluded } = data as { readonly excluded: readonly { readonly reason: string }[] };
    expect(excluded[0]?.reason).toMatch(reason);
    await unharmed(marks);
  });

  test('pays over a channel whose funding is made up: the payment is refused', async () => {
    const client = clients[0]!;
    const invoice = await client.call('invoice', { amount_msat: 10_000, label: 'made up', description: 'x' });
    const { payment_secret: secret } = (await client.call('decode', { string: invoice.bolt11 })) as { readonly payment_secret: string };
    const outcomes: string[] = [];
    hostile.set(boss, {
      node: (honest) => ({ openComplete: ({ peer, fundingTx }) => honest.openComplete({ peer, fundingTx: madeUp(fundingTx) }) }),
      send: async ({ message }, rpc, to) => {
        if (message.type !== 'channel_opened') return undefined;
        if (to !== client.id) return [];
        const channel = await boss.waitFor('the channel', async () => (await boss.channels(client)).find((c) => c.state === 'CHANNELD_NORMAL' && c.channel_id === message.channelId)?.alias?.local).catch(() => undefined);
        if (channel === undefined) return [];
        try {
          const route = [{ id: client.id, channel, amount_msat: 10_000, delay: 200 }];
          await rpc.call('sendpay', { route, payment_hash: invoice.payment_hash, payment_secret: secret, amount_msat: 10_000 });
          await rpc.call('waitsendpay', { payment_hash: invoice.payment_hash, timeout: 3 });
          outcomes.push('paid');
        } catch (error) {
          outcomes.push(error instanceof Error ? error.message : String(error));
        }
        return [];
      },
    });
    const marks = clients.map((c) => c.logMark());
    await rpcError(create());
    expect(outcomes).toEqual([expect.stringMatching(/WIRE_TEMPORARY_NODE_FAILURE/)]);
    const { invoices } = (await client.call('listinvoices', { label: 'made up' })) as { readonly invoices: readonly { readonly status: string }[] };
    expect(invoices[0]?.status).toBe('unpaid');
    hostile.set(boss, {});
    // To its node it is a channel like any other: the operator closes it.
    for (const c of clients) for (const id of await openChannels(c, boss)) await c.call('close', { id, unilateraltimeout: 1 });
    await unharmed(marks);
  });

  test('and when it is honest again, they make a factory with it', async () => {
    hostile.set(boss, {});
    for (const client of clients) await client.connect(boss);
    const created = (await create()) as { readonly factory_id: string; readonly funding_txid: string };
    await cluster.confirm(created.funding_txid);
    for (const client of clients) await client.waitFor('active', async () => (await factoryState(client, created.factory_id)) === 'active');
    await cluster.pay(boss, clients[0]!, 10_000_000);
    await cluster.pay(clients[0]!, clients[1]!, 1_000_000);
    for (const client of clients) expect(await client.call('factory-verify')).toMatchObject({ ok: true });
  });
});

/** Two points, as good as any. */
const ANY_NONCE = `0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f8179802c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5` as AggregateNonce;

/** The same output, out of nowhere. */
const madeUp = (leaf: Signable): Signable => {
  const tx = { ...leaf.tx, prevout: { ...leaf.tx.prevout, outpoint: { txid: 'ab'.repeat(32) as Txid, vout: 0 } } };
  return { ...leaf, tx, txid: txidOf(tx) };
};
