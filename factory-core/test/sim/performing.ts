/** What comes of what a node's machine asks for: its durable effects, and what it waits for. */
import type { InstanceId, NodeId } from '../../../blip/brands.js';
import { script } from '../../../blip/brands.js';
import { verifyFinal } from '../../musig/index.js';
import type { DurableEffect, Event } from '../../protocol/effects.js';
import { openChannel, roomIn } from './carrying.js';
import type { Host, Task } from './host.js';
import type { Passage } from './moving.js';
import type { World } from './world.js';

/** Where the funding goes if the coordinator cheats. */
const NOBODYS_SCRIPT = script(`5120${'ee'.repeat(32)}`);

/** The `openchannel` hook: a channel that was announced, of the amount announced. */
const expects = (world: World, client: NodeId, amount: bigint): boolean => {
  const state = world.memberState(world.host(client));
  if (state?.phase === 'opening') return state.leaf.step === 'expecting' && state.invite.capacity === amount;
  const buying = state?.phase === 'live' ? state.purchasing?.current : undefined;
  return buying?.progress.step === 'expecting' && buying.amount === amount;
};

export const resultOf = (world: World, host: Host, task: Task): Event | undefined => {
  const channels = task.channelIds.flatMap((id) => world.cln.find(host.id, id) ?? []);
  if (task.kind === 'drain') return { type: 'drained', attempt: task.attempt, channels: channels.map((c) => world.cln.factsAt(host.id, c)) };
  const ready = channels.length === task.channelIds.length && channels.every((c) => world.network.isConnected(c.fundee) && !c.htlc);
  if (!ready) return { type: 'freeze_failed', attempt: task.attempt, reason: 'a channel is not ready' };
  for (const c of channels) c.frozen = true;
  return { type: 'frozen', attempt: task.attempt };
};

/** @param half where a connection can break in the middle, it does */
export const perform = (world: World, host: Host, effect: DurableEffect, half: boolean): Event | undefined => {
  switch (effect.kind) {
    case 'select_coins': {
      const { attempt } = effect;
      const coins = world.wallet.select(effect.amount);
      return coins ? { type: 'coins_selected', attempt, coins } : { type: 'funding_failed', attempt, reason: 'not enough coins' };
    }
    case 'prepare_funding': {
      const { attempt } = effect;
      const prepared = world.wallet.prepare(effect.coins, world.root.lies() ? NOBODYS_SCRIPT : effect.script, effect.amount);
      return prepared ? { type: 'funding_prepared', attempt, ...prepared } : { type: 'funding_failed', attempt, reason: 'a coin is gone' };
    }
    case 'release_funding':
      world.wallet.release(effect.coins);
      return undefined;
    case 'send_funding': {
      if (world.chain.isKnown(effect.funding.txid)) return { type: 'funding_sent' };
      const sent = world.wallet.send(effect.psbt);
      // What nobody takes does no harm: it was under way when its coins were found spent, and the ceremony given up.
      if (sent === 'accepted') world.oracle.funding(effect.funding);
      return sent === 'accepted' || sent === 'known' ? { type: 'funding_sent' } : { type: 'funding_rejected', reason: sent };
    }
    case 'open_start': {
      const { attempt, member, peer, amount } = effect;
      world.cln.cancel(peer);
      const started = world.cln.start(peer, expects(world, peer, amount));
      if (!started.ok) return { type: 'open_failed', attempt, member, reason: started.reason };
      return { type: 'open_started', attempt, member, script: started.value };
    }
    case 'open_complete': {
      const { attempt, member, peer, leaf } = effect;
      const completed = world.cln.complete(peer, leaf, half);
      if (half) world.disconnect(world.host(peer));
      if (!completed.ok) return { type: 'open_failed', attempt, member, reason: completed.reason };
      return { type: 'open_completed', attempt, member, channelId: completed.value };
    }
    case 'discard_channels':
      for (const peer of effect.peers) if (host.isCoordinator) world.cln.cancel(peer);
      world.cln.drop(host.id, effect.fundingTxids);
      for (const fundingTxid of effect.fundingTxids) world.dropped.add(`${host.name} ${fundingTxid}`);
      return undefined;
    case 'audit': {
      const { attempt, funding } = effect;
      const channel = world.cln.at(host.id).find((c) => c.funding.txid === funding.txid);
      if (!channel) return { type: 'audited', attempt, result: { ok: false, reason: 'the channel did not appear' } };
      return { type: 'audited', attempt, result: { ok: true, script: channel.script, channel: world.cln.factsAt(host.id, channel) } };
    }
    case 'arm': {
      const { member } = effect;
      if (effect.signature !== undefined && !verifyFinal(effect.leaf, effect.signature)) world.oracle.violated('a leaf is armed whose signature does not verify');
      return world.cln.arm(effect.leaf) ? { type: 'armed', member } : { type: 'arm_failed', member, reason: 'no such channel' };
    }
    case 'retire_channel':
      world.cln.close(host.id, effect.channelId);
      return undefined;
    case 'pay_fee': {
      const { attempt } = effect;
      const reason = world.fees.pay(host, effect);
      return reason === undefined ? { type: 'fee_sent', attempt } : { type: 'fee_failed', attempt, reason };
    }
    case 'drop_purchase':
      if (host.isCoordinator) world.cln.cancel(effect.peer);
      if (effect.fundingTxid !== undefined) world.cln.drop(host.id, [effect.fundingTxid]);
      return undefined;
    case 'await_next':
      return isWanted(world, host, effect) ? { type: 'next_active', attempt: effect.attempt } : undefined;
    case 'move_balance':
      return isWanted(world, host, effect) ? world.moving.moved(host.id, effect) : undefined;
    case 'settle_balance':
      return isWanted(world, host, effect) ? world.moving.settled(host.id, effect) : undefined;
    case 'await_owed':
      return isWanted(world, host, effect) ? { type: 'owed_received', paymentHash: effect.paymentHash } : undefined;
    case 'pay_owed':
      return world.moving.pay(effect);
  }
};

/** Whether this is still what the node does; what is not wanted any more ends. */
export const isWanted = (world: World, host: Host, effect: DurableEffect): boolean => {
  const state = world.memberState(host);
  const migration = state?.phase === 'live' ? state.migration : undefined;
  switch (effect.kind) {
    case 'await_next':
      return migration?.step === 'waiting' && migration.attempt === effect.attempt;
    case 'move_balance':
      return migration?.step === 'moving' && migration.attempt === effect.attempt;
    case 'settle_balance':
      return migration?.step === 'settling' && migration.attempt === effect.attempt;
    case 'await_owed':
      return migration?.step === 'owed' && migration.paymentHash === effect.paymentHash;
    default:
      return true;
  }
};

/** Payments out of this factory into the channels of another one that is simulated, too. */
export const passageFrom = (world: World, to: InstanceId): Passage | undefined => {
  const target = world.worlds.find((w) => w !== world && w.instanceId === to);
  return (
    target && {
      room: (member) => {
        const channel = openChannel(target, member);
        return channel && roomIn(channel);
      },
      pay: (member, amount) => {
        const channel = openChannel(target, member);
        if (!channel) return target.oracle.violated('a payment arrives where no channel takes it');
        target.oracle.balanceChanges(channel);
        channel.balance += amount;
      },
    }
  );
};
