/** Where schedules begin: a world of some kind, and how far things have gone in it, undisturbed. */
import { msat, sat } from '../../../blip/brands.js';
import { calendarOf } from '../../live/deadlines.js';
import { rotate } from './faults.js';
import type { Host } from './host.js';
import { Keeper } from './keeper.js';
import { NEXT } from './moving.js';
import { World } from './world.js';

export const STAGES = ['begin', 'signing', 'opening', 'arming', 'live', 'buying', 'closing', 'rotating', 'turnover', 'leaving', 'ladder', 'moving'] as const;
/** Those in which the coordinator looks after its factories by itself, until the first one has ended. */
const KEPT: ReadonlySet<string> = new Set(['leaving', 'ladder', 'moving']);
export interface Schedule {
  readonly clients: number;
  /** How many may be lost. */
  readonly spare: number;
  readonly deep: boolean;
  /** A factory that expires within the hour. */
  readonly short: boolean;
  /** How far things have gone, undisturbed, before the bytes begin. */
  readonly stage: (typeof STAGES)[number];
  /** Who lies: nobody, the coordinator, or a client. */
  readonly liar: 'nobody' | 'coordinator' | 'client';
  /** How long some are away when a factory dies: not at all, until others have moved, until the root is due, until after expiry. */
  readonly absence: 0 | 1 | 2 | 3;
  /** Whether a liar comes to its senses, or is never heard of again. */
  readonly vanishes: boolean;
  readonly wallet: 'plenty' | 'one coin' | 'same change' | 'empty';
  /** Whether messages travel as bytes. */
  readonly codec: boolean;
  readonly bytes: Uint8Array;
}
const CLIENT = { capacity: 100_000n };
const STOCK = 30_000n;

/** In blocks. */
const SHORT = { activeBlocks: 20, dyingBlocks: 10, settlingBlocks: 20 } as const;
const LADDER = { activeBlocks: 10, dyingBlocks: 16, settlingBlocks: 12 } as const;
/** One who waits for the next factory. */
const NEWCOMER = 'client 20';
const COINS = { plenty: undefined, 'one coin': [2_000_000n], 'same change': undefined, empty: [10_000n] } as const;

export const worldOf = ({ clients, spare, deep, short, stage, liar, wallet, codec }: Schedule): World => {
  const coins = COINS[wallet];
  return new World({
    clients: Array.from({ length: clients }, (_, i) => ({ ...CLIENT, stock: i % 2 === 0 ? STOCK : 0n })),
    minClients: Math.max(2, clients - spare),
    ...(deep ? { fanouts: [2, 2, 2, 2] } : {}),
    ...(coins ? { coins } : {}),
    codec,
    ...(KEPT.has(stage) ? { terms: LADDER } : short || stage === 'turnover' ? { terms: SHORT } : {}),
    sameChange: wallet === 'same change',
    dishonest: liar === 'nobody' ? [] : [liar === 'client' ? 'client 0' : 'coordinator'],
  });
};

/** Undisturbed, to some point inside a phase. */
export const advanceTo = (world: World, schedule: Schedule): void => {
  const { stage, spare } = schedule;
  world.create();
  switch (stage) {
    case 'begin':
      return;
    case 'signing':
    case 'opening':
    case 'arming':
      world.until(() => world.coordinatorState?.phase === stage);
      return;
    case 'live':
    case 'buying':
    case 'closing':
    case 'rotating':
    case 'turnover':
    case 'leaving':
    case 'ladder':
    case 'moving':
      world.settle();
      world.mine(3);
      world.settle();
      if (stage === 'live') return;
      world.cln.channels.forEach((c, i) => (c.balance = (BigInt(i + 1) * 12_345_678n) % (CLIENT.capacity * 1000n)));
      if (stage === 'buying') for (const member of world.members) world.command(member, { type: 'buy_requested', amount: sat(4_000n), fee: msat(5_000n) });
      else if (stage === 'rotating') rotate(world, 0xff);
      else if (stage === 'turnover') stayAway(world, spare);
      else if (KEPT.has(stage)) grow(world, schedule);
      else world.command(world.coordinator, { type: 'close_requested', feerate: 2_000 });
  }
};

const absentees = (world: World, spare: number): readonly Host[] => world.members.filter((m, i) => i % (spare + 2) === 0 && world.isHonest(m));

/** Some are away when the others move, and until after expiry. */
const stayAway = (world: World, spare: number): void => {
  const { live } = world.coordinator;
  if (!live) return;
  const away = absentees(world, spare);
  for (const m of away) world.vanish(m);
  world.quiet();
  const members = world.members.flatMap((m, i) => (away.includes(m) ? [] : [i]));
  world.command(world.coordinator, { type: 'migrate_requested', to: NEXT, members });
  world.quiet();
  world.mine(calendarOf(live.spec).guard - 1 - world.chain.height);
};

/** Up to the dying window, and into it: the next factory is being made, or is there, and members are on their way. */
const grow = (world: World, { stage, spare, absence }: Schedule): void => {
  const { live } = world.coordinator;
  if (!live) return;
  for (const c of world.cln.channels) world.earn(c.fundee, c.balance);
  world.keeper = new Keeper(world, { auto: stage !== 'leaving', terms: { activeBlocks: 4_320, dyingBlocks: 432, settlingBlocks: 432 }, newcomers: spare > 0 ? [NEWCOMER] : [] });
  if (absence > 0) for (const m of absentees(world, spare)) world.vanish(m);
  world.quiet();
  const { dying } = calendarOf(live.spec);
  world.mine(dying - 1 - world.chain.height);
  world.quiet();
  if (stage === 'leaving') {
    world.members.forEach((m, i) => {
      if (m.up && i % (spare + 2) === 1) world.command(m, { type: 'leave_requested', leaves: true });
    });
    world.settle();
    rotate(world, 0xff);
  }
  if (stage === 'leaving' || (stage === 'ladder' && spare === 0)) return;
  // Those who are away are waited for.
  for (let i = 0; i < LADDER.dyingBlocks / 2 && world.worlds.length === 1; i += 1) {
    world.mine(1);
    world.until(() => world.worlds.length > 1);
  }
  const phase = stage === 'moving' ? 'live' : spare === 1 ? 'signing' : 'opening';
  world.until(() => world.worlds[1]?.coordinatorState?.phase === phase);
  if (stage !== 'moving') return;
  world.settle();
  world.mine(live.spec.terms.minDepth);
  world.until(() => world.members.some((m) => isMoving(world, m)));
};
const isMoving = (world: World, member: Host): boolean => {
  const state = world.memberState(member);
  return state?.phase === 'live' && state.migration?.step === 'moving';
};
