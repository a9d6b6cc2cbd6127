/**
 * Keeps the ladder (architecture 8): looks at every factory of this node with every block, begins a rotation when one is due, and says what
 * comes next. What was tried is in the factories' states; the decision itself is pure (factory-core/coordinator/schedule.ts).
 */
import type { InstanceId, NodeId } from '../../blip/brands.js';
import { scheduled, type Around, type Decision } from '../../factory-core/coordinator/schedule.js';
import type { CoordinatorLive } from '../../factory-core/coordinator/state.js';
import type { Log } from '../runtime/definition.js';
import { coordinatorOf, liveCoordinatorOf, type Engine } from './engine.js';
import type { Events } from './events.js';

/** What came of an attempt to begin a rotation. */
export type Begun =
  | { readonly kind: 'begun' }
  /** Something else must end first, or the plugin stops: no attempt was made. */
  | { readonly kind: 'busy'; readonly reason: string }
  | { readonly kind: 'failed'; readonly reason: string };

export interface SchedulerParts {
  readonly engine: Pick<Engine, 'all' | 'get' | 'dispatch'>;
  readonly events: Pick<Events, 'emit'>;
  readonly log: Log;
  /** Option `factory-auto-rotate`. */
  readonly auto: () => boolean;
  /** Why nothing may be signed, if so. */
  readonly paused: () => string | undefined;
  /** Peers that are connected and speak our protocol. */
  readonly isConnected: (node: NodeId) => boolean;
  /** Who waits for a next factory. */
  readonly waiting: () => readonly { readonly nodeId: NodeId }[];
  /** As `factory-rotate` does, with what it proposes; ends when the new factory is there, or is not to be. */
  readonly rotate: (id: InstanceId) => Promise<Begun>;
}

export class Scheduler {
  /** Rotations that this process has begun, and that have not got a state yet. */
  private readonly beginning = new Set<InstanceId>();
  /** What was said last. */
  private readonly said = new Map<InstanceId, string>();
  private stopped = false;

  constructor(private readonly parts: SchedulerParts) {}

  stop(): void {
    this.stopped = true;
  }

  /** For the status, too. */
  decide(state: CoordinatorLive): Decision {
    const { engine, isConnected, waiting } = this.parts;
    const members = state.live.branches.map((b) => b.peer);
    const around: Around = {
      connected: new Set(members.filter(isConnected)),
      newcomers: waiting().filter((w) => isConnected(w.nodeId) && !members.includes(w.nodeId)).length,
      find: (id) => coordinatorOf(engine, id),
    };
    return scheduled(state, around);
  }

  /** Called after every block. */
  look(): void {
    for (const { instanceId } of this.parts.engine.all()) {
      const state = this.live(instanceId);
      if (!state) continue;
      const decision = this.decide(state);
      this.say(instanceId, state, decision);
      if (decision.step === 'rotate') this.begin(instanceId);
    }
  }

  private live(id: InstanceId): CoordinatorLive | undefined {
    return liveCoordinatorOf(this.parts.engine, id);
  }

  private say(id: InstanceId, state: CoordinatorLive, { step, why, until }: Decision): void {
    const before = this.said.get(id);
    const now = `${step}: ${why}`;
    this.said.set(id, now);
    // What was so at the start is no news, unless something is to be done.
    if (before === now || (before === undefined && (step === 'idle' || step === 'done'))) return;
    const then = until === undefined ? '' : `; from block ${String(until)} on otherwise`;
    this.parts.events.emit({ event: `schedule_${step}`, text: `${why}${then}`, instanceId: id, height: state.live.chain.tip });
  }

  private begin(id: InstanceId): void {
    const { auto, paused, rotate, log } = this.parts;
    // One at a time: the wallet's coins are for one ceremony (architecture 12.17).
    if (!auto() || this.stopped || paused() !== undefined || this.beginning.size > 0) return;
    this.beginning.add(id);
    const before = this.live(id)?.rotation?.to;
    void rotate(id)
      .then((outcome) => {
        if (outcome.kind === 'begun' || this.stopped) return;
        if (outcome.kind === 'busy') {
          log('info', `factory ${id}: no rotation with this block: ${outcome.reason}`);
          return;
        }
        // One that has got as far as a factory of its own ends with that, and is counted then.
        if (this.live(id)?.rotation?.to === before) this.parts.engine.dispatch(id, { type: 'rotation_postponed', reason: outcome.reason });
      })
      .catch((error: unknown) => {
        log('unusual', `factory ${id}: rotation: ${error instanceof Error ? error.message : String(error)}`);
      })
      .finally(() => this.beginning.delete(id));
  }
}
