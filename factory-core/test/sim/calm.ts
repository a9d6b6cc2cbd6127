/** After the faults: a fair network, in which everything must come to an end, and nobody has lost anything. */
import { msat, type Txid } from '../../../blip/brands.js';
import { branchStatus, endOf, fundingStatus } from '../../live/custody.js';
import { calendarOf, type Calendar } from '../../live/deadlines.js';
import { channelsOf, exitPath, purchasePath } from '../../live/paths.js';
import { payoutOf } from '../../live/payouts.js';
import type { Live } from '../../live/state.js';
import { present } from '../../protocol/present.js';
import { slotAmount } from '../../transactions.js';
import type { Host } from './host.js';
import { Violation } from './oracle.js';
import type { Schedule } from './stages.js';
import type { World } from './world.js';

/** Nothing goes wrong from here on, and everything must have an end. */
export const calm = (world: World, { stage, vanishes, absence }: Schedule): void => {
  world.tampering = undefined;
  world.lies = () => false;
  for (const w of world.worlds) {
    w.moving.active = true;
    w.moving.losses = 0;
    for (const h of w.hosts) {
      h.failing = 0;
      h.fuse = undefined;
    }
  }
  const liar = world.hosts.find((h) => !world.isHonest(h));
  if (stage === 'turnover') comeBack(world);
  else if (!world.keeper) allReturn(world);
  if (liar && vanishes) world.vanish(liar);
  world.quiet();
  if (world.trace.some((line) => line.includes('not stored'))) {
    // A node that could not store what it was told does not ask for it again: the next connection makes up for it.
    for (const w of world.worlds) for (const m of w.members) w.disconnect(m);
    world.quiet();
  }
  if (world.keeper) age(world, BACK[absence]);
  if (liar?.isCoordinator) outlast(world);
  else if (liar && vanishes) world.quiet();
  for (const w of world.worlds) w.oracle.concluded();
  const living = world.worlds.filter((w) => w.coordinator.live !== undefined || liar?.isCoordinator);
  if (living.length === 0) return;
  world.mine(4);
  world.quiet();
  for (const w of living) {
    if (!liar) finishClose(w);
    leave(w);
  }
  if (world.keeper) undiminished(world);
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
  tookBack(world);
  allReturn(world);
  world.quiet();
};
const allReturn = (world: World): void => {
  for (const w of world.worlds) for (const m of w.members.filter((one) => w.isHonest(one))) w.returns(m);
};
const tookBack = (world: World): void => {
  const { live } = world.coordinator;
  if (!live || !world.isHonest(world.coordinator) || !endsByTree(live)) return;
  for (const branch of live.branches) {
    const back = endOf(live, branch) !== undefined || world.chain.isConfirmed(present(exitPath(live, branch).at(-1)).signable.txid);
    if (branch.heldKey !== undefined && !back) throw new Violation(`client ${String(branch.member)} has handed over its key, and what is below it did not come back`);
  }
};
const endsByTree = (live: Live): boolean => {
  const funding = fundingStatus(live);
  return funding.kind === 'spent' && funding.by === 'tree';
};

/** When those who were away are back, by `Schedule.absence`. */
const BACK: readonly ((calendar: Calendar) => number)[] = [() => 0, ({ dying }) => dying + 9, ({ guard }) => guard, ({ expiry }) => expiry + 2];
/** Blocks after expiry in which what is taken back, or paid out, confirms. */
const AFTER = 10;

/** Block by block to the end of the first factory, which comes before its expiry: then the distribution would be free to all. */
const age = (world: World, back: ((calendar: Calendar) => number) | undefined): void => {
  const live = world.hosts.map((h) => h.live).find((l) => l !== undefined);
  if (!live || !back) return;
  const calendar = calendarOf(live.spec);
  const honest = world.isHonest(world.coordinator);
  const inTime = honest && world.chain.height < calendar.guard;
  for (const end = Math.max(calendar.expiry, world.chain.height) + AFTER; world.chain.height < end; ) {
    if (honest) for (const w of world.worlds) sendAgain(w);
    if (world.chain.height >= back(calendar)) allReturn(world);
    world.quiet();
    world.mine(1);
    if (inTime && world.chain.height === calendar.expiry) ended(world);
  }
  allReturn(world);
  world.quiet();
  tookBack(world);
};
const ended = (world: World): void => {
  const { live } = world.coordinator;
  if (live?.chain.everFunded && !world.chain.spenderOf(live.spec.funding)) throw new Violation('a factory expires, and nobody has ended it');
};
/** lightningd does so with what its wallet has sent, once a reorganisation has lost it. */
const sendAgain = ({ coordinator, chain, wallet }: World): void => {
  const { live } = coordinator;
  if (live?.chain.everFunded && !chain.isKnown(live.spec.funding.txid)) wallet.send(live.spec.funding.txid);
};

/** What a member could have in the end, in all factories, is no less than what it was given and has earned since. */
const undiminished = (world: World): void => {
  for (const id of new Set(world.worlds.flatMap((w) => w.members.filter((m) => w.isHonest(m)).map((m) => m.id)))) {
    const has = world.worlds.reduce((sum, w) => sum + fortune(w, id), 0n);
    const due = world.earned(id);
    if (has < due) throw new Violation(`${world.worlds.flatMap((w) => w.members).find((m) => m.id === id)?.name ?? id} had ${String(due)} msat, and has ${String(has)}`);
  }
};
const fortune = (world: World, id: Host['id']): bigint => {
  const member = world.members.find((m) => m.id === id);
  const state = member && world.memberState(member);
  if (state?.phase !== 'live') return 0n;
  const { there, fees } = world.moving.account(id);
  if (state.live.handedOver) return there;
  const ids = state.live.branches.flatMap((b) => channelsOf(state.live, b).map((c) => c.channelId));
  const channels = world.cln.channels.filter((c) => ids.includes(c.id));
  const has = channels.reduce((sum, c) => sum + c.balance, 0n);
  if (has > 0n && world.isHonest(world.coordinator) && fundingStatus(state.live).kind === 'unconfirmed') throw new Violation(`${member?.name ?? id} has its balance in a factory that is not on chain`);
  return there + has + fees;
};
