/**
 * Where the follower stands: the last blocks it delivered. The consumer of an event stores the event's step in the very
 * transaction that stores what the event changed, so that no crash can separate the two.
 */
import type { Brand } from '../../blip/brands.js';
import { FormatError } from '../../blip/brands.js';

/** A block's hash in display order (reversed), 32 bytes of lowercase hex. */
export type BlockHash = Brand<string, 'BlockHash'>;

const HASH = /^[0-9a-f]{64}$/;

export const blockHash = (value: string, field = 'block_hash'): BlockHash => {
  if (!HASH.test(value)) throw new FormatError(field, '32 bytes of lowercase hex');
  return value as BlockHash;
};

/** A block's place in the chain. */
export interface BlockRef {
  readonly height: number;
  readonly hash: BlockHash;
  readonly prev: BlockHash;
}

/** How many blocks are remembered: a reorganisation up to this depth is followed block by block. */
export const BLOCK_WINDOW = 300;

/** One step of the position. */
export type ChainStep =
  | { readonly type: 'connected'; readonly block: BlockRef }
  | { readonly type: 'disconnected'; readonly block: BlockRef }
  /** All blocks are forgotten; the next connected one may be any. */
  | { readonly type: 'rescan' };

/** Why `step` cannot follow on a window that ends with `top`; undefined when it can. */
export const stepProblem = (top: BlockRef | undefined, step: ChainStep): string | undefined => {
  switch (step.type) {
    case 'rescan':
      return undefined;
    case 'connected':
      if (top === undefined) return undefined;
      if (step.block.height !== top.height + 1) return `block ${step.block.height} does not follow on ${top.height}`;
      return step.block.prev === top.hash ? undefined : `block ${step.block.height} is not built on ${top.hash}`;
    case 'disconnected':
      return top?.hash === step.block.hash ? undefined : `block ${step.block.height} is not the newest`;
  }
};

/** The window after `step`, oldest block first; `step` has passed `stepProblem`. */
export const advance = (window: readonly BlockRef[], step: ChainStep): readonly BlockRef[] => {
  switch (step.type) {
    case 'rescan':
      return [];
    case 'connected':
      return [...window, step.block].slice(-BLOCK_WINDOW);
    case 'disconnected':
      return window.slice(0, -1);
  }
};
