/**
 * What the state machines ask the world for, and what the world tells them. A machine is `(state, event) → { state,
 * effects }`; the shell stores the state first, then performs the effects (architecture 1).
 *
 * *Durable* effects are stored with the state and performed at least once, over restarts too, so each must be idempotent.
 * *Volatile* ones may be lost with the process: whatever they served is asked for again, from the state, when the node
 * comes back or the peer reconnects.
 */
import type {
  ChannelId,
  Hex,
  InstanceId,
  Msat,
  NodeId,
  Outpoint,
  PaymentHash,
  PaymentSecret,
  Sat,
  SchnorrSignature,
  Script,
  Txid,
} from '../../blip/brands.js';
import type { FactoryMessage } from '../../blip/messages.js';
import type { FactorySpec, Prevout, Purpose, Signable, SignedTx } from '../model.js';

export type VolatileEffect =
  | { readonly kind: 'send'; readonly to: NodeId; readonly attempt: number; readonly message: FactoryMessage }
  /** Gives `timeout` back with the same name. */
  | { readonly kind: 'timer'; readonly name: string; readonly seconds: number }
  /** For whoever waits on the command line. */
  | { readonly kind: 'progress'; readonly text: string; readonly done: number; readonly total: number }
  | { readonly kind: 'log'; readonly level: 'debug' | 'info' | 'unusual' | 'broken'; readonly text: string }
  /** Publish a transaction of ours; planned anew with every block until it confirms, so losing it loses nothing. */
  | {
      readonly kind: 'broadcast';
      readonly tx: SignedTx;
      /** By which height it should be confirmed: the nearer, the more it may cost. */
      readonly deadline?: number;
      /** Whose way out it is a step of, and how many steps are left, this one included: what raising their fees costs comes out of one budget. */
      readonly exit?: { readonly member: number; readonly left: number };
      readonly why: string;
    }
  /** Take back unsold stock by its script path, once its relative lock has passed (architecture 4). */
  | { readonly kind: 'sweep_stock'; readonly spec: FactorySpec; readonly member: number; readonly stock: Prevout; readonly destination: Script }
  /** Close a channel whose funding has confirmed; skipped by the shell when it is closing already. */
  | { readonly kind: 'close_channel'; readonly peer: NodeId; readonly channelId: ChannelId; readonly unilateral: boolean }
  /** Gives `drained` when these channels carry no HTLC. */
  | { readonly kind: 'drain'; readonly attempt: number; readonly channelIds: readonly ChannelId[] }
  /** Quiesce (stfu); gives `frozen` or `freeze_failed`. */
  | { readonly kind: 'freeze'; readonly attempt: number; readonly channelIds: readonly ChannelId[] }
  | { readonly kind: 'thaw'; readonly channelIds: readonly ChannelId[] };

export type DurableEffect =
  /** Choose coins for `amount` and its fee; gives `coins_selected` or `funding_failed`. Nothing is reserved yet. */
  | { readonly kind: 'select_coins'; readonly attempt: number; readonly amount: Sat }
  /** Build and reserve; gives `funding_prepared` or `funding_failed`. */
  | {
      readonly kind: 'prepare_funding';
      readonly attempt: number;
      readonly coins: readonly Outpoint[];
      readonly script: Script;
      readonly amount: Sat;
    }
  | { readonly kind: 'release_funding'; readonly coins: readonly Outpoint[]; readonly psbt?: string }
  /** `fundchannel_start`; gives `open_started` or `open_failed`. */
  | { readonly kind: 'open_start'; readonly attempt: number; readonly member: number; readonly peer: NodeId; readonly amount: Sat }
  /** `fundchannel_complete withhold=true` with the unsigned leaf; gives `open_completed` or `open_failed`. */
  | { readonly kind: 'open_complete'; readonly attempt: number; readonly member: number; readonly peer: NodeId; readonly leaf: Signable }
  /** Cancel openings with these peers and drop the channels that these transactions would fund. */
  | { readonly kind: 'discard_channels'; readonly peers: readonly NodeId[]; readonly fundingTxids: readonly Txid[] }
  /** Read the two funding keys of the channel from the node's own database; gives `audited`. */
  | { readonly kind: 'audit'; readonly attempt: number; readonly peer: NodeId; readonly funding: Outpoint }
  /**
   * `sendpsbt` with the leaf, which is signed by now, or a purchase, which may not be: clears `withheld` (architecture 3.3);
   * gives `armed` or `arm_failed`.
   */
  | { readonly kind: 'arm'; readonly member: number; readonly leaf: Signable; readonly signature?: SchnorrSignature }
  /**
   * Sees to it that an HTLC with this hash is under way to the peer, over any channel with it, unless it has been settled: that
   * of a purchase's fee. It expires so many blocks from now, or a little later. Gives `fee_sent` or `fee_failed`.
   */
  | {
      readonly kind: 'pay_fee';
      readonly attempt: number;
      readonly peer: NodeId;
      readonly amount: Msat;
      readonly paymentHash: PaymentHash;
      readonly blocks: number;
    }
  /** Nothing comes of this purchase: cancel its opening, drop its channel if there is one. */
  | { readonly kind: 'drop_purchase'; readonly member: number; readonly peer: NodeId; readonly fundingTxid?: Txid }
  /** The factory under this channel is gone: close it and, where the node can, forget it. */
  | { readonly kind: 'retire_channel'; readonly peer: NodeId; readonly channelId: ChannelId }
  /** Waits until our channels of factory `to` can be used; gives `next_active`. */
  | { readonly kind: 'await_next'; readonly attempt: number; readonly to: InstanceId }
  /**
   * Pay ourselves, from these channels, through the coordinator, to our channels of factory `to`, until only what the channel
   * reserve keeps is left. Gives `balance_moved`.
   */
  | { readonly kind: 'move_balance'; readonly attempt: number; readonly from: readonly ChannelId[]; readonly to: InstanceId }
  /**
   * The same once nothing new comes in, until no HTLC is left; then an invoice for the rest: another one than `unpaid`, which the
   * coordinator will not pay, unless it has. Gives `balance_settled`.
   */
  | {
      readonly kind: 'settle_balance';
      readonly attempt: number;
      readonly from: readonly ChannelId[];
      readonly to: InstanceId;
      readonly unpaid?: PaymentHash;
    }
  /** Waits until this invoice of ours is paid, and factory `to` is still active then; gives `owed_received`. */
  | { readonly kind: 'await_owed'; readonly to: InstanceId; readonly paymentHash: PaymentHash }
  /**
   * Compare `owed` with what this node sees in the channels `from` and in the fees it took, and pay it, once, to the member's
   * channels of factory `to`; gives `owed_paid`, or `owed_refused`: it is not paid, not under way, and never will be.
   */
  | {
      readonly kind: 'pay_owed';
      readonly member: number;
      readonly peer: NodeId;
      readonly from: readonly ChannelId[];
      readonly to: InstanceId;
      readonly invoice: OwedInvoice;
    }
  /** Sign and send the funding transaction; gives `funding_sent` or `funding_rejected`. */
  | { readonly kind: 'send_funding'; readonly psbt: string; readonly funding: Outpoint };

export type Effect = VolatileEffect | DurableEffect;

const DURABLE: Readonly<Record<DurableEffect['kind'], true>> = {
  select_coins: true,
  prepare_funding: true,
  release_funding: true,
  open_start: true,
  open_complete: true,
  discard_channels: true,
  audit: true,
  arm: true,
  pay_fee: true,
  drop_purchase: true,
  retire_channel: true,
  send_funding: true,
  await_next: true,
  move_balance: true,
  settle_balance: true,
  await_owed: true,
  pay_owed: true,
};
/** Every kind, for tests that must leave none out. */
export const DURABLE_KINDS = Object.keys(DURABLE) as readonly DurableEffect['kind'][];

/** Giving back what an attempt took is wanted whatever becomes of later attempts: it is never cancelled. */
const CLEANUP: ReadonlySet<Effect['kind']> = new Set(['release_funding', 'discard_channels', 'drop_purchase', 'retire_channel']);
export const isCancellable = (effect: Effect): boolean => isDurable(effect) && !CLEANUP.has(effect.kind);

export const isDurable = (effect: Effect): effect is DurableEffect => effect.kind in DURABLE;

/** What a member could not move itself, to be paid to it (`migrated`). */
export interface OwedInvoice {
  readonly owed: Msat;
  readonly paymentHash: PaymentHash;
  readonly paymentSecret: PaymentSecret;
  readonly finalCltv: number;
}

/** What a channel looks like to its node, as far as we must know. */
export interface ChannelFacts {
  readonly channelId: ChannelId;
  readonly toUs: Msat;
  readonly total: Msat;
}

export type Event =
  | { readonly type: 'message'; readonly from: NodeId; readonly attempt: number; readonly message: FactoryMessage }
  | { readonly type: 'peer_connected'; readonly peer: NodeId }
  | { readonly type: 'timeout'; readonly name: string }
  /** The process is new: secret nonces and timers are gone. */
  | { readonly type: 'restarted' }
  | { readonly type: 'coins_selected'; readonly attempt: number; readonly coins: readonly Outpoint[] }
  | { readonly type: 'funding_prepared'; readonly attempt: number; readonly psbt: string; readonly funding: Outpoint }
  | { readonly type: 'funding_failed'; readonly attempt: number; readonly reason: string }
  | { readonly type: 'open_started'; readonly attempt: number; readonly member: number; readonly script: Script }
  | { readonly type: 'open_completed'; readonly attempt: number; readonly member: number; readonly channelId: ChannelId }
  | { readonly type: 'open_failed'; readonly attempt: number; readonly member: number; readonly reason: string }
  | {
      readonly type: 'audited';
      readonly attempt: number;
      readonly result:
        | { readonly ok: true; readonly script: Script; readonly channel: ChannelFacts }
        | { readonly ok: false; readonly reason: string };
    }
  | { readonly type: 'armed'; readonly member: number }
  | { readonly type: 'arm_failed'; readonly member: number; readonly reason: string }
  | { readonly type: 'funding_sent' }
  | { readonly type: 'funding_rejected'; readonly reason: string }
  | { readonly type: 'drained'; readonly attempt: number; readonly channels: readonly ChannelFacts[] }
  | { readonly type: 'frozen'; readonly attempt: number }
  | { readonly type: 'freeze_failed'; readonly attempt: number; readonly reason: string }
  | { readonly type: 'fee_sent'; readonly attempt: number }
  | { readonly type: 'fee_failed'; readonly attempt: number; readonly reason: string }
  /** The HTLC of a purchase's fee waits in the coordinator's hook; `fee_lost`: it had to be failed. */
  | { readonly type: 'fee_held'; readonly paymentHash: PaymentHash }
  | { readonly type: 'fee_lost'; readonly paymentHash: PaymentHash }
  | { readonly type: 'next_active'; readonly attempt: number }
  | { readonly type: 'balance_moved'; readonly attempt: number }
  /** `invoice` for what is left and what moving has cost, if that is anything. */
  | {
      readonly type: 'balance_settled';
      readonly attempt: number;
      readonly invoice?: OwedInvoice;
    }
  | { readonly type: 'owed_received'; readonly paymentHash: PaymentHash }
  | { readonly type: 'owed_paid'; readonly member: number }
  | { readonly type: 'owed_refused'; readonly member: number; readonly reason: string }
  /** A factory for this one's members is being created. */
  | { readonly type: 'rotation_begun'; readonly to: InstanceId }
  | { readonly type: 'rotation_ended'; readonly to: InstanceId; readonly reason: string }
  /** One was due, and could not even be begun. */
  | { readonly type: 'rotation_postponed'; readonly reason: string }
  /** Factory `to` is active: these members may move there. */
  | { readonly type: 'migrate_requested'; readonly to: InstanceId; readonly members: readonly number[] }
  | ChainEvent
  /** The operator's commands. */
  | { readonly type: 'quote_requested'; readonly amount: Sat }
  /** `fee`: what the client pays; the quote's, usually. */
  | { readonly type: 'buy_requested'; readonly amount: Sat; readonly fee: Msat; readonly requestId?: string }
  | { readonly type: 'sell_requested'; readonly member: number; readonly amount: Sat; readonly fee: Msat; readonly requestId?: string }
  /** `by`: the height by which the channel must be on chain, if something forces it (an HTLC). */
  | { readonly type: 'exit_requested'; readonly members: readonly number[]; readonly by?: number }
  /** Whether the next rotation is to leave this member out. */
  | { readonly type: 'leave_requested'; readonly leaves: boolean }
  | { readonly type: 'close_requested'; readonly feerate: number }
  /** Take back every subtree whose keys are here and whose output is on chain; the feerate in sat per 1,000 vB. */
  | { readonly type: 'turnover_requested'; readonly feerate: number }
  | { readonly type: 'abort_requested'; readonly reason: string };

export interface ConfirmedTx {
  readonly txid: Txid;
  readonly inputs: readonly Outpoint[];
  readonly outputs: readonly { readonly amount: Sat; readonly script: Script }[];
}
export interface Spend {
  readonly outpoint: Outpoint;
  readonly by: Txid;
}
export type ChainEvent =
  | {
      readonly type: 'block_connected';
      readonly height: number;
      /** Watched outputs spent in this block. */
      readonly spends: readonly Spend[];
      /** Watched transactions in this block, whole: a txid alone does not say what it pays to whom. */
      readonly confirmed: readonly ConfirmedTx[];
    }
  | { readonly type: 'block_disconnected'; readonly height: number };

/** An entry of the sign-once record: stored before the partial signature leaves (architecture 12.6). */
export interface SignOnce {
  readonly outpoint: Outpoint;
  readonly purpose: Purpose;
  readonly sighash: Hex;
}

export interface Step<S> {
  readonly state: S;
  readonly effects: readonly Effect[];
  readonly signOnce?: readonly SignOnce[];
  /** Durable effects that were asked for and are not done are no longer wanted (their attempt is over). */
  readonly cancelPending?: boolean;
}

export const step = <S>(state: S, effects: readonly Effect[] = [], extra: Omit<Step<S>, 'state' | 'effects'> = {}): Step<S> => ({
  state,
  effects,
  ...extra,
});

export const signOnceOf = (s: Signable): SignOnce => ({ outpoint: s.tx.prevout.outpoint, purpose: s.purpose, sighash: s.sighash });

/** One step after the other, as one. */
export const andThen = <A extends S, S>(first: Step<A>, next: (state: A) => Step<S>): Step<S> => {
  const second = next(first.state);
  const signOnce = [...(first.signOnce ?? []), ...(second.signOnce ?? [])];
  return {
    state: second.state,
    effects: [...first.effects, ...second.effects],
    ...(signOnce.length > 0 ? { signOnce } : {}),
    ...(first.cancelPending === true || second.cancelPending === true ? { cancelPending: true } : {}),
  };
};
