/** What peers may cost: each limit, and what it leaves to the others. */
import { describe, expect, test } from '@jest/globals';
import { nodeId, type NodeId } from '../../blip/brands.js';
import { Acquaintances } from '../engine/acquaintances.js';
import { Bucket, RecentPeers } from '../engine/buckets.js';
import type { Change } from '../engine/engine.js';
import type { Factory, FactoryState } from '../engine/factory.js';
import { Gate, GATE_RATES, MAX_ACCOUNTS } from '../engine/gate.js';

const peer = (n: number): NodeId => nodeId(`02${n.toString(16).padStart(64, '0')}`);
const FRIEND = peer(1);
const STRANGER = peer(2);
const GUEST = peer(3);

const bench = () => {
  const clock = { now: 0 };
  const log: string[] = [];
  const standing = (p: NodeId) => (p === FRIEND ? 'known' : p === GUEST ? 'guest' : 'stranger');
  const gate = new Gate({ standing, now: () => clock.now, log: (level, text) => void log.push(`${level} ${text}`) });
  /** How many of so many tries are let through. */
  const let_ = (tries: number, ask: () => boolean): number => Array.from({ length: tries }, ask).filter(Boolean).length;
  return { clock, log, gate, let_ };
};
const { known, stranger, strangers } = GATE_RATES;

describe('a bucket', () => {
  test('holds its burst, and fills at its rate, never above', () => {
    const bucket = new Bucket({ burst: 3, perSecond: 0.5 }, 0);
    expect([1, 2, 3, 4].map(() => bucket.take(0))).toEqual([true, true, true, false]);
    expect(bucket.take(1_999)).toBe(false);
    expect(bucket.take(2_000)).toBe(true);
    expect(bucket.take(1_000_000, 4)).toBe(false);
    expect(bucket.take(1_000_000, 3)).toBe(true);
  });
  test('takes nothing when it has too little', () => {
    const bucket = new Bucket({ burst: 10, perSecond: 0 }, 0);
    expect([bucket.take(0, 11), bucket.take(0, 10), bucket.take(0, 1)]).toEqual([false, true, false]);
  });
});

test('values are kept of the peers heard of last, and of no more', () => {
  const recent = new RecentPeers(2, () => ({ n: 0 }));
  recent.of(peer(1)).n = 1;
  recent.of(peer(2)).n = 2;
  recent.of(peer(1));
  recent.of(peer(3));
  expect(recent.entries().map(([p]) => p)).toEqual([peer(1), peer(3)]);
  expect(recent.of(peer(2)).n).toBe(0);
});

describe('messages', () => {
  test('of a stranger: so many at once, so many a second, and the log has one line', () => {
    const { clock, log, gate, let_ } = bench();
    expect(let_(5_000, () => gate.admits(STRANGER, 100))).toBe(stranger.messages.burst);
    clock.now = 10_000;
    expect(let_(5_000, () => gate.admits(STRANGER, 100))).toBe(10 * stranger.messages.perSecond);
    expect(log).toEqual([`unusual ${STRANGER} sends more than it may: what is too much is dropped`]);
    expect(gate.counts()).toMatchObject({ received: 10_000, dropped: 10_000 - stranger.messages.burst - 10 * stranger.messages.perSecond });
  });
  test('of a stranger: so many bytes', () => {
    const { gate, let_ } = bench();
    expect(let_(stranger.messages.burst, () => gate.admits(STRANGER, 65_000))).toBe(Math.floor(stranger.bytes.burst / 65_000));
  });
  test('of somebody we know: more, and bounded too', () => {
    const { gate, let_ } = bench();
    expect(let_(5_000, () => gate.admits(FRIEND, 100))).toBe(known.messages.burst);
    const other = bench();
    expect(let_(known.messages.burst, () => other.gate.admits(FRIEND, 65_000))).toBe(Math.floor(known.bytes.burst / 65_000));
  });
  test('of many strangers: a new node id each time gains nothing, and takes nothing from those we know', () => {
    const { gate, let_ } = bench();
    let n = 10;
    const next = (): boolean => {
      n += 1;
      return gate.admits(peer(n), 100) && gate.admitsProtocol(peer(n));
    };
    expect(let_(20_000, next)).toBe(strangers.messages.burst);
    expect(let_(known.messages.burst, () => gate.admits(FRIEND, 100) && gate.admitsProtocol(FRIEND))).toBe(known.messages.burst);
    // Nor from one whose invitation has been taken, which has no more of its own than any of them.
    expect(let_(known.messages.burst, () => gate.admits(GUEST, 100) && gate.admitsProtocol(GUEST))).toBe(stranger.messages.burst);
  });
});

describe('answers', () => {
  test('a stranger gets a few, all strangers together a few more', () => {
    const { gate, let_ } = bench();
    expect(let_(1_000, () => gate.answers(STRANGER))).toBe(stranger.answers.burst);
    let n = 10;
    expect(let_(1_000, () => gate.answers(peer((n += 1))))).toBe(strangers.answers.burst - stranger.answers.burst);
    expect(let_(1_000, () => gate.answers(FRIEND))).toBe(known.answers.burst);
    expect(gate.counts().unanswered).toBe(3_000 - strangers.answers.burst - known.answers.burst);
  });
});

describe('announcements', () => {
  test('make us say again at once what is outstanding now and then, not each time', () => {
    const { clock, gate, let_ } = bench();
    expect(let_(1_000, () => gate.announces(FRIEND))).toBe(known.announcements.burst);
    clock.now = 60_000;
    expect(let_(1_000, () => gate.announces(FRIEND))).toBe(60 * known.announcements.perSecond);
    expect(let_(1_000, () => gate.announces(GUEST))).toBe(stranger.announcements.burst);
    // They are not lost: nothing is counted as dropped.
    expect(gate.counts().dropped).toBe(0);
  });
});

describe('beginnings', () => {
  test('are few for a stranger, and for all strangers together', () => {
    const { gate, let_ } = bench();
    expect(let_(1_000, () => gate.begins(STRANGER))).toBe(stranger.beginnings.burst);
    let n = 10;
    expect(let_(1_000, () => gate.begins(peer((n += 1))))).toBe(strangers.beginnings.burst - stranger.beginnings.burst);
    expect(let_(1_000, () => gate.begins(FRIEND))).toBe(known.beginnings.burst);
    expect(gate.counts().refused).toBe(3_000 - strangers.beginnings.burst - known.beginnings.burst);
  });
});

describe('memory and the log', () => {
  test('are bounded, however many there are', () => {
    const { gate, log } = bench();
    for (let i = 0; i < 5 * MAX_ACCOUNTS; i += 1) {
      gate.admits(peer(10 + i), 600_000);
      gate.ignored(peer(10 + i));
    }
    const { accounts, noisy, received, ignored, dropped } = gate.counts();
    expect(accounts).toBe(MAX_ACCOUNTS);
    expect(noisy).toHaveLength(10);
    // What is shown in all counts everybody, of whom an account is kept or not.
    expect([received, ignored, dropped]).toEqual([5 * MAX_ACCOUNTS, 5 * MAX_ACCOUNTS, 5 * MAX_ACCOUNTS]);
    expect(log.length).toBeLessThanOrEqual(5);
  });
  test('the noisiest come first', () => {
    const { gate } = bench();
    gate.admits(FRIEND, 1);
    gate.ignored(FRIEND);
    for (let i = 0; i < 3; i += 1) gate.ignored(STRANGER);
    expect(gate.counts().noisy).toEqual([
      { peer: STRANGER, received: 0, ignored: 3, dropped: 0 },
      { peer: FRIEND, received: 1, ignored: 1, dropped: 0 },
    ]);
  });
});

describe('whom we know', () => {
  const factories: Factory[] = [];
  let changed: (change: Change) => void = () => undefined;
  const engine = {
    all: () => factories,
    onChange: (listener: (change: Change) => void) => {
      changed = listener;
      return () => true;
    },
  };
  // As much of a state as is looked at.
  const state = (of: object): FactoryState => of as unknown as FactoryState;
  const put = (index: number, next: FactoryState): void => {
    const before = factories[index]?.state;
    factories[index] = { state: next } as Factory;
    changed({ before, after: next } as Change);
  };
  const invited = state({ role: 'member', phase: 'joined', coordinator: peer(3) });
  const running = state({ role: 'member', phase: 'live', coordinator: peer(3) });
  const another = state({ role: 'member', phase: 'signing', coordinator: peer(3) });
  const mine = state({ role: 'coordinator', phase: 'inviting', request: { clients: [{ nodeId: peer(4) }] } });
  const over = state({ role: 'coordinator', phase: 'aborted', request: { clients: [{ nodeId: peer(4) }] } });

  test('whom the operator has named, who runs a factory we live in, and our clients; who has only invited us is a guest', () => {
    const friends = new Acquaintances(engine, () => [{ kind: 'nodes', nodes: new Set([FRIEND]) }]);
    expect([FRIEND, STRANGER, peer(3), peer(4)].map((p) => friends.standing(p))).toEqual(['known', 'stranger', 'stranger', 'stranger']);
    put(0, invited);
    put(1, mine);
    expect([peer(3), peer(4)].map((p) => friends.standing(p))).toEqual(['guest', 'known']);
    put(0, running);
    put(1, over);
    put(2, another);
    expect([peer(3), peer(4)].map((p) => friends.standing(p))).toEqual(['known', 'stranger']);
  });
  test('factories of the store are seen, though nothing has changed', () => {
    factories.length = 0;
    const friends = new Acquaintances(engine, () => [{ kind: 'any' }]);
    expect(friends.standing(peer(4))).toBe('stranger');
    factories.push({ state: mine } as Factory);
    expect([peer(4), FRIEND].map((p) => friends.standing(p))).toEqual(['known', 'stranger']);
  });
});
