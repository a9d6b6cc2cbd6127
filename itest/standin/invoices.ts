import { createHash } from 'node:crypto';
import { hexToBytes } from '@noble/hashes/utils.js';
import { type Channel, type Htlc } from './channel.js';
import { encodeBolt11 } from './bolt11.js';
import { command, type Command } from './commands.js';
import { FINAL_INCORRECT_CLTV_EXPIRY, FINAL_INCORRECT_HTLC_AMOUNT, MPP_TIMEOUT, unknownPaymentDetails } from './failures.js';
import type { Node } from './node.js';
import type { HopPayload } from './onion.js';
import { any, badParam, bool, def, hash, int, msatOrAny, opt, type Parser, req, str } from './params.js';
import { type Exposure, RouteHints } from './route-hints.js';
import type { Collection } from './store.js';
import { CODE, FatalError, type Json, type JsonObject, messageOf, nowSeconds, RpcError, text } from './types.js';

interface Invoice {
  readonly label: string;
  readonly bolt11: string;
  readonly payment_hash: string;
  /** Millisatoshis; absent: any. */
  readonly amount_msat?: number;
  readonly description: string;
  readonly expires_at: number;
  readonly created_index: number;
  readonly status: 'unpaid' | 'paid' | 'expired';
  readonly pay_index?: number;
  readonly amount_received_msat?: number;
  readonly paid_at?: number;
  readonly updated_index?: number;
  readonly secret: string;
  readonly preimage: string;
  readonly finalCltv: number;
}

interface InvoiceRequest {
  readonly amount: number | 'any';
  readonly label: string;
  readonly description: string;
  readonly expiry: number;
  readonly preimage: string | undefined;
  readonly exposure: Exposure;
  readonly cltv: number | undefined;
}

/** HTLCs that together pay one invoice, until they are enough or a minute is over (BOLT 4). */
interface PartialPayment {
  readonly parts: { readonly channel: Channel; readonly htlc: Htlc }[];
  readonly timer: NodeJS.Timeout;
}

const DEFAULT_EXPIRY = 604_800;
/** Payment secret, basic_mpp, payment metadata, route blinding: what lightningd's own invoices say. */
const FEATURES = '02024100';
const MPP_TIMEOUT_MS = 60_000;

/** Invoices and their payment. */
export class Invoices {
  private readonly records: Collection<Invoice>;
  private readonly partial = new Map<string, PartialPayment>();
  private readonly waiting = new Set<() => void>();
  private readonly hints: RouteHints;

  constructor(private readonly node: Node) {
    this.records = node.store.collection('invoice');
    this.hints = new RouteHints(node);
  }

  byHash(wanted: string): Invoice | undefined {
    return this.records.find(({ payment_hash }) => payment_hash === wanted);
  }

  create(request: InvoiceRequest): JsonObject {
    const { label, description } = request;
    const preimage = request.preimage ?? this.node.keys.random();
    const payment_hash = createHash('sha256').update(hexToBytes(preimage)).digest('hex');
    if (this.records.has(label)) throw new RpcError(CODE.invoiceLabelExists, `Duplicate label '${label}'`);
    if (this.byHash(payment_hash) !== undefined) throw new RpcError(CODE.invoicePreimageExists, 'preimage already used');
    const amount = request.amount === 'any' ? undefined : request.amount;
    const { routes, warnings } = this.hints.choose(amount, request.exposure);
    const secret = this.node.keys.random();
    const timestamp = nowSeconds();
    const finalCltv = request.cltv ?? this.node.options.int('cltv-final');
    const bolt11 = encodeBolt11(
      { ...(amount === undefined ? {} : { amount }), timestamp, hash: payment_hash, secret, description, expiry: request.expiry, finalCltv, features: FEATURES, routes },
      this.node.keys.node,
    );
    const created_index = this.node.store.next('last_invoice');
    const expires_at = timestamp + request.expiry;
    this.records.put(label, { label, bolt11, payment_hash, ...(amount === undefined ? {} : { amount_msat: amount }), description, expires_at, created_index, status: 'unpaid', secret, preimage, finalCltv });
    this.node.plugins.notify('invoice_creation', { ...(amount === undefined ? {} : { msat: amount }), preimage, label });
    return { payment_hash, expires_at, bolt11, payment_secret: secret, created_index, ...warnings };
  }

  /** An HTLC for us. `override`: what a plugin says the invoice asks for. */
  incoming(channel: Channel, htlc: Htlc, payload: HopPayload, override: number | undefined): void {
    if (payload.keysend !== undefined) this.spontaneous(htlc, payload);
    if (htlc.amount < payload.amount) this.refuse(channel, htlc, `${FINAL_INCORRECT_HTLC_AMOUNT}${htlc.amount.toString(16).padStart(16, '0')}`);
    else if (htlc.expiry < payload.cltv) this.refuse(channel, htlc, `${FINAL_INCORRECT_CLTV_EXPIRY}${htlc.expiry.toString(16).padStart(8, '0')}`);
    else this.accept(channel, htlc, payload, override);
  }

  private accept(channel: Channel, htlc: Htlc, payload: HopPayload, override: number | undefined): void {
    const invoice = this.byHash(htlc.hash);
    const total = payload.total ?? payload.amount;
    const asked = override ?? invoice?.amount_msat;
    const secretOk = payload.secret === invoice?.secret || payload.keysend !== undefined;
    const wrong =
      invoice?.status !== 'unpaid' || invoice.expires_at < nowSeconds() || !secretOk || (asked !== undefined && (total < asked || total > asked * 2)) ||
      // The node's own limit counts, not what the invoice asked for.
      htlc.expiry < this.node.blocks.height + this.node.options.int('cltv-final');
    if (wrong) this.refuse(channel, htlc, unknownPaymentDetails(htlc.amount, this.node.blocks.height));
    else this.collect(invoice, channel, htlc, total);
  }

  private collect(invoice: Invoice, channel: Channel, htlc: Htlc, total: number): void {
    const key = invoice.payment_hash;
    const timer = this.partial.get(key)?.timer ?? setTimeout(() => {
      for (const part of this.take(key)) this.refuse(part.channel, part.htlc, MPP_TIMEOUT);
    }, MPP_TIMEOUT_MS);
    const parts = [...(this.partial.get(key)?.parts ?? []), { channel, htlc }];
    this.partial.set(key, { parts, timer });
    const received = parts.reduce((sum, part) => sum + part.htlc.amount, 0);
    if (received < total) return;
    this.take(key);
    this.settle(invoice, parts, received).catch((error: unknown) => {
      this.node.fatal(error instanceof FatalError ? error : new FatalError(messageOf(error)));
    });
  }

  private async settle(invoice: Invoice, parts: PartialPayment['parts'], received: number): Promise<void> {
    const payment = { label: invoice.label, preimage: invoice.preimage, msat: received, ...(this.node.options.flag('developer') ? { extratlvs: [] } : {}) };
    const answer = await this.node.plugins.hook('invoice_payment', { payment });
    if (this.node.stopped) return;
    const failure = text(answer, 'failure_message');
    if (answer['result'] === 'reject' || failure !== undefined || this.records.get(invoice.label)?.status !== 'unpaid') {
      for (const { channel, htlc } of parts) this.refuse(channel, htlc, failure ?? unknownPaymentDetails(htlc.amount, this.node.blocks.height));
      return;
    }
    this.node.store.atomically(() => {
      this.records.put(invoice.label, {
        ...invoice,
        status: 'paid',
        pay_index: this.node.store.next('last_pay_index'),
        amount_received_msat: received,
        paid_at: nowSeconds(),
        updated_index: this.node.store.next('last_invoice_update'),
      });
      for (const { channel, htlc } of parts) this.node.channels.link.fulfil(channel, htlc.id, invoice.preimage);
      this.node.plugins.notify('invoice_payment', { msat: received, preimage: invoice.preimage, label: invoice.label });
    });
    for (const wake of this.waiting) wake();
    this.waiting.clear();
  }

  /** A payment that nobody asked for gets an invoice now, as Core Lightning's keysend plugin does. */
  private spontaneous(htlc: Htlc, { keysend = '' }: HopPayload): void {
    if (createHash('sha256').update(hexToBytes(keysend)).digest('hex') !== htlc.hash || this.byHash(htlc.hash) !== undefined) return;
    this.create({ amount: 'any', label: `keysend-${process.hrtime.bigint()}`, description: 'keysend', expiry: DEFAULT_EXPIRY, preimage: keysend, exposure: undefined, cltv: undefined });
  }

  private take(key: string): PartialPayment['parts'] {
    const found = this.partial.get(key);
    clearTimeout(found?.timer);
    this.partial.delete(key);
    return found?.parts ?? [];
  }

  private refuse(channel: Channel, htlc: Htlc, message: string): void {
    this.node.channels.link.fail(channel, htlc.id, { message, node: this.node.keys.nodeId });
  }

  private async wait(found: () => Invoice | undefined, timeout: number | undefined): Promise<Json> {
    const deadline = timeout === undefined ? undefined : Date.now() + timeout * 1000;
    for (;;) {
      const invoice = found();
      if (invoice !== undefined) return listed(invoice);
      const left = deadline === undefined ? 2 ** 31 - 1 : deadline - Date.now();
      if (left <= 0) throw new RpcError(CODE.invoiceWaitTimedOut, 'Timed out');
      await Promise.race([new Promise<void>((resolve) => this.waiting.add(resolve)), this.node.sleep(left)]);
    }
  }

  commands(): readonly Command[] {
    return [
      command(
        'invoice',
        {
          amount_msat: req(msatOrAny), label: req(str), description: req(str), expiry: def(int, DEFAULT_EXPIRY), fallbacks: opt(any), preimage: opt(hash),
          exposeprivatechannels: opt(exposureParam), cltv: opt(int), deschashonly: def(bool, false),
        },
        ({ amount_msat: amount, label, description, expiry, preimage, exposeprivatechannels: exposure, cltv }) => this.create({ amount, label, description, expiry, preimage, exposure, cltv }),
      ),
      command('listinvoices', { label: opt(str), invstring: opt(str), payment_hash: opt(hash) }, ({ label, invstring, payment_hash }) => ({
        invoices: this.records
          .values()
          .filter((one) => (label === undefined || one.label === label) && (invstring === undefined || one.bolt11 === invstring) && (payment_hash === undefined || one.payment_hash === payment_hash))
          .map(listed),
      })),
      command('waitinvoice', { label: req(str) }, ({ label }) => {
        if (!this.records.has(label)) throw new RpcError(CODE.invoiceNotFound, 'Label not found');
        return this.wait(() => {
          const invoice = this.records.get(label);
          if (invoice?.status === 'unpaid' && invoice.expires_at < nowSeconds()) throw new RpcError(CODE.invoiceExpiredDuringWait, 'Invoice expired', listed(invoice));
          return invoice?.status === 'paid' ? invoice : undefined;
        }, undefined);
      }),
      command('waitanyinvoice', { lastpay_index: def(int, 0), timeout: opt(int) }, ({ lastpay_index, timeout }) =>
        this.wait(() => this.records.values().filter(({ pay_index = 0 }) => pay_index > lastpay_index).sort((a, b) => (a.pay_index ?? 0) - (b.pay_index ?? 0))[0], timeout),
      ),
      command('delinvoice', { label: req(str), status: req(str) }, ({ label, status }) => {
        const invoice = this.records.get(label);
        if (invoice === undefined) throw new RpcError(CODE.invoiceNotFound, 'Unknown invoice');
        if (invoice.status !== status) throw new RpcError(CODE.invoiceStatusUnexpected, `Invoice status is ${invoice.status} not ${status}`);
        this.records.delete(label);
        return listed(invoice);
      }),
    ];
  }
}

const exposureParam: Parser<boolean | readonly string[]> = (value, name) => {
  if (value === true || value === false) return value;
  const list = typeof value === 'string' && value.startsWith('[') ? (JSON.parse(value) as Json) : value;
  if (value === 'true' || value === 'false') return value === 'true';
  const items: readonly Json[] = Array.isArray(list) ? (list as readonly Json[]) : [list];
  if (!items.every((item) => typeof item === 'string' && /^\d+x\d+x\d+$/.test(item))) throw badParam(name, 'should be a boolean, a short_channel_id or an array of those', value);
  return items as readonly string[];
};

const listed = (invoice: Invoice): JsonObject => {
  const { label, bolt11, payment_hash, amount_msat, status, pay_index, amount_received_msat, paid_at, preimage, description, expires_at, created_index, updated_index } = invoice;
  const shown = status === 'unpaid' && invoice.expires_at < nowSeconds() ? 'expired' : status;
  return {
    label, bolt11, payment_hash, amount_msat, status: shown, pay_index, amount_received_msat, paid_at, ...(status === 'paid' ? { payment_preimage: preimage } : {}), description,
    expires_at, created_index, updated_index,
  };
};
