/** Payments, several at once, between everybody who has a channel. What became of each is read from the nodes at the end. */
import type { LightningNode } from '../../../itest/harness/lightningd.js';
import { waitFor } from '../../../itest/harness/wait.js';
import type { Payment } from '../ledger.js';
import type { Random } from './random.js';
import type { World } from './world.js';

/** Whole satoshis, as every routing fee is: no channel's balance then has a fraction that a close must round. */
const SMALLEST = 1_000;
const LARGEST = 80_000;
/** A payment that its node has not given up by then is stuck. Milliseconds. */
const PATIENCE = 180_000;

interface Attempt {
  readonly from: LightningNode;
  readonly to: LightningNode;
  readonly hash: string;
  readonly amountMsat: bigint;
  /** What xpay said it sent; undefined when it failed or nobody heard the answer. */
  sentMsat?: bigint;
  failed?: boolean;
}

export class Traffic {
  private readonly attempts: Attempt[] = [];
  private labels = 0;

  constructor(private readonly world: World) {}

  /** One payment after the other until time is up. */
  async run(random: Random): Promise<void> {
    const { world } = this;
    while (!world.ending) {
      const [from, to] = this.pair(random);
      const sat = await this.amount(from, to, random).catch(() => 0);
      if (sat >= SMALLEST) await this.pay(from, to, sat);
      await world.rest(random.between(0, 1_500));
    }
  }

  /** @returns whether it is known to have succeeded */
  async pay(from: LightningNode, to: LightningNode, sat: number): Promise<boolean> {
    const { tally, cluster } = this.world;
    this.labels += 1;
    const label = `soak-${this.labels}`;
    const began = performance.now();
    const involved = [from, to, cluster.lsp];
    const amount = sat * 1000;
    tally.add('attempted');
    let attempt: Attempt | undefined;
    try {
      const invoice = await to.call('invoice', { amount_msat: amount, label, description: label });
      attempt = { from, to, hash: invoice.payment_hash, amountMsat: BigInt(amount) };
      this.attempts.push(attempt);
      const paid = await inTime(from.call('xpay', { invstring: invoice.bolt11, retry_for: 15 }), `${from.name} has not given up a payment to ${to.name}`);
      attempt.sentMsat = BigInt(paid.amount_sent_msat);
      tally.add('succeeded');
      return true;
    } catch (error) {
      const answered = error instanceof Error && error.name === 'RpcError';
      if (attempt) attempt.failed = answered;
      if (error instanceof Stuck) tally.error(error.message);
      tally.add(answered || !attempt ? 'failed' : 'unknown');
      tally.reason('payment', error, this.world.calm(involved, began));
      return false;
    }
  }

  /**
   * What became of every attempt, as its payer and its payee have it.
   * @returns those that succeeded; where the two disagree, or the node's first answer was another, that is an error
   */
  async outcome(): Promise<{ readonly payments: readonly Payment[]; readonly late: number; readonly abandoned: number }> {
    const { cluster, tally } = this.world;
    const sent = new Map(await Promise.all(cluster.nodes.map(async (node) => [node, await sentBy(node)] as const)));
    const received = new Map(await Promise.all(cluster.nodes.map(async (node) => [node, await receivedBy(node)] as const)));
    let late = 0;
    let abandoned = 0;
    const payments = this.attempts.flatMap(({ from, to, hash, amountMsat, sentMsat, failed }) => {
      const out = sent.get(from)?.get(hash);
      const got = received.get(to)?.get(hash);
      const name = `payment ${hash} of ${amountMsat} msat, ${from.name} to ${to.name}`;
      if (out?.pending === true) {
        // Killed before it had written the HTLC down, lightningd keeps the record of the payment as pending for good. No HTLC is
        // left when this is asked, so nothing moved; the books would show it.
        if (failed === false) abandoned += 1;
        else tally.error(`${name}: still pending`);
      }
      if ((out?.msat === undefined) !== (got === undefined)) {
        tally.error(`${name}: sent ${out?.msat ?? 'nothing'}, received ${got ?? 'nothing'}`);
      }
      if (sentMsat !== undefined && sentMsat !== out?.msat) tally.error(`${name}: xpay said ${sentMsat} msat were sent, listsendpays says ${out?.msat ?? 'none'}`);
      if (failed === true && got !== undefined) late += 1;
      return out?.msat !== undefined && got !== undefined ? [{ from, to, amountMsat: got, sentMsat: out.msat }] : [];
    });
    return { payments, late, abandoned };
  }

  private pair(random: Random): readonly [LightningNode, LightningNode] {
    const { cluster, open } = this.world;
    const everybody = [cluster.lsp, cluster.outsider, ...cluster.clients.filter((c) => open.has(c))];
    // Nobody pays from a node that is just starting: lightningd would abort (README, known issues).
    const from = random.pick(everybody.filter((node) => !node.starting));
    return [from, random.pick(everybody.filter((node) => node !== from))];
  }

  /** Whole satoshis: no more than a third of what can be sent and received, so that several fit at once and nobody is run dry. */
  private async amount(from: LightningNode, to: LightningNode, random: Random): Promise<number> {
    const { lsp } = this.world.cluster;
    const normal = async (node: LightningNode) => (await node.channels(lsp)).filter((c) => c.state === 'CHANNELD_NORMAL');
    const spendable = from === lsp ? Infinity : (await normal(from)).reduce((sum, c) => sum + c.spendable_msat, 0);
    const receivable = to === lsp ? Infinity : (await normal(to)).reduce((sum, c) => sum + c.receivable_msat, 0);
    const limit = Math.floor(Math.min(spendable, receivable) / 3_000);
    return limit < SMALLEST ? 0 : random.logarithmic(SMALLEST, Math.min(limit, LARGEST));
  }
}

class Stuck extends Error {}

const inTime = async <T>(work: Promise<T>, what: string): Promise<T> => {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Stuck(`${what} within ${PATIENCE / 1000} s`)), PATIENCE);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
};

interface Sent {
  /** Of its complete parts; undefined when there is none. */
  msat: bigint | undefined;
  pending: boolean;
}

const sentBy = async (node: LightningNode): Promise<ReadonlyMap<string, Sent>> => {
  const { payments } = (await node.call('listsendpays')) as {
    readonly payments: readonly { readonly payment_hash: string; readonly status: string; readonly amount_sent_msat: number }[];
  };
  const sent = new Map<string, Sent>();
  for (const part of payments) {
    const entry = sent.get(part.payment_hash) ?? { msat: undefined, pending: false };
    if (part.status === 'complete') entry.msat = (entry.msat ?? 0n) + BigInt(part.amount_sent_msat);
    if (part.status === 'pending') entry.pending = true;
    sent.set(part.payment_hash, entry);
  }
  return sent;
};

const receivedBy = async (node: LightningNode): Promise<ReadonlyMap<string, bigint>> => {
  const { invoices } = (await node.call('listinvoices')) as {
    readonly invoices: readonly { readonly payment_hash: string; readonly status: string; readonly amount_received_msat?: number }[];
  };
  return new Map(invoices.filter((i) => i.status === 'paid').map((i) => [i.payment_hash, BigInt(i.amount_received_msat ?? 0)]));
};

/** Waits until no working channel of these nodes holds an HTLC. */
export const drained = async (nodes: readonly LightningNode[], timeout: number): Promise<void> => {
  const idle = async (node: LightningNode): Promise<boolean> =>
    (await node.channels()).every((channel) => channel.state !== 'CHANNELD_NORMAL' || channel.htlcs.length === 0);
  await waitFor('all HTLCs to be settled', async () => (await Promise.all(nodes.map(idle))).every(Boolean), { timeout, interval: 500 });
};
