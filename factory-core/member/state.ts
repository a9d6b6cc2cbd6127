/** A member's factory, phase by phase. */
import type {
  ChannelId,
  InstanceId,
  Msat,
  NodeId,
  PartialSignature,
  PaymentHash,
  Preimage,
  PubKey,
  PublicNonce,
  Sat,
  SchnorrSignature,
  Script,
  Txid,
} from '../../blip/brands.js';
import type { CloseOutput, Invite } from '../../blip/messages.js';
import type { PurchaseQuote } from '../../blip/purchase-messages.js';
import type { FactorySpec } from '../model.js';
import type { Live } from '../live/state.js';
import type { OwedInvoice } from '../protocol/effects.js';
import type { Signer } from '../musig/index.js';
import type { PlanBounds } from '../validate.js';

/** What is fixed when the invitation is accepted. */
interface Common {
  readonly role: 'member';
  readonly instanceId: InstanceId;
  readonly coordinator: NodeId;
  readonly invite: Invite;
  readonly key: PubKey;
  readonly payoutScript: Script;
  readonly attempt: number;
}

export interface Joined extends Common {
  readonly phase: 'joined';
  /** Block height when the invitation came. */
  readonly since: number;
}

export interface Signing extends Common {
  readonly phase: 'signing';
  readonly spec: FactorySpec;
  readonly member: number;
  readonly nonces: readonly PublicNonce[];
  /** Once given: the same is given again, never another. */
  readonly partials?: readonly PartialSignature[];
}

interface Signed extends Common {
  readonly spec: FactorySpec;
  readonly member: number;
  /** Of this member's path and the distribution, all verified. */
  readonly signatures: Readonly<Record<Txid, SchnorrSignature>>;
}

export type LeafStep =
  /** The tree is stored; no channel announced yet. */
  | { readonly step: 'stored' }
  /** The next `open_channel` from the coordinator is expected. */
  | { readonly step: 'expecting' }
  | { readonly step: 'signed'; readonly channelScript: Script; readonly nonce: PublicNonce; readonly partial: PartialSignature }
  | { readonly step: 'complete'; readonly channelScript: Script; readonly signature: SchnorrSignature }
  /** CLN has the channel; its outpoint and script are being compared with the leaf's. */
  | { readonly step: 'auditing'; readonly channelScript: Script; readonly signature: SchnorrSignature; readonly channelId: ChannelId };

export interface Opening extends Signed {
  readonly phase: 'opening';
  readonly leaf: LeafStep;
}

export interface MemberClosing {
  readonly attempt: number;
  readonly progress:
    /** `outputs` when the coordinator goes on with a close that others may have signed in an earlier attempt. */
    | { readonly step: 'draining'; readonly outputs?: readonly CloseOutput[] }
    /** Drained; `balance` is what this client has. */
    | { readonly step: 'ready'; readonly balance: Msat }
    | { readonly step: 'nonce'; readonly outputs: readonly CloseOutput[]; readonly nonce: PublicNonce }
    | { readonly step: 'partial'; readonly partial: PartialSignature };
}

export type BuyingProgress =
  | { readonly step: 'requested' }
  /** The next `open_channel` of this amount from the coordinator is expected. */
  | { readonly step: 'expecting' }
  /** CLN has the channel; its outpoint and script are being compared with what this node has derived. */
  | ({ readonly step: 'auditing' } & Opened)
  /** The HTLC of the fee is being sent. */
  | ({ readonly step: 'paying' } & Opened)
  /** The partial signature may be out: from here on this stock is spent by this purchase, or by none. */
  | ({ readonly step: 'signed'; readonly nonce: PublicNonce; readonly partial: PartialSignature } & Opened)
  /** Verified and in the branch. */
  | { readonly step: 'stored'; readonly channelId: ChannelId };
interface Opened {
  readonly channelScript: Script;
  readonly channelId: ChannelId;
  /** The coordinator's nonce. */
  readonly theirs: PublicNonce;
}

/** A purchase under way, or the last one. */
export interface Buying {
  /** Its number. */
  readonly attempt: number;
  /** Of the new channel. */
  readonly amount: Sat;
  readonly fee: Msat;
  readonly preimage: Preimage;
  readonly progress: BuyingProgress;
  /** Of the operator's command, if it was one. */
  readonly requestId?: string;
  /** How often its fee could not be sent since the coordinator last asked. */
  readonly feeFailures?: number;
}

/** This member's purchases. */
export interface Purchasing {
  /** The highest number of our own: each is used once. */
  readonly last: number;
  /** The highest number of an offer. */
  readonly lastOffer: number;
  /** The price that was asked for last. */
  readonly asked?: { readonly attempt: number; readonly amount: Sat };
  /** The coordinator's latest answer. */
  readonly quote?: Omit<PurchaseQuote, 'type'> & { readonly attempt: number };
  readonly current?: Buying;
  /** How the last one that is not `current` any more ended, or that one's failure. */
  readonly failure?: { readonly attempt: number; readonly code: number; readonly reason: string };
  /** Amounts of all channels ever expected: a channel of one that is in no branch is nobody's, and carries nothing. */
  readonly expected: readonly Sat[];
}
/** This member's way to another factory (architecture 8). */
export type MemberMigration = { readonly attempt: number; readonly to: InstanceId } & (
  /** The other factory is not active here yet. */
  | { readonly step: 'waiting' }
  /** Paying itself through the coordinator; everything else goes on. */
  | { readonly step: 'moving' }
  /** Nothing is taken over the old channels any more; the last HTLCs end, the last of the balance moves. */
  | { readonly step: 'settling' }
  /** What could not be moved is awaited. */
  | ({ readonly step: 'owed' } & OwedInvoice)
  /** The key may have left: this member is out, whether or not the coordinator knows. */
  | { readonly step: 'handing_over' }
  | { readonly step: 'handed_over' }
);

/** What this member has decided about the next rotation, and told the coordinator. */
export interface Leaving {
  /** The decision's number. */
  readonly attempt: number;
  readonly leaves: boolean;
  /** The coordinator has it on record. */
  readonly noted: boolean;
  /** It has not taken it: it was too late. */
  readonly refused?: true;
}

export interface MemberLive extends Common {
  readonly phase: 'live';
  readonly member: number;
  readonly live: Live;
  readonly closing?: MemberClosing;
  readonly purchasing?: Purchasing;
  readonly migration?: MemberMigration;
  /** The last invoice that the coordinator would not pay: the next one is another. */
  readonly unpaidInvoice?: PaymentHash;
  readonly leaving?: Leaving;
}

export interface MemberAborted extends Common {
  readonly phase: 'aborted';
  readonly reason: string;
}

export type MemberState = Joined | Signing | Opening | MemberLive | MemberAborted;

export interface MemberEnv {
  readonly signer: Signer;
  /** Height of the best block this node knows. */
  readonly height: number;
  /** What this node takes part in at all. */
  readonly bounds: PlanBounds;
  /** What this node pays for a purchase that the coordinator offers. */
  readonly maxPurchaseFee: Msat;
  /** Fresh random bytes from a cryptographic source. */
  readonly random: (bytes: number) => Uint8Array;
}
