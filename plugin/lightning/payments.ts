/** Single HTLCs: what a purchase's fee travels as. */
import { reply } from '../runtime/json-read.js';
import type { Rpc } from '../runtime/rpc-client.js';
import type { PaymentApi } from './lightning.js';

export const paymentApi = (rpc: Rpc): PaymentApi => ({
  paymentStatus: async (paymentHash) => {
    const all = reply('listsendpays', await rpc.call('listsendpays', { payment_hash: paymentHash })).objs('payments').map((p) => p.str('status'));
    // Each try is one entry; at most one of them is not failed.
    if (all.includes('complete')) return 'complete';
    if (all.includes('pending')) return 'pending';
    return all.length > 0 ? 'failed' : 'none';
  },
  sendHtlc: async ({ peer, channel, amount, paymentHash, blocks }) => {
    const route = [{ id: peer, channel, amount_msat: amount, delay: blocks }];
    await rpc.call('sendpay', { route, payment_hash: paymentHash, amount_msat: amount, label: 'channel factory: fee of a purchase' });
  },
});
