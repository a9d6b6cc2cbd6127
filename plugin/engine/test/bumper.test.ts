import { beforeEach, describe, expect, test } from '@jest/globals';
import { sat, schnorrSignature, txid, type InstanceId } from '../../../blip/brands.js';
import { liveFactory } from '../../../factory-core/test/support/live.js';
import { alike } from '../../../factory-core/test/support/factory.js';
import { distributionOf, exitPath } from '../../../factory-core/live/paths.js';
import type { SignedTx } from '../../../factory-core/model.js';
import { anchorOf } from '../../../factory-core/cpfp.js';
import { LightningError } from '../../lightning/lightning.js';
import { openMemoryStore, type MemoryStore } from '../../store/memory-store.js';
import { Broadcaster } from '../broadcaster.js';
import { BumpLedger } from '../bump-ledger.js';
import { Bumper, type Budget, type BumpRequest, type BumpResult } from '../bumper.js';
import { coin, FeeWorld } from './fee-world.js';

const live = liveFactory('member', { clients: alike(7) });
const path = exitPath(live, live.branches[0]!);
const root = path[0]!;
const leaf = path.at(-1)!;
const INSTANCE = live.spec.instanceId;
const BUDGET: Budget = { perExit: sat(50_000n), perDay: sat(80_000n), reserve: sat(10_000n) };
const HEIGHT = 800_100;

let world: FeeWorld;
let store: MemoryStore;
let logged: string[];
const ledger = (): BumpLedger => new BumpLedger(store);
const bumper = (budget: Partial<Budget> = {}, book = ledger()): Bumper =>
  new Bumper({ lightning: world.lightning, mempool: world.mempool, ledger: book, budget: () => ({ ...BUDGET, ...budget }), log: (_, text) => logged.push(text) });
const request = (over: Partial<BumpRequest> = {}): BumpRequest => ({ instanceId: INSTANCE, account: 'exit', left: 1, tx: root, height: HEIGHT, waited: 0, ...over });
/** As the broadcaster does: the parent first. */
const bump = async (by: Bumper, over: Partial<BumpRequest> = {}): Promise<BumpResult> => {
  const wanted = request(over);
  const { signable } = wanted.tx;
  const inputs = [signable.tx.prevout.outpoint];
  const fits = signable.fee * 1_000n >= BigInt(signable.vsize * world.floor);
  if (fits) world.add({ txid: signable.txid, vsize: signable.vsize, fee: signable.fee, inputs });
  return by.bump({ ...wanted, ...(fits ? {} : { refused: 'refused: mempool min fee not met' }) });
};
const reservations = (): number => world.reserved.size;

beforeEach(() => {
  world = new FeeWorld();
  world.coins = [coin(1, 100_000n), coin(2, 20_000n)];
  for (const tx of [...path, distributionOf(live)]) world.know(tx);
  store = openMemoryStore();
  logged = [];
});

describe('a transaction that is in the mempool', () => {
  test('in calm weather gets no child, and no coin is touched', async () => {
    expect(await bump(bumper())).toEqual({ reached: 2_000 });
    expect(world.calls).toEqual([]);
  });

  test('near its deadline gets a dearer child with every block, from one coin', async () => {
    const by = bumper();
    const fees: bigint[] = [];
    for (const left of [4, 3, 2, 1, 0]) {
      const { child, problem } = await bump(by, { height: HEIGHT - left, deadline: HEIGHT });
      expect(problem).toBeUndefined();
      fees.push(child!.fee);
    }
    expect(fees.every((fee, i) => i === 0 || fee >= fees[i - 1]!)).toBe(true);
    expect(fees.at(-1)).toBeGreaterThan(45_000n);
    expect(fees.at(-1)).toBeLessThanOrEqual(50_000n);
    expect(reservations()).toBeLessThanOrEqual(2);
    expect(world.calls.filter((call) => call === 'newPayout')).toHaveLength(1);
    // Of several children one counts.
    expect(ledger().spentInDay(HEIGHT)).toBe(fees.at(-1));
  });

  test('is entered in the ledger before it leaves the node', async () => {
    let entered: bigint | undefined;
    world.onBroadcast = () => {
      entered = ledger().spentInDay(HEIGHT);
    };
    const { child } = await bump(bumper(), { deadline: HEIGHT + 2 });
    expect(entered).toBe(child!.fee);
  });

  test('with a stranger’s child on the anchor: replaced, or left, as the budget allows', async () => {
    const inputs = [anchorOf(root.signable).outpoint];
    const junk = { txid: txid('77'.repeat(32)), vsize: 900, fee: sat(30_000n), inputs };
    world.add(junk);
    const poor = await bump(bumper({ perExit: sat(20_000n) }), { deadline: HEIGHT + 1 });
    expect(poor.child).toBeUndefined();
    expect(poor.problem).toMatch(/^1 blocks before its deadline: .*a child of 30153 sat, and the budget of this way out has 20000 sat for it; 7777.* is in the place of our child$/);
    expect(world.childOf(root.signable.txid)).toEqual(junk);
    const rich = await bump(bumper(), { deadline: HEIGHT + 1 });
    expect(rich.child!.fee).toBeGreaterThan(30_153n);
    expect(world.childOf(root.signable.txid)?.txid).toBe(rich.child!.txid);
  });

  test('whose stranger pays enough needs nothing from us', async () => {
    world.market = { ...world.market, urgent: 10_000, normal: 10_000, slow: 10_000 };
    world.add({ txid: txid('77'.repeat(32)), vsize: 150, fee: sat(9_000n), inputs: [anchorOf(root.signable).outpoint] });
    expect((await bump(bumper())).problem).toBeUndefined();
    expect(world.calls).toEqual([]);
  });
});

describe('a transaction that the mempool refuses', () => {
  beforeEach(() => {
    world.floor = 8_000;
  });

  test('goes in as a package with its child', async () => {
    const { child, reached, problem } = await bump(bumper());
    expect(problem).toBeUndefined();
    expect(reached).toBeGreaterThanOrEqual(8_000);
    expect(world.calls).toEqual(['newPayout', 'reserveCoin', 'signBump', 'submitPackage']);
    expect([...world.pool.keys()]).toEqual([root.signable.txid, child!.txid]);
  });

  test('stays out without bitcoind at hand, and says so', async () => {
    world.away = true;
    const by = bumper();
    expect((await bump(by)).problem).toMatch(/mempool min fee not met; only with its child as a package .*ECONNREFUSED/);
    expect(await by.probe()).toMatch(/ECONNREFUSED/);
    expect(world.calls).toEqual([]);
    world.away = false;
    expect(await by.probe()).toBeUndefined();
    expect(logged.map((text) => /cannot be asked directly|directly again/.exec(text)?.[0])).toEqual(['cannot be asked directly', 'directly again']);
  });

  test('stays out without a coin, and says so', async () => {
    world.coins = [];
    expect((await bump(bumper({ reserve: sat(0n) }))).problem).toMatch(/^refused: .*that takes a child of \d+ sat, and no confirmed coin is free: the wallet has 0 sat/);
  });

  test('outbids what is in its place', async () => {
    world.floor = 1_000;
    const rival = distributionOf(live).signable;
    world.add({ txid: rival.txid, vsize: rival.vsize, fee: sat(4_000n), inputs: [rival.tx.prevout.outpoint] });
    const { child } = await bumper().bump(request({ refused: 'refused: insufficient fee' }));
    expect(root.signable.fee + child!.fee).toBeGreaterThanOrEqual(4_000n + 153n);
    expect([...world.pool.keys()]).toEqual([root.signable.txid, child!.txid]);
  });

  test.each([
    ['the coin is taken', 'reserveCoin', new LightningError('conflict', 'reserved', 'coin')],
    ['the wallet does not sign', 'signBump', new LightningError('unavailable', 'gone', 'signpsbt')],
  ])('leaves no coin reserved and nothing spent when %s', async (_, call, failure) => {
    world.failures.set(call, failure);
    await expect(bump(bumper())).rejects.toBe(failure);
    expect(reservations()).toBe(0);
    expect(ledger().open()).toEqual([]);
    expect((await bump(bumper())).child).toBeDefined();
  });

  test('nor when the package is refused', async () => {
    Object.assign(world.mempool, { submitPackage: () => Promise.resolve({ kind: 'refused', reason: 'because' }) });
    await expect(bump(bumper())).rejects.toThrow(/was not accepted: because/);
    expect(reservations()).toBe(0);
    expect(ledger().open()).toEqual([]);
    expect(ledger().spentInDay(HEIGHT)).toBe(0n);
  });

  test('is counted as spent when nobody knows whether it arrived, and tried again with the same coin', async () => {
    world.failures.set('submitPackage', new Error('socket hang up'));
    await expect(bump(bumper())).rejects.toThrow('socket hang up');
    expect(ledger().spentInDay(HEIGHT)).toBeGreaterThan(0n);
    const [record] = ledger().open();
    expect((await bump(bumper())).child).toBeDefined();
    expect(ledger().open().map((r) => r.coin)).toEqual([record!.coin]);
    expect(reservations()).toBe(1);
  });

  test('after a crash between entry and reservation, the coin is known', async () => {
    Object.assign(world.lightning, { reserveCoin: () => new Promise(() => undefined) });
    void bump(bumper());
    while (ledger().open().length === 0) await Promise.resolve();
    world.failures.clear();
    const again = new FeeWorld();
    Object.assign(again, { coins: world.coins, floor: world.floor });
    for (const tx of path) again.know(tx);
    const { coin: known } = ledger().open()[0]!;
    world = again;
    expect((await bump(bumper())).child).toBeDefined();
    expect(ledger().open().map((r) => r.coin)).toEqual([known]);
  });
});

describe('limits', () => {
  const deadline = HEIGHT;
  const at = (over: Partial<BumpRequest> = {}): Partial<BumpRequest> => ({ deadline, ...over });

  test('what is left of a way out’s budget is shared by the transactions still to come', async () => {
    const by = bumper();
    const first = await bump(by, at({ left: 2 }));
    expect(first.child!.fee).toBeLessThanOrEqual(25_000n);
    expect(first.child!.fee).toBeGreaterThan(24_900n);
    world.mine();
    world.coins.push(coin(3, 200_000n));
    const second = await bump(by, at({ tx: leaf }));
    expect(first.child!.fee + second.child!.fee).toBeLessThanOrEqual(50_000n);
    expect(first.child!.fee + second.child!.fee).toBeGreaterThan(49_000n);
  });

  test('a day has one budget for all, over restarts, and ends', async () => {
    world.coins = [coin(3, 200_000n), coin(4, 200_000n)];
    const first = await bump(bumper(), at());
    expect(first.child!.fee).toBeGreaterThan(49_000n);
    const other = { tx: leaf, account: 'another', instanceId: 'ee'.repeat(32) as InstanceId };
    const second = await bump(bumper(), at(other));
    expect(first.child!.fee + second.child!.fee).toBeLessThanOrEqual(80_000n);
    world.market = { ...world.market, urgent: 20_000 };
    const third = { tx: distributionOf(live), account: 'a third' };
    const refused = await bump(bumper(), at(third));
    expect(refused.problem).toMatch(/the budget of a day has \d{1,3} sat/);
    const nextDay = await bump(bumper(), { ...third, height: HEIGHT + 144, deadline: HEIGHT + 144 });
    expect(nextDay.problem).not.toMatch(/budget of a day/);
  });

  test('the wallet’s reserve is never touched', async () => {
    world.coins = [coin(1, 30_000n)];
    const { child, problem } = await bump(bumper({ reserve: sat(25_000n) }), at());
    expect(child!.fee).toBeLessThanOrEqual(5_000n);
    expect(child!.fee).toBeGreaterThan(4_900n);
    expect(problem).toBeUndefined();
    const [record] = ledger().open();
    expect(30_000n - record!.child!.fee).toBeGreaterThanOrEqual(25_000n);
    expect((await bump(bumper({ reserve: sat(40_000n) }), at({ tx: leaf }))).child).toBeUndefined();
  });

  test('a coin that is too small pays what it can, a larger one takes its place', async () => {
    world.coins = [coin(2, 20_000n)];
    const by = bumper({ reserve: sat(0n) });
    const small = await bump(by, at());
    expect(small.child!.fee).toBeLessThanOrEqual(20_000n - 90n);
    world.coins.push(coin(1, 100_000n));
    const large = await bump(by, at({ height: HEIGHT + 1 }));
    expect(large.child!.fee).toBeGreaterThan(49_000n);
    // The smaller one is nobody's now.
    await by.settle(HEIGHT + 1, new Set([root.signable.txid]));
    expect(reservations()).toBe(1);
    expect(ledger().open()).toHaveLength(1);
  });
});

describe('afterwards', () => {
  test('a child that is in a block stays counted, its coin is no longer held', async () => {
    const by = bumper();
    const { child } = await bump(by, { deadline: HEIGHT });
    world.mine();
    await by.settle(HEIGHT + 1, new Set());
    expect(ledger().open()).toEqual([]);
    expect(ledger().spentInDay(HEIGHT + 1)).toBe(child!.fee);
    expect(ledger().spentInDay(HEIGHT + 144)).toBe(0n);
    expect(ledger().spentFrom('exit')).toBe(child!.fee);
  });

  test('one that lost costs nothing, and its coin is free', async () => {
    const by = bumper();
    await bump(by, { deadline: HEIGHT });
    world.pool.clear();
    await by.settle(HEIGHT + 1, new Set());
    expect(ledger().open()).toEqual([]);
    expect(ledger().spentInDay(HEIGHT + 1)).toBe(0n);
    expect(reservations()).toBe(0);
  });

  test('one that waits keeps its coin reserved', async () => {
    const by = bumper();
    await bump(by, { deadline: HEIGHT });
    const before = world.calls.length;
    await by.settle(HEIGHT + 35, new Set([root.signable.txid]));
    expect(world.calls.slice(before)).toEqual([]);
    await by.settle(HEIGHT + 36, new Set([root.signable.txid]));
    expect(world.calls.slice(before)).toEqual(['reserveCoin']);
  });

  test('without bitcoind at hand, our own child is known by sending it again', async () => {
    world.away = true;
    const by = bumper();
    const first = await bump(by, { height: HEIGHT - 2, deadline: HEIGHT });
    const second = await bump(by, { deadline: HEIGHT });
    expect(second.child!.fee).toBeGreaterThan(first.child!.fee);
    expect(world.childOf(root.signable.txid)?.txid).toBe(second.child!.txid);
    expect(logged.filter((text) => /cannot be asked directly/.test(text))).toHaveLength(1);
  });
});

describe('a bitcoind that is silent', () => {
  test('is waited for once until all is settled', async () => {
    world.away = true;
    const by = bumper();
    for (const tx of path) await bump(by, { tx });
    expect(world.asked).toBe(1);
    await by.settle(HEIGHT, new Set());
    await bump(by);
    expect(world.asked).toBe(2);
  });
});

describe('the broadcaster', () => {
  const unsigned = (tx: SignedTx): SignedTx => ({ ...tx, signature: schnorrSignature('00'.repeat(64)) });
  const publication = (over: object = {}) => ({ instanceId: INSTANCE, tx: unsigned(root), why: 'a test', exit: { member: 0, left: 2 }, ...over });

  test('says what is being published, what it pays and what is wrong, until it is over', async () => {
    world.floor = 8_000;
    world.coins = [];
    const broadcaster = new Broadcaster(world.lightning, bumper({ reserve: sat(0n) }), (_, text) => logged.push(text));
    broadcaster.publish(publication({ deadline: HEIGHT + 10 }), HEIGHT);
    await broadcaster.idle();
    const [status] = broadcaster.statusOf(INSTANCE);
    expect(status).toMatchObject({ txid: root.signable.txid, purpose: 'split', since: HEIGHT, deadline: HEIGHT + 10, feerate: 2_000 });
    expect(status!.problem).toMatch(/^10 blocks before its deadline: refused: mempool min fee not met/);
    expect(logged.some((text) => text.includes('10 blocks before its deadline'))).toBe(true);

    world.coins = [coin(1, 100_000n)];
    broadcaster.settle(HEIGHT);
    broadcaster.publish(publication(), HEIGHT + 1);
    broadcaster.settle(HEIGHT + 1);
    await broadcaster.idle();
    const [now] = broadcaster.statusOf(INSTANCE);
    expect(now!.problem).toBeUndefined();
    expect(now!.deadline).toBeUndefined();
    expect(now!.child).toBeDefined();
    expect(now!.since).toBe(HEIGHT);

    world.mine();
    broadcaster.settle(HEIGHT + 2);
    await broadcaster.idle();
    expect(broadcaster.statusOf(INSTANCE)).toEqual([]);
    expect(ledger().open()).toEqual([]);
  });

  test('tries again what did not go well, block or no block', async () => {
    const broadcaster = new Broadcaster(world.lightning, bumper(), (_, text) => logged.push(text));
    const sends = (): number => world.calls.filter((call) => call === 'broadcast').length;
    broadcaster.settle(HEIGHT);
    world.failures.set('broadcast', new LightningError('unavailable', 'bitcoind cannot be asked', 'sendrawtransaction'));
    broadcaster.publish(publication(), HEIGHT);
    await broadcaster.idle();
    expect(broadcaster.statusOf(INSTANCE)[0]!.problem).toMatch(/cannot be asked/);
    broadcaster.settle(HEIGHT);
    await broadcaster.idle();
    expect(broadcaster.statusOf(INSTANCE)[0]!.problem).toBeUndefined();
    expect(sends()).toBe(2);
    // What went well is left alone until the next block.
    broadcaster.settle(HEIGHT);
    await broadcaster.idle();
    expect(sends()).toBe(2);
  });

  test('does not take a late look at an earlier block for the present', async () => {
    const broadcaster = new Broadcaster(world.lightning, bumper({ perExit: sat(20_000n) }), (_, text) => logged.push(text));
    world.add({ txid: txid('77'.repeat(32)), vsize: 327, fee: sat(20_100n), inputs: [anchorOf(root.signable).outpoint] });
    broadcaster.settle(HEIGHT - 1);
    broadcaster.publish(publication({ deadline: HEIGHT + 1, exit: { member: 0, left: 1 } }), HEIGHT);
    await broadcaster.idle();
    const problem = broadcaster.statusOf(INSTANCE)[0]!.problem;
    expect(problem).toMatch(/^1 blocks before its deadline: .* is in the place of our child$/);
    broadcaster.settle(HEIGHT - 1);
    await broadcaster.idle();
    expect(broadcaster.statusOf(INSTANCE)[0]!.problem).toBe(problem);
  });

  test('lets no transaction wait for another one’s child', async () => {
    const sent: string[] = [];
    let release = (): void => undefined;
    const slow = new Promise<void>((resolve) => (release = resolve));
    const bumped: number[] = [];
    const broadcaster = new Broadcaster(
      { broadcast: (raw) => Promise.resolve({ kind: 'accepted' as const, sent: sent.push(raw) }) },
      {
        bump: async ({ height }) => {
          bumped.push(height);
          await slow;
          return { reached: 2_000 };
        },
        settle: () => Promise.resolve(),
      },
      () => undefined,
    );
    for (const height of [HEIGHT, HEIGHT + 1, HEIGHT + 2]) {
      for (const tx of path) broadcaster.publish(publication({ tx: unsigned(tx) }), height);
      broadcaster.settle(height);
    }
    while (sent.length < 3 * path.length) await Promise.resolve();
    expect(bumped).toHaveLength(1);
    release();
    await broadcaster.idle();
    // What waited had its turn once, as it was asked for last.
    expect(bumped.slice(1).every((height) => height === HEIGHT + 2)).toBe(true);
    expect(bumped.length).toBeLessThanOrEqual(path.length + 1);
  });
});
