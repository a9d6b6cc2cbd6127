/** What every store must do, whatever it is made of. */
import { beforeEach, describe, expect, test } from '@jest/globals';

import { hex, instanceId, txid } from '../../blip/brands.js';
import type { Outpoint } from '../../blip/brands.js';
import { BLOCK_WINDOW, blockHash } from '../chain/position.js';
import type { BlockRef } from '../chain/position.js';
import { StoreError } from '../store/errors.js';
import type { StoreErrorCode } from '../store/errors.js';
import { digest } from '../store/state-json.js';
import type { StateWrite, Store, StoreTx } from '../store/store.js';

export const id = (n: number) => instanceId(n.toString(16).padStart(64, '0'));
export const tx = (n: number) => txid(n.toString(16).padStart(64, 'a'));
export const outpoint = (n: number, vout = 0): Outpoint => ({ txid: tx(n), vout });
export const sighash = (n: number) => hex(n.toString(16).padStart(64, '5'));
export const block = (height: number, fork = 0): BlockRef => ({
  height,
  hash: blockHash(`${fork}${height}`.padStart(64, 'b')),
  prev: blockHash(`${fork}${height - 1}`.padStart(64, 'b')),
});
export const connected = (b: BlockRef) => ({ type: 'connected', block: b }) as const;
export const write = (n: number, revision: number, more: Partial<StateWrite> = {}): StateWrite => ({
  instanceId: id(n),
  role: 'coordinator',
  phase: 'signing',
  state: { step: revision },
  revision,
  ...more,
});
const journal = { event: 'test' };
const stateTx = (n: number, revision: number, more: Partial<StateWrite> = {}): StoreTx => ({ journal, states: [write(n, revision, more)] });

/** Runs `body` and returns the StoreError it throws. */
export const refusal = (body: () => unknown): StoreError => {
  try {
    body();
  } catch (error) {
    if (error instanceof StoreError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
};

/** All that can be read from a store. */
export const dump = (store: Store): unknown => ({
  generation: store.generation(),
  factories: store.factories().map((f) => store.factory(f.instanceId)),
  pending: store.pending(),
  failed: store.failed(),
  transactions: store.factories().map((f) => store.transactionsOf(f.instanceId)),
  journal: store.journal(),
  verdict: store.verifyJournal(),
  blocks: store.blocks(),
});

/** @param open a fresh, empty store on this clock (milliseconds since 1970) */
export const storeContract = (name: string, open: (now: () => number) => Store): void => {
  describe(`${name}: the contract of every store`, () => {
    let store: Store;
    let time: number;
    beforeEach(() => {
      time = 1_000;
      store = open(() => time);
    });
    const code = (body: () => unknown): StoreErrorCode => refusal(body).code;

    describe('states', () => {
      test('a state is read back as it was written, with its revision and times', () => {
        store.apply(stateTx(1, 0, { state: { amount: 5n, key: new Uint8Array([1, 2]), list: [{ a: null }], text: 'é\u0000' } }));
        time = 2_000;
        store.apply(stateTx(1, 1, { phase: 'active', state: { amount: -7n } }));
        expect(store.factory(id(1))).toEqual({
          instanceId: id(1), role: 'coordinator', phase: 'active', revision: 2, created: 1_000, updated: 2_000, state: { amount: -7n },
        });
        expect(store.factory(id(2))).toBeUndefined();
      });

      test('what was read does not change when the writer changes its copy', () => {
        const state = { list: [1] };
        store.apply(stateTx(1, 0, { state }));
        state.list.push(2);
        expect(store.factory(id(1))?.state).toEqual({ list: [1] });
      });

      test('factories are listed in the order they were created', () => {
        store.apply(stateTx(2, 0));
        time += 1;
        store.apply(stateTx(1, 0, { role: 'member' }));
        expect(store.factories().map((f) => [f.instanceId, f.role])).toEqual([[id(2), 'coordinator'], [id(1), 'member']]);
      });

      test('a state computed from another revision is refused: stale, ahead, twice new, never made', () => {
        store.apply(stateTx(1, 0));
        store.apply(stateTx(1, 1));
        for (const revision of [0, 1, 3]) {
          const error = refusal(() => store.apply(stateTx(1, revision)));
          expect([error.code, error.culprit]).toEqual(['conflict', id(1)]);
        }
        expect(code(() => store.apply(stateTx(2, 1)))).toBe('conflict');
      });

      test('the role of a factory does not change', () => {
        store.apply(stateTx(1, 0));
        expect(code(() => store.apply(stateTx(1, 1, { role: 'member' })))).toBe('conflict');
      });

      test('several factories change together or not at all', () => {
        store.apply({ journal, states: [write(1, 0), write(2, 0)] });
        const before = dump(store);
        expect(code(() => store.apply({ journal, states: [write(1, 1), write(2, 0)] }))).toBe('conflict');
        expect(dump(store)).toEqual(before);
      });

      test('what is not plain data is refused by its path', () => {
        const error = refusal(() => store.apply(stateTx(1, 0, { state: { a: [new Map()] } })));
        expect([error.code, error.culprit]).toEqual(['codec', 'state.a[0]']);
        expect(store.factories()).toEqual([]);
      });
    });

    describe('outbox', () => {
      const item = (n: number, notBefore?: number) => ({
        instanceId: id(1), kind: 'send', effect: { n, amount: BigInt(n) }, ...(notBefore === undefined ? {} : { notBefore }),
      });

      test('items come back in order with their effects, until they are done', () => {
        const { outbox } = store.apply({ journal, outbox: [item(1), item(2)] });
        const more = store.apply({ journal, outbox: [item(3)] }).outbox;
        const ids = [...outbox, ...more];
        expect(ids).toEqual([...ids].sort((a, b) => a - b));
        expect(store.pending()).toEqual(
          ids.map((itemId, i) => ({
            id: itemId, instanceId: id(1), kind: 'send', effect: { n: i + 1, amount: BigInt(i + 1) }, created: 1_000, attempts: 0, notBefore: 1_000,
          })),
        );
        store.markDone(ids[1]!);
        expect(store.pending().map((p) => p.id)).toEqual([ids[0], ids[2]]);
      });

      test('deferred and later items are hidden until they are due, and keep their place', () => {
        const [a, b] = store.apply({ journal, outbox: [item(1), item(2, 5_000), item(3)] }).outbox as [number, number, number];
        store.defer(a, 3_000);
        store.defer(a, 4_000);
        expect(store.pending(1_000).map((p) => p.effect)).toEqual([{ n: 3, amount: 3n }]);
        expect(store.pending(4_000).map((p) => [p.id, p.attempts])).toEqual([[a, 2], [b + 1, 0]]);
        expect(store.pending(5_000)).toHaveLength(3);
        expect(store.pending().map((p) => p.notBefore)).toEqual([4_000, 5_000, 1_000]);
      });

      test('done twice is done; failed ones are kept with the reason; neither can be deferred', () => {
        const [a, b] = store.apply({ journal, outbox: [item(1), item(2)] }).outbox as [number, number];
        time = 1_500;
        store.markFailed(a, 'peer is gone');
        store.markDone(a);
        store.markFailed(a, 'another');
        store.markDone(b);
        store.markDone(b);
        expect(store.pending()).toEqual([]);
        expect(store.failed()).toEqual([
          { id: a, instanceId: id(1), kind: 'send', effect: { n: 1, amount: 1n }, created: 1_000, attempts: 0, notBefore: 1_000, finished: 1_500, failure: 'peer is gone' },
        ]);
        expect(code(() => store.defer(a, 0))).toBe('not_pending');
        expect(code(() => store.defer(b, 0))).toBe('not_pending');
      });

      test('an item that never was is not found', () => {
        expect(code(() => store.markDone(99))).toBe('not_found');
        expect(code(() => store.markFailed(99, ''))).toBe('not_found');
        expect(code(() => store.defer(99, 0))).toBe('not_found');
        expect(code(() => store.apply({ journal, done: 99 }))).toBe('not_found');
      });

      test('the result of an item is applied once, together with what it changes', () => {
        const [a] = store.apply({ ...stateTx(1, 0), outbox: [item(1)] }).outbox as [number];
        store.apply({ ...stateTx(1, 1), done: a });
        expect(store.pending()).toEqual([]);
        const before = dump(store);
        expect(code(() => store.apply({ ...stateTx(1, 2), done: a }))).toBe('not_pending');
        expect(dump(store)).toEqual(before);
      });

      test('cancelled items are over, with whatever cancelled them; finished ones stay as they were', () => {
        const [a, b, c] = store.apply({ journal, outbox: [item(1), item(2), item(3)] }).outbox as [number, number, number];
        store.markDone(a);
        store.markFailed(b, 'no');
        const before = dump(store);
        expect(code(() => store.apply({ ...stateTx(1, 5), cancelled: [a, b, c] }))).toBe('conflict');
        expect(code(() => store.apply({ journal, cancelled: [c], outbox: [{ ...item(4), effect: NaN }] }))).toBe('codec');
        expect(dump(store)).toEqual(before);
        const { outbox } = store.apply({ ...stateTx(1, 0), cancelled: [a, b, c, 99], outbox: [item(4)] });
        expect(store.pending().map((p) => p.id)).toEqual(outbox);
        expect(store.failed().map((f) => [f.id, f.failure])).toEqual([[b, 'no'], [c, expect.stringContaining('cancelled')]]);
        expect(code(() => store.apply({ journal, done: c }))).toBe('not_pending');
      });

      test('pruning removes what was finished before a time, and ids are not used again', () => {
        const [a, b, c] = store.apply({ journal, outbox: [item(1), item(2), item(3)] }).outbox as [number, number, number];
        store.markDone(a);
        time = 2_000;
        store.markFailed(b, 'no');
        store.markDone(c);
        expect(store.pruneOutbox(2_000)).toBe(1);
        expect(code(() => store.markDone(a))).toBe('not_found');
        expect(store.pruneOutbox(2_001)).toBe(2);
        expect(store.failed()).toEqual([]);
        expect(store.apply({ journal, outbox: [item(4)] }).outbox[0]).toBeGreaterThan(c);
      });
    });

    describe('sign-once (architecture 12.6)', () => {
      const record = (n: number, hash: number) => ({ outpoint: outpoint(n), purpose: 'split', sighash: sighash(hash) }) as const;

      test('the same again is fine, another sighash for outpoint and purpose is refused and named', () => {
        store.apply({ journal, signOnce: [record(1, 1), record(2, 2)] });
        store.apply({ journal, signOnce: [record(1, 1)] });
        const error = refusal(() => store.apply({ journal, signOnce: [record(1, 3)] }));
        expect([error.code, error.culprit]).toEqual(['sign_once', `${tx(1)}:0 split`]);
        expect(error.message).toContain(sighash(1));
        expect(store.signedOnce(outpoint(1), 'split')).toBe(sighash(1));
      });

      test('another purpose, output or transaction is another key', () => {
        store.apply({ journal, signOnce: [record(1, 1)] });
        store.apply({ journal, signOnce: [{ ...record(1, 2), purpose: 'close' }, { ...record(1, 3), outpoint: outpoint(1, 1) }, record(2, 4)] });
        expect(store.signedOnce(outpoint(1), 'close')).toBe(sighash(2));
        expect(store.signedOnce(outpoint(1, 1), 'split')).toBe(sighash(3));
        expect(store.signedOnce(outpoint(1, 1), 'close')).toBeUndefined();
      });

      test('two sighashes within one transaction are refused too', () => {
        expect(code(() => store.apply({ journal, signOnce: [record(1, 1), record(1, 2)] }))).toBe('sign_once');
        expect(store.signedOnce(outpoint(1), 'split')).toBeUndefined();
      });

      test('nothing of a refused transaction is kept', () => {
        const effect = { instanceId: id(1), kind: 'x', effect: 1 };
        const [pending, finished] = store.apply({
          ...stateTx(1, 0), signOnce: [record(1, 1)], outbox: [effect, effect], chain: connected(block(7)),
        }).outbox;
        store.markDone(finished!);
        const before = dump(store);
        const all: StoreTx = {
          journal,
          states: [write(1, 1, { phase: 'active' }), write(2, 0)],
          outbox: [{ instanceId: id(1), kind: 'y', effect: 2 }],
          done: pending!,
          transactions: [{ instanceId: id(1), txid: tx(9), kind: 'split', raw: hex('00') }],
          request: { requestId: 'r', command: 'c', digest: digest(1), result: 1 },
          chain: connected(block(8)),
          meta: { m: '1' },
        };
        const breaks: readonly [StoreErrorCode, Partial<StoreTx>][] = [
          ['sign_once', { signOnce: [record(5, 5), record(1, 2)] }],
          ['conflict', { chain: connected(block(9)) }],
          ['conflict', { states: [write(1, 1), write(2, 1)] }],
          ['conflict', { transactions: [{ instanceId: id(3), txid: tx(9), kind: 'split', raw: hex('00') }] }],
          ['not_found', { done: 77 }],
          ['not_pending', { cancelled: [pending!], outbox: [], done: finished! }],
          ['codec', { outbox: [{ instanceId: id(1), kind: 'y', effect: 1 }, { instanceId: id(1), kind: 'y', effect: () => 1 }] }],
          ['codec', { request: { requestId: 'r', command: 'c', digest: digest(1), result: NaN } }],
          ['codec', { journal: { event: 'e', detail: new Date() } }],
        ];
        for (const [expected, part] of breaks) {
          expect(code(() => store.apply({ ...all, ...part }))).toBe(expected);
          expect(dump(store)).toEqual(before);
          expect(store.signedOnce(outpoint(5), 'split')).toBeUndefined();
          expect(store.transactionsByTxid(tx(9))).toEqual([]);
          expect(store.request({ requestId: 'r', command: 'c', digest: digest(1) })).toBeUndefined();
          expect(store.meta('m')).toBeUndefined();
        }
        // And it was a sound transaction but for the broken part.
        store.apply(all);
        expect(store.factory(id(1))?.phase).toBe('active');
      });
    });

    describe('transactions', () => {
      test('by factory in order, and by txid; the same again replaces', () => {
        store.apply({ journal, states: [write(1, 0), write(2, 0)] });
        const split = { instanceId: id(1), txid: tx(1), kind: 'split', raw: hex('01') };
        const leaf = { instanceId: id(1), txid: tx(2), kind: 'leaf', raw: hex('02'), member: 0 };
        const other = { instanceId: id(2), txid: tx(1), kind: 'close', raw: hex('03') };
        store.apply({ journal, transactions: [split, leaf, other] });
        store.apply({ journal, transactions: [{ ...split, raw: hex('0101') }] });
        expect(store.transactionsOf(id(1))).toEqual([{ ...split, raw: hex('0101') }, leaf]);
        expect(store.transactionsByTxid(tx(1))).toEqual([{ ...split, raw: hex('0101') }, other]);
        expect(store.transactionsByTxid(tx(3))).toEqual([]);
        expect(store.transactionsOf(id(3))).toEqual([]);
      });
    });

    describe('requests (architecture 12.16)', () => {
      const key = { requestId: 'r1', command: 'factory-create', digest: digest({ clients: ['a'] }) };

      test('begun, then finished; the result stays', () => {
        expect(store.request(key)).toBeUndefined();
        store.apply({ journal, request: { ...key, instanceId: id(1) } });
        expect(store.request(key)).toEqual({ ...key, instanceId: id(1) });
        store.apply({ journal, request: { ...key, result: { funding: 5n } } });
        expect(store.request(key)).toEqual({ ...key, instanceId: id(1), result: { funding: 5n } });
        store.apply({ journal, request: key });
        store.apply({ journal, request: { ...key, result: { funding: 5n } } });
        expect(code(() => store.apply({ journal, request: { ...key, result: { funding: 6n } } }))).toBe('conflict');
        expect(store.request(key)?.result).toEqual({ funding: 5n });
      });

      test('the same id with other arguments or another command is refused, asked or stored', () => {
        store.apply({ journal, request: key });
        for (const other of [{ ...key, digest: digest({ clients: ['b'] }) }, { ...key, command: 'factory-close' }]) {
          const error = refusal(() => store.request(other));
          expect([error.code, error.culprit]).toEqual(['request_mismatch', 'r1']);
          expect(code(() => store.apply({ journal, request: other }))).toBe('request_mismatch');
        }
      });

      test('an empty result is a result', () => {
        store.apply({ journal, request: { ...key, result: null } });
        expect(store.request(key)).toEqual({ ...key, result: null });
      });
    });

    describe('journal', () => {
      test('one entry per apply, chained by hash', () => {
        store.apply({ journal: { event: 'first', instanceId: id(1), detail: { amount: 3n } } });
        time = 2_000;
        store.apply({ journal: { event: 'second' } });
        const entries = store.journal();
        expect(entries).toMatchObject([
          { seq: 1, time: 1_000, event: 'first', instanceId: id(1), detail: { amount: 3n } },
          { seq: 2, time: 2_000, event: 'second' },
        ]);
        expect(store.verifyJournal()).toEqual({ ok: true, length: 2, head: entries[1]!.hash });
        // Written down once: a changed line format would break every journal there is.
        expect(entries[0]!.hash).toBe('1d81c582af1ae6f041e1ee96e79c61eca7a9d9d101c77eac5c169814b7e9395d');
      });

      test('pages', () => {
        for (let i = 0; i < 5; i++) store.apply({ journal: { event: `e${i}` } });
        expect(store.journal(1, 2).map((e) => e.seq)).toEqual([2, 3]);
        expect(store.journal(4).map((e) => e.event)).toEqual(['e4']);
        expect(store.journal(5)).toEqual([]);
      });

      test('empty is sound', () => {
        expect(store.verifyJournal()).toEqual({ ok: true, length: 0, head: '00'.repeat(32) });
      });
    });

    describe('generation', () => {
      test('grows with states and sign-once records, and with nothing else', () => {
        expect(store.generation()).toBe(0);
        expect(store.apply(stateTx(1, 0)).generation).toBe(1);
        expect(store.apply({ journal, signOnce: [{ outpoint: outpoint(1), purpose: 'leaf', sighash: sighash(1) }] }).generation).toBe(2);
        expect(store.apply({ journal, states: [write(1, 1), write(2, 0)] }).generation).toBe(3);
        expect(store.apply({ journal, meta: { a: 'b' }, outbox: [{ instanceId: id(1), kind: 'x', effect: null }], states: [], signOnce: [] }).generation).toBe(3);
        store.setMeta('x', 'y');
        expect(store.generation()).toBe(3);
      });
    });

    test('meta: by apply or alone, replaced', () => {
      expect(store.meta('k')).toBeUndefined();
      store.setMeta('k', '1');
      store.apply({ journal, meta: { k: '2', l: '' } });
      expect([store.meta('k'), store.meta('l')]).toEqual(['2', '']);
    });

    describe('chain position', () => {
      test('grows, shrinks and starts anew with the transaction that says so', () => {
        store.apply({ journal, chain: connected(block(10)) });
        store.apply({ journal, chain: connected(block(11)) });
        expect(store.blocks()).toEqual([block(10), block(11)]);
        store.apply({ journal, chain: { type: 'disconnected', block: block(11) } });
        expect(store.blocks()).toEqual([block(10)]);
        store.apply({ journal, chain: { type: 'rescan' } });
        expect(store.blocks()).toEqual([]);
        store.apply({ journal, chain: connected(block(3)) });
        expect(store.blocks()).toEqual([block(3)]);
      });

      test('what does not follow on is refused', () => {
        expect(code(() => store.apply({ journal, chain: { type: 'disconnected', block: block(9) } }))).toBe('conflict');
        store.apply({ journal, chain: connected(block(10)) });
        for (const step of [connected(block(10)), connected(block(12)), connected(block(11, 1)), { type: 'disconnected', block: block(9) } as const]) {
          expect(code(() => store.apply({ journal, chain: step }))).toBe('conflict');
        }
        expect(store.blocks()).toEqual([block(10)]);
      });

      test('keeps the last 300', () => {
        for (let h = 1; h <= BLOCK_WINDOW + 5; h++) store.apply({ journal, chain: connected(block(h)) });
        const blocks = store.blocks();
        expect([blocks.length, blocks[0]!.height, blocks.at(-1)!.height]).toEqual([BLOCK_WINDOW, 6, BLOCK_WINDOW + 5]);
      });
    });

    test('closed is closed', () => {
      store.close();
      store.close();
      for (const body of [() => store.apply({ journal }), () => store.pending(), () => store.generation(), () => store.factory(id(1)), () => store.blocks()]) {
        expect(code(body)).toBe('closed');
      }
    });
  });
};
