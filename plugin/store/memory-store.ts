/**
 * The store without a disk, for simulations: the same rules, the same encoding, nothing survives the process. What an
 * apply has done is undone, newest first, when a later part of it is refused.
 */
import type { Hex, InstanceId, Outpoint, Txid } from '../../blip/brands.js';
import type { Purpose } from '../../factory-core/model.js';
import type { BlockRef, ChainStep } from '../chain/position.js';
import { advance } from '../chain/position.js';
import type { BackupInfo } from './backup.js';
import { StoreError } from './errors.js';
import { JOURNAL_ROOT, nextRow, readRow, verifyRows } from './journal.js';
import type { JournalRow } from './journal.js';
import { CANCELLED, checkRequest, checkSignOnce, checkState, checkStep, mergeRequest, notPending, outpointText } from './rules.js';
import type { RequestRow } from './rules.js';
import { decodeState, decodeValue, encodeState, encodeValue } from './state-json.js';
import type {
  Applied,
  FactoryRecord,
  FactorySummary,
  FailedItem,
  JournalEntry,
  JournalVerdict,
  NewOutboxItem,
  OutboxItem,
  RequestKey,
  RequestRecord,
  SignOnce,
  StateWrite,
  Store,
  StoredTransaction,
  StoreTx,
} from './store.js';

/** The state as text: whoever reads it gets a copy, as from a disk. */
interface StoredFactory extends FactorySummary {
  readonly text: string;
}
interface StoredItem extends Omit<OutboxItem, 'effect'> {
  readonly text: string;
}
interface FinishedItem extends StoredItem {
  readonly finished: number;
  readonly failure?: string;
}

const toSummary = ({ instanceId, role, phase, revision, created, updated }: StoredFactory): FactorySummary => ({
  instanceId,
  role,
  phase,
  revision,
  created,
  updated,
});
const toItem = ({ id, instanceId, kind, text, created, attempts, notBefore }: StoredItem): OutboxItem => ({
  id,
  instanceId,
  kind,
  effect: decodeValue(text, `outbox ${id}`),
  created,
  attempts,
  notBefore,
});

/** @param now milliseconds since 1970 */
export const openMemoryStore = (now: () => number = Date.now): MemoryStore => new MemoryStore(now);

export class MemoryStore implements Store {
  #open = true;
  #undo: (() => void)[] = [];
  #generation = 0;
  #lastItem = 0;
  #blocks: readonly BlockRef[] = [];
  readonly #factories = new Map<InstanceId, StoredFactory>();
  readonly #pending = new Map<number, StoredItem>();
  readonly #finished = new Map<number, FinishedItem>();
  readonly #signOnce = new Map<string, Hex>();
  readonly #transactions = new Map<string, StoredTransaction>();
  readonly #requests = new Map<string, RequestRow>();
  readonly #meta = new Map<string, string>();
  readonly #journal: JournalRow[] = [];

  constructor(private readonly now: () => number) {}

  apply(tx: StoreTx): Applied {
    this.#checkOpen();
    this.#undo = [];
    try {
      return this.#store(tx);
    } catch (error) {
      for (const undo of this.#undo.reverse()) undo();
      throw error;
    }
  }

  #checkOpen(): void {
    if (!this.#open) throw new StoreError('closed', 'memory', 'the store is closed');
  }
  #put<K, V>(map: Map<K, V>, key: K, value: V): void {
    const old = map.get(key);
    this.#undo.push(() => (old === undefined ? map.delete(key) : map.set(key, old)));
    map.set(key, value);
  }
  #remove<K, V>(map: Map<K, V>, key: K): void {
    const old = map.get(key);
    if (old !== undefined) this.#undo.push(() => map.set(key, old));
    map.delete(key);
  }

  #store(tx: StoreTx): Applied {
    const time = this.now();
    tx.states?.forEach((write) => this.#storeState(write, time));
    if (tx.done !== undefined) {
      const item = this.#pendingItem(tx.done);
      this.#remove(this.#pending, tx.done);
      this.#put(this.#finished, tx.done, { ...item, finished: time });
    }
    tx.cancelled?.forEach((id) => {
      const item = this.#pending.get(id);
      this.#remove(this.#pending, id);
      if (item !== undefined) this.#put(this.#finished, id, { ...item, finished: time, failure: CANCELLED });
    });
    const outbox = (tx.outbox ?? []).map((item) => this.#storeItem(item, time));
    tx.signOnce?.forEach((record) => this.#storeSignOnce(record));
    tx.transactions?.forEach((transaction) => this.#storeTransaction(transaction));
    if (tx.request !== undefined) {
      const { requestId } = tx.request;
      this.#put(this.#requests, requestId, mergeRequest(tx.request, this.#requests.get(requestId)));
    }
    if (tx.chain !== undefined) this.#storeStep(tx.chain);
    Object.entries(tx.meta ?? {}).forEach(([key, value]) => this.#put(this.#meta, key, value));
    // The last that can be refused: what follows needs no undoing.
    this.#journal.push(nextRow(this.#head(), time, tx.journal));
    if ((tx.states?.length ?? 0) > 0 || (tx.signOnce?.length ?? 0) > 0) this.#generation += 1;
    return { generation: this.#generation, outbox };
  }

  #storeState(write: StateWrite, time: number): void {
    const { instanceId, role, phase, revision } = write;
    const stored = this.#factories.get(instanceId);
    checkState(write, stored);
    const text = encodeState(write.state);
    const created = stored?.created ?? time;
    this.#put(this.#factories, instanceId, { instanceId, role, phase, revision: revision + 1, created, updated: time, text });
  }
  #storeItem({ instanceId, kind, effect, notBefore }: NewOutboxItem, time: number): number {
    const text = encodeValue(effect, 'effect');
    const id = this.#lastItem + 1;
    this.#undo.push(() => (this.#lastItem = id - 1));
    this.#lastItem = id;
    this.#put(this.#pending, id, { id, instanceId, kind, text, created: time, attempts: 0, notBefore: notBefore ?? time });
    return id;
  }
  #storeSignOnce(record: SignOnce): void {
    const key = `${outpointText(record.outpoint)} ${record.purpose}`;
    const stored = this.#signOnce.get(key);
    if (stored === undefined) this.#put(this.#signOnce, key, record.sighash);
    else checkSignOnce(record, stored);
  }
  #storeTransaction(transaction: StoredTransaction): void {
    if (!this.#factories.has(transaction.instanceId)) {
      throw new StoreError('conflict', transaction.instanceId, 'belongs to a factory that is not stored');
    }
    this.#put(this.#transactions, `${transaction.instanceId} ${transaction.txid}`, transaction);
  }
  #storeStep(step: ChainStep): void {
    const before = this.#blocks;
    checkStep(before.at(-1), step);
    this.#undo.push(() => (this.#blocks = before));
    this.#blocks = advance(before, step);
  }

  #head(): { readonly seq: number; readonly hash: Hex } {
    return this.#journal.at(-1) ?? { seq: 0, hash: JOURNAL_ROOT };
  }
  #pendingItem(id: number): StoredItem {
    const item = this.#pending.get(id);
    if (item === undefined) throw notPending(id, this.#finished.has(id) ? 'finished' : undefined);
    return item;
  }

  generation(): number {
    this.#checkOpen();
    return this.#generation;
  }

  factories(): readonly FactorySummary[] {
    this.#checkOpen();
    return [...this.#factories.values()]
      .sort((a, b) => a.created - b.created || (a.instanceId < b.instanceId ? -1 : 1))
      .map(toSummary);
  }
  factory(instanceId: InstanceId): FactoryRecord | undefined {
    this.#checkOpen();
    const stored = this.#factories.get(instanceId);
    if (stored === undefined) return undefined;
    return { ...toSummary(stored), state: decodeState(stored.text) };
  }

  pending(now = Number.MAX_SAFE_INTEGER): readonly OutboxItem[] {
    this.#checkOpen();
    return [...this.#pending.values()]
      .filter((item) => item.notBefore <= now)
      .sort((a, b) => a.id - b.id)
      .map(toItem);
  }
  failed(): readonly FailedItem[] {
    this.#checkOpen();
    return [...this.#finished.values()]
      .sort((a, b) => a.id - b.id)
      .flatMap((item) => (item.failure === undefined ? [] : [{ ...toItem(item), finished: item.finished, failure: item.failure }]));
  }
  markDone(id: number): void {
    this.#finish(id, {});
  }
  markFailed(id: number, reason: string): void {
    this.#finish(id, { failure: reason });
  }
  #finish(id: number, outcome: { readonly failure?: string }): void {
    this.#checkOpen();
    if (this.#finished.has(id)) return;
    this.#finished.set(id, { ...this.#pendingItem(id), ...outcome, finished: this.now() });
    this.#pending.delete(id);
  }
  defer(id: number, notBefore: number): void {
    this.#checkOpen();
    const item = this.#pendingItem(id);
    this.#pending.set(id, { ...item, attempts: item.attempts + 1, notBefore });
  }
  pruneOutbox(before: number): number {
    this.#checkOpen();
    const old = [...this.#finished.values()].filter((item) => item.finished < before);
    old.forEach(({ id }) => this.#finished.delete(id));
    return old.length;
  }

  signedOnce(outpoint: Outpoint, purpose: Purpose): Hex | undefined {
    this.#checkOpen();
    return this.#signOnce.get(`${outpointText(outpoint)} ${purpose}`);
  }
  transactionsOf(instanceId: InstanceId): readonly StoredTransaction[] {
    this.#checkOpen();
    return [...this.#transactions.values()].filter((t) => t.instanceId === instanceId);
  }
  transactionsByTxid(txid: Txid): readonly StoredTransaction[] {
    this.#checkOpen();
    return [...this.#transactions.values()].filter((t) => t.txid === txid);
  }
  request(key: RequestKey): RequestRecord | undefined {
    this.#checkOpen();
    const row = this.#requests.get(key.requestId);
    if (row === undefined) return undefined;
    checkRequest(key, row);
    const { result, ...rest } = row;
    return result === undefined ? rest : { ...rest, result: decodeValue(result, 'result') };
  }

  journal(after = 0, limit = 1_000): readonly JournalEntry[] {
    this.#checkOpen();
    return this.#journal.slice(after, after + limit).map(readRow);
  }
  backup(target: string): Promise<BackupInfo> {
    return Promise.reject(new StoreError('io', target, 'a store in memory cannot be copied'));
  }

  verifyJournal(): JournalVerdict {
    this.#checkOpen();
    return verifyRows(this.#journal, this.#head());
  }

  meta(key: string): string | undefined {
    this.#checkOpen();
    return this.#meta.get(key);
  }
  setMeta(key: string, value: string): void {
    this.#checkOpen();
    this.#meta.set(key, value);
  }

  blocks(): readonly BlockRef[] {
    this.#checkOpen();
    return this.#blocks;
  }
  close(): void {
    this.#open = false;
  }
}
