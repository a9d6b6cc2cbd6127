/** The coordinator's wallet, as the engine uses it: coins are chosen, reserved, released, spent. */
import { bytesToHex } from '@noble/hashes/utils.js';
import { txid, type Outpoint, type Sat, type Script } from '../../../blip/brands.js';
import { digest } from '../support/factory.js';
import type { Accepted, Chain, SimTx } from './chain.js';
import { outpointText } from './chain.js';

export interface Prepared {
  readonly psbt: string;
  readonly funding: Outpoint;
}

/** What a funding transaction costs; the figure matters to nobody. */
const FEE = 1_000n;

export class Wallet {
  private readonly coins = new Map<string, { readonly outpoint: Outpoint; readonly amount: bigint }>();
  private readonly reserved = new Set<string>();
  private readonly prepared = new Map<string, SimTx>();
  private changes = 0;

  /** @param sameChange every preparation of the same payment gives the same transaction, as without a change output */
  constructor(
    private readonly chain: Chain,
    amounts: readonly bigint[],
    private readonly sameChange: boolean,
  ) {
    for (const amount of amounts) this.deposit(amount);
  }

  deposit(amount: bigint): void {
    const outpoint = this.chain.coin(amount);
    this.coins.set(outpointText(outpoint), { outpoint, amount });
  }
  /** The operator spends a coin elsewhere. */
  drain(): void {
    for (const [key] of this.coins) if (!this.reserved.has(key)) this.coins.delete(key);
  }
  get reservedCount(): number {
    return this.reserved.size;
  }

  select(amount: Sat): readonly Outpoint[] | undefined {
    const chosen: Outpoint[] = [];
    let sum = 0n;
    for (const [key, coin] of this.coins) {
      if (this.reserved.has(key)) continue;
      chosen.push(coin.outpoint);
      sum += coin.amount;
      if (sum >= amount + FEE) return chosen;
    }
    return undefined;
  }

  prepare(coins: readonly Outpoint[], script: Script, amount: Sat): Prepared | undefined {
    // As the engine does: an earlier run of the same effect may have left them reserved.
    this.release(coins);
    if (!coins.every((c) => this.coins.has(outpointText(c)))) return undefined;
    for (const c of coins) this.reserved.add(outpointText(c));
    if (!this.sameChange) this.changes += 1;
    const inputs = coins.map(outpointText).join();
    const id = txid(bytesToHex(digest(`funding ${inputs} ${script} ${String(amount)} ${String(this.changes)}`)));
    this.prepared.set(id, { txid: id, what: 'funding', inputs: coins, outputs: [{ amount, script }], lockTime: 0 });
    return { psbt: id, funding: { txid: id, vout: 0 } };
  }

  release(coins: readonly Outpoint[]): void {
    for (const c of coins) this.reserved.delete(outpointText(c));
  }

  send(psbt: string): Accepted {
    const tx = this.prepared.get(psbt);
    if (!tx) throw new Error('the wallet never prepared this');
    const sent = this.chain.submit(tx);
    if (sent !== 'accepted') return sent;
    // Spent now, and so not reserved either.
    for (const i of tx.inputs) {
      this.coins.delete(outpointText(i));
      this.reserved.delete(outpointText(i));
    }
    return sent;
  }
  transaction(psbt: string): SimTx | undefined {
    return this.prepared.get(psbt);
  }
}
