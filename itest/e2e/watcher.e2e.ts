/**
 * What the chain does to a factory (architecture 9, 12.11): reorganisations of six blocks and more, a funding transaction
 * that loses its coins, others who publish parts of the tree, a node that was away. The state tells the truth everywhere.
 */
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import type { Psbt } from '../../plugin/lightning/lightning.js';
import { rawTransaction } from '../../plugin/lightning/psbt.js';
import { Cluster } from '../harness/cluster.js';
import type { LightningNode } from '../harness/lightningd.js';
import { exitOf, memberState, mineSeen, mineUntil, pluginsSynced, statusOf } from './chain-helpers.js';
import { createFactory, factoryState, lspSees, rpcError } from './factory-helpers.js';
import { sendAlong } from './routes.js';
import { wayOut } from './store-copy.js';

jest.setTimeout(240_000);

const DEEP = 7;
/** Far enough for any HTLC. */
const DELAY = 100;
/** BOLT 4 `temporary_node_failure`. */
const TEMPORARY_NODE_FAILURE = 0x2002;

describe('the chain', () => {
  let cluster: Cluster;
  let factoryId = '';
  let fundingTxid = '';
  const everyone = (): readonly LightningNode[] => [cluster.lsp, ...cluster.clients];
  const all = async (state: string, id = factoryId): Promise<void> => {
    for (const node of everyone().filter((n) => n.running)) await node.waitFor(state, async () => (await factoryState(node, id)) === state);
  };
  const usable = async (client: LightningNode): Promise<void> => {
    const channel = (await client.channels(cluster.lsp)).find((c) => c.state === 'CHANNELD_NORMAL');
    for (const node of [client, cluster.lsp]) await cluster.usable(node, channel?.channel_id ?? '');
  };

  beforeAll(async () => {
    // One coin: whatever is built with it excludes whatever else is.
    cluster = await Cluster.start({ clients: 3, outsider: false, lspCoins: [20_000_000n], plugin: { lsp: { 'factory-min-depth': 2 }, client: {} } });
    await lspSees(cluster);
  }, 240_000);
  afterAll(() => cluster.stop(), 240_000);

  /** A signed transaction that spends the LSP's one coin back to the LSP. */
  const rivalOf = async (): Promise<string> => {
    const { lsp } = cluster;
    const { p2tr } = await lsp.call('newaddr', { addresstype: 'p2tr' });
    const prepared = (await lsp.call('txprepare', { outputs: [{ [p2tr ?? '']: 'all' }], feerate: '20000perkb' })) as { readonly txid: string; readonly psbt: string };
    const { signed_psbt: psbt } = (await lsp.call('signpsbt', { psbt: prepared.psbt })) as { readonly signed_psbt: Psbt };
    await lsp.call('txdiscard', { txid: prepared.txid });
    return rawTransaction(psbt, [0]).rawTx;
  };
  /** The LSP has a coin again: what the rival paid. */
  const refilled = (): Promise<unknown> =>
    cluster.lsp.waitFor('its coin', async () => (await cluster.lsp.call('listfunds')).outputs.some((o) => o.status === 'confirmed' && !o.reserved));

  test('a funding transaction that never confirms, and loses its coins: called off everywhere', async () => {
    const rival = await rivalOf();
    const { factory_id: id } = await createFactory(cluster);
    await cluster.bitcoind.mineOnly(1, [rival]);
    await cluster.bitcoind.mineOnly(4);
    await pluginsSynced(cluster);
    for (const node of everyone()) expect(await factoryState(node, id)).toBe('funding');
    await cluster.bitcoind.mineOnly(1);
    await all('aborted', id);
    const status = (await statusOf(cluster.lsp, id)) as unknown as { readonly funding: { readonly problem: string } };
    expect(status.funding.problem).toMatch(/coins were spent by/);
    for (const client of cluster.clients) await retired(client);
  });

  /** No channel with the LSP is open any more. */
  const retired = (client: LightningNode): Promise<unknown> =>
    client.waitFor('its channels to be retired', async () => (await client.channels(cluster.lsp)).every((c) => c.state !== 'CHANNELD_NORMAL'));

  test('the funding transaction reorganised away, then double-spent: the same, members find out by themselves', async () => {
    await refilled();
    const rival = await rivalOf();
    const { factory_id: id, funding_txid: txid } = await createFactory(cluster);
    await cluster.bitcoind.waitForMempool(txid);
    await mineSeen(cluster, DEEP);
    await all('active', id);
    await cluster.bitcoind.reorganise(DEEP, { confirm: false });
    await pluginsSynced(cluster);
    await all('funding', id);
    // Nobody hears it from the LSP.
    await cluster.lsp.stop();
    await cluster.bitcoind.mineOnly(1, [rival]);
    await cluster.bitcoind.mineOnly(4);
    await pluginsSynced(cluster);
    for (const client of cluster.clients) expect(await factoryState(client, id)).toBe('funding');
    await cluster.bitcoind.mineOnly(1);
    await all('aborted', id);
    await cluster.lsp.resume();
    await all('aborted', id);
    for (const client of cluster.clients) await retired(client);
  });

  test('the funding transaction reorganised away: nothing passes until it is deep again', async () => {
    await refilled();
    await lspSees(cluster);
    ({ factory_id: factoryId, funding_txid: fundingTxid } = await createFactory(cluster));
    await cluster.bitcoind.waitForMempool(fundingTxid);
    await mineSeen(cluster, DEEP);
    await all('active');
    const client = cluster.client(0);
    await usable(client);
    await (await sendAlong([{ from: cluster.lsp, to: client, delay: DELAY }], 300_000_000)).done;
    await cluster.settled();
    await cluster.bitcoind.reorganise(DEEP, { confirm: false });
    await pluginsSynced(cluster);
    await all('funding');
    for (const [from, to] of [[cluster.lsp, client] as const, [client, cluster.lsp] as const]) {
      const error = await rpcError((await sendAlong([{ from, to, delay: DELAY }], 1_000_000)).done);
      expect(error.data).toMatchObject({ failcode: TEMPORARY_NODE_FAILURE });
    }
    await cluster.bitcoind.waitForMempool(fundingTxid);
    await mineSeen(cluster);
    expect(await factoryState(client, factoryId)).toBe('funding');
    await mineSeen(cluster);
    await all('active');
    await (await sendAlong([{ from: client, to: cluster.lsp, delay: DELAY }], 1_000_000)).done;
    for (const other of cluster.clients.slice(1)) await cluster.pay(cluster.lsp, other, 300_000_000);
    await cluster.settled();
  });

  test('somebody publishes the root, then a leaf: everybody sees it, and payments go on over every branch', async () => {
    const [c0, c1, c2] = [cluster.client(0), cluster.client(1), cluster.client(2)];
    const path = wayOut(c2, factoryId);
    expect(path.map((t) => t.kind)).toEqual(['split', 'leaf']);
    await cluster.bitcoind.call('sendrawtransaction', [path[0]!.raw]);
    await mineSeen(cluster);
    await all('exiting');
    for (const client of cluster.clients) {
      expect(await memberState(cluster.lsp, factoryId, client)).toBe('in_factory');
      expect(await memberState(client, factoryId, cluster.lsp)).toBe('in_factory');
    }
    await cluster.pay(c0, c1, 10_000_000);
    await cluster.bitcoind.call('sendrawtransaction', [path[1]!.raw]);
    await mineSeen(cluster, DEEP);
    expect(await memberState(cluster.lsp, factoryId, c2)).toBe('on_chain');
    expect(await memberState(c2, factoryId, cluster.lsp)).toBe('on_chain');
    expect(await memberState(cluster.lsp, factoryId, c1)).toBe('in_factory');
    await usable(c2);
    await cluster.pay(c1, c2, 10_000_000);
    await cluster.pay(c2, c0, 10_000_000);
    await cluster.settled();
    for (const node of everyone()) expect(await node.call('factory-verify')).toMatchObject({ ok: true });
  });

  test('root and leaf reorganised away: as if they had never been, until they are back', async () => {
    const c2 = cluster.client(2);
    await cluster.bitcoind.reorganise(DEEP + 1, { confirm: false });
    await pluginsSynced(cluster);
    await all('active');
    expect(await memberState(c2, factoryId, cluster.lsp)).toBe('in_factory');
    await cluster.bitcoind.waitForMempool(2);
    await mineSeen(cluster);
    await all('exiting');
    expect(await memberState(c2, factoryId, cluster.lsp)).toBe('on_chain');
    await cluster.pay(cluster.client(0), cluster.client(1), 1_000_000);
  });

  test('a leaf, then leaf and commitment, reorganised away in the middle of an exit: it goes on', async () => {
    const c1 = cluster.client(1);
    const [, leaf] = await exitOf(c1, factoryId);
    await cluster.bitcoind.waitForMempool(leaf!);
    await mineSeen(cluster, DEEP - 1);
    // In the meantime the commitment is in a block, too.
    await cluster.bitcoind.reorganise(DEEP - 1, { confirm: false });
    await pluginsSynced(cluster);
    expect(await memberState(c1, factoryId, cluster.lsp)).toBe('leaving');
    const paid = async (): Promise<boolean> => (await cluster.balances(c1)).walletMsat >= 250_000_000;
    await mineUntil(cluster, 'the client to be paid', paid);
    expect(await memberState(c1, factoryId, cluster.lsp)).toBe('left');
    expect(await memberState(cluster.lsp, factoryId, c1)).toBe('left');
  });

  test('a node that was away for 300 blocks, while another left, catches up with the truth, and pays', async () => {
    const [c0, c2] = [cluster.client(0), cluster.client(2)];
    await c0.stop();
    await exitOf(c2, factoryId);
    await mineUntil(cluster, 'the other to have left', async () => (await memberState(cluster.lsp, factoryId, c2)) === 'left');
    // Those who have left cannot add to this but time.
    for (const gone of [cluster.client(1), c2]) await gone.stop();
    await mineSeen(cluster, 300);
    await c0.resume();
    await pluginsSynced(cluster);
    expect(await factoryState(c0, factoryId)).toBe('exiting');
    expect(await memberState(c0, factoryId, cluster.lsp)).toBe('in_factory');
    await c0.waitForPeer(cluster.lsp);
    await usable(c0);
    await cluster.pay(c0, cluster.lsp, 5_000_000);
    await cluster.pay(cluster.lsp, c0, 5_000_000);
    expect(await c0.call('factory-verify')).toMatchObject({ ok: true });
    // And it, too, gets out from where the tree stands.
    const [, leaf] = await exitOf(c0, factoryId);
    await cluster.confirm(leaf);
    await mineUntil(cluster, 'everybody to have left', async () => (await factoryState(cluster.lsp, factoryId)) === 'closed');
  });
});
