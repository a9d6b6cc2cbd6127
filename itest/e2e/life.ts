/** What a factory and those in it live through, with or without a power failure in the middle of it, and what must be true afterwards. */
import { setTimeout as pause } from 'node:timers/promises';
import { expect } from '@jest/globals';
import type { Cluster } from '../harness/cluster.js';
import type { LightningResults, PeerChannel } from '../harness/lightning-results.js';
import type { LightningNode } from '../harness/lightningd.js';
import { RpcError } from '../harness/rpc.js';
import { waitFor } from '../harness/wait.js';
import { mineSeen, mineUntil, pluginsSynced } from './chain-helpers.js';
import { createFactory, factoryState, openChannels, reservedCoins } from './factory-helpers.js';
import { Missed, PATIENCE_MS, within, type Cut, type Plug, type Seen } from './kill-plug.js';

/** The parts of a life that a power failure may come in. */
export type Operation = 'creation' | 'clean-up' | 'purchase' | 'purchase given up' | 'next factory' | 'rotation' | 'close' | 'exit of the client' | 'exit by the LSP';

export type Story = (life: Life) => Promise<void>;

/** How long a client is away: not long enough for the others to give up what they want of it, or just so. */
const OUTAGE_MS = 500;

/** Blocks after which nobody doubts that the other end has seen a factory. */
const PROVEN = 2;

/** A closing of a channel without money takes no longer. */
const GIVEN_UP_MS = 30_000;

const none = (): undefined => undefined;

export type Factory = LightningResults['factory-create'];

const CAPACITY = 200_000n;
/** Enough for two purchases. */
const STOCK = 60_000n;
const PAID_MSAT = 50_000_000;
/** What a client's way to its own wallet may cost for each of its channels: the fee of its sweep. */
const SWEEP_MSAT = 2_000_000;

export class Life {
  /** Channels of factories that are alive, and whose they are: nothing else may be open. */
  private readonly alive = new Map<string, string>();
  private requests = 0;
  /** What is done about a part of the story: nothing but to live through it. */
  private around: (part: Operation, work: () => Promise<unknown>) => Promise<unknown> = (_, work) => work();
  private interrupted = false;

  constructor(
    readonly cluster: Cluster,
    readonly plug: Plug,
  ) {}

  private get nodes(): readonly LightningNode[] {
    return [this.cluster.lsp, ...this.cluster.clients];
  }

  /** The one that leaves, or buys. */
  get client(): LightningNode {
    return this.cluster.clients.at(-1) ?? this.cluster.client(0);
  }

  /** @returns what passes in each part of the story; of one that comes several times, in the first */
  async watch(story: Story): Promise<ReadonlyMap<Operation, Seen>> {
    const seen = new Map<Operation, Seen>();
    await this.tell(story, async (part, work) => {
      const passed = await this.plug.observe(work);
      if (!seen.has(part)) seen.set(part, passed);
    });
    return seen;
  }

  /** The story with a power failure in the first part of this name. @returns whether it came to that */
  async interrupt(story: Story, where: Operation, cut: Cut): Promise<boolean> {
    let missed = false;
    await this.tell(story, async (part, work) => {
      if (part !== where || this.interrupted) return work();
      this.interrupted = true;
      return this.under(cut, work).catch((error: unknown) => {
        if (!(error instanceof Missed)) throw error;
        missed = true;
      });
    });
    expect(this.interrupted).toBe(true);
    return !missed;
  }

  private async tell(story: Story, around: Life['around']): Promise<void> {
    const before = this.around;
    this.around = around;
    this.interrupted = false;
    try {
      await story(this);
    } finally {
      this.around = before;
    }
  }

  /** A part of the story, whatever is done about it. */
  async part(part: Operation, work: () => Promise<unknown>): Promise<void> {
    await this.around(part, work);
  }

  private async under(cut: Cut, work: () => Promise<unknown>): Promise<void> {
    const { outcome } = await this.plug.pull(cut, work);
    const ended = outcome.then(none, none);
    await Promise.race([ended, pause(OUTAGE_MS)]);
    await this.back(cut.node);
    await within('what was asked for', PATIENCE_MS, ended);
  }

  /** A node comes back, and everybody finds everybody. */
  async back(node: LightningNode): Promise<void> {
    const { lsp, clients } = this.cluster;
    await node.resume();
    await Promise.all((node === lsp ? clients : [node]).map((client) => this.reach(client)));
  }

  /**
   * Two that dial each other at once may drop what they have just made, and one without an open channel does not dial again. Nobody dials from
   * a lightningd that is starting: its plugins do not hear of it, and an HTLC that comes in then aborts it (README).
   */
  async reach(client: LightningNode): Promise<void> {
    const { lsp } = this.cluster;
    await client.waitFor('the LSP', async () => {
      if (client.starting || lsp.starting) return false;
      await client.call('connect', { id: lsp.id, host: '127.0.0.1', port: lsp.port });
      return (await lsp.call('listpeers')).peers.some(({ id, connected }) => id === client.id && connected);
    });
  }

  /** A factory that works. A power failure may have undone the first: the operator then asks for another one. */
  async whole(): Promise<Factory> {
    return (await this.create()) ?? (this.interrupted ? await this.create() : undefined) ?? Promise.reject(new Error('a creation without any failure came to nothing'));
  }

  /** A creation as an operator asks for it, and asks again: in the end there is a whole factory, or nothing at all. */
  private async create(): Promise<Factory | undefined> {
    const { lsp } = this.cluster;
    await this.ready();
    const before = (await lsp.call('listfunds')).outputs;
    const request = this.request();
    await this.part('creation', request);
    const created = await this.asked(request);
    if (created) await this.works(created);
    await this.clean();
    if (!created) await this.untouched(before);
    return created;
  }

  /** Everybody can be invited: a client whose channel the LSP does not know any more is hung up on, and calls again, until it has understood. */
  private ready(): Promise<unknown> {
    const { clients } = this.cluster;
    return waitFor('clients that can be invited', async () => {
      for (const client of clients) await this.reach(client);
      return createFactory(this.cluster, { capacity: CAPACITY, stock: STOCK, more: { dry_run: true } });
    });
  }

  private request(): () => Promise<Factory> {
    this.requests += 1;
    const requestId = `kill-${this.requests}`;
    return () => createFactory(this.cluster, { capacity: CAPACITY, stock: STOCK, requestId });
  }

  private async asked(request: () => Promise<Factory>): Promise<Factory | undefined> {
    const { lsp } = this.cluster;
    try {
      return await request();
    } catch (error) {
      if (!(error instanceof RpcError)) throw error;
      expect(error).toMatchObject({ code: 3002 });
      const { factory_id: id } = error.data as { readonly factory_id: string };
      expect(await factoryState(lsp, id)).toBe('aborted');
      return undefined;
    }
  }

  private async untouched(outputs: unknown): Promise<void> {
    expect((await this.cluster.lsp.call('listfunds')).outputs).toEqual(outputs);
    expect(await this.cluster.bitcoind.call('getrawmempool')).toEqual([]);
  }

  private async works({ factory_id: id, channels, funding_txid: txid }: Factory): Promise<void> {
    const { cluster } = this;
    const { lsp, clients } = cluster;
    const older = this.alive.size > 0;
    for (const channel of channels) this.alive.set(channel.channel_id, id);
    await cluster.confirm(txid);
    // While a client has an older factory, too, the LSP pays over that one until the client must have seen the new one (ChannelBook).
    if (older) await mineSeen(cluster, PROVEN);
    for (const node of this.nodes) {
      await node.waitFor('active', async () => (await factoryState(node, id)) === 'active');
      expect(await node.call('factory-verify', { factory_id: id })).toMatchObject({ ok: true });
    }
    for (const client of clients) {
      const channel = channels.find((c) => c.node_id === client.id)?.channel_id ?? '';
      await Promise.all([cluster.usable(client, channel), cluster.usable(lsp, channel)]);
      await cluster.pay(lsp, client, PAID_MSAT);
    }
    await cluster.settled();
  }

  /** A channel that a factory has got. */
  add(factoryId: string, channelId: string): void {
    this.alive.set(channelId, factoryId);
  }

  isOf(channelId: string, factoryId: string): boolean {
    return this.alive.get(channelId) === factoryId;
  }
  /** A factory that is over. */
  forget(factoryId: string): void {
    for (const [channel, factory] of this.alive) if (factory === factoryId) this.alive.delete(channel);
  }

  /** A power failure in the middle of a creation, after which the LSP gives back what it has taken: that is the part. */
  async abandon(): Promise<void> {
    const { lsp } = this.cluster;
    await this.ready();
    const before = (await lsp.call('listfunds')).outputs;
    const request = this.request();
    // Both channels are open by then.
    const { outcome } = await this.plug.pull({ victim: 'node', node: lsp, point: { what: 'after send channel_opened', nth: 2 } }, request);
    await expect(outcome).rejects.toThrow();
    await this.part('clean-up', async () => {
      await this.back(lsp);
      await this.clean();
    });
    expect(await this.asked(request)).toBeUndefined();
    await this.clean();
    await this.untouched(before);
  }

  /** One transaction that pays everybody what was due, to the satoshi, however often it is asked for. */
  async close({ factory_id: id }: Factory): Promise<void> {
    const { cluster } = this;
    const { lsp, clients, bitcoind } = cluster;
    const due = await Promise.all(clients.map(async (c) => Math.ceil((await this.balance(c, id)) / 1_000) * 1_000));
    const before = await Promise.all(this.nodes.map((node) => this.wallet(node)));
    const ask = async (): Promise<void> => {
      const closed = await this.closed(id);
      if (((await bitcoind.confirmations(closed.txid)) ?? 0) === 0) {
        await bitcoind.waitForMempool(closed.txid);
        await bitcoind.mine(1);
      }
      for (const node of this.nodes) await node.waitFor('closed', async () => (await factoryState(node, id)) === 'closed');
      for (const node of this.nodes) await node.waitFor('its channels to be retired', async () => (await openChannels(node)).every((c) => !this.isOf(c, id)));
    };
    await this.part('close', ask);
    // Asked once more, whatever has happened: the same answer.
    const { outputs } = await this.closed(id);
    await ask();
    await pluginsSynced(cluster);
    const lspsPart = outputs.reduce((sum, o) => sum + o.amount_msat, 0) - due.reduce((sum, d) => sum + d, 0);
    for (const [i, node] of this.nodes.entries()) {
      const payout = node === lsp ? lspsPart : due[i - 1];
      await node.waitFor('its payout', async () => (await this.wallet(node)) === (before[i] ?? 0) + (payout ?? 0));
    }
    this.forget(id);
    await this.clean();
  }

  private closed(id: string): Promise<{ readonly txid: string; readonly outputs: readonly { readonly amount_msat: number }[] }> {
    const { lsp, clients } = this.cluster;
    return waitFor(
      'the close',
      async () => {
        for (const client of clients) if (client.running) await this.reach(client);
        return (await lsp.call('factory-close', { factory_id: id })) as Awaited<ReturnType<Life['closed']>>;
      },
      { timeout: 120_000, interval: 500 },
    );
  }

  /** The client's way out, by itself or by the LSP, with all its channels. It gets its balance, and the other client goes on paying. */
  async exit({ factory_id: id, channels }: Factory, by: LightningNode): Promise<void> {
    const { cluster, client: leaving } = this;
    const { lsp, clients } = cluster;
    const due = await this.balance(leaving, id);
    const sweeps = (await this.channelsOf(leaving, id)).length;
    const before = await this.wallet(leaving);
    const paid = async (): Promise<boolean> => (await this.wallet(leaving)) >= before + due - sweeps * SWEEP_MSAT;
    const leave = async (): Promise<void> => {
      await by.call('factory-exit', { factory_id: id, ...(by === lsp ? { node_id: leaving.id } : {}) });
      await mineUntil(cluster, 'the exit', paid);
    };
    await this.part(by === lsp ? 'exit by the LSP' : 'exit of the client', leave);
    // The operator asks once more: before the power failed, the answer may not have come.
    if (!(await paid())) await leave();
    expect(await this.wallet(leaving)).toBeLessThanOrEqual(before + due);
    for (const client of clients.filter((c) => c !== leaving)) {
      await cluster.usable(client, channels.find((c) => c.node_id === client.id)?.channel_id ?? '');
      await cluster.pay(lsp, client, 1_000_000);
    }
    await cluster.settled();
  }

  private async wallet(node: LightningNode): Promise<number> {
    return (await this.cluster.balances(node)).walletMsat;
  }
  /** What a node has in the channels of a factory, in millisatoshis. */
  async balance(node: LightningNode, factoryId: string): Promise<number> {
    return (await this.channelsOf(node, factoryId)).reduce((sum, { to_us_msat: ours }) => sum + ours, 0);
  }
  private async channelsOf(client: LightningNode, factoryId: string): Promise<readonly PeerChannel[]> {
    const { lsp } = this.cluster;
    return (await client.channels(lsp)).filter((c) => this.isOf(c.channel_id, factoryId));
  }

  /** Nothing is open, reserved or under way that belongs to no factory. */
  async clean(): Promise<void> {
    const { lsp } = this.cluster;
    await lsp.waitFor('its coins', async () => (await reservedCoins(lsp)) === 0);
    for (const node of this.nodes) {
      // An LSP that does not know a client's channel (any more) hangs up: the client calls again, and is told the rest.
      const called = async (): Promise<void> => (node === lsp ? undefined : this.reach(node));
      const tidy = (timeout?: number): Promise<boolean> =>
        node.waitFor(
          'no channel but those of factories',
          async () => {
            await called();
            return (await openChannels(node)).every((id) => this.alive.has(id));
          },
          timeout === undefined ? {} : { timeout },
        );
      // An LSP that has given a closing up says nothing of it before the next connection (lightningd v26.06, of a withheld channel).
      await tidy(GIVEN_UP_MS).catch(async (error: unknown) => {
        if (node === lsp) throw error;
        await node.call('disconnect', { id: lsp.id, force: true });
        await tidy();
      });
      await node.waitFor('no ceremony', async () => {
        await called();
        return (await node.call('factory-list')).factories.every((f) => !/inviting|signing|funding/.test(f.state));
      });
    }
    for (const channel of await lsp.channels()) expect(channel.funding?.withheld ?? false).toBe(false);
  }
}
