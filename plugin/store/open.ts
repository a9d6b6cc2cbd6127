/** Opening the database file: who may read it, whose it is, that it is sound, and up to date. */
import { accessSync, chmodSync, closeSync, constants, openSync, statSync } from 'node:fs';

import Database from 'better-sqlite3';

import { StoreError } from './errors.js';
import type { StoreErrorCode } from './errors.js';
import { APPLICATION_ID, MIGRATIONS } from './migrations.js';

/** How SQLite's result codes read to us, by their beginning (the extended codes append to it). */
const SQLITE_CODES: readonly (readonly [string, StoreErrorCode, string])[] = [
  ['SQLITE_BUSY', 'locked', 'another process has it open (is the plugin running twice?)'],
  ['SQLITE_LOCKED', 'locked', 'another connection has it locked'],
  ['SQLITE_NOTADB', 'corrupt', 'not a database; restore a backup'],
  ['SQLITE_CORRUPT', 'corrupt', 'the database is damaged; restore a backup'],
  ['SQLITE_READONLY', 'read_only', 'cannot be written'],
  ['SQLITE_CANTOPEN', 'cannot_open', 'cannot be opened'],
  ['SQLITE_FULL', 'io', 'the disk is full'],
  ['SQLITE_IOERR', 'io', 'it cannot be read or written: is the disk full or failing?'],
  ['SQLITE_CONSTRAINT_FOREIGNKEY', 'conflict', 'belongs to a factory that is not stored'],
];

/** Runs `body`; what SQLite throws becomes a `StoreError` about `culprit`. */
export const guarded = <T>(culprit: string, body: () => T): T => {
  try {
    return body();
  } catch (cause) {
    throw storeError(culprit, cause);
  }
};

/**
 * An error's message, and SQLite's own result code if it has one. By name, not by class: the native part keeps the class
 * of whoever loaded it first, and under a test runner that is another copy of the module, of another `Error`.
 */
const details = (cause: unknown): { readonly message: string; readonly code: string | undefined } => {
  if (typeof cause !== 'object' || cause === null) return { message: String(cause), code: undefined };
  const { message, code } = cause as { readonly message?: unknown; readonly code?: unknown };
  return { message: String(message), code: typeof code === 'string' && code.startsWith('SQLITE_') ? code : undefined };
};

/** Any error as a `StoreError` about `culprit`. */
export const storeError = (culprit: string, cause: unknown): StoreError => {
  if (cause instanceof StoreError) return cause;
  const { message, code } = details(cause);
  if (code !== undefined) {
    const known = SQLITE_CODES.find(([prefix]) => code.startsWith(prefix));
    if (known !== undefined) return new StoreError(known[1], culprit, `${known[2]} (${message})`, { cause });
    return new StoreError('io', culprit, `${message} (${code})`, { cause });
  }
  // better-sqlite3 says so with a TypeError.
  if (message.includes('connection is not open')) return new StoreError('closed', culprit, 'the store is closed', { cause });
  return new StoreError('io', culprit, message, { cause });
};

/**
 * The file is made, or made ours, before SQLite opens it: it holds signatures that move money, and SQLite gives the
 * write-ahead log the permissions of the database.
 */
const prepareFile = (path: string): void => {
  try {
    closeSync(openSync(path, 'a', 0o600));
    const stat = statSync(path);
    if (!stat.isFile()) throw new StoreError('cannot_open', path, 'is not a file');
    // To root every file is writable. One that nobody may write was meant to stay as it is.
    if ((stat.mode & 0o222) === 0) throw new StoreError('read_only', path, 'nobody may write it');
    accessSync(path, constants.R_OK | constants.W_OK);
    if ((stat.mode & 0o077) !== 0) chmodSync(path, 0o600);
  } catch (cause) {
    if (cause instanceof StoreError) throw cause;
    const code = (cause as NodeJS.ErrnoException).code ?? '';
    const readOnly = code === 'EACCES' || code === 'EROFS' || code === 'EPERM';
    const message = readOnly ? 'cannot be written' : code === 'EISDIR' ? 'is a folder' : 'cannot be opened';
    throw new StoreError(readOnly ? 'read_only' : 'cannot_open', path, `${message} (${code})`, { cause });
  }
};

const pragma = (db: Database.Database, name: string): number => Number(db.pragma(name, { simple: true }));

/** Refuses, before anything is written, a file that is not ours or from the future. */
const checkOwner = (db: Database.Database, path: string, newest: number): void => {
  const application = pragma(db, 'application_id');
  const version = pragma(db, 'user_version');
  const tables = Number(db.prepare('SELECT count(*) FROM sqlite_schema').pluck().get());
  if (application !== APPLICATION_ID && (application !== 0 || version !== 0 || tables !== 0)) {
    throw new StoreError('not_ours', path, 'is the database of another program');
  }
  if (version > newest) {
    throw new StoreError(
      'newer_schema',
      path,
      `has schema version ${version}; this version of the plugin knows up to ${newest}. Run the newer plugin, or restore a backup`,
    );
  }
};

const migrate = (db: Database.Database, path: string, migrations: readonly string[]): void => {
  // Immediate: takes the lock (for good: locking_mode) before it looks, so that two starts cannot both migrate.
  db.transaction(() => {
    checkOwner(db, path, migrations.length);
    const version = pragma(db, 'user_version');
    if (version === migrations.length) return;
    migrations.slice(version).forEach((step) => db.exec(step));
    db.pragma(`application_id = ${APPLICATION_ID}`);
    db.pragma(`user_version = ${migrations.length}`);
  }).immediate();
};

/**
 * @param busyTimeout how long to wait for another process to let go of the file, in milliseconds
 * @throws StoreError
 */
export const openDatabase = (path: string, busyTimeout: number, migrations: readonly string[] = MIGRATIONS): Database.Database => {
  prepareFile(path);
  const db = guarded(path, () => new Database(path, { timeout: busyTimeout }));
  try {
    // One owner, for as long as it runs: two plugins on one file would both perform the outbox.
    db.pragma('locking_mode = EXCLUSIVE');
    checkOwner(db, path, migrations.length);
    if (db.pragma('journal_mode = WAL', { simple: true }) !== 'wal') {
      throw new StoreError('cannot_open', path, 'the file system does not carry a write-ahead log');
    }
    // Durable when COMMIT returns (architecture 12.8), not only consistent.
    db.pragma('synchronous = FULL');
    db.pragma('foreign_keys = ON');
    migrate(db, path, migrations);
    const sound = db.pragma('quick_check(1)', { simple: true });
    if (sound !== 'ok') throw new StoreError('corrupt', path, `the database is damaged (${String(sound)}); restore a backup`);
    return db;
  } catch (cause) {
    db.close();
    throw storeError(path, cause);
  }
};
