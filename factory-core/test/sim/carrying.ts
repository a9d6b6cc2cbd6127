/** Which channels take HTLCs: as the nodes see it, and as the hooks of their plugins do. */
import type { NodeId } from '../../../blip/brands.js';
import { mayCarryHtlcs } from '../../live/custody.js';
import { channelsOf } from '../../live/paths.js';
import { rotationOf } from '../../rotation.js';
import type { SimChannel } from './cln.js';
import type { Host } from './host.js';
import type { World } from './world.js';

export const isUsable = (world: World, channel: SimChannel): boolean =>
  world.network.isConnected(channel.fundee) && !channel.frozen && [...channel.open.values()].every((x) => x) && !world.chain.spenderOf(channel.funding);

export const mayCarry = (world: World, host: Host, channel: SimChannel): boolean => {
  const state = host.up ? host.state : undefined;
  if (state?.phase !== 'live') return false;
  const known = state.live.branches.flatMap((branch) => channelsOf(state.live, branch).map((own) => ({ branch, own }))).find(({ own }) => own.channelId === channel.id);
  const may = known !== undefined && mayCarryHtlcs(state.live, known.branch, state.closing !== undefined, known.own) && rotationOf(state, known.branch.member) !== 'moved';
  if (may) world.oracle.carrying(host, state.live);
  return may;
};

/** What its client can be sent over it, in msat. */
export const roomIn = ({ capacity, balance, htlc, fundee }: SimChannel): bigint => capacity * 1000n - balance - (htlc && htlc.from !== fundee ? htlc.amount : 0n);

/** A channel of this client's over which it can be paid now. */
export const openChannel = (world: World, client: NodeId): SimChannel | undefined => {
  const member = world.members.find((m) => m.id === client);
  if (!member) return undefined;
  return world.cln.channels.find((c) => c.fundee === client && isUsable(world, c) && mayCarry(world, member, c) && mayCarry(world, world.coordinator, c));
};
