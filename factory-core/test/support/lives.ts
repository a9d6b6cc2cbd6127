/** What nodes live through in the tests that alter messages: creation, close, both of them given up, and rotation. */
import type { Host } from '../sim/host.js';
import { NEXT } from '../sim/moving.js';
import { World, type WorldOptions } from '../sim/world.js';

/** The victim or liar is client 1, in the middle of the roster; all have stock, so that its script is there to differ. */
export const CLIENTS: WorldOptions['clients'] = [
  { capacity: 1_000_000n, stock: 500_000n },
  { capacity: 2_000_000n, stock: 400_000n },
  { capacity: 750_000n, stock: 330n },
];
export const theClient = (world: World): Host => world.member(1);
export const theCoordinator = (world: World): Host => world.coordinator;
export const worldWith = (liar: string) => (): World => new World({ clients: CLIENTS, minClients: 2, dishonest: [liar] });

export const created = (world: World): void => {
  world.create();
  world.quiet();
  world.mine(4);
  world.quiet();
};

const withBalances = (world: World): void =>
  world.cln.at(world.coordinator.id).forEach((c, i) => (c.balance = BigInt(i) * 10_000_000n + 5_000_000n));

export const createdAndClosed = (world: World): void => {
  created(world);
  if (!world.coordinator.live) return;
  withBalances(world);
  world.command(world.coordinator, { type: 'close_requested', feerate: 2_000 });
  world.quiet();
  world.mine(4);
  world.quiet();
};

/** @param givesUp who does, once the client has stored its way out */
export const calledOff = (givesUp: (world: World) => Host) => (world: World): void => {
  world.create();
  world.until(() => world.memberState(theClient(world))?.phase === 'opening');
  world.command(givesUp(world), { type: 'abort_requested', reason: 'the operator' });
  world.quiet();
};

/** An HTLC that does not settle keeps the close from going on. */
export const closeGivenUp = (world: World): void => {
  created(world);
  withBalances(world);
  world.htlcsSettle = false;
  const [channel] = world.cln.channels;
  if (channel) channel.htlc = { from: channel.fundee, amount: 1_000n };
  world.command(world.coordinator, { type: 'close_requested', feerate: 2_000 });
  world.quiet();
};

/** Everybody moves to another factory, and hands over its key. */
export const rotated = (world: World): void => {
  created(world);
  withBalances(world);
  world.command(world.coordinator, { type: 'migrate_requested', to: NEXT, members: [0, 1, 2] });
  world.quiet();
};

/** The client does not go on, and is paid by the close. */
export const left = (world: World): void => {
  created(world);
  withBalances(world);
  world.command(theClient(world), { type: 'leave_requested', leaves: true });
  world.quiet();
};
