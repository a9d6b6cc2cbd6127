/**
 * Payments that never stop: one every so many milliseconds along each of some ways, until told to; every one is counted. A
 * machine that is too slow for that gets them later: what is tested is that none is lost.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { LightningNode } from '../harness/lightningd.js';
import type { Cluster } from '../harness/cluster.js';

export interface Way {
  readonly from: LightningNode;
  readonly to: LightningNode;
  readonly amountMsat: number;
}
export interface Tally {
  attempted: number;
  paid: number;
  readonly lost: { readonly way: string; readonly at: number; readonly reason: string }[];
  slowestMs: number;
  /** What each node has gained by it, or lost, fees included, in millisatoshis. */
  readonly net: Map<string, number>;
}

/** So many at a time along each way. */
const MOST_AT_ONCE = 3;

export class Traffic {
  readonly tally: Tally = { attempted: 0, paid: 0, lost: [], slowestMs: 0, net: new Map() };
  private stopping = false;
  private running: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly cluster: Cluster,
    private readonly ways: readonly Way[],
    private readonly everyMs: number,
  ) {}

  start(): void {
    this.running = Promise.all(this.ways.map((way) => this.along(way)));
  }
  /** Nothing new is begun, and what is under way has ended. */
  async stop(): Promise<Tally> {
    this.stopping = true;
    await this.running;
    return this.tally;
  }

  private async along(way: Way): Promise<void> {
    const pending = new Set<Promise<void>>();
    while (!this.stopping) {
      const payment = this.pay(way).finally(() => pending.delete(payment));
      pending.add(payment);
      await pause(this.everyMs);
      if (pending.size >= MOST_AT_ONCE) await Promise.race(pending);
    }
    await Promise.all(pending);
  }
  private async pay({ from, to, amountMsat }: Way): Promise<void> {
    const began = Date.now();
    this.tally.attempted += 1;
    try {
      const { amount_sent_msat: sent } = await this.cluster.pay(from, to, amountMsat);
      this.tally.paid += 1;
      this.book(from, -sent);
      this.book(to, amountMsat);
    } catch (error) {
      this.tally.lost.push({ way: `${from.name} -> ${to.name}`, at: began, reason: error instanceof Error ? error.message : String(error) });
    }
    this.tally.slowestMs = Math.max(this.tally.slowestMs, Date.now() - began);
  }
  private book({ name }: LightningNode, msat: number): void {
    this.tally.net.set(name, (this.tally.net.get(name) ?? 0) + msat);
  }
}
