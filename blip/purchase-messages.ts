/**
 * The sale of stock, between the coordinator and one member of a live factory (`cln-factory-protocol.md`, "Purchases"). The
 * header's attempt is the purchase's number: the member counts them, and none is used again.
 */
import type { ChannelId, Hex, Msat, PartialSignature, PaymentHash, Preimage, PublicNonce, Sat, SchnorrSignature, Script } from './brands.js';

/** member → coordinator: what would a channel of this amount cost? */
export interface PurchaseQuoteRequest {
  readonly type: 'purchase_quote_request';
  readonly amount: Sat;
}
/** coordinator → member: binds nobody. */
export interface PurchaseQuote {
  readonly type: 'purchase_quote';
  readonly amount: Sat;
  readonly fee: Msat;
  /** After this purchase; as it is now, if it is refused. */
  readonly stockLeft: Sat;
  /** Why it cannot be had now. */
  readonly refusal?: string;
}
/** coordinator → member: would you take a channel of this amount at this price? `purchase_request` says yes. */
export interface PurchaseOffer {
  readonly type: 'purchase_offer';
  readonly amount: Sat;
  readonly fee: Msat;
}
/** member → coordinator */
export interface PurchaseRequest {
  readonly type: 'purchase_request';
  readonly amount: Sat;
  readonly fee: Msat;
  /** Of a preimage that the member alone knows until it holds the purchase's signature. */
  readonly paymentHash: PaymentHash;
}
/** coordinator → member: the next `open_channel` from me is this one. */
export interface PurchaseIntent {
  readonly type: 'purchase_intent';
  /** The exact `channel_in_factory` TLV record (type, length, value) of bLIP-56. */
  readonly channelInFactory: Hex;
  readonly amount: Sat;
  /** How many purchases were made of this stock before: which output it spends. */
  readonly index: number;
}
/** member → coordinator: I expect it. */
export interface PurchaseReady {
  readonly type: 'purchase_ready';
}
/** coordinator → member: both nodes have the channel; audit yours and sign. */
export interface PurchaseOpened {
  readonly type: 'purchase_opened';
  readonly channelScript: Script;
  readonly channelId: ChannelId;
  readonly nonce: PublicNonce;
}
/** member → coordinator: the fee is under way. */
export interface PurchasePartial {
  readonly type: 'purchase_partial';
  /** The coordinator's that it is made for: after a restart there is another. */
  readonly coordinatorNonce: PublicNonce;
  readonly nonce: PublicNonce;
  readonly partial: PartialSignature;
}
/** coordinator → member */
export interface PurchaseSignature {
  readonly type: 'purchase_signature';
  readonly signature: SchnorrSignature;
}
/** member → coordinator: verified and on disk; take your fee. */
export interface PurchaseStored {
  readonly type: 'purchase_stored';
  readonly preimage: Preimage;
}
/** either → either: nothing comes of this purchase, or of this quote or offer. */
export interface PurchaseAbort {
  readonly type: 'purchase_abort';
  readonly code: number;
  readonly reason: string;
}

export type PurchaseMessage =
  | PurchaseQuoteRequest
  | PurchaseQuote
  | PurchaseOffer
  | PurchaseRequest
  | PurchaseIntent
  | PurchaseReady
  | PurchaseOpened
  | PurchasePartial
  | PurchaseSignature
  | PurchaseStored
  | PurchaseAbort;
