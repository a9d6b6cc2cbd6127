/**
 * What each client of a factory should get in the next one, from what it has made of this one (architecture 8): more for those
 * who ran out of inbound or bought stock, less where capacity or stock lies idle. Pure; the operator can override any number.
 */
import { sat, type Msat, type NodeId, type Sat } from '../blip/brands.js';
import { ANCHOR_AMOUNT, DUST_LIMIT, feeFor, LEAF_VSIZE, splitVsize } from './transactions.js';
import type { WaitingRoom } from './waiting.js';

/** What a client has now, all its channels of the factory together. */
export interface Use {
  readonly nodeId: NodeId;
  readonly capacity: Sat;
  /** The client's part of it. */
  readonly balance: Msat;
  /** What has come in over these channels in all. */
  readonly received: Msat;
  /** Stock that was set aside when the factory was made, and what is left of it. */
  readonly stock: Sat;
  readonly unsold: Sat;
}

export interface AllocationBounds {
  readonly minCapacity: Sat;
  readonly maxCapacity: Sat;
  readonly maxStock: Sat;
}

/** `why` is for people. */
export interface Allocation {
  readonly nodeId: NodeId;
  readonly capacity: Sat;
  readonly stock: Sat;
  readonly why: string;
}

/** In percent of the capacity: with less inbound than this a client has run out of it. */
const SCARCE = 20n;
/** In percent of the capacity: who has received less in all has not used what it has. */
const IDLE = 10n;
/** In percent. */
const MORE = 150n;
const LESS = 75n;

/** A new channel takes less than its capacity: reserve, and the fee of a commitment at a high feerate (BOLT 3), are kept back. */
const MARGIN = 20_000n;

/** The least that takes over a balance, some percent more for what it earns on the way. */
export const leastCapacity = (balance: Msat): Sat => sat((balance * 102n) / 100_000n + MARGIN);

const within = (value: bigint, min: bigint, max: bigint): Sat => sat(value < min ? min : value > max ? max : value);

/** Round figures are easier to read, and give away less. */
const rounded = (value: bigint): bigint => ((value + 999n) / 1_000n) * 1_000n;

const capacityFor = ({ capacity, balance, received }: Use): { readonly capacity: bigint; readonly why: string } => {
  const msat = capacity * 1000n;
  const inbound = msat - balance;
  if (inbound * 100n < msat * SCARCE) return { capacity: rounded((capacity * MORE) / 100n), why: 'it has run out of inbound' };
  if (received * 100n < msat * IDLE && balance * 100n < msat * IDLE) return { capacity: rounded((capacity * LESS) / 100n), why: 'its channel lies idle' };
  return { capacity, why: 'as it was' };
};

const stockFor = ({ stock, unsold }: Use): { readonly stock: bigint; readonly why: string } => {
  const sold = stock - unsold;
  if (stock === 0n) return { stock, why: '' };
  if (sold * 2n >= stock) return { stock: rounded((stock * MORE) / 100n), why: ', its stock was sold' };
  if (sold === 0n) return { stock: rounded(stock / 2n), why: ', its stock lies idle' };
  return { stock, why: '' };
};

/** A balance is never too much for the next factory, whatever the bounds say: it has to fit. */
export const allocate = (use: Use, bounds: AllocationBounds): Allocation => {
  const [byUse, kept] = [capacityFor(use), stockFor(use)];
  const least = leastCapacity(use.balance);
  const bounded = within(byUse.capacity, bounds.minCapacity, bounds.maxCapacity);
  const capacity = bounded < least ? sat(rounded(least)) : bounded;
  const stock = within(kept.stock, 0n, bounds.maxStock);
  const why = capacity !== bounded ? 'its balance has to fit' : bounded !== byUse.capacity ? `${byUse.why}, within bounds` : byUse.why;
  return { nodeId: use.nodeId, capacity, stock: stock < DUST_LIMIT ? sat(0n) : stock, why: `${why}${kept.why}` };
};

/** What a factory can hold, and what there is to pay for it. */
export interface Room {
  /** All the coins. */
  readonly wallet: Sat;
  readonly clients: number;
  /** sat per 1,000 vB. */
  readonly treeFeerate: number;
}

/** Satoshis that are left in the wallet for what else it takes: the funding transaction's fee, change, what lightningd keeps back. */
const KEPT = 100_000n;

/** A little more than one client costs: its amounts, its leaf, and a split of two of its own. */
const costOf = ({ capacity, stock }: Pick<Allocation, 'capacity' | 'stock'>, treeFeerate: number): bigint =>
  capacity + stock + feeFor(LEAF_VSIZE + splitVsize(2), treeFeerate) + 2n * ANCHOR_AMOUNT;

/**
 * Adds those who wait, in the order in which they came, as long as there is room and money: so that no wish of a stranger keeps
 * the members from moving. A member that waits wants other amounts than its use suggests; its balance has to fit all the same.
 */
export const withWaiting = (
  members: readonly Allocation[],
  uses: ReadonlyMap<NodeId, Use>,
  waiting: WaitingRoom,
  { wallet, clients, treeFeerate }: Room,
): { readonly allocations: readonly Allocation[]; readonly left: readonly NodeId[] } => {
  const allocations = new Map(members.map((a) => [a.nodeId, a]));
  let free = members.reduce((sum, a) => sum - costOf(a, treeFeerate), wallet - KEPT);
  const left: NodeId[] = [];
  for (const { nodeId, capacity, stock } of waiting) {
    const before = allocations.get(nodeId);
    const least = leastCapacity(uses.get(nodeId)?.balance ?? (0n as Msat));
    const wanted: Allocation = { nodeId, capacity: uses.has(nodeId) && capacity < least ? least : capacity, stock, why: 'as it has asked for (factory-join)' };
    const more = costOf(wanted, treeFeerate) - (before ? costOf(before, treeFeerate) : 0n);
    if ((more > 0n && more > free) || (!before && allocations.size >= clients)) {
      left.push(nodeId);
      continue;
    }
    allocations.set(nodeId, wanted);
    free -= more;
  }
  return { allocations: [...allocations.values()], left };
};
