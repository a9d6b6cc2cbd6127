/** Payments, as the engine knows them. */
import type { Msat, NodeId, PaymentHash, PaymentSecret } from '../../blip/brands.js';

export interface InvoiceRequest {
  readonly label: string;
  readonly amount: Msat;
  readonly description: string;
  readonly expirySeconds: number;
  /** Unless it is paid, an invoice with this hash is replaced, whatever its amount. */
  readonly unlike?: PaymentHash;
}

/** An invoice of this node. */
export interface OwnInvoice {
  readonly paymentHash: PaymentHash;
  readonly paymentSecret: PaymentSecret;
  /** `min_final_cltv_expiry`: blocks the HTLC must have left when it arrives. */
  readonly finalCltv: number;
  readonly amount: Msat;
  readonly status: 'paid' | 'unpaid';
}

export interface RouteHop {
  readonly peer: NodeId;
  /** As the node that sends over it names it: our alias for the first hop, its own for the others. */
  readonly channel: string;
  /** Blocks the HTLC of this hop has left. */
  readonly delay: number;
  readonly amount: Msat;
}

export interface SendRequest {
  readonly route: readonly RouteHop[];
  readonly invoice: Pick<OwnInvoice, 'paymentHash' | 'paymentSecret'>;
  /** What the last node gets. */
  readonly amount: Msat;
  readonly label: string;
}

export interface HtlcRequest {
  readonly peer: NodeId;
  /** Short channel id or alias of a channel with it, as our commands name it. */
  readonly channel: string;
  readonly amount: Msat;
  readonly paymentHash: PaymentHash;
  /** It expires so many blocks after the next one. */
  readonly blocks: number;
  /** Which try it is: no two of a hash are the same; those of one group can be under way together. */
  readonly group: number;
  readonly part: number;
}

/** A try to pay, as `listsendpays` has it. */
export interface PaymentTry {
  readonly group: number;
  readonly part: number;
  readonly status: 'pending' | 'complete' | 'failed';
}

export interface Payment {
  readonly paymentHash: PaymentHash;
  readonly status: PaymentTry['status'];
  readonly amount: Msat;
  /** With fees. */
  readonly sent: Msat;
  readonly label?: string;
}

/** `none`: nothing has ever left. After `failed` it may be sent again, after the others not. */
export type PaymentStatus = 'none' | PaymentTry['status'];

export type PaymentResult = { readonly kind: 'pending' | 'complete' } | { readonly kind: 'failed'; readonly reason: string };

export interface PaymentApi {
  /** The invoice with this label, made if there is none. One that is not paid, and has another amount or is not wanted any more, is replaced. */
  ownInvoice(request: InvoiceRequest): Promise<OwnInvoice>;
  isPaid(hash: PaymentHash): Promise<boolean>;
  /** `sendpay`. Resolves when the HTLC is offered, not when it is settled. `rejected` for a payment that has been made. */
  sendAlong(request: SendRequest): Promise<void>;
  /**
   * One HTLC to a peer, for a hash that no invoice of its knows (`sendpay` of one hop). Resolves when it is on its way. `rejected` when
   * the channel cannot take it, or this node has settled one with this hash.
   */
  sendHtlc(request: HtlcRequest): Promise<void>;
  /** What this node has sent with this hash. */
  paymentTries(hash: PaymentHash): Promise<readonly PaymentTry[]>;
  paymentStatus(hash: PaymentHash): Promise<PaymentStatus>;
  /** Until it is settled one way or the other, so many seconds at most. */
  waitForPayment(hash: PaymentHash, seconds: number): Promise<PaymentResult>;
  /** Payments of ours that were made, and whose label begins so. */
  completedPayments(prefix: string): Promise<readonly Payment[]>;
  /** What this node has earned by forwarding from these channels to those; all named by it. */
  forwardFees(from: readonly string[], to: readonly string[]): Promise<Msat>;
  /** Makes sure that an askrene layer of this name, if there was ever need for it, has these channels disabled, both ways, and no others. */
  avoid(layer: string, channels: readonly string[]): Promise<void>;
}
