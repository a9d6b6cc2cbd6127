/** What the factory suites have in common. */
import type { Cluster } from '../harness/cluster.js';
import type { LightningResults } from '../harness/lightning-results.js';
import type { LightningNode } from '../harness/lightningd.js';
import { RpcError } from '../harness/rpc.js';

export interface CreateOptions {
  readonly capacity?: bigint;
  readonly stock?: bigint;
  readonly requestId?: string;
  readonly minClients?: number;
  readonly clients?: readonly LightningNode[];
  readonly more?: Readonly<Record<string, unknown>>;
}

export const createFactory = (cluster: Cluster, options: CreateOptions = {}): Promise<LightningResults['factory-create']> =>
  cluster.lsp.call('factory-create', {
    clients: (options.clients ?? cluster.clients).map((c) => c.id),
    capacity: Number(options.capacity ?? 1_000_000n),
    stock: Number(options.stock ?? 0n),
    ...(options.requestId === undefined ? {} : { request_id: options.requestId }),
    ...(options.minClients === undefined ? {} : { min_clients: options.minClients }),
    ...options.more,
  });

/** `connect` returns on one side before the other has noticed. */
export const lspSees = (cluster: Cluster, clients: readonly LightningNode[] = cluster.clients): Promise<boolean> =>
  cluster.lsp.waitFor('its clients to be connected', async (lsp) => {
    const { peers } = await lsp.call('listpeers');
    return clients.every((c) => peers.some((p) => p.id === c.id && p.connected));
  });

/** Created, confirmed and active on every side. */
export const activeFactory = async (cluster: Cluster, options: CreateOptions = {}): Promise<LightningResults['factory-create']> => {
  await lspSees(cluster, options.clients);
  const created = await createFactory(cluster, options);
  await cluster.confirm(created.funding_txid);
  for (const node of [cluster.lsp, ...(options.clients ?? cluster.clients)]) {
    await node.waitFor('active', async () => (await factoryState(node, created.factory_id)) === 'active');
  }
  return created;
};

/** undefined while the node does not know the factory. */
export const factoryState = async (node: LightningNode, factoryId: string): Promise<string | undefined> =>
  (await node.call('factory-list')).factories.find((f) => f.factory_id === factoryId)?.state;

/** The error a call ends with. @throws when it succeeds */
export const rpcError = async (call: Promise<unknown>): Promise<RpcError> => {
  try {
    await call;
  } catch (error) {
    if (error instanceof RpcError) return error;
    throw error;
  }
  throw new Error('the call succeeded');
};

/** Coins of the wallet that are reserved. */
export const reservedCoins = async (node: LightningNode): Promise<number> =>
  (await node.call('listfunds')).outputs.filter((o) => o.reserved).length;

/** Everything a command could have changed on a node: coins, reservations, channels, factories, and the plugin's journal and outbox. */
export const writtenBy = async (node: LightningNode): Promise<unknown> => {
  const [{ outputs }, channels, { factories }, { datastore }, verdict] = await Promise.all([
    node.call('listfunds'),
    node.channels(),
    node.call('factory-list'),
    node.call('listdatastore') as Promise<{ readonly datastore: unknown }>,
    // Every write of the plugin's has an entry in its journal, effects included.
    node.call('factory-verify') as Promise<{ readonly journal: unknown }>,
  ]);
  return { outputs, channels: channels.map((c) => [c.channel_id, c.state, c.funding?.withheld ?? false]), factories, datastore, journal: verdict.journal };
};

/** States of a channel that nobody can use any more. */
const OVER: ReadonlySet<string> = new Set(['CLOSINGD_COMPLETE', 'AWAITING_UNILATERAL', 'FUNDING_SPEND_SEEN', 'ONCHAIN', 'CLOSED']);

/** The node's channels that are not over, in order. */
export const openChannels = async (node: LightningNode, peer?: LightningNode): Promise<readonly string[]> =>
  (await node.channels(peer)).filter((c) => !OVER.has(c.state)).map((c) => c.channel_id).sort();
