/** What peers send: what is answered, begun and said again, and how often at most. */
import { describe, expect, test } from '@jest/globals';
import { instanceId, msat, nodeId, sat, type Hex, type InstanceId, type NodeId } from '../../blip/brands.js';
import { encodeFactoryMessage } from '../../blip/factory-message.js';
import type { FactoryEnvelope, FactoryMessage, Invite } from '../../blip/messages.js';
import { encodeMessage } from '../../blip/protocol-codec.js';
import { FACTORY_PROTOCOL_ID } from '../../blip/protocol-id.js';
import { REGTEST, TERMS, payoutScript } from '../../factory-core/test/support/factory.js';
import { defaultPolicy } from '../../factory-core/validate.js';
import type { Event } from '../../factory-core/protocol/effects.js';
import type { Accept } from '../engine/accepting.js';
import { Acquaintances } from '../engine/acquaintances.js';
import type { Factory, FactoryState } from '../engine/factory.js';
import { Gate, GATE_RATES } from '../engine/gate.js';
import { Inbox } from '../engine/inbox.js';
import { Joining } from '../engine/joining.js';
import { Peers } from '../engine/peers.js';
import { StoreError } from '../store/errors.js';

const peer = (n: number): NodeId => nodeId(`02${n.toString(16).padStart(64, '0')}`);
const LSP = peer(1);
const STRANGER = peer(2);
const instance = (n: number): InstanceId => instanceId(n.toString(16).padStart(64, '0'));
const OURS = instance(1);

const INVITE: Invite = {
  type: 'invite',
  ...TERMS,
  capacity: sat(200_000n),
  stock: sat(0n),
  minClients: 2,
  maxClients: 3,
};
const packed = (instanceId: InstanceId, message: FactoryMessage): Hex =>
  encodeFactoryMessage({ kind: 'factory_piggyback', protocolId: FACTORY_PROTOCOL_ID, payload: encodeMessage({ header: { instanceId, attempt: 1 }, message }) });
const HELLO = encodeFactoryMessage({ kind: 'supported_factory_protocols', protocolIds: [FACTORY_PROTOCOL_ID] });

const { stranger, known } = GATE_RATES;

class Bench {
  now = 0;
  readonly sent: (FactoryMessage & { readonly to: NodeId })[] = [];
  readonly events: Event[] = [];
  readonly told: NodeId[] = [];
  readonly announced: NodeId[] = [];
  readonly welcomed: NodeId[] = [];
  readonly waiting: (readonly [NodeId, string])[] = [];
  readonly begun: InstanceId[] = [];
  readonly log: string[] = [];
  readonly timers: { readonly milliseconds: number; readonly work: () => void }[] = [];
  readonly inbox: Inbox;
  readonly gate: Gate;
  failure: Error | undefined;
  private readonly factories: Factory[] = [];

  constructor(accept: Accept) {
    const engine = {
      all: () => this.factories,
      get: (id: InstanceId) => this.factories.find((f) => f.instanceId === id),
      dispatch: (_: InstanceId, event: Event) => {
        if (this.failure) throw this.failure;
        this.events.push(event);
      },
      begin: (state: FactoryState) => {
        if (state.role === 'member') this.begun.push(state.instanceId);
      },
      currentHeight: () => 100,
      peerConnected: (p: NodeId) => void this.told.push(p),
      onChange: () => () => undefined,
    };
    const log = (level: string, text: string): void => void this.log.push(`${level} ${text}`);
    const acquaintances = new Acquaintances(engine, () => [accept]);
    const standing = (p: NodeId) => acquaintances.standing(p);
    const messenger = { send: (to: NodeId, { message }: FactoryEnvelope) => void this.sent.push({ ...message, to }) };
    this.gate = new Gate({ standing, now: () => this.now, log });
    const joining = new Joining({
      gate: this.gate,
      engine,
      messenger,
      log,
      lightning: { secret: () => Promise.resolve(new Uint8Array(32).fill(7)), newPayout: () => Promise.resolve({ address: 'bcrt1', script: payoutScript(1) }) },
      random: (n) => new Uint8Array(n).fill(9),
      context: () => ({ accept, policy: defaultPolicy(REGTEST), forbiddenNetwork: false, pending: 0 }),
    });
    this.inbox = new Inbox({
      engine,
      peers: new Peers({ announce: (p) => void this.announced.push(p), later: () => undefined }),
      messenger,
      gate: this.gate,
      log,
      invited: (from, envelope) => {
        joining.invited(from, envelope);
      },
      waiting: { receive: (from, { message }) => void this.waiting.push([from, message.type]), connected: (p) => void this.welcomed.push(p) },
      paused: () => undefined,
      standing,
      later: (milliseconds, work) => void this.timers.push({ milliseconds, work }),
    });
  }

  member(coordinator: NodeId): void {
    // As much of a state as is looked at.
    this.factories.push({ instanceId: OURS, state: { role: 'member', phase: 'live', instanceId: OURS, coordinator } as unknown as FactoryState } as Factory);
  }
  times(n: number, from: NodeId, message: (i: number) => Hex): void {
    for (let i = 0; i < n; i += 1) this.inbox.receive(from, message(i));
  }
  /** Messages to a peer, by type. */
  to(node: NodeId): readonly string[] {
    return this.sent.filter(({ to }) => to === node).map(({ type }) => type);
  }
}
const named: Accept = { kind: 'nodes', nodes: new Set([LSP]) };
const afterAll = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('invitations', () => {
  test('of a stranger: a few are answered, a flood is counted; the LSP’s is taken all the same', async () => {
    const bench = new Bench(named);
    bench.times(5_000, STRANGER, (i) => packed(instance(10 + i), INVITE));
    expect(bench.to(STRANGER)).toEqual(Array.from({ length: stranger.answers.burst }, () => 'decline'));
    bench.inbox.receive(LSP, packed(instance(9), INVITE));
    await afterAll();
    expect(bench.begun).toEqual([instance(9)]);
    const { received, dropped, unanswered, noisy } = bench.inbox.counts();
    expect(received).toBe(5_001);
    expect(dropped).toBe(5_000 - stranger.messages.burst);
    expect(unanswered).toBe(stranger.messages.burst - stranger.answers.burst);
    expect(noisy).toEqual([{ peer: STRANGER, received: 5_000, ignored: stranger.messages.burst, dropped }]);
    // A line for each answer, and one for all the rest.
    expect(bench.log.filter((line) => !line.startsWith('debug'))).toHaveLength(stranger.answers.burst + 1);
  });
  test('where everybody’s are taken: those that are being answered count as pending', async () => {
    const bench = new Bench({ kind: 'any' });
    bench.times(50, STRANGER, (i) => packed(instance(10 + i), INVITE));
    await afterAll();
    expect(bench.begun).toHaveLength(4);
    expect(bench.sent[0]).toMatchObject({ type: 'decline', reason: '4 factories are being created with you already' });
  });
  test('where everybody’s are taken: so many may be begun', async () => {
    const bench = new Bench({ kind: 'any' });
    for (let i = 0; i < 50; i += 1) {
      bench.inbox.receive(STRANGER, packed(instance(10 + i), INVITE));
      await afterAll();
    }
    expect(bench.begun).toHaveLength(stranger.beginnings.burst);
    expect(bench.sent[0]).toMatchObject({ type: 'decline', reason: 'too many invitations' });
    expect(bench.inbox.counts().refused).toBe(50 - stranger.beginnings.burst);
  });
});

test('messages for factories this node does not know: a stranger learns so a few times', () => {
  const bench = new Bench(named);
  bench.times(50, STRANGER, (i) => packed(instance(10 + i), { type: 'stored' }));
  expect(bench.to(STRANGER)).toEqual(Array.from({ length: stranger.answers.burst }, () => 'abort'));
  expect(bench.inbox.counts()).toMatchObject({ ignored: 50, unanswered: 50 - stranger.answers.burst });
});

test('garbage is counted, and nothing more', () => {
  const bench = new Bench(named);
  bench.times(50, STRANGER, (i) => `8020${i.toString(16).padStart(4, '0')}ff` as Hex);
  expect(bench.sent).toEqual([]);
  expect(bench.inbox.counts().ignored).toBe(50);
});

describe('messages of a factory', () => {
  test('its coordinator is heard while strangers make noise; requests to close come so often at most', () => {
    const bench = new Bench({ kind: 'none' });
    bench.member(LSP);
    for (let n = 0; n < 50; n += 1) bench.times(100, peer(100 + n), () => packed(OURS, { type: 'close_request' }));
    expect(bench.events).toEqual([]);
    bench.times(known.messages.burst, LSP, () => packed(OURS, { type: 'close_request' }));
    expect(bench.events).toHaveLength(known.beginnings.burst);
    expect(bench.inbox.counts().refused).toBe(known.messages.burst - known.beginnings.burst);
  });
  test('so do purchases', () => {
    const bench = new Bench(named);
    bench.member(LSP);
    bench.times(known.messages.burst, LSP, () => packed(OURS, { type: 'purchase_offer', amount: sat(20_000n), fee: msat(1n) }));
    expect(bench.events).toHaveLength(known.beginnings.burst);
  });
  test('a mistake of ours ends no node at a peer’s will, and is no secret', () => {
    const bench = new Bench(named);
    bench.member(LSP);
    bench.failure = new RangeError('oops');
    bench.inbox.receive(LSP, packed(OURS, { type: 'close_request' }));
    expect(bench.log.filter((line) => line.startsWith('broken'))).toEqual([expect.stringMatching(/oops/)]);
    bench.failure = new StoreError('io', 'the disk', 'is full');
    bench.inbox.receive(LSP, packed(OURS, { type: 'close_request' }));
    expect(bench.inbox.counts().ignored).toBe(2);
  });
});

describe('announcements', () => {
  test('of strangers ask nothing of the factories', () => {
    const bench = new Bench({ kind: 'none' });
    bench.member(LSP);
    bench.times(50, STRANGER, () => HELLO);
    expect(bench.told).toEqual([]);
  });
  test('of a member that comes and goes all the time: it is told at once while it may be, then later, and never forgotten', () => {
    const bench = new Bench(named);
    bench.member(LSP);
    const { burst } = known.announcements;
    bench.times(burst + 10, LSP, () => HELLO);
    expect(bench.told).toHaveLength(burst);
    expect(bench.timers).toHaveLength(1);
    bench.now = 5_000;
    bench.timers[0]?.work();
    expect(bench.told).toHaveLength(burst + 1);
    expect(bench.inbox.counts().dropped).toBe(0);
  });
});

describe('who needs more than strangers is never short of it', () => {
  // Ten messages for each of as many attempts, the longest a roster of 512: what a ceremony sends to a client, and gets from it.
  const ROSTER = 512 * 83;
  const ceremony = (gate: Gate, from: NodeId): boolean =>
    Array.from({ length: 10 }, (_, i) => gate.admits(from, i === 0 ? ROSTER : 1_200) && gate.admitsProtocol(from)).every(Boolean);

  test('an LSP with 127 clients: 20 attempts at once, while 1,000 strangers send all they can', () => {
    const clients = new Set(Array.from({ length: 127 }, (_, i) => peer(10_000 + i)));
    const gate = new Gate({ standing: (p) => (clients.has(p) ? 'known' : 'stranger'), now: () => 0, log: () => undefined });
    for (let i = 0; i < 1_000; i += 1) for (let n = 0; n < 100; n += 1) gate.admits(peer(20_000 + i), 60_000);
    for (const client of clients) for (let attempt = 0; attempt < 20; attempt += 1) expect(ceremony(gate, client)).toBe(true);
  });
  test('a client that takes everybody’s invitations: three attempts of a factory of 512 at once', () => {
    const gate = new Gate({ standing: () => 'guest', now: () => 0, log: () => undefined });
    for (let attempt = 0; attempt < 3; attempt += 1) expect(ceremony(gate, LSP)).toBe(true);
  });
});
