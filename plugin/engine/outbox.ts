/**
 * Performs durable effects at least once, over restarts too. Effects of one lane run in order; lanes run side by side:
 * a lane per opening channel, and one for everything else of a factory.
 */
import type { InstanceId } from '../../blip/brands.js';
import type { DurableEffect, Event } from '../../factory-core/protocol/effects.js';
import type { Log } from '../runtime/definition.js';
import { StoreError } from '../store/errors.js';
import type { Store } from '../store/store.js';

/** What performing an effect came to. */
export type Outcome =
  | { readonly kind: 'done'; readonly event?: Event }
  /** Not now: again after a growing delay. */
  | { readonly kind: 'retry'; readonly reason: string };

export interface OutboxParts {
  readonly store: Store;
  readonly log: Log;
  readonly perform: (instanceId: InstanceId, effect: DurableEffect, signal: AbortSignal) => Promise<Outcome>;
  /** The result, to the engine: it marks the item done in the transaction that stores what follows from it. */
  readonly result: (instanceId: InstanceId, event: Event, done: number) => void;
  readonly now: () => number;
}

const FIRST_DELAY = 500;
const LONGEST_DELAY = 60_000;

interface Job {
  readonly id: number;
  readonly instanceId: InstanceId;
  readonly effect: DurableEffect;
  readonly abort: AbortController;
  attempts: number;
}

export class Outbox {
  private readonly lanes = new Map<string, Promise<void>>();
  private readonly jobs = new Map<number, Job>();
  private stopped = false;

  constructor(private readonly parts: OutboxParts) {}

  /** What was pending when the process ended. */
  resume(): void {
    for (const item of this.parts.store.pending()) this.enqueue(item.instanceId, item.id, item.effect as DurableEffect);
  }

  enqueue(instanceId: InstanceId, id: number, effect: DurableEffect): void {
    if (this.jobs.has(id)) return;
    const job: Job = { id, instanceId, effect, abort: new AbortController(), attempts: 0 };
    this.jobs.set(id, job);
    const lane = laneOf(instanceId, effect);
    // What gives an attempt's channels back must not overtake an opening that is still under way.
    const before = effect.kind === 'discard_channels' ? this.lanesOf(instanceId) : [this.lanes.get(lane) ?? Promise.resolve()];
    const after = Promise.all(before).then(() => this.run(job));
    this.lanes.set(lane, after);
    void after.finally(() => {
      if (this.lanes.get(lane) === after) this.lanes.delete(lane);
    });
  }

  cancel(ids: readonly number[]): void {
    for (const id of ids) {
      this.jobs.get(id)?.abort.abort();
      this.jobs.delete(id);
    }
  }

  /** Nothing new is begun; what is under way is left to the next start. */
  stop(): void {
    this.stopped = true;
    for (const job of this.jobs.values()) job.abort.abort();
  }

  private lanesOf(instanceId: InstanceId): Promise<void>[] {
    return [...this.lanes].filter(([lane]) => lane.startsWith(instanceId)).map(([, running]) => running);
  }

  private async run(job: Job): Promise<void> {
    const { id, instanceId, effect, abort } = job;
    const over = (): boolean => abort.signal.aborted || this.stopped;
    while (!over()) {
      this.parts.log('debug', `factory ${instanceId}: ${effect.kind}: begun`);
      const outcome = await this.attempt(job);
      // Cancelled meanwhile: whatever came of it, somebody cleans up after it.
      if (over() || !this.jobs.has(id)) return;
      const refused = outcome.kind === 'done' ? this.finish(job, outcome.event) : outcome.reason;
      if (refused === undefined) {
        this.parts.log('debug', `factory ${instanceId}: ${effect.kind}: done`);
        return;
      }
      job.attempts += 1;
      const delay = Math.min(FIRST_DELAY * 2 ** (job.attempts - 1), LONGEST_DELAY);
      this.parts.log(job.attempts > 5 ? 'unusual' : 'debug', `factory ${instanceId}: ${effect.kind}: ${refused}; again in ${delay} ms`);
      if (outcome.kind === 'retry') this.defer(id, delay);
      await pause(delay, abort.signal);
    }
  }

  /** Only counts, for whoever looks: that it cannot be stored (a full disk) must not end the retrying. */
  private defer(id: number, delay: number): void {
    try {
      this.parts.store.defer(id, this.parts.now() + delay);
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      this.parts.log('debug', `outbox ${id}: not counted: ${error.message}`);
    }
  }

  /** Undefined when it is done; otherwise why its result could not be stored: then it is performed again, later. */
  private finish({ id, instanceId }: Job, event: Event | undefined): string | undefined {
    try {
      if (event) this.parts.result(instanceId, event, id);
      else this.parts.store.markDone(id);
      this.jobs.delete(id);
      return undefined;
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      return error.message;
    }
  }

  private async attempt({ instanceId, effect, abort }: Job): Promise<Outcome> {
    try {
      return await this.parts.perform(instanceId, effect, abort.signal);
    } catch (error) {
      return { kind: 'retry', reason: error instanceof Error ? error.message : String(error) };
    }
  }
}

/** Openings of different clients go on side by side; everything else of a factory in order. */
const laneOf = (instanceId: InstanceId, effect: DurableEffect): string => {
  switch (effect.kind) {
    case 'open_start':
    case 'open_complete':
    case 'arm':
    case 'drop_purchase':
      return `${instanceId}/${String(effect.member)}`;
    case 'audit':
      return `${instanceId}/audit`;
    case 'pay_fee':
      return `${instanceId}/fee`;
    case 'retire_channel':
      return `${instanceId}/${effect.channelId}`;
    case 'await_next':
    case 'move_balance':
    case 'settle_balance':
    case 'await_owed':
      return `${instanceId}/moving`;
    case 'pay_owed':
      return `${instanceId}/owed/${String(effect.member)}`;
    case 'select_coins':
    case 'prepare_funding':
    case 'release_funding':
    case 'discard_channels':
    case 'send_funding':
      return instanceId;
  }
};

const pause = (ms: number, signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) {
      resolve();
      return;
    }
    const timer = setTimeout(done, ms);
    function done(): void {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    }
    signal.addEventListener('abort', done);
  });
