/**
 * Publishes our transactions, and pays more for them with a child on the anchor where the built-in fee will not do
 * (architecture 10). Called for the same transaction with every block until it confirms.
 */
import type { InstanceId, Sat, Txid } from '../../blip/brands.js';
import type { VolatileEffect } from '../../factory-core/protocol/effects.js';
import { signedHex } from '../../factory-core/transactions.js';
import type { Lightning } from '../lightning/lightning.js';
import type { Log } from '../runtime/definition.js';
import type { BumpRequest, Bumper } from './bumper.js';

export type Publication = Omit<Extract<VolatileEffect, { kind: 'broadcast' }>, 'kind'> & { readonly instanceId: InstanceId };

/** What became of a transaction that is being published, for the status. */
export interface Published {
  readonly instanceId: InstanceId;
  readonly txid: Txid;
  readonly purpose: string;
  /** Height at which it was first sent. */
  readonly since: number;
  readonly deadline?: number;
  /** sat per 1,000 vB that it pays, with its child if it has one. */
  readonly feerate: number;
  readonly child?: { readonly txid: Txid; readonly fee: Sat };
  readonly problem?: string;
}

interface Attempt extends Published {
  /** Height at which it was last asked for. */
  readonly asked: number;
  readonly publication: Publication;
}

const textOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

export class Broadcaster {
  private readonly attempts = new Map<Txid, Attempt>();
  /** What goes out as it is waits for nothing but what goes out before it. */
  private sending: Promise<void> = Promise.resolve();
  /** Children, one at a time: they compete for the wallet's coins. However long one takes, no transaction waits for it. */
  private bumping: Promise<void> = Promise.resolve();
  /** What has its turn there still to come: as it was asked for last. */
  private readonly toBump = new Map<Txid, BumpRequest>();
  /** The height of the first block that was settled. What was to be published before it may not have been asked for yet. */
  private first: number | undefined;
  /** The height of the block that was settled last. */
  private settled: number | undefined;
  /** What is in the two queues. */
  private waiting = 0;

  constructor(
    private readonly lightning: Pick<Lightning, 'broadcast'>,
    private readonly bumper: Pick<Bumper, 'bump' | 'settle'>,
    private readonly log: Log,
  ) {}

  publish(publication: Publication, height: number): void {
    const { tx, instanceId, deadline, why } = publication;
    const { txid, purpose, fee, vsize } = tx.signable;
    const known = this.attempts.get(txid);
    if (!known) this.log('info', `publishing ${purpose} ${txid}: ${why}`);
    const { since, feerate, child, problem } = known ?? { since: height, feerate: Number((fee * 1000n) / BigInt(vsize)) };
    this.attempts.set(txid, {
      instanceId,
      txid,
      purpose,
      since,
      asked: height,
      publication,
      feerate,
      ...(deadline === undefined ? {} : { deadline }),
      ...(child ? { child } : {}),
      ...(problem === undefined ? {} : { problem }),
    });
    this.enqueue(publication, height);
  }

  /**
   * After all that a block asks for: what nobody asks for any more is over. After a look at the chain without a new block:
   * what did not go well is tried again, since what stood in its way may be gone long before the next one.
   */
  settle(height: number): void {
    if (height === this.settled && this.waiting === 0) {
      // By the height it was asked for at: two looks may overlap, and the earlier one end last.
      for (const { problem, publication, asked } of this.attempts.values()) if (problem !== undefined) this.enqueue(publication, asked);
    }
    this.settled = height;
    this.first ??= height;
    if (height === this.first) return;
    for (const [txid, attempt] of this.attempts) if (attempt.asked < height) this.attempts.delete(txid);
    this.afterSending(async () => {
      try {
        await this.bumper.settle(height, new Set(this.attempts.keys()));
      } catch (error) {
        this.log('unusual', `coins of earlier bumps: ${textOf(error)}`);
      }
    });
  }

  /** Nothing is being sent any more. */
  async idle(): Promise<void> {
    await this.sending;
    await this.bumping;
  }

  /** Everything of one factory that is being published. */
  statusOf(instanceId: InstanceId): readonly Published[] {
    return [...this.attempts.values()].filter((attempt) => attempt.instanceId === instanceId);
  }

  private enqueue(publication: Publication, height: number): void {
    const { txid } = publication.tx.signable;
    this.sending = this.sending.then(this.counted(() => this.noting(txid, () => this.send(publication, height))));
  }
  /** Among the children, behind those of all that has been asked for until now. */
  private afterSending(work: () => Promise<void>): void {
    this.sending = this.sending.then(() => this.bump(work));
  }
  private bump(work: () => Promise<void>): void {
    this.bumping = this.bumping.then(this.counted(work));
  }
  private counted(work: () => Promise<void>): () => Promise<void> {
    this.waiting += 1;
    return async () => {
      try {
        await work();
      } finally {
        this.waiting -= 1;
      }
    };
  }

  private async noting(txid: Txid, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.note(txid, textOf(error));
    }
  }

  private update(txid: Txid, { problem, ...result }: Partial<Published>): void {
    const attempt = this.attempts.get(txid);
    if (!attempt) return;
    const { problem: before, ...rest } = attempt;
    if (problem !== undefined && problem !== before) this.log('unusual', `${attempt.purpose} ${txid}: ${problem}`);
    this.attempts.set(txid, { ...rest, ...result, ...(problem === undefined ? {} : { problem }) });
  }

  private note(txid: Txid, problem: string): void {
    this.update(txid, { problem });
  }

  private async send({ tx, instanceId, deadline, exit }: Publication, height: number): Promise<void> {
    const { txid, purpose, tx: body } = tx.signable;
    const sent = await this.lightning.broadcast(signedHex(tx));
    if (sent.kind === 'missing_inputs' || sent.kind === 'rejected') {
      this.note(txid, `${sent.kind === 'rejected' ? 'rejected' : 'not accepted'}: ${sent.reason}`);
      return;
    }
    const refused = sent.kind === 'low_fee' ? `refused: ${sent.reason}` : undefined;
    if (!body.outputs.some((output) => output.role.kind === 'anchor')) {
      this.update(txid, refused === undefined ? {} : { problem: refused });
      return;
    }
    this.toBump.set(txid, {
      instanceId,
      account: `${instanceId} ${exit ? `client ${exit.member}` : purpose}`,
      left: exit?.left ?? 1,
      tx,
      height,
      waited: height - (this.attempts.get(txid)?.since ?? height),
      ...(deadline === undefined ? {} : { deadline }),
      ...(refused === undefined ? {} : { refused }),
    });
    this.bump(() => this.noting(txid, () => this.raise(txid)));
  }

  private async raise(txid: Txid): Promise<void> {
    const request = this.toBump.get(txid);
    this.toBump.delete(txid);
    // Its turn has been already, or it is over.
    if (!request || !this.attempts.has(txid)) return;
    const { reached, child, problem } = await this.bumper.bump(request);
    this.update(txid, { feerate: reached, ...(child ? { child: { txid: child.txid, fee: child.fee } } : {}), ...(problem === undefined ? {} : { problem }) });
  }
}
