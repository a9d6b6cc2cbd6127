/**
 * What a factory is made of, as immutable data. A `FactorySpec` is all there is to know: every tree transaction is a
 * function of it (architecture 3.10: specs, not transactions, travel).
 */
import type {
  ChainHash,
  Hex,
  InstanceId,
  Outpoint,
  PubKey,
  Sat,
  SchnorrSignature,
  Script,
  Txid,
} from '../blip/brands.js';
import type { RosterEntry } from '../blip/messages.js';

export type { RosterEntry } from '../blip/messages.js';

/** What coordinator and member agree on by invite and join, before anything is built. */
export interface Terms {
  readonly chainHash: ChainHash;
  /** sat per 1,000 vB of every tree transaction (architecture 10: 2,000 by default). */
  readonly treeFeerate: number;
  readonly activeBlocks: number;
  readonly dyingBlocks: number;
  readonly settlingBlocks: number;
  readonly stockCsv: number;
  readonly minDepth: number;
}

/** Everything the transactions depend on, but for the funding outpoint, which is known only after they are planned. */
export interface FactoryPlan {
  readonly instanceId: InstanceId;
  readonly terms: Terms;
  readonly coordinatorKey: PubKey;
  readonly roster: readonly RosterEntry[];
  /** Fan-out of each level of splits, root first. */
  readonly fanouts: readonly number[];
  readonly startHeight: number;
  /** startHeight + active + dying + settling. */
  readonly expiryHeight: number;
}

export interface FactorySpec extends FactoryPlan {
  readonly funding: Outpoint;
  readonly fundingAmount: Sat;
}

/** An output that a transaction of ours spends. */
export interface Prevout {
  readonly outpoint: Outpoint;
  readonly amount: Sat;
  readonly script: Script;
}

/** Typed outputs, so that nobody finds "the last one" and means the stock (lessons). */
export type OutputRole =
  | { readonly kind: 'split'; readonly from: number; readonly to: number }
  | { readonly kind: 'slot'; readonly member: number }
  | { readonly kind: 'channel'; readonly member: number }
  | { readonly kind: 'stock'; readonly member: number }
  | { readonly kind: 'payout'; readonly member: number }
  | { readonly kind: 'close'; readonly index: number }
  | { readonly kind: 'anchor' };

export interface TxOutput {
  readonly amount: Sat;
  readonly script: Script;
  readonly role: OutputRole;
}

/** A transaction with one input, before it has a witness. */
export interface UnsignedTx {
  readonly version: 2 | 3;
  readonly lockTime: number;
  readonly sequence: number;
  readonly prevout: Prevout;
  readonly outputs: readonly TxOutput[];
}

/** Why a transaction exists; part of the sign-once key, since funding may be spent by tree, distribution and close. */
export type Purpose = 'split' | 'leaf' | 'purchase' | 'distribution' | 'close' | 'turnover';

/**
 * A transaction to be signed by MuSig2 key-path spend: who signs (in key-aggregation order: coordinator first, then
 * clients by roster index), what, and for which output.
 */
export interface Signable {
  readonly purpose: Purpose;
  readonly tx: UnsignedTx;
  readonly txid: Txid;
  /** BIP-341 SIGHASH_DEFAULT message, 32 bytes. */
  readonly sighash: Hex;
  readonly signers: readonly PubKey[];
  /** Script tree's root that tweaks the internal key (BIP-341); absent: key path only. */
  readonly merkleRoot?: Hex;
  readonly vsize: number;
  readonly fee: Sat;
}

/** A signable with its final, verified signature. */
export interface SignedTx {
  readonly signable: Signable;
  readonly signature: SchnorrSignature;
}

/** A split covers the clients [from, to) of the roster. */
export interface Split extends Signable {
  readonly purpose: 'split';
  readonly level: number;
  readonly from: number;
  readonly to: number;
}

/** What one member (or the coordinator, for it) needs: its splits from the root down, its slot, and the distribution. */
export interface MemberPath {
  readonly member: number;
  readonly splits: readonly Split[];
  readonly slot: Prevout;
  readonly distribution: Signable;
}
