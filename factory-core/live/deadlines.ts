/**
 * What a factory's height asks for, and of whom (architecture 3.5, 3.6, 8, 9): one calendar for the scheduler of rotations, the
 * watchdog that closes, the plan that publishes, and what the operator is told. Pure functions of height and terms.
 */
import type { FactoryPlan } from '../model.js';

/** Blocks before expiry at which the coordinator publishes the root: that alone ends the distribution (architecture 3.5). */
export const ROOT_GUARD = 144;
/** Blocks before expiry from which on every block counts: six hours, as long as the way out of a deep tree. */
const CRITICAL = 36;

/** Heights at which things begin; none is below the one before it, and `guard` is below `expiry`. */
export interface Calendar {
  /** Members move to the next factory. */
  readonly dying: number;
  /** The coordinator closes, by itself. */
  readonly settling: number;
  /** It has not been closed: the coordinator publishes the root. */
  readonly guard: number;
  /** An agreed close that has not confirmed by now has the root for company: the close cannot be bumped, the root can. */
  readonly lastCall: number;
  /** The distribution can confirm. */
  readonly expiry: number;
}

type Heights = Pick<FactoryPlan, 'startHeight' | 'expiryHeight' | 'terms'>;

export const calendarOf = ({ startHeight, expiryHeight, terms }: Heights): Calendar => {
  const dying = startHeight + terms.activeBlocks;
  // A short settling period is for closing in its first half, so that there is time for both.
  const guarding = Math.max(1, Math.min(ROOT_GUARD, Math.ceil(terms.settlingBlocks / 2)));
  return {
    dying,
    settling: dying + terms.dyingBlocks,
    guard: expiryHeight - guarding,
    lastCall: expiryHeight - Math.ceil(guarding / 2),
    expiry: expiryHeight,
  };
};

export type Phase = 'active' | 'dying' | 'settling' | 'guarding' | 'expired';

/** @param height of the best block */
export const phaseAt = (heights: Heights, height: number): Phase => {
  const calendar = calendarOf(heights);
  if (height >= calendar.expiry) return 'expired';
  if (height >= calendar.guard) return 'guarding';
  if (height >= calendar.settling) return 'settling';
  return height >= calendar.dying ? 'dying' : 'active';
};

export type Role = 'coordinator' | 'member';
/** What a node does by itself while the factory's one output is unspent. */
export type Duty =
  | 'none'
  /** Bring the members into the next factory. */
  | 'rotate'
  /** Close by agreement: the fallback when members have not moved. */
  | 'close'
  /** Publish the root, which ends the distribution. */
  | 'publish_root'
  /** Publish the distribution. */
  | 'distribute';

const DUTIES: Readonly<Record<Role, Readonly<Record<Phase, Duty>>>> = {
  coordinator: { active: 'none', dying: 'rotate', settling: 'close', guarding: 'publish_root', expired: 'publish_root' },
  member: { active: 'none', dying: 'none', settling: 'none', guarding: 'none', expired: 'distribute' },
};
export const dutyAt = (heights: Heights, role: Role, height: number): Duty => DUTIES[role][phaseAt(heights, height)];

/** The height at which this duty gives way to the next; undefined for the last one. */
export const dutyEnds = (heights: Heights, height: number): number | undefined => {
  const { dying, settling, guard, expiry } = calendarOf(heights);
  return [dying, settling, guard, expiry].find((h) => h > height);
};

/** Attempts of the watchdog to close one factory. */
export interface CloseAttempts {
  readonly made: number;
  /** Height of the last one. */
  readonly last?: number;
}
/** An attempt stops payments for a while: after each the next waits twice as long, up to six hours. */
const MAX_CLOSE_DELAY = 36;
export const closeDelay = (made: number): number => (made === 0 ? 0 : Math.min(MAX_CLOSE_DELAY, 2 ** (made - 1)));

/**
 * Whether the watchdog is to try a close now.
 * @param frozen a close has been agreed and not been signed by all: its channels stand still until it is, in any phase
 */
export const closeDue = (heights: Heights, height: number, attempts: CloseAttempts, frozen = false): boolean => {
  const duty = dutyAt(heights, 'coordinator', height);
  const wanted = duty === 'close' || (frozen && duty !== 'publish_root');
  return wanted && (attempts.last === undefined || height >= attempts.last + closeDelay(attempts.made));
};

/** How much it presses. */
export type Urgency = 'notice' | 'warning' | 'urgent' | 'critical';
/** Blocks after which a warning is said again, if nothing has changed. */
export const REPEAT_AFTER: Readonly<Record<Urgency, number>> = { notice: 144, warning: 36, urgent: 6, critical: 1 };

/** Of the coordinator, whose money is at stake; and of a member, for whom time works. */
export const urgencyAt = (heights: Heights, role: Role, height: number): Urgency | undefined => {
  const phase = phaseAt(heights, height);
  if (phase === 'active') return undefined;
  if (phase === 'dying') return 'notice';
  if (role === 'member') return phase === 'expired' ? 'urgent' : 'warning';
  if (phase === 'settling') return 'warning';
  return height >= heights.expiryHeight - CRITICAL && height >= calendarOf(heights).lastCall ? 'critical' : 'urgent';
};
