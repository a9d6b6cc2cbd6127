/** A node's wallet and a mempool, as far as raising fees needs them: minimum, replacement, packages, reservations. */
import { base64 } from '@scure/base';
import { hex, sat, script, txid, type Hex, type Outpoint, type Sat, type Txid } from '../../../blip/brands.js';
import { INCREMENTAL_FEERATE } from '../../../factory-core/bump.js';
import { CPFP_CHILD_VSIZE, feeFor } from '../../../factory-core/sizes.js';
import type { Signable, SignedTx } from '../../../factory-core/model.js';
import { signedHex } from '../../../factory-core/transactions.js';
import type { Mempool } from '../../bitcoind/mempool.js';
import { BitcoindError } from '../../bitcoind/rpc.js';
import { LightningError, type BroadcastResult, type Coin, type Lightning, type Psbt } from '../../lightning/lightning.js';
import { readPsbt } from '../../lightning/psbt.js';

interface Known {
  readonly txid: Txid;
  readonly vsize: number;
  readonly fee: Sat;
  readonly inputs: readonly Outpoint[];
}
const key = ({ txid: id, vout }: Outpoint): string => `${id}:${vout}`;
const P2TR = script(`5120${'22'.repeat(32)}`);

export const coin = (n: number, amount: bigint): Coin => ({
  outpoint: { txid: txid(n.toString(16).padStart(2, '0').repeat(32)), vout: 0 },
  amount: sat(amount),
  script: P2TR,
  height: 100,
});

export class FeeWorld {
  coins: Coin[] = [];
  readonly reserved = new Set<string>();
  readonly pool = new Map<Txid, Known>();
  /** sat per 1,000 vB. */
  floor = 1_000;
  market = { floor: 1_000, slow: 1_000, normal: 1_000, urgent: 1_000, estimated: true };
  /** bitcoind cannot be reached but through lightningd. */
  away = false;
  /** How often bitcoind was asked directly, answer or not. */
  asked = 0;
  /** What happens in the next call of that name instead of it. */
  readonly failures = new Map<string, Error>();
  onBroadcast: () => void = () => undefined;
  /** Every call that changes something, in order. */
  readonly calls: string[] = [];
  private readonly made = new Map<Hex, Known>();

  know(tx: SignedTx): void {
    this.made.set(signedHex(tx), known(tx.signable));
  }
  /** A stranger's. */
  add(tx: Known): void {
    this.pool.set(tx.txid, tx);
  }
  childOf(parent: Txid): Known | undefined {
    return [...this.pool.values()].find(({ inputs }) => inputs.some((input) => input.txid === parent));
  }
  /** All that is in the mempool is in a block: what it spent is gone. */
  mine(): void {
    const spent = new Set([...this.pool.values()].flatMap(({ inputs }) => inputs.map(key)));
    this.coins = this.coins.filter((c) => !spent.has(key(c.outpoint)));
    this.pool.clear();
  }

  private act(name: string): void {
    this.calls.push(name);
    const failure = this.failures.get(name);
    this.failures.delete(name);
    if (failure) throw failure;
  }

  private accept(txs: readonly Known[]): BroadcastResult {
    if (txs.every((tx) => this.pool.has(tx.txid))) return { kind: 'known' };
    const fresh = txs.filter((tx) => !this.pool.has(tx.txid));
    const [fee, vsize] = [fresh.reduce((s, tx) => s + tx.fee, 0n), fresh.reduce((s, tx) => s + tx.vsize, 0)];
    if (fee < feeFor(vsize, this.floor)) return { kind: 'low_fee', reason: `mempool min fee not met, ${fee} < ${feeFor(vsize, this.floor)}` };
    const spends = new Set(fresh.flatMap((tx) => tx.inputs.map(key)));
    const old = [...this.pool.values()].filter((tx) => tx.inputs.some((input) => spends.has(key(input))));
    const oldFees = old.reduce((s, tx) => s + tx.fee, 0n);
    if (old.length > 0 && fee < oldFees + feeFor(vsize, INCREMENTAL_FEERATE)) return { kind: 'low_fee', reason: 'insufficient fee, rejecting replacement' };
    for (const tx of old) this.pool.delete(tx.txid);
    for (const tx of fresh) this.pool.set(tx.txid, tx);
    return { kind: 'accepted' };
  }

  private find(raw: Hex): Known {
    const found = this.made.get(raw);
    if (!found) throw new Error('nobody made this transaction');
    return found;
  }

  private direct(): void {
    this.asked += 1;
    if (this.away) throw new BitcoindError('unreachable', 'getmempoolinfo', 'connect ECONNREFUSED');
  }

  readonly lightning = {
    feerates: () => Promise.resolve(this.market),
    coins: () => Promise.resolve(this.coins.filter((c) => !this.reserved.has(key(c.outpoint)) && !this.isSpent(c)).sort((a, b) => (a.amount < b.amount ? 1 : -1))),
    utxo: (outpoint: Outpoint) => Promise.resolve(this.coins.find((c) => key(c.outpoint) === key(outpoint) && !this.isSpent(c))),
    newPayout: () => {
      this.act('newPayout');
      return Promise.resolve({ address: 'bcrt1p…', script: P2TR });
    },
    reserveCoin: async (c: Coin, again = false) => {
      await Promise.resolve();
      this.act('reserveCoin');
      if (!again && this.reserved.has(key(c.outpoint))) throw new LightningError('conflict', 'already reserved', key(c.outpoint));
      this.reserved.add(key(c.outpoint));
    },
    releaseCoins: async (outpoints: readonly Outpoint[]) => {
      await Promise.resolve();
      this.act('releaseCoins');
      for (const outpoint of outpoints) this.reserved.delete(key(outpoint));
    },
    signBump: async (psbt: Psbt) => {
      await Promise.resolve();
      this.act('signBump');
      const view = readPsbt(psbt);
      const paid = view.inputs.reduce((s, input) => s + (input.prevout?.amount ?? 0n), 0n) - view.outputs.reduce((s, output) => s + output.amount, 0n);
      const rawTx = hex(Buffer.from(base64.decode(psbt)).toString('hex'));
      this.made.set(rawTx, { txid: view.txid, vsize: CPFP_CHILD_VSIZE, fee: sat(paid), inputs: view.inputs.map((input) => input.outpoint) });
      return { rawTx, txid: view.txid };
    },
    broadcast: async (raw: Hex): Promise<BroadcastResult> => {
      await Promise.resolve();
      this.act('broadcast');
      this.onBroadcast();
      const tx = this.find(raw);
      const anchored = tx.inputs.find((input) => input.vout > 0 && !this.coins.some((c) => key(c.outpoint) === key(input)));
      if (anchored && tx.inputs.length === 2 && !this.pool.has(anchored.txid)) return { kind: 'missing_inputs', reason: 'bad-txns-inputs-missingorspent' };
      return this.accept([tx]);
    },
  } as unknown as Lightning;

  readonly mempool: Mempool = {
    probe: async () => {
      await Promise.resolve();
      this.direct();
    },
    minimum: async () => {
      await Promise.resolve();
      this.direct();
      return { floor: this.floor, incremental: INCREMENTAL_FEERATE };
    },
    entry: (id) => {
      const found = this.pool.get(id);
      const child = this.childOf(id);
      return Promise.resolve(found && { ...found, descendantFees: sat(found.fee + (child?.fee ?? 0n)), spentBy: child ? [child.txid] : [] });
    },
    spender: (outpoint) => Promise.resolve([...this.pool.values()].find((tx) => tx.inputs.some((input) => key(input) === key(outpoint)))?.txid),
    submitPackage: async (transactions) => {
      await Promise.resolve();
      this.act('submitPackage');
      const result = this.accept(transactions.map((raw) => this.find(raw)));
      return result.kind === 'accepted' || result.kind === 'known' ? { kind: 'accepted' } : { kind: 'refused', reason: result.reason };
    },
  };

  private isSpent(c: Coin): boolean {
    return [...this.pool.values()].some(({ inputs }) => inputs.some((input) => key(input) === key(c.outpoint)));
  }
}

const known = ({ txid: id, vsize, fee, tx }: Signable): Known => ({ txid: id, vsize, fee, inputs: [tx.prevout.outpoint] });
