/** The cluster as the soak's actors see it: who is in trouble and since when, and whose channels are there to be used. */
import { setTimeout as pause } from 'node:timers/promises';
import type { Cluster } from '../../../itest/harness/cluster.js';
import type { LightningNode } from '../../../itest/harness/lightningd.js';
import { Random } from './random.js';
import type { Tally } from './tally.js';

/** After a restart, a lost connection or a change of channels this long counts as disturbed still, in milliseconds. */
const AFTERMATH = 20_000;

export class World {
  /** Clients that take part in payments: they have a channel, be it about to be closed. */
  readonly open = new Set<LightningNode>();
  /** Somebody waits for confirmations: blocks come faster. */
  hurry = false;
  private readonly troubles = new Map<LightningNode, { active: number; last: number }>();
  private over = false;

  constructor(
    readonly cluster: Cluster,
    readonly tally: Tally,
    readonly seed: number,
    private readonly deadline: number,
  ) {}

  random(name: string): Random {
    return new Random(this.seed, name);
  }

  /** Time is up: actors come to an end. */
  get ending(): boolean {
    return this.over || performance.now() >= this.deadline;
  }

  end(): void {
    this.over = true;
  }

  /** Sleeps, but not beyond the end. Milliseconds. */
  async rest(ms: number): Promise<void> {
    const until = performance.now() + ms;
    while (!this.ending && performance.now() < until) await pause(Math.max(1, Math.min(250, until - performance.now())));
  }

  /** While `work` goes on, and for a while after, these nodes' payments may fail. */
  async troubled<T>(nodes: readonly LightningNode[], work: () => Promise<T>): Promise<T> {
    const entries = nodes.map((node) => this.trouble(node));
    for (const entry of entries) entry.active += 1;
    try {
      return await work();
    } finally {
      for (const entry of entries) {
        entry.active -= 1;
        entry.last = performance.now();
      }
    }
  }

  /** Whether nothing has disturbed these nodes since shortly before `since`. */
  calm(nodes: readonly LightningNode[], since: number): boolean {
    return nodes.map((node) => this.trouble(node)).every(({ active, last }) => active === 0 && last + AFTERMATH < since);
  }

  private trouble(node: LightningNode): { active: number; last: number } {
    const entry = this.troubles.get(node) ?? { active: 0, last: performance.now() };
    this.troubles.set(node, entry);
    return entry;
  }
}
