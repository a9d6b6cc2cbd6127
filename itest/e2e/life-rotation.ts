/** Rotations in a factory's life: in the end everybody has all it had in the next one, and the LSP has closed the old one alone. */
import { expect } from '@jest/globals';
import type { LightningResults } from '../harness/lightning-results.js';
import type { LightningNode } from '../harness/lightningd.js';
import { RpcError } from '../harness/rpc.js';
import { waitFor, WaitTimeout } from '../harness/wait.js';
import { mineSeen, pluginsSynced } from './chain-helpers.js';
import { factoryState, openChannels } from './factory-helpers.js';
import { PATIENCE_MS } from './kill-plug.js';
import type { Factory, Life } from './life.js';

type Rotated = LightningResults['factory-rotate'];

/** What comes without a block comes within this time; else it waits for one. */
const UNTIL_A_BLOCK_MS = 3_000;
const MOST_BLOCKS = 40;

let requests = 0;
/** The request, asked again as it was until a factory comes of it; one that came to nothing is another operator's decision. */
const request = ({ cluster: { lsp } }: Life, { factory_id: id }: Factory): (() => Promise<Rotated>) => {
  requests += 1;
  let name = `rotation-${requests}`;
  return async () => {
    try {
      return await lsp.call('factory-rotate', { factory_id: id, request_id: name });
    } catch (error) {
      if (error instanceof RpcError && error.code === 3002) {
        requests += 1;
        name = `rotation-${requests}`;
      }
      throw error;
    }
  };
};

const asked = (life: Life, ask: () => Promise<Rotated>): Promise<Factory> =>
  waitFor(
    'the next factory',
    async () => {
      for (const client of life.cluster.clients) await life.reach(client);
      return (await ask()).to;
    },
    { timeout: PATIENCE_MS, interval: 500 },
  );

/** Blocks come when nothing happens without: what is moving has its time. */
const slowly = async (life: Life, what: string, condition: () => Promise<boolean>): Promise<void> => {
  for (let blocks = 0; blocks < MOST_BLOCKS; blocks += 1) {
    try {
      await waitFor(what, condition, { timeout: UNTIL_A_BLOCK_MS });
      return;
    } catch (error) {
      if (!(error instanceof WaitTimeout)) throw error;
    }
    await mineSeen(life.cluster);
  }
  throw new Error(`${what}: not within ${MOST_BLOCKS} blocks`);
};

/** Everybody moves, and the old factory ends. May be begun anew at any point of it. */
const moved = async (life: Life, old: Factory, next: Factory): Promise<void> => {
  const { cluster } = life;
  const { lsp, clients, bitcoind } = cluster;
  const everywhere = async (probe: (node: LightningNode) => Promise<boolean>): Promise<boolean> => {
    for (const client of clients) await life.reach(client);
    return (await Promise.all([lsp, ...clients].map(probe))).every(Boolean);
  };
  if (((await bitcoind.confirmations(next.funding_txid)) ?? 0) === 0) await cluster.confirm(next.funding_txid);
  await slowly(life, 'the next factory to be active', () => everywhere(async (node) => (await factoryState(node, next.factory_id)) === 'active'));
  await slowly(life, 'the old factory to be closed', () => everywhere(async (node) => (await factoryState(node, old.factory_id)) === 'closed'));
  await slowly(life, 'its channels to be retired', () => everywhere(async (node) => (await openChannels(node)).every((channel) => !life.isOf(channel, old.factory_id))));
};

interface Funding {
  readonly spent_by?: string;
  readonly spending_txid?: string;
  readonly amount_msat: number;
}

/** The members go on in another factory: a part in which it is created, and one in which they move and the old one ends. */
export const rotation = async (life: Life, old: Factory): Promise<Factory> => {
  const { cluster } = life;
  const { lsp, clients, bitcoind } = cluster;
  const before = await Promise.all(clients.map((client) => life.balance(client, old.factory_id)));
  const ask = request(life, old);
  await life.part('next factory', ask);
  const next = await asked(life, ask);
  for (const { channel_id: channel } of next.channels) life.add(next.factory_id, channel);
  await life.part('rotation', () => moved(life, old, next));
  await moved(life, old, next);
  life.forget(old.factory_id);
  await pluginsSynced(cluster);
  await cluster.settled();
  await life.clean();
  // To the millisatoshi: what the reserve kept back, and what moving cost, was made good, and once.
  expect(await Promise.all(clients.map((client) => life.balance(client, next.factory_id)))).toEqual(before);
  const { funding } = (await lsp.call('factory-status', { factory_id: old.factory_id })) as unknown as { readonly funding: Funding };
  expect(funding.spent_by).toBe('close');
  const close = await bitcoind.transaction(funding.spending_txid ?? '');
  expect([close.vin.length, close.vout.length]).toEqual([1, 1]);
  expect((await asked(life, ask)).factory_id).toBe(next.factory_id);
  for (const node of [lsp, ...clients]) expect(await node.call('factory-verify')).toMatchObject({ ok: true });
  return next;
};
