/**
 * The demo's books: what everybody began with, paid over Lightning, paid in fees on chain, left behind in anchors, and ended
 * with. The chain's side comes from the blocks alone, so a satoshi that went astray has no line to hide in.
 */
import type { Bitcoind, RawTransaction } from '../../itest/harness/bitcoind.js';
import { toSat } from '../../itest/harness/bitcoind.js';
import type { Cluster } from '../../itest/harness/cluster.js';
import type { LightningNode } from '../../itest/harness/lightningd.js';

export interface Payment {
  readonly from: LightningNode;
  readonly to: LightningNode;
  readonly amountMsat: bigint;
  /** With routing fees. */
  readonly sentMsat: bigint;
}

/** A transaction of a block. */
export interface MinedTx {
  readonly txid: string;
  readonly height: number;
  readonly lockTime: number;
  readonly vsize: number;
  readonly fee: bigint;
  readonly spends: readonly string[];
  /** By outpoint, `txid:vout`. */
  readonly outputs: ReadonlyMap<string, { readonly amount: bigint; readonly script: string }>;
}

type BlockTx = RawTransaction & { readonly fee?: number; readonly vin: readonly { readonly coinbase?: string }[] };

/** All transactions but the coinbases in blocks above `from`. */
export const minedSince = async (bitcoind: Bitcoind, from: number): Promise<readonly MinedTx[]> => {
  const found: MinedTx[] = [];
  for (let height = from + 1; height <= (await bitcoind.height()); height += 1) {
    const hash = await bitcoind.call('getblockhash', [height]);
    const block = (await bitcoind.call('getblock', [hash, 2])) as { readonly tx: readonly BlockTx[] };
    for (const tx of block.tx.slice(1)) {
      const outputs = tx.vout.map((o) => [`${tx.txid}:${o.n}`, { amount: toSat(o.value), script: o.scriptPubKey.hex }] as const);
      const spends = tx.vin.map((i) => `${i.txid}:${i.vout}`);
      found.push({ txid: tx.txid, height, lockTime: tx.locktime, vsize: tx.vsize, fee: toSat(tx.fee ?? 0), spends, outputs: new Map(outputs) });
    }
  }
  return found;
};

const PAY_TO_ANCHOR = '51024e73';
/** Of a commitment transaction (BOLT 3). */
const COMMITMENT_ANCHOR = 330n;

export interface Leftover {
  readonly outpoint: string;
  readonly amount: bigint;
  readonly anchor: boolean;
}

/** Outpoints of coins that are or were in the node's wallet. */
const coinsOf = async (node: LightningNode): Promise<ReadonlySet<string>> => {
  const { outputs } = (await node.call('listfunds', { spent: true })) as { readonly outputs: readonly { readonly txid: string; readonly output: number }[] };
  return new Set(outputs.map((o) => `${o.txid}:${o.output}`));
};

export interface Line {
  readonly node: LightningNode;
  readonly before: bigint;
  readonly lightning: bigint;
  readonly fees: bigint;
  readonly left: bigint;
  readonly after: bigint;
  /** What the other columns do not explain; 0 in good books. */
  readonly unexplained: bigint;
}

/** Amounts in msat, except where they come from the chain. */
export class Ledger {
  readonly payments: Payment[] = [];

  private constructor(
    private readonly cluster: Cluster,
    readonly startHeight: number,
    private readonly before: ReadonlyMap<LightningNode, bigint>,
  ) {}

  static async open(cluster: Cluster): Promise<Ledger> {
    return new Ledger(cluster, await cluster.bitcoind.height(), await fortunes(cluster));
  }

  async pay(from: LightningNode, to: LightningNode, amountMsat: bigint): Promise<Payment> {
    const paid = await this.cluster.pay(from, to, amountMsat);
    const payment = { from, to, amountMsat, sentMsat: BigInt(paid.amount_sent_msat) };
    this.payments.push(payment);
    return payment;
  }

  /** What was made since the beginning, is unspent, and is in nobody's wallet: anchors, and money still on its way. */
  async leftovers(): Promise<readonly Leftover[]> {
    const mined = await minedSince(this.cluster.bitcoind, this.startHeight);
    const spent = new Set(mined.flatMap((tx) => tx.spends));
    const owned = await Promise.all(this.cluster.nodes.map(coinsOf));
    return mined.flatMap((tx) =>
      [...tx.outputs]
        .filter(([outpoint]) => !spent.has(outpoint) && !owned.some((coins) => coins.has(outpoint)))
        .map(([outpoint, { amount, script }]) => {
          const anchor = script === PAY_TO_ANCHOR || (amount === COMMITMENT_ANCHOR && script.startsWith('0020'));
          return { outpoint, amount, anchor };
        }),
    );
  }

  /**
   * The last page. The LSP pays for everything on chain (the factory, its tree, its commitments and their anchors), except
   * that who sweeps its own output, or bumps with its own coin, pays for that.
   */
  async close(): Promise<readonly Line[]> {
    const { cluster } = this;
    const mined = await minedSince(cluster.bitcoind, this.startHeight);
    const coins = new Map(await Promise.all(cluster.nodes.map(async (node) => [node, await coinsOf(node)] as const)));
    const payer = (tx: MinedTx): LightningNode =>
      cluster.nodes.find((node) => tx.spends.some((o) => coins.get(node)?.has(o))) ??
      cluster.nodes.find((node) => [...tx.outputs.keys()].every((o) => coins.get(node)?.has(o))) ??
      cluster.lsp;
    const left = (await this.leftovers()).reduce((sum, { amount }) => sum + amount, 0n) * 1000n;
    const after = await fortunes(cluster);
    return cluster.nodes.map((node) => {
      const line = {
        before: this.before.get(node) ?? 0n,
        lightning: this.lightningNet(node),
        fees: mined.filter((tx) => payer(tx) === node).reduce((sum, tx) => sum + tx.fee, 0n) * 1000n,
        left: node === cluster.lsp ? left : 0n,
        after: after.get(node) ?? 0n,
      };
      return { node, ...line, unexplained: line.after - (line.before + line.lightning - line.fees - line.left) };
    });
  }

  /** Routing fees are the LSP's: there is nobody else on the way. */
  private lightningNet(node: LightningNode): bigint {
    return this.payments.reduce((sum, { from, to, amountMsat, sentMsat }) => {
      const routing = node === this.cluster.lsp ? sentMsat - amountMsat : 0n;
      return sum + (to === node ? amountMsat : 0n) - (from === node ? sentMsat : 0n) + routing;
    }, 0n);
  }
}

/** What each node owns: wallet and channels. */
const fortunes = async (cluster: Cluster): Promise<ReadonlyMap<LightningNode, bigint>> =>
  new Map(
    await Promise.all(
      cluster.nodes.map(async (node) => {
        const { channelMsat, walletMsat } = await cluster.balances(node);
        return [node, BigInt(channelMsat) + BigInt(walletMsat)] as const;
      }),
    ),
  );
