/**
 * Drives rotations: tells an old factory what has become of the new one, and closes it when nobody is left in it. Everything
 * it knows is in the two factories' states, so it looks again after every change, block and start, and forgets nothing.
 */
import type { InstanceId } from '../../blip/brands.js';
import { isEmptied, nextForRotation, shouldClose } from '../../factory-core/coordinator/rotating.js';
import type { CoordinatorLive } from '../../factory-core/coordinator/state.js';
import { closeDelay, type CloseAttempts } from '../../factory-core/live/deadlines.js';
import type { Lightning } from '../lightning/lightning.js';
import type { Log } from '../runtime/definition.js';
import { coordinatorOf, liveCoordinatorOf, type Engine } from './engine.js';
import { awayFrom } from './watchdog.js';

export interface RotatorParts {
  readonly engine: Engine;
  readonly lightning: Pick<Lightning, 'feerates' | 'peers'>;
  readonly log: Log;
}

export class Rotator {
  private looking: Promise<void> | undefined;
  private again = false;
  /** Closes that were begun: one per block, and later and later where members who leave take part. */
  private readonly tried = new Map<InstanceId, CloseAttempts>();
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
    return liveCoordinatorOf(this.parts.engine, id);
  }

  private advance(id: InstanceId): void {
    const { engine } = this.parts;
    const old = this.live(id);
    const event = old && nextForRotation(old, (other) => coordinatorOf(engine, other));
    if (event) engine.dispatch(id, event);
  }

  private async close(id: InstanceId): Promise<void> {
    const { engine, lightning } = this.parts;
    const due = (): boolean => {
      const state = this.live(id);
      return state !== undefined && shouldClose(state);
    };
    const { made, last = -1 } = this.tried.get(id) ?? { made: 0 };
    const state = this.live(id);
    if (!state || !due()) return;
    const wait = isEmptied(state) ? 1 : Math.max(1, closeDelay(made));
    if (engine.currentHeight() < last + wait || !(await this.allThere(state))) return;
    this.tried.set(id, { made: made + 1, last: engine.currentHeight() });
    const { normal, floor } = await lightning.feerates();
    if (due()) engine.dispatch(id, { type: 'close_requested', feerate: Math.max(normal, floor) });
  }

  /** Those whose signature it takes. */
  private async allThere(state: CoordinatorLive): Promise<boolean> {
    if (isEmptied(state)) return true;
    return awayFrom(state, new Set((await this.parts.lightning.peers()).filter((p) => p.connected).map((p) => p.id))).length === 0;
  }
}
