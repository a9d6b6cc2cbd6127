/** What the plugins themselves have paid: for purchases, and to move from one factory to the next. Read from the nodes at the end. */
import type { Cluster } from '../../../itest/harness/cluster.js';
import type { LightningNode } from '../../../itest/harness/lightningd.js';
import type { Payment } from '../ledger.js';

/** Labels by which operators find these payments, too (README). */
const FEE = 'channel factory: fee of a purchase';
const MOVE = /^cln-factory\/([0-9a-f]{64})\/move\//;
const OWED = /^cln-factory\/([0-9a-f]{64})\/owed/;

interface Sent {
  readonly label?: string;
  readonly status: string;
  readonly amount_msat?: number;
  readonly amount_sent_msat: number;
}
interface Invoice {
  readonly label: string;
  readonly status: string;
  readonly amount_received_msat?: number;
}

export const pluginsPayments = async (cluster: Cluster): Promise<readonly Payment[]> => (await Promise.all(cluster.clients.map((client) => paymentsOf(cluster.lsp, client)))).flat();

const paymentsOf = async (lsp: LightningNode, client: LightningNode): Promise<readonly Payment[]> => {
  const { payments } = (await client.call('listsendpays', { status: 'complete' })) as { readonly payments: readonly Sent[] };
  const { invoices } = (await client.call('listinvoices')) as { readonly invoices: readonly Invoice[] };
  const fees = payments.filter((p) => p.label?.includes(FEE) === true).map((p) => transfer(client, lsp, BigInt(p.amount_sent_msat)));
  const moved = payments.flatMap((p) => {
    const from = MOVE.exec(p.label ?? '')?.[1];
    return from === undefined ? [] : [{ from, amountMsat: BigInt(p.amount_msat ?? p.amount_sent_msat), sentMsat: BigInt(p.amount_sent_msat) }];
  });
  const owed = invoices.flatMap((i) => {
    const from = OWED.exec(i.label)?.[1];
    return from === undefined || i.status !== 'paid' ? [] : [{ from, amount: BigInt(i.amount_received_msat ?? 0) }];
  });
  // What could not be moved, and what moving has cost, is paid by the LSP; what it is paid for stays in a channel that is the LSP's now.
  const left = owed.map(({ from, amount }) => amount - moved.filter((m) => m.from === from).reduce((sum, m) => sum + m.sentMsat - m.amountMsat, 0n));
  return [
    ...fees,
    ...moved.map(({ amountMsat, sentMsat }) => ({ from: client, to: client, amountMsat, sentMsat })),
    ...owed.map(({ amount }) => transfer(lsp, client, amount)),
    ...left.map((amount) => transfer(client, lsp, amount)),
  ];
};

const transfer = (from: LightningNode, to: LightningNode, amountMsat: bigint): Payment => ({ from, to, amountMsat, sentMsat: amountMsat });
