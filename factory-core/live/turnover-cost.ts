/** What a partial turnover takes: forecast for a factory that lives, and account of one that is under way or done. */
import { sat, type Sat, type Script, type Txid } from '../../blip/brands.js';
import type { Signable } from '../model.js';
import type { Range } from '../shape.js';
import { CPFP_CHILD_VSIZE } from '../sizes.js';
import { childrenOf, splitOf, wholeOf, type Subtree } from '../tree-of.js';
import { buildClose, DUST_LIMIT, feeFor, turnoverVsize, turnoverYield } from '../transactions.js';
import { outpointKey } from './paths.js';
import type { Live } from './state.js';
import { absentees, countIn, isWhole, planTurnover, turnoverOf, turnoverTx } from './turnover.js';

export interface TurnoverItem extends Range {
  /** `close`: nobody is absent, and one transaction ends the factory. */
  readonly kind: 'split' | 'spend' | 'close';
  /** Absent for what is signed only when it can be published. */
  readonly txid?: Txid;
  /** With the child that raises the fee, where the feerate asks for one. */
  readonly vbytes: number;
  /** What miners get, in sat: of what is signed already, its own fee was set aside before. */
  readonly fee: Sat;
  /** What comes back to the coordinator's wallet, in sat. */
  readonly returned: Sat;
  /** Of its block, once it is in one. */
  readonly height?: number;
}

export interface TurnoverCost {
  readonly transactions: number;
  /** Children that raise fees included. */
  readonly vbytes: number;
  /** What miners get, in sat. */
  readonly fee: Sat;
  /** What comes back to the coordinator's wallet, in sat. */
  readonly returned: Sat;
}

export const costOf = (items: readonly TurnoverItem[]): TurnoverCost => ({
  transactions: items.length,
  vbytes: items.reduce((sum, item) => sum + item.vbytes, 0),
  fee: sat(items.reduce((sum, item) => sum + item.fee, 0n)),
  returned: sat(items.reduce((sum, item) => sum + item.returned, 0n)),
});

/**
 * What it would take to end this factory if these clients never came, and everybody else's key were here by then: the root, the
 * splits that are needed, and one spend per held subtree; with nobody absent, the close.
 * @param destination where the coordinator is paid: `request.payoutScript` of its state
 * @param feerate sat per 1,000 vB
 */
export const turnoverCost = (live: Live, absent: Iterable<number>, destination: Script, feerate: number): TurnoverCost =>
  costOf(turnoverAhead(live, destination, feerate, new Set(absent)));

/**
 * What is still to be done, in order of publication.
 * @param absent as in `planTurnover`
 */
export const turnoverAhead = (live: Live, destination: Script, feerate: number, absent: ReadonlySet<number> = absentees(live)): readonly TurnoverItem[] => {
  const { splits, subtrees } = planTurnover(live, absent);
  return [...splits.map(({ split }) => ofSigned('split', split, split, feerate)), ...subtrees.flatMap((s) => ofSubtree(live, s, destination, feerate))];
};

const ofSigned = (kind: TurnoverItem['kind'], { from, to }: Range, s: Signable, feerate: number): TurnoverItem => {
  const enough = feeFor(s.vsize, feerate) <= s.fee;
  const vbytes = enough ? s.vsize : s.vsize + CPFP_CHILD_VSIZE;
  return { kind, from, to, txid: s.txid, vbytes, fee: enough ? s.fee : feeFor(vbytes, feerate), returned: returnedBy(s) };
};

/** Nothing where it is not worth a transaction. */
const ofSubtree = (live: Live, subtree: Subtree, destination: Script, feerate: number): readonly TurnoverItem[] => {
  const { from, to, output } = subtree;
  const signed = turnoverOf(live, subtree);
  if (signed) return [ofSigned('spend', subtree, turnoverTx(live, signed).signable, feerate)];
  if (isWhole(live, subtree)) {
    const { vsize: vbytes } = buildClose(live.spec, [{ amount: DUST_LIMIT, script: destination }]);
    const fee = feeFor(vbytes, feerate);
    return output.amount < fee + DUST_LIMIT ? [] : [{ kind: 'close', from, to, vbytes, fee, returned: sat(output.amount - fee) }];
  }
  const vbytes = turnoverVsize(destination);
  const returned = turnoverYield(output.amount, destination, feerate);
  return returned === undefined ? [] : [{ kind: 'spend', from, to, vbytes, fee: feeFor(vbytes, feerate), returned }];
};

const returnedBy = ({ purpose, tx }: Signable): Sat =>
  sat(purpose === 'turnover' ? tx.outputs.reduce((sum, o) => (o.role.kind === 'close' ? sum + o.amount : sum), 0n) : 0n);

/**
 * What is in blocks: the root, the splits on the way to what is the coordinator's, and its spends.
 * @param childFee what a child of ours has paid for a transaction, in sat
 */
export const turnoverDone = (live: Live, childFee: (txid: Txid) => Sat): readonly TurnoverItem[] => {
  const absent = absentees(live);
  const done: TurnoverItem[] = [];
  const note = (kind: TurnoverItem['kind'], { from, to }: Range, s: Signable, height: number): void => {
    const extra = childFee(s.txid);
    done.push({ kind, from, to, txid: s.txid, vbytes: s.vsize + (extra > 0n ? CPFP_CHILD_VSIZE : 0), fee: sat(s.fee + extra), returned: returnedBy(s), height });
  };
  const visit = (at: Subtree): void => {
    const spend = live.chain.spends[outpointKey(at.output.outpoint)];
    if (!spend) return;
    const turnover = turnoverOf(live, at);
    const taken = turnover && turnoverTx(live, turnover).signable;
    if (taken?.txid === spend.by) note('spend', at, taken, spend.height);
    const split = splitOf(live.spec, at);
    // A way out that only its owners wanted is none of it.
    if (split?.txid !== spend.by || (countIn(at, absent) === at.to - at.from && !isWhole(live, at))) return;
    note('split', at, split, spend.height);
    childrenOf(split).forEach(visit);
  };
  visit(wholeOf(live.spec));
  return done;
};
