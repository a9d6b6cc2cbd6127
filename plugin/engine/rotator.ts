/**
 * Drives rotations: tells an old factory what has become of the new one, and closes it when nobody is left in it. Everything
 * it knows is in the two factories' states, so it looks again after every change, block and start, and forgets nothing.
 */
import type { InstanceId } from '../../blip/brands.js';
import { nextForRotation, shouldClose } from '../../factory-core/coordinator/rotating.js';
import type { CoordinatorLive } from '../../factory-core/coordinator/state.js';
import type { Lightning } from '../lightning/lightning.js';
import type { Log } from '../runtime/definition.js';
import type { Engine } from './engine.js';

export interface RotatorParts {
  readonly engine: Engine;
  readonly lightning: Pick<Lightning, 'feerates'>;
  readonly log: Log;
}

export class Rotator {
  private looking: Promise<void> | undefined;
  private again = false;
  /** Height at which a close was last begun: one try per block. */
  private readonly tried = new Map<InstanceId, number>();
  private stopped = false;

  constructor(private readonly parts: RotatorParts) {}

  /** There may be something to do. Cheap when there is not. */
  look(): void {
    if (this.stopped) return;
    if (this.looking) {
      this.again = true;
      return;
    }
    this.looking = this.run()
      .catch((error: unknown) => {
        this.parts.log('unusual', `rotation: ${error instanceof Error ? error.message : String(error)}`);
      })
      .finally(() => {
        this.looking = undefined;
        if (!this.again) return;
        this.again = false;
        this.look();
      });
  }
  stop(): void {
    this.stopped = true;
  }

  private async run(): Promise<void> {
    // Not within the change that caused it.
    await Promise.resolve();
    for (const { instanceId } of this.parts.engine.all()) {
      this.advance(instanceId);
      await this.close(instanceId);
    }
  }

  private live(id: InstanceId): CoordinatorLive | undefined {
    const state = this.parts.engine.get(id)?.state;
    return state?.role === 'coordinator' && state.phase === 'live' && state.rotation ? state : undefined;
  }

  private advance(id: InstanceId): void {
    const { engine } = this.parts;
    const old = this.live(id);
    const event = old && nextForRotation(old, (other) => coordinated(engine, other));
    if (event) engine.dispatch(id, event);
  }

  private async close(id: InstanceId): Promise<void> {
    const { engine, lightning } = this.parts;
    const due = (): boolean => {
      const state = this.live(id);
      return state !== undefined && shouldClose(state);
    };
    if (!due() || this.tried.get(id) === engine.currentHeight()) return;
    this.tried.set(id, engine.currentHeight());
    const { normal, floor } = await lightning.feerates();
    if (due()) engine.dispatch(id, { type: 'close_requested', feerate: Math.max(normal, floor) });
  }
}

const coordinated = (engine: Engine, id: InstanceId) => {
  const state = engine.get(id)?.state;
  return state?.role === 'coordinator' ? state : undefined;
};
