/** Effects of a purchase: its fee, and the end of one that came to nothing. */
import type { PaymentHash } from '../../blip/brands.js';
import type { DurableEffect } from '../../factory-core/protocol/effects.js';
import type { Log } from '../runtime/definition.js';
import { LightningError, type Channel, type Lightning } from '../lightning/lightning.js';
import type { PaymentTry } from '../lightning/payments-api.js';
import type { Outcome } from './outbox.js';
import { drop } from './perform-channels.js';

type Of<K extends DurableEffect['kind']> = Extract<DurableEffect, { kind: K }>;

/**
 * One HTLC to the peer, once: what lightningd knows of this hash decides whether one is to be sent (again). lightningd (v26.06) writes
 * a payment down as pending before its HTLC, and an HTLC only once it is in a commitment: after a power failure in between the
 * payment is pending for ever and there is no HTLC.
 * @param sent hashes of what this process has sent: these HTLCs may be on their way to a commitment
 * @param closing whether balances may have been told for a close: then none is sent (architecture 12.10)
 */
export const payFee = async (ln: Lightning, sent: Set<PaymentHash>, { attempt, peer, amount, paymentHash, blocks }: Of<'pay_fee'>, closing: () => boolean): Promise<Outcome> => {
  const done: Outcome = { kind: 'done', event: { type: 'fee_sent', attempt } };
  const failed = (reason: string): Outcome => ({ kind: 'done', event: { type: 'fee_failed', attempt, reason } });
  // In this order: an HTLC that ends in between is one of a payment that is complete, and not one that never was.
  const channels = await ln.channels({ peer });
  const tries = await ln.paymentTries(paymentHash);
  if (tries.some(({ status }) => status === 'complete')) return done;
  const pending = tries.find(({ status }) => status === 'pending');
  const underWay = channels.some(({ htlcs }) => htlcs.some((htlc) => htlc.direction === 'out' && String(htlc.paymentHash) === String(paymentHash)));
  if (underWay || (pending && sent.has(paymentHash))) return done;
  const channel = roomiest(channels.filter((c) => c.connected && c.state === 'CHANNELD_NORMAL' && c.spendable >= amount));
  const name = channel?.localAlias ?? channel?.shortChannelId;
  if (closing()) return failed('the factory is being closed');
  if (name === undefined) return failed(`no channel with this peer can send ${amount.toString()} msat now`);
  try {
    sent.add(paymentHash);
    await ln.sendHtlc({ peer, channel: name, amount, paymentHash, blocks, ...nextTry(tries, pending) });
    return done;
  } catch (error) {
    if (!(error instanceof LightningError) || error.code === 'unavailable') throw error;
    return failed(error.message);
  }
};

/** lightningd wants a new group, unless something of the old one is pending; and then a new part. */
const nextTry = (tries: readonly PaymentTry[], pending: PaymentTry | undefined): Pick<PaymentTry, 'group' | 'part'> => {
  if (!pending) return { group: Math.max(0, ...tries.map(({ group }) => group)) + 1, part: 1 };
  const parts = tries.filter(({ group }) => group === pending.group).map(({ part }) => part);
  return { group: pending.group, part: Math.max(...parts) + 1 };
};

const roomiest = (channels: readonly Channel[]): Channel | undefined => [...channels].sort((a, b) => (b.spendable > a.spendable ? 1 : -1))[0];

export const dropPurchase = async (ln: Lightning, { peer, fundingTxid }: Of<'drop_purchase'>, log: Log): Promise<Outcome> => {
  await ln.openCancel(peer);
  for (const channel of fundingTxid === undefined ? [] : await ln.channels({ fundingTxid })) await drop(ln, channel, log);
  return { kind: 'done' };
};
