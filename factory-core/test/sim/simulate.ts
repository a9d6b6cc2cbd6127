/**
 * One schedule: a world, a string of bytes that chooses what happens next (progress, lost connections, crashes, failed
 * writes, reorganisations, an empty wallet, lies), then calm: a fair network in which everything must come to an end.
 */
import type { Txid } from '../../../blip/brands.js';
import { rotationOf } from '../../rotation.js';
import { branchStatus, endOf, fundingStatus, liveState, mayCarryHtlcs } from '../../live/custody.js';
import { calendarOf } from '../../live/deadlines.js';
import type { Live } from '../../live/state.js';
import { payoutOf } from '../../live/payouts.js';
import { channelsOf, exitPath, purchasePath } from '../../live/paths.js';
import { present } from '../../protocol/present.js';
import { slotAmount } from '../../transactions.js';
import { msat, sat } from '../../../blip/brands.js';
import { byzantine, outOfTurn } from './byzantine.js';
import { Choices } from './bytes.js';
import type { SimChannel } from './cln.js';
import type { Host } from './host.js';
import { ANOTHER, NEXT } from './moving.js';
import { Violation } from './oracle.js';
import { World } from './world.js';

export const STAGES = ['begin', 'signing', 'opening', 'arming', 'live', 'buying', 'closing', 'rotating', 'turnover'] as const;
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
  /** Whether a liar comes to its senses, or is never heard of again. */
  readonly vanishes: boolean;
  readonly wallet: 'plenty' | 'one coin' | 'same change' | 'empty';
  /** Whether messages travel as bytes. */
  readonly codec: boolean;
  readonly bytes: Uint8Array;
}
/** How a schedule ended, for the statistics. */
export interface Ending {
  readonly phase: string;
  readonly actions: number;
  readonly attempts: number;
}

const CLIENT = { capacity: 100_000n };
const STOCK = 30_000n;

export const simulate = (schedule: Schedule): Ending => {
  const world = worldOf(schedule);
  try {
    run(world, schedule);
  } catch (error) {
    const tail = world.trace.slice(-60).join('\n  ');
    if (error instanceof Error) error.message = `${error.message}\n(${describe(schedule)})\n  ${tail}`;
    throw error;
  }
  const state = world.coordinatorState;
  const phase = state?.phase === 'live' ? liveState(state.live, false) : (state?.phase ?? 'none');
  return { phase, actions: world.trace.length, attempts: state?.attempt ?? 0 };
};

const describe = ({ bytes, ...rest }: Schedule): string => `${JSON.stringify(rest)}, bytes ${Buffer.from(bytes).toString('hex')}`;

/** In blocks. */
const SHORT = { activeBlocks: 20, dyingBlocks: 10, settlingBlocks: 20 } as const;
const COINS = { plenty: undefined, 'one coin': [2_000_000n], 'same change': undefined, empty: [10_000n] } as const;

const worldOf = ({ clients, spare, deep, short, stage, liar, wallet, codec }: Schedule): World => {
  const coins = COINS[wallet];
  return new World({
    clients: Array.from({ length: clients }, (_, i) => ({ ...CLIENT, stock: i % 2 === 0 ? STOCK : 0n })),
    minClients: Math.max(2, clients - spare),
    ...(deep ? { fanouts: [2, 2, 2, 2] } : {}),
    ...(coins ? { coins } : {}),
    codec,
    ...(short || stage === 'turnover' ? { terms: SHORT } : {}),
    sameChange: wallet === 'same change',
    dishonest: liar === 'nobody' ? [] : [liar === 'client' ? 'client 0' : 'coordinator'],
  });
};

const run = (world: World, schedule: Schedule): void => {
  const choices = new Choices(schedule.bytes);
  advanceTo(world, schedule);
  world.tamper = byzantine(world, choices);
  world.lies = () => !world.isHonest(world.coordinator) && choices.left > 0 && choices.next() > 200;
  world.note('— chaos —');
  while (choices.left > 0) turn(world, choices);
  world.note('— calm —');
  calm(world, schedule);
};

/** Undisturbed, to some point inside a phase. */
const advanceTo = (world: World, { stage, spare }: Schedule): void => {
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
      world.settle();
      world.mine(3);
      world.settle();
      if (stage === 'live') return;
      world.cln.channels.forEach((c, i) => (c.balance = (BigInt(i + 1) * 12_345_678n) % (CLIENT.capacity * 1000n)));
      if (stage === 'buying') for (const member of world.members) world.command(member, { type: 'buy_requested', amount: sat(4_000n), fee: msat(5_000n) });
      else if (stage === 'rotating') rotate(world, 0xff);
      else if (stage === 'turnover') stayAway(world, spare);
      else world.command(world.coordinator, { type: 'close_requested', feerate: 2_000 });
  }
};

/** Some are away when the others move, and until after expiry. */
const stayAway = (world: World, spare: number): void => {
  const { live } = world.coordinator;
  if (!live) return;
  const away = world.members.filter((m, i) => i % (spare + 2) === 0 && world.isHonest(m));
  for (const m of away) world.vanish(m);
  world.quiet();
  const members = world.members.flatMap((m, i) => (away.includes(m) ? [] : [i]));
  world.command(world.coordinator, { type: 'migrate_requested', to: NEXT, members });
  world.quiet();
  world.mine(calendarOf(live.spec).guard - 1 - world.chain.height);
};

/** All that was handed over has come back by then; those who were away return. */
const comeBack = (world: World): void => {
  const { live } = world.coordinator;
  const expiry = live?.spec.expiryHeight ?? 0;
  world.mine(Math.max(1, expiry + 1 - world.chain.height));
  for (let i = 0; i < 12; i += 1) {
    world.quiet();
    world.mine(1);
  }
  world.quiet();
  const after = world.coordinator.live;
  if (after && world.isHonest(world.coordinator) && endsByTree(after)) {
    for (const branch of after.branches) {
      const back = endOf(after, branch) !== undefined || world.chain.isConfirmed(present(exitPath(after, branch).at(-1)).signable.txid);
      if (branch.heldKey !== undefined && !back) throw new Violation(`client ${String(branch.member)} has handed over its key, and what is below it did not come back`);
    }
  }
  for (const m of world.members) world.returns(m);
  world.quiet();
};
const endsByTree = (live: Live): boolean => {
  const funding = fundingStatus(live);
  return funding.kind === 'spent' && funding.by === 'tree';
};

/** A former member publishes the next of what it has copies of. */
const publishStale = (world: World, choices: Choices): void => {
  const { live } = world.coordinator;
  const branch = live && choices.pick(live.branches.filter((b) => b.heldKey !== undefined));
  const next = branch && exitPath(live, branch).find(({ signable }) => !world.chain.spenderOf(signable.tx.prevout.outpoint));
  if (!next) return;
  const { txid, tx } = next.signable;
  const sent = world.chain.submit({ txid, what: 'stale', inputs: [tx.prevout.outpoint], outputs: tx.outputs, lockTime: tx.lockTime });
  world.note(`a former member publishes a ${next.signable.purpose}: ${sent}`);
};

const PROGRESS = 180;

const turn = (world: World, choices: Choices): void => {
  const byte = choices.next();
  if (byte < PROGRESS) {
    const actions = world.progress();
    const action = actions[byte % Math.max(1, actions.length)];
    if (action) world.do(action);
    return;
  }
  world.note(`fault ${String(byte)}`);
  fault(world, choices, byte - PROGRESS);
  world.oracle.check();
};

const fault = (world: World, choices: Choices, kind: number): void => {
  const host = (): Host => present(choices.pick(world.hosts));
  const member = (): Host => present(choices.pick(world.members));
  if (kind < 8) {
    const h = host();
    const timer = h.up ? choices.pick(h.timers) : undefined;
    if (timer) world.during(h, () => h.fire(timer));
  } else if (kind < 18) world.disconnect(member());
  else if (kind < 26) {
    const h = host();
    if (h.up) h.fuse = choices.below(8);
  } else if (kind < 30) {
    const h = host();
    if (h.up) world.crash(h);
  } else if (kind < 36) host().failing += 1 + choices.below(2);
  else if (kind < 42) {
    const [to, from] = choices.below(2) === 0 ? [world.coordinator, member()] : [member(), world.coordinator];
    const packet = choices.pick(world.network.past(from.id, to.id));
    if (packet && to.up && world.network.isConnected(to.isCoordinator ? from.id : to.id)) world.arrive(from, to, packet);
  } else if (kind < 46) world.mine(choices.below(4) === 0 ? 25 : 1 + choices.below(4));
  else if (kind < 49) reorganise(world, choices);
  else if (kind < 51) {
    const job = world.coordinator.runningJobs.find((j) => j.effect.kind === 'open_complete');
    if (job) world.finish(world.coordinator, job, true);
  } else if (kind < 53) world.spendReserved();
  else if (kind < 56) {
    const h = host();
    if (h.up) world.command(h, { type: 'abort_requested', reason: 'the operator' });
  } else if (kind < 59) {
    if (world.coordinator.up) world.command(world.coordinator, { type: 'close_requested', feerate: 1_000 + choices.below(10) * 500 });
  } else if (kind < 61) {
    const h = host();
    const index = choices.below(world.members.length);
    if (h.up) world.command(h, { type: 'exit_requested', members: [index] });
  } else if (kind < 67) htlc(world, choices);
  else if (kind < 70) buyOrSell(world, choices);
  else if (kind < 72) {
    world.moving.active = choices.below(4) !== 0;
    rotate(world, choices.next());
  } else if (kind < 73) publishStale(world, choices);
  else if (world.options.dishonest?.length) lieOutOfTurn(world, choices);
};

/** Members are told to move, those whose bit is set, to one of two other factories. */
const rotate = (world: World, bits: number): void => {
  const members = world.members.map((_, i) => i).filter((i) => (bits >> (i % 7)) & 1);
  const to = bits & 0x80 ? NEXT : ANOTHER;
  if (world.coordinator.up) world.command(world.coordinator, { type: 'migrate_requested', to, members });
};

const reorganise = (world: World, choices: Choices): void => {
  const depth = 1 + choices.below(4);
  world.chain.disconnect(depth, choices.below(2) === 0);
  for (let i = 0; i <= depth; i += 1) world.chain.mine(choices.below(2) === 0);
};

/** Purchases of every size, some beyond the stock; some prices are too low, or too high for an offer. */
const buyOrSell = (world: World, choices: Choices): void => {
  const amount = sat(500n + BigInt(choices.below(8)) * 2_000n);
  const fee = msat(BigInt(choices.below(4)) * 2_000n);
  const index = choices.below(world.members.length);
  if (choices.below(3) > 0) {
    const member = world.member(index);
    if (member.up) world.command(member, { type: 'buy_requested', amount, fee });
  } else if (world.coordinator.up) world.command(world.coordinator, { type: 'sell_requested', member: index, amount, fee });
};

/** A payment begins over some channel, if both ends let it, or one that is under way ends. */
const htlc = (world: World, choices: Choices): void => {
  const channel = choices.pick(world.cln.channels);
  if (!channel || !usable(world, channel)) return;
  if (channel.htlc?.fee !== undefined) return;
  if (channel.htlc) {
    if (choices.below(2) === 0) world.settleHtlc(channel);
    else channel.htlc = undefined;
    return;
  }
  const fromClient = choices.below(2) === 0;
  const has = fromClient ? channel.balance : channel.capacity * 1000n - channel.balance;
  const amount = (has * BigInt(choices.next())) / 256n;
  const ends = [world.host(channel.fundee), world.host(channel.opener)];
  // The sender's node may try; the hook of the receiver's plugin answers. Both are down, or both up, with their plugin.
  if (amount > 0n && ends.every((h) => h.up && mayCarry(world, h, channel))) channel.htlc = { from: fromClient ? channel.fundee : channel.opener, amount };
};
const usable = (world: World, channel: SimChannel): boolean =>
  world.network.isConnected(channel.fundee) && !channel.frozen && [...channel.open.values()].every((x) => x) && !world.chain.spenderOf(channel.funding);
const mayCarry = (world: World, host: Host, channel: SimChannel): boolean => {
  const state = host.state;
  if (state?.phase !== 'live') return false;
  const known = state.live.branches.flatMap((branch) => channelsOf(state.live, branch).map((own) => ({ branch, own }))).find(({ own }) => own.channelId === channel.id);
  const may = known !== undefined && mayCarryHtlcs(state.live, known.branch, state.closing !== undefined, known.own) && rotationOf(state, known.branch.member) !== 'moved';
  if (may) world.oracle.carrying(host, state.live);
  return may;
};

const lieOutOfTurn = (world: World, choices: Choices): void => {
  const liar = world.hosts.find((h) => !world.isHonest(h));
  if (!liar?.up) return;
  if (liar.isCoordinator && choices.below(4) === 0) world.publishEarly();
  else outOfTurn(world, choices, liar);
};

/** Nothing goes wrong from here on, and everything must have an end. */
const calm = (world: World, { stage, vanishes }: Schedule): void => {
  world.tamper = undefined;
  world.lies = () => false;
  world.moving.active = true;
  for (const h of world.hosts) {
    h.failing = 0;
    h.fuse = undefined;
  }
  const liar = world.hosts.find((h) => !world.isHonest(h));
  if (stage === 'turnover') comeBack(world);
  if (liar && vanishes) world.vanish(liar);
  world.quiet();
  if (world.trace.some((line) => line.includes('not stored'))) {
    // A node that could not store what it was told does not ask for it again: the next connection makes up for it.
    for (const m of world.members) world.disconnect(m);
    world.quiet();
  }
  if (liar?.isCoordinator) outlast(world);
  else if (liar && vanishes) world.quiet();
  world.oracle.concluded();
  const { coordinator } = world;
  if (!coordinator.live && !liar?.isCoordinator) return;
  world.mine(4);
  world.quiet();
  if (!liar) finishClose(world);
  leave(world);
};

/** Patience, as the protocol has it: 144 blocks for a ceremony, 2,016 for a funding transaction. */
const outlast = (world: World): void => {
  world.mine(150);
  world.quiet();
  const waits = world.members.some((m) => world.isHonest(m) && m.live && !m.live.chain.everFunded);
  if (!waits) return;
  world.mine(2_020);
  world.quiet();
};

/** A close that some have signed is finished when its operator asks again. */
const finishClose = (world: World): void => {
  const state = world.coordinatorState;
  if (state?.phase !== 'live' || !state.live.close || state.live.close.signature !== undefined) return;
  if (fundingStatus(state.live).kind !== 'confirmed') return;
  world.command(world.coordinator, { type: 'close_requested', feerate: 2_000 });
  world.quiet();
  const after = world.coordinatorState;
  if (after?.phase === 'live' && after.live.close?.signature === undefined && !leaving(world)) {
    throw new Violation(`a close that was agreed cannot be finished: ${String(after.closeFailure)}`);
  }
};
const leaving = (world: World): boolean => world.hosts.some((h) => h.live && Object.keys(h.live.exits).length > 0);

/** In the end every honest member gets out what is its, whatever the others do. */
const leave = (world: World): void => {
  // Who has handed over its key has nothing here: the oracle has seen to that when it did.
  const members = world.members.filter((m) => world.isHonest(m) && m.live && !m.live.handedOver && fundingStatus(m.live).kind !== 'unconfirmed');
  for (const m of members) {
    const state = world.memberState(m);
    if (state?.phase === 'live') world.command(m, { type: 'exit_requested', members: [state.member] });
  }
  for (let i = 0; i < 12; i += 1) {
    world.mine(1);
    world.quiet();
  }
  for (const m of members) owns(world, m);
};

/** What a member has on chain: its channel, or what close or distribution pay it. */
const owns = (world: World, member: Host): void => {
  const { live } = member;
  const state = world.memberState(member);
  if (!live || state?.phase !== 'live') return;
  const branch = present(live.branches[0]);
  const status = fundingStatus(live);
  const entry = present(live.spec.roster[branch.member]);
  const paid = (txid: Txid): bigint => world.paidBy(txid, entry.payoutScript);
  const owned = channelsOf(live, branch).map(({ channelId }) => world.cln.channels.find((c) => c.id === channelId)?.balance ?? 0n);
  if (status.kind !== 'spent') throw new Violation(`${member.name} cannot get out: its factory is ${status.kind}`);
  switch (status.by) {
    case 'tree': {
      const leaf = present(exitPath(live, branch).at(-1)).signable;
      const at = branchStatus(live, branch);
      if (!world.chain.isConfirmed(leaf.txid)) throw new Violation(`${member.name} cannot get out: ${JSON.stringify(at)}`);
      if (purchasePath(live, branch).some((t) => !world.chain.isConfirmed(t.signable.txid))) throw new Violation(`${member.name} cannot get out with what it bought`);
      return;
    }
    case 'distribution':
      if (paid(status.txid) < slotAmount(live.spec, branch.member)) throw new Violation(`${member.name} is not paid its slot`);
      return;
    case 'close':
      if (paid(status.txid) < payoutOf(msat(owned.reduce((a, b) => a + b, 0n)))) throw new Violation(`${member.name} is not paid its balance`);
      return;
    case 'unknown':
      throw new Violation(`${member.name}: the funding output was spent by something nobody knows`);
  }
};
