/** What the demo's scenes have in common: the cast, the commands they type, the blocks they wait for. */
import path from 'node:path';
import type { Cluster } from '../../itest/harness/cluster.js';
import { toSat } from '../../itest/harness/bitcoind.js';
import type { LightningResults } from '../../itest/harness/lightning-results.js';
import type { LightningNode } from '../../itest/harness/lightningd.js';
import { checkCall } from '../../itest/harness/schemas.js';
import type { Ledger, MinedTx } from './ledger.js';
import { notifiedCall } from './notified-call.js';
import { grouped, satOf, shown, table, told, typed } from './print.js';
import { purposes, type Leaving } from './ways-out.js';

export const NAMES = ['Alice', 'Bob', 'Carol', 'Dave'];
export const CAPACITY = 1_000_000;
export const STOCK = 100_000;

export type Created = LightningResults['factory-create'];

interface Exit {
  readonly exits: readonly { readonly node_id: string; readonly transactions: readonly { readonly txid: string; readonly vsize: number }[] }[];
}

export const short = (id: string): string => `${id.slice(0, 8)}…`;

export class Stage {
  /** Branches that were published so far. */
  readonly leaving: Leaving[] = [];

  constructor(
    readonly cluster: Cluster,
    readonly ledger: Ledger,
  ) {}

  name(node: LightningNode | string): string {
    const id = typeof node === 'string' ? node : node.id;
    const client = this.cluster.clients.findIndex((c) => c.id === id);
    if (client >= 0) return NAMES[client] ?? '';
    return id === this.cluster.lsp.id ? 'LSP' : 'outsider';
  }

  prompt(node: LightningNode, command: string): void {
    typed(this.name(node).toLowerCase(), `lightning-cli ${command}`);
  }

  /** Created, one block later, active on every side, its channels ready. */
  async create(): Promise<Created> {
    const { lsp, clients, bitcoind } = this.cluster;
    this.prompt(lsp, `factory-create '[${NAMES.map((n) => `"${n.toUpperCase()}_ID"`).join(',')}]' ${CAPACITY}sat ${STOCK}sat`);
    const params = { clients: clients.map((c) => c.id), capacity: CAPACITY, stock: STOCK };
    const begun = performance.now();
    const said = new Set<string>();
    const created = (await notifiedCall(path.join(lsp.dir, 'regtest/lightning-rpc'), 'factory-create', params, (text) => {
      const [, step = text] = /^(.*): \d+ of \d+$/.exec(text) ?? [];
      if (!said.has(step)) told(`${((performance.now() - begun) / 1000).toFixed(1)} s  ${step}`);
      said.add(step);
    })) as Created;
    checkCall('factory-create', params, created);
    told(`factory ${short(created.factory_id)} took ${((performance.now() - begun) / 1000).toFixed(1)} s; on chain there will be one transaction:`);
    const { vsize, fees } = await bitcoind.call('getmempoolentry', [created.funding_txid]);
    table(['what', 'txid', 'vB', 'fee sat'], [['funding', created.funding_txid, vsize, toSat(fees.base)]]);
    await this.cluster.confirm(created.funding_txid);
    await this.reaches(created.factory_id, 'active');
    for (const channel of created.channels) {
      for (const node of [lsp, ...clients.filter((c) => c.id === channel.node_id)]) await this.cluster.usable(node, channel.channel_id);
    }
    told('One confirmation later it is active on all five nodes.');
    return created;
  }

  /** Waits until LSP and clients agree on the factory's state. */
  async reaches(id: string, state: string): Promise<void> {
    for (const node of [this.cluster.lsp, ...this.cluster.clients]) {
      await node.waitFor(`its factory to be ${state}`, async () => {
        const { factories } = await node.call('factory-list');
        return factories.find((f) => f.factory_id === id)?.state === state;
      });
    }
  }

  /** Waits until no client has a working channel with the LSP any more: a factory that has closed retires them. */
  async retired(): Promise<void> {
    for (const client of this.cluster.clients) {
      for (const [node, peer] of [[client, this.cluster.lsp], [this.cluster.lsp, client]] as const) {
        await node.waitFor('its channels to be retired', async () => (await node.channels(peer)).every((c) => c.state !== 'CHANNELD_NORMAL'));
      }
    }
  }

  async pay(list: readonly (readonly [LightningNode, LightningNode, number])[]): Promise<void> {
    const [first] = list;
    if (first) {
      this.prompt(first[1], `invoice ${first[2]}sat $LABEL $DESCRIPTION`);
      this.prompt(first[0], 'xpay $INVOICE');
    }
    const rows: (readonly (string | bigint)[])[] = [];
    for (const [from, to, amount] of list) {
      const begun = performance.now();
      const { amountMsat, sentMsat } = await this.ledger.pay(from, to, BigInt(amount) * 1000n);
      rows.push([this.name(from), this.name(to), satOf(amountMsat), satOf(sentMsat - amountMsat), BigInt(Math.round(performance.now() - begun))]);
      // The payer has its receipt before the payee can spend what it got.
      await this.cluster.settled();
    }
    table(['from', 'to', 'sat', 'routing fee', 'ms'], rows);
  }

  /** `factory-status` of the LSP, as a table. */
  async status(id: string): Promise<void> {
    const { lsp } = this.cluster;
    this.prompt(lsp, 'factory-status $FACTORY');
    const status = await lsp.call('factory-status', { factory_id: id });
    const { transactions, vbytes, blocks } = status.exit;
    told(`factory ${short(id)}: ${status.state}; height ${grouped(status.height)}, expires at ${grouped(status.expiry_height)}`);
    if (transactions > 0) told(`the longest way out now: transactions ${transactions}, vB ${vbytes}, blocks to allow for ${blocks}; early warning ${status.early_warning_time} blocks`);
    table(
      ['client', 'connected', 'state', 'on chain', 'client sat', 'LSP sat', 'channel sat'],
      status.members.map((m) => {
        const total = m.channels.reduce((sum, c) => sum + c.total_msat, 0);
        const ours = m.channels.reduce((sum, c) => sum + c.to_us_msat, 0);
        const left = m.state === 'left';
        return [
          this.name(m.node_id),
          m.connected ? 'yes' : 'no',
          m.state,
          `${m.path.confirmed} of ${m.path.transactions}`,
          left ? '' : satOf(total - ours),
          left ? '' : satOf(ours),
          satOf(total),
        ];
      }),
    );
  }

  async tree(id: string): Promise<void> {
    this.prompt(this.cluster.lsp, 'factory-tree $FACTORY text');
    const { text } = (await this.cluster.lsp.call('factory-tree', { factory_id: id, format: 'text' })) as { readonly text: string };
    shown(this.cluster.clients.reduce((drawn, c) => drawn.replace(`${c.id.slice(0, 10)}…`, this.name(c)), text));
  }

  /** Begins an exit and notes whose branches it publishes. @returns how many */
  async exit(node: LightningNode, id: string): Promise<number> {
    this.prompt(node, 'factory-exit $FACTORY');
    const { exits } = (await node.call('factory-exit', { factory_id: id })) as Exit;
    for (const { node_id: peer, transactions } of exits) {
      // A client sees the LSP at the other end.
      const client = this.name(peer === this.cluster.lsp.id ? node : peer);
      this.leaving.push({ client, txids: transactions.map((t) => t.txid) });
    }
    return exits.length;
  }

  /** Everything in these blocks that belongs to an exit, and what else there is. */
  transactions(mined: readonly MinedTx[]): void {
    const named = purposes(mined, this.leaving);
    table(
      ['what', 'txid', 'vB', 'fee sat', 'block'],
      mined.map((tx) => [named.get(tx.txid) ?? 'other', short(tx.txid), tx.vsize, tx.fee, tx.height]),
    );
  }

  /** Mines one block at a time, which every node and plugin gets to answer, until the condition holds. */
  async mineUntil(what: string, condition: () => Promise<boolean>, patience = 60): Promise<void> {
    const { cluster } = this;
    for (let i = 0; i < patience; i += 1) {
      if (await condition()) return;
      await cluster.mine();
      const height = await cluster.bitcoind.height();
      for (const node of [cluster.lsp, ...cluster.clients].filter((n) => n.running)) {
        await node.waitFor(`its plugin to see block ${height}`, async () => {
          const status = (await node.call('factory-status')) as unknown as { readonly node: { readonly height: number } };
          return status.node.height >= height;
        });
      }
    }
    throw new Error(`not after ${patience} blocks: ${what}`);
  }

  /** Nothing unconfirmed, nothing on its way: whatever is in no wallet is an anchor. */
  settledOnChain(): Promise<void> {
    const { cluster, ledger } = this;
    return this.mineUntil('all money is in somebody’s wallet', async () => {
      const mempool = await cluster.bitcoind.call('getrawmempool');
      return mempool.length === 0 && (await ledger.leftovers()).every(({ anchor }) => anchor);
    });
  }
}
