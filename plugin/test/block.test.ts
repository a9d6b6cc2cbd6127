import { describe, expect, test } from '@jest/globals';
import { Transaction } from '@scure/btc-signer';
import fc from 'fast-check';

import { script, txid } from '../../blip/brands.js';
import type { Outpoint } from '../../blip/brands.js';
import { parseBlock, serializedOutpoint } from '../chain/block.js';
import { ChainError } from '../chain/events.js';
import type { WatchSet } from '../chain/events.js';
import { watchedTransactions } from '../chain/watch.js';
import { compactSize, makeBlock, makeTx, WATCH_NOTHING } from './chain-sim.js';

/** The first block of the main network. */
const GENESIS =
  '0100000000000000000000000000000000000000000000000000000000000000000000003ba3edfd7a7b12b27ac72c3e67768f617fc81bc3888a51323a9fb8aa4b1e5e4a29ab5f49ffff001d1dac2b7c' +
  '0101000000010000000000000000000000000000000000000000000000000000000000000000ffffffff4d04ffff001d0104455468652054696d65732030332f4a616e2f32303039204368616e63656c6c' +
  '6f72206f6e206272696e6b206f66207365636f6e64206261696c6f757420666f722062616e6b73ffffffff0100f2052a01000000434104678afdb0fe5548271967f1a67130b7105cd6a828e03909a679' +
  '62e0ea1f61deb649f6bc3f4cef38c4f35504e51ec112de5c384df7ba0b8d578a4c702b6bf11d5fac00000000';

const out = (amount: bigint, text: string) => ({ amount, script: script(text) });
const op = (n: number, vout = 0): Outpoint => ({ txid: txid(n.toString(16).padStart(64, '0')), vout });
const refusal = (body: () => unknown): ChainError => {
  try {
    body();
  } catch (error) {
    if (error instanceof ChainError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
};
const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const walk = (hex: string) => [...parseBlock(hex).transactions()];
/** Bytes as they lie before the transactions. */
const HEADER = GENESIS.slice(0, 160);
/** A small transaction, to be damaged on purpose. */
const plain = makeTx([op(1)], [out(5n, '51')]).raw;

describe('a block', () => {
  test('the first of the main network', () => {
    const block = parseBlock(GENESIS);
    expect(block.hash).toBe('000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f');
    expect(block.prev).toBe('00'.repeat(32));
    const [coinbase, ...rest] = [...block.transactions()];
    expect(rest).toEqual([]);
    expect(coinbase!.txid).toBe('4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b');
    expect(coinbase!.inputs()).toEqual([]);
    expect(coinbase!.outputs()).toEqual([{ amount: 5_000_000_000n, script: expect.stringMatching(/^4104678a.{124}ac$/) }]);
    expect(coinbase!.raw).toBe(GENESIS.slice(162));
  });

  test('made by hand, with and without witnesses', () => {
    const a = makeTx([op(1), op(2, 7)], [out(1n, '51'), out(2_100_000_000_000_000n, '')]);
    const b = makeTx([op(3, 0xffffffff)], [out(0n, '6a'.padEnd(600, '0'))], ['', 'ab'.repeat(300)], 500);
    const block = makeBlock(undefined, [a, b]);
    const parsed = parseBlock(block.hex);
    expect([parsed.hash, parsed.prev]).toEqual([block.hash, block.prev]);
    const seen = [...parsed.transactions()];
    expect(seen.map((t) => [t.index, t.txid, t.raw])).toEqual(block.txs.map((t, i) => [i, t.txid, t.raw]));
    expect(seen.slice(1).map((t) => [t.inputs(), t.outputs()])).toEqual([a, b].map((t) => [t.inputs, t.outputs]));
    // Each walk is a new one.
    expect([...parsed.transactions()]).toHaveLength(3);
  });

  test('txids and parts are those that another library computes', () => {
    const arbHex = (max: number) => fc.uint8Array({ maxLength: max }).map((b) => Buffer.from(b).toString('hex'));
    const arbTx = fc.record({
      inputs: fc.array(fc.tuple(fc.integer({ min: 1, max: 1_000_000 }), fc.nat(0xfffffffe)), { minLength: 1, maxLength: 5 }),
      outputs: fc.array(fc.tuple(fc.bigInt(0n, 2_100_000_000_000_000n), arbHex(600)), { minLength: 1, maxLength: 5 }),
      witness: fc.array(arbHex(300), { maxLength: 4 }),
      lockTime: fc.nat(0xffffffff),
    });
    fc.assert(
      fc.property(fc.array(arbTx, { maxLength: 5 }), (specs) => {
        const txs = specs.map((s) => makeTx(s.inputs.map(([n, vout]) => op(n, vout)), s.outputs.map(([a, t]) => out(a, t)), s.witness, s.lockTime));
        const seen = walk(makeBlock(undefined, txs).hex).slice(1);
        seen.forEach((tx, i) => {
          const raw = txs[i]!.raw;
          const theirs = Transaction.fromRaw(Buffer.from(raw, 'hex'), { allowUnknownOutputs: true, allowUnknownInputs: true, disableScriptCheck: true });
          const inputs = Array.from({ length: theirs.inputsLength }, (_, n) => theirs.getInput(n));
          const outputs = Array.from({ length: theirs.outputsLength }, (_, n) => theirs.getOutput(n));
          expect([tx.raw, tx.txid]).toEqual([raw, theirs.id]);
          expect(tx.inputs()).toEqual(inputs.map((input) => ({ txid: toHex(input.txid!), vout: input.index })));
          expect(tx.outputs()).toEqual(outputs.map((o) => ({ amount: o.amount, script: toHex(o.script!) })));
        });
        expect(seen).toHaveLength(txs.length);
      }),
    );
  });

  test('more than 252 and more than 65,535 of anything', () => {
    const many = makeTx(Array.from({ length: 300 }, (_, i) => op(i + 1)), Array.from({ length: 70_000 }, () => out(1n, '51')), Array<string>(260).fill('00'));
    const filler = Array.from({ length: 300 }, (_, i) => makeTx([op(i + 1)], [out(1n, '51'.repeat(i))]));
    const seen = walk(makeBlock(undefined, [many, ...filler]).hex);
    expect(seen).toHaveLength(302);
    expect([seen[1]!.inputCount, seen[1]!.outputCount, seen[1]!.txid]).toEqual([300, 70_000, many.txid]);
    expect(seen[301]!.outputs()[0]!.script).toHaveLength(299 * 2);
  });

  test('cut short anywhere, it is refused', () => {
    const { hex } = makeBlock(undefined, [makeTx([op(1)], [out(5n, '51')], ['aa', '']), makeTx([op(2)], [out(6n, '0014' + 'cc'.repeat(20))])]);
    for (let length = 0; length < hex.length; length++) expect(refusal(() => walk(hex.slice(0, length))).code).toBe('bad_block');
    expect(walk(hex)).toHaveLength(3);
  });

  test('whatever the bytes, the answer is a block or a ChainError', () => {
    const { hex } = makeBlock(undefined, [makeTx([op(1)], [out(5n, '51')], ['aa', '']), makeTx([op(2)], [out(6n, '52')])]);
    const arbDamage = fc.array(fc.tuple(fc.integer({ min: 160, max: hex.length - 1 }), fc.nat(15).map((n) => n.toString(16))), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(arbDamage, (damage) => {
        const text = Array.from(hex);
        for (const [at, digit] of damage) text[at] = digit;
        try {
          walk(text.join('')).forEach((tx) => [tx.txid, tx.inputs(), tx.outputs()]);
        } catch (error) {
          expect(error).toBeInstanceOf(ChainError);
        }
      }),
      { numRuns: 2_000 },
    );
  });

  const count = (n: number) => compactSize(n).toString('hex');
  test.each([
    ['nothing', 'not a block in hex', ''],
    ['no hex', 'not a block in hex', 'zz'.repeat(200)],
    ['larger than a block can be', 'larger than a block', '00'.repeat(4_000_001)],
    ['no transactions', 'no transactions', `${HEADER}00`],
    ['more transactions than fit', 'transactions do not fit', `${HEADER}${count(0xffffffff)}${plain}`],
    ['bytes left over', 'left over', `${HEADER}01${plain}00`],
    ['a count in nine bytes', 'out of range', `${HEADER}ff0100000000000000${plain}`],
    ['a count not in its shortest form', 'shortest form', `${HEADER}fd0100${plain}`],
    ['a count not in its shortest form, in five bytes', 'shortest form', `${HEADER}feffff0000${plain}`],
    ['no inputs', 'without inputs', `${HEADER}0102000000000100${plain.slice(10)}`],
    ['more inputs than fit', 'inputs do not fit', `${HEADER}0102000000${count(0x7fffffff)}${plain.slice(10)}`],
    ['an unknown witness flag', 'witness flag', `${HEADER}01${makeTx([op(1)], [out(5n, '51')], ['aa']).raw.replace(/^020000000001/, '020000000002')}`],
    ['more outputs than fit', 'outputs do not fit', `${HEADER}01${plain.replace(/01(?=05000000)/, count(0xfffffff))}`],
    ['no outputs', 'without outputs', `${HEADER}01${makeTx([op(1), op(2)], []).raw}`],
    ['an amount above all there is', 'amount out of range', `${HEADER}01${plain.replace('0500000000000000', '05000000ffffffff')}`],
    ['a script longer than the block', 'too early', `${HEADER}01${plain.replace(/0151(?=00000000$)/, `${count(0x10000)}51`)}`],
    ['a witness longer than the block', 'too early', `${HEADER}01${makeTx([op(1)], [out(5n, '51')], ['aa']).raw.replace(/0101aa(?=00000000$)/, `01${count(0xffff)}aa`)}`],
  ])('%s is refused: %s', (_name, message, hex) => {
    const error = refusal(() => walk(hex));
    expect([error.code, error.culprit]).toEqual(['bad_block', 'block']);
    expect(error.message).toContain(message);
  });

  test('an outpoint as inputs carry it', () => {
    const [tx] = walk(makeBlock(undefined, [makeTx([op(0x1234, 9)], [out(1n, '51')])]).hex).slice(1);
    expect(tx!.inputKey(0)).toBe(serializedOutpoint(op(0x1234, 9)));
    expect(serializedOutpoint(op(0x1234, 9))).toBe(`3412${'00'.repeat(30)}09000000`);
  });
});

describe('the watch set', () => {
  const p2tr = '5120' + 'ab'.repeat(32);
  const funding = makeTx([op(1)], [out(100n, p2tr), out(7n, '51')], ['aa']);
  const spend = makeTx([{ txid: funding.txid, vout: 0 }], [out(90n, '52')], ['bb']);
  const child = makeTx([op(8), { txid: spend.txid, vout: 0 }], [out(80n, '53')]);
  const stranger = makeTx([op(9)], [out(1n, '5120' + 'ac'.repeat(32)), out(1n, '51'.repeat(300))]);
  const block = makeBlock(undefined, [stranger, funding, spend, makeTx([op(10)], [out(3n, '54')]), child]);
  const found = async (watch: Partial<WatchSet>): Promise<readonly number[]> => {
    const txs = await watchedTransactions(parseBlock(block.hex), { ...WATCH_NOTHING, ...watch }, () => Promise.resolve());
    return txs.map((tx) => tx.index);
  };

  test('nothing watched, nothing found', async () => {
    expect(await found({})).toEqual([]);
    expect(await found({ outpoints: [op(77)], txids: [op(78).txid], scripts: [script('5120' + 'ad'.repeat(32))] })).toEqual([]);
  });

  test('by outpoint, txid and script; what spends them in the same block comes along', async () => {
    expect(await found({ outpoints: [op(1)] })).toEqual([2, 3, 5]);
    expect(await found({ txids: [funding.txid] })).toEqual([2, 3, 5]);
    expect(await found({ scripts: [script(p2tr)] })).toEqual([2, 3, 5]);
    expect(await found({ outpoints: [{ txid: funding.txid, vout: 0 }] })).toEqual([3, 5]);
    expect(await found({ txids: [spend.txid] })).toEqual([3, 5]);
    expect(await found({ outpoints: [op(8)] })).toEqual([5]);
    expect(await found({ scripts: [script('53'), script('54')] })).toEqual([4, 5]);
    expect(await found({ outpoints: [op(1, 1), { txid: funding.txid, vout: 1 }] })).toEqual([]);
  });

  test('what is found is whole', async () => {
    const [tx] = await watchedTransactions(parseBlock(block.hex), { ...WATCH_NOTHING, txids: [child.txid] }, () => Promise.resolve());
    expect(tx).toEqual({ txid: child.txid, index: 5, raw: child.raw, inputs: child.inputs, outputs: child.outputs });
  });

  test('a coinbase is found by txid and script, and spends nothing', async () => {
    const [coinbase] = block.txs;
    const [tx] = await watchedTransactions(parseBlock(block.hex), { ...WATCH_NOTHING, txids: [coinbase!.txid] }, () => Promise.resolve());
    expect(tx).toMatchObject({ txid: coinbase!.txid, index: 0, inputs: [] });
    expect(await found({ outpoints: [{ txid: txid('00'.repeat(32)), vout: 1 }] })).toEqual([]);
  });
});
