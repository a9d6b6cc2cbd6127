/** One client's purchase as the coordinator holds it: where it stands, what is to be said, and how it is given up. */
import type { NodeId } from '../../blip/brands.js';
import { encodeChannelInFactory } from '../../blip/channel-in-factory.js';
import type { FactoryMessage } from '../../blip/messages.js';
import { FACTORY_PROTOCOL_ID } from '../../blip/protocol-id.js';
import { nextEarlyWarning, nextPurchase } from '../live/purchasing.js';
import type { Branch } from '../live/state.js';
import type { Signable } from '../model.js';
import type { Effect, Step } from '../protocol/effects.js';
import { step } from '../protocol/effects.js';
import { present } from '../protocol/present.js';
import { sendTo } from './ceremony.js';
import type { CoordinatorLive, Env, Sale, SaleProgress, Selling } from './state.js';

export const NOTHING_SOLD: Selling = { lastRequest: 0, lastOffer: 0, paid: [] };
export const sellingOf = (state: CoordinatorLive, member: number): Selling => state.selling?.[member] ?? NOTHING_SOLD;
export const withSelling = (state: CoordinatorLive, member: number, selling: Selling): CoordinatorLive => ({ ...state, selling: { ...state.selling, [member]: selling } });

export const branchAt = (state: CoordinatorLive, member: number): Branch => present(state.live.branches[member]);
export const peerOf = (state: CoordinatorLive, member: number): NodeId => present(state.members[member]).nodeId;
export const tell = (state: CoordinatorLive, member: number, attempt: number, message: FactoryMessage): Effect => sendTo(peerOf(state, member), attempt, message);

/** A nonce belongs to one purchase of one member. */
export const saleKey = (state: CoordinatorLive, member: number, { attempt }: Pick<Sale, 'attempt'>): string =>
  `${state.request.instanceId}/purchase/${String(member)}/${String(attempt)}`;

export const withSale = (state: CoordinatorLive, member: number, sale: Sale): CoordinatorLive => withSelling(state, member, { ...sellingOf(state, member), sale });
export const at = (state: CoordinatorLive, member: number, sale: Sale, progress: SaleProgress): CoordinatorLive => withSale(state, member, { ...sale, progress });

/** What the client is to be told in the present step; nothing while CLN works. */
const outstanding = (state: CoordinatorLive, member: number): FactoryMessage | undefined => {
  const { sale } = sellingOf(state, member);
  switch (sale?.progress.step) {
    case 'intent': {
      const branch = branchAt(state, member);
      const { instanceId } = state.live.spec;
      const channelInFactory = encodeChannelInFactory({ protocolId: FACTORY_PROTOCOL_ID, instanceId, earlyWarningTime: nextEarlyWarning(state.live, branch) });
      return { type: 'purchase_intent', channelInFactory, amount: sale.amount, index: branch.purchases.length };
    }
    case 'signing': {
      const { channelScript, channelId, nonce } = sale.progress;
      return { type: 'purchase_opened', channelScript, channelId, nonce };
    }
    case 'storing':
    case 'settling':
      return { type: 'purchase_signature', signature: sale.progress.signature };
    default:
      return undefined;
  }
};
/** Asks the client (again) for what it owes. */
export const ask = (state: CoordinatorLive, member: number): Effect[] => {
  const { sale, offer } = sellingOf(state, member);
  const message = outstanding(state, member);
  if (sale && message) return [tell(state, member, sale.attempt, message)];
  return offer ? [tell(state, member, offer.attempt, { type: 'purchase_offer', amount: offer.amount, fee: offer.fee })] : [];
};

export const timerName = (member: number, attempt: number, what: SaleProgress['step'] | 'offer'): string => `purchase/${String(member)}/${String(attempt)}/${what}`;
export const timer = (state: CoordinatorLive, member: number, attempt: number, what: SaleProgress['step'] | 'offer'): Effect => ({
  kind: 'timer',
  name: timerName(member, attempt, what),
  seconds: state.request.stepTimeout,
});
/** Enters a step that must come to an end. */
export const entered = (state: CoordinatorLive, member: number, attempt: number, what: SaleProgress['step'] | 'offer'): Effect[] => [
  ...ask(state, member),
  timer(state, member, attempt, what),
];

export const refuse = (state: CoordinatorLive, member: number, attempt: number, code: number, reason: string): Effect =>
  tell(state, member, attempt, { type: 'purchase_abort', code, reason });

/** Nothing of it stays. Never once the purchase is signed. */
export const giveUp = (state: CoordinatorLive, member: number, code: number, reason: string, env: Env, notify = true): Step<CoordinatorLive> => {
  const { sale, offer, ...rest } = sellingOf(state, member);
  const deal = sale ?? offer;
  if (!deal || (sale && isSigned(sale))) return step(state);
  const next = withSelling(state, member, { ...rest, outcome: { attempt: deal.attempt, ok: false, code, reason } });
  if (sale) env.signer.drop(saleKey(state, member, sale));
  const cleanup: Effect[] = sale && sale.progress.step !== 'intent' ? [{ kind: 'drop_purchase', member, peer: peerOf(state, member), ...fundingOf(state, member, sale) }] : [];
  return step(next, [
    ...cleanup,
    ...(notify ? [refuse(state, member, deal.attempt, code, reason)] : []),
    { kind: 'log', level: 'info', text: `purchase ${String(deal.attempt)} of client ${String(member)} given up: ${reason}` },
  ]);
};
export const isSigned = ({ progress }: Sale): boolean => progress.step === 'storing' || progress.step === 'settling';
const fundingOf = (state: CoordinatorLive, member: number, { progress, amount }: Sale) =>
  'channelScript' in progress ? { fundingTxid: nextPurchase(state.live, branchAt(state, member), amount, progress.channelScript).txid } : {};

/** The transaction that this sale is about. */
export const saleTx = (state: CoordinatorLive, member: number, { amount }: Sale, channelScript: Extract<SaleProgress, { step: 'signing' }>['channelScript']): Signable =>
  nextPurchase(state.live, branchAt(state, member), amount, channelScript);
