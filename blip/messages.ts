/**
 * The messages of our factory protocol, as data. They travel as the payload of bLIP-56's `factory_piggyback`
 * (sub-message 4); `blip/cln-factory-protocol.md` is their specification, `protocol-codec.ts` their bytes.
 */
import type {
  AggregateNonce,
  ChainHash,
  ChannelId,
  Hex,
  InstanceId,
  Msat,
  Outpoint,
  PartialSignature,
  PubKey,
  PublicNonce,
  Sat,
  SchnorrSignature,
  Script,
  Txid,
} from './brands.js';
import type { PurchaseMessage } from './purchase-messages.js';
import type { RotationMessage } from './rotation-messages.js';
import type { WaitingMessage } from './waiting-messages.js';

/** What every message begins with. Anything whose version, instance, attempt or step does not fit is ignored and logged. */
export interface MessageHeader {
  readonly instanceId: InstanceId;
  /** Which try of the ceremony (creation or close), or which purchase, this belongs to; starts at 1. */
  readonly attempt: number;
}

/** A client's line in the roster. Node ids do not travel: members need not know each other. */
export interface RosterEntry {
  readonly key: PubKey;
  /** Where distribution and close pay this client: P2WPKH, P2WSH or P2TR. */
  readonly payoutScript: Script;
  readonly capacity: Sat;
  readonly stock: Sat;
}

export interface CloseOutput {
  readonly amount: Sat;
  readonly script: Script;
}

/** coordinator → member: would you join on these terms? */
export interface Invite {
  readonly type: 'invite';
  readonly chainHash: ChainHash;
  readonly capacity: Sat;
  readonly stock: Sat;
  /** sat per 1,000 vB, fixed for every tree transaction. */
  readonly treeFeerate: number;
  readonly activeBlocks: number;
  readonly dyingBlocks: number;
  readonly settlingBlocks: number;
  /** Relative lock, in blocks, after which the LSP alone may take back unsold stock. */
  readonly stockCsv: number;
  /** Confirmations of the funding transaction before the factory is active. */
  readonly minDepth: number;
  readonly minClients: number;
  readonly maxClients: number;
}
/** member → coordinator */
export interface Join {
  readonly type: 'join';
  readonly key: PubKey;
  readonly payoutScript: Script;
}
/** member → coordinator */
export interface Decline {
  readonly type: 'decline';
  readonly code: number;
  readonly reason: string;
}
/** coordinator → member: all a member needs to derive its path, the distribution and the funding script. */
export interface Spec {
  readonly type: 'spec';
  readonly coordinatorKey: PubKey;
  /** The receiver's index in the roster. */
  readonly memberIndex: number;
  readonly roster: readonly RosterEntry[];
  /** Fan-out of each level of splits, root first. */
  readonly fanouts: readonly number[];
  readonly startHeight: number;
  readonly expiryHeight: number;
  readonly funding: Outpoint;
  readonly fundingAmount: Sat;
}
/** member → coordinator. Order, here and in the next three: the member's splits from root to lowest, then the distribution. */
export interface Nonces {
  readonly type: 'nonces';
  readonly nonces: readonly PublicNonce[];
}
/** coordinator → member */
export interface AggregateNonces {
  readonly type: 'aggregate_nonces';
  readonly nonces: readonly AggregateNonce[];
}
/** member → coordinator */
export interface Partials {
  readonly type: 'partials';
  readonly partials: readonly PartialSignature[];
}
/** coordinator → member */
export interface Signatures {
  readonly type: 'signatures';
  readonly signatures: readonly SchnorrSignature[];
}
/** member → coordinator: verified and on disk. */
export interface Stored {
  readonly type: 'stored';
}
/** coordinator → member: the next `open_channel` from me is this one. */
export interface OpenIntent {
  readonly type: 'open_intent';
  /** The exact `channel_in_factory` TLV record (type, length, value) of bLIP-56. */
  readonly channelInFactory: Hex;
  readonly fundingAmount: Sat;
}
/** member → coordinator: I expect it. */
export interface OpenReady {
  readonly type: 'open_ready';
}
/** coordinator → member: the channel's script as CLN gave it, and a nonce for the leaf. */
export interface Leaf {
  readonly type: 'leaf';
  readonly channelScript: Script;
  readonly nonce: PublicNonce;
}
/** member → coordinator */
export interface LeafPartial {
  readonly type: 'leaf_partial';
  readonly nonce: PublicNonce;
  readonly partial: PartialSignature;
}
/** coordinator → member */
export interface LeafSignature {
  readonly type: 'leaf_signature';
  readonly signature: SchnorrSignature;
}
/** member → coordinator: verified and on disk. */
export interface LeafStored {
  readonly type: 'leaf_stored';
}
/** coordinator → member: `funding_created` is through; audit your channel. */
export interface ChannelOpened {
  readonly type: 'channel_opened';
  readonly channelId: ChannelId;
}
/** member → coordinator: outpoint and script of my channel are the leaf's. */
export interface Ready {
  readonly type: 'ready';
}
/** coordinator → member: the funding transaction has been sent. */
export interface Published {
  readonly type: 'published';
  readonly fundingTxid: Txid;
}
/** coordinator → member: stop HTLCs; tell me your balance when the channel is drained. */
export interface CloseRequest {
  readonly type: 'close_request';
}
/** member → coordinator: drained, and no HTLC from now on; my balance. */
export interface CloseReady {
  readonly type: 'close_ready';
  readonly balance: Msat;
}
/** coordinator → member: the transaction that ends the factory, as its outputs (in this order, nothing else). */
export interface CloseProposal {
  readonly type: 'close_proposal';
  readonly outputs: readonly CloseOutput[];
}
/** member → coordinator */
export interface CloseNonce {
  readonly type: 'close_nonce';
  readonly nonce: PublicNonce;
}
/** coordinator → member */
export interface CloseAggregateNonce {
  readonly type: 'close_aggregate_nonce';
  readonly nonce: AggregateNonce;
}
/** member → coordinator */
export interface ClosePartial {
  readonly type: 'close_partial';
  readonly partial: PartialSignature;
}
/** coordinator → member */
export interface CloseSignature {
  readonly type: 'close_signature';
  readonly signature: SchnorrSignature;
}
/** either → either: this attempt is over (creation before arming; close before any partial signature). */
export interface Abort {
  readonly type: 'abort';
  readonly code: number;
  readonly reason: string;
}

export type FactoryMessage =
  | Invite
  | Join
  | Decline
  | Spec
  | Nonces
  | AggregateNonces
  | Partials
  | Signatures
  | Stored
  | OpenIntent
  | OpenReady
  | Leaf
  | LeafPartial
  | LeafSignature
  | LeafStored
  | ChannelOpened
  | Ready
  | Published
  | CloseRequest
  | CloseReady
  | CloseProposal
  | CloseNonce
  | CloseAggregateNonce
  | ClosePartial
  | CloseSignature
  | PurchaseMessage
  | RotationMessage
  | WaitingMessage
  | Abort;

export type FactoryMessageType = FactoryMessage['type'];
/** A message with its header, as it travels. */
export interface FactoryEnvelope {
  readonly header: MessageHeader;
  readonly message: FactoryMessage;
}
