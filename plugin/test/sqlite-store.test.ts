import { chmodSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import Database from 'better-sqlite3';
import fc from 'fast-check';

import { hex } from '../../blip/brands.js';
import { StoreError } from '../store/errors.js';
import { MIGRATIONS } from '../store/migrations.js';
import { openDatabase } from '../store/open.js';
import { openSqliteStore } from '../store/sqlite-store.js';
import type { SqliteStore } from '../store/sqlite-store.js';
import { dump, id, outpoint, refusal, sighash, tx, write } from './store-suite.js';

const journal = { event: 'test' };
let folder: string;
let path: string;
let stores: SqliteStore[];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sqlite-'));
  path = join(folder, 'factory.sqlite3');
  stores = [];
});
afterEach(() => {
  stores.forEach((store) => store.close());
  rmSync(folder, { recursive: true });
});
const open = (file = path): SqliteStore => {
  const store = openSqliteStore(file, { now: () => 1_000, busyTimeout: 20 });
  stores.push(store);
  return store;
};
/** The connection under a store. */
const connection = (store: SqliteStore): Database.Database => (store as unknown as { db: Database.Database }).db;
/** The file in the hands of someone else. */
const tamper = (body: (db: Database.Database) => void, file = path): void => {
  const db = new Database(file);
  body(db);
  db.close();
};
const refusedToOpen = (file = path): StoreError => refusal(() => open(file));
const mode = (file: string): number => statSync(file).mode & 0o777;
/** A store with something of everything in it. */
const filled = (): SqliteStore => {
  const store = open();
  store.apply({ journal, states: [write(1, 0)], signOnce: [{ outpoint: outpoint(1), purpose: 'split', sighash: sighash(1) }] });
  store.apply({ journal, states: [write(1, 1)], transactions: [{ instanceId: id(1), txid: tx(1), kind: 'split', raw: hex('00') }] });
  store.apply({ journal, outbox: [{ instanceId: id(1), kind: 'send', effect: 1 }] });
  return store;
};

describe('the file', () => {
  test('is the owner’s alone, and so are its log and shared memory', () => {
    const old = process.umask(0);
    try {
      const store = filled();
      for (const suffix of ['', '-wal']) expect(mode(path + suffix)).toBe(0o600);
      store.close();
      chmodSync(path, 0o644);
      open();
      expect(mode(path)).toBe(0o600);
    } finally {
      process.umask(old);
    }
  });

  test('is durable: write-ahead log, full sync, foreign keys, one owner', () => {
    const db = connection(open());
    const pragmas = ['journal_mode', 'synchronous', 'foreign_keys', 'locking_mode', 'busy_timeout'].map((p) => db.pragma(p, { simple: true }));
    expect(pragmas).toEqual(['wal', 2, 1, 'exclusive', 20]);
  });

  test('holds everything when it is opened again', () => {
    const store = filled();
    const before = dump(store);
    store.close();
    expect(dump(open())).toEqual(before);
  });

  test('that has another owner is refused as locked', () => {
    filled();
    const error = refusedToOpen();
    expect([error.code, error.culprit]).toEqual(['locked', path]);
    expect(error.message).toContain('another process');
  });

  test('that another connection writes right now is refused as locked', () => {
    open().close();
    tamper((other) => {
      other.exec('BEGIN IMMEDIATE');
      expect(refusedToOpen().code).toBe('locked');
    });
  });

  test('that nobody may write is refused as read-only', () => {
    filled().close();
    chmodSync(path, 0o444);
    const error = refusedToOpen();
    expect([error.code, error.culprit]).toEqual(['read_only', path]);
  });

  test('in a folder that does not exist, or that is a folder, cannot be opened', () => {
    expect(refusedToOpen(join(folder, 'no', 'where')).code).toBe('cannot_open');
    mkdirSync(join(folder, 'sub'));
    expect(refusedToOpen(join(folder, 'sub')).code).toBe('cannot_open');
  });

  test('that is not a database is refused as corrupt, and left as it is', () => {
    const text = 'not a database, but long enough to be taken for one: '.repeat(100);
    writeFileSync(path, text);
    const error = refusedToOpen();
    expect([error.code, error.culprit]).toEqual(['corrupt', path]);
    expect(readFileSync(path, 'utf8')).toBe(text);
  });

  test('that is damaged inside is refused as corrupt', () => {
    const store = filled();
    for (let i = 2; i < 200; i++) store.apply({ journal, states: [write(i, 0)] });
    store.close();
    const bytes = readFileSync(path);
    // The pages of tables and indexes, but not the first, which holds the schema.
    bytes.fill(0xa5, 4096 * 3, bytes.length - 4096);
    writeFileSync(path, bytes);
    expect(refusedToOpen().code).toBe('corrupt');
  });

  test('cut short is refused as corrupt', () => {
    const store = filled();
    for (let i = 2; i < 200; i++) store.apply({ journal, states: [write(i, 0)] });
    store.close();
    truncateSync(path, Math.floor(statSync(path).size / 2));
    expect(refusedToOpen().code).toBe('corrupt');
  });

  test('of a later version of the plugin is refused, named, and left as it is', () => {
    filled().close();
    tamper((db) => db.pragma(`user_version = ${MIGRATIONS.length + 1}`));
    const before = readFileSync(path);
    const error = refusedToOpen();
    expect([error.code, error.culprit]).toEqual(['newer_schema', path]);
    expect(error.message).toContain(`version ${MIGRATIONS.length + 1}`);
    expect(readFileSync(path).equals(before)).toBe(true);
  });

  test.each([
    ['tables', (db: Database.Database) => db.exec('CREATE TABLE channels (id)')],
    ['an application id', (db: Database.Database) => db.pragma('application_id = 7')],
    ['a schema version', (db: Database.Database) => db.pragma('user_version = 1')],
  ])('of another program (it has %s) is refused', (_what, make) => {
    tamper((db) => void make(db));
    expect(refusedToOpen().code).toBe('not_ours');
  });

  test('that lost its ledger is refused as corrupt', () => {
    filled().close();
    tamper((db) => db.exec('DELETE FROM ledger'));
    expect(refusal(() => open().generation()).code).toBe('corrupt');
  });
});

describe('a later schema', () => {
  const added = [...MIGRATIONS, 'ALTER TABLE factories ADD COLUMN alias TEXT', "UPDATE factories SET alias = 'none'"];

  test('is made of the older one step by step, once, with all that was in it', () => {
    const store = filled();
    const before = dump(store);
    store.close();
    for (const steps of [added.slice(0, -1), added, added]) {
      const db = openDatabase(path, 20, steps);
      expect(db.pragma('user_version', { simple: true })).toBe(steps.length);
      expect(db.prepare('SELECT alias FROM factories').pluck().all()).toEqual([steps === added ? 'none' : null]);
      db.close();
    }
    tamper((db) => db.pragma(`user_version = ${MIGRATIONS.length}`));
    expect(dump(open())).toEqual(before);
  });

  test('that cannot be made leaves the file as it was', () => {
    const store = filled();
    const before = dump(store);
    store.close();
    expect(refusal(() => openDatabase(path, 20, [...added, 'no such statement'])).code).toBe('io');
    expect(dump(open())).toEqual(before);
  });
});

describe('what is append-only', () => {
  test.each([
    ["UPDATE sign_once SET sighash = ''", 'sign_once'],
    ['DELETE FROM sign_once', 'sign_once'],
    ["UPDATE journal SET line = ''", 'journal'],
    ['DELETE FROM journal', 'journal'],
    ['UPDATE ledger SET generation = generation - 1', 'ledger'],
  ])('%s is refused by the database itself', (sql, table) => {
    const db = connection(filled());
    expect(() => db.exec(sql)).toThrow(table);
  });

  test.each<[string, string, number]>([
    ['an altered line', `UPDATE journal SET line = replace(line, 'test', 'tost') WHERE seq = 2`, 2],
    ['a missing entry', 'DELETE FROM journal WHERE seq = 2', 2],
    ['a missing end', 'DELETE FROM journal WHERE seq = 3', 3],
    ['a missing beginning', 'DELETE FROM journal WHERE seq = 1', 1],
    ['an altered hash', `UPDATE journal SET hash = '${'11'.repeat(32)}' WHERE seq = 1`, 1],
  ])('%s is found by the hash chain', (_what, sql, seq) => {
    filled().close();
    tamper((db) => db.exec(`DROP TRIGGER journal_no_update; DROP TRIGGER journal_no_delete; ${sql}`));
    expect(open().verifyJournal()).toMatchObject({ ok: false, seq });
  });
});

describe('all or nothing', () => {
  test('a full disk keeps nothing of the transaction, and is named', () => {
    const store = filled();
    const before = dump(store);
    const db = connection(store);
    db.pragma(`max_page_count = ${String(db.pragma('page_count', { simple: true }))}`);
    const error = refusal(() => store.apply({ journal, states: [write(1, 2, { state: 'x'.repeat(100_000) }), write(2, 0)] }));
    expect(error.code).toBe('io');
    expect(error.message).toContain('full');
    expect(dump(store)).toEqual(before);
    db.pragma('max_page_count = 1000000');
    store.apply({ journal, states: [write(1, 2)] });
  });

  test('after a crash at any byte of the log, the file is what it was after one of the applies, not older than the last that fits', () => {
    const store = open();
    const wal = `${path}-wal`;
    // generation g was complete on disk when the log had this many bytes
    const sizes = [statSync(wal).size];
    for (let g = 1; g <= 12; g++) {
      store.apply({
        journal: { event: `apply ${g}`, detail: { generation: g } },
        states: [write(1, g - 1, { state: { filler: 'f'.repeat(700 * g), g } })],
        signOnce: [{ outpoint: outpoint(g), purpose: 'leaf', sighash: sighash(g) }],
        outbox: [{ instanceId: id(1), kind: 'send', effect: { g } }],
        meta: { g: String(g) },
      });
      sizes.push(statSync(wal).size);
    }
    const [crashed, end] = [join(folder, 'crashed.sqlite3'), sizes.at(-1)!];
    const check = (cut: number): void => {
      for (const suffix of ['-shm', '']) rmSync(crashed + suffix, { force: true });
      copyFileSync(path, crashed);
      copyFileSync(wal, `${crashed}-wal`);
      truncateSync(`${crashed}-wal`, cut);
      const survivor = open(crashed);
      try {
        const g = survivor.generation();
        expect(g).toBe(sizes.findLastIndex((size) => size <= cut));
        const state = survivor.factory(id(1));
        expect([state?.revision ?? 0, (state?.state as { g: number } | undefined)?.g ?? 0]).toEqual([g, g]);
        expect(survivor.verifyJournal()).toMatchObject({ ok: true, length: g });
        expect(survivor.pending()).toHaveLength(g);
        expect(survivor.meta('g')).toBe(g === 0 ? undefined : String(g));
        expect(survivor.signedOnce(outpoint(g), 'leaf')).toBe(g === 0 ? undefined : sighash(g));
        expect(survivor.signedOnce(outpoint(g + 1), 'leaf')).toBeUndefined();
      } finally {
        survivor.close();
      }
    };
    sizes.forEach(check);
    fc.assert(fc.property(fc.integer({ min: sizes[0]!, max: end }), check), { numRuns: 60 });
  });
});

describe('backup', () => {
  test('is one sound file for the owner alone, and opens as the store it was', async () => {
    const store = filled();
    const before = dump(store);
    const target = join(folder, 'copy.sqlite3');
    const info = await store.backup(target);
    expect(info).toEqual({ path: target, bytes: statSync(target).size, generation: 2 });
    expect(mode(target)).toBe(0o600);
    expect(['-wal', '-shm', '-journal', '.partial'].some((suffix) => existsSync(target + suffix))).toBe(false);
    // Its header says that it needs no write-ahead log (format version 1, not 2).
    expect(readFileSync(target)[18]).toBe(1);
    expect(dump(open(target))).toEqual(before);
  });

  test('is of one moment, though work goes on', async () => {
    const store = filled();
    for (let i = 0; i < 300; i++) store.apply({ journal, states: [write(2, i, { state: 'y'.repeat(5_000) })] });
    const copying = store.backup(join(folder, 'copy.sqlite3'));
    for (let i = 300; i < 320; i++) {
      store.apply({ journal, states: [write(2, i)], meta: { last: String(i) } });
      await new Promise((resolve) => setImmediate(resolve));
    }
    const { generation } = await copying;
    const copy = open(join(folder, 'copy.sqlite3'));
    expect(copy.generation()).toBe(generation);
    expect(copy.factory(id(2))?.revision).toBe(generation - 2);
    expect(copy.verifyJournal().ok).toBe(true);
    expect(store.generation()).toBe(322);
  });

  test('replaces nothing, and leaves nothing when it fails', async () => {
    const store = filled();
    const target = join(folder, 'copy.sqlite3');
    writeFileSync(target, 'mine');
    await expect(store.backup(target)).rejects.toMatchObject({ code: 'exists', culprit: target });
    expect(readFileSync(target, 'utf8')).toBe('mine');
    await expect(store.backup(join(folder, 'no', 'where'))).rejects.toBeInstanceOf(StoreError);
    store.close();
    expect(refusal(() => void store.backup(join(folder, 'new'))).code).toBe('closed');
  });
});
