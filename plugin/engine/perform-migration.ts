/**
 * A member's balance on its way from one factory to the next: payments to itself, out over the old channels, through the
 * coordinator, in over the new ones (architecture 8). Each is atomic; what has arrived is lightningd's to remember, so a
 * crash between any two of them loses nothing and repeats nothing.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { msat, type ChannelId, type InstanceId, type Msat, type NodeId, type PaymentHash } from '../../blip/brands.js';
import { mayCarryHtlcs } from '../../factory-core/live/custody.js';
import { channelsOf, earlyWarningOf } from '../../factory-core/live/paths.js';
import { movable, unmovable } from '../../factory-core/live/moving.js';
import type { DurableEffect, Event } from '../../factory-core/protocol/effects.js';
import { LightningError, type Channel, type Lightning } from '../lightning/lightning.js';
import type { Log } from '../runtime/definition.js';
import { isClosing, type Factory } from './factory.js';
import type { Outcome } from './outbox.js';

type Of<K extends DurableEffect['kind']> = Extract<DurableEffect, { kind: K }>;

export interface MigrationParts {
  readonly lightning: Lightning;
  readonly log: Log;
  readonly factory: (instanceId: InstanceId) => Factory | undefined;
  readonly random: (bytes: number) => Uint8Array;
  /** Hashes of what this process has sent: these HTLCs may be on their way to a commitment (see `payFee`). */
  readonly sent: Set<PaymentHash>;
}

const done = (event?: Event): Outcome => (event ? { kind: 'done', event } : { kind: 'done' });
/** Between two looks, in milliseconds: short at first, since most of what is awaited takes a moment; some of it takes days. */
const PAUSE = { first: 200, most: 5_000, growth: 1.2 } as const;
const waiting = () => {
  let ms: number = PAUSE.first;
  return async (): Promise<void> => {
    await pause(ms);
    ms = Math.min(PAUSE.most, ms * PAUSE.growth);
  };
};
/** A payment along two channels of one peer takes far less. */
const PAYMENT_SECONDS = 60;
const CHUNK_EXPIRY_SECONDS = 3_600;
/** The coordinator pays what is owed when it can: it may be away for long. */
const OWED_EXPIRY_SECONDS = 31_536_000;
/** Blocks that may come in while a payment is on its way. */
const BLOCKS_MARGIN = 3;
/** More cannot be meant by a `final_cltv` (`migrated`). */
const MAX_FINAL_CLTV = 1_000;

/** Labels of a migration's payments and invoices: what it has cost is found by them. */
const labelOf = (from: InstanceId, what: string): string => `cln-factory/${from}/${what}`;
const MOVE = 'move/';

interface Target {
  /** Those that HTLCs may go over now, as lightningd has them. */
  readonly channels: readonly Channel[];
  /** Whether that is all the factory has. */
  readonly whole: boolean;
  /** All of them, and those of other factories, or of none, with this peer. */
  readonly withPeer: readonly Channel[];
  readonly earlyWarning: number;
}
const NOWHERE: Target = { channels: [], whole: false, withPeer: [], earlyWarning: 0 };

/** The channels of factory `to` with this peer. */
const target = async (parts: MigrationParts, to: InstanceId, peer: NodeId): Promise<Target> => {
  const state = parts.factory(to)?.state;
  if (state?.phase !== 'live' || (state.role === 'member' && state.coordinator !== peer)) return NOWHERE;
  const all = state.live.branches.filter((b) => b.peer === peer).flatMap((b) => channelsOf(state.live, b).map((channel) => ({ branch: b, channel })));
  const own = all.filter(({ branch, channel }) => mayCarryHtlcs(state.live, branch, isClosing(state), channel));
  const ids = new Set(own.map(({ channel }) => channel.channelId));
  const withPeer = await parts.lightning.channels({ peer });
  const channels = withPeer.filter((c) => ids.has(c.channelId) && c.connected && c.state === 'CHANNELD_NORMAL');
  const earlyWarning = Math.max(0, ...own.map(({ channel }) => earlyWarningOf(state.live.spec, channel.depth)));
  return { channels, whole: channels.length > 0 && channels.length === all.length, withPeer, earlyWarning };
};

const those = async (ln: Lightning, peer: NodeId, ids: readonly ChannelId[]): Promise<readonly Channel[]> =>
  (await ln.channels({ peer })).filter((c) => ids.includes(c.channelId));

type Mover = Of<'move_balance'> | Of<'settle_balance'>;
const STEPS = { await_next: 'waiting', move_balance: 'moving', settle_balance: 'settling' } as const;

/** Whether this is still what the member does: it may leave alone instead, or be sent elsewhere. */
const isWanted = (parts: MigrationParts, instanceId: InstanceId, effect: Mover | Of<'await_next'>): boolean => {
  const state = parts.factory(instanceId)?.state;
  if (state?.phase !== 'live' || state.role !== 'member' || state.migration?.attempt !== effect.attempt) return false;
  return state.migration.step === STEPS[effect.kind];
};

/** The new factory's funding may be deep enough for the coordinator before this node has seen the block. */
export const awaitNext = async (parts: MigrationParts, instanceId: InstanceId, effect: Of<'await_next'>, signal: AbortSignal): Promise<Outcome> => {
  const next = waiting();
  while (!signal.aborted && isWanted(parts, instanceId, effect)) {
    const state = parts.factory(instanceId)?.state;
    if (state?.role === 'member' && (await target(parts, effect.to, state.coordinator)).channels.length > 0) return done({ type: 'next_active', attempt: effect.attempt });
    await next();
  }
  return done();
};

/** So many pieces may fail in a row before the outbox takes over the waiting. */
const MOST_FAILURES = 20;

/** Moves until only what the reserve keeps is left; `settle_balance` also waits until nothing is pending, and counts. */
export const moveBalance = async (parts: MigrationParts, instanceId: InstanceId, effect: Mover, signal: AbortSignal): Promise<Outcome> => {
  const state = parts.factory(instanceId)?.state;
  if (state?.role !== 'member') return done();
  const peer = state.coordinator;
  let failures = 0;
  let next = waiting();
  while (!signal.aborted && isWanted(parts, instanceId, effect)) {
    const old = await those(parts.lightning, peer, effect.from);
    if (old.length < effect.from.length) return { kind: 'retry', reason: 'lightningd does not list all of the old channels' };
    const into = await target(parts, effect.to, peer);
    const piece = chunk(old, into.channels);
    if (piece === 'nothing left') {
      if (effect.kind === 'move_balance') return done({ type: 'balance_moved', attempt: effect.attempt });
      const result = await settled(parts, instanceId, effect, old, into);
      if (result) return done(result);
    } else if (piece) {
      const failed = await payOurselves(parts, instanceId, peer, piece);
      if (failed === undefined) {
        failures = 0;
        next = waiting();
        continue;
      }
      parts.log('debug', `factory ${instanceId}: moving ${piece.amount} msat: ${failed}`);
      failures += 1;
      if (failures >= MOST_FAILURES) return { kind: 'retry', reason: failed };
    }
    await next();
  }
  return done();
};

interface Chunk {
  readonly from: Channel;
  readonly into: Channel;
  readonly amount: Msat;
  readonly fee: Msat;
}

/** The next piece; undefined while it cannot be sent: not connected, no room, the new factory not active yet. */
const chunk = (old: readonly Channel[], targets: readonly Channel[]): Chunk | 'nothing left' | undefined => {
  const into = [...targets].sort((a, b) => Number(b.receivable - a.receivable))[0];
  const conditions = into?.remoteUpdate;
  const usableNow = old.filter((c) => c.connected && c.state === 'CHANNELD_NORMAL');
  if (!into || !conditions || usableNow.length < old.length) return undefined;
  const pieces = old.map((from) => ({ from, into, ...movable(from.spendable, into.receivable, conditions) }));
  const next = pieces.find((p) => p.amount > 0n);
  if (next) return next;
  // Spendable or not: what pending HTLCs hold comes back to one side or the other.
  return pieces.every((p) => p.rest) ? 'nothing left' : undefined;
};

/** Undefined when it has arrived. */
const payOurselves = async ({ lightning, factory, random }: MigrationParts, instanceId: InstanceId, peer: NodeId, { from, into, amount, fee }: Chunk): Promise<string | undefined> => {
  const [first, second] = [from.localAlias ?? from.shortChannelId, into.remoteAlias ?? into.shortChannelId];
  const self = factory(instanceId);
  if (first === undefined || second === undefined || !self || !into.remoteUpdate) return 'a channel has no name yet';
  const label = labelOf(instanceId, `${MOVE}${Buffer.from(random(8)).toString('hex')}`);
  const invoice = await lightning.ownInvoice({ label, amount, description: 'moving to the next channel factory', expirySeconds: CHUNK_EXPIRY_SECONDS });
  const delay = invoice.finalCltv + BLOCKS_MARGIN;
  const { nodeId } = await lightning.info();
  const route = [
    { peer, channel: first, delay: delay + into.remoteUpdate.cltvDelta, amount: msat(amount + fee) },
    { peer: nodeId, channel: second, delay, amount },
  ];
  try {
    await lightning.sendAlong({ route, invoice, amount, label });
    for (;;) {
      const status = await lightning.waitForPayment(invoice.paymentHash, PAYMENT_SECONDS);
      if (status.kind === 'complete') return undefined;
      if (status.kind === 'failed') return status.reason;
    }
  } catch (error) {
    if (!(error instanceof LightningError)) throw error;
    return error.message;
  }
};

/**
 * The payments by which a balance has come to where it is. A payment is complete for its payer before the last channel is done
 * with its HTLC: until then the money is there only for who can publish in time. Which channel that is, is the node's in between to say.
 */
const isSettled = ({ withPeer, whole }: Target, hashes: readonly PaymentHash[]): boolean =>
  whole && withPeer.every((c) => c.htlcs.every((h) => !hashes.some((hash) => h.paymentHash.toString() === hash.toString())));

/** All that could move has; the rest, and what moving has cost, is the coordinator's to make good. undefined: not yet. */
const settled = async ({ lightning }: MigrationParts, instanceId: InstanceId, effect: Mover, old: readonly Channel[], into: Target): Promise<Event | undefined> => {
  if (old.some((c) => c.htlcs.length > 0)) return undefined;
  const paid = await lightning.completedPayments(labelOf(instanceId, MOVE));
  if (!isSettled(into, paid.map((p) => p.paymentHash))) return undefined;
  const left = old.reduce((sum, c) => sum + c.toUs, 0n);
  const owed = msat(left + paid.reduce((sum, p) => sum + (p.sent - p.amount), 0n), 'owed');
  if (owed === 0n) return { type: 'balance_settled', attempt: effect.attempt };
  const invoice = await lightning.ownInvoice({
    label: labelOf(instanceId, 'owed'),
    amount: owed,
    description: 'what is left in the old channel factory',
    expirySeconds: OWED_EXPIRY_SECONDS,
    ...(effect.kind === 'settle_balance' && effect.unpaid !== undefined ? { unlike: effect.unpaid } : {}),
  });
  const { amount, paymentHash, paymentSecret, finalCltv } = invoice;
  return { type: 'balance_settled', attempt: effect.attempt, invoice: { owed: amount, paymentHash, paymentSecret, finalCltv } };
};

/** The key goes only while the factory that holds everything now is as sound as when it was moved there. */
export const awaitOwed = async (parts: MigrationParts, instanceId: InstanceId, effect: Of<'await_owed'>, signal: AbortSignal): Promise<Outcome> => {
  const next = waiting();
  while (!signal.aborted) {
    const state = parts.factory(instanceId)?.state;
    if (state?.phase !== 'live' || state.role !== 'member' || state.migration?.step !== 'owed') return done();
    if (state.migration.paymentHash !== effect.paymentHash) return done();
    if ((await parts.lightning.isPaid(effect.paymentHash)) && isSettled(await target(parts, effect.to, state.coordinator), [effect.paymentHash])) {
      return done({ type: 'owed_received', paymentHash: effect.paymentHash });
    }
    await next();
  }
  return done();
};

const namesOf = (channels: readonly Channel[]): readonly string[] => channels.flatMap((c) => [c.localAlias, c.shortChannelId].filter((n) => n !== undefined));

/** So many payments of what is owed may fail before the member is to ask for it anew: its invoice may have expired. */
const MOST_PAYMENTS = 5;

/**
 * Compared with what this node sees, then paid, once: the same payment hash is never paid twice, and none that was refused is
 * paid at all.
 */
export const payOwed = async (parts: MigrationParts, effect: Of<'pay_owed'>, signal: AbortSignal): Promise<Outcome> => {
  const { lightning, sent } = parts;
  const { member, peer, to, invoice } = effect;
  const refused = (reason: string): Outcome => done({ type: 'owed_refused', member, reason });
  const next = waiting();
  let failures = 0;
  let failure = '';
  while (!signal.aborted) {
    // In this order: an HTLC that ends in between is one of a payment that is complete, and not one that never was.
    const all = await lightning.channels({ peer });
    const status = await lightning.paymentStatus(invoice.paymentHash);
    if (status === 'complete') return done({ type: 'owed_paid', member });
    if (status === 'pending') {
      if (!isUnderWay(parts, all, invoice.paymentHash)) return refused('lightningd has lost the payment in a power failure, and has it on record as pending for ever');
      await lightning.waitForPayment(invoice.paymentHash, PAYMENT_SECONDS);
      continue;
    }
    if (failures >= MOST_PAYMENTS) return refused(`it cannot be paid: ${failure}`);
    const old = all.filter((c) => effect.from.includes(c.channelId));
    const { channels, earlyWarning } = await target(parts, to, peer);
    const into = channels.find((c) => c.spendable >= invoice.owed);
    if (old.length === effect.from.length && old.every((c) => c.state === 'CHANNELD_NORMAL') && (!into || old.some((c) => c.htlcs.length > 0))) {
      await next();
      continue;
    }
    const reason = await objection(parts, effect, old, all, into);
    if (reason !== undefined || !into) return refused(reason ?? 'its old channels are gone');
    const delay = Math.max(invoice.finalCltv, earlyWarning + 1) + BLOCKS_MARGIN;
    const route = [{ peer, channel: nameOf(into), delay, amount: invoice.owed }];
    sent.add(invoice.paymentHash);
    await lightning.sendAlong({ route, invoice, amount: invoice.owed, label: `cln-factory/owed/${invoice.paymentHash}` });
    const result = await lightning.waitForPayment(invoice.paymentHash, PAYMENT_SECONDS);
    if (result.kind !== 'failed') continue;
    failures += 1;
    failure = result.reason;
    await next();
  }
  return done();
};

/**
 * Whether there is an HTLC of a payment that is pending. lightningd (v26.06) writes a payment down before its HTLC, and an HTLC
 * only once it is in a commitment: after a power failure in between the payment is pending for ever, has no HTLC, and cannot be
 * sent again. Its hash is of no use then.
 */
const isUnderWay = ({ sent }: MigrationParts, channels: readonly Channel[], hash: PaymentHash): boolean =>
  sent.has(hash) || channels.some((c) => c.htlcs.some((h) => h.direction === 'out' && h.paymentHash.toString() === hash.toString()));

const nameOf = ({ localAlias, shortChannelId, channelId }: Channel): string => localAlias ?? shortChannelId ?? channelId;

/**
 * Why a member is not paid what it asks for. Its key is not here yet, so all that is left in its old channels it could still
 * take to the chain: what is paid for that is at risk, and is no more than what cannot be moved. What forwarding has cost it
 * is no risk: that is in this node's part of those very channels.
 */
const objection = async (
  { lightning }: MigrationParts,
  { from, invoice }: Of<'pay_owed'>,
  old: readonly Channel[],
  all: readonly Channel[],
  into: Channel | undefined,
): Promise<string | undefined> => {
  if (old.length < from.length || !into || old.some((c) => c.state !== 'CHANNELD_NORMAL')) return 'one of its old channels is gone';
  if (invoice.finalCltv > MAX_FINAL_CLTV) return `its final_cltv is ${invoice.finalCltv}`;
  const conditions = into.localUpdate;
  if (!conditions) return 'its new channel has no conditions yet';
  const left = old.map((c) => ({ theirs: c.total - c.toUs, most: unmovable(c.theirReserve, conditions) }));
  const over = left.find(({ theirs, most }) => theirs > most);
  if (over) return `${over.theirs} msat are left in its old channel, of which all but ${over.most} could be moved`;
  const others = all.filter((c) => !old.includes(c));
  const due = left.reduce((sum, { theirs }) => sum + theirs, 0n) + (await lightning.forwardFees(namesOf(old), namesOf(others)));
  return invoice.owed > due ? `it asks for ${invoice.owed} msat, this node sees ${due}` : undefined;
};
