/** What the people behind a node should know about a factory whose time runs out, the more pressing the nearer its end. */
import type { NodeId } from '../../blip/brands.js';
import { fundingStatus } from './custody.js';
import { calendarOf, phaseAt, urgencyAt, type Phase, type Role, type Urgency } from './deadlines.js';
import type { Live } from './state.js';

export interface Warning {
  readonly code: Exclude<Phase, 'active'> | 'frozen';
  readonly urgency: Urgency;
  readonly text: string;
  /** The height at which it comes to something else. */
  readonly deadline: number;
}

/** What only the shell knows. */
export interface Around {
  /** Peers of this factory that are not connected. */
  readonly away: readonly NodeId[];
  /** Why the last attempt to close ended. */
  readonly closeFailure?: string;
}

export const warningsOf = (live: Live, role: Role, around: Around): readonly Warning[] => {
  // Once the output is spent everyone goes by what is on chain; before it is there, there is nothing to lose.
  if (fundingStatus(live).kind !== 'confirmed') return [];
  const { spec, chain, close } = live;
  const phase = phaseAt(spec, chain.tip);
  const urgency = urgencyAt(spec, role, chain.tip);
  const { settling, guard, expiry } = calendarOf(spec);
  const frozen: readonly Warning[] =
    close && close.signature === undefined
      ? [{ code: 'frozen', urgency: urgency ?? 'warning', text: 'a close was agreed and not signed by all: the channels stand still until it is, or somebody leaves', deadline: expiry }]
      : [];
  if (phase === 'active' || urgency === undefined) return frozen;
  const unconfirmed = close?.signature === undefined ? '' : '; the agreed close has not confirmed';
  const text = role === 'coordinator' ? forCoordinator(live, phase, around) : forMember(live, phase);
  const deadline = { dying: settling, settling: guard, guarding: expiry, expired: expiry }[phase];
  return [{ code: phase, urgency, text: `${text}${unconfirmed}`, deadline }, ...frozen];
};

const forCoordinator = (live: Live, phase: Exclude<Phase, 'active'>, { away, closeFailure }: Around): string => {
  const { settling, guard, expiry } = calendarOf(live.spec);
  const missing = away.length > 0 ? `; not connected: ${away.join(', ')}` : '';
  const failed = closeFailure === undefined ? '' : `; the last attempt to close failed: ${closeFailure}`;
  switch (phase) {
    case 'dying':
      return `its members should move or leave; from block ${String(settling)} on it is to be closed`;
    case 'settling':
      return `not closed yet: at block ${String(guard)} the root is published, and every branch costs its way to the chain${missing}${failed}`;
    case 'guarding':
      return `not closed: the root must confirm before block ${String(expiry)}, or the clients can take the whole factory`;
    case 'expired':
      return 'expired and unspent: the root or the distribution, whichever confirms first';
  }
};

const forMember = (live: Live, phase: Exclude<Phase, 'active'>): string => {
  const { settling, expiry } = calendarOf(live.spec);
  switch (phase) {
    case 'dying':
      return `the coordinator is to end it from block ${String(settling)} on; who cannot wait for that leaves with factory-exit`;
    case 'settling':
    case 'guarding':
      return `not ended yet: at block ${String(expiry)} this node publishes the distribution, which pays every client its whole slot`;
    case 'expired':
      return 'expired: publishing the distribution, which pays every client its whole slot';
  }
};
