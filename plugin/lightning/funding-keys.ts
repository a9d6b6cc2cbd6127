/**
 * The script audit (architecture 6): the fundee's plugin never sees its channel's funding keys, so they are read from
 * CLN's own wallet database, read-only.
 *
 * CLN's SQLite file has a rollback journal, not a WAL: while we read, CLN cannot commit (it waits a minute, then aborts).
 * Hence one indexed look-up, and the file is closed at once.
 */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { hex as hexCoder } from '@scure/base';
import { sha256 } from '@noble/hashes/sha2.js';
import Database from 'better-sqlite3';
import { hex, pubKey, script, type Hex, type Outpoint, type Script } from '../../blip/brands.js';
import { LightningError } from './lightning.js';

interface KeyRow {
  readonly local: Uint8Array | null;
  readonly remote: Uint8Array | null;
}

/** Looks up one row in the database at `file`; undefined: no such channel. @throws when the file cannot be read */
export type WalletReader = (file: string, funding: Outpoint) => KeyRow | undefined;

const BUSY_TIMEOUT_MS = 5_000;
const QUERY = 'SELECT funding_pubkey_local AS local, fundingkey_remote AS remote FROM channels WHERE funding_tx_id = ? AND funding_tx_outnum = ?';

export const readWallet: WalletReader = (file, { txid, vout }) => {
  const db = new Database(file, { readonly: true, fileMustExist: true, timeout: BUSY_TIMEOUT_MS });
  try {
    return db.prepare<[Uint8Array, number], KeyRow>(QUERY).get(Buffer.from(txid, 'hex').reverse(), vout);
  } finally {
    db.close();
  }
};

/** `wallet=sqlite3://main[:backup]` of lightningd's configuration, else its file in the network's directory. */
export const walletFile = (lightningDir: string, wallet: string | undefined): string => {
  if (wallet === undefined) return path.join(lightningDir, 'lightningd.sqlite3');
  const file = /^sqlite3:\/\/([^:]+)/.exec(wallet)?.[1];
  if (file === undefined) throw new LightningError('wallet_unreadable', 'the wallet database is not SQLite: its funding keys cannot be audited', 'wallet');
  return path.resolve(lightningDir, file);
};

/** The 2-of-2 of two funding keys, in lexical order, as P2WSH (BOLT 3, funding transaction output). */
export const fundingScript = (a: Hex, b: Hex): Script => {
  const [first, second] = a < b ? [a, b] : [b, a];
  return script(`0020${hexCoder.encode(sha256(hexCoder.decode(`5221${first}21${second}52ae`)))}`);
};

const keyOf = (bytes: Uint8Array | null, field: string): Hex => hex(pubKey(hexCoder.encode(bytes ?? new Uint8Array()), field));

export const readFundingKeys = (
  read: WalletReader,
  lightningDir: string,
  wallet: string | undefined,
  funding: Outpoint,
): { readonly script: Script; readonly keys: readonly [Hex, Hex] } => {
  const file = walletFile(lightningDir, wallet);
  if (!existsSync(file)) throw new LightningError('wallet_unreadable', 'the wallet database is not where it should be', file);
  let row;
  try {
    row = read(file, funding);
  } catch (cause) {
    throw new LightningError('wallet_unreadable', `the wallet database cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`, file, { cause });
  }
  if (row === undefined) throw new LightningError('not_found', 'no channel with this funding output in the wallet database', funding.txid);
  const keys = [keyOf(row.local, 'funding_pubkey_local'), keyOf(row.remote, 'fundingkey_remote')] as const;
  return { script: fundingScript(...keys), keys };
};
