/** The coordinator's factory, phase by phase: what is not yet known in a phase is not in its type. */
import type {
  AggregateNonce,
  ChannelId,
  InstanceId,
  Msat,
  NodeId,
  Outpoint,
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
import type { CloseOutput } from '../../blip/messages.js';
import type { ChannelFacts, OwedInvoice } from '../protocol/effects.js';
import type { FactoryPlan, FactorySpec, Terms } from '../model.js';
import type { Pricing } from '../live/purchasing.js';
import type { Live } from '../live/state.js';
import type { Signer } from '../musig/index.js';

export interface ClientRequest {
  readonly nodeId: NodeId;
  readonly capacity: Sat;
  readonly stock: Sat;
}

export interface CreateRequest {
  readonly instanceId: InstanceId;
  readonly clients: readonly ClientRequest[];
  readonly minClients: number;
  readonly terms: Terms;
  /** Fan-outs asked for by the operator; absent: the planner's. */
  readonly fanouts?: readonly number[];
  /** Seconds a member has for each answer before the ceremony goes on without it. */
  readonly stepTimeout: number;
  readonly coordinatorKey: PubKey;
  /** Where a close pays the LSP. */
  readonly payoutScript: Script;
}

/** A client that is no longer part of it, and why. */
export interface Excluded {
  readonly nodeId: NodeId;
  readonly reason: string;
}

export type Answer =
  | { readonly kind: 'pending' }
  | { readonly kind: 'joined'; readonly key: PubKey; readonly payoutScript: Script };

export interface Invitee extends ClientRequest {
  readonly answer: Answer;
}

/** A client that joined: a line of the roster with a node id. */
export interface Member extends ClientRequest {
  readonly key: PubKey;
  readonly payoutScript: Script;
}

interface Common {
  readonly role: 'coordinator';
  readonly request: CreateRequest;
  readonly attempt: number;
  readonly excluded: readonly Excluded[];
}

export interface Inviting extends Common {
  readonly phase: 'inviting';
  readonly invitees: readonly Invitee[];
}

export interface Preparing extends Common {
  readonly phase: 'preparing';
  readonly members: readonly Member[];
  readonly plan: FactoryPlan;
  readonly coins?: readonly Outpoint[];
}

/** Coins held for the funding transaction. */
export interface Reserved {
  readonly coins: readonly Outpoint[];
  readonly psbt: string;
}

export interface Signing extends Common {
  readonly phase: 'signing';
  readonly members: readonly Member[];
  readonly spec: FactorySpec;
  readonly reserved: Reserved;
  readonly progress:
    | { readonly step: 'nonces'; readonly nonces: readonly (readonly PublicNonce[] | null)[] }
    | {
        readonly step: 'partials';
        readonly nonces: readonly (readonly PublicNonce[])[];
        readonly aggregates: Readonly<Record<Txid, AggregateNonce>>;
        readonly partials: readonly (readonly PartialSignature[] | null)[];
      }
    | { readonly step: 'storing'; readonly signatures: Readonly<Record<Txid, SchnorrSignature>>; readonly stored: readonly boolean[] };
}

/** How far one client's leaf and channel are. */
export type LeafProgress =
  | { readonly step: 'intent' }
  | { readonly step: 'starting' }
  /** `nonce` is this node's: what the client signs is for this one, and no other. */
  | { readonly step: 'signing'; readonly channelScript: Script; readonly nonce: PublicNonce }
  | { readonly step: 'storing'; readonly channelScript: Script; readonly signature: SchnorrSignature }
  | { readonly step: 'completing'; readonly channelScript: Script; readonly signature: SchnorrSignature }
  | { readonly step: 'auditing'; readonly channelScript: Script; readonly signature: SchnorrSignature; readonly channelId: ChannelId }
  | SignedLeaf;
export interface SignedLeaf {
  readonly step: 'ready';
  readonly channelScript: Script;
  readonly signature: SchnorrSignature;
  readonly channelId: ChannelId;
}

export interface Opening extends Common {
  readonly phase: 'opening';
  readonly members: readonly Member[];
  readonly spec: FactorySpec;
  readonly reserved: Reserved;
  /** Of every split and the distribution, all verified. */
  readonly signatures: Readonly<Record<Txid, SchnorrSignature>>;
  readonly leaves: readonly LeafProgress[];
}
/** Past the point where members can be dropped: every exit is signed, stored and audited by both sides. */
export interface Arming extends Common {
  readonly phase: 'arming';
  readonly members: readonly Member[];
  readonly spec: FactorySpec;
  readonly reserved: Reserved;
  /** The chain is watched from here on: the funding transaction may confirm before this node knows that it was sent. */
  readonly live: Live;
  readonly armed: readonly boolean[];
}

/** The cooperative close under way (architecture 9). */
export interface Closing {
  readonly attempt: number;
  /** sat per 1,000 vB. */
  readonly feerate: number;
  readonly progress:
    | {
        readonly step: 'draining';
        /** What each client says it has. */
        readonly balances: readonly (Msat | null)[];
        /** What this node's side of each channel is, once drained. */
        readonly channels?: readonly ChannelFacts[];
      }
    | { readonly step: 'freezing'; readonly outputs: readonly CloseOutput[] }
    | { readonly step: 'nonces'; readonly outputs: readonly CloseOutput[]; readonly nonces: readonly (PublicNonce | null)[] }
    | {
        readonly step: 'partials';
        readonly nonces: readonly PublicNonce[];
        readonly aggregate: AggregateNonce;
        readonly partials: readonly (PartialSignature | null)[];
      };
}

/** What is sold, to whom, at which price. */
export interface Deal {
  /** The purchase's number. */
  readonly attempt: number;
  /** Of the new channel. */
  readonly amount: Sat;
  readonly fee: Msat;
  /** Of the operator's command, if it was one of ours. */
  readonly requestId?: string;
}

export type SaleProgress =
  | { readonly step: 'intent' }
  | { readonly step: 'starting' }
  | { readonly step: 'completing'; readonly channelScript: Script }
  /** Both nodes have the channel. From here on the client may have signed, so this is given up only if it says that it has not. */
  | {
      readonly step: 'signing';
      readonly channelScript: Script;
      readonly channelId: ChannelId;
      /** This node's: what the client signs is for this one, and no other. */
      readonly nonce: PublicNonce;
      readonly theirs?: { readonly nonce: PublicNonce; readonly partial: PartialSignature };
      readonly armed: boolean;
    }
  /** Signed and in the branch; the client may not have it yet, nor paid. */
  | { readonly step: 'storing'; readonly channelId: ChannelId; readonly signature: SchnorrSignature }
  /** The client has let go of the preimage, and there is no HTLC it could settle: it had to be failed, and comes again. */
  | { readonly step: 'settling'; readonly channelId: ChannelId; readonly signature: SchnorrSignature; readonly preimage: Preimage };

export interface Sale extends Deal {
  readonly paymentHash: PaymentHash;
  /** The HTLC of the fee waits in the hook; as far as this process knows. */
  readonly held: boolean;
  readonly progress: SaleProgress;
}

/** How a purchase ended, for whoever waits for it. */
export type PurchaseOutcome =
  | { readonly attempt: number; readonly ok: true; readonly channelId: ChannelId }
  | { readonly attempt: number; readonly ok: false; readonly code: number; readonly reason: string };

/** One client's purchases, as the coordinator sees them. */
export interface Selling {
  /** The highest number a request of this client had: each is used once. */
  readonly lastRequest: number;
  /** The highest number of an offer of ours. */
  readonly lastOffer: number;
  readonly offer?: Deal;
  readonly sale?: Sale;
  readonly outcome?: PurchaseOutcome;
  /** Fees whose preimage is known. lightningd may ask about such an HTLC again, after a crash: it is settled again. */
  readonly paid: readonly { readonly paymentHash: PaymentHash; readonly preimage: Preimage }[];
}

interface Refusals {
  /** Why it was refused last. */
  readonly problem: string;
  /** How often it was. */
  readonly refusals: number;
}

/** One member's way to another factory (architecture 8). Numbers of attempts are never used again. */
export type Migration = { readonly attempt: number; readonly to: InstanceId } & (
  /** It has been told, and will be again. */
  | { readonly step: 'asked' }
  /** It pays itself; this node sends over its new channels what it can. */
  | { readonly step: 'moving' }
  /** What it asked for is not paid, and never will be, for this reason; at height `again` it is told to count anew. */
  | ({ readonly step: 'refused'; readonly again: number } & Refusals)
  /** It was told so: it moves what it still can, over channels that carry HTLCs again, and asks for the rest with another invoice. */
  | ({ readonly step: 'recounting' } & Refusals)
  /** Everything else is over there, it says; `owed` is compared and paid. Nothing goes over its old channels from here on. */
  | ({ readonly step: 'paying'; readonly refusals?: number } & OwedInvoice)
  | ({ readonly step: 'paid' } & OwedInvoice)
  /** Its key is here, in its branch. */
  | { readonly step: 'done'; readonly owed?: Msat }
);

export interface RotationTo {
  readonly to: InstanceId;
  /** How many were begun, this one included. */
  readonly attempts: number;
  /** Height when it was begun. */
  readonly since: number;
  /** Why the other factory did not come to be. */
  readonly failure?: string;
}

export interface CoordinatorLive extends Common {
  readonly phase: 'live';
  readonly members: readonly Member[];
  readonly live: Live;
  readonly closing?: Closing;
  /** How many close attempts there were: numbers are never used again. */
  readonly closeAttempts: number;
  /** Why the last attempt to close ended. */
  readonly closeFailure?: string;
  /** By member; absent where nothing was ever bought. */
  readonly selling?: Readonly<Record<number, Selling>>;
  /** What the schedule has tried in vain, or begun: how often, when last, and what stood in the way. */
  readonly schedule?: { readonly tries: number; readonly last: number; readonly problem?: string };
  /** The factory its members move to. */
  readonly rotation?: RotationTo;
  /** By member. */
  readonly migrations?: Readonly<Record<number, Migration>>;
  /** Members that have asked to be left out of the next rotation, or have changed their minds: their latest decisions. */
  readonly leaving?: Readonly<Record<number, { readonly attempt: number; readonly leaves: boolean }>>;
  /** How many times members were told to move. */
  readonly migrationAttempts?: number;
}

export interface Aborted extends Common {
  readonly phase: 'aborted';
  readonly reason: string;
}

export type CoordinatorState = Inviting | Preparing | Signing | Opening | Arming | CoordinatorLive | Aborted;

/** What a step may use besides state and event. Memory only; nothing of it is stored. */
export interface Env {
  readonly signer: Signer;
  /** Height of the best block this node knows. */
  readonly height: number;
  /** What this node asks for its stock. */
  readonly pricing: Pricing;
}
