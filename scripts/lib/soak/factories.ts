/** Factories, one after the other: created, paid through, ended by agreement or by one client that leaves and then the rest. */
import { RpcError } from '../../../itest/harness/rpc.js';
import type { LightningNode } from '../../../itest/harness/lightningd.js';
import { waitFor } from '../../../itest/harness/wait.js';
import type { Random } from './random.js';
import { reasonOf, say } from './tally.js';
import type { Traffic } from './traffic.js';
import type { World } from './world.js';

const CAPACITY = 1_000_000;
const STOCK = 100_000;
/** What the LSP gives each client to begin with, in satoshis. */
const START = 300_000;
/** How long anything may take while nodes go down and come up, in milliseconds. */
const PATIENCE = 240_000;

export class Factories {
  private readonly random: Random;
  private requests = 0;

  constructor(
    private readonly world: World,
    private readonly traffic: Traffic,
  ) {
    this.random = world.random('factories');
  }

  /** Until time is up; the last one is ended, too. */
  async run(): Promise<void> {
    const { world } = this;
    while (!world.ending) {
      const id = await this.create();
      if (id === undefined) return;
      await this.begin(id);
      await world.rest(this.random.between(25_000, 70_000));
      await (this.random.chance(0.6) ? this.close(id) : this.leave(id));
    }
  }

  private get nodes(): readonly LightningNode[] {
    return [this.world.cluster.lsp, ...this.world.cluster.clients];
  }

  /** The same request is repeated when its answer was lost: it must not make a second factory. */
  private async create(): Promise<string | undefined> {
    const { cluster, tally } = this.world;
    this.requests += 1;
    while (!this.world.ending) {
      const stock = this.random.chance(0.5) ? STOCK : 0;
      const params = { clients: cluster.clients.map((c) => c.id), capacity: CAPACITY, stock, request_id: `soak-${this.requests}` };
      const result = await this.patiently('create', async () => {
        await this.connected();
        return cluster.lsp.call('factory-create', params);
      });
      if (result !== undefined) {
        tally.add('creates');
        say(`factory ${result.factory_id.slice(0, 8)} created`);
        return result.factory_id;
      }
      this.requests += 1;
      await this.world.rest(3_000);
    }
    return undefined;
  }

  /** Active on every side, channels usable, something for everybody to spend. */
  private async begin(id: string): Promise<void> {
    const { cluster, open } = this.world;
    await this.reaches(id, ['active'], this.nodes);
    await Promise.all(
      cluster.clients.map((client) =>
        this.world.troubled([client], async () => {
          const { lsp } = cluster;
          const usable = async (): Promise<boolean> =>
            (await client.channels(lsp)).some((c) => c.state === 'CHANNELD_NORMAL' && c.peer_connected && c.updates?.remote !== undefined);
          await waitFor(`${client.name} to have a usable channel`, usable, { timeout: PATIENCE, interval: 500 });
        }),
      ),
    );
    for (const client of cluster.clients) {
      for (let tries = 0; tries < 5 && !(await this.traffic.pay(cluster.lsp, client, START)); tries += 1) await this.world.rest(4_000);
      open.add(client);
    }
  }

  /** Tried until it is done: each attempt may meet a node that is down. */
  private async close(id: string): Promise<void> {
    const { cluster, open, tally } = this.world;
    say(`factory ${id.slice(0, 8)}: close`);
    await this.world.troubled(this.nodes, async () => {
      const begun = performance.now();
      for (;;) {
        const result = await this.patiently('close', async () => {
          await this.connected();
          return cluster.lsp.call('factory-close', { factory_id: id });
        });
        if (result !== undefined) break;
        if (performance.now() - begun > PATIENCE) throw new Error(`factory ${id} could not be closed`);
        await new Promise((wake) => setTimeout(wake, 2_000));
      }
      await this.reaches(id, ['closed'], this.nodes);
    });
    open.clear();
    tally.add('closes');
    say(`factory ${id.slice(0, 8)}: closed`);
  }

  /** One client goes, the others pay on; then the LSP brings the rest to the chain. */
  private async leave(id: string): Promise<void> {
    const { cluster, open, tally } = this.world;
    const leaver = this.random.pick(cluster.clients);
    say(`factory ${id.slice(0, 8)}: ${leaver.name} leaves`);
    this.world.hurry = true;
    try {
      await this.world.troubled([leaver], async () => {
        await this.insist('exit', () => leaver.call('factory-exit', { factory_id: id }));
        await this.left(id, [leaver.id]);
      });
      open.delete(leaver);
      tally.add('exits');
      say(`factory ${id.slice(0, 8)}: ${leaver.name} has left`);
      await this.world.rest(this.random.between(5_000, 20_000));
      await this.world.troubled(this.nodes, async () => {
        await this.insist('exit', () => cluster.lsp.call('factory-exit', { factory_id: id }));
        await this.left(
          id,
          cluster.clients.map((c) => c.id),
        );
        await this.reaches(id, ['closed'], [cluster.lsp]);
      });
      tally.add('exits', cluster.clients.length - 1);
      say(`factory ${id.slice(0, 8)}: all have left`);
    } finally {
      open.clear();
      this.world.hurry = false;
    }
  }

  private async left(id: string, members: readonly string[]): Promise<void> {
    const { lsp } = this.world.cluster;
    const gone = async (): Promise<boolean> => {
      const status = await lsp.call('factory-status', { factory_id: id });
      return status.members.filter((m) => members.includes(m.node_id)).every((m) => m.state === 'left');
    };
    await waitFor(`members to have left factory ${id}`, gone, { timeout: PATIENCE, interval: 500 });
  }

  /** @returns undefined when the command was refused; repeats it while its node cannot be reached */
  private async patiently<T>(what: string, command: () => Promise<T>): Promise<T | undefined> {
    for (;;) {
      const began = performance.now();
      try {
        return await command();
      } catch (error) {
        const calm = this.world.calm(this.nodes, began);
        this.world.tally.reason(what, error, calm);
        say(`${what}: ${reasonOf(error)}`);
        // -4: the plugin was ended, -32601: it is not there yet; the answer is lost, the request is not.
        if (error instanceof RpcError && error.code !== -4 && error.code !== -32601 && error.code !== -3) return undefined;
        await new Promise((wake) => setTimeout(wake, 1_000));
      }
    }
  }

  private async insist<T>(what: string, command: () => Promise<T>): Promise<T> {
    const begun = performance.now();
    for (;;) {
      const result = await this.patiently(what, command);
      if (result !== undefined) return result;
      if (performance.now() - begun > PATIENCE) throw new Error(`${what} was refused too long`);
      await new Promise((wake) => setTimeout(wake, 1_000));
    }
  }

  private async connected(): Promise<void> {
    const { lsp, clients } = this.world.cluster;
    await waitFor(
      'all clients to be connected',
      async () => {
        const { peers } = await lsp.call('listpeers');
        const away = clients.filter((c) => !peers.some((p) => p.id === c.id && p.connected));
        if (away.length === 0) return true;
        await Promise.all(away.map((c) => c.connect(lsp)));
        return false;
      },
      { timeout: PATIENCE, interval: 500 },
    );
  }

  private async reaches(id: string, states: readonly string[], nodes: readonly LightningNode[]): Promise<void> {
    for (const node of nodes) {
      let seen = 'unknown';
      const there = async (): Promise<boolean> => {
        seen = (await node.call('factory-list')).factories.find((f) => f.factory_id === id)?.state ?? 'unknown';
        return states.includes(seen);
      };
      await waitFor(`${node.name}: factory ${id} to be ${states.join(' or ')}`, there, { timeout: PATIENCE, interval: 250 }).catch((error: unknown) => {
        throw new Error(`${node.name}: factory ${id} is ${seen}, not ${states.join(' or ')}`, { cause: error });
      });
    }
  }
}
