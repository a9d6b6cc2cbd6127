/** Effects of a purchase: its fee, and the end of one that came to nothing. */
import type { DurableEffect } from '../../factory-core/protocol/effects.js';
import type { Log } from '../runtime/definition.js';
import { LightningError, type Channel, type Lightning } from '../lightning/lightning.js';
import type { Outcome } from './outbox.js';
import { drop } from './perform-channels.js';

type Of<K extends DurableEffect['kind']> = Extract<DurableEffect, { kind: K }>;

/**
 * One HTLC to the peer, once: what lightningd knows of this hash decides whether one is to be sent (again).
 * @param closing whether balances may have been told for a close: then none is sent (architecture 12.10)
 */
export const payFee = async (ln: Lightning, { attempt, peer, amount, paymentHash, blocks }: Of<'pay_fee'>, closing: () => boolean): Promise<Outcome> => {
  const sent: Outcome = { kind: 'done', event: { type: 'fee_sent', attempt } };
  const failed = (reason: string): Outcome => ({ kind: 'done', event: { type: 'fee_failed', attempt, reason } });
  const status = await ln.paymentStatus(paymentHash);
  if (status === 'pending' || status === 'complete') return sent;
  const channel = roomiest((await ln.channels({ peer })).filter((c) => c.connected && c.state === 'CHANNELD_NORMAL' && c.spendable >= amount));
  const name = channel?.localAlias ?? channel?.shortChannelId;
  if (closing()) return failed('the factory is being closed');
  if (name === undefined) return failed(`no channel with this peer can send ${amount.toString()} msat now`);
  try {
    await ln.sendHtlc({ peer, channel: name, amount, paymentHash, blocks });
    return sent;
  } catch (error) {
    if (!(error instanceof LightningError) || error.code === 'unavailable') throw error;
    return failed(error.message);
  }
};
const roomiest = (channels: readonly Channel[]): Channel | undefined => [...channels].sort((a, b) => (b.spendable > a.spendable ? 1 : -1))[0];

export const dropPurchase = async (ln: Lightning, { peer, fundingTxid }: Of<'drop_purchase'>, log: Log): Promise<Outcome> => {
  await ln.openCancel(peer);
  for (const channel of fundingTxid === undefined ? [] : await ln.channels({ fundingTxid })) await drop(ln, channel, log);
  return { kind: 'done' };
};
