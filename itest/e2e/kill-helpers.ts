/** Power failures at exact places, and what must be true afterwards. */
import { setTimeout as pause } from 'node:timers/promises';
import { expect } from '@jest/globals';
import type { DurableEffect } from '../../factory-core/protocol/effects.js';
import type { Tap } from '../fixtures/tap.js';
import type { Cluster } from '../harness/cluster.js';
import type { LightningResults } from '../harness/lightning-results.js';
import type { LightningNode } from '../harness/lightningd.js';
import { RpcError } from '../harness/rpc.js';
import { waitFor } from '../harness/wait.js';
import { mineUntil, pluginsSynced } from './chain-helpers.js';
import { createFactory, factoryState, openChannels, reservedCoins } from './factory-helpers.js';

/** The `nth` time that this passes between a node's plugin and its lightningd. */
export interface Point {
  readonly what: string;
  readonly nth: number;
}
export const nameOf = ({ what, nth }: Point): string => `${what}${nth > 1 ? ` (${nth})` : ''}`;

/** What passes at each node, and how often. */
export type Seen = ReadonlyMap<string, ReadonlyMap<string, number>>;

/** What is killed: the node with all its processes, as when the power fails, or its plugin alone, and the node goes down after it. */
export type Victim = 'node' | 'plugin';

export interface Cut {
  readonly victim: Victim;
  readonly node: LightningNode;
  readonly point: Point;
}

export type Operation = 'creation' | 'clean-up' | 'close' | 'exit of the client' | 'exit by the LSP';
/** Which of the operations here show this effect. A new one needs a place, in one of these or in a suite of its own. */
export const WHERE: Readonly<Record<DurableEffect['kind'], readonly Operation[]>> = {
  select_coins: ['creation'],
  prepare_funding: ['creation'],
  open_start: ['creation'],
  open_complete: ['creation'],
  audit: ['creation'],
  arm: ['creation'],
  send_funding: ['creation'],
  release_funding: ['clean-up'],
  discard_channels: ['clean-up'],
  retire_channel: ['close'],
  // Of a purchase, which is none of these.
  pay_fee: [],
  drop_purchase: [],
  // Of a rotation.
  await_next: [],
  move_balance: [],
  settle_balance: [],
  await_owed: [],
  pay_owed: [],
};

/** Nothing here takes so long, on whatever machine. */
const PATIENCE_MS = 120_000;
/** How long a client is away: not long enough for the others to give up what they want of it, or just so. */
const OUTAGE_MS = 500;

/** @throws when it does not end in time */
export const within = async <T>(what: string, milliseconds: number, work: Promise<T>): Promise<T> => {
  const over = new AbortController();
  try {
    return await Promise.race([
      work,
      pause(milliseconds, undefined, { signal: over.signal }).then(() => Promise.reject(new Error(`${what} does not end within ${milliseconds} ms`))),
    ]);
  } finally {
    over.abort();
  }
};

const HOLD = new Promise<void>(() => undefined);
const none = (): undefined => undefined;

export class Plug {
  constructor(private readonly tap: Tap) {}

  /** @returns what has passed while the work was done */
  async observe(work: () => Promise<unknown>): Promise<Seen> {
    const seen = new Map<string, Map<string, number>>();
    this.tap.onPassing = ({ node, what }) => {
      const counts = seen.get(node) ?? new Map<string, number>();
      seen.set(node, counts.set(what, (counts.get(what) ?? 0) + 1));
      return undefined;
    };
    await work();
    this.tap.onPassing = none;
    return seen;
  }

  /** Begins something, and kills at the point. What was begun is returned as it then ends. @throws when it ends before */
  async pull<T>({ victim, node, point }: Cut, begin: () => Promise<T>): Promise<{ readonly outcome: Promise<T> }> {
    let count = 0;
    const reached = new Promise<'reached'>((resolve) => {
      this.tap.onPassing = (passing) => {
        if (passing.node !== node.name || passing.what !== point.what) return undefined;
        count += 1;
        if (count !== point.nth) return undefined;
        resolve('reached');
        return HOLD;
      };
    });
    const outcome = begin();
    const over = outcome.then(
      () => 'ended',
      (error: unknown) => `failed with: ${String(error)}`,
    );
    try {
      const first = await within(`what should come to ${nameOf(point)}`, PATIENCE_MS, Promise.race([reached, over]));
      if (first !== 'reached') throw new Error(`${node.name} never came to: ${nameOf(point)}; it ${first}`);
      await (victim === 'node' ? node.kill() : node.killPlugin());
    } finally {
      this.tap.onPassing = none;
    }
    return { outcome };
  }
}

type Factory = LightningResults['factory-create'];

const CAPACITY = 200_000n;
const STOCK = 10_000n;
const PAID_MSAT = 50_000_000;
/** What a client's way to its own wallet may cost: the fee of its sweep. */
const SWEEP_MSAT = 2_000_000;

/** What a cluster lives through, with or without a power failure in the middle of it. */
export class Life {
  /** Channels of factories that are alive: nothing else may be open. */
  private readonly alive: string[] = [];
  private requests = 0;

  constructor(
    readonly cluster: Cluster,
    private readonly plug: Plug,
  ) {}

  private get nodes(): readonly LightningNode[] {
    return [this.cluster.lsp, ...this.cluster.clients];
  }

  /** Does it, with a power failure if wanted. */
  async under(cut: Cut | undefined, work: () => Promise<unknown>): Promise<void> {
    if (!cut) {
      await work();
      return;
    }
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

  /** Two that dial each other at once may drop what they have just made, and one without an open channel does not dial again. */
  private async reach(client: LightningNode): Promise<void> {
    const { lsp } = this.cluster;
    await client.waitFor('the LSP', async () => {
      await client.call('connect', { id: lsp.id, host: '127.0.0.1', port: lsp.port });
      return (await lsp.call('listpeers')).peers.some(({ id, connected }) => id === client.id && connected);
    });
  }

  /** A creation as an operator asks for it, and asks again: in the end there is a whole factory, or nothing at all. */
  async create(cut?: Cut): Promise<Factory | undefined> {
    const { lsp } = this.cluster;
    await this.ready();
    const before = (await lsp.call('listfunds')).outputs;
    const request = this.request();
    await this.under(cut, request);
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
    this.alive.push(...channels.map((c) => c.channel_id));
    await cluster.confirm(txid);
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

  /** A power failure in the middle of a creation, after which the LSP gives back what it has taken: that is the work of `during`. */
  async abandon(during: (cleaning: () => Promise<void>) => Promise<void>): Promise<void> {
    const { lsp } = this.cluster;
    await this.ready();
    const before = (await lsp.call('listfunds')).outputs;
    const request = this.request();
    // Both channels are open by then.
    const { outcome } = await this.plug.pull({ victim: 'node', node: lsp, point: { what: 'after send channel_opened', nth: 2 } }, request);
    await expect(outcome).rejects.toThrow();
    await during(async () => {
      await this.back(lsp);
      await this.clean();
    });
    expect(await this.asked(request)).toBeUndefined();
    await this.clean();
    await this.untouched(before);
  }

  /** One transaction that pays everybody what was due, to the satoshi, however often it is asked for. */
  async close({ factory_id: id, channels }: Factory, cut?: Cut): Promise<void> {
    const { cluster } = this;
    const { lsp, clients, bitcoind } = cluster;
    const due = await Promise.all(clients.map(async (c) => Math.ceil((await this.balance(c, channels)) / 1_000) * 1_000));
    const before = await Promise.all(this.nodes.map((node) => this.wallet(node)));
    const ask = async (): Promise<void> => {
      const closed = await this.closed(id);
      if (((await bitcoind.confirmations(closed.txid)) ?? 0) === 0) {
        await bitcoind.waitForMempool(closed.txid);
        await bitcoind.mine(1);
      }
      for (const node of this.nodes) await node.waitFor('closed', async () => (await factoryState(node, id)) === 'closed');
      const gone = new Set(channels.map((c) => c.channel_id));
      for (const node of this.nodes) await node.waitFor('its channels to be retired', async () => (await openChannels(node)).every((c) => !gone.has(c)));
    };
    await this.under(cut, ask);
    // Asked once more, whatever has happened: the same answer.
    const { outputs } = await this.closed(id);
    await ask();
    await pluginsSynced(cluster);
    const lspsPart = outputs.reduce((sum, o) => sum + o.amount_msat, 0) - due.reduce((sum, d) => sum + d, 0);
    for (const [i, node] of this.nodes.entries()) {
      const payout = node === lsp ? lspsPart : due[i - 1];
      await node.waitFor('its payout', async () => (await this.wallet(node)) === (before[i] ?? 0) + (payout ?? 0));
    }
    this.alive.splice(0, this.alive.length, ...this.alive.filter((c) => channels.every((one) => one.channel_id !== c)));
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

  /** The last client's way out: by itself, or by the LSP. It gets its balance, and the other client goes on paying. */
  async exit({ factory_id: id, channels }: Factory, by: LightningNode, cut?: Cut): Promise<void> {
    const { cluster } = this;
    const { lsp, clients } = cluster;
    const leaving = clients.at(-1) ?? cluster.client(0);
    const due = await this.balance(leaving, channels);
    const before = await this.wallet(leaving);
    const paid = async (): Promise<boolean> => (await this.wallet(leaving)) >= before + due - SWEEP_MSAT;
    const leave = async (): Promise<void> => {
      await by.call('factory-exit', { factory_id: id, ...(by === lsp ? { node_id: leaving.id } : {}) });
      await mineUntil(cluster, 'the exit', paid);
    };
    await this.under(cut, leave);
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
  private async balance(client: LightningNode, channels: Factory['channels']): Promise<number> {
    const id = channels.find((c) => c.node_id === client.id)?.channel_id;
    return (await client.channels(this.cluster.lsp)).find((c) => c.channel_id === id)?.to_us_msat ?? 0;
  }

  /** Nothing is open, reserved or under way that belongs to no factory. */
  private async clean(): Promise<void> {
    const { lsp } = this.cluster;
    await lsp.waitFor('its coins', async () => (await reservedCoins(lsp)) === 0);
    for (const node of this.nodes) {
      await node.waitFor('no channel but those of factories', async () => (await openChannels(node)).every((id) => this.alive.includes(id)));
      await node.waitFor('no ceremony', async () => {
        // An LSP that does not know a client's channel (any more) hangs up: the client calls again, and is told the rest.
        if (node !== lsp) await this.reach(node);
        return (await node.call('factory-list')).factories.every((f) => !/inviting|signing|funding/.test(f.state));
      });
    }
    for (const channel of await lsp.channels()) expect(channel.funding?.withheld ?? false).toBe(false);
  }
}
