/** Which channels may carry HTLCs while factories come to be, and lightningd takes its time to say what channels there are. */
import { beforeEach, describe, expect, test } from '@jest/globals';
import { channelId, msat, nodeId, sat, txid, type ChannelId, type NodeId } from '../../../blip/brands.js';
import { alike } from '../../../factory-core/test/support/factory.js';
import { channelIdOf, liveFactory, publish, spendIn } from '../../../factory-core/test/support/live.js';
import { channelsOf, exitPath } from '../../../factory-core/live/paths.js';
import type { Live } from '../../../factory-core/live/state.js';

import type { Channel } from '../../lightning/lightning.js';
import { ChannelBook } from '../channel-book.js';
import type { Engine } from '../engine.js';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const ORDINARY = channelId('aa'.repeat(32));
const NEW = channelIdOf(0);
const CAPACITY = 1_000_000n;
const NOTHING = { left: [], unproven: [], peers: [] };

/** An LSP that opens a factory's channels, and lightningd, which answers when it is told to. */
class Node {
  private readonly fresh = liveFactory('coordinator', { clients: alike(3) });
  readonly client = this.fresh.branches[0]!.peer;
  /** Its funding transaction is out, and in no block. */
  private readonly live = { ...this.fresh, chain: { tip: this.fresh.spec.startHeight, everFunded: false, spends: {} } };
  phase: 'opening' | 'live' = 'opening';
  list: readonly Channel[] = [this.channel(ORDINARY, '1x1x1', nodeId(`02${'11'.repeat(32)}`))];
  calls = 0;
  private readonly waiting: (() => void)[] = [];
  readonly book = new ChannelBook({ all: () => [{ state: this.state() }] } as unknown as Engine, {
    channels: () => {
      this.calls += 1;
      const { list } = this;
      return new Promise((resolve) => this.waiting.push(() => resolve(list)));
    },
  });

  private state() {
    return this.phase === 'live'
      ? { role: 'coordinator', phase: 'live', live: this.live, members: [] }
      : { role: 'coordinator', phase: 'opening', members: [{ nodeId: this.client, capacity: sat(CAPACITY) }] };
  }
  private channel(id: Channel['channelId'], alias: string, peer = this.client): Channel {
    return { channelId: id, peer, private: true, opener: 'local', total: msat(CAPACITY * 1_000n), localAlias: alias, state: 'CHANNELD_NORMAL', connected: true } as unknown as Channel;
  }
  open(): void {
    this.list = [...this.list, this.channel(NEW, '2x2x2')];
  }
  /** lightningd answers, one call after the other, until it is asked no more. */
  async answer(): Promise<void> {
    for (let quiet = 0; quiet < 5; quiet += 1) {
      await turn();
      const one = this.waiting.shift();
      if (one) quiet = 0;
      one?.();
    }
  }
  async known(): Promise<void> {
    const looked = this.book.look(NEW);
    await this.answer();
    await looked;
  }
}

describe('a channel that has just come', () => {
  let node: Node;
  beforeEach(() => {
    node = new Node();
  });

  test('is found, though an older list was on its way', async () => {
    const before = node.book.look('9x9x9');
    await turn();
    expect(node.calls).toBe(1);
    node.open();
    const looked = node.book.look(NEW);
    await node.answer();
    expect(await looked).toMatchObject({ channelId: NEW, facts: { active: false } });
    expect(await before).toBeUndefined();
  });
  test.each([NEW, '2x2x2'])('and whose factory comes to be while %s is looked up carries nothing before that is active', async (name) => {
    node.open();
    await node.known();
    const looked = node.book.look(name);
    await turn();
    node.phase = 'live';
    await node.answer();
    expect(await looked).toMatchObject({ channelId: NEW, facts: { active: false } });
  });
  test('nor does this node pay over it', async () => {
    node.open();
    await node.known();
    const avoided = node.book.avoided();
    await turn();
    node.phase = 'live';
    await node.answer();
    expect(await avoided).toMatchObject({ left: ['2x2x2'], unproven: [] });
  });
  test('is asked for once by all who wait', async () => {
    node.open();
    const all = Promise.all(Array.from({ length: 10 }, () => node.book.look(NEW)));
    await node.answer();
    expect((await all).map((l) => l?.facts.active)).toEqual(Array(10).fill(false));
    expect(node.calls).toBe(2);
  });
  test('others have nothing to do with factories', async () => {
    const looked = node.book.look(ORDINARY);
    await node.answer();
    expect(await looked).toBeUndefined();
  });
});

test('a list that could not be had is asked for again', async () => {
  let calls = 0;
  const book = new ChannelBook({ all: () => [{ state: { role: 'member', phase: 'aborted', invite: { capacity: sat(1n) } } }] } as unknown as Engine, {
    channels: () => {
      calls += 1;
      return calls === 1 ? Promise.reject(new Error('busy')) : Promise.resolve([]);
    },
  });
  await expect(book.look(ORDINARY)).rejects.toThrow('busy');
  expect(await book.look(ORDINARY)).toBeUndefined();
  expect(calls).toBe(2);
});

test('channels that are closed on chain are not looked for when a route is, though lightningd has forgotten them', async () => {
  const clients = alike(2);
  const fresh = liveFactory('coordinator', { clients });
  const out = fresh.branches.reduce((live, branch) => publish(live, branch, exitPath(live, branch).length), fresh);
  const closed = out.branches.reduce((live, branch) => spendIn(live, channelsOf(live, branch)[0]!.outpoint, txid('cc'.repeat(32))), out);
  const calls = { made: 0 };
  const bookOf = (live: Live) =>
    new ChannelBook({ all: () => [{ state: { role: 'coordinator', phase: 'live', live, members: [] } }] } as unknown as Engine, {
      channels: () => {
        calls.made += 1;
        return Promise.resolve([]);
      },
    });
  expect(await bookOf(fresh).avoided()).toEqual(NOTHING);
  expect(await bookOf(closed).avoided()).toEqual(NOTHING);
  expect(calls.made).toBe(0);
});

describe('a factory that has just become active, beside an older one with the same members', () => {
  const [older, newer] = [liveFactory('coordinator', { clients: alike(2) }), liveFactory('coordinator', { clients: alike(2) })];
  const { fundingHeight = 0 } = older.chain;
  const [one, other] = older.branches.map((b) => b.peer) as [NodeId, NodeId];
  /** The older one's channels have other ids than the newer one's. */
  const [oldIds, newIds] = [['a1', 'a2'].map((byte) => channelId(byte.repeat(32))), newer.branches.map((b) => b.channelId)];
  const channel = (id: ChannelId, peer: NodeId, alias: string, spendable: bigint): Channel =>
    ({ channelId: id, peer, private: true, opener: 'local', total: msat(CAPACITY * 1_000n), localAlias: alias, state: 'CHANNELD_NORMAL', connected: true, spendable: msat(spendable) }) as unknown as Channel;
  const list = [channel(oldIds[0]!, one, '1x1x1', 500n), channel(oldIds[1]!, other, '2x2x2', 100n), channel(newIds[0]!, one, '3x3x3', 900n), channel(newIds[1]!, other, '4x4x4', 900n)];
  const bookAt = (blocks: number, channels: readonly Channel[] = list) => {
    const chain = { ...newer.chain, fundingHeight: fundingHeight + 1, tip: fundingHeight + blocks + newer.spec.terms.minDepth };
    const states = [
      { ...older, branches: older.branches.map((b, i) => ({ ...b, channelId: oldIds[i]! })), chain: { ...older.chain, tip: chain.tip } },
      { ...newer, chain },
    ].map((live) => ({ state: { role: 'coordinator', phase: 'live', live, members: [] } }));
    return new ChannelBook({ all: () => states } as unknown as Engine, { channels: () => Promise.resolve(channels) });
  };
  const UNPROVEN = { left: [], unproven: ['3x3x3', '4x4x4'], peers: [one, other] };

  test('is avoided for two blocks', async () => {
    for (const blocks of [0, 1]) expect(await bookAt(blocks).avoided()).toEqual(UNPROVEN);
    expect(await bookAt(2).avoided()).toEqual(NOTHING);
  });
  test.each([
    ['a member whose older channel has room', one, 500n, true],
    ['a member whose older channel has not', one, 501n, false],
    ['another member whose older channel has not', other, 101n, false],
    ['somebody else, while all older channels have room', ORDINARY, 100n, true],
    ['somebody else, while one of them has not', ORDINARY, 101n, false],
  ])('can be spared by a payment to %s: %s, %s msat: %s', async (_, destination, amount, spared) => {
    expect(await bookAt(0).canSpareUnproven(UNPROVEN, { destination, amount: msat(amount) })).toBe(spared);
  });
  test('channels that do not work have no room', async () => {
    for (const broken of [{ connected: false }, { state: 'AWAITING_UNILATERAL' }] as const) {
      const book = bookAt(0, list.map((c) => ({ ...c, ...broken })));
      expect(await book.canSpareUnproven(UNPROVEN, { destination: one, amount: msat(1n) })).toBe(false);
    }
  });
});
