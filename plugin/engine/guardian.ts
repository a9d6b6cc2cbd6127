/**
 * Looks at CLN's channels with every block and begins the way out of those that cannot wait (architecture 6, 9): an HTLC
 * near its limit, or a channel that CLN has failed, whose commitment is worth nothing before its leaf is on chain. Also by when:
 * what is on its way already has a deadline once an HTLC depends on it, and may cost more the nearer that is.
 */
import { channelStatus, fundingStatus, isHandedOver } from '../../factory-core/live/custody.js';
import { channelDeadline, exitHeight, type PendingHtlc } from '../../factory-core/live/htlc-deadline.js';
import { channelPath, channelsOf, type BranchChannel } from '../../factory-core/live/paths.js';
import type { Branch, Live } from '../../factory-core/live/state.js';
import type { Channel, Htlc, Lightning } from '../lightning/lightning.js';
import type { Log } from '../runtime/definition.js';
import type { Engine } from './engine.js';
import { liveOf, type FactoryState } from './factory.js';

export interface GuardianParts {
  readonly engine: Pick<Engine, 'all' | 'get' | 'currentHeight' | 'dispatch'>;
  readonly lightning: Pick<Lightning, 'channels'>;
  readonly log: Log;
}

/** Called after every block. */
export const guard = async ({ engine, lightning, log }: GuardianParts): Promise<void> => {
  const watched = engine.all().filter(({ state }) => liveOf(state) !== undefined);
  if (watched.length === 0) return;
  const channels = new Map((await lightning.channels()).map((c) => [c.channelId, c]));
  const height = engine.currentHeight();
  for (const { instanceId } of watched) {
    // As it is now: lightningd took its time.
    const state = engine.get(instanceId)?.state;
    const live = state && liveOf(state);
    if (!state || !live) continue;
    // One event for all that have the same deadline.
    const leaving = new Map<number | undefined, number[]>();
    for (const branch of live.branches) {
      const known = live.exits[branch.member];
      const pending = channelsOf(live, branch).flatMap((own) => waiting(live, branch, own, channels.get(own.channelId)) ?? []);
      const why = known ? undefined : pending.flatMap((one) => reasonToLeave(state, one, height) ?? [])[0];
      const deadlines = pending.flatMap(({ channel }) => channel.htlcs.flatMap((htlc) => channelDeadline(pendingHtlc(htlc)) ?? []));
      const by = deadlines.length === 0 ? undefined : Math.min(...deadlines);
      const pressing = known !== undefined && by !== undefined && by < (known.by ?? Infinity);
      if (why !== undefined) log('unusual', `factory ${instanceId}: leaving with the channel of client ${branch.member}: ${why}`);
      if (why !== undefined || pressing) leaving.set(by, [...(leaving.get(by) ?? []), branch.member]);
    }
    for (const [by, members] of leaving) engine.dispatch(instanceId, { type: 'exit_requested', members, ...(by === undefined ? {} : { by }) });
  }
};

/** A channel of ours that is not on chain, and may have to be. */
interface Waiting {
  readonly channel: Channel;
  /** Transactions from funding to channel, still unconfirmed. */
  readonly left: number;
}

const waiting = (live: Live, branch: Branch, own: BranchChannel, channel: Channel | undefined): Waiting | undefined => {
  const funding = fundingStatus(live);
  // Nothing in it is anybody's but the coordinator's, who takes it with the key.
  if (isHandedOver(live, branch)) return undefined;
  if (!channel || funding.kind === 'unconfirmed' || (funding.kind === 'spent' && funding.by !== 'tree')) return undefined;
  const status = channelStatus(live, branch, own);
  if (status.kind !== 'virtual' && status.kind !== 'publishing') return undefined;
  return { channel, left: channelPath(live, branch, own).length - (status.kind === 'publishing' ? status.confirmed : 0) };
};

const reasonToLeave = ({ role }: FactoryState, { channel, left }: Waiting, height: number): string | undefined => {
  if (channel.state === 'AWAITING_UNILATERAL') return 'lightningd has failed the channel';
  // Closed between the two nodes: the closing transaction, too, needs the leaf. The coordinator may wait for expiry.
  if (channel.state === 'CLOSINGD_COMPLETE' && role === 'member' && channel.toUs > 0n) return 'the channel was closed';
  for (const htlc of channel.htlcs) {
    const limit = exitHeight(pendingHtlc(htlc), left, channel.connected);
    if (limit !== undefined && height >= limit) return `an HTLC of ${htlc.amount} msat expires at ${htlc.expiry}`;
  }
  return undefined;
};

/** CLN's HTLC states: once removal has begun on one offered to us, the preimage (or the failure) is out. */
const pendingHtlc = (htlc: Htlc): PendingHtlc => ({
  direction: htlc.direction,
  expiry: htlc.expiry,
  fulfilled: htlc.direction === 'in' && htlc.state.includes('_REMOVE_'),
});

/** Whether the operator's `close` is for a channel of a factory that is not on chain yet: that would strand both sides. */
export const isVirtual = (live: Live, branch: Branch, channel: BranchChannel): boolean => {
  const funding = fundingStatus(live);
  const ended = funding.kind === 'spent' && funding.by !== 'tree';
  const { kind } = channelStatus(live, branch, channel);
  return !ended && !live.retired && (kind === 'virtual' || kind === 'publishing');
};
