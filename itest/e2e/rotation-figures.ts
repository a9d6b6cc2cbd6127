/** What a rotation costs: time, bytes between the LSP and one client, and what is on chain. */
import { toSat, type RawTransaction } from '../harness/bitcoind.js';
import type { Cluster } from '../harness/cluster.js';
import type { LightningNode } from '../harness/lightningd.js';

/** As the plugin logs what it sends. */
const SENT = /-> ([0-9a-f]{66}): ([a-z_]+) \((\d+) bytes\)/;
const CEREMONIES = [
  ['migration', /^(migrat|key_)/],
  ['close', /^close_/],
  ['creation', /./],
] as const;
type Ceremony = (typeof CEREMONIES)[number][0];

export class Figures {
  private readonly marks: readonly [number, number];
  private readonly times: string[] = [];
  private since = 0;

  /** From now on. */
  constructor(
    private readonly lsp: LightningNode,
    private readonly client: LightningNode,
  ) {
    this.marks = [lsp.logMark(), client.logMark()];
  }

  begin(): void {
    this.since = Date.now();
  }
  end(what: string): void {
    this.times.push(`${what} took ${Date.now() - this.since} ms`);
  }

  lines(): readonly string[] {
    const [to, from] = [sentTo(this.lsp, this.marks[0], this.client.id), sentTo(this.client, this.marks[1], this.lsp.id)];
    const bytes = CEREMONIES.map(([name]) => `${name} ${to[name].bytes} bytes in ${to[name].count} messages to a client, ${from[name].bytes} in ${from[name].count} from it`);
    return [...this.times, ...bytes];
  }
}

type Sum = { bytes: number; count: number };
const sentTo = (node: LightningNode, mark: number, peer: string): Readonly<Record<Ceremony, Sum>> => {
  const sums: Record<Ceremony, Sum> = { creation: { bytes: 0, count: 0 }, migration: { bytes: 0, count: 0 }, close: { bytes: 0, count: 0 } };
  for (const line of node.log(mark)) {
    const [, to, type = '', bytes] = SENT.exec(line) ?? [];
    const ceremony = CEREMONIES.find(([, names]) => names.test(type))?.[0];
    if (to !== peer || ceremony === undefined) continue;
    sums[ceremony].bytes += Number(bytes);
    sums[ceremony].count += 1;
  }
  return sums;
};

export interface OnChain {
  readonly tx: RawTransaction;
  /** The factory's output. */
  readonly amountSat: number;
  readonly feeSat: number;
}
interface Funding {
  readonly txid: string;
  readonly spending_txid?: string;
  readonly amount_msat: number;
}

const sats = (coins: number): number => Number(toSat(coins));

const feeOf = async ({ bitcoind }: Cluster, tx: RawTransaction): Promise<number> => {
  const spent = await Promise.all(tx.vin.map(async ({ txid, vout }) => (await bitcoind.transaction(txid)).vout[vout]?.value ?? 0));
  return spent.reduce((sum, value) => sum + sats(value), 0) - tx.vout.reduce((sum, { value }) => sum + sats(value), 0);
};
const onChain = async (cluster: Cluster, factoryId: string, which: (funding: Funding) => string): Promise<OnChain> => {
  const { funding } = (await cluster.lsp.call('factory-status', { factory_id: factoryId })) as unknown as { readonly funding: Funding };
  const tx = await cluster.bitcoind.transaction(which(funding));
  return { tx, amountSat: funding.amount_msat / 1_000, feeSat: await feeOf(cluster, tx) };
};

export const fundingOf = (cluster: Cluster, factoryId: string): Promise<OnChain> => onChain(cluster, factoryId, ({ txid }) => txid);
/** The transaction that ended it. */
export const closeOf = (cluster: Cluster, factoryId: string): Promise<OnChain> => onChain(cluster, factoryId, ({ spending_txid: txid }) => txid ?? '');
