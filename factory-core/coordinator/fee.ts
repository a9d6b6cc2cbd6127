/** What becomes of an HTLC that pays for a purchase: the coordinator's hook asks, as often as something has changed. */
import type { Msat, NodeId, PaymentHash, Preimage } from '../../blip/brands.js';
import { branchProblem, mayHold } from '../live/purchasing.js';
import { isSigned } from './selling.js';
import type { CoordinatorLive } from './state.js';

export interface FeeHtlc {
  readonly paymentHash: PaymentHash;
  readonly amount: Msat;
  readonly cltvExpiry: number;
  readonly from: NodeId | undefined;
  /** Of the channel it came over, in blocks. */
  readonly earlyWarning: number;
}

export type FeeVerdict =
  | { readonly kind: 'settle'; readonly preimage: Preimage }
  | { readonly kind: 'hold' }
  | { readonly kind: 'fail'; readonly why: string };

/** Undefined: not the fee of a purchase in this factory. */
export const feeVerdict = (state: CoordinatorLive, htlc: FeeHtlc, height: number): FeeVerdict | undefined => {
  for (const [index, { paid, sale }] of Object.entries(state.selling ?? {})) {
    const known = paid.find((p) => p.paymentHash === htlc.paymentHash);
    if (known) return { kind: 'settle', preimage: known.preimage };
    if (sale?.paymentHash !== htlc.paymentHash) continue;
    const member = Number(index);
    const fail = (why: string): FeeVerdict => ({ kind: 'fail', why });
    if (htlc.from !== state.members[member]?.nodeId) return fail('it comes from somebody else');
    if (htlc.amount !== sale.fee) return fail(`its amount is ${htlc.amount.toString()}, not ${sale.fee.toString()} msat`);
    if (!mayHold(htlc.cltvExpiry, height, htlc.earlyWarning)) return fail(`it expires at ${String(htlc.cltvExpiry)}`);
    // Once it is signed the client has, or can have, its channel: only the preimage is missing.
    const branch = isSigned(sale) ? undefined : state.live.branches[member];
    const problem = branch && branchProblem(state.live, branch, state.closing !== undefined);
    return problem ? fail(problem.reason) : { kind: 'hold' };
  }
  return undefined;
};
