/**
 * What purchases and rotation take for granted in lightningd's payments, on whichever host there is: `sendpay` without an invoice,
 * HTLCs that a plugin holds, several channels between two nodes, circular payments, layers. No plugin of ours: a desk that answers
 * as a test tells it to, and virtual channels on hand-made leaves.
 */
import { createHash, randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { sat, type ChannelId } from '../../blip/brands.js';
import { replaceParams } from '../../plugin/lightning/hooks.js';
import { AdapterLab, handMadeLeaf, idOf, OUR_SCRIPT, slotOf } from '../fixtures/adapter-lab.js';
import { Desk } from '../fixtures/desk.js';
import type { PeerChannel } from '../harness/lightning-results.js';
import type { LightningNode } from '../harness/lightningd.js';
import { clusterForSuite } from '../harness/suite.js';
import { rpcError } from './factory-helpers.js';

/** JSON-RPC and payment error codes of lightningd. */
const INVALID_PARAMS = -32602;
const IN_PROGRESS = 200;
const HASH_USED = 201;
const DESTINATION_FAILED = 203;
const TRY_OTHER_ROUTE = 204;
const NO_ROUTE = 205;
const NO_SUCH_PAYMENT = 208;

/** Blocks of an HTLC's life where a test does not care. */
const DELAY = 40;
const FEE = { base: 1, ppm: 10 } as const;
const feeOf = (amount: number): number => FEE.base + Math.floor((amount * FEE.ppm) / 1_000_000);

interface Payment {
  readonly payment_hash: string;
  readonly status: string;
  readonly groupid: number;
  readonly amount_msat: number;
  readonly amount_sent_msat: number;
  readonly payment_preimage?: string;
}

describe('payments of a host', () => {
  const lab = new AdapterLab();
  const desk = new Desk();
  beforeAll(() => Promise.all([lab.start(), desk.start()]));
  const cluster = clusterForSuite({ clients: 1, plugin: false, options: { plugin: [lab.executable, desk.executable] } });
  afterAll(() => Promise.all([lab.stop(), desk.stop()]));

  let lsp: LightningNode;
  let client: LightningNode;
  let old: ChannelId;
  /** The second channel between the two: there is less for the client in it than in the old one. */
  let fresh: ChannelId;

  const open = async (amount: bigint): Promise<ChannelId> => {
    const lightning = lab.lightning(lsp);
    const { coins } = await lightning.selectCoins(slotOf(sat(amount)), 2_000);
    const funding = await lightning.prepareFunding({ script: OUR_SCRIPT, amount: slotOf(sat(amount)), coins, feerate: 2_000 });
    const { script } = await lightning.openStart({ peer: idOf(client), amount: sat(amount) });
    const leaf = handMadeLeaf(funding, sat(amount), script);
    const { channelId } = await lightning.openComplete({ peer: idOf(client), fundingTx: leaf.signable });
    await Promise.all([cluster().usable(lsp, channelId), cluster().usable(client, channelId)]);
    await lightning.arm(leaf.signable);
    return channelId;
  };
  const channel = async (node: LightningNode, id: ChannelId): Promise<PeerChannel> => {
    const found = (await node.channels()).find((one) => one.channel_id === id);
    if (found === undefined) throw new Error(`${node.name} has no channel ${id}`);
    return found;
  };
  const alias = async (node: LightningNode, id: ChannelId): Promise<string> => (await channel(node, id)).alias?.local ?? '';
  const preimage = (): { readonly key: string; readonly hash: string } => {
    const key = randomBytes(32);
    return { key: key.toString('hex'), hash: createHash('sha256').update(key).digest('hex') };
  };
  /** One hop, from the client to the LSP. */
  const pay = async (hash: string, amount = 10_000, more = {}): Promise<Payment> =>
    (await client.call('sendpay', { route: [{ id: lsp.id, channel: await alias(client, old), delay: DELAY, amount_msat: amount }], payment_hash: hash, ...more })) as Payment;
  /** From the client's old channel through the LSP into its new one. */
  const move = async (hash: string, amount: number, fee = feeOf(amount), more = {}): Promise<Payment> => {
    const route = [
      { id: lsp.id, channel: await alias(client, old), delay: DELAY + 6, amount_msat: amount + fee },
      { id: client.id, channel: await alias(lsp, fresh), delay: DELAY, amount_msat: amount },
    ];
    return (await client.call('sendpay', { route, payment_hash: hash, ...more })) as Payment;
  };
  /** Millisatoshis. */
  const balance = async (id: ChannelId): Promise<number> => (await channel(client, id)).to_us_msat;
  /** The LSP's terms for forwarding into the fresh channel, once the client has heard of them, too. */
  const terms = async (base: number, ppm: number, more = {}): Promise<void> => {
    await lsp.call('setchannel', { id: fresh, feebase: base, feeppm: ppm, ...more });
    await client.waitFor('new terms', async () => {
      const remote = (await channel(client, fresh)).updates?.remote as { readonly fee_base_msat: number; readonly fee_proportional_millionths: number } | undefined;
      return remote?.fee_base_msat === base && remote.fee_proportional_millionths === ppm;
    });
  };
  const paid = async (hash: string, more = {}): Promise<Payment> => (await client.call('waitsendpay', { payment_hash: hash, ...more })) as Payment;
  const sent = async (hash: string): Promise<readonly Payment[]> => ((await client.call('listsendpays', { payment_hash: hash })) as { readonly payments: readonly Payment[] }).payments;
  const back = async (): Promise<void> => {
    await lsp.waitFor('the client', async () => {
      await lsp.connect(client);
      return (await client.call('listpeers')).peers.some(({ id, connected }) => id === lsp.id && connected);
    });
    await Promise.all([cluster().usable(lsp, old), cluster().usable(client, old)]);
  };

  beforeAll(async () => {
    lsp = cluster().lsp;
    client = cluster().client(0);
    lab.toy(client).zeroConfFrom.add(idOf(lsp));
    old = await open(2_000_000n);
    await cluster().pay(lsp, client, 1_000_000_000);
    await cluster().settled();
  }, 240_000);

  describe('sendpay, one hop, no invoice', () => {
    test('what nobody asked for reaches the hook, waits there, and is settled by a preimage', async () => {
      const { key, hash } = preimage();
      desk.answer(lsp, hash, 'hold');
      const height = await cluster().bitcoind.height();
      expect(await pay(hash)).toMatchObject({ payment_hash: hash, groupid: 1, status: 'pending', amount_msat: 10_000, amount_sent_msat: 10_000 });
      const settle = await desk.held(lsp, hash);
      const [htlc] = desk.htlcs(lsp, hash);
      expect(htlc).toMatchObject({ amount: 10_000n, cltvExpiry: height + 1 + DELAY, incoming: { peer: client.id, shortChannelId: await alias(lsp, old) } });
      expect(htlc?.forward).toBeUndefined();
      expect((await channel(client, old)).htlcs).toMatchObject([{ direction: 'out', state: 'SENT_ADD_ACK_REVOCATION' }]);
      expect((await channel(lsp, old)).htlcs).toMatchObject([{ direction: 'in', state: 'RCVD_ADD_ACK_REVOCATION' }]);
      expect(await rpcError(paid(hash, { timeout: 1 }))).toMatchObject({ code: IN_PROGRESS });

      // The same again, while it is under way: only the same attempt is the same.
      expect(await rpcError(pay(hash))).toMatchObject({ code: IN_PROGRESS });
      expect(await pay(hash, 10_000, { groupid: 1 })).toMatchObject({ groupid: 1, status: 'pending' });
      expect(await rpcError(pay(hash, 10_001, { groupid: 1 }))).toMatchObject({ code: HASH_USED });
      expect(await sent(hash)).toMatchObject([{ status: 'pending', groupid: 1 }]);

      settle({ result: 'resolve', payment_key: key });
      expect(await paid(hash)).toMatchObject({ status: 'complete', payment_preimage: key });
      // And after: nothing is sent twice.
      expect(await pay(hash)).toMatchObject({ status: 'complete', payment_preimage: key });
      expect(await rpcError(pay(hash, 10_001))).toMatchObject({ code: HASH_USED });
      expect(desk.htlcs(lsp, hash)).toHaveLength(1);
    });

    test('failures: which leave a trace, and which code they have', async () => {
      const never = preimage().hash;
      expect(await rpcError(paid(never))).toMatchObject({ code: NO_SUCH_PAYMENT });
      const unknown = client.call('sendpay', { route: [{ id: lsp.id, channel: '1x1x1', delay: DELAY, amount_msat: 1_000 }], payment_hash: never });
      expect(await rpcError(unknown)).toMatchObject({ code: TRY_OTHER_ROUTE, data: { erring_index: 0, failcodename: 'WIRE_UNKNOWN_NEXT_PEER' } });
      expect(await sent(never)).toEqual([]);

      const tooMuch = preimage().hash;
      await pay(tooMuch, 1_500_000_000);
      expect(await rpcError(paid(tooMuch))).toMatchObject({ code: TRY_OTHER_ROUTE, data: { erring_index: 0, failcodename: 'WIRE_TEMPORARY_CHANNEL_FAILURE' } });
      expect(await sent(tooMuch)).toMatchObject([{ status: 'failed' }]);

      const refused = preimage().hash;
      await pay(refused);
      expect(await rpcError(paid(refused))).toMatchObject({ code: DESTINATION_FAILED, data: { erring_index: 1, erring_node: lsp.id } });
      // A failed attempt stays one; the next has the next number.
      expect(await rpcError(pay(refused, 10_000, { groupid: 1 }))).toMatchObject({ code: HASH_USED });
      desk.answer(lsp, refused, { result: 'fail', failure_message: '2002' });
      expect(await pay(refused)).toMatchObject({ groupid: 2, status: 'pending' });
      expect(await rpcError(paid(refused))).toMatchObject({ code: TRY_OTHER_ROUTE, data: { failcodename: 'WIRE_TEMPORARY_NODE_FAILURE' } });
      expect(await sent(refused)).toMatchObject([{ groupid: 1, status: 'failed' }, { groupid: 2, status: 'failed' }]);

      expect(await rpcError(client.call('sendpay', { route: [], payment_hash: never }))).toMatchObject({ code: INVALID_PARAMS });
      expect(await rpcError(client.call('sendpay', { route: [{ id: lsp.id }], payment_hash: never }))).toMatchObject({ code: INVALID_PARAMS });
      expect(await rpcError(pay(never, 10_000, { amount_msat: 9_999 }))).toMatchObject({ code: INVALID_PARAMS });
      await cluster().settled();
    });

    test('what is held survives a power failure of either side, and is settled while the other is away', async () => {
      const [first, second] = [preimage(), preimage()];
      for (const { hash } of [first, second]) {
        desk.answer(lsp, hash, 'hold');
        await pay(hash);
        await desk.held(lsp, hash);
      }
      await lsp.kill();
      await client.waitFor('the LSP to be gone', async () => !(await channel(client, old)).peer_connected);
      expect(await rpcError(pay(preimage().hash))).toMatchObject({ code: TRY_OTHER_ROUTE, data: { failcodename: 'WIRE_TEMPORARY_CHANNEL_FAILURE' } });
      await lsp.resume();
      const [settle, refuse] = [await desk.held(lsp, first.hash), await desk.held(lsp, second.hash)];
      await client.kill();
      settle({ result: 'resolve', payment_key: first.key });
      refuse({ result: 'fail', failure_message: '2002' });
      await lsp.waitFor('the answers to count', async () => (await channel(lsp, old)).htlcs.every((htlc) => /_REMOVE_/.test((htlc as { readonly state: string }).state)));
      await client.resume();
      await back();
      expect(await paid(first.hash)).toMatchObject({ status: 'complete', payment_preimage: first.key });
      expect(await rpcError(paid(second.hash))).toMatchObject({ code: TRY_OTHER_ROUTE });
      await cluster().settled();
    });
  });

  describe('two channels between two nodes', () => {
    test('the second opens while an HTLC is held in the first', async () => {
      const { key, hash } = preimage();
      desk.answer(lsp, hash, 'hold');
      await pay(hash);
      const settle = await desk.held(lsp, hash);
      fresh = await open(500_000n);
      expect(await sent(hash)).toMatchObject([{ status: 'pending' }]);
      settle({ result: 'resolve', payment_key: key });
      await paid(hash);
      await cluster().settled();
    });

    test('a circular payment goes back into the channel with most to spend, whatever it names, unless a plugin says otherwise', async () => {
      const amount = 10_000_000;
      const invoice = await client.call('invoice', { amount_msat: amount, label: 'back', description: 'to myself' });
      const { payment_secret } = (await client.call('decode', { string: invoice.bolt11 })) as { readonly payment_secret: string };
      const before = await Promise.all([old, fresh].map(balance));
      expect(await move(invoice.payment_hash, amount, feeOf(amount), { payment_secret })).toMatchObject({ status: 'pending', amount_msat: amount, amount_sent_msat: amount + feeOf(amount) });
      await paid(invoice.payment_hash);
      await cluster().settled();
      expect(desk.htlcs(lsp, invoice.payment_hash)).toMatchObject([{ forward: { amount: BigInt(amount), shortChannelId: await alias(lsp, fresh), channelId: old } }]);
      // The last hop is like anybody's HTLC.
      expect(desk.htlcs(client, invoice.payment_hash)[0]?.forward).toBeUndefined();
      expect(await client.call('listinvoices', { label: 'back' })).toMatchObject({ invoices: [{ status: 'paid', amount_received_msat: amount }] });
      expect(await Promise.all([old, fresh].map(balance))).toEqual([(before[0] ?? 0) - feeOf(amount), before[1]]);

      // Without an invoice: the plugin at the end has the preimage.
      const { key, hash } = preimage();
      desk.answer(lsp, hash, { result: 'continue', forward_to: fresh });
      desk.answer(client, hash, { result: 'resolve', payment_key: key });
      await move(hash, amount);
      expect(await paid(hash)).toMatchObject({ status: 'complete', payment_preimage: key });
      await cluster().settled();
      expect(await balance(fresh)).toBe((before[1] ?? 0) + amount);
    });

    test('terms of its own: the named channel is kept, its fee is asked for, and the former, lower one for a while', async () => {
      const amount = 10_000_000;
      await terms(0, 0);
      const before = await balance(fresh);
      const free = async (): Promise<void> => {
        const { key, hash } = preimage();
        desk.answer(client, hash, { result: 'resolve', payment_key: key });
        await move(hash, amount, 0);
        expect(await paid(hash)).toMatchObject({ amount_msat: amount, amount_sent_msat: amount });
        expect(desk.htlcs(lsp, hash)).toMatchObject([{ forward: { channelId: fresh } }]);
      };
      await free();
      await terms(5_000, 0);
      await free();
      await cluster().settled();
      expect(await balance(fresh)).toBe(before + 2 * amount);

      await terms(6_000, 0, { enforcedelay: 0 });
      const poor = preimage().hash;
      await move(poor, amount, 5_999);
      expect(await rpcError(paid(poor))).toMatchObject({ code: TRY_OTHER_ROUTE, data: { erring_index: 1, erring_node: lsp.id, failcodename: 'WIRE_FEE_INSUFFICIENT' } });
      await terms(0, 0);
    });

    test('failures on the way round: nowhere to go, and a last hop that does not want it', async () => {
      const nowhere = preimage().hash;
      desk.answer(lsp, nowhere, { result: 'continue', forward_to: '00'.repeat(32) });
      await move(nowhere, 10_000, 0);
      expect(await rpcError(paid(nowhere))).toMatchObject({ code: TRY_OTHER_ROUTE, data: { erring_index: 1, failcodename: 'WIRE_UNKNOWN_NEXT_PEER' } });
      const unwanted = preimage().hash;
      await move(unwanted, 10_000, 0);
      expect(await rpcError(paid(unwanted))).toMatchObject({ code: DESTINATION_FAILED, data: { erring_index: 2, erring_node: client.id } });
      await cluster().settled();
    });
  });

  describe('layers', () => {
    const AVOID = 'avoid-the-old-channel';
    const side = async (id: ChannelId): Promise<string> => `${await alias(client, id)}/${client.id < lsp.id ? 0 : 1}`;
    const askFor = (amount: number, layers: readonly string[]): Promise<unknown> =>
      client.call('getroutes', { source: client.id, destination: lsp.id, amount_msat: amount, layers: ['auto.localchans', 'auto.sourcefree', ...layers], maxfee_msat: 1_000, final_cltv: 18 });
    /** The channels that getroutes would pay the LSP over. */
    const taken = async (amount: number, layers: readonly string[]): Promise<readonly (string | undefined)[]> => {
      const { routes } = (await askFor(amount, layers)) as { readonly routes: readonly { readonly path: readonly { readonly short_channel_id_dir: string }[] }[] };
      return routes.map(({ path }) => path[0]?.short_channel_id_dir);
    };
    const invoice = (label: string): Promise<{ readonly bolt11: string }> => lsp.call('invoice', { amount_msat: 1_000_000, label, description: 'layers' });
    const settledBalances = async (): Promise<readonly number[]> => {
      await cluster().settled();
      return Promise.all([old, fresh].map(balance));
    };

    test('a channel that a layer switches off is never taken, not even alone; layers that nobody made are errors', async () => {
      expect(await rpcError(askFor(1_000_000, ['nobody-made-it']))).toMatchObject({ code: INVALID_PARAMS });
      await client.call('askrene-create-layer', { layer: AVOID, persistent: true });
      await client.call('askrene-create-layer', { layer: AVOID, persistent: true });
      await client.call('askrene-create-layer', { layer: 'for-now' });
      expect(await rpcError(client.call('askrene-create-layer', { layer: 'for-now' }))).toMatchObject({ code: INVALID_PARAMS });
      expect(await rpcError(client.call('askrene-remove-layer', { layer: 'nobody-made-it' }))).toMatchObject({ code: INVALID_PARAMS });

      await client.call('askrene-update-channel', { layer: AVOID, short_channel_id_dir: await side(old), enabled: false });
      await client.call('askrene-update-channel', { layer: AVOID, short_channel_id_dir: '1x1x1/0', enabled: false });
      expect(await taken(1_000_000, [AVOID])).toEqual([await side(fresh)]);
      // More than there is in the fresh one.
      expect(await taken(100_000_000, ['for-now'])).toContain(await side(old));
      expect(await rpcError(askFor(100_000_000, [AVOID]))).toMatchObject({ code: NO_ROUTE });
    });

    test('xpay keeps to them, by its own parameter or by a plugin that adds one to its getroutes', async () => {
      const before = await settledBalances();
      await client.call('xpay', { invstring: (await invoice('by parameter')).bolt11, layers: [AVOID] });
      desk.replace(client, 'getroutes', (called) => {
        const params = called.params as { readonly layers: readonly string[] };
        return replaceParams(called, { ...params, layers: [...params.layers, AVOID] });
      });
      await client.call('xpay', { invstring: (await invoice('by hook')).bolt11 });
      desk.replace(client, 'getroutes', undefined);
      expect(await settledBalances()).toEqual([before[0], (before[1] ?? 0) - 2_000_000]);
    });

    test('persistent ones are there after a restart, others are not', async () => {
      await client.restart(false);
      await back();
      expect(await taken(1_000_000, [AVOID])).toEqual([await side(fresh)]);
      expect(await rpcError(askFor(1_000_000, ['for-now']))).toMatchObject({ code: INVALID_PARAMS });
      await client.call('askrene-remove-channel-update', { layer: AVOID, short_channel_id_dir: await side(old) });
      expect(await taken(100_000_000, [AVOID])).toContain(await side(old));
      await client.call('askrene-remove-layer', { layer: AVOID });
      expect(await rpcError(askFor(1_000_000, [AVOID]))).toMatchObject({ code: INVALID_PARAMS });
    });
  });

  describe('a deadline', () => {
    test('what is held to the end costs the payer its channel, not the other one', async () => {
      const { key, hash } = preimage();
      desk.answer(lsp, hash, 'hold');
      await pay(hash, 10_000, { route: [{ id: lsp.id, channel: await alias(client, old), delay: 10, amount_msat: 10_000 }] });
      const settle = await desk.held(lsp, hash);
      const expiry = desk.htlcs(lsp, hash)[0]?.cltvExpiry ?? 0;
      await cluster().mine(expiry - (await cluster().bitcoind.height()));
      expect(await channel(client, old)).toMatchObject({ state: 'CHANNELD_NORMAL' });
      await cluster().mine(1);
      await client.waitFor('the old channel to fail', async () => (await channel(client, old)).state === 'AWAITING_UNILATERAL');
      expect(await channel(client, fresh)).toMatchObject({ state: 'CHANNELD_NORMAL' });
      settle({ result: 'resolve', payment_key: key });
      expect(await rpcError(paid(hash, { timeout: 1 }))).toMatchObject({ code: IN_PROGRESS });
      expect(await sent(hash)).toMatchObject([{ status: 'pending' }]);
    });
  });
});
