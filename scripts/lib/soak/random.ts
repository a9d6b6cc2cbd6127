/** Chance from a seed: the same stream for the same seed and name, whatever the other streams are used for. */
export class Random {
  private state: number;

  constructor(seed: number, name: string) {
    // FNV-1a over the name, so that every actor has a stream of its own.
    this.state = Buffer.from(name).reduce((hash, byte) => Math.imul(hash ^ byte, 16_777_619), (seed ^ 2_166_136_261) >>> 0) >>> 0;
    for (let i = 0; i < 8; i += 1) this.unit();
  }

  /** In [0, 1). mulberry32. */
  unit(): number {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let t = this.state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }

  between(low: number, high: number): number {
    return low + this.unit() * (high - low);
  }

  /** A whole number; small ones are as likely as their logarithm. */
  logarithmic(low: number, high: number): number {
    return Math.floor(Math.exp(this.between(Math.log(low), Math.log(high + 1))));
  }

  chance(probability: number): boolean {
    return this.unit() < probability;
  }

  pick<T>(from: readonly [T, ...T[]] | readonly T[]): T {
    const picked = from[Math.floor(this.unit() * from.length)];
    if (picked === undefined) throw new Error('nothing to pick from');
    return picked;
  }
}
