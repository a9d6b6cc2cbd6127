/** What a string of bytes makes of a world: progress, and everything that can go wrong. */
import { msat, sat } from '../../../blip/brands.js';
import { exitPath } from '../../live/paths.js';
import { present } from '../../protocol/present.js';
import { outOfTurn } from './byzantine.js';
import type { Choices } from './bytes.js';
import { isUsable, mayCarry } from './carrying.js';
import type { Host } from './host.js';
import { ANOTHER, NEXT } from './moving.js';
import type { World } from './world.js';

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

export const turn = (world: World, choices: Choices): void => {
  const byte = choices.next();
  if (byte < PROGRESS) {
    const actions = [...world.progress(), ...(world.keeper ? [{ label: 'a block', run: () => world.mine(1) }] : [])];
    const action = actions[byte % Math.max(1, actions.length)];
    if (action) world.do(action);
    return;
  }
  world.note(`fault ${String(byte)}`);
  fault((world.worlds.length > 1 && choices.pick(world.worlds)) || world, choices, byte - PROGRESS);
  for (const { oracle } of world.worlds) oracle.check();
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
  } else if (kind < 46) world.mine(choices.below(4) === 0 && !world.root.keeper ? 25 : 1 + choices.below(4));
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
    if (world.worlds.length > 1) comeAndGo(world, member());
    else {
      world.moving.active = choices.below(4) !== 0;
      rotate(world, choices.next());
    }
  } else if (kind < 73) publishStale(world, choices);
  else if (kind < 74) leaveOrStay(world, choices);
  else if (world.options.dishonest?.length) lieOutOfTurn(world, choices);
  else if (kind < 75) world.moving.losses += 1;
  else comeAndGo(world, member());
};

/** Away for long, or back. */
const comeAndGo = (world: World, member: Host): void => {
  if (world.isAway(member)) world.returns(member);
  else if (world.isHonest(member)) world.vanish(member);
};

const leaveOrStay = (world: World, choices: Choices): void => {
  const member = choices.pick(world.members);
  if (member?.up) world.command(member, { type: 'leave_requested', leaves: choices.below(3) > 0 });
};

/** Members are told to move, those whose bit is set, to one of two other factories. */
export const rotate = (world: World, bits: number): void => {
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
  if (!channel || !isUsable(world, channel)) return;
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
  if (amount > 0n && ends.every((h) => mayCarry(world, h, channel))) channel.htlc = { from: fromClient ? channel.fundee : channel.opener, amount };
};

const lieOutOfTurn = (world: World, choices: Choices): void => {
  const liar = world.hosts.find((h) => !world.isHonest(h));
  if (!liar?.up) return;
  if (liar.isCoordinator && choices.below(4) === 0) world.publishEarly();
  else outOfTurn(world, choices, liar);
};

