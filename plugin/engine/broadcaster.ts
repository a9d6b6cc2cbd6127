/**
 * Publishes our transactions, and pays more for them with a child on the anchor where the built-in fee will not do
 * (architecture 10). Called for the same transaction with every block until it confirms.
 */
import type { Sat, Txid } from '../../blip/brands.js';
import { outpointKey } from '../../factory-core/live/paths.js';
import { buildChild, COIN_INPUT, type Child } from '../../factory-core/cpfp.js';
import { wantedFeerate, worthBumping } from '../../factory-core/fees.js';
import type { SignedTx } from '../../factory-core/model.js';
import { signedHex } from '../../factory-core/transactions.js';
import { CPFP_CHILD_VSIZE, feeFor } from '../../factory-core/sizes.js';
import { LightningError, type Coin, type Lightning, type Psbt } from '../lightning/lightning.js';
import type { Log } from '../runtime/definition.js';

interface Attempt {
  readonly since: number;
  /** sat per 1,000 vB that the transaction, with its child if it has one, pays. */
  readonly reached: number;
  readonly child?: { readonly child: Child; readonly coin: Coin };
}

export interface Budget {
  /** What bumping one transaction may cost, in sat. */
  readonly perTransaction: Sat;
}

/** What became of the last try, for the status. */
export interface Published {
  readonly txid: Txid;
  readonly since: number;
  readonly feerate: number;
  readonly problem?: string;
}

export class Broadcaster {
  private readonly attempts = new Map<Txid, Attempt>();
  private readonly problems = new Map<Txid, string>();
  /** One at a time: children compete for the wallet's coins. */
  private queue: Promise<void> = Promise.resolve();

  constructor(
    private readonly lightning: Lightning,
    private readonly budget: Budget,
    private readonly log: Log,
  ) {}

  publish(tx: SignedTx, height: number, deadline: number | undefined, why: string): void {
    this.queue = this.queue.then(async () => {
      try {
        await this.publishNow(tx, height, deadline, why);
      } catch (error) {
        this.note(tx, error instanceof Error ? error.message : String(error));
      }
    });
  }

  /** Nothing is being sent any more. */
  idle(): Promise<void> {
    return this.queue;
  }

  status(txid: Txid): Published | undefined {
    const attempt = this.attempts.get(txid);
    const problem = this.problems.get(txid);
    if (!attempt) return undefined;
    return { txid, since: attempt.since, feerate: attempt.reached, ...(problem === undefined ? {} : { problem }) };
  }

  private note(tx: SignedTx, problem: string): void {
    const { txid } = tx.signable;
    if (this.problems.get(txid) !== problem) this.log('unusual', `${tx.signable.purpose} ${txid}: ${problem}`);
    this.problems.set(txid, problem);
  }

  private async publishNow(tx: SignedTx, height: number, deadline: number | undefined, why: string): Promise<void> {
    const { signable } = tx;
    const { txid, vsize, fee, purpose } = signable;
    const builtIn = Number((fee * 1000n) / BigInt(vsize));
    const known = this.attempts.get(txid);
    if (!known) this.log('info', `publishing ${purpose} ${txid}: ${why}`);
    const attempt: Attempt = known ?? { since: height, reached: builtIn };
    this.attempts.set(txid, attempt);

    const market = await this.lightning.feerates();
    const wanted = wantedFeerate(market, height - attempt.since, deadline === undefined ? undefined : deadline - height);
    const sent = await this.lightning.broadcast(signedHex(tx));
    if (sent.kind === 'missing_inputs') {
      this.note(tx, `not accepted: ${sent.reason}`);
      return;
    }
    if (sent.kind === 'rejected') {
      this.note(tx, `rejected: ${sent.reason}`);
      return;
    }
    this.problems.delete(txid);
    if (worthBumping(attempt.reached, wanted) && signable.tx.outputs.some((o) => o.role.kind === 'anchor')) {
      await this.bump(tx, attempt, wanted);
    }
  }

  private async bump(tx: SignedTx, attempt: Attempt, feerate: number): Promise<void> {
    const { signable } = tx;
    const cost = feeFor(signable.vsize + CPFP_CHILD_VSIZE, feerate) - signable.fee;
    if (cost > this.budget.perTransaction) {
      this.note(tx, `its fee is low and bumping to ${feerate} sat/kvB would cost ${cost.toString()} sat, above the budget`);
      return;
    }
    // A replacement spends the coin of the child before it: both can never confirm.
    const coin = attempt.child?.coin ?? (await this.lightning.reserveCoinForBump(feeFor(signable.vsize + 2 * CPFP_CHILD_VSIZE, feerate)));
    try {
      const { script: changeScript } = await this.lightning.newPayout();
      const replaces = attempt.child ? { replaces: { fee: attempt.child.child.fee } } : {};
      const child = buildChild({ parent: signable, coin, changeScript, feerate, ...replaces });
      const signed = await this.lightning.signBump(child.psbt as Psbt, [COIN_INPUT]);
      const sent = await this.lightning.broadcast(signed.rawTx);
      if (sent.kind !== 'accepted' && sent.kind !== 'known') throw new LightningError('rejected', `its child was not accepted: ${sent.reason}`, child.txid);
      this.attempts.set(signable.txid, { ...attempt, reached: feerate, child: { child, coin } });
      this.log('info', `bumped ${signable.purpose} ${signable.txid} to ${feerate} sat/kvB with ${signed.txid}, spending ${outpointKey(coin.outpoint)}`);
    } catch (error) {
      if (!attempt.child) await this.lightning.releaseCoins([coin.outpoint]);
      throw error;
    }
  }
}
