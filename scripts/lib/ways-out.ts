/** What the transactions of an exit are, for a table: tree, commitments, and what sweeps their outputs. */
import type { MinedTx } from './ledger.js';

/** A branch that is being published. */
export interface Leaving {
  readonly client: string;
  /** From the funding output to the channel; the last is the leaf. */
  readonly txids: readonly string[];
}

/** Outputs of a leaf (architecture 4): the channel, then the stock if there is any, then the anchor. */
const CHANNEL = 0;
const STOCK = 1;

/** BOLT 3: the upper 8 bits of a commitment's lock time are 0x20. */
const isCommitment = ({ lockTime }: MinedTx): boolean => lockTime >>> 24 === 0x20;

/** Sums up fee and size of transactions of one kind. */
export const totalOf = (mined: readonly MinedTx[]): { readonly count: number; readonly vsize: number; readonly fee: bigint } => ({
  count: mined.length,
  vsize: mined.reduce((sum, tx) => sum + tx.vsize, 0),
  fee: mined.reduce((sum, tx) => sum + tx.fee, 0n),
});

export const purposes = (mined: readonly MinedTx[], branches: readonly Leaving[]): ReadonlyMap<string, string> => {
  const named = new Map<string, string>();
  for (const { client, txids } of branches) {
    const leaf = txids.at(-1) ?? '';
    for (const split of txids.slice(0, -1)) named.set(split, 'split');
    named.set(leaf, `${client}’s leaf`);
    const spending = (outpoint: string): MinedTx | undefined => mined.find((tx) => tx.spends.includes(outpoint));
    const closing = spending(`${leaf}:${CHANNEL}`);
    if (closing) {
      named.set(closing.txid, `${client}’s channel: ${isCommitment(closing) ? 'commitment' : 'closed by both'}`);
      for (const outpoint of closing.outputs.keys()) {
        const sweep = spending(outpoint);
        if (sweep) named.set(sweep.txid, 'sweep of the commitment');
      }
    }
    const stock = spending(`${leaf}:${STOCK}`);
    if (stock) named.set(stock.txid, `${client}’s stock back to the LSP`);
  }
  return named;
};
