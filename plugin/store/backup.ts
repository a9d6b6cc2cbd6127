/** A copy of the running database as one file of its own. */
import { chmodSync, closeSync, existsSync, fsyncSync, linkSync, openSync, rmSync, statSync } from 'node:fs';
import { dirname } from 'node:path';

import Database from 'better-sqlite3';

import { StoreError } from './errors.js';
import { storeError } from './open.js';

export interface BackupInfo {
  readonly path: string;
  readonly bytes: number;
  /** The store's generation that the copy holds: restored later, it shows how much is missing. */
  readonly generation: number;
}

const sync = (path: string): void => {
  const file = openSync(path, 'r');
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
};

/** Makes the copy independent of any log beside it, and reads it: a backup that cannot be read is worse than none. */
const seal = (path: string): number => {
  const copy = new Database(path, { fileMustExist: true });
  try {
    copy.pragma('locking_mode = EXCLUSIVE');
    copy.pragma('journal_mode = DELETE');
    const sound = copy.pragma('quick_check(1)', { simple: true });
    if (sound !== 'ok') throw new StoreError('io', path, `the copy is damaged (${String(sound)})`);
    return Number(copy.prepare('SELECT generation FROM ledger').pluck().get());
  } finally {
    copy.close();
  }
};

/** Appears at `target` whole and synced, or not at all. */
export const writeBackup = async (db: Database.Database, target: string): Promise<BackupInfo> => {
  const partial = `${target}.partial`;
  const taken = (cause?: unknown): StoreError => new StoreError('exists', target, 'exists already; name a new file', { cause });
  if (existsSync(target)) throw taken();
  try {
    rmSync(partial, { force: true });
    closeSync(openSync(partial, 'wx', 0o600));
    await db.backup(partial);
    chmodSync(partial, 0o600);
    const generation = seal(partial);
    sync(partial);
    try {
      // Unlike rename, link does not replace what appeared at the target meanwhile.
      linkSync(partial, target);
    } catch (cause) {
      throw existsSync(target) ? taken(cause) : cause;
    }
    rmSync(partial);
    sync(dirname(target));
    return { path: target, bytes: statSync(target).size, generation };
  } catch (cause) {
    for (const suffix of ['', '-wal', '-shm', '-journal']) rmSync(partial + suffix, { force: true });
    throw cause instanceof StoreError ? cause : storeError(target, cause);
  }
};
