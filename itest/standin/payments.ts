import { type Channel, directionOf, type Failure, isNormal, nameOf } from './channel.js';
import { failureCode, failureName, isPermanent, TEMPORARY_CHANNEL_FAILURE, UNKNOWN_NEXT_PEER } from './failures.js';
import type { Node } from './node.js';
import { encodePayload } from './onion.js';
import type { Collection } from './store.js';
import { CODE, type JsonObject, nowSeconds, RpcError } from './types.js';

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

/** What a payment has to be the same in to be the same payment. */
type Attempt = Pick<PaymentRequest, 'hash' | 'groupid' | 'partid' | 'total'> & Pick<Payment, 'amount' | 'destination'>;

/** One part of a payment: an HTLC of ours, or what is left of it. */
export interface Payment {
  readonly id: number;
  readonly hash: string;
  readonly groupid: number;
  readonly partid?: number;
  readonly destination: string;
  readonly amount: number;
  readonly sent: number;
  /** What all parts are to deliver together. */
  readonly total: number;
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

  /** The newest attempt at a payment; attempts are groups of parts, numbered from 1. */
  lastGroup(paymentHash: string): number {
    return this.records.values().reduce((last, { hash, groupid }) => (hash === paymentHash ? Math.max(last, groupid) : last), 0);
  }

  part(paymentHash: string, groupid: number, partid: number | undefined): Payment | undefined {
    return this.records.find((one) => one.hash === paymentHash && one.groupid === groupid && one.partid === partid);
  }

  /**
   * Whether these parts may be sent, in lightningd's words (`check_progress`).
   * @returns what has been sent already: pending, or complete with the same terms. @throws RpcError 200, 201
   */
  underway({ hash, groupid, partid, amount, total, destination }: Attempt): Payment | undefined {
    const used = (why: string): RpcError => new RpcError(CODE.payRhashUsed, why);
    const same = (one: Payment, verb: string): Payment => {
      if (one.amount !== amount) throw used(`Already ${verb} with amount ${one.amount}msat (not ${amount}msat)`);
      if (one.destination !== destination) throw used(`Already ${verb} to ${one.destination}`);
      return one;
    };
    let sent = 0;
    const known = this.records.values().filter((one) => one.hash === hash);
    for (const one of known) {
      if (one.status === 'complete') {
        if (one.partid === partid) return same(one, 'succeeded');
        continue;
      }
      if (one.status === 'pending') {
        if (one.groupid !== groupid) throw new RpcError(CODE.payInProgress, `Payment with groupid=${one.groupid} still in progress, cannot retry before that completes.`);
        if ((one.partid === undefined) !== (partid === undefined)) throw new RpcError(CODE.payInProgress, `Already have ${one.partid === undefined ? 'non-parallel' : 'parallel'} payment in progress`);
        if (one.partid === partid) return same(one, 'pending');
        if (one.total !== total) throw new RpcError(CODE.invalidParams, `msatoshi was previously ${one.total}msat, now ${total}msat`);
        sent += one.amount;
      }
      if (one.partid === partid && one.groupid === groupid)
        throw used(`There already is a payment with payment_hash=${hash}, groupid=${groupid}, partid=${partid ?? 0}. Either change the partid, or wait for the payment to complete and start a new group.`);
    }
    if (known.some(({ status }) => status === 'complete')) throw used('Already succeeded other parts');
    if (total > 0 && sent >= total) throw new RpcError(CODE.payInProgress, `Already have ${sent}msat of ${total}msat payments in progress`);
    return undefined;
  }

  /** What `sendpay` refuses at once, without a trace in the records. @throws RpcError 204 */
  mustBeOffered(first: RouteStep): void {
    const us = this.node.keys.nodeId;
    const channel = this.firstChannel(first);
    const refusal = (failure: string): JsonObject => ({ erring_index: 0, failcode: failureCode(failure), failcodename: failureName(failureCode(failure)), erring_node: us });
    if (channel === undefined) throw new RpcError(CODE.payTryOtherRoute, 'No connection to first peer found', refusal(UNKNOWN_NEXT_PEER));
    if (!this.node.channels.link.isLive(channel))
      throw new RpcError(CODE.payTryOtherRoute, 'failed: WIRE_TEMPORARY_CHANNEL_FAILURE (First peer not ready)', {
        ...refusal(TEMPORARY_CHANNEL_FAILURE),
        erring_channel: nameOf(channel),
        erring_direction: directionOf(us, channel.peerId),
      });
  }

  private firstChannel({ channel: name, id }: RouteStep): Channel | undefined {
    const channel = this.node.channels.byScid(name);
    return channel?.peerId === id && isNormal(channel) ? channel : undefined;
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
        total: request.total,
        created: nowSeconds(),
        ...(request.label === undefined ? {} : { label: request.label }),
        ...(request.bolt11 === undefined ? {} : { bolt11: request.bolt11 }),
        route,
        status: 'pending',
      };
      this.records.put(String(payment.id), payment);
      const channel = this.firstChannel(first);
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
        channel === undefined
          ? { failure: { message: UNKNOWN_NEXT_PEER, node: this.node.keys.nodeId, channel: first.channel }, why: 'First hop is unknown' }
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

  /** The parts of a payment taken together. */
  pays(): readonly JsonObject[] {
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

/** A part, as lightningd shows it. */
export const paymentJson = (payment: Payment): JsonObject => ({
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
