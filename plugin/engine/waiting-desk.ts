/**
 * The waiting room, kept (factory-core/waiting.ts decides): of this node as an LSP, who waits; as a client, what it has asked its
 * LSPs for. Both are on disk before anybody is told (architecture 12.8).
 */
import type { NodeId, Sat } from '../../blip/brands.js';
import type { FactoryEnvelope } from '../../blip/messages.js';
import { isWaitingMessage, NO_INSTANCE, type WaitingMessage } from '../../blip/waiting-messages.js';
import { AbortCode } from '../../factory-core/protocol/abort-codes.js';
import * as rules from '../../factory-core/waiting.js';
import type { WaitingPolicy, WaitingRoom, Wish, Wishes } from '../../factory-core/waiting.js';
import { decodeValue, encodeValue } from '../store/state-json.js';
import type { Store } from '../store/store.js';
import type { Change, Engine } from './engine.js';
import type { Events } from './events.js';
import type { FactoryState } from './factory.js';
import type { Gate } from './gate.js';
import type { Messenger } from './messenger.js';

export interface WaitingParts {
  readonly store: Pick<Store, 'apply' | 'meta'>;
  readonly engine: Pick<Engine, 'all' | 'currentHeight' | 'onChange'>;
  readonly messenger: Pick<Messenger, 'send'>;
  readonly gate: Pick<Gate, 'answers' | 'begins' | 'ignored'>;
  readonly events: Pick<Events, 'emit'>;
  /** The operator may change it. */
  readonly policy: () => WaitingPolicy;
}

const ROOM = 'waiting_room';
const WISHES = 'wishes';

export class WaitingDesk {
  private room: WaitingRoom;
  private own: Wishes;
  private readonly listeners = new Set<() => void>();

  constructor(private readonly parts: WaitingParts) {
    // The store gives back what this class gave it.
    const stored = (key: string): unknown => decodeValue(parts.store.meta(key) ?? '[]', key);
    this.room = stored(ROOM) as WaitingRoom;
    this.own = stored(WISHES) as Wishes;
  }

  /** Once the factories of the store are there: what came of a wish just before the end is not waited for. */
  start(): void {
    for (const { state } of this.parts.engine.all()) this.settle(state, (since) => startOf(state) >= since);
    this.parts.engine.onChange((change) => {
      this.changed(change);
    });
  }

  /** Who waits here, in the order in which they came; of those the operator still lets wait. */
  waiting(): WaitingRoom {
    return this.room.filter((w) => this.parts.policy().allows(w.nodeId));
  }
  wishes(): Wishes {
    return this.own;
  }
  waitsHere(node: NodeId): boolean {
    return this.room.some((w) => w.nodeId === node);
  }
  /** A wish of this node. It is said as soon as the other is there. */
  ask(coordinator: NodeId, capacity: Sat, stock: Sat): Wish {
    this.saveOwn(rules.wished(this.own, coordinator, capacity, stock, this.parts.engine.currentHeight()), 'wish');
    this.say(coordinator);
    return this.wish(coordinator);
  }
  withdraw(coordinator: NodeId): void {
    this.saveOwn(rules.unwished(this.own, coordinator), 'wish_withdrawn');
    this.say(coordinator);
  }
  /** Called after every change of this node's own wishes. */
  onChange(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Its `supported_factory_protocols` have come. */
  connected(peer: NodeId): void {
    this.say(peer);
    const there = this.room.find((w) => w.nodeId === peer);
    if (!there) return;
    if (this.parts.policy().allows(peer)) {
      this.saveRoom(rules.seen(this.room, peer, this.parts.engine.currentHeight()), 'waiting_seen', peer);
      return;
    }
    this.saveRoom(rules.without(this.room, peer), 'waiting_over', peer);
    this.send(peer, there.wish, rules.NOT_ALLOWED);
  }

  /** @throws StoreError when it cannot be stored; nothing has happened then */
  receive(from: NodeId, { header, message }: FactoryEnvelope): void {
    if (!isWaitingMessage(message) || header.instanceId !== NO_INSTANCE) {
      this.parts.gate.ignored(from);
      return;
    }
    const wish = header.attempt;
    if (message.type === 'waiting_accepted' || message.type === 'waiting_over') {
      this.saveOwn(rules.answered(this.own, from, wish, message), message.type);
      return;
    }
    const { policy, engine, gate } = this.parts;
    const { next, answer } =
      message.type === 'waiting_join' ? rules.enter(this.room, from, wish, message, policy(), engine.currentHeight()) : rules.withdraw(this.room, from);
    if (next === this.room) {
      // Nothing that anybody here waits for.
      if (answer.type === 'waiting_accepted' || gate.answers(from)) this.send(from, wish, answer);
      return;
    }
    if (!gate.begins(from)) {
      if (gate.answers(from)) this.send(from, wish, { type: 'waiting_over', code: AbortCode.Busy, reason: 'too many wishes' });
      return;
    }
    this.saveRoom(next, message.type, from);
    this.send(from, wish, answer);
    const waits = this.room.find((w) => w.nodeId === from);
    const text = waits ? `${from} waits for a channel of ${waits.capacity} sat, and ${waits.stock} sat of stock` : `${from} waits no longer`;
    this.parts.events.emit({ event: waits ? 'waiting' : 'waiting_over', text, node: from, height: engine.currentHeight() });
  }

  private changed({ before, after }: Change): void {
    if (!isThere(after) || (before && isThere(before))) return;
    this.settle(after, () => true);
  }

  /** What this factory gives to those who waited for it. */
  private settle(state: FactoryState, forThis: (since: number) => boolean): void {
    if (!isThere(state)) return;
    if (state.role === 'member') {
      const wish = rules.wishOf(this.own, state.coordinator);
      if (wish && forThis(wish.since)) this.saveOwn(rules.fulfilled(this.own, state.coordinator), 'wish_fulfilled');
      return;
    }
    const members = new Set(state.members.map((m) => m.nodeId));
    const served = this.room.filter((w) => members.has(w.nodeId) && forThis(w.since)).map((w) => w.nodeId);
    this.saveRoom(rules.without(this.room, ...served), 'waiting_served');
  }

  private wish(coordinator: NodeId): Wish {
    const wish = rules.wishOf(this.own, coordinator);
    if (!wish) throw new TypeError('a wish that was just made is not there');
    return wish;
  }
  private say(coordinator: NodeId): void {
    const due = rules.unanswered(this.own, coordinator, this.parts.policy().chainHash);
    if (due) this.send(coordinator, due.wish, due.message);
  }
  private send(to: NodeId, wish: number, message: WaitingMessage): void {
    this.parts.messenger.send(to, { header: { instanceId: NO_INSTANCE, attempt: wish }, message });
  }

  private saveRoom(next: WaitingRoom, event: string, node?: NodeId): void {
    if (next === this.room) return;
    this.parts.store.apply({ journal: { event, ...(node === undefined ? {} : { detail: { node } }) }, meta: { [ROOM]: encodeValue(next) } });
    this.room = next;
  }
  private saveOwn(next: Wishes, event: string): void {
    if (next === this.own) return;
    this.parts.store.apply({ journal: { event }, meta: { [WISHES]: encodeValue(next) } });
    this.own = next;
    for (const listener of this.listeners) listener();
  }
}

/** Its funding transaction is out, as the coordinator knows, or in a block, as a member sees. */
const isThere = (state: FactoryState): state is Extract<FactoryState, { readonly phase: 'live' }> =>
  state.phase === 'live' && (state.role === 'coordinator' || state.live.chain.fundingHeight !== undefined);
const startOf = (state: FactoryState): number => (state.phase === 'live' ? state.live.spec.startHeight : 0);
