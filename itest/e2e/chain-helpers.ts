/** What suites about the chain have in common: blocks that every plugin has seen, and what a way out consists of. */
import { setTimeout as pause } from 'node:timers/promises';
import type { Cluster } from '../harness/cluster.js';
import type { LightningNode } from '../harness/lightningd.js';
import type { LightningResults } from '../harness/lightning-results.js';
import { waitFor } from '../harness/wait.js';

/** Waits until the plugin of every running node (of those given) has seen the tip. */
export const pluginsSynced = async (cluster: Cluster, nodes: readonly LightningNode[] = [cluster.lsp, ...cluster.clients]): Promise<void> => {
  await cluster.synced();
  const height = await cluster.bitcoind.height();
  for (const node of nodes.filter((n) => n.running)) {
    await node.waitFor(`its plugin to see block ${height}`, async () => (await pluginHeight(node)) === height);
  }
};

export const pluginHeight = async (node: LightningNode): Promise<number> =>
  ((await node.call('factory-status')) as unknown as { readonly node: { readonly height: number } }).node.height;

/** Mines, and waits until every plugin has seen it. */
export const mineSeen = async (cluster: Cluster, blocks = 1): Promise<void> => {
  await cluster.bitcoind.mine(blocks);
  await pluginsSynced(cluster);
};

/** Mines block by block until the condition holds: lightningd does its part between them. @returns how many it took */
export const mineUntil = async (cluster: Cluster, what: string, condition: () => Promise<boolean>, patience = 60): Promise<number> => {
  for (let blocks = 0; blocks < patience; blocks += 1) {
    if (await condition()) return blocks;
    await mineSeen(cluster);
    // A moment for what lightningd does about a block after it has seen it.
    await pause(250);
  }
  throw new Error(`${what}: not within ${patience} blocks`);
};

/** The txids of a client's way out, from the root to its leaf. Asking begins the exit. */
export const exitOf = async (node: LightningNode, factoryId: string, of?: LightningNode): Promise<readonly string[]> => {
  const { exits } = (await node.call('factory-exit', { factory_id: factoryId, ...(of === undefined ? {} : { node_id: of.id }) })) as {
    readonly exits: readonly { readonly transactions: readonly { readonly txid: string }[] }[];
  };
  return exits.flatMap(({ transactions }) => transactions.map(({ txid }) => txid));
};

export const statusOf = (node: LightningNode, factoryId: string): Promise<LightningResults['factory-status']> => node.call('factory-status', { factory_id: factoryId });

/** The state `node` sees of the channel with `other` in the factory; of its own with the LSP when `other` is the LSP. */
export const memberState = async (node: LightningNode, factoryId: string, other: LightningNode): Promise<string | undefined> =>
  (await statusOf(node, factoryId)).members.find((m) => m.node_id === other.id)?.state;

/** Whether the transaction has come to the mempool within a moment. */
export const appears = (cluster: Cluster, txid: string, milliseconds = 1_000): Promise<boolean> =>
  waitFor(txid, async () => (await cluster.bitcoind.confirmations(txid)) !== undefined, { timeout: milliseconds }).then(
    () => true,
    () => false,
  );
