/** Purchases in a factory's life: each is made and paid for exactly once, or nothing is left of it. */
import { expect } from '@jest/globals';
import type { LightningResults } from '../harness/lightning-results.js';
import { RpcError } from '../harness/rpc.js';
import { waitFor } from '../harness/wait.js';
import { openChannels } from './factory-helpers.js';
import { PATIENCE_MS } from './kill-plug.js';
import type { Factory, Life } from './life.js';
import { feesPaid, priceOf } from './purchase-helpers.js';
import { sendAlong } from './routes.js';

/** Satoshis. */
const AMOUNT = 20_000;
/** Paid over the new channel, in millisatoshis, with an expiry that leaves time for it to get to the chain. */
const PAID_MSAT = 5_000_000;
const DELAY = 60;

/** What a client is told when its purchase was given up, or cannot be begun yet: it asks again. Not enough to spend, not connected, busy, failed. */
const AGAIN: readonly number[] = [301, 305, 3004, 3009];

type Bought = LightningResults['factory-buy'];

let requests = 0;
const request = (life: Life, { factory_id: id }: Factory): (() => Promise<Bought>) => {
  requests += 1;
  const params = { factory_id: id, amount: AMOUNT, request_id: `purchase-${requests}` };
  return () => life.client.call('factory-buy', params);
};

/** What the two have with each other, as each of them sees it. */
const standing = async ({ cluster: { lsp }, client }: Life) => {
  const sum = (channels: readonly { readonly to_us_msat: number }[]): number => channels.reduce((total, { to_us_msat: ours }) => total + ours, 0);
  const open = await openChannels(client, lsp);
  const working = (one: { readonly channel_id: string }): boolean => open.includes(one.channel_id);
  return {
    open,
    others: await openChannels(lsp, client),
    clients: sum((await client.channels(lsp)).filter(working)),
    lsps: sum((await lsp.channels(client)).filter(working)),
    paid: await feesPaid(client),
  };
};

/** The same request again, until it has come to its end. */
const asked = async (life: Life, ask: () => Promise<Bought>): Promise<Bought> => {
  const { client } = life;
  const answer = await waitFor(
    'the purchase',
    async () => {
      await life.reach(client);
      return ask().catch((error: unknown) => {
        if (!(error instanceof RpcError) || AGAIN.includes(error.code)) throw error;
        return error;
      });
    },
    { timeout: PATIENCE_MS, interval: 500 },
  );
  if (answer instanceof RpcError) throw answer;
  return answer;
};

/** The client buys a channel. Whatever comes in between, in the end it has it, has paid for it once, and is paid over it. */
const buy = async (life: Life, factory: Factory, ask: () => Promise<Bought>): Promise<void> => {
  const { cluster, client } = life;
  const { lsp } = cluster;
  const before = await standing(life);
  await life.part('purchase', ask);
  const bought = await asked(life, ask);
  life.add(factory.factory_id, bought.channel_id);
  for (const one of [...before.open, bought.channel_id]) await Promise.all([cluster.usable(client, one), cluster.usable(lsp, one)]);
  await client.waitFor('its fee to be settled', async () => (await feesPaid(client)) > before.paid);
  await cluster.settled();
  await life.clean();
  const price = priceOf(AMOUNT);
  const open = [...before.open, bought.channel_id].sort();
  expect(await standing(life)).toEqual({ open, others: open, clients: before.clients - price, lsps: before.lsps + AMOUNT * 1_000 + price, paid: before.paid + 1 });
  const { channel_id: channel, txid, purchases } = bought;
  expect(await ask()).toMatchObject({ channel_id: channel, txid, purchases });
  const payment = await sendAlong([{ from: lsp, to: client, delay: DELAY, channel }], PAID_MSAT);
  await payment.done;
  await cluster.settled();
  expect((await client.channels(lsp)).find((c) => c.channel_id === channel)?.to_us_msat).toBe(PAID_MSAT);
  for (const node of [client, lsp]) expect(await node.call('factory-verify', { factory_id: factory.factory_id })).toMatchObject({ ok: true });
};

export const purchase = (life: Life, factory: Factory): Promise<void> => buy(life, factory, request(life, factory));

/**
 * A client that loses its power when it is about to pay gives its purchase up, and so does the LSP: that is the part. Nothing is left of
 * it, and the same request makes another one.
 */
export const abandonedPurchase = async (life: Life, factory: Factory): Promise<void> => {
  const { cluster, client } = life;
  const before = await standing(life);
  const ask = request(life, factory);
  const { outcome } = await life.plug.pull({ victim: 'node', node: client, point: { what: 'before sendpay', nth: 1 } }, ask);
  await expect(outcome).rejects.toThrow();
  await life.part('purchase given up', async () => {
    await life.back(client);
    await life.clean();
  });
  await life.clean();
  await cluster.settled();
  expect(await standing(life)).toEqual(before);
  await buy(life, factory, ask);
};
