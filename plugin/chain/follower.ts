/**
 * Follows the best chain, block by block, and tells one consumer what was connected and disconnected, strictly in order.
 *
 * The position is the consumer's: it stores each event's step together with what the event changes, and the follower
 * starts every poll from what is stored. So a crash, or a consumer that fails, can only make an event come again; none
 * is ever left out.
 */
import { setImmediate as breathe } from 'node:timers/promises';

import { parseBlock } from './block.js';
import { ChainError } from './events.js';
import type { ChainEvent, FollowerOptions, PollResult } from './events.js';
import { advance } from './position.js';
import type { BlockRef } from './position.js';
import { watchedTransactions } from './watch.js';

/** How often the chain may change under one look before we say that the backend makes no sense. */
const MAX_MISSES = 10;

/** Neither `poll` nor `stop` is to be awaited by the consumer while it handles an event: they wait for it. */
export interface Follower {
  /**
   * Looks at the chain and delivers all that is new. Calls during a poll share it, and make it look once more at its end.
   * @throws what the source or the consumer throws, and ChainError; the next poll goes on from what is stored
   */
  poll(): Promise<PollResult>;
  /** The next poll begins with a `rescan` event (after a factory was restored, say). */
  rescan(): void;
  /** No event is delivered after the promise is fulfilled. */
  stop(): Promise<void>;
}

export const createFollower = (options: FollowerOptions): Follower => new ChainFollower(options);

/** What one step came to: the position is the best block, it moved, or the chain changed while we looked. */
type Outcome = 'synced' | 'moved' | 'missed';

class ChainFollower implements Follower {
  #window: readonly BlockRef[] = [];
  #running: Promise<PollResult> | undefined;
  /** Counts the calls of `poll`. */
  #asked = 0;
  #stopped = false;
  #rescan = false;

  constructor(private readonly options: FollowerOptions) {}

  poll(): Promise<PollResult> {
    this.#asked += 1;
    return (this.#running ??= this.#run());
  }

  rescan(): void {
    this.#rescan = true;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running?.catch(() => undefined);
  }

  async #run(): Promise<PollResult> {
    await breathe();
    try {
      this.#window = this.options.blocks();
      for (;;) {
        const asked = this.#asked;
        const result = await this.#follow();
        if (asked === this.#asked || this.#stopped) return result;
      }
    } finally {
      this.#running = undefined;
    }
  }

  /** Steps until the position is the best block. */
  async #follow(): Promise<PollResult> {
    let misses = 0;
    while (!this.#stopped) {
      const tip = await this.options.source.tip();
      if (this.#rescan) await this.#startAnew(tip);
      const oldest = this.#window[0];
      if (oldest !== undefined && tip < oldest.height) return { status: 'backend_behind', tip };
      const outcome = await this.#step(tip);
      if (outcome === 'synced') return { status: 'synced', height: tip };
      misses = outcome === 'missed' ? misses + 1 : 0;
      if (misses > MAX_MISSES) {
        throw new ChainError('block_missing', `block ${tip}`, 'is the best block, says the backend, but the way there from ours is not to be had');
      }
    }
    return { status: 'stopped' };
  }

  async #step(tip: number): Promise<Outcome> {
    const top = this.#window.at(-1);
    if (top === undefined) return this.#connect(this.#start(tip), tip);
    if (tip > top.height) {
      const outcome = await this.#connect(top.height + 1, tip);
      if (outcome !== 'missed') return outcome;
    }
    const fork = await this.#fork(Math.min(tip, top.height));
    if (fork === 'missed') return fork;
    if (fork === undefined) return this.#startAnew(tip);
    if (fork === top.height) return fork === tip ? 'synced' : 'missed';
    return this.#disconnectDownTo(fork);
  }

  /** Where to begin without a position. */
  #start(tip: number): number {
    return Math.max(0, Math.min(this.options.startHeight() ?? tip, tip));
  }

  /** The newest block of ours, at `from` or below, that is on the best chain: its height; undefined if none is. */
  async #fork(from: number): Promise<number | undefined | 'missed'> {
    for (const block of this.#window.filter((b) => b.height <= from).reverse()) {
      const hash = await this.#hashAt(block.height);
      if (hash === undefined) return 'missed';
      if (hash === block.hash) return block.height;
    }
    return undefined;
  }

  async #hashAt(height: number): Promise<string | undefined> {
    const { source } = this.options;
    return source.hash === undefined ? (await source.block(height))?.hash : source.hash(height);
  }

  /** Connects the best chain's block at `height` if it follows on ours. */
  async #connect(height: number, tip: number): Promise<Outcome> {
    const raw = await this.options.source.block(height);
    if (raw === undefined) return 'missed';
    const block = parseBlock(raw.hex, `block ${height}`);
    if (block.hash !== raw.hash) throw new ChainError('hash_mismatch', `block ${height}`, `came as ${raw.hash}, but it is ${block.hash}`);
    const top = this.#window.at(-1);
    if (top !== undefined && block.prev !== top.hash) return 'missed';
    // Hundreds of blocks may be waiting; hooks and commands come first (architecture 14).
    await breathe();
    const txs = await watchedTransactions(block, this.options.watch(), breathe);
    const { hash, prev } = block;
    await this.#deliver({ type: 'block_connected', height, hash, txs, tip, step: { type: 'connected', block: { height, hash, prev } } });
    return 'moved';
  }

  async #disconnectDownTo(height: number): Promise<Outcome> {
    for (const block of this.#window.filter((b) => b.height > height).reverse()) {
      if (this.#stopped) break;
      await this.#deliver({ type: 'block_disconnected', height: block.height, hash: block.hash, step: { type: 'disconnected', block } });
    }
    return 'moved';
  }

  async #startAnew(tip: number): Promise<Outcome> {
    this.#rescan = false;
    try {
      await this.#deliver({ type: 'rescan', fromHeight: this.#start(tip), step: { type: 'rescan' } });
    } catch (error) {
      this.#rescan = true;
      throw error;
    }
    return 'moved';
  }

  /** Our copy moves after the consumer has stored the step; if it throws, the poll ends, and the next begins from what is stored. */
  async #deliver(event: ChainEvent): Promise<void> {
    await this.options.consume(event);
    this.#window = advance(this.#window, event.step);
  }
}
