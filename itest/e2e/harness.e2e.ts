import { describe, expect, test } from '@jest/globals';
import { spawnSync } from 'node:child_process';
import { appendFileSync, existsSync } from 'node:fs';
import path from 'node:path';
import { clusterForSuite } from '../harness/suite.js';
import { waitFor } from '../harness/wait.js';
import { groupMembers, REPOSITORY } from '../harness/workspace.js';

describe('the harness, without the plugin', () => {
  const cluster = clusterForSuite({ clients: 1, plugin: false });

  test('everybody is connected to the LSP, which has confirmed coins', async () => {
    const { lsp } = cluster();
    const { peers } = await lsp.call('listpeers');
    expect(peers.filter((peer) => peer.connected)).toHaveLength(2);
    const { walletMsat } = await cluster().balances(lsp);
    expect(walletMsat).toBe(5 * 50_000_000_000);
  });

  test('a channel opens on the chain and pays both ways, through the LSP', async () => {
    const { lsp, outsider } = cluster();
    const client = cluster().client(0);
    await cluster().openChannel(lsp, client, 1_000_000n, { announce: false });
    await cluster().pay(outsider, client, 300_000_000);
    await cluster().settled();
    const paid = await cluster().pay(client, outsider, 100_000_000);
    expect(paid.amount_msat).toBe(100_000_000);
    await cluster().settled();
    const { channelMsat } = await cluster().balances(client);
    expect(channelMsat).toBe(300_000_000 - paid.amount_sent_msat);
  });

  test('nodes come back after a restart and after a power failure', async () => {
    const { lsp } = cluster();
    const client = cluster().client(0);
    const mark = lsp.logMark();
    await lsp.restart();
    await lsp.waitForLog(/Server started with public key/, mark);
    await client.kill();
    expect(client.running).toBe(false);
    await client.resume();
    const [channel] = await client.channels(lsp);
    await cluster().usable(lsp, channel!.channel_id);
    await cluster().usable(client, channel!.channel_id);
    await cluster().pay(client, lsp, 1_000);
  });

  test('the chain reorganises, and what it had confirmed waits in the mempool', async () => {
    const { bitcoind, lsp } = cluster();
    const address = await lsp.call('newaddr', { addresstype: 'p2tr' });
    const txid = await bitcoind.send(address.p2tr!, 100_000n);
    await cluster().confirm(txid);
    expect(await bitcoind.confirmations(txid)).toBe(1);
    await bitcoind.reorganise(1, { confirm: false });
    await cluster().synced();
    expect(await bitcoind.confirmations(txid)).toBe(0);
    await cluster().mine();
    expect(await bitcoind.confirmations(txid)).toBe(1);
  });

  test('a node that dies is reported, and only once', async () => {
    const extra = await cluster().addNode('extra');
    process.kill(extra.pid, 'SIGKILL');
    await expect(extra.stop()).rejects.toMatchObject({ code: 'node_problems' });
    await extra.resume();
    appendFileSync(extra.logFile, 'now **BROKEN** lightningd: a test says so\n');
    await expect(extra.stop()).rejects.toMatchObject({ problems: [expect.stringContaining('a test says so')] });
    await extra.resume();
    await extra.stop();
  });
});

test('a test process that is killed leaves no process and no folder behind', async () => {
  const script = `
    import { Workspace } from '${path.join(REPOSITORY, 'dist/itest/harness/workspace.js')}';
    const workspace = Workspace.create();
    const [one, two] = [workspace.spawn('one', 'sleep', ['600']), workspace.spawn('two', 'sleep', ['600'])];
    console.log(JSON.stringify({ dir: workspace.dir, groups: [one.pid, two.pid] }));
    process.kill(process.pid, 'SIGKILL');`;
  const killed = spawnSync(process.execPath, ['--input-type=module', '--eval', script], { encoding: 'utf8' });
  expect(killed.signal).toBe('SIGKILL');
  const { dir, groups } = JSON.parse(killed.stdout) as { readonly dir: string; readonly groups: readonly number[] };
  await waitFor('the reaper', () => !existsSync(dir) && groups.every((group) => groupMembers(group).length === 0));
});
