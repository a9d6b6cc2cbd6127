/**
 * A factory nobody looks after: the LSP's plugin closes it when its time has come and everybody is there, tries again later when
 * that fails, and publishes the root when it has not come to that; and it says so, louder and louder.
 */
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { Holder } from '../fixtures/holder.js';
import { InProcessPlugin } from '../fixtures/in-process-plugin.js';
import { Cluster } from '../harness/cluster.js';
import type { LightningNode } from '../harness/lightningd.js';
import { activeFactory, factoryState, lspSees } from './factory-helpers.js';

jest.setTimeout(240_000);

const OPTIONS = { 'factory-min-depth': 1, 'factory-active-blocks': 20, 'factory-dying-blocks': 10, 'factory-settling-blocks': 20, 'factory-auto-rotate': 'false', 'factory-step-timeout': 5 };

interface Warning {
  readonly code: string;
  readonly urgency: string;
  readonly text: string;
  readonly deadline: number;
}
interface Heights {
  readonly dying: number;
  readonly settling: number;
  readonly guard: number;
  readonly expiry: number;
}
interface Status {
  readonly state: string;
  readonly height: number;
  readonly heights: Heights;
  readonly funding: { readonly txid: string; readonly vout: number };
  readonly warnings: readonly Warning[];
}
const statusOf = async (node: LightningNode, factoryId: string): Promise<Status> => (await node.call('factory-status', { factory_id: factoryId })) as unknown as Status;

describe('a factory nobody looks after', () => {
  /** What other plugins hear. */
  const heard: { readonly node: string; readonly warning: Warning & { readonly factory_id: string; readonly role: string; readonly height: number } }[] = [];
  const listener = new InProcessPlugin((node) => ({
    name: 'listener',
    subscriptions: { factory_warning: (warning) => void heard.push({ node: node(), warning: warning as unknown as (typeof heard)[number]['warning'] }) },
  }));
  const holder = new Holder();
  let cluster: Cluster;

  beforeAll(async () => {
    await listener.start();
    await holder.start();
    cluster = await Cluster.start({ clients: 2, outsider: false, plugin: { lsp: OPTIONS, client: {} }, options: { plugin: [listener.executable, holder.executable] } });
  }, 240_000);
  afterAll(async () => {
    await cluster.stop();
    await holder.stop();
    await listener.stop();
  }, 240_000);

  /** Every running node's plugin has seen the block. */
  const mineTo = async (factoryId: string, height: number): Promise<void> => {
    await cluster.bitcoind.mineTo(height);
    await cluster.synced();
    for (const node of [cluster.lsp, ...cluster.clients].filter((n) => n.running)) {
      await node.waitFor(`its plugin to see block ${height}`, async () => (await statusOf(node, factoryId)).height >= height);
    }
  };
  const heardBy = (node: LightningNode, code: string): readonly string[] => heard.filter((h) => h.node === node.name && h.warning.code === code).map((h) => h.warning.urgency);

  test('it is closed by itself once everybody is there, at the first attempt that can succeed', async () => {
    const { lsp } = cluster;
    const [client, away] = [cluster.client(0), cluster.client(1)];
    const { factory_id: factoryId } = await activeFactory(cluster);
    await cluster.pay(lsp, client, 300_000_123);
    await cluster.pay(lsp, away, 100_000_000);
    await cluster.settled();
    const { heights, warnings, funding } = await statusOf(lsp, factoryId);
    expect(warnings).toEqual([]);

    await mineTo(factoryId, heights.dying);
    for (const node of [lsp, client]) {
      expect(await statusOf(node, factoryId)).toMatchObject({ state: 'dying', warnings: [{ code: 'dying', urgency: 'notice', deadline: heights.settling }] });
      await node.waitFor('the notification', () => heardBy(node, 'dying').length > 0);
    }

    await away.stop();
    await lsp.waitFor('it to be away', async () => (await lsp.call('listpeers')).peers.every((p) => p.id !== away.id || !p.connected));
    await mineTo(factoryId, heights.settling);
    await lsp.waitFor('the warning', () => heardBy(lsp, 'settling').length > 0);
    const settling = await statusOf(lsp, factoryId);
    expect(settling).toMatchObject({ state: 'settling', warnings: [{ code: 'settling', urgency: 'warning', deadline: heights.guard }] });
    expect(settling.warnings[0]!.text).toContain(`not connected: ${away.id}`);

    // Everybody is there, but a payment is not settled: that attempt fails, and the channels go on.
    await away.resume();
    await away.connect(lsp);
    await lspSees(cluster);
    holder.hold(client);
    const invoice = await client.call('invoice', { amount_msat: 1_000_000, label: 'held', description: 'held' });
    const paying = lsp.call('xpay', { invstring: invoice.bolt11 });
    await holder.held(client);
    await mineTo(factoryId, heights.settling + 1);
    await lsp.waitFor('the attempt to fail', async () => /draining: .*(no answer|HTLCs did not settle)/.test((await statusOf(lsp, factoryId)).warnings[0]?.text ?? ''));
    holder.release(client);
    await paying;
    await cluster.settled();

    // The next one does not.
    const due = await Promise.all([client, away].map(async (c) => Math.ceil((await c.channels(lsp))[0]!.to_us_msat / 1000)));
    await mineTo(factoryId, heights.settling + 2);
    const spender = await lsp.waitFor('the close to be published', () => cluster.bitcoind.spender(funding.txid, funding.vout, 60));
    await cluster.confirm();
    for (const [i, node] of [client, away].entries()) {
      await node.waitFor('its payout', async () => {
        const { walletMsat } = await cluster.balances(node);
        if (walletMsat !== due[i]! * 1000) throw new Error(`${walletMsat} msat instead of ${due[i]!} sat`);
        return true;
      });
    }
    for (const node of [lsp, client, away]) {
      await node.waitFor('closed', async () => (await factoryState(node, factoryId)) === 'closed');
      expect((await statusOf(node, factoryId)).warnings).toEqual([]);
    }
    expect(spender).toBeDefined();
  });

  test('with factory-auto-close=false the root goes out in time, and clients cannot take all at expiry', async () => {
    const { lsp, clients, bitcoind } = cluster;
    await lsp.restart({ ...OPTIONS, 'factory-auto-close': 'false' });
    for (const client of clients) await client.connect(lsp);
    const { factory_id: factoryId } = await activeFactory(cluster);
    const { heights, funding } = await statusOf(lsp, factoryId);
    // Away for the whole of the settling period, but for a few blocks.
    await mineTo(factoryId, heights.settling);
    expect(await statusOf(lsp, factoryId)).toMatchObject({ state: 'settling' });
    await lsp.stop();
    await mineTo(factoryId, heights.guard - 2);
    await lsp.resume({ ...OPTIONS, 'factory-auto-close': 'false' });
    for (const client of clients) await client.connect(lsp);
    await lspSees(cluster);
    await mineTo(factoryId, heights.guard - 1);
    expect(await statusOf(lsp, factoryId)).toMatchObject({ state: 'settling' });
    expect(await bitcoind.call('getrawmempool')).toEqual([]);

    await mineTo(factoryId, heights.guard);
    await lsp.waitFor('the root to be published', () => bitcoind.spender(funding.txid, funding.vout, 60));
    expect((await statusOf(lsp, factoryId)).warnings).toMatchObject([{ code: 'guarding', deadline: heights.expiry }]);
    await lsp.waitFor('the warning', () => heardBy(lsp, 'guarding').includes('urgent'));
    await cluster.confirm();
    for (const node of [lsp, ...clients]) await node.waitFor('the root', async () => (await factoryState(node, factoryId)) === 'exiting');
    // The channels go on, past expiry.
    await mineTo(factoryId, heights.expiry + 1);
    expect(await bitcoind.call('getrawmempool')).toEqual([]);
    await cluster.pay(lsp, cluster.client(0), 100_000_000);
    await cluster.settled();
  });
});
