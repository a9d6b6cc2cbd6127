/**
 * What operators wait for, on real processes: `factory-create` for some numbers of clients, and a payment from client to
 * client through the factory against the same one over ordinary channels. Median of 20 payments.
 */
import { Cluster } from '../itest/harness/cluster.js';
import { host } from '../itest/harness/host.js';
import type { LightningNode } from '../itest/harness/lightningd.js';

const PAYMENTS = 20;

const timed = async <T>(work: () => Promise<T>): Promise<{ readonly ms: number; readonly result: T }> => {
  const started = process.hrtime.bigint();
  const result = await work();
  return { ms: Number(process.hrtime.bigint() - started) / 1e6, result };
};

const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;

/** First client to second, the LSP between them. */
const payments = async (cluster: Cluster): Promise<number> => {
  const [from, to] = [cluster.client(0), cluster.client(1)];
  const times: number[] = [];
  for (let i = 0; i < PAYMENTS; i += 1) times.push((await timed(() => cluster.pay(from, to, 1_000_000))).ms);
  return median(times);
};

const usable = async (cluster: Cluster, clients: readonly LightningNode[]): Promise<void> => {
  for (const client of clients) {
    const [channel] = await client.channels(cluster.lsp);
    if (!channel) throw new Error(`${client.name} has no channel`);
    await Promise.all([cluster.usable(client, channel.channel_id), cluster.usable(cluster.lsp, channel.channel_id)]);
  }
};

const factory = async (clients: number): Promise<void> => {
  const cluster = await Cluster.start({ clients, outsider: false, plugin: { lsp: { 'factory-min-depth': 1 } } });
  try {
    const create = await timed(() =>
      cluster.lsp.call('factory-create', { clients: cluster.clients.map((c) => c.id), capacity: 1_000_000, stock: 200_000 }),
    );
    await cluster.confirm(create.result.funding_txid);
    const active = async (node: LightningNode): Promise<boolean> => (await node.call('factory-list')).factories[0]?.state === 'active';
    for (const node of [cluster.lsp, ...cluster.clients]) await node.waitFor('active', active);
    await usable(cluster, cluster.clients);
    await cluster.pay(cluster.lsp, cluster.client(0), 300_000_000);
    await cluster.settled();
    const paid = await payments(cluster);
    console.log(`${clients} clients: factory-create ${create.ms.toFixed(0)} ms; payment client to client ${paid.toFixed(0)} ms`);
  } finally {
    await cluster.stop();
  }
};

const ordinary = async (): Promise<void> => {
  const cluster = await Cluster.start({ clients: 2, outsider: false, plugin: false });
  try {
    for (const client of cluster.clients) await cluster.openChannel(cluster.lsp, client, 1_000_000n, { announce: false });
    await usable(cluster, cluster.clients);
    await cluster.pay(cluster.lsp, cluster.client(0), 300_000_000);
    await cluster.settled();
    // An unannounced channel's hint is left out while its LSP has no announced channel: say which to use.
    const to = cluster.client(1);
    const [channel] = await to.channels(cluster.lsp);
    const times: number[] = [];
    for (let i = 0; i < PAYMENTS; i += 1) {
      const label = `ordinary-${i}`;
      const invoice = await to.call('invoice', { amount_msat: 1_000_000, label, description: label, exposeprivatechannels: [channel?.short_channel_id ?? ''] });
      times.push((await timed(() => cluster.client(0).call('xpay', { invstring: invoice.bolt11 }))).ms);
    }
    console.log(`ordinary channels: payment client to client ${median(times).toFixed(0)} ms (xpay alone)`);
  } finally {
    await cluster.stop();
  }
};

console.log(`lightningd: ${host().kind}`);
const sizes = process.argv.slice(2).map(Number).filter((n) => n >= 2);
for (const clients of sizes.length > 0 ? sizes : [3, 8]) await factory(clients);
await ordinary();
