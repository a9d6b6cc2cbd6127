/** The waiting room as it is kept: on disk before anybody is told, bounded by the gate, over when there is a factory. */
import { describe, expect, test } from '@jest/globals';
import { nodeId, sat, type NodeId } from '../../blip/brands.js';
import { NO_INSTANCE, type WaitingMessage } from '../../blip/waiting-messages.js';
import { alike, REGTEST } from '../../factory-core/test/support/factory.js';
import { liveFactory } from '../../factory-core/test/support/live.js';
import type { Change } from '../engine/engine.js';
import type { FactoryEvent } from '../engine/events.js';
import type { Factory, FactoryState } from '../engine/factory.js';
import { WaitingDesk } from '../engine/waiting-desk.js';
import { openMemoryStore } from '../store/memory-store.js';
import { StoreError } from '../store/errors.js';
import type { Store } from '../store/store.js';

const CLIENT = nodeId(`02${'1'.padStart(64, '0')}`);
const LSP = nodeId(`02${'2'.padStart(64, '0')}`);

class Bench {
  readonly sent: { readonly to: NodeId; readonly wish: number; readonly message: WaitingMessage }[] = [];
  readonly events: FactoryEvent[] = [];
  allowed = true;
  begins = true;
  full = false;
  factories: FactoryState[] = [];
  desk: WaitingDesk;
  private changed: (change: Change) => void = () => undefined;

  constructor(private readonly store: Store = openMemoryStore(() => 1)) {
    this.desk = this.open();
  }
  /** As after a restart. */
  open(): WaitingDesk {
    const { store } = this;
    this.desk = new WaitingDesk({
      store: {
        meta: (key) => store.meta(key),
        apply: (tx) => {
          if (this.full) throw new StoreError('io', 'disk', 'full');
          return store.apply(tx);
        },
      },
      engine: {
        all: () => this.factories.map((state) => ({ state }) as unknown as Factory),
        currentHeight: () => 100,
        onChange: (listener) => {
          this.changed = listener;
          return () => undefined;
        },
      },
      messenger: { send: (to, { header, message }) => void this.sent.push({ to, wish: header.attempt, message: message as WaitingMessage }) },
      gate: { answers: () => true, begins: () => this.begins, ignored: () => undefined },
      events: { emit: (event) => void this.events.push(event) },
      policy: () => ({ allows: () => this.allowed, chainHash: REGTEST, minCapacity: sat(50_000n), maxCapacity: sat(2_000_000n), maxStock: sat(500_000n) }),
    });
    this.desk.start();
    return this.desk;
  }
  hears(from: NodeId, message: WaitingMessage, wish = 1, instanceId = NO_INSTANCE): void {
    this.desk.receive(from, { header: { instanceId, attempt: wish }, message });
  }
  /** What has been said since the last time. */
  said(): readonly string[] {
    return this.sent.splice(0).map(({ message }) => (message.type === 'waiting_over' ? `over ${message.code}` : message.type));
  }
  becomes(before: FactoryState | undefined, after: FactoryState): void {
    this.changed({ before, after } as Change);
  }
}
const JOIN: WaitingMessage = { type: 'waiting_join', chainHash: REGTEST, capacity: sat(1_000_000n), stock: sat(0n) };
const live = (role: 'coordinator' | 'member'): FactoryState =>
  ({ role, phase: 'live', live: liveFactory(role, { clients: alike(3) }), coordinator: LSP, members: [{ nodeId: CLIENT }] }) as unknown as FactoryState;
const begunAt = (state: FactoryState, startHeight: number): FactoryState =>
  (state.phase === 'live' ? { ...state, live: { ...state.live, spec: { ...state.live.spec, startHeight } } } : state);
const notYet = (state: FactoryState): FactoryState => ({ ...state, phase: 'opening' }) as unknown as FactoryState;

describe('as an LSP', () => {
  test('a wish is kept over restarts and told to the operator once; the same one again is answered and not written', () => {
    const bench = new Bench();
    bench.hears(CLIENT, JOIN);
    expect(bench.open().waiting()).toMatchObject([{ nodeId: CLIENT, capacity: 1_000_000n }]);
    bench.begins = false;
    bench.full = true;
    bench.hears(CLIENT, JOIN);
    expect(bench.said()).toEqual(['waiting_accepted', 'waiting_accepted']);
    expect(bench.events.map((e) => [e.event, e.node])).toEqual([['waiting', CLIENT]]);
    expect(bench.desk.waitsHere(CLIENT)).toBe(true);
  });
  test('what cannot be stored is not answered, and what comes too often is refused', () => {
    const bench = new Bench();
    bench.full = true;
    expect(() => bench.hears(CLIENT, JOIN)).toThrow(StoreError);
    expect([bench.said(), bench.desk.waiting()]).toEqual([[], []]);
    bench.full = false;
    bench.begins = false;
    bench.hears(CLIENT, JOIN);
    expect([bench.said(), bench.desk.waiting()]).toEqual([['over 7'], []]);
  });
  test('whom the operator lets wait no longer is told so when it comes', () => {
    const bench = new Bench();
    bench.hears(CLIENT, JOIN);
    bench.allowed = false;
    bench.open();
    expect(bench.desk.waiting()).toEqual([]);
    bench.desk.connected(CLIENT);
    expect(bench.said()).toEqual(['waiting_accepted', 'over 5']);
    bench.desk.connected(CLIENT);
    expect(bench.said()).toEqual([]);
  });
  test('those in a factory that is published wait no longer, also when the node was killed just then', () => {
    const bench = new Bench();
    const factory = live('coordinator');
    bench.hears(CLIENT, JOIN);
    bench.becomes(undefined, notYet(factory));
    expect(bench.desk.waitsHere(CLIENT)).toBe(true);
    bench.becomes(notYet(factory), factory);
    expect(bench.desk.waitsHere(CLIENT)).toBe(false);
    // Another wish, of a member: what its factory does later is no answer to it.
    bench.hears(CLIENT, JOIN, 2);
    bench.becomes(factory, { ...factory });
    expect(bench.desk.waitsHere(CLIENT)).toBe(true);
    for (const [start, waits] of [[99, true], [100, false]] as const) {
      bench.factories = [begunAt(factory, start)];
      expect(bench.open().waitsHere(CLIENT)).toBe(waits);
    }
  });
  test('messages of another instance are nobody’s', () => {
    const bench = new Bench();
    bench.hears(CLIENT, JOIN, 1, '11'.repeat(32) as typeof NO_INSTANCE);
    expect([bench.said(), bench.desk.waiting()]).toEqual([[], []]);
  });
});

describe('as a client', () => {
  test('a wish is said now, and whenever the LSP connects until it has answered', () => {
    const bench = new Bench();
    bench.desk.ask(LSP, sat(1_000_000n), sat(0n));
    bench.open().connected(LSP);
    expect(bench.said()).toEqual(['waiting_join', 'waiting_join']);
    bench.hears(LSP, { type: 'waiting_accepted' });
    bench.open().connected(LSP);
    expect(bench.said()).toEqual([]);
    expect(bench.desk.wishes()).toMatchObject([{ state: 'waiting' }]);
    bench.desk.withdraw(LSP);
    bench.open().connected(LSP);
    expect(bench.said()).toEqual(['waiting_withdraw', 'waiting_withdraw']);
    bench.hears(LSP, { type: 'waiting_over', code: 1, reason: 'withdrawn' });
    expect(bench.open().wishes()).toEqual([]);
  });
  test('it is fulfilled by a factory in a block, not by one that may yet be given up', () => {
    const bench = new Bench();
    const factory = live('member');
    if (factory.phase !== 'live') throw new Error('not live');
    const unfunded = { ...factory, live: { ...factory.live, chain: { tip: 100, spends: {}, confirmed: {} } } } as unknown as FactoryState;
    bench.desk.ask(LSP, sat(1_000_000n), sat(0n));
    bench.becomes(undefined, unfunded);
    expect(bench.desk.wishes()).toHaveLength(1);
    bench.becomes(unfunded, factory);
    expect(bench.open().wishes()).toEqual([]);
  });
});
