import path from 'node:path';

import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';

import { parseBlock } from '../../plugin/chain/block.js';
import type { ChainEvent, ChainSource, WatchSet } from '../../plugin/chain/events.js';
import { createFollower } from '../../plugin/chain/follower.js';
import type { Follower } from '../../plugin/chain/follower.js';
import { openSqliteStore } from '../../plugin/store/sqlite-store.js';
import type { SqliteStore } from '../../plugin/store/sqlite-store.js';
import { script, txid } from '../../blip/brands.js';
import { Bitcoind, toSat } from '../harness/bitcoind.js';
import type { RawTransaction } from '../harness/bitcoind.js';
import { RpcError } from '../harness/rpc.js';
import { Workspace } from '../harness/workspace.js';

jest.setTimeout(120_000);

interface VerboseBlock {
  readonly hash: string;
  readonly height: number;
  readonly previousblockhash?: string;
  readonly tx: readonly (RawTransaction & { readonly vin: readonly { readonly txid?: string; readonly vout?: number }[] })[];
}

/** bitcoind as the follower sees it. */
const sourceOf = (node: Bitcoind): ChainSource => {
  const hashAt = async (height: number): Promise<string | undefined> => {
    try {
      return await node.call('getblockhash', [height]);
    } catch (error) {
      if (error instanceof RpcError && error.code === -8) return undefined;
      throw error;
    }
  };
  return {
    tip: () => node.height(),
    hash: hashAt,
    block: async (height) => {
      const hash = await hashAt(height);
      return hash === undefined ? undefined : { hash, hex: (await node.call('getblock', [hash, 0])) as string };
    },
  };
};

describe('the chain follower on a real bitcoind', () => {
  const workspace = Workspace.create();
  let node: Bitcoind;
  let store: SqliteStore;
  let watch: WatchSet = { outpoints: [], txids: [], scripts: [] };
  let events: ChainEvent[] = [];
  /** txid → height, as the events tell it. */
  const confirmed = new Map<string, number>();
  let follower: Follower;

  const restart = (): void => {
    follower = createFollower({
      source: sourceOf(node),
      blocks: () => store.blocks(),
      watch: () => watch,
      consume: (event) => {
        store.apply({ journal: { event: event.type }, chain: event.step });
        events.push(event);
        if (event.type === 'rescan') confirmed.clear();
        for (const [id, height] of confirmed) if (event.type === 'block_disconnected' && height === event.height) confirmed.delete(id);
        if (event.type === 'block_connected') event.txs.forEach((tx) => confirmed.set(tx.txid, event.height));
        return Promise.resolve();
      },
      startHeight: () => 1,
    });
  };
  /** Polls, and gives what was told as `+height` and `-height`. */
  const told = async (): Promise<readonly string[]> => {
    events = [];
    await follower.poll();
    expect(store.blocks().at(-1)?.hash).toBe(await node.call('getbestblockhash'));
    return events.map((event) => (event.type === 'rescan' ? 'rescan' : `${event.type === 'block_connected' ? '+' : '-'}${event.height}`));
  };
  const range = (sign: string, from: number, to: number): readonly string[] =>
    Array.from({ length: Math.abs(to - from) + 1 }, (_, i) => `${sign}${from + (to < from ? -i : i)}`);
  const address = (): Promise<string> => node.call('getnewaddress', ['', 'bech32m']);
  const scriptOf = async (to: string): Promise<string> => ((await node.call('validateaddress', [to])) as { readonly scriptPubKey: string }).scriptPubKey;

  beforeAll(async () => {
    node = await Bitcoind.start(workspace);
    store = openSqliteStore(path.join(workspace.dir, 'chain.sqlite3'));
    restart();
  }, 120_000);
  afterAll(async () => {
    store.close();
    await node.stop();
    await workspace.close();
  }, 60_000);

  test('every block and transaction is read as bitcoind reads it', async () => {
    // Inputs and outputs of all kinds: legacy, wrapped, segwit and taproot, some with many of them.
    for (const kind of ['legacy', 'p2sh-segwit', 'bech32', 'bech32m']) {
      for (let i = 0; i < 3; i++) await node.send(await node.call('getnewaddress', ['', kind]), 100_000n);
      await node.mine();
    }
    const many = Object.fromEntries(await Promise.all(Array.from({ length: 300 }, async () => [await address(), 0.001] as const)));
    await node.call('sendmany', ['', many]);
    await node.mine();
    await node.call('sendall', [[await address()]]);
    await node.mine();

    const tip = await node.height();
    const source = sourceOf(node);
    let seen = 0;
    for (let height = 0; height <= tip; height++) {
      const raw = await source.block(height);
      const block = parseBlock(raw!.hex);
      const theirs = (await node.call('getblock', [raw!.hash, 2])) as VerboseBlock;
      expect([block.hash, block.prev]).toEqual([theirs.hash, theirs.previousblockhash ?? '00'.repeat(32)]);
      const txs = [...block.transactions()];
      expect(txs.map((tx) => tx.txid)).toEqual(theirs.tx.map((tx) => tx.txid));
      theirs.tx.forEach((their, i) => {
        const tx = txs[i]!;
        expect(tx.raw).toBe(their.hex);
        expect(tx.inputs()).toEqual(their.vin.flatMap((input) => ('txid' in input ? [{ txid: input.txid, vout: input.vout }] : [])));
        expect(tx.outputs()).toEqual(their.vout.map((o) => ({ amount: toSat(o.value), script: o.scriptPubKey.hex })));
        seen += 1;
      });
    }
    expect(seen).toBeGreaterThan(tip + 12);
    await node.mine(110);
  });

  test('catches up from the start, and then block by block', async () => {
    const tip = await node.height();
    expect(await told()).toEqual(range('+', 1, tip));
    expect(await told()).toEqual([]);
    await node.mine(3);
    expect(await told()).toEqual(range('+', tip + 1, tip + 3));
  });

  test('a payment is seen by script, its spend by outpoint; a reorganisation takes both back and brings them again', async () => {
    const to = await address();
    watch = { outpoints: [], txids: [], scripts: [script(await scriptOf(to))] };
    const payment = await node.send(to, 1_000_000n);
    await node.mine();
    const height = await node.height();
    expect(await told()).toEqual([`+${height}`]);
    expect([...confirmed]).toEqual([[payment, height]]);

    const { vout } = await node.transaction(payment);
    const { n } = vout.find((o) => toSat(o.value) === 1_000_000n)!;
    watch = { outpoints: [{ txid: txid(payment), vout: n }], txids: [txid(payment)], scripts: [] };
    const raw = (await node.call('createrawtransaction', [[{ txid: payment, vout: n }], [{ [await address()]: 0.0099 }]])) as string;
    const signed = (await node.call('signrawtransactionwithwallet', [raw])) as { readonly hex: string };
    const spend = await node.call('sendrawtransaction', [signed.hex]);
    await node.mine();
    await told();
    expect([...confirmed]).toEqual([[payment, height], [spend, height + 1]]);
    const event = events.at(-1);
    expect(event?.type === 'block_connected' && event.txs.map((tx) => [tx.txid, tx.raw])).toEqual([[spend, signed.hex]]);

    // Three empty blocks instead of two: both are unconfirmed again.
    await node.reorganise(2, { confirm: false });
    expect(await told()).toEqual([`-${height + 1}`, `-${height}`, `+${height}`, `+${height + 1}`, `+${height + 2}`]);
    expect([...confirmed]).toEqual([]);
    // And then in one block.
    await node.mine();
    await told();
    expect([...confirmed]).toEqual([[payment, height + 3], [spend, height + 3]]);
  });

  test('the chain shrinks, and the same blocks come back', async () => {
    const tip = await node.height();
    const from = await node.call('getblockhash', [tip - 4]);
    await node.call('invalidateblock', [from]);
    expect(await told()).toEqual(range('-', tip, tip - 4));
    await node.call('reconsiderblock', [from]);
    expect(await told()).toEqual(range('+', tip - 4, tip));
  });

  test('another tip of the same height', async () => {
    const tip = await node.height();
    const old = await node.call('getbestblockhash');
    await node.call('invalidateblock', [old]);
    await node.call('generatetoaddress', [1, await address()]);
    expect(await told()).toEqual([`-${tip}`, `+${tip}`]);
    await node.call('reconsiderblock', [old]);
    await node.call('preciousblock', [old]);
    expect(await told()).toEqual([`-${tip}`, `+${tip}`]);
    expect(store.blocks().at(-1)?.hash).toBe(old);
  });

  test('offline through hundreds of blocks and a reorganisation, it comes back in order', async () => {
    const tip = await node.height();
    await node.mine(200);
    await node.reorganise(210, { confirm: false });
    restart();
    expect(await told()).toEqual([...range('-', tip, tip - 9), ...range('+', tip - 9, tip + 201)]);
  });

  test('a reorganisation in the middle of a catch-up', async () => {
    const tip = await node.height();
    await node.mine(20);
    const source = sourceOf(node);
    let answers = 0;
    const troubled = createFollower({
      source: {
        tip: () => source.tip(),
        block: async (height) => {
          answers += 1;
          if (answers === 12) await node.reorganise(15);
          return source.block(height);
        },
      },
      blocks: () => store.blocks(),
      watch: () => watch,
      consume: (event) => {
        store.apply({ journal: { event: event.type }, chain: event.step });
        events.push(event);
        return Promise.resolve();
      },
      startHeight: () => 1,
    });
    events = [];
    await troubled.poll();
    expect(events.map((e) => `${e.type === 'block_connected' ? '+' : '-'}${e.type === 'rescan' ? 0 : e.height}`)).toEqual([
      ...range('+', tip + 1, tip + 11), ...range('-', tip + 11, tip + 6), ...range('+', tip + 6, tip + 21),
    ]);
    expect(await told()).toEqual([]);
  });

  test('deeper than it remembers, it starts anew', async () => {
    await node.reorganise(310, { confirm: false });
    const tip = await node.height();
    expect(await told()).toEqual(['rescan', ...range('+', 1, tip)]);
    expect(store.verifyJournal()).toMatchObject({ ok: true });
  });
});
