/** What the follower asks of the chain, and what it tells its consumer. */
import type { Hex, Outpoint, Sat, Script, Txid } from '../../blip/brands.js';
import type { BlockHash, BlockRef, ChainStep } from './position.js';

/** The chain as a node's backend shows it. Heights may be answered from different best chains: the follower copes. */
export interface ChainSource {
  /** Height of the best block. */
  tip(): Promise<number>;
  /** The best chain's block at a height, as raw hex; undefined when there is none (yet, or any more). */
  block(height: number): Promise<{ readonly hash: string; readonly hex: string } | undefined>;
  /** The hash alone, where it can be had without the block: spares a whole block for every look at an unchanged chain. */
  hash?(height: number): Promise<string | undefined>;
}

/** What the consumer wants to hear of. Asked for anew before every block; hand out the same object while nothing changed. */
export interface WatchSet {
  /** Transactions that spend one of these. */
  readonly outpoints: readonly Outpoint[];
  /** These transactions. */
  readonly txids: readonly Txid[];
  /** Transactions that pay to one of these. */
  readonly scripts: readonly Script[];
}

export interface ChainOutput {
  readonly amount: Sat;
  readonly script: Script;
}

/**
 * A transaction that touches the watch set, or spends, in the same block, an output of one that does (a consumer that
 * learns of a new output from the first would miss the second).
 */
export interface ChainTransaction {
  readonly txid: Txid;
  /** Position in the block. */
  readonly index: number;
  /** With witnesses. */
  readonly raw: Hex;
  /** Empty for a coinbase. */
  readonly inputs: readonly Outpoint[];
  readonly outputs: readonly ChainOutput[];
}

/**
 * Delivered strictly in order, one at a time: the next after the promise for this one is fulfilled. The consumer stores
 * `step` with whatever the event changes. If it throws, or dies before, the event comes again.
 */
export type ChainEvent =
  | {
      readonly type: 'block_connected';
      readonly height: number;
      readonly hash: BlockHash;
      readonly txs: readonly ChainTransaction[];
      /** Height of the best block known: while `height` is below it, the follower is catching up. */
      readonly tip: number;
      readonly step: ChainStep;
    }
  /** Newest first. Whatever was confirmed in it is not. */
  | { readonly type: 'block_disconnected'; readonly height: number; readonly hash: BlockHash; readonly step: ChainStep }
  /**
   * A reorganisation deeper than the window, or asked for: all that was learnt from the chain is to be forgotten. The
   * blocks from `fromHeight` on follow.
   */
  | { readonly type: 'rescan'; readonly fromHeight: number; readonly step: ChainStep };

export interface FollowerOptions {
  readonly source: ChainSource;
  /** The position as the consumer stored it, oldest block first (`Store.blocks`). Read at the beginning of every poll. */
  readonly blocks: () => readonly BlockRef[];
  readonly watch: () => WatchSet;
  readonly consume: (event: ChainEvent) => Promise<void>;
  /** Where to begin without a position: the first height that can matter (the earliest factory's start); undefined: the tip. */
  readonly startHeight: () => number | undefined;
}

/** How a poll ended. */
export type PollResult =
  /** The position is the best block. */
  | { readonly status: 'synced'; readonly height: number }
  /** `stop` was called. */
  | { readonly status: 'stopped' }
  /** The backend's best block is below all that are remembered: it is syncing anew, not reorganising. Nothing was delivered. */
  | { readonly status: 'backend_behind'; readonly tip: number };

/** The backend gave something that cannot be. `culprit` names the block. */
export class ChainError extends Error {
  constructor(
    readonly code: 'bad_block' | 'block_missing' | 'hash_mismatch',
    readonly culprit: string,
    message: string,
  ) {
    super(`${culprit}: ${message}`);
    this.name = 'ChainError';
  }
}
