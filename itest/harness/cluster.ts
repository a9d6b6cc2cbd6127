import { Bitcoind } from './bitcoind.js';
import type { LightningResults, PeerChannel } from './lightning-results.js';
import { LightningNode, NodeProblems, type NodeOptions, type Options } from './lightningd.js';
import { waitFor } from './wait.js';
import { Workspace } from './workspace.js';

export interface ClusterOptions {
  /** How many clients of the LSP. */
  readonly clients: number;
  /** Options of the LSP's and of every client's plugin; false runs all nodes without it. */
  readonly plugin?: { readonly lsp?: Options; readonly client?: Options } | false;
  /** What the nodes' lightningds start as the plugin, if it is to be something around it. */
  readonly executable?: string;
  readonly loadedAs?: NodeOptions['loadedAs'];
  /** More lightningd options, for every node. */
  readonly options?: Options;
  /** Confirmed coins in the LSP's wallet, in satoshis each (five of 50,000,000). */
  readonly lspCoins?: readonly bigint[];
  /** Confirmed coins in each client's wallet (none: members need no coins). */
  readonly clientCoins?: readonly bigint[];
  /** A node with an announced channel to the LSP, balanced half and half (true). */
  readonly outsider?: boolean;
  readonly allowBroken?: RegExp;
  /** More options of bitcoind's. */
  readonly bitcoind?: readonly string[];
}

/** Capacity of the outsider's channel to the LSP, in satoshis. */
const PUBLIC_CAPACITY = 40_000_000n;

/** A bitcoind, an LSP, its clients, all connected, and the outside world behind the LSP: one announced channel. */
export class Cluster {
  private invoices = 0;

  private constructor(
    readonly workspace: Workspace,
    readonly bitcoind: Bitcoind,
    private readonly setup: ClusterOptions,
    readonly lsp: LightningNode,
    readonly clients: readonly LightningNode[],
    private readonly world: LightningNode | undefined,
    private readonly extra: LightningNode[] = [],
  ) {}

  static async start(setup: ClusterOptions): Promise<Cluster> {
    const workspace = Workspace.create();
    try {
      const bitcoind = await Bitcoind.start(workspace, setup.bitcoind);
      const node = (name: string, plugin: Options | false): Promise<LightningNode> =>
        LightningNode.start({ name, ...common(setup, workspace, bitcoind), plugin });
      const plugin = setup.plugin ?? {};
      const [lsp, world] = await Promise.all([
        node('lsp', plugin !== false && (plugin.lsp ?? {})),
        setup.outsider === false ? undefined : node('world', false),
      ]);
      const clients = await Promise.all(
        Array.from({ length: setup.clients }, (_, index) =>
          node(`c${index}`, plugin !== false && { 'factory-accept': lsp.id, ...plugin.client }),
        ),
      );
      const cluster = new Cluster(workspace, bitcoind, setup, lsp, clients, world);
      await cluster.furnish();
      return cluster;
    } catch (error) {
      await workspace.close();
      throw error;
    }
  }

  get nodes(): readonly LightningNode[] {
    return [this.lsp, ...this.clients, ...(this.world === undefined ? [] : [this.world]), ...this.extra];
  }

  get outsider(): LightningNode {
    if (this.world === undefined) throw new Error('this cluster was started without an outsider');
    return this.world;
  }

  client(index: number): LightningNode {
    const client = this.clients[index];
    if (client === undefined) throw new Error(`there is no client ${index}`);
    return client;
  }

  /** One more node on the same chain, with lightningd options of its own; connects to nobody. The cluster's stop() ends it, too. */
  async addNode(name: string, plugin: Options | false = false, options: Options = {}): Promise<LightningNode> {
    const shared = common(this.setup, this.workspace, this.bitcoind);
    const added = await LightningNode.start({ name, ...shared, options: { ...shared.options, ...options }, plugin });
    this.extra.push(added);
    return added;
  }

  // Chain

  /** Mines, and waits until every running node has seen it. */
  async mine(blocks = 1): Promise<void> {
    await this.bitcoind.mine(blocks);
    await this.synced();
  }

  /** Mines one block once the mempool holds this transaction, or this many. */
  async confirm(wanted: string | number = 1): Promise<void> {
    await this.bitcoind.waitForMempool(wanted);
    await this.mine();
  }

  /** Waits until every running node has seen the chain's tip. */
  async synced(): Promise<void> {
    const height = await this.bitcoind.height();
    await Promise.all(this.nodes.filter((node) => node.running).map((node) => node.waitForHeight(height)));
  }

  /** Confirmed coins of these amounts (satoshis) for a node's wallet. */
  async fund(node: LightningNode, coins: readonly bigint[]): Promise<void> {
    await this.sendCoins(node, coins);
    await this.mine();
    await this.hasCoins(node, coins);
  }

  // Lightning

  /** Pays over Lightning; `to` makes an invoice, `from` pays it. */
  async pay(from: LightningNode, to: LightningNode, amountMsat: number | bigint, options: Options = {}): Promise<LightningResults['xpay']> {
    await Promise.all([this.reachable(from, Number(amountMsat)), this.reachable(to)]);
    this.invoices += 1;
    const invoice = await to.call('invoice', { amount_msat: Number(amountMsat), label: `pay-${this.invoices}`, description: 'itest' });
    return from.call('xpay', { invstring: invoice.bolt11, ...options });
  }

  /** Waits until no channel holds an HTLC: a payment is final for its sender before the other nodes have tidied up. */
  async settled(): Promise<void> {
    const running = this.nodes.filter((node) => node.running);
    const idle = async (node: LightningNode): Promise<boolean> => (await node.channels()).every((channel) => channel.htlcs.length === 0);
    await waitFor('all HTLCs to be settled', async () => (await Promise.all(running.map(idle))).every(Boolean));
  }

  /** What a node owns: in channels that work, and confirmed in its wallet (millisatoshis). */
  async balances(node: LightningNode): Promise<{ readonly channelMsat: number; readonly walletMsat: number }> {
    const [channels, funds] = await Promise.all([node.channels(), node.call('listfunds')]);
    return {
      channelMsat: channels.filter((channel) => channel.state === 'CHANNELD_NORMAL').reduce((sum, channel) => sum + channel.to_us_msat, 0),
      walletMsat: funds.outputs.filter((output) => output.status === 'confirmed').reduce((sum, output) => sum + output.amount_msat, 0),
    };
  }

  /** Opens a channel on the chain and waits until both sides have it in CHANNELD_NORMAL. Satoshis. @returns its id */
  async openChannel(from: LightningNode, to: LightningNode, amount: bigint, options: Options = {}): Promise<string> {
    const opened = await from.call('fundchannel', { id: to.id, amount: Number(amount), ...options });
    await this.bitcoind.waitForMempool(opened.txid);
    await this.mine(6);
    await Promise.all([this.usable(from, opened.channel_id), this.usable(to, opened.channel_id)]);
    return opened.channel_id;
  }

  /** Waits until the node can pay and be paid over this channel. */
  async usable(node: LightningNode, channelId: string): Promise<void> {
    await node.waitFor(`channel ${channelId} to be usable`, async () => {
      const channel = (await node.channels()).find((candidate) => candidate.channel_id === channelId);
      return channel !== undefined && isUsable(channel);
    });
  }

  /** Stops everything and removes it. @throws NodeProblems when a node did something wrong that no test has asked for */
  async stop(): Promise<void> {
    try {
      await Promise.all(this.nodes.map((node) => node.end()));
      const problems = this.nodes.flatMap((node) => node.problems());
      await this.bitcoind.stop();
      if (problems.length > 0) throw new NodeProblems(problems);
    } finally {
      await this.workspace.close();
    }
  }

  /** Waits until a node that has channels can use them: peers drop and renew a connection when they like, and what a node has just been paid it cannot spend yet. */
  private async reachable(node: LightningNode, spendableMsat = 0): Promise<void> {
    await node.waitFor(`a usable channel, ${spendableMsat} msat to spend`, async () => {
      const open = (await node.channels()).filter((channel) => channel.state === 'CHANNELD_NORMAL');
      const usable = open.filter(isUsable);
      return open.length === 0 || (usable.length > 0 && usable.reduce((sum, channel) => sum + channel.spendable_msat, 0) >= spendableMsat);
    });
  }

  private async sendCoins(node: LightningNode, coins: readonly bigint[]): Promise<void> {
    for (const amount of coins) {
      const address = await node.call('newaddr', { addresstype: 'p2tr' });
      await this.bitcoind.send(address.p2tr ?? '', amount);
    }
  }

  /**
   * Now and then a lightningd that has just started does not find in a block what was sent to it: then it is sent once more. What
   * it had is in the error if that does not help either.
   */
  private async hasCoins(node: LightningNode, coins: readonly bigint[]): Promise<void> {
    const confirmed = async (): Promise<boolean> => {
      const { outputs } = await node.call('listfunds');
      if (outputs.filter((output) => output.status === 'confirmed').length >= coins.length) return true;
      const [mempool, { blockheight }] = await Promise.all([this.bitcoind.call('getrawmempool'), node.call('getinfo')]);
      throw new Error(`at height ${blockheight} of ${await this.bitcoind.height()} it has ${outputs.length} coins (${outputs.map((o) => o.status).join(', ')}); ${mempool.length} transactions in the mempool`);
    };
    const what = `${coins.length} confirmed coins`;
    await node.waitFor(what, confirmed, { timeout: 20_000 }).catch(async (error: unknown) => {
      process.stderr.write(`${error instanceof Error ? error.message : String(error)}; sent once more\n`);
      await this.sendCoins(node, coins);
      await this.mine();
      await node.waitFor(what, confirmed);
    });
  }

  private async furnish(): Promise<void> {
    const { lspCoins = Array.from({ length: 5 }, () => 50_000_000n), clientCoins = [] } = this.setup;
    const coins: readonly (readonly [LightningNode, readonly bigint[]])[] = [
      [this.lsp, lspCoins],
      ...this.clients.map((client) => [client, clientCoins] as const),
      ...(this.world === undefined ? [] : [[this.world, [PUBLIC_CAPACITY + 1_000_000n]] as const]),
    ];
    for (const [node, amounts] of coins) await this.sendCoins(node, amounts);
    await this.mine();
    await Promise.all(coins.map(([node, amounts]) => this.hasCoins(node, amounts)));
    await Promise.all(this.nodes.filter((node) => node !== this.lsp).map((node) => node.connect(this.lsp)));
    if (this.world !== undefined) await this.openPublicChannel(this.world);
  }

  private async openPublicChannel(world: LightningNode): Promise<void> {
    // Half for each side. An ordinary channel: architecture 3.2 forbids push_msat for virtual ones only.
    await this.openChannel(world, this.lsp, PUBLIC_CAPACITY, { push_msat: Number(PUBLIC_CAPACITY) * 500 });
    const known = async (node: LightningNode): Promise<boolean> => {
      const { channels } = await node.call('listchannels');
      return channels.filter((channel) => channel.active).length >= 2;
    };
    await waitFor('everybody to know the public channel', async () => (await Promise.all(this.nodes.map(known))).every(Boolean));
  }
}

/** An invoice, or a route, needs the peer's channel_update. */
const isUsable = (channel: PeerChannel): boolean => channel.state === 'CHANNELD_NORMAL' && channel.peer_connected && channel.updates?.remote !== undefined;

const common = (
  { options, executable, loadedAs, allowBroken }: ClusterOptions,
  workspace: Workspace,
  bitcoind: Bitcoind,
): Pick<NodeOptions, 'workspace' | 'bitcoind' | 'executable' | 'loadedAs' | 'options' | 'allowBroken'> => ({
  workspace,
  bitcoind,
  ...(executable === undefined ? {} : { executable }),
  ...(loadedAs === undefined ? {} : { loadedAs }),
  ...(options === undefined ? {} : { options }),
  ...(allowBroken === undefined ? {} : { allowBroken }),
});
