/**
 * The way out, planned from the chain alone: which transaction is next, what is left, what it takes (architecture 4, 9).
 * Run again with every block it gives the right answer after restarts and reorganisations too.
 */
import { sat, type Outpoint, type Sat, type Txid } from '../blip/brands.js';
import type { FactoryPlan, Signable, SignedTx } from './model.js';
import { exitBlocks, shapeCost } from './shape.js';
import { CPFP_CHILD_VSIZE, feeFor } from './sizes.js';

export { exitBlocks } from './shape.js';

/** Blocks between the end of a planned exit and the first HTLC that would not survive it (architecture 4). */
export const EARLY_WARNING_MARGIN = 18;

/** `factory_early_warning_time` of bLIP-56, in blocks, for a path of so many transactions. */
export const earlyWarningTime = (pathTransactions: number): number => exitBlocks(pathTransactions) + EARLY_WARNING_MARGIN;

/** The same for a whole factory: that of its longest path, so that every member announces the same. */
export const factoryEarlyWarningTime = (plan: Pick<FactoryPlan, 'roster' | 'fanouts'>): number =>
  earlyWarningTime(shapeCost(plan.roster.length, plan.fanouts).pathTransactions);

/** What a member has stored of its way out. */
export interface ExitPath {
  readonly member: number;
  /** From the root down. */
  readonly splits: readonly SignedTx[];
  /** Absent while there is no channel: the way then ends at the slot. */
  readonly leaf?: SignedTx;
  readonly distribution: SignedTx;
}

/** What the best chain says. */
export interface ChainView {
  readonly height: number;
  /** The confirmed transaction that spends an output, and its block's height; undefined while unspent. */
  readonly spenderOf: (outpoint: Outpoint) => { readonly txid: Txid; readonly height: number } | undefined;
}

export type ExitStep =
  /** Publish `next` now (again, if it was published before: that is harmless). `remaining` begins with it. */
  | {
      readonly kind: 'publish';
      readonly next: SignedTx;
      readonly remaining: readonly SignedTx[];
      /** The distribution, when it could be in the next block instead. It pays a client its whole slot. */
      readonly distribution?: SignedTx;
    }
  /** The whole path is on chain; `height` of its last transaction. */
  | { readonly kind: 'complete'; readonly height: number }
  /** An output of the path was spent by something else: the distribution, or what only the signers of `outpoint` can have made. */
  | { readonly kind: 'ended'; readonly outpoint: Outpoint; readonly by: Txid; readonly distributed: boolean };

/**
 * Whether a transaction with this lock time (a height) may be in the block after `height`. Bitcoin's `IsFinalTx` wants
 * the lock time below the block's height.
 */
export const isFinalAfter = (lockTime: number, height: number): boolean => height >= lockTime;

/** Height of the best block from which on an output confirmed at `confirmedAt` with this relative lock may be spent (BIP 68). */
export const spendableFrom = (confirmedAt: number, csv: number): number => confirmedAt + csv - 1;

/** The transactions from funding to channel, in the order they go out. */
export const exitTransactions = (path: ExitPath): readonly SignedTx[] => (path.leaf ? [...path.splits, path.leaf] : path.splits);

/**
 * The next step out. One transaction at a time: a version-3 transaction that is unconfirmed may have one descendant, and
 * that place is its bumping child's (BIP 431).
 */
export const planExit = (path: ExitPath, chain: ChainView): ExitStep => {
  const transactions = exitTransactions(path);
  let height = 0;
  for (const [index, next] of transactions.entries()) {
    const { txid, tx } = next.signable;
    const spender = chain.spenderOf(tx.prevout.outpoint);
    if (!spender) {
      const { distribution } = path;
      const distributable = index === 0 && isFinalAfter(distribution.signable.tx.lockTime, chain.height);
      return { kind: 'publish', next, remaining: transactions.slice(index), ...(distributable && { distribution }) };
    }
    if (spender.txid !== txid) {
      const distributed = spender.txid === path.distribution.signable.txid;
      return { kind: 'ended', outpoint: tx.prevout.outpoint, by: spender.txid, distributed };
    }
    ({ height } = spender);
  }
  return { kind: 'complete', height };
};

export interface ExitCost {
  readonly transactions: number;
  /** Of the transactions themselves, without the children that bump them. */
  readonly vbytes: number;
  /** `exit_blocks`: six for each. */
  readonly blocks: number;
  /** What the wallet must add through children on the anchors, in sat; nothing where the built-in fee will do. */
  readonly fee: Sat;
}

/**
 * What it takes to get these transactions confirmed at `feerate` (sat per 1,000 vB). Their built-in fee was paid at
 * signing and counts; the few sat a child takes from the anchor are not subtracted.
 */
export const exitCost = (transactions: readonly Signable[], feerate: number): ExitCost => {
  let [vbytes, fee] = [0, 0n];
  for (const { vsize, fee: paid } of transactions) {
    vbytes += vsize;
    if (paid < feeFor(vsize, feerate)) fee += feeFor(vsize + CPFP_CHILD_VSIZE, feerate) - paid;
  }
  return { transactions: transactions.length, vbytes, blocks: exitBlocks(transactions.length), fee: sat(fee, 'fee') };
};
