/** A channel as it is kept in the database, and what follows from it alone. */
import { bytesToHex } from '@noble/hashes/utils.js';
import { randomBytes } from 'node:crypto';
import { reverseHex } from './tx.js';
import type { JsonObject } from './types.js';

/** lightningd's numbers are those of its `enum channel_state`, as the database has them. */
export const STATE_NUMBERS = {
  CHANNELD_AWAITING_LOCKIN: 2,
  CHANNELD_NORMAL: 3,
  CHANNELD_SHUTTING_DOWN: 4,
  CLOSINGD_SIGEXCHANGE: 5,
  CLOSINGD_COMPLETE: 6,
  AWAITING_UNILATERAL: 7,
  FUNDING_SPEND_SEEN: 8,
  ONCHAIN: 9,
  CLOSED: 10,
} as const;
export type ChannelState = keyof typeof STATE_NUMBERS;
export type Cause = 'user' | 'remote' | 'local' | 'protocol' | 'onchain';
export type Side = 'local' | 'remote';

/** Why an HTLC failed: BOLT 4's failure message in hex, and the node that said so. */
export interface Failure extends JsonObject {
  readonly message: string;
  readonly node: string;
  /** The channel it complains about, as the sender named it. */
  readonly channel?: string;
}

/** Where an outgoing HTLC comes from. */
export type Origin =
  | { readonly kind: 'forward'; readonly channel: number; readonly htlc: number }
  | { readonly kind: 'payment'; readonly id: number };

export interface Htlc {
  readonly direction: 'in' | 'out';
  readonly id: number;
  /** Millisatoshis. */
  readonly amount: number;
  /** Block height. */
  readonly expiry: number;
  readonly hash: string;
  /** Payloads of the hops that follow, ours first. */
  readonly onion: readonly string[];
  /** Outgoing only. */
  readonly origin?: Origin;
  /** Seconds since 1970. */
  readonly since: number;
  /** Known, but not in a commitment yet. */
  preimage?: string;
  /** Incoming only: we have refused it, and wait for the peer to take note. */
  failure?: Failure;
}

/** A balance change the opener has signed for the peer and waits for the peer's signature on. */
export interface PendingCommit {
  readonly number: number;
  readonly settled: readonly Settled[];
}
export interface Settled {
  /** Who offered it, as the opener sees it. */
  readonly offered: Side;
  readonly id: number;
  readonly preimage: string;
}

export interface PeerKeys {
  readonly funding: string;
  readonly payment: string;
  readonly delayed: string;
}

export interface Fees {
  readonly base: number;
  readonly ppm: number;
}

/** On what terms we forward into a channel: fees, and the amounts we take on, in millisatoshis. */
export interface Policy {
  readonly fees: Fees;
  readonly least: number;
  readonly most: number;
}

export interface StateChange extends JsonObject {
  readonly timestamp: string;
  readonly old_state: string;
  readonly new_state: string;
  readonly cause: Cause;
  readonly message: string;
}

/** What spent the funding output. */
export interface Spend {
  readonly kind: 'mutual' | 'ours' | 'theirs';
  readonly txid: string;
  readonly height: number;
  readonly before: ChannelState;
  /** Our delayed output, where it is ours to sweep, and the transaction that does. */
  readonly delayed?: { readonly vout: number; readonly amount: number };
  sweep?: string;
  /** Height at which nothing of ours is left to spend. */
  resolved?: number;
}

export interface Channel {
  /** The database's number, also the index of our keys. */
  readonly id: number;
  readonly peerId: string;
  readonly channelId: string;
  readonly fundingTxid: string;
  readonly fundingVout: number;
  /** Satoshis. */
  readonly capacity: number;
  readonly opener: Side;
  readonly private: boolean;
  readonly type: readonly number[];
  readonly minDepth: number;
  readonly keys: PeerKeys;
  /** Millisatoshis that came with the opening. */
  readonly pushed: number;
  /** What we, and what the peer, must keep, in satoshis. */
  readonly ourReserve: number;
  readonly theirReserve: number;
  fees: Fees;
  /** Absent: anything the channel can carry. */
  limits?: { readonly least: number; readonly most: number };
  /** Terms that were better for the sender, and until when they still do (seconds since 1970). */
  formerPolicy?: Policy & { readonly until: number };
  readonly aliasLocal: string;
  aliasRemote?: string;
  remoteUpdate?: JsonObject;
  scid?: string;
  fundingHeight?: number;
  ready: { local: boolean; remote: boolean };
  announced: boolean;
  state: ChannelState;
  status: string[];
  stateChanges: StateChange[];
  withheld: boolean;
  fundingPsbt?: string;
  /** Millisatoshis. */
  toUs: number;
  minToUs: number;
  maxToUs: number;
  commitNumber: number;
  /** The peer's signature on our commitment transaction of that number. */
  commitSignature: string;
  pendingCommit?: PendingCommit;
  nextHtlcId: number;
  /** How many HTLCs the peer has offered. */
  nextPeerHtlcId: number;
  htlcs: Htlc[];
  counts: { inOffered: number; inOfferedMsat: number; inFulfilled: number; inFulfilledMsat: number; outOffered: number; outOfferedMsat: number; outFulfilled: number; outFulfilledMsat: number };
  /** Scripts may be known from the opening; `sent` and `received` say whether the close has begun. */
  shutdown: { local: string; remote?: string; sent: boolean; received: boolean };
  closer?: Side;
  /** The mutual close, once agreed. */
  closingTx?: { readonly txid: string; readonly hex: string };
  /** What the peer is told whenever it comes back to this channel. */
  error?: string;
  /** The peer knows a later state than we do: our commitment must not be broadcast. */
  lost?: boolean;
  spend?: Spend;
}

const RETIRED: readonly ChannelState[] = ['FUNDING_SPEND_SEEN', 'ONCHAIN', 'CLOSED'];
/** States in which the channel's daemon talks to the peer. */
export const talks = ({ state }: Channel): boolean => ['CHANNELD_AWAITING_LOCKIN', 'CHANNELD_NORMAL', 'CHANNELD_SHUTTING_DOWN', 'CLOSINGD_SIGEXCHANGE'].includes(state);
export const isClosing = ({ state }: Channel): boolean => RETIRED.includes(state) || state === 'CLOSINGD_COMPLETE' || state === 'AWAITING_UNILATERAL';
export const isNormal = ({ state }: Channel): boolean => state === 'CHANNELD_NORMAL';

/** BOLT 2: the funding txid in internal byte order, its last two bytes mixed with the output's index. */
export const channelIdOf = (txid: string, vout: number): string => {
  const id = Buffer.from(reverseHex(txid), 'hex');
  id.writeUInt16BE(id.readUInt16BE(30) ^ vout, 30);
  return bytesToHex(id);
};

/** A random short channel id (BOLT 2, alias). */
export const newAlias = (): string => {
  const random = randomBytes(8);
  return `${random.readUIntBE(0, 3)}x${random.readUIntBE(3, 3)}x${random.readUInt16BE(6)}`;
};

/** Which of the two nodes is node_1 of the channel's announcements. */
export const directionOf = (from: string, to: string): number => (from < to ? 0 : 1);

/** The name under which plugins and payments see the channel: the real one once there is one. */
export const nameOf = (channel: Channel): string => channel.scid ?? channel.aliasLocal;

// Balances

export const COMMITMENT_WEIGHT = 1124;
export const HTLC_WEIGHT = 172;
export const ANCHOR = 330;
export const DUST = 546;
const pending = (channel: Channel, direction: 'in' | 'out'): readonly Htlc[] => channel.htlcs.filter((htlc) => htlc.direction === direction && htlc.failure === undefined);
export const pendingMsat = (channel: Channel, direction: 'in' | 'out'): number => pending(channel, direction).reduce((sum, { amount }) => sum + amount, 0);

/** What the opener keeps for fees: twice today's feerate and one more HTLC (lightningd's fee spike buffer), and both anchors. */
const feeBuffer = (channel: Channel, perKw: number): number => Math.ceil((2 * perKw * (COMMITMENT_WEIGHT + HTLC_WEIGHT * (channel.htlcs.length + 2))) / 1000) + 2 * ANCHOR;

const available = (channel: Channel, side: Side, perKw: number): number => {
  const [balance, reserve, direction] = side === 'local' ? ([channel.toUs, channel.ourReserve, 'out'] as const) : ([channel.capacity * 1000 - channel.toUs, channel.theirReserve, 'in'] as const);
  const buffer = channel.opener === side ? feeBuffer(channel, perKw) : 0;
  return Math.max(0, balance - pendingMsat(channel, direction) - (reserve + buffer) * 1000);
};
export const spendable = (channel: Channel, perKw: number): number => available(channel, 'local', perKw);
export const receivable = (channel: Channel, perKw: number): number => available(channel, 'remote', perKw);

/** The most we can ever send at once: all but our reserve. */
export const mostPossible = ({ capacity, ourReserve }: Channel): number => (capacity - ourReserve) * 1000;
export const policyOf = (channel: Channel): Policy => ({ fees: channel.fees, least: channel.limits?.least ?? 0, most: channel.limits?.most ?? mostPossible(channel) });
/** Today's terms, and the former ones while senders may not have heard of today's. */
export const policiesOf = (channel: Channel): readonly Policy[] => [
  policyOf(channel),
  ...(channel.formerPolicy !== undefined && channel.formerPolicy.until > Date.now() / 1000 ? [channel.formerPolicy] : []),
];

/** The fee in `fees` for forwarding this amount. */
export const forwardFee = ({ base, ppm }: Fees, msat: number): number => base + Math.floor((msat * ppm) / 1_000_000);
