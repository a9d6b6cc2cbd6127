/** A member's factory, phase by phase. */
import type {
  ChannelId,
  InstanceId,
  Msat,
  NodeId,
  PartialSignature,
  PubKey,
  PublicNonce,
  SchnorrSignature,
  Script,
  Txid,
} from '../../blip/brands.js';
import type { CloseOutput, Invite } from '../../blip/messages.js';
import type { FactorySpec } from '../model.js';
import type { Live } from '../live/state.js';
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

export interface MemberLive extends Common {
  readonly phase: 'live';
  readonly member: number;
  readonly live: Live;
  readonly closing?: MemberClosing;
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
}
