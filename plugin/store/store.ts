/**
 * What is kept on disk (architecture 11), as one interface. All of it is synchronous: when `apply` returns, it is durable,
 * and nothing else ran in between.
 */
import type { Hex, InstanceId, Outpoint, Txid } from '../../blip/brands.js';
import type { Purpose } from '../../factory-core/model.js';
import type { BlockRef, ChainStep } from '../chain/position.js';
import type { BackupInfo } from './backup.js';

export type Role = 'coordinator' | 'member';

export interface FactorySummary {
  readonly instanceId: InstanceId;
  readonly role: Role;
  readonly phase: string;
  /** Counts the states stored for this factory; the first has revision 1. */
  readonly revision: number;
  /** Milliseconds since 1970. */
  readonly created: number;
  readonly updated: number;
}
/** `state` as it was written: plain data (`state-json.ts`). The caller knows its type. */
export interface FactoryRecord extends FactorySummary {
  readonly state: unknown;
}

/** A new state for a factory. */
export interface StateWrite {
  readonly instanceId: InstanceId;
  readonly role: Role;
  readonly phase: string;
  readonly state: unknown;
  /** The revision it was computed from; 0 for a new factory. Another one on disk is a `conflict`. */
  readonly revision: number;
}

export interface NewOutboxItem {
  readonly instanceId: InstanceId;
  readonly kind: string;
  /** The effect as plain data. */
  readonly effect: unknown;
  /** Not to be tried before, milliseconds since 1970; at once if absent. */
  readonly notBefore?: number;
}
export interface OutboxItem extends NewOutboxItem {
  /** Grows with every item ever appended. */
  readonly id: number;
  readonly created: number;
  /** How often it was deferred. */
  readonly attempts: number;
  readonly notBefore: number;
}
export interface FailedItem extends OutboxItem {
  readonly finished: number;
  readonly failure: string;
}

/** Architecture 12.6: what a partial signature about to be released commits to. */
export interface SignOnce {
  readonly outpoint: Outpoint;
  readonly purpose: Purpose;
  readonly sighash: Hex;
}

/** A final, fully signed transaction. */
export interface StoredTransaction {
  readonly instanceId: InstanceId;
  readonly txid: Txid;
  /** Why it exists: a `Purpose`, or a kind of the plugin's own ('funding', 'bump', …). */
  readonly kind: string;
  readonly raw: Hex;
  /** Whose it is in the roster; absent when it is nobody's in particular. */
  readonly member?: number;
}

/** Architecture 12.16. `digest` is of the command's arguments (`digest` in `state-json.ts`). */
export interface RequestKey {
  readonly requestId: string;
  readonly command: string;
  readonly digest: Hex;
}
export interface RequestRecord extends RequestKey {
  readonly instanceId?: InstanceId;
  /** Absent while the command is still at work. Once there, it stays. */
  readonly result?: unknown;
}

export interface NewJournalEntry {
  readonly instanceId?: InstanceId;
  readonly event: string;
  /** Plain data. Never a secret: the journal is made to be shown. */
  readonly detail?: unknown;
}
export interface JournalEntry extends NewJournalEntry {
  /** From 1, without a gap. */
  readonly seq: number;
  readonly time: number;
  /** sha256(hash of the entry before || line); 32 zero bytes before the first. */
  readonly hash: Hex;
}
export type JournalVerdict =
  | { readonly ok: true; readonly length: number; readonly head: Hex }
  | { readonly ok: false; readonly seq: number; readonly reason: string };

/** All that one event changes. Everything is stored, or nothing. */
export interface StoreTx {
  readonly journal: NewJournalEntry;
  /** More than one when a block concerns several factories. */
  readonly states?: readonly StateWrite[];
  readonly outbox?: readonly NewOutboxItem[];
  /** The outbox item whose result caused this; its result can be applied once (`not_pending`). */
  readonly done?: number;
  /** Outbox items that are not wanted any more: their attempt is over. Those done or failed already stay as they are. */
  readonly cancelled?: readonly number[];
  readonly signOnce?: readonly SignOnce[];
  /** Kept by (instance, txid); the same again replaces it. */
  readonly transactions?: readonly StoredTransaction[];
  readonly request?: RequestRecord;
  /** The step of the chain event that caused this. */
  readonly chain?: ChainStep;
  readonly meta?: Readonly<Record<string, string>>;
}
export interface Applied {
  /** After this transaction. */
  readonly generation: number;
  /** Of the appended items, in order. */
  readonly outbox: readonly number[];
}

/** Throws `StoreError` only. */
export interface Store {
  apply(tx: StoreTx): Applied;
  /**
   * Grows with every apply that stores a state or a sign-once record. A mirror elsewhere (CLN's datastore) that is ahead
   * of it shows that the file was rolled back (architecture 11).
   */
  generation(): number;

  factories(): readonly FactorySummary[];
  factory(instanceId: InstanceId): FactoryRecord | undefined;

  /** Items neither done nor failed, in the order they were appended; with `now`, only those that are due. */
  pending(now?: number): readonly OutboxItem[];
  /** Items given up and not pruned yet. */
  failed(): readonly FailedItem[];
  /** Doing it twice is fine, the first time counts. `not_found` for an id that never was. */
  markDone(id: number): void;
  markFailed(id: number, reason: string): void;
  /** Counts an attempt, and hides the item from `pending(now)` until then (milliseconds since 1970). */
  defer(id: number, notBefore: number): void;
  /** Deletes what was done or failed before that time. Returns how many. */
  pruneOutbox(before: number): number;

  /** The sighash on record. */
  signedOnce(outpoint: Outpoint, purpose: Purpose): Hex | undefined;
  /** In the order they were first stored. */
  transactionsOf(instanceId: InstanceId): readonly StoredTransaction[];
  transactionsByTxid(txid: Txid): readonly StoredTransaction[];
  /** The record of this request; `request_mismatch` when the id belongs to another one. */
  request(key: RequestKey): RequestRecord | undefined;

  /** Entries after `after` (a seq; from the first if absent), at most `limit`. */
  journal(after?: number, limit?: number): readonly JournalEntry[];
  /** Recomputes the whole chain. */
  verifyJournal(): JournalVerdict;

  meta(key: string): string | undefined;
  setMeta(key: string, value: string): void;

  /** The last blocks delivered, oldest first. */
  blocks(): readonly BlockRef[];
  /** A copy as of one moment, while work goes on. `exists` when there is something at `target`. */
  backup(target: string): Promise<BackupInfo>;
  close(): void;
}
