/**
 * One node: its process around the real state machine, with the semantics of `plugin/engine`: a step is stored, then its
 * effects are performed; durable ones at least once, in lanes, over restarts; volatile ones perhaps. A process may end
 * between any two of these.
 */
import { msat, type NodeId, type PaymentHash, type PubKey, type Script } from '../../../blip/brands.js';
import type { FactoryEnvelope, FactoryMessage } from '../../../blip/messages.js';
import { coordinatorStep } from '../../coordinator/machine.js';
import type { CreateRequest } from '../../coordinator/state.js';
import { begin } from '../../coordinator/machine.js';
import { watched } from '../../live/custody.js';
import type { Live } from '../../live/state.js';
import { join, memberStep } from '../../member/machine.js';
import { createSigner, type Signer } from '../../musig/index.js';
import { AbortCode } from '../../protocol/abort-codes.js';
import { isCancellable, isDurable, type DurableEffect, type Effect, type Event, type Step, type VolatileEffect } from '../../protocol/effects.js';
import { defaultPolicy, validateTerms, type TermsPolicy } from '../../validate.js';
import { REGTEST } from '../support/factory.js';
import { outpointText, type Block } from './chain.js';
import { SignRecord, spyOn } from './spy.js';
import { DiskStore, StoreFailure, type FactoryState } from './store.js';

type Of<K extends VolatileEffect['kind']> = Extract<VolatileEffect, { kind: K }>;
/** Volatile work that takes its time. */
export type Task = Of<'drain'> | Of<'freeze'>;
export interface Timer {
  readonly name: string;
  readonly seconds: number;
}
export interface Job {
  readonly id: number;
  readonly effect: DurableEffect;
  running: boolean;
  cancelled: boolean;
}

/** What is gone when the process ends. */
interface Memory {
  state: FactoryState | undefined;
  readonly signer: Signer;
  timers: Timer[];
  jobs: Job[];
  tasks: Task[];
  /** Fees that the coordinator's hook holds. */
  readonly fees: Set<PaymentHash>;
}

/** What a purchase costs here, and what a client pays for an offer. */
export const PRICING = { base: msat(1_000n), ppm: 1_000 };
export const MAX_FEE = msat(5_000n);

/** The process ends here and now. */
export class Crash extends Error {}

/** What the world does for a node. */
export interface Outside {
  readonly send: (from: Host, to: NodeId, attempt: number, message: FactoryMessage) => void;
  readonly broadcast: (from: Host, effect: Of<'broadcast'>) => void;
  readonly closeChannel: (from: Host, effect: Of<'close_channel'>) => void;
  readonly sweep: (from: Host, effect: Of<'sweep_stock'>) => void;
  readonly thaw: (from: Host, effect: Of<'thaw'>) => void;
  readonly stored: (host: Host, before: FactoryState | undefined, after: FactoryState) => void;
  readonly note: (text: string) => void;
  /** Whether this can come to its end now; it waits if not. */
  readonly isReady: (host: Host, effect: DurableEffect) => boolean;
  readonly tip: () => number;
  readonly random: (n: number) => Uint8Array;
}

export interface Identity {
  readonly name: string;
  readonly id: NodeId;
  readonly secret: Uint8Array;
  readonly key: PubKey;
  readonly payoutScript: Script;
}

const laneOf = (effect: DurableEffect): string => {
  switch (effect.kind) {
    case 'open_start':
    case 'open_complete':
    case 'arm':
    case 'drop_purchase':
      return `member ${String(effect.member)}`;
    case 'audit':
      return 'audit';
    case 'pay_fee':
      return 'fee';
    case 'retire_channel':
      return effect.channelId;
    case 'await_next':
    case 'move_balance':
    case 'settle_balance':
    case 'await_owed':
      return 'moving';
    case 'pay_owed':
      return `owed ${String(effect.member)}`;
    case 'select_coins':
    case 'prepare_funding':
    case 'release_funding':
    case 'discard_channels':
    case 'send_funding':
      return 'factory';
  }
};

export class Host {
  readonly disk = new DiskStore();
  readonly record: SignRecord;
  /** As a node's own operator sees it; undefined: no invitation has been accepted. */
  policy: TermsPolicy = defaultPolicy(REGTEST);
  declines: string | undefined;
  /** So many of the next writes fail. */
  failing = 0;
  /** The process ends after so many points from here. */
  fuse: number | undefined;
  height: number;
  /** The blocks this node has seen, the last ones. */
  readonly seen: Block[] = [];
  private memory: Memory | undefined;
  /** How many processes there have been. */
  starts = 0;
  private readonly watching = new WeakMap<Live['branches'], ReturnType<typeof watched>>();

  constructor(
    readonly identity: Identity,
    readonly coordinator: NodeId,
    private readonly outside: Outside,
  ) {
    this.record = new SignRecord(identity.name);
    this.height = outside.tip();
    this.memory = this.fresh(undefined);
  }

  private fresh(state: FactoryState | undefined): Memory {
    this.starts += 1;
    const signer = spyOn(createSigner(this.identity.secret, this.outside.random), this.record);
    return { state, signer, timers: [], jobs: [], tasks: [], fees: new Set() };
  }

  get name(): string {
    return this.identity.name;
  }
  get id(): NodeId {
    return this.identity.id;
  }
  get isCoordinator(): boolean {
    return this.id === this.coordinator;
  }
  get up(): boolean {
    return this.memory !== undefined;
  }
  /** As the process knows it, or, while there is none, the disk. */
  get state(): FactoryState | undefined {
    return this.memory ? this.memory.state : this.disk.stored;
  }
  get live(): Live | undefined {
    const state = this.state;
    return state?.phase === 'live' ? state.live : undefined;
  }
  /** What is followed on chain (`liveOf` of the engine). */
  private get followed(): Live | undefined {
    const state = this.state;
    return state?.phase === 'arming' ? state.live : this.live;
  }
  get timers(): readonly Timer[] {
    return this.memory?.timers ?? [];
  }
  /** Told of once per process, as a hook is. */
  get heldFees(): Set<PaymentHash> {
    return this.memory?.fees ?? new Set();
  }
  get tasks(): readonly Task[] {
    return this.memory?.tasks ?? [];
  }

  /** A place where a process may end. */
  point(): void {
    if (this.fuse === undefined) return;
    this.fuse -= 1;
    if (this.fuse >= 0) return;
    this.fuse = undefined;
    throw new Crash(this.name);
  }

  crash(): void {
    this.memory = undefined;
    this.fuse = undefined;
  }
  /** A new process: `restarted`, then what is left of the outbox. A start that cannot be stored is none. */
  restart(): void {
    const { state } = this.disk.load();
    this.memory = this.fresh(state);
    this.height = this.outside.tip();
    try {
      this.dispatch({ type: 'restarted' });
    } catch (error) {
      if (!(error instanceof StoreFailure)) throw error;
      this.memory = undefined;
      return;
    }
    const known = new Set(this.memory.jobs.map((j) => j.id));
    const rest = this.disk.load().items.filter((i) => !known.has(i.id));
    this.memory.jobs.unshift(...rest.map(({ id, effect }) => ({ id, effect, running: false, cancelled: false })));
  }

  create(request: CreateRequest): void {
    const { state, effects } = begin(request);
    try {
      this.commit({ state, effects });
    } catch (error) {
      if (!(error instanceof StoreFailure)) throw error;
      this.outside.note(`${this.name}: a creation was not stored`);
    }
  }

  /**
   * @param stored what is stored in the same step
   * @throws Crash, StoreFailure
   */
  dispatch(event: Event, done?: number, stored: () => void = () => undefined): void {
    const before = this.memory?.state;
    const next = before && this.advance(before, event);
    if (!next || (next.state === before && next.effects.length === 0 && next.signOnce === undefined && done === undefined)) {
      stored();
      return;
    }
    this.commit(next, done, stored);
  }
  /** The same for what cannot be stored and is not tried again: a message, a command. */
  tell(event: Event): void {
    try {
      this.dispatch(event);
    } catch (error) {
      if (!(error instanceof StoreFailure)) throw error;
      this.outside.note(`${this.name}: ${event.type} not stored (${error.code})`);
    }
  }

  private advance(state: FactoryState, event: Event): Step<FactoryState> {
    const env = { signer: this.running().signer, height: this.height, bounds: this.policy, pricing: PRICING, maxPurchaseFee: MAX_FEE, random: this.outside.random };
    return state.role === 'coordinator' ? coordinatorStep(state, event, env) : memberStep(state, event, env);
  }
  private running(): Memory {
    if (!this.memory) throw new Error(`${this.name} is down`);
    return this.memory;
  }

  private commit(next: Step<FactoryState>, done?: number, stored: () => void = () => undefined): void {
    const memory = this.running();
    this.point();
    const durable = next.effects.filter(isDurable);
    const cancelled = next.cancelPending === true ? this.disk.pending().filter((i) => i.id !== done && isCancellable(i.effect)).map((i) => i.id) : [];
    if (this.failing > 0) {
      this.failing -= 1;
      throw new StoreFailure('disk');
    }
    const before = memory.state;
    const ids = this.disk.apply({ state: next.state, outbox: durable, done, cancelled, signOnce: next.signOnce ?? [] });
    stored();
    memory.state = next.state;
    for (const id of cancelled) this.cancel(id);
    durable.forEach((effect, i) => memory.jobs.push({ id: ids[i] ?? 0, effect, running: false, cancelled: false }));
    this.outside.stored(this, before, next.state);
    for (const effect of next.effects) {
      if (isDurable(effect)) continue;
      this.point();
      this.performVolatile(effect);
    }
  }
  private cancel(id: number): void {
    const memory = this.running();
    const job = memory.jobs.find((j) => j.id === id);
    if (job?.running) job.cancelled = true;
    else memory.jobs = memory.jobs.filter((j) => j.id !== id);
  }

  private performVolatile(effect: Exclude<Effect, DurableEffect>): void {
    const memory = this.running();
    switch (effect.kind) {
      case 'send':
        this.outside.send(this, effect.to, effect.attempt, effect.message);
        return;
      case 'timer':
        memory.timers.push({ name: effect.name, seconds: effect.seconds });
        return;
      case 'broadcast':
        this.outside.broadcast(this, effect);
        return;
      case 'close_channel':
        this.outside.closeChannel(this, effect);
        return;
      case 'thaw':
        this.outside.thaw(this, effect);
        return;
      case 'drain':
      case 'freeze':
        memory.tasks.push(effect);
        return;
      case 'sweep_stock':
        this.outside.sweep(this, effect);
        return;
      case 'log':
        this.outside.note(`${this.name} logs: ${effect.text}`);
        return;
      case 'progress':
        return;
    }
  }

  receive(from: NodeId, envelope: FactoryEnvelope): void {
    const { header, message } = envelope;
    const memory = this.running();
    if (!memory.state) {
      if (message.type === 'invite' && !this.isCoordinator) this.invited(from, envelope);
      else if (message.type !== 'abort' && message.type !== 'decline') {
        this.outside.send(this, from, header.attempt, { type: 'abort', code: AbortCode.UnknownFactory, reason: 'this node knows no such factory' });
      }
      return;
    }
    const party = memory.state.role === 'member' ? memory.state.coordinator === from : memory.state.request.clients.some((c) => c.nodeId === from);
    if (party) this.tell({ type: 'message', from, attempt: header.attempt, message });
  }
  private invited(from: NodeId, { header, message }: FactoryEnvelope): void {
    if (message.type !== 'invite') return;
    const problem = validateTerms(message, this.policy);
    const reason = this.declines ?? (problem && `${problem.field}: ${problem.reason}`);
    if (reason !== undefined) {
      this.outside.send(this, from, header.attempt, { type: 'decline', code: AbortCode.NotAccepted, reason });
      return;
    }
    const { key, payoutScript } = this.identity;
    const first = join({ ...header, coordinator: from, invite: message, key, payoutScript, height: this.height });
    try {
      this.commit(first);
    } catch (error) {
      if (!(error instanceof StoreFailure)) throw error;
      this.outside.note(`${this.name}: the invitation was not stored`);
    }
  }

  /** Jobs that may begin now. A discarding of channels waits for everything before it. */
  startable(): readonly Job[] {
    const { jobs } = this.memory ?? { jobs: [] };
    return jobs.filter((job, at) => {
      if (job.running) return false;
      const before = jobs.slice(0, at);
      return job.effect.kind === 'discard_channels' ? before.length === 0 : before.every((b) => laneOf(b.effect) !== laneOf(job.effect));
    });
  }
  get runningJobs(): readonly Job[] {
    return (this.memory?.jobs ?? []).filter((j) => j.running && this.outside.isReady(this, j.effect));
  }
  /** @param perform does it, and says what came of it */
  finish(job: Job, perform: (effect: DurableEffect) => Event | undefined): void {
    const memory = this.running();
    const event = perform(job.effect);
    this.point();
    const remove = (): void => {
      memory.jobs = memory.jobs.filter((j) => j !== job);
    };
    if (job.cancelled) {
      remove();
      return;
    }
    try {
      if (event) this.dispatch(event, job.id);
      else this.disk.markDone(job.id);
      remove();
    } catch (error) {
      if (!(error instanceof StoreFailure)) throw error;
      // Performed again, later.
      job.running = false;
    }
  }

  fire(timer: Timer): void {
    const memory = this.running();
    try {
      this.dispatch({ type: 'timeout', name: timer.name });
    } catch (error) {
      if (!(error instanceof StoreFailure)) throw error;
      return; // again later
    }
    memory.timers = memory.timers.filter((t) => t !== timer);
  }
  endTask(task: Task, event: Event | undefined): void {
    const memory = this.running();
    memory.tasks = memory.tasks.filter((t) => t !== task);
    if (event) this.tell(event);
  }

  /** The next step along the chain: back from a block that is no more, or to the next one. False when there is none. */
  follow(best: (height: number) => Block | undefined, from: number): boolean {
    const top = this.seen.at(-1);
    if (top && best(top.height) !== top) {
      this.height = top.height - 1;
      this.dispatch({ type: 'block_disconnected', height: top.height }, undefined, () => this.seen.pop());
      return true;
    }
    const next = best((top?.height ?? from) + 1);
    if (!next) return false;
    const live = this.followed;
    const mine = live && this.watch(live);
    const outpoints = new Set(mine?.outpoints.map(outpointText));
    const txids = new Set(mine?.txids);
    const event: Event = {
      type: 'block_connected',
      height: next.height,
      spends: next.txs.flatMap((tx) => tx.inputs.filter((o) => outpoints.has(outpointText(o))).map((outpoint) => ({ outpoint, by: tx.txid }))),
      confirmed: next.txs.filter((tx) => txids.has(tx.txid)).map(({ txid, inputs, outputs }) => ({ txid, inputs, outputs })),
    };
    this.height = next.height;
    this.dispatch(event, undefined, () => this.seen.push(next));
    return true;
  }
  private watch(live: Live): ReturnType<typeof watched> {
    const known = this.watching.get(live.branches) ?? watched(live);
    this.watching.set(live.branches, known);
    return known;
  }
}
