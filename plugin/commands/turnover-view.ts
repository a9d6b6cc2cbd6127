/** What becomes of a factory whose members have not all come along: its cost, before and after (architecture 8). */
import type { Sat, Txid } from '../../blip/brands.js';
import { fundingStatus } from '../../factory-core/live/custody.js';
import { costOf, turnoverAhead, turnoverDone, type TurnoverCost, type TurnoverItem } from '../../factory-core/live/turnover-cost.js';
import type { FactoryState } from '../engine/factory.js';
import type { JsonObject } from '../runtime/json.js';

type LiveState = Extract<FactoryState, { phase: 'live' }>;

/**
 * Once the first key is here, and as long as the factory has not ended in another way.
 * @param feerate of what is still to be done, in sat per 1,000 vB
 * @param childFee what a child has paid for a transaction of ours
 */
export const turnoverView = (state: LiveState, feerate: number, childFee: (txid: Txid) => Sat): JsonObject => {
  const { live } = state;
  const funding = fundingStatus(live);
  const begun = live.branches.some((b) => b.heldKey !== undefined);
  if (state.role === 'member' || !begun || funding.kind === 'unconfirmed' || (funding.kind === 'spent' && funding.by !== 'tree')) return {};
  const done = turnoverDone(live, childFee);
  const ahead = turnoverAhead(live, state.request.payoutScript, feerate);
  return {
    turnover: {
      feerate_perkb: feerate,
      absent: live.branches.filter((b) => b.heldKey === undefined).map((b) => b.peer),
      planned: costView(costOf(ahead)),
      done: costView(costOf(done)),
      transactions: [...done, ...ahead].map(itemView),
    },
  };
};

export const costView = ({ transactions, vbytes, fee, returned }: TurnoverCost): JsonObject => ({ transactions, vbytes, fee_msat: fee * 1000n, returned_msat: returned * 1000n });

const itemView = ({ kind, from, to, txid, vbytes, fee, returned, height }: TurnoverItem): JsonObject => ({
  what: kind,
  clients: to - from,
  first_client: from,
  vbytes,
  fee_msat: fee * 1000n,
  ...(kind === 'split' ? {} : { returned_msat: returned * 1000n }),
  ...(txid === undefined ? {} : { txid }),
  ...(height === undefined ? {} : { height }),
});
