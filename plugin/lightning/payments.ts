/** Payments along a route of our choosing, our own invoices, what forwarding has earned, and channels that routes avoid. */
import { msat, paymentHash, paymentSecret, type Msat, type PaymentHash } from '../../blip/brands.js';
import { reply, type Reply } from '../runtime/json-read.js';
import type { Rpc } from '../runtime/rpc-client.js';
import { isRpcError, RPC } from './errors.js';
import type { InvoiceRequest, OwnInvoice, PaymentApi, Payment, PaymentResult, PaymentStatus, PaymentTry } from './payments-api.js';

/** `waitsendpay` has waited long enough; the payment goes on. */
const TIMED_OUT = 200;

const readOwn = async (rpc: Rpc, invoice: Reply): Promise<OwnInvoice> => {
  const decoded = reply('decode', await rpc.call('decode', { string: invoice.str('bolt11') }));
  return {
    paymentHash: paymentHash(invoice.hex('payment_hash'), 'payment_hash'),
    paymentSecret: paymentSecret(decoded.hex('payment_secret'), 'payment_secret'),
    finalCltv: decoded.int('min_final_cltv_expiry'),
    amount: msat(decoded.msat('amount_msat'), 'amount_msat'),
    status: invoice.optStr('status') === 'paid' ? 'paid' : 'unpaid',
  };
};

const findInvoice = async (rpc: Rpc, filter: { readonly label: string } | { readonly payment_hash: string }): Promise<Reply | undefined> =>
  reply('listinvoices', await rpc.call('listinvoices', filter)).objs('invoices')[0];

/** The invoice with this label, made now if there is none; one that was never paid gives way to another. Once deleted it cannot be paid. */
const invoice = async (rpc: Rpc, { label, amount, description, expirySeconds, unlike }: InvoiceRequest): Promise<OwnInvoice> => {
  const known = await findInvoice(rpc, { label });
  if (known) {
    const own = await readOwn(rpc, known);
    if (own.status === 'paid' || (own.amount === amount && known.str('status') === 'unpaid' && own.paymentHash !== unlike)) return own;
    await rpc.call('delinvoice', { label, status: known.str('status') });
  }
  await rpc.call('invoice', { amount_msat: amount, label, description, expiry: expirySeconds });
  const made = await findInvoice(rpc, { label });
  if (!made) throw reply('listinvoices', {}).unexpected('invoices', 'the invoice that was just made');
  return readOwn(rpc, made);
};

const readPayment = (payment: Reply): Payment => ({
  paymentHash: paymentHash(payment.hex('payment_hash'), 'payment_hash'),
  status: readStatus(payment),
  amount: msat(payment.optMsat('amount_msat') ?? 0n, 'amount_msat'),
  sent: msat(payment.msat('amount_sent_msat'), 'amount_sent_msat'),
  ...(payment.has('label') ? { label: payment.str('label') } : {}),
});

/**
 * Each try to send a single HTLC is called a part of something larger: of a payment that is pending whole, lightningd sends no
 * second HTLC, not even when there is no first (see `payFee`). So many parts can be pending at once.
 */
const MOST_PARTS = 1_000n;

const readStatus = (payment: Reply): PaymentTry['status'] => {
  const status = payment.str('status');
  if (status === 'pending' || status === 'complete' || status === 'failed') return status;
  throw payment.unexpected('status', 'pending, complete or failed');
};

const tries = async (rpc: Rpc, hash: PaymentHash): Promise<readonly PaymentTry[]> =>
  reply('listsendpays', await rpc.call('listsendpays', { payment_hash: hash }))
    .objs('payments')
    .map((p) => ({ group: p.optInt('groupid') ?? 0, part: p.optInt('partid') ?? 0, status: readStatus(p) }));

const status = async (rpc: Rpc, hash: PaymentHash): Promise<PaymentStatus> => {
  const all = await tries(rpc, hash);
  return (['complete', 'pending', 'failed'] as const).find((s) => all.some((p) => p.status === s)) ?? 'none';
};

const wait = async (rpc: Rpc, hash: PaymentHash, seconds: number): Promise<PaymentResult> => {
  try {
    await rpc.call('waitsendpay', { payment_hash: hash, timeout: seconds }, { timeoutMs: (seconds + 10) * 1000 });
    return { kind: 'complete' };
  } catch (error) {
    if (!isRpcError(error)) throw error;
    return error.code === TIMED_OUT ? { kind: 'pending' } : { kind: 'failed', reason: error.message };
  }
};

const forwardFees = async (rpc: Rpc, from: ReadonlySet<string>, to: ReadonlySet<string>): Promise<Msat> => {
  const all = await Promise.all([...from].map((channel) => rpc.call('listforwards', { in_channel: channel, status: 'settled' })));
  const fees = all
    .flatMap((answer) => reply('listforwards', answer).objs('forwards'))
    .filter((f) => to.has(f.optStr('out_channel') ?? ''))
    .reduce((sum, f) => sum + (f.optMsat('fee_msat') ?? 0n), 0n);
  return msat(fees, 'fee_msat');
};

/** There from before a restart of the plugin alone: begun anew, since nobody knows what is in it. */
const createLayer = async (rpc: Rpc, layer: string): Promise<void> => {
  try {
    await rpc.call('askrene-create-layer', { layer });
  } catch (error) {
    if (!isRpcError(error)) throw error;
    await rpc.call('askrene-remove-layer', { layer });
    await rpc.call('askrene-create-layer', { layer });
  }
};

/** Before v26.06 an update can be replaced only. It then says of a channel whose peer is away that it works; the payment fails all the same. */
const restore = async (rpc: Rpc, layer: string, side: string): Promise<void> => {
  try {
    await rpc.call('askrene-remove-channel-update', { layer, short_channel_id_dir: side });
  } catch (error) {
    if (!isRpcError(error, RPC.METHOD_NOT_FOUND)) throw error;
    await rpc.call('askrene-update-channel', { layer, short_channel_id_dir: side, enabled: true });
  }
};

export const paymentApi = (rpc: Rpc): PaymentApi => {
  /** What a layer of ours holds. It lives as long as lightningd, and so do we. */
  const layers = new Map<string, Set<string>>();
  /** One change at a time. */
  let turn: Promise<void> = Promise.resolve();
  const sync = async (layer: string, channels: readonly string[]): Promise<void> => {
    const known = layers.get(layer);
    if (!known && channels.length === 0) return;
    if (!known) await createLayer(rpc, layer);
    const disabled = known ?? new Set<string>();
    layers.set(layer, disabled);
    // All at once: somebody waits for a route, and a rotation disables the channels of every member.
    const each = (some: readonly string[], change: (side: string) => Promise<unknown>, noted: (channel: string) => void): Promise<unknown> =>
      Promise.all(
        some.map(async (channel) => {
          await Promise.all([`${channel}/0`, `${channel}/1`].map(change));
          noted(channel);
        }),
      );
    await each(
      channels.filter((c) => !disabled.has(c)),
      (side) => rpc.call('askrene-update-channel', { layer, short_channel_id_dir: side, enabled: false }),
      (channel) => disabled.add(channel),
    );
    await each(
      [...disabled].filter((c) => !channels.includes(c)),
      (side) => restore(rpc, layer, side),
      (channel) => disabled.delete(channel),
    );
  };
  return {
    ownInvoice: (request) => invoice(rpc, request),
    isPaid: async (hash) => (await findInvoice(rpc, { payment_hash: hash }))?.str('status') === 'paid',
    sendAlong: async ({ route, invoice: { paymentHash: hash, paymentSecret: secret }, amount, label }) => {
      await rpc.call('sendpay', {
        route: route.map((hop) => ({ id: hop.peer, channel: hop.channel, delay: hop.delay, amount_msat: hop.amount })),
        payment_hash: hash,
        payment_secret: secret,
        amount_msat: amount,
        label,
      });
    },
    sendHtlc: async ({ peer, channel, amount, paymentHash: hash, blocks, group, part }) => {
      await rpc.call('sendpay', {
        route: [{ id: peer, channel, amount_msat: amount, delay: blocks }],
        payment_hash: hash,
        amount_msat: amount * MOST_PARTS,
        // Parts must have one; the peer takes this HTLC by its hash.
        payment_secret: hash,
        groupid: group,
        partid: part,
        label: 'channel factory: fee of a purchase',
      });
    },
    paymentTries: (hash) => tries(rpc, hash),
    paymentStatus: (hash) => status(rpc, hash),
    waitForPayment: (hash, seconds) => wait(rpc, hash, seconds),
    completedPayments: async (prefix) =>
      reply('listsendpays', await rpc.call('listsendpays', { status: 'complete' }))
        .objs('payments')
        .map(readPayment)
        .filter((p) => p.label?.startsWith(prefix) === true),
    forwardFees: (from, to) => forwardFees(rpc, new Set(from), new Set(to)),
    avoid: (layer, channels) => {
      turn = turn.then(
        () => sync(layer, channels),
        () => sync(layer, channels),
      );
      return turn;
    },
  };
};
