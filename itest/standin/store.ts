import Database from 'better-sqlite3';
import { parseJson, stringifyJson } from '../../plugin/runtime/json.js';

/**
 * `lightningd.sqlite3`. Everything is written before anybody is told, in one transaction where it belongs together; a
 * SIGKILL between two statements leaves the last whole state. (A power failure might not: regtest does not pay for fsync.)
 */
export class Store {
  private readonly db: Database.Database;
  private readonly afterwards: (() => void)[] = [];

  constructor(file: string) {
    this.db = new Database(file);
    this.db.pragma('journal_mode = DELETE');
    this.db.pragma('synchronous = OFF');
    this.db.exec(SCHEMA);
  }

  /** All or nothing; nested calls join the outer one. */
  atomically<T>(work: () => T): T {
    if (this.db.inTransaction) return work();
    let result: T;
    try {
      result = this.db.transaction(work)();
    } catch (error) {
      this.afterwards.length = 0;
      throw error;
    }
    for (const act of this.afterwards.splice(0)) act();
    return result;
  }

  /** What may be done only when the state it tells of is stored: messages to peers and plugins. */
  whenStored(act: () => void): void {
    if (this.db.inTransaction) this.afterwards.push(act);
    else act();
  }

  collection<T>(kind: string): Collection<T> {
    return new Collection<T>(this.db, kind);
  }

  /** A counter or other small value that has to survive. */
  get(name: string): string | undefined {
    const row = this.db.prepare('SELECT value FROM vars WHERE name = ?').get(name) as { value: string } | undefined;
    return row?.value;
  }

  set(name: string, value: string | number): void {
    this.db.prepare('INSERT OR REPLACE INTO vars (name, value) VALUES (?, ?)').run(name, String(value));
  }

  /** The next number of a sequence that starts at 1. */
  next(name: string): number {
    const value = Number(this.get(name) ?? 0) + 1;
    this.set(name, value);
    return value;
  }

  putChannel(row: ChannelRow): void {
    this.db.prepare(PUT_CHANNEL).run({ ...row, withheld: row.withheld ? 1 : 0 });
  }

  deleteChannel(id: number): void {
    this.db.prepare('DELETE FROM channels WHERE id = ?').run(id);
  }

  close(): void {
    this.db.close();
  }
}

/** The columns of lightningd's `channels` table that others read (lightningd-facts); the channel itself is a document. */
export interface ChannelRow {
  readonly id: number;
  readonly full_channel_id: Buffer;
  /** Internal byte order. */
  readonly funding_tx_id: Buffer;
  readonly funding_tx_outnum: number;
  readonly funding_satoshi: number;
  readonly msatoshi_local: number;
  readonly funding_pubkey_local: Buffer;
  readonly fundingkey_remote: Buffer;
  readonly state: number;
  readonly funder: number;
  readonly withheld: boolean;
}

/** Documents of one kind by key, held in memory, written through, in order of creation. */
export class Collection<T> {
  private readonly entries = new Map<string, T>();

  constructor(
    private readonly db: Database.Database,
    private readonly kind: string,
  ) {
    const rows = db.prepare('SELECT key, record FROM documents WHERE kind = ? ORDER BY number').all(kind) as { key: string; record: string }[];
    for (const { key, record } of rows) this.entries.set(key, parseJson(record) as T);
  }

  get(key: string): T | undefined {
    return this.entries.get(key);
  }

  has(key: string): boolean {
    return this.entries.has(key);
  }

  put(key: string, value: T): void {
    this.db
      .prepare('INSERT INTO documents (kind, key, record) VALUES (?, ?, ?) ON CONFLICT (kind, key) DO UPDATE SET record = excluded.record')
      .run(this.kind, key, stringifyJson(value));
    this.entries.set(key, value);
  }

  delete(key: string): void {
    this.db.prepare('DELETE FROM documents WHERE kind = ? AND key = ?').run(this.kind, key);
    this.entries.delete(key);
  }

  values(): readonly T[] {
    return [...this.entries.values()];
  }

  find(wanted: (value: T) => boolean): T | undefined {
    return this.values().find(wanted);
  }

  get size(): number {
    return this.entries.size;
  }
}

const SCHEMA = `
CREATE TABLE IF NOT EXISTS vars (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS documents (number INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, key TEXT NOT NULL,
  record TEXT NOT NULL, UNIQUE (kind, key));
CREATE TABLE IF NOT EXISTS channels (id INTEGER PRIMARY KEY, full_channel_id BLOB, funding_tx_id BLOB, funding_tx_outnum INTEGER,
  funding_satoshi INTEGER, msatoshi_local INTEGER, funding_pubkey_local BLOB, fundingkey_remote BLOB, state INTEGER,
  funder INTEGER, withheld INTEGER DEFAULT 0);
`;

const PUT_CHANNEL = `INSERT OR REPLACE INTO channels (id, full_channel_id, funding_tx_id, funding_tx_outnum, funding_satoshi,
  msatoshi_local, funding_pubkey_local, fundingkey_remote, state, funder, withheld) VALUES (@id, @full_channel_id,
  @funding_tx_id, @funding_tx_outnum, @funding_satoshi, @msatoshi_local, @funding_pubkey_local, @fundingkey_remote, @state,
  @funder, @withheld)`;
