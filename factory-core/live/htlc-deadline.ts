/**
 * When an HTLC forces the way to the chain (architecture 6, bLIP-56's early warning): a channel in a factory needs its path
 * confirmed before its commitment counts, so it must leave that much earlier than an ordinary one.
 */
import { exitBlocks, EARLY_WARNING_MARGIN } from '../exit-plan.js';

/** An HTLC as far as its deadline goes. */
export interface PendingHtlc {
  /** Offered by us (`out`), or to us. */
  readonly direction: 'in' | 'out';
  /** Absolute height. */
  readonly expiry: number;
  /** For one offered to us: we have released the preimage, and the peer has not let go of it yet. */
  readonly fulfilled: boolean;
}

/** With the peer there to settle it, half of the margin is left for that. */
const PATIENCE = EARLY_WARNING_MARGIN / 2;

/** Whether anything is lost when it runs out: not with one offered to us whose preimage is still ours alone. */
const matters = ({ direction, fulfilled }: PendingHtlc): boolean => direction === 'out' || fulfilled;

/**
 * The height at which this HTLC must be on its way to the chain; undefined for one that costs us nothing: offered to us,
 * and the preimage still ours.
 * @param pathTransactions from funding to channel, still unconfirmed
 */
export const exitHeight = (htlc: PendingHtlc, pathTransactions: number, peerConnected: boolean): number | undefined => {
  if (!matters(htlc)) return undefined;
  const margin = peerConnected ? EARLY_WARNING_MARGIN - PATIENCE : EARLY_WARNING_MARGIN;
  return htlc.expiry - exitBlocks(pathTransactions) - margin;
};

/** The height by which the channel should be on chain, so that commitment and HTLC transaction can follow in time; undefined as above. */
export const channelDeadline = (htlc: PendingHtlc): number | undefined => (matters(htlc) ? htlc.expiry - PATIENCE : undefined);
