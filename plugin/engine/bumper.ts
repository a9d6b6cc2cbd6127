/**
 * Makes the children that raise fees: which coin, how much of it, and what is entered in the ledger before and after
 * (architecture 10, 12.15, 12.17). What a child should pay is `factory-core/bump.ts`'s business.
 */
import { sat, type InstanceId, type Sat, type Script, type Txid } from '../../blip/brands.js';
import { decideBump, type BumpCase, type BumpDecision } from '../../factory-core/bump.js';
import { buildChild, canBump, childVsize, COIN_INPUT, coinFor, coinPays } from '../../factory-core/cpfp.js';
import type { FeeMarket } from '../../factory-core/fees.js';
import { outpointKey } from '../../factory-core/live/paths.js';
import type { SignedTx } from '../../factory-core/model.js';
import { CPFP_CHILD_VSIZE } from '../../factory-core/sizes.js';
import { signedHex } from '../../factory-core/transactions.js';
import { BitcoindError } from '../bitcoind/rpc.js';
import type { Mempool } from '../bitcoind/mempool.js';
import { LightningError, type Coin, type Lightning, type Psbt } from '../lightning/lightning.js';
import type { Log } from '../runtime/definition.js';
import type { BumpLedger, BumpRecord } from './bump-ledger.js';
import { lookByOwn, lookDirectly, type MempoolView } from './mempool-view.js';

export interface Budget {
  /** What raising the fees of one way out may cost, in sat. */
  readonly perExit: Sat;
  /** The same for everything within 144 blocks. */
  readonly perDay: Sat;
  /** What the wallet keeps in any case. */
  readonly reserve: Sat;
}

export interface BumpRequest {
  readonly instanceId: InstanceId;
  readonly account: string;
  /** How many transactions of this account are still to come, with this one: they share what is left. */
  readonly left: number;
  readonly tx: SignedTx;
  readonly height: number;
  /** Blocks since it was first published. */
  readonly waited: number;
  readonly deadline?: number;
  /** Why the mempool refuses it by itself; absent when it is in. */
  readonly refused?: string;
}

export interface BumpResult {
  /** sat per 1,000 vB that it pays now, with a child if it has one. */
  readonly reached: number;
  /** Of ours, if it is the one that counts. */
  readonly child?: { readonly txid: Txid; readonly fee: Sat };
  readonly problem?: string;
}

interface Limit {
  readonly what: string;
  readonly amount: Sat;
}

export interface BumperParts {
  readonly lightning: Lightning;
  /** bitcoind itself, which may not be there. */
  readonly mempool: Mempool;
  readonly ledger: BumpLedger;
  readonly budget: () => Budget;
  readonly log: Log;
}

/** lightningd reserves a coin for 72 blocks; half of that is waited before it is told again. */
const RESERVE_AGAIN_BLOCKS = 36;

const positive = (amount: bigint): Sat => sat(amount > 0n ? amount : 0n);
const least = (limits: readonly Limit[]): Limit => limits.reduce((a, b) => (b.amount < a.amount ? b : a));
const sum = (amounts: readonly bigint[]): bigint => amounts.reduce((a, b) => a + b, 0n);

export class Bumper {
  /** Why bitcoind could not be asked the last time. */
  private away: string | undefined;
  /** It did not answer: its silence is waited for once until all is settled, not once for every transaction. */
  private silent = false;

  constructor(private readonly parts: BumperParts) {}

  /** Why bitcoind cannot be handed a package now; undefined when it can. */
  async probe(): Promise<string | undefined> {
    try {
      await this.parts.mempool.probe();
      this.isBack();
    } catch (error) {
      this.isAway(error);
    }
    return this.away;
  }

  private isBack(): void {
    if (this.away !== undefined) this.parts.log('info', 'bitcoind can be asked directly again');
    this.away = undefined;
  }

  /** Said in the log when it is new. @throws what is not bitcoind's */
  private isAway(error: unknown): void {
    if (!(error instanceof BitcoindError)) throw error;
    const consequence = 'what is below the mempool’s minimum must wait, and strangers’ children on anchors are not seen';
    if (this.away !== error.message) this.parts.log('unusual', `bitcoind cannot be asked directly (${error.message}): fees are raised by lightningd alone; ${consequence}`);
    this.away = error.message;
  }

  /** @throws LightningError, StoreError: nothing was sent then, or it is entered in the ledger */
  async bump(request: BumpRequest): Promise<BumpResult> {
    const { ledger, lightning } = this.parts;
    const budget = this.parts.budget();
    const { tx, height, refused, account, left } = request;
    const { signable: parent } = tx;
    const own = ledger.openFor(parent.txid);
    const [view, direct] = await this.look(request, own);
    const feerates = await lightning.feerates();
    const market: FeeMarket = { ...feerates, floor: view.floor ?? feerates.floor };
    const limits: Limit[] = [
      { what: 'the budget of this way out', amount: positive((budget.perExit - ledger.spentFrom(account, parent.txid)) / BigInt(left)) },
      { what: 'the budget of a day', amount: positive(budget.perDay - ledger.spentInDay(height, parent.txid)) },
    ];
    const decide = (limit: Sat, vsize: number): BumpDecision => decideBump(this.caseOf(request, view, market, limit, vsize));

    const within = least(limits);
    const first = decide(within.amount, CPFP_CHILD_VSIZE);
    if (view.confirmed) return { reached: first.reached };
    if (refused !== undefined && !direct) {
      return { reached: first.reached, problem: `${refused}; only with its child as a package could it get in, and bitcoind cannot be handed one: ${this.away ?? ''}` };
    }
    const mine = own.find((record) => record.child !== undefined && record.child.txid === view.present?.txid);
    const standing = (decision: BumpDecision): BumpResult => ({
      reached: decision.reached,
      ...(mine?.child ? { child: mine.child } : {}),
      ...(refused === undefined ? {} : { problem: refused }),
    });
    if (!first.child) return { ...standing(first), ...this.explain(request, first, [within], view, mine) };

    const held = await this.held(own, mine);
    const { free, spare } = await this.wallet(held, parent.txid);
    limits.push({ what: `the wallet without its reserve of ${budget.reserve.toString()} sat`, amount: positive(spare - budget.reserve) });
    const coin = this.choose([...held, ...free], first.child.fee);
    limits.unshift({ what: coin ? 'the largest free coin' : 'no confirmed coin is free: the wallet', amount: coin ? coinPays(coin.amount) : sat(0n) });
    const decision = decide(least(limits).amount, coin ? childVsize(coin.script) : CPFP_CHILD_VSIZE);
    const shortage = this.explain(request, decision, limits, view, mine);
    if (!decision.child || !coin) return { ...standing(decision), ...shortage };
    const child = await this.make(request, coin, decision.child.fee, direct);
    this.parts.log(
      'info',
      `bumped ${parent.purpose} ${parent.txid} to ${decision.child.feerate} sat/kvB with ${child.txid}, which pays ${child.fee} sat from ${outpointKey(coin.outpoint)}` +
        (view.present ? ` and replaces ${view.present.txid}` : ''),
    );
    return { reached: decision.child.feerate, child, ...shortage };
  }

  private async look({ tx, refused }: BumpRequest, own: readonly BumpRecord[]): Promise<readonly [MempoolView, boolean]> {
    const { mempool, lightning } = this.parts;
    if (!this.silent) {
      try {
        const view = await lookDirectly(mempool, tx.signable, refused === undefined);
        this.isBack();
        return [view, true];
      } catch (error) {
        this.isAway(error);
        if (error instanceof BitcoindError && error.code === 'unreachable') this.silent = true;
      }
    }
    return [await lookByOwn(lightning, own), false];
  }

  private caseOf({ tx, height, waited, deadline }: BumpRequest, view: MempoolView, market: FeeMarket, limit: Sat, vsize: number): BumpCase {
    return {
      parent: tx.signable,
      childVsize: vsize,
      market,
      waited,
      limit,
      ...(view.present ? { present: view.present } : {}),
      ...(view.rival ? { rival: view.rival } : {}),
      ...(view.incremental === undefined ? {} : { incremental: view.incremental }),
      ...(deadline === undefined ? {} : { blocksLeft: deadline - height }),
    };
  }

  /** Coins that were set aside for this transaction: spent by its present child, or by nobody. */
  private async held(own: readonly BumpRecord[], mine: BumpRecord | undefined): Promise<readonly Coin[]> {
    const held: Coin[] = [];
    for (const record of own) if (record === mine || (await this.parts.lightning.utxo(record.coin.outpoint))) held.push(record.coin);
    return held;
  }

  /** Free coins a child can spend, smallest first, and what the wallet has in all that is not on its way out. */
  private async wallet(held: readonly Coin[], parent: Txid): Promise<{ readonly free: readonly Coin[]; readonly spare: bigint }> {
    const coins = await this.parts.lightning.coins();
    const ours = new Map([...coins, ...held].map((coin) => [outpointKey(coin.outpoint), coin.amount]));
    // What other children give back is the wallet's as well, only not confirmed yet.
    const change = this.parts.ledger.open().filter((record) => record.parent !== parent).map((record) => record.coin.amount - (record.child?.fee ?? 0n));
    const used = new Set(this.parts.ledger.open().map((record) => outpointKey(record.coin.outpoint)));
    const free = coins.filter((coin) => canBump(coin.script) && !used.has(outpointKey(coin.outpoint))).sort((a, b) => (a.amount < b.amount ? -1 : 1));
    return { free, spare: sum([...ours.values(), ...change]) };
  }

  /** The one it has, or the smallest that will do, or else the largest. All children of one parent spend its anchor: only one of them can confirm. */
  private choose(candidates: readonly Coin[], fee: Sat): Coin | undefined {
    const largest = candidates.reduce<Coin | undefined>((a, b) => (a && a.amount >= b.amount ? a : b), undefined);
    return candidates.find((coin) => coin.amount >= coinFor(fee)) ?? largest;
  }

  private explain({ refused, height, deadline }: BumpRequest, { reached, target, lacking }: BumpDecision, limits: readonly Limit[], view: MempoolView, mine: BumpRecord | undefined): Pick<BumpResult, 'problem'> {
    if (lacking === undefined) return {};
    const { what, amount } = least(limits);
    const blocks = deadline === undefined ? '' : `${deadline - height} blocks before its deadline: `;
    const others = view.present && !mine ? `; ${view.present.txid}, which pays ${view.present.fee.toString()} sat, is in the place of our child` : '';
    const rival = view.rival ? `; ${view.rival.txid} is in its place` : '';
    return {
      problem: `${blocks}${refused ?? `it pays ${reached} sat/kvB where ${target} would do`}; that takes a child of ${lacking.toString()} sat, and ${what} has ${amount.toString()} sat for it${others}${rival}`,
    };
  }

  private async make(request: BumpRequest, coin: Coin, fee: Sat, direct: boolean): Promise<{ readonly txid: Txid; readonly fee: Sat }> {
    const { lightning, ledger } = this.parts;
    const { instanceId, account, tx, height } = request;
    const known = ledger.openFor(tx.signable.txid).find((record) => outpointKey(record.coin.outpoint) === outpointKey(coin.outpoint));
    const before: BumpRecord = known ?? { instanceId, account, parent: tx.signable.txid, coin, changeScript: await this.changeScript(tx.signable.txid), height, reserved: height, closed: false };
    // The coin is entered before it is reserved: after a crash in between, it is known whose it is.
    if (!known) ledger.put(before);
    try {
      await lightning.reserveCoin(coin, known !== undefined);
    } catch (error) {
      if (!known) ledger.remove(before);
      throw error;
    }
    let sending = false;
    try {
      const child = buildChild({ parent: tx.signable, coin, changeScript: before.changeScript, fee });
      const { rawTx } = await lightning.signBump(child.psbt as Psbt, [COIN_INPUT]);
      ledger.put({ ...before, height, reserved: height, child: { txid: child.txid, vsize: child.vsize, fee, raw: rawTx } });
      sending = true;
      const reason = await this.send(request, rawTx, direct);
      if (reason === undefined) return { txid: child.txid, fee };
      sending = false;
      throw new LightningError('rejected', `its child of ${fee.toString()} sat was not accepted: ${reason}`, child.txid);
    } catch (error) {
      // Once it is on its way and nobody has said no, it may have arrived.
      if (!sending) await this.undo(before, known !== undefined);
      throw error;
    }
  }

  private async undo(before: BumpRecord, known: boolean): Promise<void> {
    if (known) this.parts.ledger.put(before);
    else {
      await this.parts.lightning.releaseCoins([before.coin.outpoint]);
      this.parts.ledger.remove(before);
    }
  }

  /** One address for all children of a transaction: one of them confirms. */
  private async changeScript(parent: Txid): Promise<Script> {
    return this.parts.ledger.openFor(parent)[0]?.changeScript ?? (await this.parts.lightning.newPayout()).script;
  }

  /** undefined when it was accepted. */
  private async send({ tx, refused }: BumpRequest, raw: Awaited<ReturnType<Lightning['signBump']>>['rawTx'], direct: boolean): Promise<string | undefined> {
    if (refused !== undefined && direct) {
      try {
        const sent = await this.parts.mempool.submitPackage([signedHex(tx), raw]);
        return sent.kind === 'accepted' ? undefined : sent.reason;
      } catch (error) {
        // A bitcoind that has no such method, or not for us, has not done it; one that fell silent may have.
        if (error instanceof BitcoindError && (error.code === 'refused' || error.code === 'unauthorised')) return error.message;
        throw error;
      }
    }
    const sent = await this.parts.lightning.broadcast(raw);
    return sent.kind === 'accepted' || sent.kind === 'known' ? undefined : sent.reason;
  }

  /**
   * After a block: coins whose child lost, or whose parent is not waited for any more, are given back or counted as spent.
   * @param wanted transactions that are still being published
   */
  async settle(height: number, wanted: ReadonlySet<Txid>): Promise<void> {
    const { ledger, lightning } = this.parts;
    this.silent = false;
    for (const record of ledger.open()) {
      const current = wanted.has(record.parent) && ledger.openFor(record.parent).at(-1) === record;
      if (!current) await this.close(record);
      else if (height - record.reserved >= RESERVE_AGAIN_BLOCKS) {
        await lightning.reserveCoin(record.coin, true);
        ledger.put({ ...record, reserved: height });
      }
    }
  }

  private async close(record: BumpRecord): Promise<void> {
    const { ledger, lightning } = this.parts;
    // Unspent, the mempool included: no child of ours is on its way.
    if (await lightning.utxo(record.coin.outpoint)) {
      await lightning.releaseCoins([record.coin.outpoint]);
      ledger.remove(record);
    } else if (record.child) ledger.put({ ...record, closed: true });
    else ledger.remove(record);
  }
}
