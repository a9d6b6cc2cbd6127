import Database from 'better-sqlite3';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { hex, txid } from '../../../blip/brands.js';
import { createLightning } from '../cln.js';
import { fundingScript, readFundingKeys, readWallet, walletFile } from '../funding-keys.js';
import { FakeRpc } from './fake-rpc.js';

/** BOLT 3, appendix B: funding transaction test vectors. */
const LOCAL = hex('023da092f6980e58d2c037173180e9a465476026ee50f96695963e8efe436f54eb');
const REMOTE = hex('030e9f7b623d2ccc7c9bd44d66d5ce21ce504c0acf6385a132cec6d3c39fa711c1');
const FUNDING_SCRIPT = '0020c015c4a6be010e21657068fc2e6a9d02b27ebe4d490a25846f7237f104d1a3cd';
const OUTPOINT = { txid: txid('22115b340b2f5dd99ac3af8d9812c62fbb89398461d580f6e88f23e236984cf9'), vout: 1 };

test('the 2-of-2 is that of BOLT 3, whichever key comes first', () => {
  expect(fundingScript(LOCAL, REMOTE)).toBe(FUNDING_SCRIPT);
  expect(fundingScript(REMOTE, LOCAL)).toBe(FUNDING_SCRIPT);
});

describe('where the database is', () => {
  test('by default and as set', () => {
    expect(walletFile('/n/regtest', undefined)).toBe('/n/regtest/lightningd.sqlite3');
    expect(walletFile('/n/regtest', 'sqlite3:///w/main.sqlite3:/backup/copy.sqlite3')).toBe('/w/main.sqlite3');
    expect(walletFile('/n/regtest', 'sqlite3://own.sqlite3')).toBe('/n/regtest/own.sqlite3');
  });
  test('not in Postgres', () => {
    expect(() => walletFile('/n/regtest', 'postgres://host/db')).toThrow(expect.objectContaining({ code: 'wallet_unreadable' }));
  });
});

describe('reading it', () => {
  let dir = '';
  let file = '';
  const insert = (db: InstanceType<typeof Database>, vout: number, local: unknown, remote: unknown) =>
    db.prepare('INSERT INTO channels VALUES (?, ?, ?, ?)').run(Buffer.from(OUTPOINT.txid, 'hex').reverse(), vout, local, remote);
  beforeAll(() => {
    dir = mkdtempSync(path.join(tmpdir(), 'wallet-'));
    file = path.join(dir, 'lightningd.sqlite3');
    const db = new Database(file);
    db.exec('CREATE TABLE channels (funding_tx_id BLOB, funding_tx_outnum INTEGER, funding_pubkey_local BLOB, fundingkey_remote BLOB)');
    insert(db, 1, Buffer.from(LOCAL, 'hex'), Buffer.from(REMOTE, 'hex'));
    insert(db, 2, Buffer.from(LOCAL, 'hex'), null);
    db.close();
  });
  afterAll(() => rmSync(dir, { recursive: true }));

  test('finds the channel by outpoint, its txid in internal byte order', () => {
    expect(readFundingKeys(readWallet, dir, undefined, OUTPOINT)).toEqual({ script: FUNDING_SCRIPT, keys: [LOCAL, REMOTE] });
    expect(() => readFundingKeys(readWallet, dir, undefined, { ...OUTPOINT, vout: 0 })).toThrow(expect.objectContaining({ code: 'not_found', culprit: OUTPOINT.txid }));
  });
  test('does so while the node is in a transaction of its own, and leaves no lock behind', () => {
    const node = new Database(file);
    try {
      node.exec("BEGIN IMMEDIATE; UPDATE channels SET funding_tx_outnum = 9 WHERE funding_tx_outnum = 1");
      expect(readFundingKeys(readWallet, dir, undefined, OUTPOINT).script).toBe(FUNDING_SCRIPT);
      node.exec('ROLLBACK; BEGIN EXCLUSIVE; COMMIT');
    } finally {
      node.close();
    }
  });
  test('a key that is none is an error, not another script', async () => {
    const getinfo = { id: LOCAL, network: 'regtest', blockheight: 1, 'lightning-dir': dir, version: '' };
    const listconfigs = { configs: { 'cltv-final': { value_int: 10 }, 'cltv-delta': { value_int: 6 }, 'min-emergency-msat': { value_msat: 0 } } };
    const ln = createLightning(new FakeRpc({ getinfo, listconfigs }));
    await expect(ln.auditFundingKeys({ ...OUTPOINT, vout: 2 })).rejects.toMatchObject({ code: 'protocol', culprit: 'fundingkey_remote' });
    expect((await ln.auditFundingKeys(OUTPOINT)).script).toBe(FUNDING_SCRIPT);
  });
  test('a file that is missing or no database cannot be audited', () => {
    const unreadable = expect.objectContaining({ code: 'wallet_unreadable' });
    expect(() => readFundingKeys(readWallet, path.join(dir, 'nowhere'), undefined, OUTPOINT)).toThrow(unreadable);
    writeFileSync(path.join(dir, 'text'), 'this is no database, however long it is '.repeat(50));
    expect(() => readFundingKeys(readWallet, dir, 'sqlite3://text', OUTPOINT)).toThrow(unreadable);
  });
});
