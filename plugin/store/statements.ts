/** The SQL, prepared once, and rows as our types. */
import type Database from 'better-sqlite3';

import type { Hex, InstanceId, Txid } from '../../blip/brands.js';
import type { BlockRef } from '../chain/position.js';
import type { JournalRow } from './journal.js';
import type { RequestRow } from './rules.js';
import { decodeValue } from './state-json.js';
import type { FactorySummary, OutboxItem, Role, StoredTransaction } from './store.js';

interface SummaryRow {
  readonly instance_id: InstanceId;
  readonly role: Role;
  readonly phase: string;
  readonly revision: number;
  readonly created: number;
  readonly updated: number;
}
interface ItemRow {
  readonly id: number;
  readonly instance_id: InstanceId;
  readonly kind: string;
  readonly effect: string;
  readonly created: number;
  readonly attempts: number;
  readonly not_before: number;
}
interface TransactionRow {
  readonly instance_id: InstanceId;
  readonly txid: Txid;
  readonly kind: string;
  readonly raw: Hex;
  readonly member: number | null;
}
interface StoredRequest {
  readonly request_id: string;
  readonly command: string;
  readonly digest: Hex;
  readonly instance_id: InstanceId | null;
  readonly result: string | null;
}

export const toSummary = (row: SummaryRow): FactorySummary => ({
  instanceId: row.instance_id,
  role: row.role,
  phase: row.phase,
  revision: row.revision,
  created: row.created,
  updated: row.updated,
});
export const toItem = (row: ItemRow): OutboxItem => ({
  id: row.id,
  instanceId: row.instance_id,
  kind: row.kind,
  effect: decodeValue(row.effect, `outbox ${row.id}`),
  created: row.created,
  attempts: row.attempts,
  notBefore: row.not_before,
});
export const toTransaction = (row: TransactionRow): StoredTransaction => ({
  instanceId: row.instance_id,
  txid: row.txid,
  kind: row.kind,
  raw: row.raw,
  ...(row.member === null ? {} : { member: row.member }),
});
export const toRequest = (row: StoredRequest): RequestRow => ({
  requestId: row.request_id,
  command: row.command,
  digest: row.digest,
  ...(row.instance_id === null ? {} : { instanceId: row.instance_id }),
  ...(row.result === null ? {} : { result: row.result }),
});

const SUMMARY = 'instance_id, role, phase, revision, created, updated';
const ITEM = 'id, instance_id, kind, effect, created, attempts, not_before';
const TRANSACTION = 'instance_id, txid, kind, raw, member';

/** For a column of its own: rows of one value as the value. */
const pluck = <B extends unknown[], T>(statement: Database.Statement<B, T>): Database.Statement<B, T> => statement.pluck();

export const prepareStatements = (db: Database.Database) => ({
  factories: db.prepare<[], SummaryRow>(`SELECT ${SUMMARY} FROM factories ORDER BY created, instance_id`),
  factory: db.prepare<[string], SummaryRow & { readonly state: string }>(`SELECT ${SUMMARY}, state FROM factories WHERE instance_id = ?`),
  revision: db.prepare<[string], { readonly role: Role; readonly revision: number }>('SELECT role, revision FROM factories WHERE instance_id = ?'),
  addFactory: db.prepare('INSERT INTO factories (instance_id, role, phase, revision, state, created, updated) VALUES (?, ?, ?, 1, ?, ?, ?)'),
  putFactory: db.prepare('UPDATE factories SET phase = ?, revision = ?, state = ?, updated = ? WHERE instance_id = ?'),

  addItem: db.prepare('INSERT INTO outbox (instance_id, kind, effect, created, not_before) VALUES (?, ?, ?, ?, ?)'),
  itemExists: pluck(db.prepare<[number], 1>('SELECT 1 FROM outbox WHERE id = ?')),
  finishItem: db.prepare('UPDATE outbox SET finished = ?, failure = ? WHERE id = ? AND finished IS NULL'),
  deferItem: db.prepare('UPDATE outbox SET attempts = attempts + 1, not_before = ? WHERE id = ? AND finished IS NULL'),
  pending: db.prepare<[number], ItemRow>(
    `SELECT ${ITEM} FROM outbox WHERE finished IS NULL AND not_before <= ? ORDER BY id`,
  ),
  failed: db.prepare<[], ItemRow & { readonly finished: number; readonly failure: string }>(
    `SELECT ${ITEM}, finished, failure FROM outbox WHERE finished IS NOT NULL AND failure IS NOT NULL ORDER BY id`,
  ),
  pruneItems: db.prepare('DELETE FROM outbox WHERE finished IS NOT NULL AND finished < ?'),

  signedOnce: pluck(db.prepare<[string, number, string], Hex>('SELECT sighash FROM sign_once WHERE txid = ? AND vout = ? AND purpose = ?')),
  addSignOnce: db.prepare('INSERT INTO sign_once (txid, vout, purpose, sighash) VALUES (?, ?, ?, ?)'),

  putTransaction: db.prepare(
    `INSERT INTO transactions (${TRANSACTION}) VALUES (?, ?, ?, ?, ?)
     ON CONFLICT (instance_id, txid) DO UPDATE SET kind = excluded.kind, raw = excluded.raw, member = excluded.member`,
  ),
  transactionsOf: db.prepare<[string], TransactionRow>(`SELECT ${TRANSACTION} FROM transactions WHERE instance_id = ? ORDER BY id`),
  transactionsByTxid: db.prepare<[string], TransactionRow>(`SELECT ${TRANSACTION} FROM transactions WHERE txid = ? ORDER BY id`),

  request: db.prepare<[string], StoredRequest>('SELECT request_id, command, digest, instance_id, result FROM requests WHERE request_id = ?'),
  putRequest: db.prepare(
    `INSERT INTO requests (request_id, command, digest, instance_id, result) VALUES (?, ?, ?, ?, ?)
     ON CONFLICT (request_id) DO UPDATE SET instance_id = excluded.instance_id, result = excluded.result`,
  ),

  journal: db.prepare<[number, number], JournalRow>('SELECT seq, line, hash FROM journal WHERE seq > ? ORDER BY seq LIMIT ?'),
  addJournal: db.prepare('INSERT INTO journal (seq, line, hash) VALUES (?, ?, ?)'),

  blocks: db.prepare<[], BlockRef>('SELECT height, hash, prev FROM blocks ORDER BY height'),
  topBlock: db.prepare<[], BlockRef>('SELECT height, hash, prev FROM blocks ORDER BY height DESC LIMIT 1'),
  addBlock: db.prepare('INSERT INTO blocks (height, hash, prev) VALUES (?, ?, ?)'),
  removeBlock: db.prepare('DELETE FROM blocks WHERE height = ?'),
  trimBlocks: db.prepare('DELETE FROM blocks WHERE height <= ?'),
  forgetBlocks: db.prepare('DELETE FROM blocks'),

  meta: pluck(db.prepare<[string], string>('SELECT value FROM meta WHERE key = ?')),
  putMeta: db.prepare('INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value'),

  ledger: db.prepare<[], { readonly generation: number; readonly journalSeq: number; readonly journalHash: Hex }>(
    'SELECT generation, journal_seq AS journalSeq, journal_hash AS journalHash FROM ledger',
  ),
  putLedger: db.prepare('UPDATE ledger SET generation = ?, journal_seq = ?, journal_hash = ?'),
});
export type Statements = ReturnType<typeof prepareStatements>;
