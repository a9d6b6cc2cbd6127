/** A factory as the engine holds it: its state, and what lives in memory only. */
import type { InstanceId, Msat } from '../../blip/brands.js';
import type { CoordinatorState } from '../../factory-core/coordinator/state.js';
import type { Pricing } from '../../factory-core/live/purchasing.js';
import type { Live } from '../../factory-core/live/state.js';
import { coordinatorStep } from '../../factory-core/coordinator/machine.js';
import { memberStep } from '../../factory-core/member/machine.js';
import type { MemberState } from '../../factory-core/member/state.js';
import type { Signer } from '../../factory-core/musig/index.js';
import type { Event, Step } from '../../factory-core/protocol/effects.js';
import type { PlanBounds } from '../../factory-core/validate.js';

export type FactoryState = CoordinatorState | MemberState;

export interface Factory {
  readonly instanceId: InstanceId;
  readonly state: FactoryState;
  /** The store's count of this factory's states. */
  readonly revision: number;
  readonly signer: Signer;
}

export const instanceOf = (state: FactoryState): InstanceId =>
  state.role === 'coordinator' ? state.request.instanceId : state.instanceId;

/** What is to be watched on chain: also while channels are armed, since the funding transaction may be out by then. */
export const liveOf = (state: FactoryState): Live | undefined => (state.phase === 'live' || state.phase === 'arming' ? state.live : undefined);

/** Whether a cooperative close is under way (and channels are therefore frozen). */
export const isClosing = (state: FactoryState): boolean => state.phase === 'live' && state.closing !== undefined;

/** Balances may have been told for a close, or are signed in one: what is paid now would not count (architecture 12.10). */
export const balancesTold = (state: FactoryState): boolean => isClosing(state) || (state.phase === 'live' && state.live.close !== undefined);

/** The close attempt under way, if any. */
export const closeAttempt = (state: FactoryState): number | undefined => (state.phase === 'live' ? state.closing?.attempt : undefined);

/** What the machines may know of this node, besides its factories: what its operator has decided, and chance. */
export interface Policy {
  readonly bounds: PlanBounds;
  readonly pricing: Pricing;
  readonly maxPurchaseFee: Msat;
  readonly random: (bytes: number) => Uint8Array;
}

export const advance = (factory: Factory, event: Event, height: number, policy: Policy): Step<FactoryState> => {
  const { state, signer } = factory;
  const env = { ...policy, signer, height };
  return state.role === 'coordinator' ? coordinatorStep(state, event, env) : memberStep(state, event, env);
};
