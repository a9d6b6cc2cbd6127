/**
 * Where balances go, and what the coordinator pays: to another factory that is simulated, too, or to one that is no more than a
 * name, and active when the driver says so.
 */
import { bytesToHex } from '@noble/hashes/utils.js';
import { instanceId, msat, paymentHash, paymentSecret, type InstanceId, type NodeId, type PaymentHash } from '../../../blip/brands.js';
import type { DurableEffect, Event, OwedInvoice } from '../../protocol/effects.js';
import { digest } from '../support/factory.js';
import type { Cln, SimChannel } from './cln.js';

type Of<K extends DurableEffect['kind']> = Extract<DurableEffect, { kind: K }>;

/** What a channel's reserve keeps, and what a payment to oneself costs, in msat. */
export const RESERVE = 546_000n;
const FEE = 17n;

/** Factories that there are. */
export const NEXT = instanceId('5a'.repeat(32));
export const ANOTHER = instanceId('5b'.repeat(32));
const THERE: readonly InstanceId[] = [NEXT, ANOTHER];

/** The way into a factory that is simulated itself. */
export interface Passage {
  /** How much this member's channel there takes now, in msat; undefined while it takes nothing at all. */
  readonly room: (member: NodeId) => bigint | undefined;
  readonly pay: (member: NodeId, amount: bigint) => void;
}

/** The channels that are left. */
export interface Departure {
  /** Whether a payment out of this one passes the coordinator now. */
  readonly isOpen: (channel: SimChannel) => boolean;
  readonly paysOut: (channel: SimChannel) => void;
}

/** One member's books, in msat. */
export interface Account {
  /** In its channels of a factory that is not simulated. */
  there: bigint;
  /** What moving has cost. */
  fees: bigint;
  /** Of that, what the coordinator has paid back. */
  repaid: bigint;
}

export class Moving {
  active = true;
  private readonly accounts = new Map<NodeId, Account>();
  private readonly paid = new Set<PaymentHash>();
  /** Of the members, by payment hash. */
  private readonly invoices = new Map<PaymentHash, OwedInvoice>();
  private made = 0;
  /** The latest of each. */
  private readonly asked = new Map<NodeId, OwedInvoice>();
  /** So many payments from now on are lost in a power failure: on record, and never made. */
  losses = 0;
  private readonly lost = new Set<PaymentHash>();

  /** @param passage into another factory, if it is simulated */
  constructor(
    private readonly cln: Cln,
    private readonly passage: (to: InstanceId) => Passage | undefined,
    private readonly departure: Departure,
  ) {}

  account(member: NodeId): Account {
    const account = this.accounts.get(member) ?? { there: 0n, fees: 0n, repaid: 0n };
    this.accounts.set(member, account);
    return account;
  }

  isReady(node: NodeId, effect: DurableEffect): boolean {
    switch (effect.kind) {
      case 'await_next':
        return this.isOpen(node, effect.to);
      case 'move_balance':
        return this.moves(node, effect);
      case 'settle_balance':
        return this.idle(node, effect.from) && this.moves(node, effect);
      case 'await_owed':
        return this.isOpen(node, effect.to) && this.paid.has(effect.paymentHash);
      case 'pay_owed':
        return this.isOpen(effect.peer, effect.to, effect.invoice.owed) && this.idle(node, effect.from) && (this.arrives(effect.invoice) || this.objection(effect) !== undefined);
      default:
        return true;
    }
  }
  private isOpen(member: NodeId, to: InstanceId, amount = 0n): boolean {
    const passage = this.passage(to);
    return this.active && (passage ? (passage.room(member) ?? -1n) >= amount : THERE.includes(to));
  }
  /** Whether all that is to be moved can be. */
  private moves(node: NodeId, { from, to }: Of<'move_balance'> | Of<'settle_balance'>): boolean {
    const left = this.of(node, from).filter((c) => spareOf(node, c) > 0n);
    return left.every((c) => this.departure.isOpen(c)) && this.isOpen(node, to, left.reduce((sum, c) => sum + spareOf(node, c), 0n));
  }
  private idle(node: NodeId, ids: readonly SimChannel['id'][]): boolean {
    const channels = this.of(node, ids);
    return channels.length === ids.length && channels.every((c) => c.htlc === undefined);
  }
  private of(node: NodeId, ids: readonly SimChannel['id'][]): readonly SimChannel[] {
    return ids.flatMap((id) => this.cln.find(node, id) ?? []);
  }

  private move(node: NodeId, ids: readonly SimChannel['id'][], to: InstanceId): void {
    const account = this.account(node);
    for (const c of this.of(node, ids)) {
      const spare = spareOf(node, c);
      if (spare <= 0n) continue;
      this.departure.paysOut(c);
      c.balance -= spare + FEE;
      this.arrive(node, spare, to);
      account.fees += FEE;
    }
  }

  private arrive(node: NodeId, amount: bigint, to: InstanceId): void {
    const passage = this.passage(to);
    if (passage) passage.pay(node, amount);
    else this.account(node).there += amount;
  }

  moved(node: NodeId, { attempt, from, to }: Of<'move_balance'>): Event {
    this.move(node, from, to);
    return { type: 'balance_moved', attempt };
  }
  settled(node: NodeId, { attempt, from, to, unpaid }: Of<'settle_balance'>): Event {
    this.move(node, from, to);
    const owed = this.owedTo(node, from);
    if (owed === 0n) return { type: 'balance_settled', attempt };
    const before = this.asked.get(node);
    // One that is paid stays, and so does one that nobody has refused.
    const invoice = before && (this.paid.has(before.paymentHash) || (before.owed === owed && before.paymentHash !== unpaid)) ? before : this.invoice(node, owed);
    return { type: 'balance_settled', attempt, invoice };
  }
  private invoice(node: NodeId, owed: bigint): OwedInvoice {
    this.made += 1;
    const hash = bytesToHex(digest(`owed ${node} ${String(this.made)}`));
    const invoice = { owed: msat(owed), paymentHash: paymentHash(hash), paymentSecret: paymentSecret(hash), finalCltv: 43 };
    const before = this.asked.get(node);
    if (before) this.invoices.delete(before.paymentHash);
    this.asked.set(node, invoice);
    this.invoices.set(invoice.paymentHash, invoice);
    return invoice;
  }
  private owedTo(node: NodeId, ids: readonly SimChannel['id'][]): bigint {
    return this.of(node, ids).reduce((sum, c) => sum + c.balance, 0n) + this.account(node).fees;
  }
  /** Nobody takes less than the invoice says, or without its secret: such a payment fails, and is tried again for ever. */
  private arrives({ owed, paymentHash: hash, paymentSecret: secret, finalCltv }: OwedInvoice): boolean {
    const invoice = this.invoices.get(hash);
    return invoice !== undefined && owed >= invoice.owed && secret === invoice.paymentSecret && finalCltv >= invoice.finalCltv;
  }
  private objection({ peer, from, invoice: { owed } }: Of<'pay_owed'>): string | undefined {
    const due = this.owedTo(peer, from);
    if (this.of(peer, from).some((c) => c.balance > RESERVE + FEE)) return 'has not moved all it can';
    return owed > due ? `asks for ${String(owed)}, due are ${String(due)}` : undefined;
  }
  pay(effect: Of<'pay_owed'>): Event {
    const { member, peer, invoice } = effect;
    if (this.paid.has(invoice.paymentHash)) return { type: 'owed_paid', member };
    const reason = this.objection(effect);
    if (reason !== undefined) return { type: 'owed_refused', member, reason };
    if (this.losses > 0) {
      this.losses -= 1;
      this.lost.add(invoice.paymentHash);
    }
    if (this.lost.has(invoice.paymentHash)) return { type: 'owed_refused', member, reason: 'lost' };
    this.paid.add(invoice.paymentHash);
    const account = this.account(peer);
    if (account.repaid > 0n) throw new Error(`${peer} is paid twice`);
    this.arrive(peer, invoice.owed, effect.to);
    account.repaid += invoice.owed;
    return { type: 'owed_paid', member };
  }
}

/** What a member can send out of a channel, in msat. */
const spareOf = (node: NodeId, { balance, htlc }: SimChannel): bigint => balance - (htlc?.from === node ? htlc.amount : 0n) - RESERVE - FEE;
