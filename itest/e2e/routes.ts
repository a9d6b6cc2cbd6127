/** Payments along a route of the test's choosing: the HTLCs' expiries are what it is about. */
import type { LightningNode } from '../harness/lightningd.js';

export interface Hop {
  readonly from: LightningNode;
  readonly to: LightningNode;
  /** lightningd offers the HTLC to `to` so many blocks after the next one. */
  readonly delay: number;
  /** The channel it goes over (the first one that works). */
  readonly channel?: string;
}

interface Sent {
  readonly paymentHash: string;
  /** Settles with the payment: `waitsendpay`. */
  readonly done: Promise<unknown>;
}

let count = 0;

/** What forwarding costs at most here, in millisatoshis per hop. */
const FEE = 50_000;

/** Sends so many millisatoshis along these hops, to an invoice of the last node. */
export const sendAlong = async (hops: readonly Hop[], amountMsat: number): Promise<Sent> => {
  const [first, last] = [hops[0], hops.at(-1)];
  if (!first || !last) throw new Error('a route has a hop');
  count += 1;
  const invoice = await last.to.call('invoice', { amount_msat: amountMsat, label: `route-${count}`, description: 'itest' });
  const { payment_secret: secret } = (await last.to.call('decode', { string: invoice.bolt11 })) as { readonly payment_secret: string };
  const route = await Promise.all(
    hops.map(async ({ from, to, delay, channel }, i) => ({
      id: to.id,
      channel: await channelName(from, to, channel),
      delay,
      amount_msat: amountMsat + (hops.length - 1 - i) * FEE,
    })),
  );
  await first.from.call('sendpay', { route, payment_hash: invoice.payment_hash, payment_secret: secret, amount_msat: amountMsat });
  const done = first.from.call('waitsendpay', { payment_hash: invoice.payment_hash });
  // Whoever waits for it sees how it ended; until then nobody minds.
  done.catch(() => undefined);
  return { paymentHash: invoice.payment_hash, done };
};

/** As the node names its working channel to `to`: the one with this id, if given. */
const channelName = async (from: LightningNode, to: LightningNode, id?: string): Promise<string> => {
  const channel = (await from.channels(to)).find((c) => c.state === 'CHANNELD_NORMAL' && (id === undefined || c.channel_id === id));
  const name = channel?.alias?.local ?? channel?.short_channel_id;
  if (name === undefined) throw new Error(`${from.name} has no such channel with ${to.name}`);
  return name;
};
