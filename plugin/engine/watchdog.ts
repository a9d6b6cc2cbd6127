/**
 * Looks at the calendar with every block (architecture 9: no expiry passes unattended): closes a factory that is settling, when
 * all its clients are there, and tells the operator what presses, the oftener the nearer the end. What is published in time,
 * root and distribution, follows from the plan and needs nobody (factory-core/live/plan.ts).
 */
import type { InstanceId, NodeId } from '../../blip/brands.js';
import type { CoordinatorLive } from '../../factory-core/coordinator/state.js';
import { PATIENCE_BLOCKS, targetFeerate } from '../../factory-core/fees.js';
import { branchStatus, fundingStatus } from '../../factory-core/live/custody.js';
import { calendarOf, closeDelay, closeDue, REPEAT_AFTER, type CloseAttempts } from '../../factory-core/live/deadlines.js';
import { warningsOf, type Warning } from '../../factory-core/live/warnings.js';
import type { Lightning } from '../lightning/lightning.js';
import type { Log } from '../runtime/definition.js';
import type { Engine } from './engine.js';
import type { FactoryState } from './factory.js';

export type LiveFactory = Extract<FactoryState, { readonly phase: 'live' }>;

export interface WatchdogParts {
  readonly engine: Pick<Engine, 'all' | 'get' | 'dispatch'>;
  readonly lightning: Pick<Lightning, 'peers' | 'feerates'>;
  readonly log: Log;
  /** Option `factory-auto-close`. */
  readonly autoClose: () => boolean;
  /** Why nothing may be signed, if so. */
  readonly paused: () => string | undefined;
}

/** A warning that is new, more pressing, or due again. */
export interface FactoryWarning extends Warning {
  readonly instanceId: InstanceId;
  readonly role: 'coordinator' | 'member';
  readonly height: number;
}

const NEVER: CloseAttempts = { made: 0 };

/** The other ends of a factory's branches that are not there, and are needed: nobody is whose key is here. */
export const awayFrom = (state: LiveFactory, connected: ReadonlySet<NodeId>): readonly NodeId[] => [
  ...new Set(state.live.branches.filter((b) => b.heldKey === undefined).map((b) => b.peer).filter((peer) => !connected.has(peer))),
];

/** The same for the log and for `factory-status`. */
export const warningsFor = (state: LiveFactory, connected: ReadonlySet<NodeId>): readonly Warning[] => {
  if (state.live.handedOver) return [];
  const closeFailure = state.role === 'coordinator' ? state.closeFailure : undefined;
  return warningsOf(state.live, state.role, { away: awayFrom(state, connected), ...(closeFailure === undefined ? {} : { closeFailure }) });
};

export class Watchdog {
  private readonly attempts = new Map<InstanceId, CloseAttempts>();
  /** What was said last, by factory and code. */
  private readonly said = new Map<string, { readonly urgency: Warning['urgency']; readonly height: number }>();
  private readonly listeners = new Set<(warning: FactoryWarning) => void>();

  constructor(private readonly parts: WatchdogParts) {}

  onWarning(listener: (warning: FactoryWarning) => void): void {
    this.listeners.add(listener);
  }

  /** Called after every block. */
  async look(): Promise<void> {
    const { engine, lightning } = this.parts;
    const live = engine.all().flatMap(({ instanceId, state }) => (state.phase === 'live' && fundingStatus(state.live).kind === 'confirmed' ? [instanceId] : []));
    if (live.length === 0) return;
    const connected = new Set((await lightning.peers()).filter((p) => p.connected).map((p) => p.id));
    for (const instanceId of live) {
      // As it is now: lightningd took its time.
      const state = engine.get(instanceId)?.state;
      if (state?.phase !== 'live') continue;
      this.warn(instanceId, state, connected);
      if (state.role === 'coordinator') await this.close(instanceId, state, connected);
    }
  }

  private warn(instanceId: InstanceId, state: LiveFactory, connected: ReadonlySet<NodeId>): void {
    const height = state.live.chain.tip;
    for (const warning of warningsFor(state, connected)) {
      const key = `${instanceId}/${warning.code}`;
      const before = this.said.get(key);
      if (before?.urgency === warning.urgency && height < before.height + REPEAT_AFTER[warning.urgency]) continue;
      this.said.set(key, { urgency: warning.urgency, height });
      this.parts.log(warning.urgency === 'notice' ? 'info' : 'unusual', `factory ${instanceId}: ${warning.urgency}: ${warning.text}`);
      for (const listener of this.listeners) listener({ ...warning, instanceId, role: state.role, height });
    }
  }

  private async close(instanceId: InstanceId, state: CoordinatorLive, connected: ReadonlySet<NodeId>): Promise<void> {
    const { engine, lightning, log, autoClose, paused } = this.parts;
    const { live } = state;
    const { spec, chain } = live;
    const attempts = this.attempts.get(instanceId) ?? NEVER;
    if (!autoClose() || paused() !== undefined || !closeDue(spec, chain.tip, attempts, live.close !== undefined)) return;
    if (!canClose(state) || awayFrom(state, connected).length > 0) return;
    const market = await lightning.feerates();
    const feerate = Math.max(market.floor, targetFeerate(market, PATIENCE_BLOCKS, calendarOf(spec).guard - chain.tip));
    const made = attempts.made + 1;
    this.attempts.set(instanceId, { made, last: chain.tip });
    log('info', `factory ${instanceId}: closing it, attempt ${String(made)}; another one in ${String(closeDelay(made))} blocks if it fails`);
    engine.dispatch(instanceId, { type: 'close_requested', feerate });
  }
}

/** Nobody has left, and no close is under way or signed. */
export const canClose = ({ live, closing }: CoordinatorLive): boolean =>
  !closing &&
  live.close?.signature === undefined &&
  fundingStatus(live).kind === 'confirmed' &&
  live.branches.every((b) => live.exits[b.member] === undefined && branchStatus(live, b).kind === 'virtual');
