/** What the two ends of a purchase share: its price, when there may be one, and the transaction it becomes (architecture 7). */
import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex, hexToBytes } from '@noble/hashes/utils.js';
import { msat, paymentHash, preimage as preimageOf, type Msat, type PaymentHash, type Preimage, type Sat, type Script } from '../../blip/brands.js';
import type { FactoryMessage } from '../../blip/messages.js';
import type { PurchaseMessage } from '../../blip/purchase-messages.js';
import type { Signable } from '../model.js';
import { present } from '../protocol/present.js';
import { buildPurchase, DUST_LIMIT, largestPurchase, MAX_PURCHASES, stockAfter } from '../transactions.js';
import { branchStatus, fundingStatus } from './custody.js';
import { earlyWarningOf, lastStock } from './paths.js';
import type { Branch, Live, Purchase } from './state.js';

export const isPurchaseMessage = (message: FactoryMessage): message is PurchaseMessage => message.type.startsWith('purchase_');

/** What the coordinator asks for a channel out of the stock. */
export interface Pricing {
  readonly base: Msat;
  /** Millionths of the amount. */
  readonly ppm: number;
}

/** Rounded up to the next millisatoshi. */
export const priceOf = ({ base, ppm }: Pricing, amount: Sat): Msat => msat(base + (amount * BigInt(ppm) + 999n) / 1000n, 'fee');

/** A wrong thing to ask for, as opposed to a wrong time. */
export type Refusal = { readonly kind: 'invalid' | 'busy'; readonly reason: string };

const busy = (reason: string): Refusal => ({ kind: 'busy', reason });

/** Why this branch can have no purchase any more. */
export const branchOver = (live: Live, branch: Branch): Refusal | undefined => {
  const funding = fundingStatus(live);
  const { terms, startHeight } = live.spec;
  if (funding.kind === 'spent' && funding.by !== 'tree') return busy('the factory has ended');
  if (live.chain.tip >= startHeight + terms.activeBlocks + terms.dyingBlocks) return busy('the factory is about to end');
  const { kind } = branchStatus(live, branch);
  if (live.exits[branch.member] || (kind !== 'virtual' && kind !== 'publishing')) return busy('the client has left the factory, or is leaving it');
  return undefined;
};

/** Why it can have none now, whatever its size; `closing`: a close is being agreed, or the client is moving to another factory. */
export const branchProblem = (live: Live, branch: Branch, closing: boolean): Refusal | undefined => {
  const funding = fundingStatus(live);
  if (funding.kind === 'unconfirmed' || (funding.kind === 'confirmed' && funding.depth < live.spec.terms.minDepth)) return busy('the factory is not active yet');
  if (closing || live.close) return busy('the factory is being closed, or the client is moving to another one');
  return branchOver(live, branch);
};

/** What is left to be sold, in sat. */
export const unsoldStock = (live: Live, branch: Branch): Sat => lastStock(live, branch)?.amount ?? (0n as Sat);

/** Why this amount cannot be had out of the stock. */
export const amountProblem = (live: Live, branch: Branch, amount: Sat): Refusal | undefined => {
  const invalid = (reason: string): Refusal => ({ kind: 'invalid', reason });
  if (branch.purchases.length >= MAX_PURCHASES) return invalid(`there are ${String(MAX_PURCHASES)} purchases of this stock already, the most there can be`);
  const most = largestPurchase(live.spec, unsoldStock(live, branch));
  if (most < DUST_LIMIT) return invalid('the stock is used up');
  if (amount > most) return invalid(`the stock has room for a channel of ${most.toString()} sat at most`);
  return amount < DUST_LIMIT ? invalid(`a channel of ${amount.toString()} sat would be dust`) : undefined;
};

export const purchaseProblem = (live: Live, branch: Branch, closing: boolean, amount: Sat): Refusal | undefined =>
  branchProblem(live, branch, closing) ?? amountProblem(live, branch, amount);

/** The stock after this purchase; as it is now, if it cannot hold it. */
export const stockLeft = (live: Live, branch: Branch, amount: Sat): Sat => {
  const stock = unsoldStock(live, branch);
  return stockAfter(live.spec, stock, amount) ?? stock;
};

/** The next purchase of a branch. */
export const nextPurchase = (live: Live, branch: Branch, amount: Sat, channelScript: Script): Signable =>
  buildPurchase(live.spec, branch.member, present(lastStock(live, branch)), amount, channelScript);

/** `factory_early_warning_time` of the channel that the next purchase makes. */
export const nextEarlyWarning = (live: Live, branch: Branch): number => earlyWarningOf(live.spec, branch.purchases.length + 1);

/** With one purchase more. */
export const withPurchase = (live: Live, member: number, purchase: Purchase): Live => ({
  ...live,
  branches: live.branches.map((b) => (b.member === member ? { ...b, purchases: [...b.purchases, purchase] } : b)),
});

export const newPreimage = (random: (bytes: number) => Uint8Array): Preimage => preimageOf(bytesToHex(random(32)));
export const hashOf = (preimage: Preimage): PaymentHash => paymentHash(bytesToHex(sha256(hexToBytes(preimage))));

/**
 * Blocks beyond the early warning time that a fee's HTLC may be held: enough for a coordinator to be away for days, and
 * for the member, which waits for it, far from having to leave.
 */
export const FEE_LOCK = 432;

/** Whether the coordinator may still hold a fee's HTLC: not so long that the channel would have to go to the chain for it. */
export const mayHold = (cltvExpiry: number, height: number, earlyWarning: number): boolean => cltvExpiry > height + earlyWarning;

/** Numbers of purchases: a member's are odd, those that begin with an offer of the coordinator's even, so they never meet. */
export const isOffers = (number: number): boolean => number % 2 === 0;
/** What the header can hold. */
export const MAX_NUMBER = 0xffff;
