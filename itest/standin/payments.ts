import { directionOf, type Failure } from './channel.js';
import { command, type Command } from './commands.js';
import { failureCode, failureName, isPermanent, TEMPORARY_CHANNEL_FAILURE } from './failures.js';
import type { Node } from './node.js';
import { encodePayload } from './onion.js';
import { any, arrayOf, hash, int, msat, opt, type Parser, req, str } from './params.js';
import type { Collection } from './store.js';
import { CODE, field, type Json, type JsonObject, nowSeconds, RpcError, text } from './types.js';

/** A hop of a route: the channel to it, what arrives at it, and how many blocks its HTLC has. */
export interface RouteStep extends JsonObject {
  readonly id: string;
  readonly channel: string;
  readonly amount_msat: number;
  readonly delay: number;
}

export interface PaymentRequest {
  readonly route: readonly RouteStep[];
  readonly hash: string;
  readonly secret: string | undefined;
  readonly total: number;
  readonly keysend?: string;
  readonly bolt11?: string | undefined;
  readonly label?: string | undefined;
  readonly partid?: number | undefined;
  readonly groupid: number;
}

/** One part of a payment: an HTLC of ours, or what is left of it. */
export interface Payment {
  readonly id: number;
  readonly hash: string;
  readonly groupid: number;
  readonly partid?: number;
  readonly destination: string;
  readonly amount: number;
  readonly sent: number;
  readonly created: number;
  readonly label?: string;
  readonly bolt11?: string;
  readonly route: readonly RouteStep[];
  readonly status: 'pending' | 'complete' | 'failed';
  readonly completed?: number;
  readonly updated?: number;
  readonly preimage?: string;
  readonly failure?: { readonly code: number; readonly message: string; readonly data: JsonObject };
}

/** sendpay and what it keeps: every HTLC that starts here. */
export class Payments {
  private readonly records: Collection<Payment>;
  private readonly waiting = new Map<number, ((payment: Payment) => void)[]>();

  constructor(private readonly node: Node) {
    this.records = node.store.collection('payment');
  }

  /** Parts whose HTLC never left, because the node ended in between, have failed. */
  start(): void {
    const alive = new Set(this.node.channels.all().flatMap(({ htlcs }) => htlcs.flatMap(({ origin }) => (origin?.kind === 'payment' ? [origin.id] : []))));
    for (const payment of this.records.values())
      if (payment.status === 'pending' && !alive.has(payment.id)) this.failed(payment.id, { message: TEMPORARY_CHANNEL_FAILURE, node: this.node.keys.nodeId }, 'node restarted');
  }

  all(): readonly Payment[] {
    return this.records.values();
  }

  isPaid(paymentHash: string): Payment | undefined {
    return this.records.find((payment) => payment.hash === paymentHash && payment.status === 'complete');
  }

  isPending(paymentHash: string): boolean {
    return this.records.find((payment) => payment.hash === paymentHash && payment.status === 'pending') !== undefined;
  }

  /** Offers the HTLC; what becomes of it, `wait` tells. */
  send(request: PaymentRequest): Payment {
    const { route, hash: paymentHash, groupid, partid } = request;
    const [first, last] = [route[0], route.at(-1)];
    if (first === undefined || last === undefined) throw new RpcError(CODE.invalidParams, 'Empty route');
    return this.node.store.atomically(() => {
      const payment: Payment = {
        id: this.node.store.next('last_payment'),
        hash: paymentHash,
        groupid,
        ...(partid === undefined ? {} : { partid }),
        destination: last.id,
        amount: last.amount_msat,
        sent: first.amount_msat,
        created: nowSeconds(),
        ...(request.label === undefined ? {} : { label: request.label }),
        ...(request.bolt11 === undefined ? {} : { bolt11: request.bolt11 }),
        route,
        status: 'pending',
      };
      this.records.put(String(payment.id), payment);
      const channel = this.node.channels.byScid(first.channel);
      const height = this.node.blocks.height;
      const onion = route.map((step, i) => {
        const next = route[i + 1];
        if (next !== undefined) return encodePayload({ amount: next.amount_msat, cltv: height + next.delay + 1, scid: next.channel });
        return encodePayload({
          amount: step.amount_msat,
          cltv: height + step.delay + 1,
          ...(request.secret === undefined ? {} : { secret: request.secret, total: request.total }),
          ...(request.keysend === undefined ? {} : { keysend: request.keysend }),
        });
      });
      const offer = { amount: first.amount_msat, expiry: height + first.delay + 1, hash: paymentHash, onion, origin: { kind: 'payment', id: payment.id } as const };
      const refused =
        channel === undefined || channel.peerId !== first.id
          ? { failure: { message: '400a', node: this.node.keys.nodeId, channel: first.channel }, why: 'First hop is unknown' }
          : this.node.channels.link.offer(channel, offer);
      if (refused !== undefined) this.failed(payment.id, refused.failure, refused.why);
      return payment;
    });
  }

  fulfilled(id: number, preimage: string): void {
    const payment = this.records.get(String(id));
    if (payment?.status !== 'pending') return;
    const done = this.finish(payment, { status: 'complete', preimage });
    this.node.plugins.notify('sendpay_success', paymentJson(done));
  }

  failed(id: number, failure: Failure, why = 'reply from remote'): void {
    const payment = this.records.get(String(id));
    if (payment?.status !== 'pending') return;
    const { code, data } = this.diagnose(payment, failure);
    const name = failureName(failureCode(failure.message));
    const message = `failed: ${name} (${why})`;
    const done = this.finish(payment, { status: 'failed', failure: { code, message, data } });
    this.node.plugins.notify('sendpay_failure', { code, message, data: { ...paymentJson(done), ...data } });
  }

  /** Resolves when the part is no longer pending. */
  async wait(id: number, seconds: number | undefined): Promise<Payment> {
    const payment = this.records.get(String(id));
    if (payment !== undefined && payment.status !== 'pending') return payment;
    const over = new Promise<Payment>((resolve) => {
      this.waiting.set(id, [...(this.waiting.get(id) ?? []), resolve]);
    });
    if (seconds === undefined) return over;
    const result = await Promise.race([over, this.node.sleep(seconds * 1000).then(() => undefined)]);
    if (result === undefined) throw new RpcError(CODE.payInProgress, 'Timed out while waiting');
    return result;
  }

  private finish(payment: Payment, end: Pick<Payment, 'status' | 'preimage' | 'failure'>): Payment {
    const done: Payment = { ...payment, ...end, completed: nowSeconds(), updated: this.node.store.next('last_payment_update') };
    this.records.put(String(payment.id), done);
    this.node.store.whenStored(() => {
      for (const wake of this.waiting.get(payment.id) ?? []) wake(done);
      this.waiting.delete(payment.id);
    });
    return done;
  }

  /** Which node and channel a failure is about, in lightningd's terms. */
  private diagnose({ route }: Payment, failure: Failure): { readonly code: number; readonly data: JsonObject } {
    const us = this.node.keys.nodeId;
    const nodes = [us, ...route.map(({ id }) => id)];
    // A route may come back to us: then the last place counts, unless the first hop was refused.
    const index = failure.node === us && failure.channel === route[0]?.channel ? 0 : Math.max(0, nodes.lastIndexOf(failure.node));
    const atEnd = index === route.length;
    const hop = route[atEnd ? index - 1 : index];
    const from = nodes[atEnd ? index - 1 : index] ?? us;
    const failcode = failureCode(failure.message);
    const data = {
      erring_index: index,
      failcode,
      failcodename: failureName(failcode),
      erring_node: nodes[index] ?? us,
      erring_channel: hop?.channel,
      erring_direction: directionOf(from, hop?.id ?? us),
      ...(index === 0 ? {} : { raw_message: failure.message }),
    };
    return { code: atEnd && isPermanent(failcode) ? CODE.payDestinationFailed : CODE.payTryOtherRoute, data };
  }

  commands(): readonly Command[] {
    return [
      command(
        'sendpay',
        {
          route: req(arrayOf(stepParam)), payment_hash: req(hash), label: opt(str), amount_msat: opt(msat), bolt11: opt(str), payment_secret: opt(hash), partid: opt(int),
          localinvreqid: opt(hash), groupid: opt(int), payment_metadata: opt(any), description: opt(str),
        },
        ({ route, payment_hash, label, amount_msat, bolt11, payment_secret: secret, partid, groupid = 1 }) => {
          const same = this.records.find((one) => one.hash === payment_hash && one.groupid === groupid && one.partid === partid && one.status !== 'failed');
          if (same?.status === 'pending') throw new RpcError(CODE.payInProgress, 'Payment with groupid already in progress');
          if (same !== undefined) return paymentJson(same);
          const total = amount_msat ?? route.at(-1)?.amount_msat ?? 0;
          return { message: 'Monitor status with listpays or waitsendpay', ...paymentJson(this.send({ route, hash: payment_hash, secret, total, bolt11, label, partid, groupid })) };
        },
      ),
      command('waitsendpay', { payment_hash: req(hash), timeout: opt(int), partid: opt(int), groupid: opt(int) }, async ({ payment_hash, timeout, partid, groupid }) => {
        const wanted = this.records.values().findLast((one) => one.hash === payment_hash && (partid === undefined || one.partid === partid) && (groupid === undefined || one.groupid === groupid));
        if (wanted === undefined) throw new RpcError(CODE.payNoSuchPayment, 'Never attempted payment for it');
        const payment = await this.wait(wanted.id, timeout);
        if (payment.failure !== undefined) throw new RpcError(payment.failure.code, payment.failure.message, { ...paymentJson(payment), ...payment.failure.data });
        return paymentJson(payment);
      }),
      command('listsendpays', { bolt11: opt(str), payment_hash: opt(hash), status: opt(str) }, ({ bolt11, payment_hash, status }) => ({
        payments: this.all()
          .filter((one) => (bolt11 === undefined || one.bolt11 === bolt11) && (payment_hash === undefined || one.hash === payment_hash) && (status === undefined || one.status === status))
          .map(paymentJson),
      })),
      command('listpays', { bolt11: opt(str), payment_hash: opt(hash), status: opt(str) }, ({ bolt11, payment_hash, status }) => ({
        pays: this.pays().filter(
          (pay) => (bolt11 === undefined || pay['bolt11'] === bolt11) && (payment_hash === undefined || pay['payment_hash'] === payment_hash) && (status === undefined || pay['status'] === status),
        ),
      })),
    ];
  }

  /** The parts of a payment taken together. */
  private pays(): readonly JsonObject[] {
    return [...new Set(this.all().map((payment) => payment.hash))].map((one) => {
      const parts = this.all().filter((payment) => payment.hash === one);
      const complete = parts.filter(({ status }) => status === 'complete');
      const [first] = complete.length > 0 ? complete : parts;
      const status = complete.length > 0 ? 'complete' : parts.some((part) => part.status === 'pending') ? 'pending' : 'failed';
      const sum = (of: (part: Payment) => number): number => complete.reduce((total, part) => total + of(part), 0);
      return {
        bolt11: first?.bolt11,
        destination: first?.destination,
        payment_hash: first?.hash,
        status,
        created_at: first?.created,
        ...(first?.completed === undefined ? {} : { completed_at: first.completed }),
        ...(status === 'complete' ? { preimage: first?.preimage, amount_msat: sum(({ amount }) => amount), amount_sent_msat: sum(({ sent }) => sent) } : {}),
        created_index: first?.id,
        updated_index: first?.updated,
        ...(complete.length > 1 ? { number_of_parts: complete.length } : {}),
      };
    });
  }
}

const stepParam: Parser<RouteStep> = (value, name) => {
  const [id, channel] = [text(value, 'id'), text(value, 'channel')];
  if (id === undefined || channel === undefined) throw new RpcError(CODE.invalidParams, `${name}: route hop needs id and channel`);
  const delay: Json = field(value, 'delay') ?? 0;
  return { id, channel, amount_msat: msat(field(value, 'amount_msat') ?? null, `${name}.amount_msat`), delay: int(delay, `${name}.delay`) };
};

const paymentJson = (payment: Payment): JsonObject => ({
  created_index: payment.id,
  id: payment.id,
  payment_hash: payment.hash,
  groupid: payment.groupid,
  updated_index: payment.updated,
  partid: payment.partid,
  destination: payment.destination,
  amount_msat: payment.amount,
  amount_sent_msat: payment.sent,
  created_at: payment.created,
  completed_at: payment.completed,
  status: payment.status,
  payment_preimage: payment.preimage,
  label: payment.label,
  bolt11: payment.bolt11,
});
