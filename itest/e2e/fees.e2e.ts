/**
 * Fees under pressure (architecture 10, 12.15): a deadline, strangers on our anchors, a mempool whose minimum is above what
 * was built in, budgets, members without a coin. Real bitcoind, real packages.
 */
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { Cluster } from '../harness/cluster.js';
import type { LightningResults } from '../harness/lightning-results.js';
import type { LightningNode, Options } from '../harness/lightningd.js';
import { waitFor } from '../harness/wait.js';
import { appears, exitOf, memberState, mineUntil, pluginsSynced, statusOf } from './chain-helpers.js';
import { activeFactory, factoryState, reservedCoins } from './factory-helpers.js';
import { fillMempool, LIMITED, limitedUser, mempoolMinimum, pairOf, Stranger, type Pair } from './fee-helpers.js';
import { storedTransactions } from './store-copy.js';

jest.setTimeout(240_000);

const BUDGET = 20_000n;
/** The root goes out in the second half of the settling period: ten blocks before expiry. */
const LSP: Options = {
  'factory-min-depth': 1,
  'factory-dying-blocks': 5,
  'factory-settling-blocks': 20,
  'factory-auto-close': false,
  'factory-auto-rotate': 'false',
  'factory-bump-budget': Number(BUDGET),
};
const CAPACITY = 1_000_000_000;

interface NodeFees {
  readonly packages: boolean;
  readonly packages_problem?: string;
  readonly spent_in_day_msat: number;
}

describe('fees under pressure', () => {
  let cluster: Cluster;
  let stranger: Stranger;
  /** The LSP lets the first come near its expiry; the second ends by distribution. */
  let first: LightningResults['factory-create'];
  let second: LightningResults['factory-create'];
  /** One client has coins, the others have none; of those, one leaves in time. */
  const rich = (): LightningNode => cluster.client(0);
  const early = (): LightningNode => cluster.client(1);
  const poor = (): LightningNode => cluster.client(2);

  beforeAll(async () => {
    cluster = await Cluster.start({ clients: 3, outsider: false, bitcoind: ['-maxmempool=5', ...limitedUser()], plugin: { lsp: LSP, client: {} } });
    await cluster.fund(rich(), [150_000n, 60_000n]);
    stranger = await Stranger.with(cluster.bitcoind, 3);
    await cluster.synced();
    first = await activeFactory(cluster, { more: { active_blocks: 20 } });
    second = await activeFactory(cluster, { more: { active_blocks: 70 } });
    for (const client of cluster.clients) await cluster.pay(cluster.lsp, client, 300_000_000);
    await cluster.settled();
  }, 240_000);
  afterAll(() => cluster.stop(), 240_000);

  /** Blocks that leave the mempool as it is, and that every plugin has seen. */
  const emptyBlocksTo = async (height: number): Promise<void> => {
    await cluster.bitcoind.mineOnly(height - (await cluster.bitcoind.height()));
    await pluginsSynced(cluster);
  };
  const feesOf = async (node: LightningNode): Promise<NodeFees> => ((await node.call('factory-status')) as unknown as { readonly node: { readonly fees: NodeFees } }).node.fees;
  const problemsOf = async (node: LightningNode, id: string): Promise<readonly string[]> =>
    ((await statusOf(node, id)) as unknown as { readonly problems?: readonly { readonly problem: string }[] }).problems?.map(({ problem }) => problem) ?? [];
  const problem = (node: LightningNode, id: string, words: RegExp): Promise<string> =>
    node.waitFor(String(words), async () => (await problemsOf(node, id)).find((text) => words.test(text)));
  const pair = (what: string, txid: string, fits: (pair: Pair) => boolean): Promise<Pair> =>
    waitFor(what, async () => {
      const found = await pairOf(cluster.bitcoind, txid);
      return found !== undefined && fits(found) && found;
    });

  describe('before a deadline', () => {
    let root = '';
    let last: Pair;

    test('the root goes out at its built-in fee; a stranger’s junk on its anchor does not help, and is replaced as the deadline nears', async () => {
      root = storedTransactions(cluster.lsp, first.factory_id).find(({ kind }) => kind === 'split')!.txid;
      await emptyBlocksTo(first.expiry_height - 10);
      await cluster.bitcoind.waitForMempool(root);
      const junk = await stranger.junk(root, 1_000n, 18);
      await emptyBlocksTo(first.expiry_height - 5);
      expect((await pairOf(cluster.bitcoind, root))?.child.txid).toBe(junk);
      await emptyBlocksTo(first.expiry_height - 4);
      last = await pair('our child', root, ({ child }) => child.txid !== junk);
      expect(last.child.fee).toBeGreaterThan(1_000n);
      expect(last.child.vsize).toBeLessThanOrEqual(1_000);
      expect((await cluster.bitcoind.transaction(last.child.txid)).version).toBe(3);
      expect(await cluster.bitcoind.call('getrawmempool')).not.toContain(junk);
    });

    const dearer = async (left: number): Promise<void> => {
      await emptyBlocksTo(first.expiry_height - left);
      const next = await pair('a dearer child', root, ({ child }) => child.txid !== last.child.txid);
      // BIP 125 rule 4: the replacement's own relay on top.
      expect(next.child.fee - last.child.fee).toBeGreaterThanOrEqual(BigInt(next.child.vsize));
      last = next;
      // One coin for all of them.
      expect(await reservedCoins(cluster.lsp)).toBe(1);
    };

    test('each block costs more than the one before', () => dearer(3));

    test('also where bitcoind does not let the plugin ask: parent, then child, by lightningd; the log says so, and no password', async () => {
      await cluster.lsp.restart({ ...LSP, ...LIMITED });
      expect(await feesOf(cluster.lsp)).toMatchObject({ packages: false, packages_problem: expect.stringMatching(/getmempoolentry: bitcoind answered 403/) as unknown });
      await dearer(2);
      expect(await cluster.lsp.waitForLog(/bitcoind cannot be asked directly/)).toMatch(/403.*: fees are raised by lightningd alone/);
      expect(cluster.lsp.log().filter((line) => line.includes('plugin-cln-factory') && line.includes(LIMITED['bitcoin-rpcpassword']))).toEqual([]);
      await cluster.lsp.restart();
      expect((await feesOf(cluster.lsp)).packages).toBe(true);
    });

    test('a stranger who pays more than the budget stays, and the state says so', async () => {
      const junk = await stranger.junk(root, BUDGET + 100n, 4);
      await emptyBlocksTo(first.expiry_height - 1);
      const text = await problem(cluster.lsp, first.factory_id, /is in the place of our child/);
      expect(text).toMatch(/^1 blocks before its deadline: it pays \d+ sat\/kvB where \d+ would do/);
      expect(text).toContain(`the budget of this way out has ${BUDGET} sat`);
      expect(text).toContain(junk);
      expect((await pairOf(cluster.bitcoind, root))?.child.txid).toBe(junk);
      expect(await cluster.lsp.waitForLog(/UNUSUAL.*1 blocks before its deadline/)).toContain(root);
    });

    test('a larger budget is paid out in full at the deadline, within what a day may cost', async () => {
      await cluster.lsp.restart({ ...LSP, 'factory-bump-budget': 35_000, 'factory-bump-daily-budget': 30_000 });
      const paid = await pair('the dearest child', root, ({ child }) => child.fee > BUDGET + 100n);
      expect(paid.child.fee).toBeLessThanOrEqual(30_000n);
      expect(paid.child.fee).toBeGreaterThan(29_900n);
      expect(await reservedCoins(cluster.lsp)).toBe(1);
      await cluster.bitcoind.mine();
      await pluginsSynced(cluster);
      expect(await factoryState(cluster.lsp, first.factory_id)).toBe('exiting');
    });

    test('what was spent in a day is known after a restart, and no coin stays reserved', async () => {
      await cluster.lsp.waitFor('no reserved coin', async () => (await reservedCoins(cluster.lsp)) === 0);
      const before = await feesOf(cluster.lsp);
      expect(before.packages).toBe(true);
      expect(before.spent_in_day_msat).toBeGreaterThan(29_900_000);
      await cluster.lsp.restart();
      expect(await feesOf(cluster.lsp)).toMatchObject({ spent_in_day_msat: before.spent_in_day_msat });
    });
  });

  test('calm: a member without a coin leaves at the built-in fee', async () => {
    expect((await cluster.balances(early())).walletMsat).toBe(0);
    const leaf = (await exitOf(early(), first.factory_id)).at(-1)!;
    await cluster.bitcoind.waitForMempool(leaf);
    expect((await cluster.bitcoind.call('getmempoolentry', [leaf])).spentby).toEqual([]);
    await mineUntil(cluster, 'its channel to be closed', async () => (await memberState(early(), first.factory_id, cluster.lsp)) === 'left');
  });

  describe('when the mempool’s minimum is above the built-in fee', () => {
    let minimum = 0;

    test('a member with a coin gets its leaf in, as a package with its child', async () => {
      minimum = await fillMempool(cluster.bitcoind, 8_000);
      expect(minimum).toBeGreaterThan(8_000);
      await pluginsSynced(cluster);
      const leaf = storedTransactions(rich(), first.factory_id).find(({ kind }) => kind === 'leaf')!;
      const [verdict] = await cluster.bitcoind.call('testmempoolaccept', [[leaf.raw]]);
      expect(verdict!['reject-reason']).toMatch(/mempool min fee not met/);

      expect((await exitOf(rich(), first.factory_id)).at(-1)).toBe(leaf.txid);
      const both = await pair('leaf and child', leaf.txid, () => true);
      expect(both.feerate).toBeGreaterThanOrEqual(minimum);
      expect(both.child.vsize).toBeLessThanOrEqual(1_000);
      await cluster.bitcoind.mineOnly(1, [leaf.txid, both.child.txid]);
      await pluginsSynced(cluster);
      expect(await memberState(rich(), first.factory_id, cluster.lsp)).toBe('on_chain');
      await rich().waitFor('no reserved coin', async () => (await reservedCoins(rich())) === 0);
    });

    test('a member without a coin does not, and is told what is missing', async () => {
      const [root] = await exitOf(poor(), second.factory_id);
      const text = await problem(poor(), second.factory_id, /no confirmed coin is free/);
      expect(text).toMatch(/refused: mempool min fee not met, .*that takes a child of \d+ sat/);
      expect(await appears(cluster, root!, 300)).toBe(false);
      expect(await reservedCoins(poor())).toBe(0);
    });

    test('a budget that is used up lets nothing out; at expiry a member with coins pays for all, by the distribution', async () => {
      // Who has left has a coin by now, and would pay.
      await Promise.all([cluster.lsp.stop(), early().stop()]);
      await rich().restart({ 'factory-accept': cluster.lsp.id, 'factory-bump-daily-budget': 1 });
      await emptyBlocksTo(second.expiry_height);
      expect(await problem(rich(), second.factory_id, /the budget of a day has 0 sat/)).toMatch(/refused: mempool min fee not met/);
      expect(await problem(poor(), second.factory_id, /no confirmed coin is free/)).toMatch(/refused: mempool min fee not met/);
      expect(await reservedCoins(rich())).toBe(0);

      await rich().restart();
      const distribution = storedTransactions(rich(), second.factory_id).find(({ kind }) => kind === 'distribution')!;
      // Version 2, since it may be larger than 10,000 vB: a package all the same.
      const both = await pair('distribution and child', distribution.txid, () => true);
      expect(both.feerate).toBeGreaterThanOrEqual(await mempoolMinimum(cluster.bitcoind));
      await cluster.bitcoind.mineOnly(1, [distribution.txid, both.child.txid]);
      await pluginsSynced(cluster);
      await early().resume();
      for (const client of cluster.clients) await client.waitFor('its whole slot', async () => (await cluster.balances(client)).walletMsat >= CAPACITY);
      expect(await factoryState(poor(), second.factory_id)).toBe('distributed');
      expect(await problemsOf(poor(), second.factory_id)).toEqual([]);
      await cluster.lsp.resume();
    });
  });
});
