/**
 * A full disk: no more bytes fit into the plugin's files. What cannot be stored is not done, the operator is told why, and
 * when there is room again all goes on where it was, without a restart.
 */
import { execFileSync } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { whenLogged } from '../fixtures/when-logged.js';
import { Cluster } from '../harness/cluster.js';
import type { LightningNode } from '../harness/lightningd.js';
import { ErrorCode } from '../../plugin/commands/errors.js';
import { RpcError } from '../harness/rpc.js';
import { mineSeen, pluginHeight, pluginsSynced } from './chain-helpers.js';
import { activeFactory, createFactory, factoryState, openChannels, reservedCoins, rpcError } from './factory-helpers.js';

jest.setTimeout(240_000);

/** Seconds a client has for an answer here. */
const PATIENCE = 5;

/**
 * The kernel's limit on the size of a file that a process writes (RLIMIT_FSIZE): with 0 not a byte is accepted any more.
 * Needs no privileges, and touches nothing but this one process.
 */
const limit = (node: LightningNode, bytes: 0 | 'unlimited'): void => {
  const pid = node.pluginPid();
  if (pid === undefined) throw new Error(`${node.name} runs no plugin`);
  // The soft limit alone: it can be raised again.
  execFileSync('prlimit', ['--pid', String(pid), `--fsize=${bytes}:`]);
};
const fill = (node: LightningNode): void => limit(node, 0);
const makeRoom = (node: LightningNode): void => limit(node, 'unlimited');

const NOT_STORED = /is the disk full/;

describe('a full disk', () => {
  let cluster: Cluster;
  const alive: string[] = [];

  beforeAll(async () => {
    cluster = await Cluster.start({
      clients: 2,
      outsider: false,
      lspCoins: [20_000_000n, 20_000_000n],
      plugin: { lsp: { 'factory-min-depth': 1, 'factory-step-timeout': PATIENCE }, client: {} },
      allowBroken: NOT_STORED,
    });
  }, 240_000);
  afterAll(() => cluster.stop(), 240_000);

  const works = async (): Promise<string> => {
    const { factory_id: id, channels } = await activeFactory(cluster, { capacity: 100_000n });
    alive.push(...channels.map((c) => c.channel_id));
    return id;
  };
  const clean = async (): Promise<void> => {
    const { lsp, clients } = cluster;
    await lsp.waitFor('its coins', async () => (await reservedCoins(lsp)) === 0);
    for (const node of [lsp, ...clients]) {
      await node.waitFor('no channel but those of factories', async () => (await openChannels(node)).every((id) => alive.includes(id)));
      await node.waitFor('no ceremony', async () => (await node.call('factory-list')).factories.every((f) => /active|aborted/.test(f.state)));
      expect(await node.call('factory-verify')).toMatchObject({ ok: true, journal: { ok: true } });
    }
  };

  test('of the LSP, when a factory is asked for: it says so, and nothing has happened', async () => {
    const { lsp } = cluster;
    fill(lsp);
    const error = await rpcError(createFactory(cluster));
    expect(error).toMatchObject({ code: 3008 });
    expect(error.message).toMatch(NOT_STORED);
    makeRoom(lsp);
    expect((await lsp.call('factory-list')).factories).toEqual([]);
    await works();
    await clean();
  });

  test('of a client that is invited: it says nothing, and the LSP says who was missing', async () => {
    const client = cluster.client(0);
    fill(client);
    const error = await rpcError(createFactory(cluster));
    makeRoom(client);
    expect(error).toMatchObject({ code: 3002, data: { excluded: [{ node_id: client.id, reason: expect.stringMatching(/no answer to the invitation/) }] } });
    await works();
    await clean();
  });

  // Where a step of the LSP's own cannot be stored: what was done is done again, or given up and given back.
  test.each(['select_coins', 'prepare_funding', 'open_start', 'open_complete', 'arm', 'send_funding'])('of the LSP, from its %s on: all or nothing when there is room again', async (kind) => {
    const { lsp } = cluster;
    const before = (await lsp.call('listfunds')).outputs;
    const begun = whenLogged(lsp, new RegExp(`: ${kind}: begun$`));
    const told = whenLogged(lsp, NOT_STORED);
    const ask = (): Promise<{ readonly created: Awaited<ReturnType<typeof createFactory>> } | { readonly error: unknown }> =>
      createFactory(cluster, { capacity: 100_000n, requestId: `full-${kind}` }).then(
        (created) => ({ created }),
        (error: unknown) => ({ error }),
      );
    const call = ask();
    await begun;
    fill(lsp);
    // Faster than we are, it has all on disk that it needs for its answer: then it is the next block that cannot be stored.
    const faster = await Promise.race([told.then(() => false), call.then((first) => 'created' in first)]);
    if (faster) await cluster.bitcoind.mine(1);
    await told.finally(() => makeRoom(lsp));
    const first = await call;
    // What it cannot store it cannot answer for: asked again, it says what has come of it.
    const outcome = 'error' in first && first.error instanceof RpcError && first.error.code === ErrorCode.Unavailable ? await ask() : first;
    if ('created' in outcome) {
      const { channels, funding_txid: txid, factory_id: id } = outcome.created;
      alive.push(...channels.map((c) => c.channel_id));
      if (!faster) await cluster.confirm(txid);
      for (const node of [lsp, ...cluster.clients]) await node.waitFor('active', async () => (await factoryState(node, id)) === 'active');
      await clean();
    } else {
      expect(outcome.error).toMatchObject({ code: 3002 });
      await clean();
      expect((await lsp.call('listfunds')).outputs).toEqual(before);
    }
  });

  test('of a client with a live factory: payments go on, blocks are caught up with', async () => {
    const id = await works();
    const client = cluster.client(1);
    await pluginsSynced(cluster);
    const height = await pluginHeight(client);
    fill(client);
    const told = whenLogged(client, NOT_STORED);
    await cluster.mine(2);
    await told;
    expect(await pluginHeight(client)).toBeLessThan(height + 2);
    const channel = (await client.channels(cluster.lsp)).at(-1)?.channel_id ?? '';
    await cluster.usable(client, channel);
    await cluster.pay(cluster.lsp, client, 5_000_000);
    await cluster.settled();
    makeRoom(client);
    await mineSeen(cluster);
    expect(await factoryState(client, id)).toBe('active');
    await clean();
  });
});
