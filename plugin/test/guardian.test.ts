import { describe, expect, test } from '@jest/globals';
import { msat, txid, type NodeId } from '../../blip/brands.js';
import { channelsOf, outpointKey } from '../../factory-core/live/paths.js';
import type { Live } from '../../factory-core/live/state.js';
import type { Event } from '../../factory-core/protocol/effects.js';
import { alike } from '../../factory-core/test/support/factory.js';
import { channelIdOf, liveFactory, publish } from '../../factory-core/test/support/live.js';
import type { Factory, FactoryState } from '../engine/factory.js';
import { guard, isVirtual } from '../engine/guardian.js';
import type { Channel, Htlc } from '../lightning/lightning.js';

/** Three clients: a root and a leaf, so an early warning of 30 blocks. */
const OPTIONS = { clients: alike(3) };

const channel = (member: number, over: Partial<Channel> = {}): Channel => ({
  peer: '02'.padEnd(66, '0') as NodeId,
  connected: true,
  channelId: channelIdOf(member),
  funding: { txid: txid('00'.repeat(32)), vout: 0 },
  state: 'CHANNELD_NORMAL',
  opener: 'local',
  private: true,
  withheld: false,
  toUs: msat(1_000n),
  total: msat(1_000_000_000n),
  ourReserve: msat(0n),
  theirReserve: msat(0n),
  spendable: msat(0n),
  receivable: msat(0n),
  sentInAll: msat(0n),
  htlcs: [],
  ...over,
});
const htlc = (over: Partial<Htlc>): Htlc => ({ direction: 'out', id: 0n, amount: msat(5n), expiry: 0, paymentHash: '00' as Htlc['paymentHash'], state: 'SENT_ADD_ACK_REVOCATION', ...over });

type Asked = Extract<Event, { type: 'exit_requested' }>;
/** What the guardian asks for. */
const requests = async (role: 'coordinator' | 'member', live: Live, channels: readonly Channel[]): Promise<readonly Asked[]> => {
  // As much of a live state as the guardian looks at.
  const state = { role, phase: 'live', live } as unknown as FactoryState;
  const factory = { instanceId: live.spec.instanceId, state } as Factory;
  const events: Event[] = [];
  await guard({
    engine: { all: () => [factory], get: () => factory, currentHeight: () => live.chain.tip, dispatch: (_, event) => events.push(event) },
    lightning: { channels: () => Promise.resolve(channels) },
    log: () => undefined,
  });
  return events.flatMap((e) => (e.type === 'exit_requested' ? [e] : []));
};
const asked = async (...args: Parameters<typeof requests>): Promise<readonly number[]> => (await requests(...args)).flatMap(({ members }) => members);

const lsp = liveFactory('coordinator', OPTIONS);
const client = liveFactory('member', OPTIONS);
const tip = lsp.chain.tip;

describe('an HTLC near its limit', () => {
  test.each([
    ['offered, the peer silent', { connected: false }, htlc({}), 30],
    ['offered, the peer there', { connected: true }, htlc({}), 21],
    ['fulfilled, the peer silent', { connected: false }, htlc({ direction: 'in', state: 'SENT_REMOVE_HTLC' }), 30],
    ['fulfilled, the peer there', { connected: true }, htlc({ direction: 'in', state: 'SENT_REMOVE_COMMIT' }), 21],
  ])('%s: not a block too early', async (_, side, h, blocks) => {
    const with_ = (expiry: number): readonly Channel[] => [channel(0), channel(1, { ...side, htlcs: [{ ...h, expiry }] }), channel(2)];
    expect(await asked('coordinator', lsp, with_(tip + blocks + 1))).toEqual([]);
    expect(await asked('coordinator', lsp, with_(tip + blocks))).toEqual([1]);
  });

  test('what is on chain already need not be waited for', async () => {
    const [branch] = lsp.branches;
    const rooted = publish(lsp, branch!, 1);
    const near = (expiry: number): readonly Channel[] => [channel(1, { connected: false, htlcs: [htlc({ expiry })] })];
    expect(await asked('coordinator', rooted, near(rooted.chain.tip + 25))).toEqual([]);
    expect(await asked('coordinator', rooted, near(rooted.chain.tip + 24))).toEqual([1]);
  });

  test('one that may simply be failed costs nothing', async () => {
    const waiting = htlc({ direction: 'in', state: 'RCVD_ADD_ACK_REVOCATION', expiry: tip + 1 });
    expect(await asked('member', client, [channel(0, { htlcs: [waiting] })])).toEqual([]);
  });
});

describe('by when a channel must be on chain', () => {
  const near = htlc({ expiry: tip + 20 });
  const leaving = (by?: number): Live => ({ ...lsp, exits: { 1: { since: tip, ...(by === undefined ? {} : { by }) } } });

  test('is said with the wish to leave: half of the margin before the first HTLC that matters expires', async () => {
    const harmless = htlc({ direction: 'in', state: 'RCVD_ADD_ACK_REVOCATION', expiry: tip + 3 });
    const channels = [channel(0, { htlcs: [near] }), channel(1, { htlcs: [htlc({ expiry: tip + 19 }), near, harmless] }), channel(2, { htlcs: [near] })];
    expect(await requests('coordinator', lsp, channels)).toEqual([
      { type: 'exit_requested', members: [0, 2], by: tip + 11 },
      { type: 'exit_requested', members: [1], by: tip + 10 },
    ]);
    expect(await requests('coordinator', lsp, [channel(0, { state: 'AWAITING_UNILATERAL' })])).toEqual([{ type: 'exit_requested', members: [0] }]);
  });
  test('is said later, if an exit that is on its way gets one, or an earlier one', async () => {
    const channels = [channel(1, { htlcs: [near] })];
    expect(await requests('coordinator', leaving(), channels)).toEqual([{ type: 'exit_requested', members: [1], by: tip + 11 }]);
    expect(await requests('coordinator', leaving(tip + 12), channels)).toHaveLength(1);
    expect(await requests('coordinator', leaving(tip + 11), channels)).toEqual([]);
  });
});

describe('a channel that has ended in lightningd', () => {
  test.each(['coordinator', 'member'] as const)('failed: its %s leaves', async (role) => {
    expect(await asked(role, role === 'member' ? client : lsp, [channel(0, { state: 'AWAITING_UNILATERAL' })])).toEqual([0]);
  });
  test('closed by agreement: the member leaves if anything in it is its own; the coordinator may wait', async () => {
    const closed = channel(0, { state: 'CLOSINGD_COMPLETE' });
    expect(await asked('member', client, [closed])).toEqual([0]);
    expect(await asked('member', client, [{ ...closed, toUs: msat(0n) }])).toEqual([]);
    expect(await asked('coordinator', lsp, [closed])).toEqual([]);
  });
});

describe('nobody leaves', () => {
  const failed = [channel(0, { state: 'AWAITING_UNILATERAL' as const })];
  const [branch] = lsp.branches;
  const spentBy = (by: string): Live => ({ ...lsp, chain: { ...lsp.chain, spends: { [outpointKey(lsp.spec.funding)]: { by: txid(by.repeat(32)), height: tip } } } });
  const unconfirmed = { tip, everFunded: true, spends: {} };
  test.each<readonly [string, Live]>([
    ['twice', { ...lsp, exits: { 0: { since: tip } } }],
    ['while the funding transaction is unconfirmed', { ...lsp, chain: unconfirmed }],
    ['a factory that has ended', spentBy('ab')],
    ['whose leaf is on chain: the rest is lightningd’s', publish(lsp, branch!, 2)],
  ])('%s', async (_name, live) => {
    expect(await asked('coordinator', live, failed)).toEqual([]);
  });
  test('whose channel is as it should be', async () => {
    expect(await asked('coordinator', lsp, [channel(0), channel(1), channel(2)])).toEqual([]);
  });
});

describe('a channel the operator must not close', () => {
  test('until its leaf is on chain, or the factory has ended', () => {
    const [branch] = lsp.branches;
    const [own] = channelsOf(lsp, branch!);
    expect(isVirtual(lsp, branch!, own!)).toBe(true);
    expect(isVirtual(publish(lsp, branch!, 1), branch!, own!)).toBe(true);
    expect(isVirtual(publish(lsp, branch!, 2), branch!, own!)).toBe(false);
    expect(isVirtual({ ...lsp, retired: true }, branch!, own!)).toBe(false);
  });
});
