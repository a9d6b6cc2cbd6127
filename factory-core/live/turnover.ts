/**
 * Partial turnover (architecture 8): when a factory runs out and some of its members never came, the coordinator takes back every
 * subtree of which it holds all keys, and publishes no more of the tree than it takes to reach them. What belongs to the others
 * stays where it is: their outputs need their own signatures, and their ways out stand.
 *
 * The plan is a function of keys and chain, like all that is done about a live factory.
 */
import type { Script } from '../../blip/brands.js';
import type { SignedTx, Split } from '../model.js';
import type { Range } from '../shape.js';
import { childrenOf, splitOf, wholeOf, type Subtree } from '../tree-of.js';
import { buildTurnover, turnoverYield } from '../transactions.js';
import { outpointKey } from './paths.js';
import type { Live, Turnover } from './state.js';

/** Every key below its output is here, and not every one beside it. */
export interface HeldSubtree extends Subtree {
  /** Whether its output is in a block. */
  readonly onChain: boolean;
}
/** A split on the way to one, unpublished. */
export interface NeededSplit {
  readonly split: Split;
  /** Whether the output that it spends is in a block. */
  readonly onChain: boolean;
}
export interface TurnoverPlan {
  /** Parents first. */
  readonly splits: readonly NeededSplit[];
  /** The largest ones, unspent. */
  readonly subtrees: readonly HeldSubtree[];
}

/** The clients whose keys are not here. */
export const absentees = (live: Live): ReadonlySet<number> => new Set(live.branches.filter((b) => b.heldKey === undefined).map((b) => b.member));

export const isWhole = ({ spec }: Live, { from, to }: Range): boolean => to - from === spec.roster.length;
/** How many of them are below. */
export const countIn = ({ from, to }: Range, members: ReadonlySet<number>): number => {
  let n = 0;
  for (let member = from; member < to; member += 1) if (members.has(member)) n += 1;
  return n;
};

/** @param absent the clients whose keys are not here, or (for a forecast) will not be */
export const planTurnover = (live: Live, absent: ReadonlySet<number> = absentees(live)): TurnoverPlan => {
  const splits: NeededSplit[] = [];
  const subtrees: HeldSubtree[] = [];
  const visit = (at: Subtree, onChain: boolean): void => {
    const away = countIn(at, absent);
    const split = splitOf(live.spec, at);
    const spend = live.chain.spends[outpointKey(at.output.outpoint)];
    // Spent by anything but its split: taken back already, or by a leaf, which has its own ways.
    if (spend && spend.by !== split?.txid) return;
    if (!spend && away === 0) {
      subtrees.push({ ...at, onChain });
      return;
    }
    // Nobody below has moved: its owners publish it, or nobody. But the root alone ends the distribution (architecture 3.5).
    if (!split || (away === at.to - at.from && !isWhole(live, at))) return;
    if (!spend) splits.push({ split, onChain });
    for (const child of childrenOf(split)) visit(child, spend !== undefined);
  };
  visit(wholeOf(live.spec), live.chain.fundingHeight !== undefined);
  return { splits, subtrees };
};

const made = new WeakMap<Turnover, SignedTx>();

/** The transaction of a signed turnover. @throws RangeError when the tree has no output for exactly these clients */
export const turnoverTx = (live: Live, turnover: Turnover): SignedTx => {
  const known = made.get(turnover);
  if (known) return known;
  const { destination, feerate, signature } = turnover;
  const signed = { signable: buildTurnover(live.spec, turnover, subtreeOf(live, turnover).output, destination, feerate), signature };
  made.set(turnover, signed);
  return signed;
};

const subtreeOf = (live: Live, range: Range): Subtree => {
  let at = wholeOf(live.spec);
  while (at.from !== range.from || at.to !== range.to) {
    const split = splitOf(live.spec, at);
    const next = split && childrenOf(split).find((c) => c.from <= range.from && range.to <= c.to);
    if (!next) throw new RangeError(`turnover: no output holds clients ${range.from} to ${range.to - 1}`);
    at = next;
  }
  return at;
};

export const turnoverOf = (live: Live, { from, to }: Range): Turnover | undefined => live.turnovers?.find((t) => t.from === from && t.to === to);

/** What can be taken back now and is not signed for; not the whole, which is the close's affair. @param feerate sat per 1,000 vB */
export const unsignedTurnovers = (live: Live, destination: Script, feerate: number): readonly HeldSubtree[] =>
  planTurnover(live).subtrees.filter(
    (s) => s.onChain && !isWhole(live, s) && !turnoverOf(live, s) && turnoverYield(s.output.amount, destination, feerate) !== undefined,
  );

/** Splits that can be published now, besides the root, which has its own time, and the spends that are signed. */
export const publishableOf = (live: Live): { readonly splits: readonly Split[]; readonly spends: readonly SignedTx[] } => {
  const { splits, subtrees } = planTurnover(live);
  return {
    splits: splits.flatMap(({ split, onChain }) => (onChain && !isWhole(live, split) ? [split] : [])),
    spends: subtrees.flatMap((s) => {
      const turnover = s.onChain ? turnoverOf(live, s) : undefined;
      return turnover ? [turnoverTx(live, turnover)] : [];
    }),
  };
};
