/** Effects on CLN's channels. */
import type { ChannelId } from '../../blip/brands.js';
import type { ChannelFacts, DurableEffect, Event, VolatileEffect } from '../../factory-core/protocol/effects.js';
import type { Log } from '../runtime/definition.js';
import { LightningError, type Channel, type Lightning } from '../lightning/lightning.js';
import type { Outcome } from './outbox.js';

type Durable<K extends DurableEffect['kind']> = Extract<DurableEffect, { kind: K }>;
type Volatile<K extends VolatileEffect['kind']> = Extract<VolatileEffect, { kind: K }>;
const done = (event?: Event): Outcome => (event ? { kind: 'done', event } : { kind: 'done' });
const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

export const openStart = async (ln: Lightning, effect: Durable<'open_start'>): Promise<Outcome> => {
  const { attempt, member, peer, amount } = effect;
  try {
    // One opening per peer at a time: what is left of an earlier one gives way.
    await ln.openCancel(peer);
    const { script } = await ln.openStart({ peer, amount });
    return done({ type: 'open_started', attempt, member, script });
  } catch (error) {
    return done({ type: 'open_failed', attempt, member, reason: reasonOf(error) });
  }
};

export const openComplete = async (ln: Lightning, effect: Durable<'open_complete'>): Promise<Outcome> => {
  const { attempt, member, peer, leaf } = effect;
  const [known] = await ln.channels({ fundingTxid: leaf.txid });
  if (known) return done({ type: 'open_completed', attempt, member, channelId: known.channelId });
  try {
    const { channelId } = await ln.openComplete({ peer, fundingTx: leaf });
    return done({ type: 'open_completed', attempt, member, channelId });
  } catch (error) {
    return done({ type: 'open_failed', attempt, member, reason: reasonOf(error) });
  }
};

/** Openings are cancelled, withheld channels dropped, others closed: nothing of the attempt stays (architecture 5). */
export const discardChannels = async (ln: Lightning, effect: Durable<'discard_channels'>, log: Log): Promise<Outcome> => {
  for (const peer of effect.peers) await ln.openCancel(peer);
  for (const fundingTxid of effect.fundingTxids) {
    for (const channel of await ln.channels({ fundingTxid })) await drop(ln, channel, log);
  }
  return done();
};

const CLOSED_ALREADY = new Set(['CLOSINGD_COMPLETE', 'AWAITING_UNILATERAL', 'FUNDING_SPEND_SEEN', 'ONCHAIN', 'CLOSED']);

/** Whatever it takes for this node to be rid of a channel that nothing stands behind. */
export const drop = async (ln: Lightning, channel: Channel, log: Log): Promise<void> => {
  if (CLOSED_ALREADY.has(channel.state)) return;
  if (channel.withheld) {
    await ln.forgetWithheld(channel.channelId);
    return;
  }
  try {
    await ln.closeChannel({ channelId: channel.channelId });
  } catch (error) {
    // The side that opened it drops it; ours then has an entry without money in it.
    log('debug', `channel ${channel.channelId}: not closed by agreement: ${reasonOf(error)}`);
  }
};

/** CLN writes a channel to its database a moment after we hear of it. */
const AUDIT_TRIES = 40;
const AUDIT_PAUSE_MS = 250;

export const audit = async (ln: Lightning, effect: Durable<'audit'>, signal: AbortSignal): Promise<Outcome> => {
  const { attempt, funding, peer } = effect;
  const failed = (reason: string): Outcome => done({ type: 'audited', attempt, result: { ok: false, reason } });
  for (let tries = 0; tries < AUDIT_TRIES && !signal.aborted; tries += 1) {
    try {
      const channel = (await ln.channels({ peer, fundingTxid: funding.txid })).find((c) => c.funding.vout === funding.vout);
      if (channel) {
        const { script } = await ln.auditFundingKeys(funding);
        return done({ type: 'audited', attempt, result: { ok: true, script, channel: factsOf(channel) } });
      }
    } catch (error) {
      if (!(error instanceof LightningError) || error.code !== 'not_found') return failed(reasonOf(error));
    }
    await new Promise((resolve) => setTimeout(resolve, AUDIT_PAUSE_MS));
  }
  return failed('the channel did not appear');
};

const factsOf = ({ channelId, toUs, total }: Channel): ChannelFacts => ({ channelId, toUs, total });

export const arm = async (ln: Lightning, effect: Durable<'arm'>): Promise<Outcome> => {
  const { member } = effect;
  try {
    await ln.arm(effect.leaf);
    return done({ type: 'armed', member });
  } catch (error) {
    if (error instanceof LightningError && error.code === 'not_found') return done({ type: 'arm_failed', member, reason: error.message });
    throw error;
  }
};

/** How long the end that did not open a channel leaves its retirement to the one that did. */
const OPENER_FIRST_MS = 20_000;
const RETIRE_PAUSE_MS = 500;

/**
 * The factory has ended by another transaction: this channel can never be published. One end at a time: a thaw by the
 * other end would restart the channel's daemon in the middle of our close.
 */
export const retireChannel = async (ln: Lightning, { channelId }: Durable<'retire_channel'>, signal: AbortSignal): Promise<Outcome> => {
  for (let waited = 0; ; waited += RETIRE_PAUSE_MS) {
    const [channel] = await ln.channels({ channelId });
    if (!channel || CLOSED_ALREADY.has(channel.state) || signal.aborted) return done();
    if (channel.opener === 'local' || waited >= OPENER_FIRST_MS) break;
    await new Promise((resolve) => setTimeout(resolve, RETIRE_PAUSE_MS));
  }
  await ln.thaw([channelId]);
  await ln.closeChannel({ channelId });
  return done();
};

/** Closes a channel whose funding has confirmed, unless it is closing already. */
export const closeChannel = async (ln: Lightning, effect: Volatile<'close_channel'>): Promise<void> => {
  const [channel] = await ln.channels({ channelId: effect.channelId });
  if (!channel || CLOSED_ALREADY.has(channel.state)) return;
  await ln.closeChannel({ channelId: effect.channelId, ...(effect.unilateral ? { unilateralTimeout: 1 } : {}) });
};

const DRAIN_PAUSE_MS = 250;

/** Resolves when none of the channels carries an HTLC; undefined when `wanted` says that nobody waits any more. */
export const drain = async (ln: Lightning, ids: readonly ChannelId[], wanted: () => boolean): Promise<readonly ChannelFacts[] | undefined> => {
  while (wanted()) {
    const channels = (await ln.channels()).filter((c) => ids.includes(c.channelId));
    if (channels.every((c) => c.htlcs.length === 0)) return channels.map(factsOf);
    await new Promise((resolve) => setTimeout(resolve, DRAIN_PAUSE_MS));
  }
  return undefined;
};
