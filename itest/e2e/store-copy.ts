/** What a node's plugin has stored, read from a copy of its database: the file itself belongs to the plugin while it runs. */
import { copyFileSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import path from 'node:path';
import Database from 'better-sqlite3';
import type { LightningNode } from '../harness/lightningd.js';

export const databaseOf = (node: LightningNode): string => path.join(node.dir, 'regtest/cln-factory.sqlite3');

const PARTS = ['', '-wal', '-shm'] as const;

/** The database with what belongs to it, as a crash at this moment would leave it. */
export const copyDatabase = (from: string, to: string): void => {
  for (const part of PARTS) {
    rmSync(to + part, { force: true });
    if (existsSync(from + part)) copyFileSync(from + part, to + part);
  }
};

export interface StoredTx {
  readonly txid: string;
  readonly kind: string;
  readonly raw: string;
  readonly member: number | null;
}

/** The signed transactions of a factory, in the order they were stored. */
export const storedTransactions = (node: LightningNode, factoryId: string): readonly StoredTx[] => {
  const dir = mkdtempSync(path.join(node.dir, 'copy-'));
  try {
    const copy = path.join(dir, 'db');
    copyDatabase(databaseOf(node), copy);
    const db = new Database(copy);
    const rows = db.prepare('SELECT txid, kind, raw, member FROM transactions WHERE instance_id = ? ORDER BY rowid').all(factoryId);
    db.close();
    return rows as readonly StoredTx[];
  } finally {
    rmSync(dir, { recursive: true });
  }
};

/** The way out of the client that runs on this node, as anybody could publish it: from the root to its leaf. */
export const wayOut = (node: LightningNode, factoryId: string): readonly StoredTx[] =>
  storedTransactions(node, factoryId).filter(({ kind }) => kind === 'split' || kind === 'leaf');
