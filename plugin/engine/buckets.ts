/** Token buckets, one per peer, in bounded memory: what strangers cost us is fixed beforehand (architecture 12.13). */
import type { NodeId } from '../../blip/brands.js';

export interface Rate {
  /** What may come at once. */
  readonly burst: number;
  /** What comes back in a second. */
  readonly perSecond: number;
}

/** Of everybody together. Times are milliseconds of a clock that never goes back. */
export class Bucket {
  private tokens: number;
  private at: number;

  constructor(
    private readonly rate: Rate,
    now: number,
  ) {
    this.tokens = rate.burst;
    this.at = now;
  }

  /** @returns whether there was as much in it; if not, nothing is taken */
  take(now: number, amount = 1): boolean {
    this.tokens = Math.min(this.rate.burst, this.tokens + ((now - this.at) / 1000) * this.rate.perSecond);
    this.at = now;
    if (this.tokens < amount) return false;
    this.tokens -= amount;
    return true;
  }
}

/** A value per peer, of the peers heard of last. */
export class RecentPeers<T> {
  private readonly values = new Map<NodeId, T>();

  constructor(
    private readonly max: number,
    private readonly make: () => T,
  ) {}

  of(peer: NodeId): T {
    const value = this.values.get(peer) ?? this.make();
    // The order of a Map is that of insertion: the one heard of longest ago comes first.
    this.values.delete(peer);
    this.values.set(peer, value);
    if (this.values.size > this.max) {
      const [oldest] = this.values.keys();
      if (oldest !== undefined) this.values.delete(oldest);
    }
    return value;
  }
  get size(): number {
    return this.values.size;
  }
  entries(): readonly (readonly [NodeId, T])[] {
    return [...this.values];
  }
}
