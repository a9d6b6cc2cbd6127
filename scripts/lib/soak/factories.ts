/**
 * Factories, one after the other: created, paid through, more channels bought in some, rotated into the next, ended by agreement or
 * by one client that leaves and then the rest.
 */
import { RpcError } from '../../../itest/harness/rpc.js';
import type { LightningNode } from '../../../itest/harness/lightningd.js';
import { waitFor } from '../../../itest/harness/wait.js';
import type { Random } from './random.js';
import { reasonOf, say } from './tally.js';
import type { Traffic } from './traffic.js';
import type { World } from './world.js';

const CAPACITY = 1_000_000;
const STOCK = 200_000;
/** In thousands: what is asked for it is whole satoshis then. */
const PURCHASE_THOUSANDS = [20, 60] as const;
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
      const made = await this.create();
      if (made === undefined) return;
      let id = made;
      await this.begin(id);
      await this.endow();
      for (let rotations = Math.floor(this.random.between(0, 2.5)); rotations > 0; rotations -= 1) {
        await this.shop(id);
        id = await this.rotate(id);
        await this.begin(id);
      }
      // A payment in two parts leaves each of two channels with a fraction of a satoshi, which a channel's own close rounds.
      if (this.random.chance(0.6)) {
        await this.shop(id);
        await this.close(id);
      } else {
        await world.rest(this.random.between(25_000, 70_000));
        await this.leave(id);
      }
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
      const stock = this.random.chance(0.8) ? STOCK : 0;
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

  /** Active on every side, channels usable. */
  private async begin(id: string): Promise<void> {
    const { cluster } = this.world;
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
  }

  /** Something for everybody to spend. */
  private async endow(): Promise<void> {
    const { cluster, open } = this.world;
    for (const client of cluster.clients) {
      for (let tries = 0; tries < 5 && !(await this.traffic.pay(cluster.lsp, client, START)); tries += 1) await this.world.rest(4_000);
      open.add(client);
    }
  }

  /** A while of ordinary life, in which a client now and then buys a channel, or is sold one. */
  private async shop(id: string): Promise<void> {
    const { cluster, tally } = this.world;
    for (let visits = this.random.between(1, 4); visits >= 1 && !this.world.ending; visits -= 1) {
      await this.world.rest(this.random.between(8_000, 20_000));
      const client = this.random.pick(cluster.clients);
      const amount = Math.floor(this.random.between(...PURCHASE_THOUSANDS)) * 1000;
      this.requests += 1;
      const params = { factory_id: id, amount, request_id: `soak-${this.requests}` };
      const buys = this.random.chance(0.7);
      const bought = await this.patiently(buys ? 'buy' : 'sell', async () => {
        await this.connected();
        return buys ? client.call('factory-buy', params) : cluster.lsp.call('factory-sell', { ...params, node_id: client.id });
      });
      if (bought !== undefined) tally.add('purchases');
    }
  }

  /** Everybody moves to another factory, under payments; the old one is closed. The same request is repeated, as above. */
  private async rotate(id: string): Promise<string> {
    const { cluster, tally } = this.world;
    say(`factory ${id.slice(0, 8)}: rotation`);
    this.world.hurry = true;
    try {
      const begun = performance.now();
      for (;;) {
        this.requests += 1;
        const params = { factory_id: id, min_clients: cluster.clients.length, request_id: `soak-${this.requests}` };
        const result = await this.patiently('rotate', async () => {
          await this.connected();
          return cluster.lsp.call('factory-rotate', params);
        });
        const to = result?.to.factory_id;
        if (to !== undefined) {
          await this.reaches(id, ['closed'], this.nodes);
          tally.add('rotations');
          say(`factory ${id.slice(0, 8)}: all are in ${to.slice(0, 8)}`);
          return to;
        }
        if (performance.now() - begun > PATIENCE) throw new Error(`factory ${id} could not be rotated`);
        await new Promise((wake) => setTimeout(wake, 2_000));
      }
    } finally {
      this.world.hurry = false;
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
