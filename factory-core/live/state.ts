/**
 * A factory whose funding transaction is out: the same for both roles. Everything that must be done about it follows
 * from this, the chain's state within it, and the height, so a crash loses nothing: it is planned anew with every block.
 */
import type { ChannelId, Msat, NodeId, Outpoint, Sat, SchnorrSignature, Script, SecretKey, Txid } from '../../blip/brands.js';
import type { CloseOutput } from '../../blip/messages.js';
import type { FactorySpec } from '../model.js';

/** A channel that was bought out of the stock: its transaction is signed and stored. */
export interface Purchase {
  /** The channel's capacity. */
  readonly amount: Sat;
  readonly channelId: ChannelId;
  readonly channelScript: Script;
  readonly signature: SchnorrSignature;
  /** What it cost the client, in msat. */
  readonly fee: Msat;
  /** Of the command that it was made for, on this node (architecture 12.16). */
  readonly requestId?: string;
}

/** A client's branch end: its signed leaf and the channel in it, and what was bought since. */
export interface Branch {
  readonly member: number;
  /** The other end of the channel: the client for the coordinator, the coordinator for a member. */
  readonly peer: NodeId;
  readonly channelId: ChannelId;
  readonly channelScript: Script;
  readonly leafSignature: SchnorrSignature;
  /** Each spends the stock of the one before; the first, the leaf's. */
  readonly purchases: readonly Purchase[];
  /**
   * The coordinator's only: the member's key, handed over and checked (architecture 8). All that is below its slot is the
   * coordinator's then, and nothing goes over its channels any more.
   */
  readonly heldKey?: SecretKey;
}

/** What the chain says of the outputs we watch. Heights are those of the block. */
export interface ChainView {
  readonly tip: number;
  readonly fundingHeight?: number;
  /** The funding transaction has been in a block, if only in one that was reorganised away: from here on nobody calls it off. */
  readonly everFunded: boolean;
  /**
   * What the funding transaction spends: the coordinator chose it, a member learns it from the first block that has the
   * transaction. Once another transaction has spent one of them, and stays, there can be no factory.
   */
  readonly fundingInputs?: readonly Outpoint[];
  /** The funding transaction is in a block and does not pay what it should: this factory never was one. */
  readonly badFunding?: string;
  /** `txid:vout` → the transaction that spent it. */
  readonly spends: Readonly<Record<string, { readonly by: Txid; readonly height: number }>>;
}

/** One client's way out, once somebody wants it. */
export interface Exit {
  readonly since: number;
  /** The height by which its channel must be on chain, where an HTLC forces the exit. */
  readonly by?: number;
}

/**
 * The one transaction that may end this factory by agreement. It is here from the moment a partial signature for it may
 * have left a node: balances may never change again, so the channels stay frozen and only this very transaction is tried
 * again (sign-once, architecture 12.6).
 */
export interface AgreedClose {
  readonly outputs: readonly CloseOutput[];
  readonly signature?: SchnorrSignature;
}

/**
 * The coordinator's only: one subtree of which it holds every key, taken back by one signature (architecture 8). It is here before
 * it is published, and never replaced by another for the same output (sign-once, architecture 12.6).
 */
export interface Turnover {
  /** The clients [from, to). */
  readonly from: number;
  readonly to: number;
  readonly destination: Script;
  /** sat per 1,000 vB. */
  readonly feerate: number;
  readonly signature: SchnorrSignature;
}

export interface Live {
  readonly spec: FactorySpec;
  /** Of every split this node knows (all, or those of its path) and the distribution. */
  readonly signatures: Readonly<Record<Txid, SchnorrSignature>>;
  readonly branches: readonly Branch[];
  readonly chain: ChainView;
  readonly exits: Readonly<Record<number, Exit>>;
  readonly close?: AgreedClose;
  /** A member's only: its key has been handed over, or is about to be. Nothing of this factory concerns it any more. */
  readonly handedOver?: true;
  readonly turnovers?: readonly Turnover[];
  /** Clients whose branch has ended on chain above its leaf, and whose channels have been closed in the node. */
  readonly retiredMembers?: readonly number[];
  /** The factory has ended on chain and its channels have been closed in the node. */
  readonly retired: boolean;
}
