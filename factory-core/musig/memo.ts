/**
 * A bounded memo: remembers the last `limit` results by key, forgets the one unused for longest. Only for pure functions
 * of their key, so forgetting costs time and nothing else. A result that is thrown is not remembered.
 */
export class Memo<V> {
  readonly #entries = new Map<string, V>();

  constructor(readonly limit: number) {}

  get(key: string, compute: () => V): V {
    const known = this.#entries.get(key);
    if (known !== undefined) {
      // A Map keeps insertion order: to put the entry in again makes it the youngest.
      this.#entries.delete(key);
      this.#entries.set(key, known);
      return known;
    }
    const value = compute();
    if (this.#entries.size >= this.limit) {
      const oldest = this.#entries.keys().next();
      if (oldest.done !== true) this.#entries.delete(oldest.value);
    }
    this.#entries.set(key, value);
    return value;
  }

  get size(): number {
    return this.#entries.size;
  }
}
