/**
 * Sees to it that what was handed over is taken back once it is on chain (architecture 8): asked for at the feerate of the day, after
 * every block, as long as something is left that nobody has signed for. What is signed is published by the plan.
 */
import type { InstanceId } from '../../blip/brands.js';
import type { CoordinatorLive } from '../../factory-core/coordinator/state.js';
import { unsignedTurnovers } from '../../factory-core/live/turnover.js';
import type { Lightning } from '../lightning/lightning.js';
import { liveCoordinatorOf, type Engine } from './engine.js';

export interface TurnerParts {
  readonly engine: Pick<Engine, 'all' | 'get' | 'dispatch'>;
  readonly lightning: Pick<Lightning, 'feerates'>;
}

export const turnOver = async ({ engine, lightning }: TurnerParts): Promise<void> => {
  const due = (id: InstanceId, feerate: number): boolean => {
    const state = liveCoordinatorOf(engine, id);
    return state !== undefined && isDue(state, feerate);
  };
  // Is there anything to be had at all?
  const wanted = engine.all().filter(({ instanceId }) => due(instanceId, 0));
  if (wanted.length === 0) return;
  const { normal, floor } = await lightning.feerates();
  const feerate = Math.max(normal, floor);
  // As it is now: lightningd took its time.
  for (const { instanceId } of wanted) if (due(instanceId, feerate)) engine.dispatch(instanceId, { type: 'turnover_requested', feerate });
};

const isDue = ({ live, request }: CoordinatorLive, feerate: number): boolean =>
  live.branches.some((b) => b.heldKey !== undefined) && unsignedTurnovers(live, request.payoutScript, feerate).length > 0;
