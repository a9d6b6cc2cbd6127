/** The store on SQLite: one file, one connection, one process (architecture 11). */
import type { Hex, InstanceId, Outpoint, Txid } from '../../blip/brands.js';
import type { Purpose } from '../../factory-core/model.js';
import type { BlockRef, ChainStep } from '../chain/position.js';
import { BLOCK_WINDOW } from '../chain/position.js';
import { writeBackup } from './backup.js';
import type { BackupInfo } from './backup.js';
import { StoreError } from './errors.js';
import { nextRow, readRow, verifyRows } from './journal.js';
import { guarded, openDatabase } from './open.js';
import { CANCELLED, checkRequest, checkSignOnce, checkState, checkStep, mergeRequest, notPending } from './rules.js';
import { decodeState, decodeValue, encodeState, encodeValue } from './state-json.js';
import { prepareStatements, toItem, toRequest, toSummary, toTransaction } from './statements.js';
import type { Statements } from './statements.js';
import type {
  Applied,
  FactoryRecord,
  FactorySummary,
  FailedItem,
  JournalEntry,
  JournalVerdict,
  OutboxItem,
  RequestKey,
  RequestRecord,
  SignOnce,
  StateWrite,
  Store,
  StoredTransaction,
  StoreTx,
} from './store.js';

export interface SqliteOptions {
  /** Milliseconds since 1970; `Date.now` if absent. */
  readonly now?: () => number;
  /** How long to wait for another process to let go of the file, in milliseconds; 5,000 if absent. */
  readonly busyTimeout?: number;
}

/** Opens the file, or creates it; see `open.ts` for what it refuses. */
export const openSqliteStore = (path: string, options: SqliteOptions = {}): SqliteStore =>
  new SqliteStore(path, openDatabase(path, options.busyTimeout ?? 5_000), options.now ?? Date.now);

export class SqliteStore implements Store {
  readonly #sql: Statements;
  readonly #applyAll: (tx: StoreTx) => Applied;

  constructor(
    readonly path: string,
    private readonly db: ReturnType<typeof openDatabase>,
    private readonly now: () => number,
  ) {
    this.#sql = guarded(path, () => prepareStatements(db));
    const transaction = db.transaction((tx: StoreTx) => this.#store(tx));
    this.#applyAll = (tx) => transaction.immediate(tx);
  }

  apply(tx: StoreTx): Applied {
    return this.#guard(() => this.#applyAll(tx));
  }

  #guard<T>(body: () => T): T {
    if (!this.db.open) throw new StoreError('closed', this.path, 'the store is closed');
    return guarded(this.path, body);
  }

  /** Runs inside one SQLite transaction: what it throws undoes all of it. */
  #store(tx: StoreTx): Applied {
    const time = this.now();
    tx.states?.forEach((write) => this.#storeState(write, time));
    if (tx.done !== undefined) {
      if (this.#sql.finishItem.run(time, null, tx.done).changes === 0) throw notPending(tx.done, this.#finishedStatus(tx.done));
    }
    tx.cancelled?.forEach((id) => this.#sql.finishItem.run(time, CANCELLED, id));
    const outbox = (tx.outbox ?? []).map(({ instanceId, kind, effect, notBefore }) =>
      Number(this.#sql.addItem.run(instanceId, kind, encodeValue(effect, 'effect'), time, notBefore ?? time).lastInsertRowid),
    );
    tx.signOnce?.forEach((record) => this.#storeSignOnce(record));
    tx.transactions?.forEach(({ instanceId, txid, kind, raw, member }) =>
      this.#sql.putTransaction.run(instanceId, txid, kind, raw, member ?? null),
    );
    if (tx.request !== undefined) {
      const { requestId, command, digest, instanceId, result } = mergeRequest(tx.request, this.#requestRow(tx.request.requestId));
      this.#sql.putRequest.run(requestId, command, digest, instanceId ?? null, result ?? null);
    }
    if (tx.chain !== undefined) this.#storeStep(tx.chain);
    Object.entries(tx.meta ?? {}).forEach(([key, value]) => this.#sql.putMeta.run(key, value));

    const ledger = this.#ledger();
    const row = nextRow({ seq: ledger.journalSeq, hash: ledger.journalHash }, time, tx.journal);
    this.#sql.addJournal.run(row.seq, row.line, row.hash);
    const counts = (tx.states?.length ?? 0) > 0 || (tx.signOnce?.length ?? 0) > 0;
    const generation = ledger.generation + (counts ? 1 : 0);
    this.#sql.putLedger.run(generation, row.seq, row.hash);
    return { generation, outbox };
  }

  #storeState(write: StateWrite, time: number): void {
    checkState(write, this.#sql.revision.get(write.instanceId));
    const state = encodeState(write.state);
    if (write.revision === 0) this.#sql.addFactory.run(write.instanceId, write.role, write.phase, state, time, time);
    else this.#sql.putFactory.run(write.phase, write.revision + 1, state, time, write.instanceId);
  }

  #storeSignOnce(record: SignOnce): void {
    const { outpoint, purpose, sighash } = record;
    const stored = this.signedOnce(outpoint, purpose);
    if (stored === undefined) this.#sql.addSignOnce.run(outpoint.txid, outpoint.vout, purpose, sighash);
    else checkSignOnce(record, stored);
  }

  #storeStep(step: ChainStep): void {
    checkStep(this.#sql.topBlock.get(), step);
    switch (step.type) {
      case 'rescan':
        this.#sql.forgetBlocks.run();
        break;
      case 'connected':
        this.#sql.addBlock.run(step.block.height, step.block.hash, step.block.prev);
        this.#sql.trimBlocks.run(step.block.height - BLOCK_WINDOW);
        break;
      case 'disconnected':
        this.#sql.removeBlock.run(step.block.height);
        break;
    }
  }

  #ledger(): { readonly generation: number; readonly journalSeq: number; readonly journalHash: Hex } {
    const row = this.#sql.ledger.get();
    if (row === undefined) throw new StoreError('corrupt', this.path, 'the ledger is missing; restore a backup');
    return row;
  }

  #finishedStatus(id: number): 'finished' | undefined {
    return this.#sql.itemExists.get(id) === undefined ? undefined : 'finished';
  }

  #requestRow(requestId: string): ReturnType<typeof toRequest> | undefined {
    const row = this.#sql.request.get(requestId);
    return row && toRequest(row);
  }

  generation(): number {
    return this.#guard(() => this.#ledger().generation);
  }

  factories(): readonly FactorySummary[] {
    return this.#guard(() => this.#sql.factories.all().map(toSummary));
  }
  factory(instanceId: InstanceId): FactoryRecord | undefined {
    const row = this.#guard(() => this.#sql.factory.get(instanceId));
    return row && { ...toSummary(row), state: decodeState(row.state) };
  }

  pending(now = Number.MAX_SAFE_INTEGER): readonly OutboxItem[] {
    return this.#guard(() => this.#sql.pending.all(now)).map(toItem);
  }
  failed(): readonly FailedItem[] {
    return this.#guard(() => this.#sql.failed.all()).map((row) => ({ ...toItem(row), finished: row.finished, failure: row.failure }));
  }
  markDone(id: number): void {
    this.#finish(id, null);
  }
  markFailed(id: number, reason: string): void {
    this.#finish(id, reason);
  }
  #finish(id: number, failure: string | null): void {
    this.#guard(() => {
      const finished = this.#sql.finishItem.run(this.now(), failure, id).changes > 0 || this.#finishedStatus(id) !== undefined;
      if (!finished) throw notPending(id, undefined);
    });
  }
  defer(id: number, notBefore: number): void {
    this.#guard(() => {
      if (this.#sql.deferItem.run(notBefore, id).changes === 0) throw notPending(id, this.#finishedStatus(id));
    });
  }
  pruneOutbox(before: number): number {
    return this.#guard(() => this.#sql.pruneItems.run(before).changes);
  }

  signedOnce(outpoint: Outpoint, purpose: Purpose): Hex | undefined {
    return this.#guard(() => this.#sql.signedOnce.get(outpoint.txid, outpoint.vout, purpose));
  }
  transactionsOf(instanceId: InstanceId): readonly StoredTransaction[] {
    return this.#guard(() => this.#sql.transactionsOf.all(instanceId).map(toTransaction));
  }
  transactionsByTxid(txid: Txid): readonly StoredTransaction[] {
    return this.#guard(() => this.#sql.transactionsByTxid.all(txid).map(toTransaction));
  }
  request(key: RequestKey): RequestRecord | undefined {
    const row = this.#guard(() => this.#requestRow(key.requestId));
    if (row === undefined) return undefined;
    checkRequest(key, row);
    const { result, ...rest } = row;
    return result === undefined ? rest : { ...rest, result: decodeValue(result, 'result') };
  }

  journal(after = 0, limit = 1_000): readonly JournalEntry[] {
    return this.#guard(() => this.#sql.journal.all(after, limit)).map(readRow);
  }
  verifyJournal(): JournalVerdict {
    return this.#guard(() => {
      const { journalSeq, journalHash } = this.#ledger();
      return verifyRows(this.#sql.journal.iterate(0, -1), { seq: journalSeq, hash: journalHash });
    });
  }

  meta(key: string): string | undefined {
    return this.#guard(() => this.#sql.meta.get(key));
  }
  setMeta(key: string, value: string): void {
    this.#guard(() => this.#sql.putMeta.run(key, value));
  }

  blocks(): readonly BlockRef[] {
    return this.#guard(() => this.#sql.blocks.all());
  }

  /**
   * A copy of everything up to now, as one file of its own (mode 0600), made beside the work that goes on.
   * @throws StoreError 'exists' when there is something at `target`
   */
  backup(target: string): Promise<BackupInfo> {
    return this.#guard(() => writeBackup(this.db, target));
  }

  close(): void {
    this.db.close();
  }
}
