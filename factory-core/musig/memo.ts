/**
 * A bounded memo for pure functions of a text key: forgetting costs time and nothing else. The bound is on the length of
 * all keys together, for the values here grow as their keys do, and peers have a say in how many there are. When it is
 * reached, the entries unused for longest go. What is thrown is not remembered.
 */
export class Memo<V extends object> {
  readonly #entries = new Map<string, V>();
  #length = 0;

  /** @param maxLength characters of all keys together; one longer key is still remembered, alone */
  constructor(readonly maxLength: number) {}

  get(key: string, compute: () => V): V {
    const known = this.#entries.get(key);
    // A Map keeps the order of insertion: to take an entry out and put it in again makes it the youngest.
    if (known !== undefined) this.#forget(key);
    const value = known ?? compute();
    for (const oldest of this.#entries.keys()) {
      if (this.#length + key.length <= this.maxLength) break;
      this.#forget(oldest);
    }
    this.#entries.set(key, value);
    this.#length += key.length;
    return value;
  }

  /** How many results are remembered. */
  get size(): number {
    return this.#entries.size;
  }

  #forget(key: string): void {
    if (this.#entries.delete(key)) this.#length -= key.length;
  }
}
