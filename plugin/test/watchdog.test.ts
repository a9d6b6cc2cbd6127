import { describe, expect, test } from '@jest/globals';
import { sat, type NodeId } from '../../blip/brands.js';
import { calendarOf } from '../../factory-core/live/deadlines.js';
import { outpointKey, rootOf } from '../../factory-core/live/paths.js';
import type { Live } from '../../factory-core/live/state.js';
import type { Event } from '../../factory-core/protocol/effects.js';
import { alike, payoutScript } from '../../factory-core/test/support/factory.js';
import { liveFactory } from '../../factory-core/test/support/live.js';
import type { Factory, FactoryState } from '../engine/factory.js';
import { Watchdog, type FactoryWarning } from '../engine/watchdog.js';
import type { Peer } from '../lightning/lightning.js';

const OPTIONS = { clients: alike(3), terms: { activeBlocks: 20, dyingBlocks: 20, settlingBlocks: 100 } };
const lsp = liveFactory('coordinator', OPTIONS);
const client = liveFactory('member', OPTIONS);
const { dying, settling, guard, expiry } = calendarOf(lsp.spec);
const MARKET = { estimated: true, floor: 253, slow: 500, normal: 2_000, urgent: 9_000 };

class Bench {
  readonly events: Event[] = [];
  readonly warnings: FactoryWarning[] = [];
  readonly log: string[] = [];
  away: readonly NodeId[] = [];
  paused: string | undefined;
  state: FactoryState;
  private readonly watchdog: Watchdog;

  constructor(role: 'coordinator' | 'member', live: Live, autoClose = true) {
    this.state = stateOf(role, live);
    const factory = (): Factory => ({ instanceId: live.spec.instanceId, state: this.state }) as Factory;
    this.watchdog = new Watchdog({
      engine: { all: () => [factory()], get: () => factory(), dispatch: (_, event) => void this.events.push(event) },
      lightning: {
        peers: () => Promise.resolve(live.branches.map((b): Peer => ({ id: b.peer, connected: !this.away.includes(b.peer), features: '' as Peer['features'], supportsFactories: true }))),
        feerates: () => Promise.resolve(MARKET),
      },
      log: (level, text) => void this.log.push(`${level} ${text}`),
      autoClose: () => autoClose,
      paused: () => this.paused,
    });
    this.watchdog.onWarning((w) => this.warnings.push(w));
  }

  /** The block at this height has come. */
  async at(height: number, change: Partial<Live> = {}): Promise<void> {
    if (this.state.phase !== 'live') throw new Error('not live');
    const { live } = this.state;
    this.state = { ...this.state, live: { ...live, ...change, chain: { ...(change.chain ?? live.chain), tip: height } } };
    await this.watchdog.look();
  }
}
// As much of a live state as the watchdog looks at.
const stateOf = (role: 'coordinator' | 'member', live: Live): FactoryState => ({ role, phase: 'live', live }) as unknown as FactoryState;
const span = (from: number, to: number): readonly number[] => Array.from({ length: to - from }, (_, i) => from + i);

describe('closing by itself', () => {
  test('from the settling height on, later and later while it fails, and never from the guard on', async () => {
    const bench = new Bench('coordinator', lsp);
    const tried: number[] = [];
    for (const height of span(settling - 5, expiry + 5)) {
      const before = bench.events.length;
      await bench.at(height);
      if (bench.events.length > before) tried.push(height - settling);
    }
    expect(tried).toEqual([0, 1, 3, 7, 15, 31]);
    expect(bench.events[0]).toEqual({ type: 'close_requested', feerate: MARKET.normal });
    expect(guard - settling).toBe(50);
  });
  test('pays what it takes when there is little time left for a second try', async () => {
    const bench = new Bench('coordinator', lsp);
    await bench.at(guard - 5);
    expect(bench.events).toEqual([{ type: 'close_requested', feerate: MARKET.urgent }]);
  });
  test('waits for whoever is away, and loses no time then', async () => {
    const bench = new Bench('coordinator', lsp);
    bench.away = [lsp.branches[1]!.peer];
    for (const height of span(settling, settling + 20)) await bench.at(height);
    expect(bench.events).toEqual([]);
    bench.away = [];
    await bench.at(settling + 20);
    expect(bench.events).toHaveLength(1);
  });
  test.each<readonly [string, (bench: Bench) => void, Partial<Live>]>([
    ['while this node only watches', (b) => (b.paused = 'an old database'), {}],
    ['while one is under way', (b) => (b.state = { ...b.state, closing: { attempt: 1 } } as unknown as FactoryState), {}],
    ['when one is signed', () => undefined, { close: { outputs: [{ amount: sat(1_000n), script: payoutScript(0) }], signature: '00'.repeat(64) as never } }],
    ['when somebody is leaving', () => undefined, { exits: { 1: { since: 1 } } }],
    ['when the root is on chain', () => undefined, { chain: { ...lsp.chain, spends: { [outpointKey(lsp.spec.funding)]: { by: rootOf(lsp).signable.txid, height: settling } } } }],
  ])('not %s', async (_, prepare, change) => {
    const bench = new Bench('coordinator', lsp);
    prepare(bench);
    await bench.at(settling, change);
    expect(bench.events).toEqual([]);
  });
  test('not if the operator wants to do it, and never as a member', async () => {
    for (const bench of [new Bench('coordinator', lsp, false), new Bench('member', client)]) {
      for (const height of span(settling, expiry)) await bench.at(height);
      expect(bench.events).toEqual([]);
    }
  });
  test('a close that was agreed is finished, at any height before the guard', async () => {
    const bench = new Bench('coordinator', lsp);
    await bench.at(dying - 5, { close: { outputs: [{ amount: sat(1_000n), script: payoutScript(0) }] } });
    expect(bench.events).toHaveLength(1);
  });
});

describe('warnings', () => {
  const course = async (role: 'coordinator' | 'member', live: Live): Promise<readonly (readonly [string, string, number])[]> => {
    const bench = new Bench(role, live, false);
    for (const height of span(dying - 5, expiry + 3)) await bench.at(height);
    expect(bench.log).toHaveLength(bench.warnings.length);
    for (const w of bench.warnings) expect(w).toMatchObject({ instanceId: live.spec.instanceId, role });
    return bench.warnings.map((w) => [w.code, w.urgency, w.height]);
  };
  test('a coordinator’s become more pressing, and come oftener', async () => {
    const said = await course('coordinator', lsp);
    expect(said.slice(0, 3)).toEqual([['dying', 'notice', dying], ['settling', 'warning', settling], ['settling', 'warning', settling + 36]]);
    expect(said.filter(([, urgency]) => urgency === 'urgent').map(([, , h]) => h - guard)).toEqual([0, 6, 12, 18, 24]);
    expect(said.filter(([, urgency]) => urgency === 'critical').map(([, , h]) => h - expiry)).toEqual(span(-25, 3));
  });
  test('a member’s say when it may leave, and that it is paid at expiry', async () => {
    const said = await course('member', client);
    expect(said.map(([code, urgency, h]) => [code, urgency, h - expiry])).toEqual([
      ['dying', 'notice', -120],
      ['settling', 'warning', -100],
      ['settling', 'warning', -64],
      ['guarding', 'warning', -50],
      ['guarding', 'warning', -14],
      ['expired', 'urgent', 0],
    ]);
  });
  test('a factory that is young, or over, says nothing and asks nothing of lightningd', async () => {
    const over = { ...lsp, chain: { ...lsp.chain, spends: { [outpointKey(lsp.spec.funding)]: { by: rootOf(lsp).signable.txid, height: guard } } } };
    for (const [live, height] of [[over, expiry], [lsp, dying - 1]] as const) {
      const bench = new Bench('coordinator', live);
      await bench.at(height);
      expect([bench.warnings, bench.events]).toEqual([[], []]);
    }
  });
});
