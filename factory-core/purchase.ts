/**
 * Liquidity that is sold later: a purchase spends a client's stock into one more channel and what is left of the stock
 * (architecture 4, 7). Like the leaf, it is signed by client and LSP alone.
 */
import { sat, type Sat, type Script } from '../blip/brands.js';
import type { FactoryPlan, FactorySpec, Prevout, Signable, TxOutput } from './model.js';
import { stockOutput } from './leaf.js';
import { ANCHOR_AMOUNT, DUST_LIMIT, feeFor, leafVsize } from './sizes.js';
import { anchorOutput, SEQUENCE, signable, signersOf, TreeError } from './tree.js';

/** Each adds a transaction to the way out of its channel and of all later ones, and six blocks to their early warning time. */
export { MAX_PURCHASES } from '../blip/limits.js';

/** What selling `amount` leaves of `stock`, in sat: nothing when the rest would be dust. Undefined when the stock is too small. */
export const stockAfter = (plan: Pick<FactoryPlan, 'terms'>, stock: Sat, amount: Sat): Sat | undefined => {
  const withRest = stock - amount - costOf(plan, true);
  if (withRest >= DUST_LIMIT) return sat(withRest);
  return stock - amount >= costOf(plan, false) ? sat(0n) : undefined;
};

/** The largest channel that this stock can be sold as, in sat; nothing when it is too small for any. */
export const largestPurchase = (plan: Pick<FactoryPlan, 'terms'>, stock: Sat): Sat => {
  const left = stock - costOf(plan, false);
  return sat(left > 0n ? left : 0n);
};

const costOf = ({ terms }: Pick<FactoryPlan, 'terms'>, withStock: boolean): bigint => feeFor(leafVsize(withStock), terms.treeFeerate) + ANCHOR_AMOUNT;

/**
 * The purchase of a channel of `amount`: channel output, stock output if any is left, anchor. Fee and anchor come out of
 * the stock.
 * @param stock the last stock output of this member: the leaf's, or that of the purchase before
 * @throws TreeError `stock` when it is not this member's, `amount` when it does not hold so much
 */
export const buildPurchase = (spec: FactorySpec, member: number, stock: Prevout, amount: Sat, channelScript: Script): Signable => {
  const spent = stockOutput(spec, member, stock.amount);
  if (stock.script !== spent.script) throw new TreeError('stock', `its script is not that of member ${member} and the LSP`);
  const rest = stockAfter(spec, stock.amount, amount);
  if (rest === undefined) throw new TreeError('amount', `a stock of ${stock.amount} sat can be sold as ${largestPurchase(spec, stock.amount)} sat at most`);
  const outputs: TxOutput[] = [{ amount, script: channelScript, role: { kind: 'channel', member } }];
  if (rest > 0n) outputs.push({ amount: rest, script: spent.script, role: { kind: 'stock', member } });
  const tx = { version: 3, lockTime: 0, sequence: SEQUENCE, prevout: stock, outputs: [...outputs, anchorOutput] } as const;
  const purchase = signable('purchase', tx, signersOf(spec, { from: member, to: member + 1 }));
  const fee = feeFor(purchase.vsize, spec.terms.treeFeerate);
  // A channel script longer than P2WSH would underpay.
  if (purchase.fee < fee) throw new TreeError('channelScript', `the purchase needs a fee of ${fee} sat and has ${purchase.fee}`);
  return { ...purchase, merkleRoot: spent.merkleRoot };
};
