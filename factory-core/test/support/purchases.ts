/** Worlds in which something is bought. */
import { msat, sat, type Msat, type Sat } from '../../../blip/brands.js';
import { sellingOf } from '../../coordinator/selling.js';
import type { CoordinatorLive } from '../../coordinator/state.js';
import { priceOf } from '../../live/purchasing.js';
import type { Branch } from '../../live/state.js';
import { purchasingOf } from '../../member/purchase.js';
import type { MemberLive } from '../../member/state.js';
import { present } from '../../protocol/present.js';
import { PRICING, type Host } from '../sim/host.js';
import { World, type WorldOptions } from '../sim/world.js';

export const CLIENTS = [
  { capacity: 1_000_000n, stock: 500_000n },
  { capacity: 1_000_000n, stock: 300_000n },
  { capacity: 1_000_000n, stock: 0n },
] as const;
export const AMOUNT = sat(100_000n);
export const PRICE = priceOf(PRICING, AMOUNT);

/** Active, and every client has something to pay with. */
export const activeWorld = (options: Partial<WorldOptions> = {}): World => {
  const world = new World({ clients: CLIENTS, ...options });
  world.create();
  world.quiet();
  world.mine(4);
  world.quiet();
  world.cln.channels.forEach((c) => (c.balance = 50_000_000n));
  return world;
};

export const buy = (world: World, member = 0, amount: Sat = AMOUNT, fee: Msat = PRICE): void => {
  world.command(world.member(member), { type: 'buy_requested', amount, fee });
};
export const sell = (world: World, member = 0, amount: Sat = AMOUNT, fee: Msat = msat(0n)): void => {
  world.command(world.coordinator, { type: 'sell_requested', member, amount, fee });
};

export const memberLive = (host: Host): MemberLive => {
  const { state } = host;
  if (state?.role !== 'member' || state.phase !== 'live') throw new Error(`${host.name} is not live`);
  return state;
};
export const coordinatorLive = (world: World): CoordinatorLive => {
  const state = world.coordinatorState;
  if (state?.phase !== 'live') throw new Error('the coordinator is not live');
  return state;
};
export const branchOf = (host: Host): Branch => present(memberLive(host).live.branches[0]);
export const branchAt = (world: World, member: number): Branch => present(coordinatorLive(world).live.branches[member]);

/** How many purchases each side has, and where one stands that is under way: `client/LSP`. */
export const standing = (world: World, member = 0): string => {
  const host = world.member(member);
  const { current } = purchasingOf(memberLive(host));
  const { sale } = sellingOf(coordinatorLive(world), member);
  const open = current && current.progress.step !== 'stored' ? current.progress.step : 'idle';
  return `${String(branchOf(host).purchases.length)} ${open} / ${String(branchAt(world, member).purchases.length)} ${sale?.progress.step ?? 'idle'}`;
};
/** What the last one came to, in words: the client's, then the LSP's. */
export const reasons = (world: World, member = 0): readonly (string | undefined)[] => {
  const { failure } = purchasingOf(memberLive(world.member(member)));
  const { outcome } = sellingOf(coordinatorLive(world), member);
  return [failure?.reason, outcome && !outcome.ok ? outcome.reason : undefined];
};
/** What the client has paid so far, in msat. */
export const paid = (world: World, member = 0): bigint => 50_000_000n - present(world.channelOf(world.member(member))).balance;
