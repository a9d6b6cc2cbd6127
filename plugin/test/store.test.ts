import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

import { StoreError } from '../store/errors.js';
import { openMemoryStore } from '../store/memory-store.js';
import { openSqliteStore } from '../store/sqlite-store.js';
import { digest } from '../store/state-json.js';
import type { Store, StoreTx } from '../store/store.js';
import { block, connected, dump, id, outpoint, sighash, storeContract, tx, write } from './store-suite.js';

const folder = mkdtempSync(join(tmpdir(), 'store-'));
const opened: Store[] = [];
let files = 0;
const openSqlite = (now: () => number): Store => {
  const store = openSqliteStore(join(folder, `${files++}.sqlite3`), { now });
  opened.push(store);
  return store;
};
afterAll(() => {
  opened.forEach((store) => store.close());
  rmSync(folder, { recursive: true });
});

storeContract('SQLite', openSqlite);
storeContract('memory', openMemoryStore);

describe('the two stores are one', () => {
  const small = fc.nat(2);
  const optional = <T>(arb: fc.Arbitrary<T>) => fc.option(arb, { nil: undefined, freq: 2 });
  /** Transactions over few ids and values, so that most of what can collide does. */
  const arbTx: fc.Arbitrary<StoreTx> = fc
    .record({
      states: optional(fc.array(fc.tuple(small, fc.nat(4), fc.constantFrom('coordinator', 'member')), { maxLength: 2 })),
      outbox: optional(fc.array(fc.tuple(small, fc.nat(20)), { maxLength: 3 })),
      done: optional(fc.integer({ min: 1, max: 8 })),
      cancelled: optional(fc.array(fc.integer({ min: 1, max: 8 }), { maxLength: 2 })),
      signOnce: optional(fc.array(fc.tuple(small, small), { maxLength: 2 })),
      transactions: optional(fc.array(fc.tuple(small, small), { maxLength: 2 })),
      request: optional(fc.tuple(small, small, optional(small))),
      chain: optional(fc.tuple(fc.constantFrom('connected', 'disconnected', 'rescan'), fc.integer({ min: 1, max: 5 }), fc.nat(1))),
    })
    .map((t): StoreTx => {
      const result = t.request?.[2];
      return {
        journal: { event: 'random', detail: t.done ?? null },
        ...(t.states && { states: t.states.map(([n, revision, role]) => write(n, revision, { role })) }),
        ...(t.outbox && { outbox: t.outbox.map(([n, notBefore]) => ({ instanceId: id(n), kind: 'k', effect: { n }, notBefore })) }),
        ...(t.done !== undefined && { done: t.done }),
        ...(t.cancelled && { cancelled: t.cancelled }),
        ...(t.signOnce && { signOnce: t.signOnce.map(([n, s]) => ({ outpoint: outpoint(n), purpose: 'split' as const, sighash: sighash(s) })) }),
        ...(t.transactions && { transactions: t.transactions.map(([n, m]) => ({ instanceId: id(n), txid: tx(m), kind: 'leaf', raw: sighash(m), member: m })) }),
        ...(t.request && {
          request: { requestId: `r${t.request[0]}`, command: 'c', digest: digest(t.request[1]), ...(result === undefined ? {} : { result }) },
        }),
        ...(t.chain && { chain: t.chain[0] === 'rescan' ? { type: 'rescan' } : { ...connected(block(t.chain[1], t.chain[2])), type: t.chain[0] } }),
      };
    });
  type Operation = (store: Store) => unknown;
  const arbOperation: fc.Arbitrary<Operation> = fc.oneof(
    { weight: 6, arbitrary: arbTx.map((t): Operation => (s) => s.apply(t)) },
    fc.nat(8).map((n): Operation => (s) => s.markDone(n)),
    fc.nat(8).map((n): Operation => (s) => s.markFailed(n, 'why')),
    fc.tuple(fc.nat(8), fc.nat(30)).map(([n, t]): Operation => (s) => s.defer(n, t)),
    fc.nat(20).map((t): Operation => (s) => s.pruneOutbox(t)),
    fc.nat(20).map((t): Operation => (s) => s.pending(t)),
  );
  const outcome = (operation: Operation, store: Store): unknown => {
    try {
      return operation(store);
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      return [error.code, error.code === 'conflict' ? '' : error.message];
    }
  };

  test('any sequence of operations has the same answers and leaves the same behind', () => {
    let applied = 0;
    let refused = 0;
    fc.assert(
      fc.property(fc.array(arbOperation, { minLength: 1, maxLength: 40 }), (operations) => {
        let ticks = 0;
        const sqlite = openSqlite(() => ticks);
        const memory = openMemoryStore(() => ticks);
        for (const operation of operations) {
          ticks += 1;
          const expected = outcome(operation, sqlite);
          expect(outcome(operation, memory)).toEqual(expected);
          if (Array.isArray(expected) && typeof expected[0] === 'string') refused += 1;
          else applied += 1;
        }
        expect(dump(memory)).toEqual(dump(sqlite));
        sqlite.close();
      }),
      { numRuns: 60 },
    );
    // The property says little if nearly everything is refused.
    expect(applied).toBeGreaterThan(refused / 4);
  });
});
