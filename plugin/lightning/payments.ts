/** Single HTLCs: what a purchase's fee travels as. */
import { reply, UnexpectedReply, type Reply } from '../runtime/json-read.js';
import type { Rpc } from '../runtime/rpc-client.js';
import type { PaymentApi, PaymentTry } from './lightning.js';

/**
 * Each try is called a part of something larger: of a payment that is pending whole, lightningd sends no second HTLC, not even
 * when there is no first (see `payFee`). So many parts can be pending at once.
 */
const MOST_PARTS = 1_000n;

const readTry = (payment: Reply): PaymentTry => {
  const status = payment.str('status');
  if (status !== 'pending' && status !== 'complete' && status !== 'failed') throw new UnexpectedReply('listsendpays', 'payments.status', 'pending, complete or failed', status);
  return { group: payment.optInt('groupid') ?? 0, part: payment.optInt('partid') ?? 0, status };
};

export const paymentApi = (rpc: Rpc): PaymentApi => ({
  paymentTries: async (paymentHash) => reply('listsendpays', await rpc.call('listsendpays', { payment_hash: paymentHash })).objs('payments').map(readTry),
  sendHtlc: async ({ peer, channel, amount, paymentHash, blocks, group, part }) => {
    const route = [{ id: peer, channel, amount_msat: amount, delay: blocks }];
    await rpc.call('sendpay', {
      route,
      payment_hash: paymentHash,
      amount_msat: amount * MOST_PARTS,
      // Parts must have one; the peer takes this HTLC by its hash.
      payment_secret: paymentHash,
      groupid: group,
      partid: part,
      label: 'channel factory: fee of a purchase',
    });
  },
});
