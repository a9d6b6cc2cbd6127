import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

import { script } from '../../blip/brands.js';
import type { Script } from '../../blip/brands.js';
import type { FollowerOptions, WatchSet } from '../chain/events.js';
import { createFollower } from '../chain/follower.js';
import type { Follower } from '../chain/follower.js';
import { BLOCK_WINDOW } from '../chain/position.js';
import { openMemoryStore } from '../store/memory-store.js';
import { Ledger, makeTx, SimChain, SimChainWithHash, WATCH_NOTHING } from './chain-sim.js';
import { tx as someTxid } from './store-suite.js';

const follow = (chain: SimChain, ledger: Ledger, options: Partial<FollowerOptions> = {}): Follower =>
  createFollower({
    source: chain,
    blocks: () => ledger.position,
    watch: () => WATCH_NOTHING,
    consume: ledger.consume,
    startHeight: () => 0,
    ...options,
  });
const setup = (length: number, options: Partial<FollowerOptions> = {}) => {
  const chain = new SimChain(length);
  const ledger = new Ledger();
  return { chain, ledger, follower: follow(chain, ledger, options) };
};
/** What the ledger believes is what the chain is. */
const expectSynced = (chain: SimChain, ledger: Ledger): void => {
  expect(ledger.position.at(-1)?.hash).toBe(chain.top.hash);
  for (const block of ledger.position) expect(chain.blocks[block.height]?.hash).toBe(block.hash);
};
const range = (from: number, to: number): readonly string[] => Array.from({ length: to - from + 1 }, (_, i) => `+${from + i}`);

describe('the follower', () => {
  test('begins where it is told, or at the tip', async () => {
    for (const [startHeight, first] of [[3, 3], [undefined, 9], [50, 9], [-5, 0]] as const) {
      const { ledger, follower } = setup(10, { startHeight: () => startHeight });
      expect(await follower.poll()).toEqual({ status: 'synced', height: 9 });
      expect(ledger.takeSteps()).toEqual(range(first, 9));
    }
  });

  test('tells each block once, in order, after missed polls too', async () => {
    const { chain, ledger, follower } = setup(5);
    await follower.poll();
    expect(ledger.takeSteps()).toEqual(range(0, 4));
    await follower.poll();
    expect(ledger.takeSteps()).toEqual([]);
    chain.grow(7);
    await follower.poll();
    expect(ledger.takeSteps()).toEqual(range(5, 11));
  });

  test('says how far it has to go', async () => {
    const { ledger, follower } = setup(3);
    await follower.poll();
    expect(ledger.events.map((e) => e.type === 'block_connected' && [e.height, e.tip])).toEqual([[0, 2], [1, 2], [2, 2]]);
  });

  test.each([
    ['a block is replaced by two', 1, 2, ['-9', '+9', '+10']],
    ['three by five', 3, 5, ['-9', '-8', '-7', '+7', '+8', '+9', '+10', '+11']],
    ['the tip by another of the same height', 1, 1, ['-9', '+9']],
    ['four by four', 4, 4, ['-9', '-8', '-7', '-6', '+6', '+7', '+8', '+9']],
    ['four by two', 4, 2, ['-9', '-8', '-7', '-6', '+6', '+7']],
    ['the chain shrinks', 3, 0, ['-9', '-8', '-7']],
  ])('a reorganisation: %s', async (_name, depth, count, steps) => {
    const { chain, ledger, follower } = setup(10);
    await follower.poll();
    ledger.takeSteps();
    chain.reorganise(depth, count);
    await follower.poll();
    expect(ledger.takeSteps()).toEqual(steps);
    expectSynced(chain, ledger);
  });

  test('blocks that come back after a shrink', async () => {
    const { chain, ledger, follower } = setup(10);
    await follower.poll();
    const whole = chain.blocks;
    chain.reorganise(3, 0);
    await follower.poll();
    chain.blocks = whole;
    ledger.takeSteps();
    await follower.poll();
    expect(ledger.takeSteps()).toEqual(['+7', '+8', '+9']);
  });

  test('as deep as the window it goes back block by block; deeper it starts anew from the first height that matters', async () => {
    const { chain, ledger, follower } = setup(BLOCK_WINDOW + 50, { startHeight: () => 20 });
    await follower.poll();
    ledger.takeSteps();
    const tip = BLOCK_WINDOW + 49;
    // One block of the window stays.
    chain.reorganise(BLOCK_WINDOW - 1, BLOCK_WINDOW);
    await follower.poll();
    const steps = ledger.takeSteps();
    expect([steps[0], steps[BLOCK_WINDOW - 2], steps[BLOCK_WINDOW - 1], steps.length]).toEqual([`-${tip}`, '-51', '+51', 2 * BLOCK_WINDOW - 1]);
    chain.grow(BLOCK_WINDOW);
    await follower.poll();
    ledger.takeSteps();
    chain.reorganise(BLOCK_WINDOW, BLOCK_WINDOW + 1);
    await follower.poll();
    expect(ledger.takeSteps()).toEqual(['rescan 20', ...range(20, chain.top.height)]);
    expectSynced(chain, ledger);
  });

  test('a backend that is syncing anew is waited for', async () => {
    const { chain, ledger, follower } = setup(BLOCK_WINDOW + 100);
    await follower.poll();
    ledger.takeSteps();
    const whole = chain.blocks;
    chain.blocks = whole.slice(0, 60);
    expect(await follower.poll()).toEqual({ status: 'backend_behind', tip: 59 });
    chain.blocks = [...whole];
    chain.grow();
    await follower.poll();
    expect(ledger.takeSteps()).toEqual([`+${BLOCK_WINDOW + 100}`]);
  });

  test('starts anew when asked, also after a restart in the middle of it', async () => {
    const { chain, ledger, follower } = setup(30, { startHeight: () => 25 });
    await follower.poll();
    ledger.takeSteps();
    follower.rescan();
    ledger.crash = 'before';
    await expect(follower.poll()).rejects.toThrow('crash');
    expect(ledger.takeSteps()).toEqual([]);
    ledger.crash = 'after';
    await expect(follower.poll()).rejects.toThrow('crash');
    expect(ledger.takeSteps()).toEqual(['rescan 25']);
    await follow(chain, ledger, { startHeight: () => 25 }).poll();
    expect(ledger.takeSteps()).toEqual(range(25, 29));
  });

  test('the chain may change between any two questions of a catch-up', async () => {
    const { chain, ledger, follower } = setup(20);
    let answers = 0;
    chain.beforeAnswer = () => {
      answers += 1;
      if (answers === 8) chain.reorganise(5, 9);
      if (answers === 17) chain.reorganise(18, 3);
      if (answers === 18) chain.grow(30);
      if (answers === 40) chain.reorganise(1, 1);
    };
    await follower.poll();
    expectSynced(chain, ledger);
  });

  test('a block that the backend promises and never gives ends the poll with an error, and changes nothing', async () => {
    const { chain, ledger, follower } = setup(5);
    await follower.poll();
    ledger.takeSteps();
    chain.tip = () => Promise.resolve(8);
    await expect(follower.poll()).rejects.toMatchObject({ code: 'block_missing', culprit: 'block 8' });
    expect(ledger.takeSteps()).toEqual([]);
  });

  test('a block that is not the one it is said to be is refused', async () => {
    const { chain, ledger, follower } = setup(5);
    const lie = chain.blocks[3]!.hex;
    chain.block = (height) => Promise.resolve({ hash: chain.blocks[height]!.hash, hex: height === 4 ? lie : chain.blocks[height]!.hex });
    await expect(follower.poll()).rejects.toMatchObject({ code: 'hash_mismatch', culprit: 'block 4' });
    expect(ledger.takeSteps()).toEqual(range(0, 3));
  });

  test('errors of the source end the poll; the next goes on', async () => {
    const { chain, ledger, follower } = setup(10);
    let answers = 0;
    chain.beforeAnswer = () => {
      answers += 1;
      if (answers % 4 === 0) throw new Error('backend is away');
    };
    let failures = 0;
    for (let i = 0; i < 40 && ledger.position.at(-1)?.height !== 9; i++) await follower.poll().catch(() => (failures += 1));
    expect(failures).toBeGreaterThan(3);
    expect(ledger.takeSteps()).toEqual(range(0, 9));
  });

  test('a consumer that crashes gets the event again, unless it had stored it', async () => {
    const { chain, ledger, follower } = setup(3);
    ledger.crash = 'before';
    await expect(follower.poll()).rejects.toThrow('crash');
    expect(ledger.takeSteps()).toEqual([]);
    ledger.crash = 'after';
    await expect(follower.poll()).rejects.toThrow('crash');
    expect(ledger.takeSteps()).toEqual(['+0']);
    await follow(chain, ledger).poll();
    expect(ledger.takeSteps()).toEqual(['+1', '+2']);
  });

  test('polls at once share one run', async () => {
    const { ledger, follower } = setup(3);
    const seen = await Promise.all([follower.poll(), follower.poll(), follower.poll()]);
    expect(new Set(seen).size).toBe(1);
    expect(ledger.takeSteps()).toEqual(range(0, 2));
  });

  test('a poll asked for during another one sees what is there when it is asked', async () => {
    const { chain, ledger, follower } = setup(3);
    const asked: Promise<unknown>[] = [];
    await follower.poll();
    // At every answer of a run, the last among them: whatever it has looked at already, the new block is seen. For two new
    // blocks the answers are tip, block, tip, block, tip, and the top's hash.
    for (let at = 0; at < 6; at++) {
      chain.beforeAnswer = () => undefined;
      chain.grow(2);
      let answers = 0;
      chain.beforeAnswer = () => {
        if (answers++ !== at) return;
        queueMicrotask(() => {
          chain.grow();
          asked.push(follower.poll());
        });
      };
      await follower.poll();
      await Promise.all(asked);
      expectSynced(chain, ledger);
    }
    expect(asked).toHaveLength(6);
  });

  test('after stop nothing is delivered', async () => {
    const { ledger, follower, chain } = setup(50, {});
    let stopping: Promise<void> | undefined;
    const stoppable = follow(chain, ledger, {
      consume: async (event) => {
        await ledger.consume(event);
        if (ledger.position.length === 7) stopping = stoppable.stop();
      },
    });
    expect(await stoppable.poll()).toEqual({ status: 'stopped' });
    await stopping;
    expect(ledger.position).toHaveLength(7);
    expect(await stoppable.poll()).toEqual({ status: 'stopped' });
    expect(ledger.position).toHaveLength(7);
    // In the middle of a reorganisation too; another follower takes it from there.
    await follower.poll();
    chain.reorganise(20, 21);
    ledger.takeSteps();
    const halfway = follow(chain, ledger, {
      consume: async (event) => {
        await ledger.consume(event);
        if (ledger.position.length === 40) stopping = halfway.stop();
      },
    });
    expect(await halfway.poll()).toEqual({ status: 'stopped' });
    expect(ledger.position).toHaveLength(40);
    await follow(chain, ledger).poll();
    expectSynced(chain, ledger);
  });

  test('asks for a hash only, where it can, when nothing has changed', async () => {
    const chain = new SimChainWithHash(10);
    const ledger = new Ledger();
    const follower = follow(chain, ledger);
    await follower.poll();
    expect(chain.served).toBe(10);
    await follower.poll();
    chain.reorganise(1, 1);
    await follower.poll();
    expect(chain.served).toBe(11);
    expectSynced(chain, ledger);
  });

  test('a long catch-up lets other work be done after every block', async () => {
    const { ledger, follower } = setup(400);
    let turns = 0;
    const count = (): void => {
      turns += 1;
      immediate = setImmediate(count);
    };
    let immediate = setImmediate(count);
    await follower.poll();
    clearImmediate(immediate);
    expect(ledger.takeSteps()).toHaveLength(400);
    expect(turns).toBeGreaterThanOrEqual(400);
  });

  test('asks what to watch before every block, so that what one block taught counts for the next', async () => {
    const pays = (n: number) => script(`5120${n.toString(16).padStart(64, '0')}`);
    const first = makeTx([{ txid: someTxid(1), vout: 0 }], [{ amount: 9n, script: pays(1) }], ['aa']);
    const second = makeTx([{ txid: first.txid, vout: 0 }], [{ amount: 8n, script: pays(2) }], ['bb']);
    const chain = new SimChain(3);
    chain.grow(1, [first]);
    chain.grow(1, [second]);
    const ledger = new Ledger();
    let watch: WatchSet = { ...WATCH_NOTHING, outpoints: [{ txid: someTxid(1), vout: 0 }] };
    const follower = follow(chain, ledger, {
      watch: () => watch,
      consume: async (event) => {
        await ledger.consume(event);
        if (event.type === 'block_connected' && event.txs.length > 0) {
          watch = { ...watch, outpoints: event.txs.map(({ txid }) => ({ txid, vout: 0 })) };
        }
      },
    });
    await follower.poll();
    expect([...ledger.confirmed]).toEqual([[first.txid, 3], [second.txid, 4]]);
  });

  test('the store keeps its position across restarts', async () => {
    const chain = new SimChain(20);
    const store = openMemoryStore();
    const steps: number[] = [];
    const restarted = () =>
      createFollower({
        source: chain,
        blocks: () => store.blocks(),
        watch: () => WATCH_NOTHING,
        consume: (event) => {
          store.apply({ journal: { event: event.type }, chain: event.step });
          steps.push(store.blocks().length);
          return Promise.resolve();
        },
        startHeight: () => 10,
      });
    await restarted().poll();
    chain.reorganise(2, 3);
    await restarted().poll();
    expect(steps).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 9, 8, 9, 10, 11]);
    expect(store.blocks().at(-1)?.hash).toBe(chain.top.hash);
  });
});

describe('any history of the chain', () => {
  /** What happens to the chain: how many of its last blocks go, how many come, which watched payments are in the first. */
  interface Change {
    readonly depth: number;
    readonly count: number;
    readonly pay: readonly number[];
  }
  const arbChange: fc.Arbitrary<Change> = fc.record({
    depth: fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, { weight: 3, arbitrary: fc.integer({ min: 1, max: 4 }) }, { weight: 1, arbitrary: fc.nat(40) }),
    count: fc.oneof({ weight: 5, arbitrary: fc.nat(5) }, { weight: 1, arbitrary: fc.nat(60) }),
    pay: fc.array(fc.nat(3), { maxLength: 2 }),
  });
  const arbMoment = fc.record({
    change: fc.option(arbChange, { nil: undefined, freq: 3 }),
    /** Changes that come while the follower asks: at the nth answer. */
    during: fc.array(fc.tuple(fc.nat(12), arbChange), { maxLength: 2 }),
    crash: fc.constantFrom(undefined, undefined, undefined, 'before' as const, 'after' as const),
    rescan: fc.boolean(),
    restart: fc.boolean(),
  });

  const scripts: readonly Script[] = [0, 1, 2, 3].map((n) => script(`5120${n.toString(16).padStart(64, 'f')}`));
  let payments = 0;
  const payment = (n: number) => makeTx([{ txid: someTxid((payments += 1)), vout: 0 }], [{ amount: 1n, script: scripts[n]! }]);
  const alter = (chain: SimChain, { depth, count, pay }: Change): void => chain.reorganise(depth, count, pay.map(payment));

  test.each([
    ['blocks only', SimChain],
    ['hashes too', SimChainWithHash],
  ])('the events, folded, are the best chain and what it confirms (%s)', async (_name, Chain) => {
    await fc.assert(
      fc.asyncProperty(fc.array(arbMoment, { minLength: 1, maxLength: 25 }), fc.nat(10), async (moments, startHeight) => {
        const chain = new Chain(3);
        const ledger = new Ledger();
        const watch: WatchSet = { outpoints: [], txids: [], scripts };
        const fresh = () => follow(chain, ledger, { watch: () => watch, startHeight: () => startHeight });
        let follower = fresh();
        for (const { change, during, crash, rescan, restart } of moments) {
          if (change !== undefined) alter(chain, change);
          let answers = 0;
          chain.beforeAnswer = () => {
            for (const [at, meanwhile] of during) if (at === answers) alter(chain, meanwhile);
            answers += 1;
          };
          ledger.crash = crash;
          if (rescan && restart) follower.rescan();
          else if (restart) follower = fresh();
          await follower.poll().catch((error: unknown) => {
            if ((error as Error).message !== 'crash') throw error;
          });
        }
        chain.beforeAnswer = () => undefined;
        ledger.crash = undefined;
        const last = await follower.poll();
        if (last.status === 'backend_behind') {
          // Shorter than all it remembers: it waits. Once the chain is as long again, it follows.
          expect(chain.top.height).toBeLessThan(ledger.position[0]!.height);
          chain.grow(ledger.position.at(-1)!.height - chain.top.height);
          await follower.poll();
        }
        expectSynced(chain, ledger);
        const from = Math.min(startHeight, ledger.position[0]!.height);
        const paid = chain.blocks.slice(from).flatMap((b) => b.txs.slice(1).map((tx): [string, number] => [tx.txid, b.height]));
        expect([...ledger.confirmed].sort()).toEqual(paid.sort());
      }),
      { numRuns: 400 },
    );
  }, 60_000);
});
