/** Which transactions of a block the consumer wants to hear of. */
import type { Txid } from '../../blip/brands.js';
import { serializedOutpoint } from './block.js';
import type { Block, BlockTransaction } from './block.js';
import type { ChainTransaction, WatchSet } from './events.js';

/** A watch set in the form in which blocks are searched. */
interface Lookup {
  readonly outpoints: ReadonlySet<string>;
  readonly txids: ReadonlySet<string>;
  readonly scripts: ReadonlySet<string>;
  readonly scriptLengths: ReadonlySet<number>;
}

/** A factory of hundreds has a thousand outpoints; they are prepared once, not for every block. */
const prepared = new WeakMap<WatchSet, Lookup>();

const prepare = (watch: WatchSet): Lookup => {
  const known = prepared.get(watch);
  if (known !== undefined) return known;
  const lookup = {
    outpoints: new Set(watch.outpoints.map(serializedOutpoint)),
    txids: new Set<string>(watch.txids),
    scripts: new Set<string>(watch.scripts),
    scriptLengths: new Set(watch.scripts.map((script) => script.length / 2)),
  };
  prepared.set(watch, lookup);
  return lookup;
};

const spends = (tx: BlockTransaction, { outpoints }: Lookup, parents: ReadonlySet<string>): boolean => {
  if (outpoints.size === 0 && parents.size === 0) return false;
  for (let i = 0; i < tx.inputCount; i++) {
    const key = tx.inputKey(i);
    if (outpoints.has(key) || (parents.size > 0 && parents.has(key.slice(0, 64)))) return true;
  }
  return false;
};

const pays = (tx: BlockTransaction, { scripts, scriptLengths }: Lookup): boolean => {
  if (scripts.size === 0) return false;
  for (let i = 0; i < tx.outputCount; i++) {
    const script = tx.scriptIfLength(i, scriptLengths);
    if (script !== undefined && scripts.has(script)) return true;
  }
  return false;
};

/** A txid as inputs carry it. */
const internal = (txid: Txid): string => Buffer.from(txid, 'hex').reverse().toString('hex');

const decoded = (tx: BlockTransaction): ChainTransaction => ({
  txid: tx.txid,
  index: tx.index,
  raw: tx.raw,
  inputs: tx.inputs(),
  outputs: tx.outputs(),
});

/** How many transactions are looked at between two breaths: some 5 ms. */
const SLICE = 1_000;

/**
 * In the block's order, which puts parents before children.
 * @param breathe lets other work be done; called now and then in a large block
 */
export const watchedTransactions = async (block: Block, watch: WatchSet, breathe: () => Promise<void>): Promise<readonly ChainTransaction[]> => {
  const lookup = prepare(watch);
  /** The watched ones of this block, as their children name them. */
  const parents = new Set<string>();
  const found: ChainTransaction[] = [];
  for (const tx of block.transactions()) {
    if (spends(tx, lookup, parents) || pays(tx, lookup) || (lookup.txids.size > 0 && lookup.txids.has(tx.txid))) {
      parents.add(internal(tx.txid));
      found.push(decoded(tx));
    }
    if (tx.index % SLICE === SLICE - 1) await breathe();
  }
  return found;
};
