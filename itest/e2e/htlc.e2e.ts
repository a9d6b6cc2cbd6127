/**
 * HTLCs over factory channels (architecture 6): none that would expire before its owner can be on chain is taken on, and
 * none is left alone near its limit. What happens on chain is for the real lightningd only: the stand-in has no HTLC outputs.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { Holder } from '../fixtures/holder.js';
import { Cluster } from '../harness/cluster.js';
import { host } from '../harness/host.js';
import type { LightningNode } from '../harness/lightningd.js';
import { memberState, mineSeen, mineUntil } from './chain-helpers.js';
import { activeFactory, factoryState, rpcError } from './factory-helpers.js';
import { sendAlong, type Hop } from './routes.js';

jest.setTimeout(240_000);

/** BOLT 4. */
const INCORRECT_OR_UNKNOWN_PAYMENT_DETAILS = 0x400f;
const EXPIRY_TOO_SOON = 0x100e;
const PERMANENT_CHANNEL_FAILURE = 0x4008;

/** What the LSP keeps between an incoming and an outgoing HTLC. */
const CLTV_DELTA = 16;
/** Root and leaf: six blocks each, and eighteen (architecture 4). */
const EARLY_WARNING = 2 * 6 + 18;
/** `sendpay` adds the delay to the height of the next block. */
const LEAST_DELAY = EARLY_WARNING;

/** Millisatoshis. */
const AMOUNT = 20_000_000;
/** What each client gets over its channel, and, in satoshis, has in its wallet. */
const BALANCE = 300_000_000;
const COIN = 1_000_000;
/** Commitment, HTLC transactions and sweeps cost less than this. */
const FEES = 30_000_000;

/** HTLC outputs are spent, timed out and watched by lightningd alone. */
const withHtlcOutputs = host().kind === 'real' ? describe : describe.skip;

describe('HTLCs', () => {
  const holder = new Holder();
  let cluster: Cluster;
  let factoryId = '';
  let funding = { txid: '', vout: 0 };

  beforeAll(async () => {
    await holder.start();
    cluster = await Cluster.start({
      clients: 3,
      plugin: { lsp: { 'factory-min-depth': 1 }, client: {} },
      options: { plugin: holder.executable, 'cltv-delta': CLTV_DELTA },
      // Fees of HTLC transactions come from the wallet (BOLT 3, zero-fee anchors).
      clientCoins: [BigInt(COIN)],
    });
    const created = await activeFactory(cluster);
    factoryId = created.factory_id;
    const status = (await cluster.lsp.call('factory-status', { factory_id: factoryId })) as unknown as { readonly funding: typeof funding };
    ({ funding } = status);
    for (const client of cluster.clients) await cluster.pay(cluster.lsp, client, BALANCE);
    await cluster.settled();
  }, 240_000);
  afterAll(async () => {
    await cluster.stop();
    await holder.stop();
  }, 240_000);

  describe('to the block', () => {
    const final = (from: () => LightningNode, to: () => LightningNode) => ({
      route: (delay: number): readonly Hop[] => [{ from: from(), to: to(), delay }],
      code: INCORRECT_OR_UNKNOWN_PAYMENT_DETAILS,
    });
    test.each([
      ['LSP to client', final(() => cluster.lsp, () => cluster.client(0))],
      ['client to LSP', final(() => cluster.client(0), () => cluster.lsp)],
      [
        'client to the world, incoming at the LSP',
        {
          route: (delay: number): readonly Hop[] => [
            { from: cluster.client(0), to: cluster.lsp, delay },
            { from: cluster.lsp, to: cluster.outsider, delay: delay - CLTV_DELTA },
          ],
          code: EXPIRY_TOO_SOON,
        },
      ],
      [
        'world to client, outgoing at the LSP',
        {
          route: (delay: number): readonly Hop[] => [
            { from: cluster.outsider, to: cluster.lsp, delay: delay + CLTV_DELTA },
            { from: cluster.lsp, to: cluster.client(0), delay },
          ],
          code: EXPIRY_TOO_SOON,
        },
      ],
      [
        'client to client, outgoing at the LSP',
        {
          route: (delay: number): readonly Hop[] => [
            { from: cluster.client(1), to: cluster.lsp, delay: delay + CLTV_DELTA },
            { from: cluster.lsp, to: cluster.client(0), delay },
          ],
          code: EXPIRY_TOO_SOON,
        },
      ],
    ])('%s: the last block that will do, and the one before', async (_, { route, code }) => {
      await (await sendAlong(route(LEAST_DELAY), AMOUNT)).done;
      const error = await rpcError((await sendAlong(route(LEAST_DELAY - 1), AMOUNT)).done);
      // Whoever refused is the LSP or the client; it says what BOLT 4 wants of it.
      expect(error.data).toMatchObject({ failcode: code });
      await cluster.settled();
    });
  });

  /** Waits until the HTLCs of a channel are in both commitments. */
  const committed = (node: LightningNode, peer: LightningNode, count: number): Promise<unknown> =>
    node.waitFor(`${count} HTLCs with ${peer.name}`, async () => {
      const htlcs = await htlcsWith(node, peer);
      return htlcs.length === count && htlcs.every((h) => /_ADD_ACK_REVOCATION$/.test(h.state));
    });
  const htlcsWith = async (node: LightningNode, peer: LightningNode) =>
    (await node.channels(peer)).flatMap((c) => c.htlcs) as readonly { readonly state: string }[];
  const wallet = async (node: LightningNode): Promise<number> => (await cluster.balances(node)).walletMsat;
  /** What onchaind says that it has done. */
  const says = (node: LightningNode, pattern: RegExp, from: number) => (): Promise<boolean> => Promise.resolve(node.log(from).some((line) => pattern.test(line)));
  /** Mines until this is settled, one way or the other. */
  const settle = async (what: string, payment: Promise<unknown>): Promise<unknown> => {
    let ended: { readonly as: unknown } | undefined;
    payment.then((as) => (ended = { as }), (as: unknown) => (ended = { as }));
    await mineUntil(cluster, what, async () => {
      await pause(250);
      return ended !== undefined;
    });
    return ended?.as;
  };
  /** Mines up to the block before `limit`: nobody moves; then one more: the next transaction of the exit is published. */
  const leavesAt = async (limit: number, node: LightningNode): Promise<void> => {
    const mark = node.logMark();
    await mineSeen(cluster, limit - 1 - (await cluster.bitcoind.height()));
    await pause(1_000);
    expect(node.log(mark).filter((line) => /leaving with|publishing/.test(line))).toEqual([]);
    await mineSeen(cluster);
    expect(await node.waitForLog(/leaving with/, mark)).toMatch(/an HTLC of 20000000 msat expires at/);
    await node.waitForLog(/publishing (?:split|leaf)/, mark);
  };

  withHtlcOutputs('left alone', () => {
    /** One HTLC through the LSP to this client, which expires at `expiry`, and one it offers the LSP; both held. */
    const pendingBothWays = async (client: LightningNode) => {
      const { lsp, outsider } = cluster;
      holder.hold(client);
      holder.hold(lsp);
      const received = await sendAlong(
        [
          { from: outsider, to: lsp, delay: LEAST_DELAY + 5 + CLTV_DELTA },
          { from: lsp, to: client, delay: LEAST_DELAY + 5 },
        ],
        AMOUNT,
      );
      const expiry = (await cluster.bitcoind.height()) + 1 + LEAST_DELAY + 5;
      const offered = await sendAlong([{ from: client, to: lsp, delay: LEAST_DELAY + 10 }], AMOUNT);
      await holder.held(client);
      await holder.held(lsp);
      return { received, expiry, offered };
    };

    test('the LSP falls silent: a client leaves in time for what it has the preimage of, and takes back what it offered', async () => {
      const { lsp } = cluster;
      const client = cluster.client(0);
      const mark = client.logMark();
      const balance = (await client.channels(lsp))[0]!.to_us_msat;
      const coins = await wallet(client);
      const { received, expiry, offered } = await pendingBothWays(client);
      await committed(client, lsp, 2);
      await lsp.stop();
      // Now the client has the preimage, and nobody to give it to.
      holder.release(client);
      await client.waitFor('the HTLC to be fulfilled', async () => (await htlcsWith(client, lsp)).some((h) => h.state.includes('_REMOVE_')));
      await leavesAt(expiry - EARLY_WARNING, client);
      expect((await cluster.bitcoind.spender(funding.txid, funding.vout))?.vout).toHaveLength(4);

      // Root, leaf, commitment, and the HTLC's success: long before it expires.
      await mineUntil(cluster, 'the HTLC’s success', says(client, /THEIR_HTLC by our proposal OUR_HTLC_SUCCESS_TX/, mark), 18);
      expect(await cluster.bitcoind.height()).toBeLessThan(expiry);

      // The LSP comes back: its restart drags no sibling's leaf to the chain, where the root is now. It finds the preimage on chain, and the payer has it while its own HTLC lives.
      await lsp.resume();
      expect(await settle('the payer', received.done)).toMatchObject({ status: 'complete' });
      expect(await cluster.bitcoind.height()).toBeLessThan(expiry + CLTV_DELTA);

      // What the client had offered times out on chain.
      await mineSeen(cluster, expiry + 5 - (await cluster.bitcoind.height()));
      expect(await settle('what was offered', offered.done)).toMatchObject({ data: { failcode: PERMANENT_CHANNEL_FAILURE } });
      await mineUntil(cluster, 'the client to have it all', async () => (await wallet(client)) >= coins + balance + AMOUNT - FEES);
      holder.release(lsp);
      for (const sibling of [1, 2]) expect(await memberState(lsp, factoryId, cluster.client(sibling))).toBe('in_factory');
    });

    test('a channel that lightningd has failed: both sides begin its way out', async () => {
      const { lsp } = cluster;
      const client = cluster.client(2);
      await client.connect(lsp);
      const [channel] = await client.channels(lsp);
      expect(channel!.state).toBe('CHANNELD_NORMAL');
      await lsp.call('dev-fail', { id: client.id });
      // The peer hears of it when it reconnects, and is sent away again.
      await client.call('disconnect', { id: lsp.id, force: true });
      await client.call('connect', { id: lsp.id, host: '127.0.0.1', port: lsp.port }).catch(() => undefined);
      for (const node of [lsp, client]) {
        await node.waitForLog(/leaving with the channel of client 2: lightningd has failed the channel/);
        expect(await memberState(node, factoryId, node === lsp ? client : lsp)).toBe('leaving');
      }
      // The root is there since the exit before; what is left is the leaf, then CLN's commitment, which CLN tries now and then.
      await cluster.bitcoind.waitForMempool(1);
      await mineSeen(cluster);
      for (const node of [lsp, client]) expect(await memberState(node, factoryId, node === lsp ? client : lsp)).toBe('on_chain');
    });

    test('a client falls silent: the LSP leaves with its branch in time, is paid for the preimage, and upstream fails in time', async () => {
      const { lsp } = cluster;
      const client = cluster.client(1);
      const mark = lsp.logMark();
      await client.connect(lsp);
      await cluster.usable(client, (await client.channels(lsp))[0]!.channel_id);
      const { received: forwarded, expiry, offered } = await pendingBothWays(client);
      await committed(lsp, client, 2);
      await client.stop();
      holder.release(lsp);
      await lsp.waitFor('the HTLC to be fulfilled', async () => (await htlcsWith(lsp, client)).some((h) => h.state.includes('_REMOVE_')));
      // The root is on chain already: the leaf alone is left of its way.
      await leavesAt(expiry - EARLY_WARNING + 6, lsp);
      await mineUntil(cluster, 'the HTLC’s success', says(lsp, /THEIR_HTLC by our proposal OUR_HTLC_SUCCESS_TX/, mark), 18);
      expect(await cluster.bitcoind.height()).toBeLessThan(expiry);
      await mineSeen(cluster, expiry - (await cluster.bitcoind.height()));
      expect(await settle('upstream', forwarded.done)).toMatchObject({ data: { failcode: PERMANENT_CHANNEL_FAILURE, erring_node: lsp.id } });
      expect(await cluster.bitcoind.height()).toBeLessThan(expiry + CLTV_DELTA);
      // The client comes back and learns from the chain that what it had offered was paid.
      holder.release(client);
      await client.resume();
      await client.waitFor('its payment to be complete', async () => {
        const { payments } = (await client.call('listsendpays', { payment_hash: offered.paymentHash })) as { readonly payments: readonly { readonly status: string }[] };
        return payments[0]?.status === 'complete';
      });
    });

    test('in the end everybody has left, and the outsider’s channel has not suffered', async () => {
      const { lsp, outsider, clients } = cluster;
      // CLN tries the commitment of the failed channel every 30 to 60 seconds.
      for (const client of clients) {
        await mineUntil(cluster, `${client.name} to have left`, async () => (await memberState(lsp, factoryId, client)) === 'left');
      }
      expect(await factoryState(lsp, factoryId)).toBe('closed');
      expect((await outsider.channels(lsp)).map((c) => [c.state, c.htlcs])).toEqual([['CHANNELD_NORMAL', []]]);
      // The client of the failed channel: its coin, and its balance less the commitment's fee.
      await mineUntil(cluster, 'the last client to be paid', async () => (await wallet(cluster.client(2))) >= COIN * 1000 + BALANCE - FEES);
    });
  });
});
