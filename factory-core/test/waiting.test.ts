/** The waiting room: who gets in, who stays; and a client's wishes, whatever the LSP says. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { chainHash, nodeId, sat, type NodeId } from '../../blip/brands.js';
import type { FactoryMessage } from '../../blip/messages.js';
import { MESSAGE_TYPES } from '../../blip/protocol-codec.js';
import { isWaitingMessage, NO_INSTANCE, type WaitingJoin, type WaitingMessage } from '../../blip/waiting-messages.js';
import { ABSENT_BLOCKS, answered, enter, fulfilled, MAX_WAITING, seen, unanswered, unwished, wished, wishOf, withdraw, without, type Wish, type WaitingPolicy, type WaitingRoom } from '../waiting.js';
import { alterationsOf } from './support/altered.js';
import { REGTEST } from './support/factory.js';

const node = (n: number): NodeId => nodeId(`02${n.toString(16).padStart(64, '0')}`);
const LSP = node(0xabc);
const POLICY: WaitingPolicy = { allows: (n) => n !== node(13), chainHash: REGTEST, minCapacity: sat(50_000n), maxCapacity: sat(2_000_000n), maxStock: sat(500_000n) };
const JOIN: WaitingJoin = { type: 'waiting_join', chainHash: REGTEST, capacity: sat(1_000_000n), stock: sat(100_000n) };
const waits = (room: WaitingRoom, n: number, wish = 1, message = JOIN, height = 100) => enter(room, node(n), wish, message, POLICY, height);
const full = (height: number): WaitingRoom => Array.from({ length: MAX_WAITING }, (_, i) => i).reduce<WaitingRoom>((room, i) => waits(room, 100 + i, 1, JOIN, height + i).next, []);

describe('the LSP’s room', () => {
  test('is in the order of coming; a wish again takes the place of the one before, and the same one changes nothing', () => {
    const two = waits(waits([], 1).next, 2).next;
    expect(two.map((w) => w.nodeId)).toEqual([node(1), node(2)]);
    expect(waits(two, 1)).toEqual({ next: two, answer: { type: 'waiting_accepted' } });
    expect(waits(two, 1).next).toBe(two);
    const changed = waits(two, 1, 2, { ...JOIN, capacity: sat(60_000n), stock: sat(0n) }, 120);
    expect(changed).toEqual({ next: [{ nodeId: node(1), wish: 2, capacity: 60_000n, stock: 0n, since: 100, seen: 120 }, two[1]], answer: { type: 'waiting_accepted' } });
  });
  test.each<readonly [string, Partial<WaitingJoin>, RegExp]>([
    ['another chain', { chainHash: chainHash('11'.repeat(32)) }, /^chain_hash: /],
    ['too little', { capacity: sat(49_999n) }, /^capacity: must be from 50000 to 2000000 sat/],
    ['too much', { capacity: sat(2_000_001n) }, /^capacity: /],
    ['a stock that could never be a channel', { stock: sat(329n) }, /^stock: must be 0, or at least 330/],
    ['too large a stock', { stock: sat(500_001n) }, /^stock: must be at most/],
  ])('refuses %s, and then there is no wish of this client', (_, change, reason) => {
    const before = waits([], 1).next;
    expect(waits(before, 1, 2, { ...JOIN, ...change })).toEqual({ next: [], answer: { type: 'waiting_over', code: 4, reason: expect.stringMatching(reason) } });
  });
  test('refuses whom the operator does not want', () => {
    expect(waits([], 13)).toMatchObject({ next: [], answer: { type: 'waiting_over', code: 5 } });
  });
  test('holds as many as a factory; who has been away for long gives up its place, nobody else', () => {
    const room = full(1_000);
    expect(waits(room, 1, 1, JOIN, 1_000 + ABSENT_BLOCKS)).toMatchObject({ next: room, answer: { type: 'waiting_over', code: 7 } });
    const later = waits(room, 1, 1, JOIN, 1_001 + ABSENT_BLOCKS);
    expect(later.answer.type).toBe('waiting_accepted');
    expect(later.next).toHaveLength(MAX_WAITING);
    expect(later.next.map((w) => w.nodeId)).toEqual([...room.slice(1).map((w) => w.nodeId), node(1)]);
    const back = seen(room, node(100), 1_001 + ABSENT_BLOCKS);
    expect(waits(back, 1, 1, JOIN, 1_001 + ABSENT_BLOCKS).answer.type).toBe('waiting_over');
    // Those in it may change their minds all the same.
    expect(waits(room, 100, 2, { ...JOIN, stock: sat(0n) }, 1_000).answer.type).toBe('waiting_accepted');
  });
  test('is left by withdrawing, and by being served; it is not written again and again for somebody who is there', () => {
    const two = waits(waits([], 1).next, 2).next;
    expect(withdraw(two, node(1))).toMatchObject({ next: [two[1]], answer: { type: 'waiting_over', code: 1 } });
    expect(withdraw(two, node(3))).toMatchObject({ answer: { type: 'waiting_over' } });
    expect(withdraw(two, node(3)).next).toBe(two);
    expect(without(two, node(2), node(5))).toEqual([two[0]]);
    expect(seen(two, node(1), 243)).toBe(two);
    expect(seen(two, node(1), 244)[0]).toMatchObject({ since: 100, seen: 244 });
  });
  test('whatever comes, in whatever order: bounded, one entry each, and never a wish out of bounds', () => {
    const message = fc.record({ capacity: fc.bigInt(0n, 3_000_000n), stock: fc.bigInt(0n, 600_000n) });
    const step = fc.tuple(fc.integer({ min: 10, max: 16 }), fc.integer({ min: 1, max: 65_535 }), fc.option(message, { nil: undefined }), fc.integer({ min: 0, max: 5_000 }));
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        let room: WaitingRoom = [];
        for (const [n, wish, m, height] of steps) {
          const { next, answer } = m ? waits(room, n, wish, { ...JOIN, capacity: sat(m.capacity), stock: sat(m.stock) }, height) : withdraw(room, node(n));
          const there = next.filter((w) => w.nodeId === node(n));
          expect(there.length).toBe(answer.type === 'waiting_accepted' ? 1 : 0);
          if (m && there[0]) expect(there[0]).toMatchObject({ wish, capacity: m.capacity, stock: m.stock });
          room = next;
        }
        for (const w of room) expect(w.capacity >= POLICY.minCapacity && w.capacity <= POLICY.maxCapacity && w.stock <= POLICY.maxStock && w.nodeId !== node(13)).toBe(true);
      }),
    );
  });
});

describe('a client’s wishes', () => {
  const asked = wished([], LSP, sat(1_000_000n), sat(100_000n), 100);
  const waiting = answered(asked, LSP, 1, { type: 'waiting_accepted' });
  const over: WaitingMessage = { type: 'waiting_over', code: 5, reason: 'no' };

  test('are said until they are answered', () => {
    expect(unanswered(asked, LSP, REGTEST)).toEqual({ wish: 1, message: JOIN });
    expect(unanswered(waiting, LSP, REGTEST)).toBeUndefined();
    expect(wishOf(waiting, LSP)?.state).toBe('waiting');
    const withdrawn = unwished(waiting, LSP);
    expect(unanswered(withdrawn, LSP, REGTEST)).toEqual({ wish: 1, message: { type: 'waiting_withdraw' } });
    expect(answered(withdrawn, LSP, 1, over)).toEqual([]);
  });
  test('a refusal is kept, with its reason, and not said again; a new wish has the next number', () => {
    const refused = answered(asked, LSP, 1, over);
    expect(refused).toEqual([{ ...asked[0], state: 'over', reason: 'no' }]);
    expect(unanswered(refused, LSP, REGTEST)).toBeUndefined();
    expect(wishOf(wished(refused, LSP, sat(60_000n), sat(0n), 110), LSP)).toEqual({ coordinator: LSP, wish: 2, capacity: 60_000n, stock: 0n, since: 110, state: 'asked' });
    expect(wishOf(wished([{ ...(asked[0] as Wish), wish: 65_535 }], LSP, sat(60_000n), sat(0n), 110), LSP)?.wish).toBe(1);
  });
  test('end when there is a factory; of other LSPs they stay', () => {
    const two = wished(waiting, node(7), sat(60_000n), sat(0n), 100);
    expect(fulfilled(two, LSP).map((w) => w.coordinator)).toEqual([node(7)]);
    expect(fulfilled(two, node(8))).toBe(two);
    expect(unwished(two, node(8))).toBe(two);
  });
  test('answers to another wish, of another LSP, or that are no answers, change nothing', () => {
    expect(answered(asked, LSP, 2, { type: 'waiting_accepted' })).toBe(asked);
    expect(answered(asked, node(7), 1, over)).toBe(asked);
    expect(answered(waiting, LSP, 1, { type: 'waiting_accepted' })).toBe(waiting);
    expect(answered(unwished(asked, LSP), LSP, 1, { type: 'waiting_accepted' })).toEqual(unwished(asked, LSP));
    for (const message of [JOIN, { type: 'waiting_withdraw' }] as const) expect(answered(asked, LSP, 1, message)).toBe(asked);
  });
});

describe('every field of every message, altered', () => {
  const envelope = <T extends FactoryMessage>(message: T) => ({ header: { instanceId: NO_INSTANCE, attempt: 1 }, message });
  const MESSAGES: readonly WaitingMessage[] = [JOIN, { type: 'waiting_withdraw' }, { type: 'waiting_accepted' }, { type: 'waiting_over', code: 5, reason: 'no' }];
  test('these are all there are', () => {
    expect(MESSAGES.map((m) => m.type)).toEqual(MESSAGE_TYPES.filter((type) => isWaitingMessage({ type })));
  });
  const altered = MESSAGES.flatMap((m) => alterationsOf(envelope(m)).map((a) => [`${m.type}.${a.path}`, a.what, a.altered] as const));
  test.each(altered)('%s: %s', (field, _what, message) => {
    if (message.type === 'waiting_join') {
      // Refused, or a wish like any other, within the bounds: nothing is given for it that is not offered first.
      const { next, answer } = waits([], 1, 1, message);
      expect(answer.type).toBe(next.length === 1 ? 'waiting_accepted' : 'waiting_over');
      if (field === 'waiting_join.chainHash') expect(next).toEqual([]);
      return;
    }
    // Words for people, and a code that says the same: the wish is over, and can be made again.
    if (message.type !== 'waiting_over') throw new Error(`the client takes another ${field}: say why that is harmless`);
    expect(answered(wished([], LSP, sat(60_000n), sat(0n), 1), LSP, 1, message)).toMatchObject([{ state: 'over', reason: message.reason }]);
  });
});
