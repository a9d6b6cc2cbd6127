/** Restarts, power failures and lost connections, one after the other; and blocks. */
import type { LightningNode } from '../../../itest/harness/lightningd.js';
import type { World } from './world.js';

/** Milliseconds between two troubles. */
const PAUSE = [6_000, 18_000] as const;

export const makeTrouble = async (world: World): Promise<void> => {
  const { cluster, tally } = world;
  const random = world.random('trouble');
  for (;;) {
    await world.rest(random.between(...PAUSE));
    if (world.ending) return;
    const kind = random.unit();
    const victim = random.pick([cluster.lsp, ...cluster.clients, cluster.outsider]);
    const away = random.between(0, 4_000);
    try {
      if (kind < 0.3) {
        await world.troubled([victim], async () => {
          await victim.end();
          tally.add('restarts');
          await world.rest(away);
          await resume(world, victim);
        });
      } else if (kind < 0.65) {
        await world.troubled([victim], async () => {
          await victim.kill();
          tally.add('kills');
          await world.rest(away);
          await resume(world, victim);
        });
      } else {
        const client = victim === cluster.lsp ? random.pick(cluster.clients) : victim;
        await world.troubled([client], async () => {
          await client.call('disconnect', { id: cluster.lsp.id, force: true });
          tally.add('disconnects');
          await world.rest(away / 2);
          await client.connect(cluster.lsp);
        });
      }
    } catch (error) {
      // A client that is not connected just now cannot be disconnected.
      if (kind < 0.65) tally.error(`${victim.name}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
};

/** Up again, and connected to the LSP: a node without channels does not reconnect by itself. */
const resume = async (world: World, node: LightningNode): Promise<void> => {
  const { lsp, clients, outsider } = world.cluster;
  await node.resume().catch(async (error: unknown) => {
    if (node.running) throw error;
    world.tally.error(`${node.name} did not come up at the first try: ${error instanceof Error ? error.message : String(error)}`);
    await node.resume();
  });
  const others = node === lsp ? [...clients, outsider] : [node];
  await Promise.all(others.filter((other) => other.running && !other.starting).map((other) => other.connect(lsp)));
};

/** A block now and then; quickly one after the other while somebody waits for confirmations and everybody can see them. */
export const mine = async (world: World, stopped: () => boolean): Promise<void> => {
  const { cluster, tally } = world;
  const random = world.random('blocks');
  while (!stopped()) {
    const until = performance.now() + random.between(5_000, 12_000);
    const soon = performance.now() + 2_000;
    while (!stopped() && performance.now() < until && !(world.hurry && performance.now() > soon)) await new Promise((wake) => setTimeout(wake, 200));
    // Who is down when many blocks come would miss its HTLCs' deadlines; that is not what this is about.
    if (!cluster.nodes.every((node) => node.running)) continue;
    const count = random.chance(0.15) && !world.hurry ? 3 : 1;
    await cluster.bitcoind.mine(count);
    tally.add('blocks', count);
    await cluster.synced().catch(() => undefined);
  }
};
