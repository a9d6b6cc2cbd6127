/** What commands work with. */
import type { ChainHash, Msat, NodeId } from '../../blip/brands.js';
import type { Pricing } from '../../factory-core/live/purchasing.js';
import type { AllocationBounds } from '../../factory-core/allocation.js';
import type { Terms } from '../../factory-core/model.js';
import type { TermsPolicy } from '../../factory-core/validate.js';
import type { Accept } from '../engine/accepting.js';
import type { Broadcaster } from '../engine/broadcaster.js';
import type { BumpLedger } from '../engine/bump-ledger.js';
import type { Budget, Bumper } from '../engine/bumper.js';
import type { Engine } from '../engine/engine.js';
import type { Events } from '../engine/events.js';
import type { Inbox } from '../engine/inbox.js';
import type { Random } from '../engine/joining.js';
import type { Peers } from '../engine/peers.js';
import type { Scheduler } from '../engine/scheduler.js';
import type { WaitingDesk } from '../engine/waiting-desk.js';
import type { Lightning } from '../lightning/lightning.js';
import type { Store } from '../store/store.js';
import { ErrorCode, fail } from './errors.js';

/** The operator's settings, from the options. */
export interface Settings {
  readonly accept: Accept;
  /** Who may wait for the next factory. */
  readonly waiting: Accept;
  readonly mainnetAllowed: boolean;
  /** Defaults of a new factory. */
  readonly terms: Omit<Terms, 'chainHash'>;
  readonly stepTimeout: number;
  /** Whether a factory that settles is closed without being asked. */
  readonly autoClose: boolean;
  /** Whether one that is dying is rotated without being asked. */
  readonly autoRotate: boolean;
  /** Of channels out of the stock. */
  readonly pricing: Pricing;
  /** What this node pays for one that it is offered. */
  readonly maxPurchaseFee: Msat;
  /** What raising fees may cost. */
  readonly budget: Budget;
  /** What a rotation gives to clients by itself. */
  readonly allocation: AllocationBounds;
}

export interface Context {
  readonly lightning: Lightning;
  readonly engine: Engine;
  readonly store: Store;
  readonly peers: Peers;
  readonly inbox: Inbox;
  readonly waiting: WaitingDesk;
  readonly events: Events;
  readonly scheduler: Scheduler;
  readonly broadcaster: Broadcaster;
  readonly bumper: Bumper;
  readonly ledger: BumpLedger;
  readonly settings: Settings;
  readonly policy: TermsPolicy;
  readonly random: Random;
  readonly self: { readonly nodeId: NodeId; readonly network: string; readonly chainHash: ChainHash };
  /** A state nobody can act on was found (rolled-back database): only watching is allowed. */
  readonly watchOnly: () => string | undefined;
}

/** The main network, without the operator's word. */
export const networkForbidden = ({ self, settings }: Pick<Context, 'self' | 'settings'>): boolean =>
  self.network === 'bitcoin' && !settings.mainnetAllowed;

/** @throws CommandError Unavailable, when the plugin only watches (architecture 12.7) */
export const requireSigning = (ctx: Pick<Context, 'watchOnly'>): void => {
  const problem = ctx.watchOnly();
  if (problem !== undefined) fail(ErrorCode.Unavailable, problem);
};
