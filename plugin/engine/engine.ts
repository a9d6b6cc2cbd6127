/**
 * The imperative shell around the state machines: stores what an event changes in one transaction, then performs what it
 * asks for (architecture 1). `dispatch` is synchronous, so events of one node never interleave.
 */
import type { InstanceId, NodeId } from '../../blip/brands.js';
import { isCancellable, isDurable, type DurableEffect, type Effect, type Event, type VolatileEffect } from '../../factory-core/protocol/effects.js';
import type { CoordinatorLive, CoordinatorState } from '../../factory-core/coordinator/state.js';
import type { Signer } from '../../factory-core/musig/index.js';
import type { Log } from '../runtime/definition.js';
import { StoreError } from '../store/errors.js';
import type { RequestRecord, StateWrite, Store, StoreTx } from '../store/store.js';
import { advance, instanceOf, liveOf, type Factory, type FactoryState, type Policy } from './factory.js';
import { storedClose, storedPurchases, storedTransactions, storedTurnovers } from './transactions.js';

/** Something of interest to commands that wait, status and notifications. */
export interface Change {
  readonly instanceId: InstanceId;
  readonly before: FactoryState | undefined;
  readonly after: FactoryState;
}
export type Progress = Extract<Effect, { kind: 'progress' }>;

export interface EngineParts {
  readonly store: Store;
  readonly log: Log;
  readonly policy: Policy;
  /** Performs effects; set up after the engine, which it needs to give results back. */
  readonly performVolatile: (factory: Factory, effect: Exclude<VolatileEffect, { kind: 'progress' | 'log' }>) => void;
  readonly enqueue: (instanceId: InstanceId, id: number, effect: DurableEffect) => void;
  /** Effects that are not wanted any more; one that is being performed is ended without a result. */
  readonly cancel: (ids: readonly number[]) => void;
}

export class Engine {
  private readonly factories = new Map<InstanceId, Factory>();
  private readonly listeners = new Set<(change: Change) => void>();
  private readonly progress = new Set<(instanceId: InstanceId, progress: Progress) => void>();
  private height = 0;

  constructor(private readonly parts: EngineParts) {}

  /** The chain's height as this node knows it. */
  setHeight(height: number): void {
    this.height = height;
  }
  currentHeight(): number {
    return this.height;
  }

  /** A factory from the store, at start. */
  adopt(factory: Factory): void {
    this.factories.set(factory.instanceId, factory);
  }

  get(instanceId: InstanceId): Factory | undefined {
    return this.factories.get(instanceId);
  }
  all(): readonly Factory[] {
    return [...this.factories.values()];
  }

  onChange(listener: (change: Change) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }
  onProgress(listener: (instanceId: InstanceId, progress: Progress) => void): () => void {
    this.progress.add(listener);
    return () => this.progress.delete(listener);
  }

  /** A new factory: its first state, with what that asks for. */
  begin(state: FactoryState, effects: readonly Effect[], signer: Signer, request?: RequestRecord): void {
    const factory: Factory = { instanceId: instanceOf(state), state, revision: 0, signer };
    this.commit(factory, state, effects, { event: 'begin' }, request ? { request } : {});
  }

  /**
   * The same for an event that some durable effect's result is: `done` is that effect. What would sign twice for one output
   * (architecture 12.6: a peer can ask for that) ends the attempt instead.
   * @throws StoreError for anything else that cannot be stored
   */
  dispatch(instanceId: InstanceId, event: Event, done?: number): void {
    try {
      this.advance(instanceId, event, done);
    } catch (error) {
      if (!(error instanceof StoreError) || error.code !== 'sign_once') throw error;
      this.advance(instanceId, { type: 'abort_requested', reason: 'what was asked for signs an output once more, for something else' });
    }
  }

  private advance(instanceId: InstanceId, event: Event, done?: number): void {
    const factory = this.factories.get(instanceId);
    if (!factory) return;
    const next = advance(factory, event, this.height, this.parts.policy);
    const unchanged = next.state === factory.state && next.effects.length === 0 && next.signOnce === undefined;
    if (unchanged && done === undefined) return;
    const cancelled = next.cancelPending === true ? this.cancellable(instanceId).filter((id) => id !== done) : [];
    this.commit(factory, next.state, next.effects, { event: event.type }, {
      ...(done === undefined ? {} : { done }),
      ...(next.signOnce ? { signOnce: next.signOnce } : {}),
      ...(cancelled.length > 0 ? { cancelled } : {}),
    });
  }

  /** To every factory. */
  broadcast(event: Event): void {
    for (const { instanceId } of this.all()) this.dispatch(instanceId, event);
  }
  peerConnected(peer: NodeId): void {
    this.broadcast({ type: 'peer_connected', peer });
  }

  /**
   * A block concerns several factories and the chain position: one transaction for all.
   * @throws StoreError when it cannot be stored; nothing has happened then
   */
  onBlock(events: ReadonlyMap<InstanceId, Event>, chain: NonNullable<StoreTx['chain']>): void {
    const steps = [...events].flatMap(([instanceId, event]) => {
      const factory = this.factories.get(instanceId);
      return factory ? [{ factory, next: advance(factory, event, this.height, this.parts.policy) }] : [];
    });
    const changed = steps.filter(({ factory, next }) => next.state !== factory.state);
    const durable = steps.flatMap(({ factory, next }) => outboxItems(factory.instanceId, next.effects));
    const cancelled = steps.flatMap(({ factory, next }) => (next.cancelPending === true ? this.cancellable(factory.instanceId) : []));
    const applied = this.parts.store.apply({
      journal: { event: chain.type },
      states: changed.map(({ factory, next }) => write(factory, next.state)),
      outbox: durable.map(({ item }) => item),
      cancelled,
      chain,
    });
    this.parts.cancel(cancelled);
    for (const { factory, next } of changed) this.replace(factory, next.state);
    applied.outbox.forEach((id, i) => {
      const entry = durable[i];
      if (entry) this.parts.enqueue(entry.item.instanceId, id, entry.effect);
    });
    for (const { factory, next } of steps) this.performAll(factory.instanceId, next.effects);
  }

  private cancellable(instanceId: InstanceId): readonly number[] {
    const wanted = this.parts.store.pending().filter((item) => item.instanceId === instanceId && isCancellable(item.effect as DurableEffect));
    return wanted.map((item) => item.id);
  }

  /** Stores, then performs. Nothing leaves this node before what it depends on is durable (architecture 12.8). */
  private commit(
    factory: Factory,
    state: FactoryState,
    effects: readonly Effect[],
    journal: { readonly event: string },
    extra: Pick<StoreTx, 'done' | 'signOnce' | 'request' | 'cancelled'>,
  ): void {
    const { instanceId } = factory;
    const durable = outboxItems(instanceId, effects);
    try {
      const applied = this.parts.store.apply({
        journal: { ...journal, instanceId, detail: { phase: state.phase } },
        states: state === factory.state && factory.revision > 0 ? [] : [write(factory, state)],
        outbox: durable.map(({ item }) => item),
        transactions: newTransactions(instanceId, factory.revision === 0 ? undefined : factory.state, state),
        ...extra,
      });
      this.parts.cancel(extra.cancelled ?? []);
      this.replace(factory, state);
      applied.outbox.forEach((id, i) => {
        const entry = durable[i];
        if (entry) this.parts.enqueue(instanceId, id, entry.effect);
      });
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      // Fail closed: the old state stands, nothing leaves (architecture 12.6, 12.8).
      this.parts.log(error.code === 'sign_once' ? 'unusual' : 'broken', `factory ${instanceId}: ${journal.event} was not stored, and nothing was done: ${error.message}`);
      throw error;
    }
    this.performAll(instanceId, effects);
  }

  private replace(factory: Factory, state: FactoryState): void {
    const known = this.factories.get(factory.instanceId);
    if (known && state === known.state) return;
    this.factories.set(factory.instanceId, { ...factory, state, revision: factory.revision + 1 });
    const change = { instanceId: factory.instanceId, before: known?.state, after: state };
    for (const listener of this.listeners) listener(change);
  }

  private performAll(instanceId: InstanceId, effects: readonly Effect[]): void {
    const factory = this.factories.get(instanceId);
    if (!factory) return;
    for (const effect of effects) {
      if (effect.kind === 'progress') for (const listener of this.progress) listener(instanceId, effect);
      else if (effect.kind === 'log') this.parts.log(effect.level, `factory ${instanceId}: ${effect.text}`);
      else if (!isDurable(effect)) this.parts.performVolatile(factory, effect);
    }
  }
}

const write = (factory: Factory, state: FactoryState): StateWrite => ({
  instanceId: factory.instanceId,
  role: state.role,
  phase: state.phase,
  state,
  revision: factory.revision,
});

const outboxItems = (instanceId: InstanceId, effects: readonly Effect[]) =>
  effects.filter(isDurable).map((effect) => ({ effect, item: { instanceId, kind: effect.kind, effect } }));

const newTransactions = (instanceId: InstanceId, before: FactoryState | undefined, after: FactoryState) => {
  const live = liveOf(after);
  if (!live) return [];
  const was = before && liveOf(before);
  if (!was) return storedTransactions(instanceId, live);
  return [
    ...(was.branches === live.branches ? [] : storedPurchases(instanceId, was, live)),
    ...(was.close?.signature === live.close?.signature ? [] : storedClose(instanceId, live)),
    ...(was.turnovers === live.turnovers ? [] : storedTurnovers(instanceId, was, live)),
  ];
};

/** A factory that this node coordinates. */
export const coordinatorOf = (engine: Pick<Engine, 'get'>, id: InstanceId): CoordinatorState | undefined => {
  const state = engine.get(id)?.state;
  return state?.role === 'coordinator' ? state : undefined;
};
/** One that has been set up. */
export const liveCoordinatorOf = (engine: Pick<Engine, 'get'>, id: InstanceId): CoordinatorLive | undefined => {
  const state = coordinatorOf(engine, id);
  return state?.phase === 'live' ? state : undefined;
};
