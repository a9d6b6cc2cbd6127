/** Where a schedule's choices come from: a string of bytes, then nothing. Fewer and smaller bytes are the simpler schedule. */
export class Choices {
  private at = 0;
  constructor(private readonly bytes: Uint8Array) {}

  get left(): number {
    return this.bytes.length - this.at;
  }
  next(): number {
    const byte = this.bytes[this.at] ?? 0;
    this.at += 1;
    return byte;
  }
  /** A number below n. */
  below(n: number): number {
    return this.next() % n;
  }
  pick<T>(list: readonly T[]): T | undefined {
    return list.length === 0 ? undefined : list[this.below(list.length)];
  }
}
