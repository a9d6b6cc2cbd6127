/** An old copy of the plugin's database, and databases that cannot be used: nothing is signed, nothing is lost, it says what to do. */
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import Database from 'better-sqlite3';
import { Cluster } from '../harness/cluster.js';
import type { LightningNode } from '../harness/lightningd.js';
import { exitOf, mineSeen } from './chain-helpers.js';
import { activeFactory, factoryState, rpcError } from './factory-helpers.js';
import { copyDatabase, databaseOf } from './store-copy.js';

jest.setTimeout(240_000);

describe('the plugin’s database', () => {
  let cluster: Cluster;
  let factoryId = '';
  let saved = '';
  const problemOf = async (node: LightningNode): Promise<string | undefined> =>
    ((await node.call('factory-status')) as unknown as { readonly node: { readonly problem?: string } }).node.problem;

  beforeAll(async () => {
    cluster = await Cluster.start({
      clients: 2,
      outsider: false,
      plugin: { lsp: { 'factory-min-depth': 1 }, client: {} },
      // It refuses to start, and ends.
      allowBroken: /older than the node|cln-factory.sqlite3|Killing plugin: exited|marked as important/,
    });
    factoryId = (await activeFactory(cluster)).factory_id;
    const dir = path.join(cluster.workspace.dir, 'saved');
    mkdirSync(dir);
    saved = path.join(dir, 'db');
  }, 240_000);
  afterAll(() => cluster.stop(), 240_000);

  test('an old copy signs nothing, stays noticed over restarts, and still leaves', async () => {
    const client = cluster.client(0);
    const db = databaseOf(client);
    const newest = `${saved}-newest`;
    await client.stop();
    copyDatabase(db, saved);
    await client.resume();
    await mineSeen(cluster, 3);
    await client.stop();
    copyDatabase(db, newest);
    copyDatabase(saved, db);
    for (let start = 0; start < 2; start += 1) {
      await client.resume();
      expect(await problemOf(client)).toMatch(/older than the node.*factory-exit/s);
      await mineSeen(cluster, 5);
      expect(await factoryState(client, factoryId)).toBe('active');
      await client.stop();
    }
    // With the newest copy back, all is as before.
    copyDatabase(newest, db);
    await client.resume();
    expect(await problemOf(client)).toBeUndefined();
  });

  test('an old copy on the coordinator refuses to create and to close', async () => {
    const { lsp } = cluster;
    const db = databaseOf(lsp);
    await lsp.stop();
    copyDatabase(db, saved);
    await lsp.resume();
    await mineSeen(cluster, 3);
    await lsp.stop();
    copyDatabase(saved, db);
    await lsp.resume();
    for (const client of cluster.clients) await client.connect(lsp);
    for (const call of [
      lsp.call('factory-close', { factory_id: factoryId }),
      lsp.call('factory-create', { clients: cluster.clients.map((c) => c.id), capacity: 100_000 }),
    ]) {
      expect((await rpcError(call)).message).toMatch(/older than the node/);
    }
    const [root] = await exitOf(lsp, factoryId, cluster.client(1));
    await cluster.bitcoind.waitForMempool(root!);
  });

  describe('that cannot be used: the plugin says so and does not run, and nothing is lost', () => {
    const refuses = async (pattern: RegExp, spoil: (db: string) => () => void): Promise<void> => {
      const client = cluster.client(1);
      const db = databaseOf(client);
      await client.stop();
      copyDatabase(db, saved);
      const restore = spoil(db);
      const mark = client.logMark();
      await client.resume();
      await client.waitForLog(pattern, mark);
      await expect(client.call('factory-list')).rejects.toMatchObject({ name: 'RpcError' });
      await client.end();
      // A node that was told that the plugin matters does not go on without it: nobody would guard its channels.
      await expect(client.resume(undefined, 'important-plugin')).rejects.toThrow(/did not start/);
      restore();
      copyDatabase(saved, db);
      await client.resume();
      expect(await factoryState(client, factoryId)).toBeDefined();
      expect(await client.call('factory-verify')).toMatchObject({ journal: { ok: true } });
    };

    test('damaged', () =>
      refuses(/not a database|damaged/, (db) => {
        const bytes = readFileSync(db);
        bytes.fill(0xa5, 0, 4096);
        writeFileSync(db, bytes);
        return () => undefined;
      }));
    test('read-only', () =>
      refuses(/nobody may write it/, (db) => {
        chmodSync(db, 0o400);
        return () => chmodSync(db, 0o600);
      }));
    test('in use by another process', () =>
      refuses(/another process has it open/, (db) => {
        const other = new Database(db);
        other.pragma('locking_mode = EXCLUSIVE');
        other.exec('BEGIN IMMEDIATE');
        return () => other.close();
      }));
  });
});
