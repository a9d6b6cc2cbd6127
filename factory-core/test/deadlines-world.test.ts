/**
 * A coordinator and its clients through a factory's last days, each away whenever it likes: whoever has something to lose and is
 * there once in time loses nothing. Real machines, with the cheap stand-ins of the simulator for MuSig2 and transaction ids.
 */
import { expect, jest, test } from '@jest/globals';
import fc from 'fast-check';
import * as serialize from '../serialize.js';
import * as fakeMusig from './sim/fake-musig.js';
import * as fakeSerialize from './sim/fake-serialize.js';

jest.unstable_mockModule('../musig/index.js', () => fakeMusig);
jest.unstable_mockModule('../serialize.js', () => ({ ...serialize, ...fakeSerialize }));
const { World } = await import('./sim/world.js');
const { fundingStatus, liveState } = await import('../live/custody.js');
const { calendarOf, closeDue } = await import('../live/deadlines.js');

type World = InstanceType<typeof World>;
type Host = World['coordinator'];

const TERMS = { activeBlocks: 6, dyingBlocks: 4, settlingBlocks: 20, minDepth: 1 };
const CLIENTS = [
  { capacity: 1_000_000n, stock: 0n },
  { capacity: 2_000_000n, stock: 400_000n },
];
/** So long after expiry nobody can be undecided. */
const AFTER = 6;

const active = (): World => {
  const world = new World({ clients: CLIENTS, terms: TERMS });
  world.create();
  world.quiet();
  world.mine(2);
  world.quiet();
  return world;
};

/** As the watchdog of the plugin does it, with every block. */
const watch = (world: World, attempts: { made: number; last?: number }): void => {
  const state = world.coordinatorState;
  if (!world.coordinator.up || state?.phase !== 'live' || state.closing || state.live.close?.signature !== undefined) return;
  const { live } = state;
  const everyone = world.members.every((m) => world.network.isConnected(m.id));
  if (!everyone || fundingStatus(live).kind !== 'confirmed' || !closeDue(live.spec, live.chain.tip, attempts, live.close !== undefined)) return;
  attempts.made += 1;
  attempts.last = live.chain.tip;
  world.command(world.coordinator, { type: 'close_requested', feerate: 2_000 });
};

interface Block {
  /** Who is there, the coordinator first. */
  readonly there: readonly boolean[];
  /** The coordinator's process ends after so many of its steps. */
  readonly fuse?: number | undefined;
}

const live = (world: World, blocks: readonly Block[]): void => {
  const attempts = { made: 0 };
  for (const { there, fuse } of blocks) {
    world.hosts.forEach((host: Host, i) => {
      if (there[i] === false && host.up) world.vanish(host);
      if (there[i] !== false) world.returns(host);
    });
    if (fuse !== undefined && world.coordinator.up) world.coordinator.fuse = fuse;
    world.mine(1);
    world.quiet();
    watch(world, attempts);
    world.quiet();
  }
};

/** Everybody comes and goes for spans of a few blocks; one of them may never come back. */
const course = (length: number): fc.Arbitrary<readonly Block[]> => {
  const span = fc.record({
    blocks: fc.integer({ min: 1, max: 9 }),
    there: fc.tuple(fc.boolean(), fc.boolean(), fc.boolean()),
    fuse: fc.option(fc.integer({ min: 0, max: 12 }), { nil: undefined, freq: 2 }),
  });
  const gone = fc.tuple(fc.integer({ min: 0, max: 2 * length }), fc.integer({ min: 0, max: 2 }));
  return fc.tuple(fc.array(span, { minLength: length, maxLength: length }), gone).map(([spans, [from, who]]) =>
    spans
      .flatMap(({ blocks, there, fuse }) => Array.from({ length: blocks }, (_, i) => ({ there: [...there], fuse: i === 0 ? fuse : undefined })))
      .slice(0, length)
      .map((block, i) => ({ ...block, there: block.there.map((x, h) => x && !(h === who && i >= from)) })),
  );
};

const runs = Number(process.env['DEADLINE_RUNS'] ?? 150);

test('whoever is there in time loses nothing', () => {
  const spec = active().coordinator.live!.spec;
  const { settling, guard, expiry } = calendarOf(spec);
  const length = expiry - spec.startHeight + AFTER;
  const endings = new Map<string, number>();
  fc.assert(
    fc.property(course(length), (blocks) => {
      const world = active();
      const start = world.chain.height;
      live(world, blocks);
      const spender = world.chain.spenderOf(world.coordinator.live!.spec.funding)?.what ?? 'nothing';
      const ending = spender.split(' ')[0]!;
      endings.set(ending, (endings.get(ending) ?? 0) + 1);
      // Who saw which block: what is published at a tip is in the next block.
      const there = (who: number, from: number, to: number): boolean => blocks.some((b, i) => b.there[who] && b.fuse === undefined && start + i + 1 >= from && start + i + 1 < to);
      if (there(0, guard, expiry)) expect(['split', 'close']).toContain(ending);
      if (there(1, expiry, expiry + AFTER) || there(2, expiry, expiry + AFTER)) expect(ending).not.toBe('nothing');
      const attended = blocks.some((b, i) => b.there.every((x) => x) && start + i + 1 >= settling && start + i + 1 < guard);
      if (!attended && ending === 'close') throw new Error('closed with somebody away');
      world.oracle.concluded();
    }),
    { numRuns: runs },
  );
  // The test is no proof of what it never sees.
  expect([...endings.keys()].sort()).toEqual(expect.arrayContaining(['close', 'distribution', 'split']));
});

test('everybody is there: closed at once when the settling period begins, in one transaction', () => {
  const world = active();
  const { spec } = world.coordinator.live!;
  const everybody = Array.from({ length: calendarOf(spec).settling - world.chain.height + 1 }, () => ({ there: [true, true, true] }));
  live(world, everybody);
  expect(world.hosts.map((h) => liveState(h.live!, false))).toEqual(['closed', 'closed', 'closed']);
});

test('the coordinator comes back after expiry, before anybody has published the distribution: the root goes out', () => {
  const world = active();
  const { spec } = world.coordinator.live!;
  const gone = Array.from({ length: spec.expiryHeight - world.chain.height + 2 }, () => ({ there: [false, false, false] }));
  live(world, [...gone, { there: [true, false, false] }, { there: [true, true, true] }]);
  expect(world.chain.spenderOf(spec.funding)?.what).toMatch(/^split/);
});
