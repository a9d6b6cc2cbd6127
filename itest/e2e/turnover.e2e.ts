/**
 * Partial turnover (architecture 8): a factory is rotated while some of its clients are away, and they do not come back in time. The
 * LSP takes back all that is its own, before and after the cost is shown; those who were away come back after expiry, and leave
 * with all they have.
 */
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { Cluster } from '../harness/cluster.js';
import type { LightningNode } from '../harness/lightningd.js';
import { toSat } from '../harness/bitcoind.js';
import { exitOf, mineSeen, mineUntil, pluginsSynced } from './chain-helpers.js';
import { activeFactory, factoryState, lspSees, rpcError } from './factory-helpers.js';

jest.setTimeout(600_000);

/** How many clients, and how many of them are away, one factory after the other; where in the tree, side by side at its end or spread over it. */
const CLIENTS = Number(process.env['TURNOVER_CLIENTS'] ?? 4);
const ABSENT = (process.env['TURNOVER_ABSENT'] ?? '1').split(',').map(Number);
const SPREAD = process.env['TURNOVER_SPREAD'] === '1';
/** The planner's, but for the small one, which shall have two levels. */
const WANTED = process.env['TURNOVER_SHAPE'] ?? (CLIENTS === 4 ? '2x2' : undefined);
const SHAPE = WANTED === undefined ? {} : { shape: WANTED };

interface Cost {
  readonly transactions: number;
  readonly vbytes: number;
  readonly fee_msat: number;
  readonly returned_msat: number;
}
interface Turnover {
  readonly absent: readonly string[];
  readonly planned: Cost;
  readonly done: Cost;
  readonly transactions: readonly { readonly what: string; readonly txid?: string; readonly clients: number; readonly first_client: number; readonly returned_msat?: number }[];
}
interface Status {
  readonly height: number;
  readonly heights: { readonly guard: number; readonly expiry: number };
  readonly funding: { readonly txid: string; readonly vout: number };
  readonly members: readonly { readonly node_id: string; readonly state: string; readonly migration?: { readonly step: string } }[];
  readonly turnover?: Turnover;
}
const shown = ({ transactions, vbytes, fee_msat: fee }: Cost): string => `${transactions} transactions, ${vbytes} vB, ${fee / 1000} sat`;

describe.each(ABSENT)(`a factory of ${CLIENTS} clients of whom %i stay away`, (count) => {
  const index = (i: number): number => (SPREAD ? i * Math.floor(CLIENTS / count) : CLIENTS - count + i);
  const away = new Set(Array.from({ length: count }, (_, i) => index(i)));
  let cluster: Cluster;
  let old = '';
  let moved: readonly LightningNode[];
  let absent: readonly LightningNode[];
  /** In satoshis, by client. */
  const balances = new Map<string, bigint>();
  let planned: Cost;

  const statusOf = async (node: LightningNode): Promise<Status> => (await node.call('factory-status', { factory_id: old })) as unknown as Status;
  const turnover = async (): Promise<Turnover> => (await statusOf(cluster.lsp)).turnover!;
  const mineTo = async (height: number): Promise<void> => {
    await cluster.bitcoind.mineTo(height);
    await pluginsSynced(cluster);
  };

  beforeAll(async () => {
    cluster = await Cluster.start({ clients: CLIENTS, outsider: false, plugin: { lsp: { 'factory-min-depth': 1, 'factory-settling-blocks': 20, 'factory-auto-rotate': 'false' }, client: {} }, options: { 'cltv-delta': 34 } });
    const { lsp, clients } = cluster;
    old = (await activeFactory(cluster, { capacity: 500_000n, stock: 50_000n, more: { active_blocks: 20, dying_blocks: 10, ...SHAPE } })).factory_id;
    for (const [i, client] of clients.entries()) await cluster.pay(lsp, client, 100_000_000 + i * 11_111_000);
    await cluster.settled();
    moved = clients.filter((_, i) => !away.has(i));
    absent = clients.filter((_, i) => away.has(i));
    for (const client of absent) {
      balances.set(client.id, BigInt((await client.channels(lsp))[0]!.to_us_msat) / 1000n);
      await client.stop();
    }
    await lsp.waitFor('them to be away', async () => (await lsp.call('listpeers')).peers.every((p) => !p.connected || moved.some((c) => c.id === p.id)));
    const rotated = await lsp.call('factory-rotate', { factory_id: old });
    await cluster.confirm(rotated.to.funding_txid);
    await lsp.waitFor('the keys of those who are there', async () => (await statusOf(lsp)).members.every((m) => absent.some((c) => c.id === m.node_id) || m.migration?.step === 'done'));
    await cluster.settled();
  }, 600_000);
  afterAll(() => cluster.stop(), 240_000);

  test('its cost is shown before', async () => {
    const before = await turnover();
    expect([...before.absent].sort()).toEqual(absent.map((c) => c.id).sort());
    expect(before.done).toEqual({ transactions: 0, vbytes: 0, fee_msat: 0, returned_msat: 0 });
    expect(before.transactions.map((t) => t.what)).toEqual(expect.arrayContaining(['split', 'spend']));
    planned = before.planned;
    expect(planned.transactions).toBe(before.transactions.length);
    // Who has moved has nothing to leave with.
    const [first] = moved;
    expect(await rpcError(first!.call('factory-exit', { factory_id: old }))).toMatchObject({ code: 3001 });
    expect(await rpcError(cluster.lsp.call('factory-exit', { factory_id: old, node_id: first!.id }))).toMatchObject({ code: 3001 });
  });

  test('nothing is done before expiry is near; then the root, the splits that are needed, and one transaction for each subtree, over a power failure', async () => {
    const { lsp, bitcoind } = cluster;
    const { heights, funding } = await statusOf(lsp);
    await mineTo(heights.guard - 1);
    expect(await bitcoind.call('getrawmempool')).toEqual([]);
    await mineTo(heights.guard);
    const root = await lsp.waitFor('the root to be published', () => bitcoind.spender(funding.txid, funding.vout, 60));
    await cluster.confirm(root.txid);
    await mineUntil(cluster, 'the first spend', async () => (await turnover()).transactions.some((t) => t.what === 'spend' && t.txid !== undefined));
    // A power failure in the middle of it: what was signed is published again, and nothing is signed anew.
    const signed = async (): Promise<readonly (string | undefined)[]> => (await turnover()).transactions.filter((t) => t.what === 'spend').map((t) => t.txid);
    const before = await signed();
    await lsp.kill();
    await lsp.resume();
    for (const client of moved) await client.connect(lsp);
    await lspSees(cluster, moved);
    await mineUntil(cluster, 'all of it', async () => (await turnover()).planned.transactions === 0);
    const { done, transactions } = await turnover();
    for (const txid of before.filter((t) => t !== undefined)) expect(await signed()).toContain(txid);
    process.stderr.write(`turnover of ${CLIENTS} clients, ${count} absent${SPREAD ? ', spread' : ''}: planned ${shown(planned)}; took ${shown(done)}\n`);
    expect(done.transactions).toBe(planned.transactions);
    // What came back is in the wallet.
    const { outputs } = await lsp.call('listfunds');
    for (const { what, txid, returned_msat: returned } of transactions) {
      if (what === 'spend') expect(outputs).toContainEqual(expect.objectContaining({ txid, amount_msat: returned, status: 'confirmed' }));
    }
    expect(transactions.filter((t) => t.what === 'spend').reduce((sum, t) => sum + t.clients, 0)).toBe(moved.length);
    expect(await lsp.call('factory-verify')).toMatchObject({ ok: true });
  });

  test('the channels of those who have moved are kept until it is deep, and go; the others’ stay', async () => {
    const { lsp } = cluster;
    const open = async (node: LightningNode): Promise<number> => (await lsp.channels(node)).filter((c) => c.state === 'CHANNELD_NORMAL').length;
    for (const client of moved) expect(await open(client)).toBe(2);
    const { heights } = await statusOf(lsp);
    await mineTo(Math.max(heights.expiry + 1, (await cluster.bitcoind.height()) + 6));
    for (const client of moved) {
      await lsp.waitFor('the old channel to go', async () => (await open(client)) === 1);
      await client.waitFor('the old factory to be over', async () => (await factoryState(client, old)) === 'closed');
    }
    for (const client of absent) expect(await open(client)).toBe(1);
    expect(await factoryState(lsp, old)).toBe('exiting');
    await cluster.pay(lsp, moved[0]!, 1_000_000);
  });

  test('who was away comes back after expiry, pays and is paid as before, and leaves with all it has', async () => {
    const { lsp, bitcoind } = cluster;
    for (const client of absent) {
      await client.resume();
      await client.connect(lsp);
    }
    await lspSees(cluster);
    await pluginsSynced(cluster);
    // Nobody has taken anything, the distribution included.
    expect(await bitcoind.call('getrawmempool')).toEqual([]);
    const [first] = absent;
    await cluster.pay(lsp, first!, 5_000_000);
    await cluster.settled();
    balances.set(first!.id, balances.get(first!.id)! + 5_000n);
    for (const client of absent) {
      const [channel] = await client.channels(lsp);
      const path = await exitOf(client, old);
      await mineUntil(cluster, 'its leaf', async () => (await bitcoind.confirmations(path.at(-1)!) ?? 0) > 0);
      const { vout } = await client.waitFor('its commitment', () => bitcoind.spender(channel!.funding_txid, channel!.funding_outnum, 60));
      // To the satoshi: the LSP pays for the commitment.
      expect(vout.map((o) => toSat(o.value))).toContain(balances.get(client.id));
      await mineSeen(cluster);
    }
    for (const client of absent) {
      // On chain it is its own once it is swept, less what that costs.
      await mineUntil(cluster, 'it to be in the wallet', async () => (await cluster.balances(client)).walletMsat > Number(balances.get(client.id)! - 5_000n) * 1000);
    }
    await lsp.waitFor('everybody to have left', async () => (await factoryState(lsp, old)) === 'closed');
    for (const node of [lsp, ...cluster.clients]) expect(await node.call('factory-verify')).toMatchObject({ ok: true });
  });
});
