/**
 * Which HTLCs a factory channel may carry (architecture 6): none that would expire before the channel's owner can be on
 * chain, none while the factory is not active or the channel is frozen. Pure; asked for every HTLC, so it stores nothing.
 */
import { hex, type ChannelId, type Hex, type Msat } from '../blip/brands.js';

/** What the decision needs to know of a factory channel. An ordinary channel has none of it: pass undefined. */
export interface FactoryChannelFacts {
  /** `factory_early_warning_time`: blocks the way to the chain may take, and a margin (architecture 4). */
  readonly earlyWarning: number;
  /** Funding confirmed deep enough, factory neither closing nor exiting through this channel. */
  readonly active: boolean;
  /** A close or rotation has begun: what is pending may finish, nothing may be added. */
  readonly frozen: boolean;
  /** Its owner is moving to another factory: what this node sends takes another channel, if there is one. */
  readonly avoid?: boolean;
}

export interface HtlcFacts {
  /** The chain's height as lightningd sees it. */
  readonly height: number;
  /** Of the incoming HTLC. */
  readonly amount: Msat;
  /** Absolute height at which the incoming HTLC times out. */
  readonly cltvExpiry: number;
  /** The channel the HTLC came over, if it is a factory channel. */
  readonly incoming?: FactoryChannelFacts;
  /** Absent: the payment ends here. */
  readonly forward?: {
    /** Absolute height at which the outgoing HTLC would time out; undefined when the onion does not say. */
    readonly cltvExpiry?: number;
    /** The channel it would go over, if it is a factory channel. */
    readonly channel?: FactoryChannelFacts;
    /** Other channels to the same peer that could carry it, best first: CLN chooses by balance and knows nothing of factories. */
    readonly others?: readonly { readonly channelId: ChannelId; readonly channel?: FactoryChannelFacts }[];
    /** The channel the payer names, if it is a factory's and not CLN's choice: one of `others`, if that has room. */
    readonly named?: ChannelId;
  };
}

export type HtlcDecision =
  /** `forwardTo`: over another channel to the same peer than CLN has chosen. */
  | { readonly result: 'continue'; readonly forwardTo?: ChannelId }
  /** `failure`: a BOLT 4 failure message, type and data. `why` is for the log. */
  | { readonly result: 'fail'; readonly failure: Hex; readonly why: string };

/** BOLT 4, failure messages. The optional `channel_update` is left out: unannounced channels have none to show. */
const TEMPORARY_CHANNEL_FAILURE = hex('1007' + '0000');
const EXPIRY_TOO_SOON = hex('100e' + '0000');
const TEMPORARY_NODE_FAILURE = hex('2002');
const INCORRECT_OR_UNKNOWN_PAYMENT_DETAILS = '400f';

const uint = (value: bigint, bytes: number): string => value.toString(16).padStart(bytes * 2, '0');

/** The lowest `cltv_expiry` a factory channel takes at this height. */
export const minCltvExpiry = (height: number, earlyWarning: number): number => height + earlyWarning + 1;

/**
 * Blocks an invoice asks for beyond what `minCltvExpiry` needs: the payer may be behind, and blocks come in while the
 * payment is on its way.
 */
export const INVOICE_MARGIN = 12;

/** `min_final_cltv_expiry_delta` of an invoice that is to be paid over a factory channel, at least `asked`. */
export const invoiceCltv = (earlyWarning: number, asked: number): number => Math.max(asked, earlyWarning + 1 + INVOICE_MARGIN);

type Problem = 'unavailable' | 'too_soon';

const problemOf = (channel: FactoryChannelFacts, height: number, cltvExpiry: number | undefined): { readonly problem: Problem; readonly why: string } | undefined => {
  if (!channel.active) return { problem: 'unavailable', why: 'the factory is not active' };
  if (channel.frozen) return { problem: 'unavailable', why: 'the channel is frozen' };
  const least = minCltvExpiry(height, channel.earlyWarning);
  if (cltvExpiry === undefined) return { problem: 'too_soon', why: `its expiry is unknown, at least ${least} is needed` };
  return cltvExpiry < least ? { problem: 'too_soon', why: `it expires at ${cltvExpiry}, before ${least}` } : undefined;
};

/** A forwarding node blames the channel; the final node has none to blame, and answers what only it may (BOLT 4). */
const failureOf = (problem: Problem, { forward, amount, height }: HtlcFacts): Hex => {
  if (forward) return problem === 'too_soon' ? EXPIRY_TOO_SOON : TEMPORARY_CHANNEL_FAILURE;
  if (problem === 'unavailable') return TEMPORARY_NODE_FAILURE;
  return hex(INCORRECT_OR_UNKNOWN_PAYMENT_DETAILS + uint(amount, 8) + uint(BigInt(height), 4));
};

const refuse = (side: string, { problem, why }: { readonly problem: Problem; readonly why: string }, facts: HtlcFacts): HtlcDecision => ({
  result: 'fail',
  failure: failureOf(problem, facts),
  why: `${side} HTLC: ${why}`,
});

/** What to do with an incoming HTLC, and the one it would cause. */
export const decideHtlc = (facts: HtlcFacts): HtlcDecision => {
  const { height, cltvExpiry, incoming, forward } = facts;
  const wrongIn = incoming && problemOf(incoming, height, cltvExpiry);
  if (wrongIn) return refuse('incoming', wrongIn, facts);
  const wrongOut = forward?.channel && problemOf(forward.channel, height, forward.cltvExpiry);
  const good = forward?.others?.filter(({ channel }) => !channel || (channel.avoid !== true && !problemOf(channel, height, forward.cltvExpiry))) ?? [];
  // Who names a channel of several knows why: it moves into that factory (architecture 8), or has fitted its parts to the channels.
  const named = good.find(({ channelId }) => channelId === forward?.named);
  if (named) return { result: 'continue', forwardTo: named.channelId };
  if (!wrongOut && forward?.channel?.avoid !== true) return { result: 'continue' };
  const [other] = good;
  if (other) return { result: 'continue', forwardTo: other.channelId };
  return wrongOut ? refuse('outgoing', wrongOut, facts) : { result: 'continue' };
};
