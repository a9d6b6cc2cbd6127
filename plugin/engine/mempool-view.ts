/**
 * What stands in the mempool where a transaction of ours is or should be. With bitcoind at hand it is seen; without, a node knows no
 * more than what became of its own.
 */
import type { Txid } from '../../blip/brands.js';
import { anchorOf } from '../../factory-core/cpfp.js';
import type { Obstacle } from '../../factory-core/bump.js';
import type { Signable } from '../../factory-core/model.js';
import type { Mempool, MempoolEntry } from '../bitcoind/mempool.js';
import type { Lightning } from '../lightning/lightning.js';
import type { BumpRecord } from './bump-ledger.js';

export interface MempoolView {
  /** sat per 1,000 vB; absent where only lightningd’s estimate is known. */
  readonly floor?: number;
  readonly incremental?: number;
  /** The child that is there, whoever made it. */
  readonly present?: Obstacle & { readonly txid: Txid };
  /** What spends the parent's own input in its place. */
  readonly rival?: Obstacle & { readonly txid: Txid };
  /** It is in a block by now. */
  readonly confirmed?: true;
}

const obstacle = (txid: Txid, { fee, vsize, descendantFees }: MempoolEntry): Obstacle & { readonly txid: Txid } => ({ txid, fee, vsize, evicted: descendantFees });

const seen = async (mempool: Mempool, id: Txid | undefined): Promise<(Obstacle & { readonly txid: Txid }) | undefined> => {
  const entry = id === undefined ? undefined : await mempool.entry(id);
  return id !== undefined && entry ? obstacle(id, entry) : undefined;
};

/** @throws BitcoindError */
export const lookDirectly = async (mempool: Mempool, parent: Signable, inMempool: boolean): Promise<MempoolView> => {
  const minimum = await mempool.minimum();
  if (!inMempool) {
    const rival = await seen(mempool, await mempool.spender(parent.tx.prevout.outpoint));
    return { ...minimum, ...(rival ? { rival } : {}) };
  }
  const entry = await mempool.entry(parent.txid);
  if (!entry) return { ...minimum, confirmed: true };
  // Version 3 has one descendant at most, on whichever output: it must go (BIP 431). Otherwise only who spends the anchor.
  const child = parent.tx.version === 3 ? entry.spentBy[0] : await mempool.spender(anchorOf(parent).outpoint);
  const present = await seen(mempool, child);
  return { ...minimum, ...(present ? { present } : {}) };
};

/** Our last child is there if it can be sent once more. */
export const lookByOwn = async (lightning: Pick<Lightning, 'broadcast'>, records: readonly BumpRecord[]): Promise<MempoolView> => {
  const child = records.at(-1)?.child;
  if (!child) return {};
  const { kind } = await lightning.broadcast(child.raw);
  if (kind !== 'accepted' && kind !== 'known') return {};
  return { present: { txid: child.txid, fee: child.fee, vsize: child.vsize, evicted: child.fee } };
};
