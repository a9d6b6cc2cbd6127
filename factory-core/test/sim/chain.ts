/** A block chain for simulations: one best chain, a mempool, reorganisations. Scripts and signatures are the callers' affair. */
import { bytesToHex } from '@noble/hashes/utils.js';
import { sat, script, txid, type Outpoint, type Sat, type Script, type Txid } from '../../../blip/brands.js';
import { digest } from '../support/factory.js';

export const outpointText = (o: Outpoint): string => `${o.txid}:${String(o.vout)}`;

export interface SimOutput {
  readonly amount: Sat;
  readonly script: Script;
}
export interface SimTx {
  readonly txid: Txid;
  readonly what: string;
  readonly inputs: readonly Outpoint[];
  readonly outputs: readonly SimOutput[];
  readonly lockTime: number;
}
export interface Block {
  readonly height: number;
  readonly txs: readonly SimTx[];
}

export type Accepted = 'accepted' | 'known' | 'missing_inputs' | 'conflict' | 'not_final';

export class Chain {
  /** The best chain; the first block is at `base` + 1. */
  private blocks: Block[] = [];
  private readonly mempool = new Map<Txid, SimTx>();
  /** Outputs that exist, confirmed: `txid:vout`. */
  private readonly confirmed = new Map<Txid, SimTx>();
  private readonly spent = new Map<string, SimTx>();
  private coins = 0;

  constructor(readonly base: number) {}

  get height(): number {
    return this.base + this.blocks.length;
  }
  block(height: number): Block | undefined {
    return this.blocks[height - this.base - 1];
  }

  /** A coin out of nowhere, confirmed long ago. */
  coin(amount: bigint): Outpoint {
    this.coins += 1;
    const id = txid(bytesToHex(digest(`coin ${String(this.coins)}`)));
    this.confirmed.set(id, { txid: id, what: 'coin', inputs: [], outputs: [{ amount: sat(amount), script: script('51') }], lockTime: 0 });
    return { txid: id, vout: 0 };
  }

  isConfirmed(id: Txid): boolean {
    return this.confirmed.has(id);
  }
  isKnown(id: Txid): boolean {
    return this.confirmed.has(id) || this.mempool.has(id);
  }
  pendingTxs(): readonly SimTx[] {
    return [...this.mempool.values()];
  }
  /** The confirmed transaction that spends it. */
  spenderOf(o: Outpoint): SimTx | undefined {
    return this.spent.get(outpointText(o));
  }
  output(o: Outpoint): SimOutput | undefined {
    return (this.confirmed.get(o.txid) ?? this.mempool.get(o.txid))?.outputs[o.vout];
  }

  outputsOf(id: Txid): readonly SimOutput[] {
    return this.confirmed.get(id)?.outputs ?? [];
  }

  submit(tx: SimTx): Accepted {
    if (this.isKnown(tx.txid)) return 'known';
    if (tx.lockTime > this.height) return 'not_final';
    for (const input of tx.inputs) {
      if (this.spenderOf(input) || this.mempoolSpender(input)) return 'conflict';
      if (!this.output(input)) return 'missing_inputs';
    }
    this.mempool.set(tx.txid, tx);
    return 'accepted';
  }
  private mempoolSpender(o: Outpoint): SimTx | undefined {
    const key = outpointText(o);
    return [...this.mempool.values()].find((tx) => tx.inputs.some((i) => outpointText(i) === key));
  }

  /** One block with what is in the mempool, or, with `empty`, with nothing. */
  mine(empty = false): Block {
    const txs: SimTx[] = [];
    for (const tx of empty ? [] : this.mempool.values()) {
      if (!tx.inputs.every((i) => this.confirmed.get(i.txid)?.outputs[i.vout] && !this.spenderOf(i))) continue;
      txs.push(tx);
      this.confirmed.set(tx.txid, tx);
      for (const i of tx.inputs) this.spent.set(outpointText(i), tx);
    }
    for (const tx of txs) this.mempool.delete(tx.txid);
    const block = { height: this.height + 1, txs };
    this.blocks.push(block);
    return block;
  }

  /** The last `depth` blocks are no more; what was in them is unconfirmed again, or (`forget`) unheard of. */
  disconnect(depth: number, forget: boolean): void {
    for (let i = 0; i < depth; i += 1) {
      const block = this.blocks.pop();
      if (!block) return;
      for (const tx of [...block.txs].reverse()) {
        this.confirmed.delete(tx.txid);
        for (const input of tx.inputs) this.spent.delete(outpointText(input));
        if (!forget) this.mempool.set(tx.txid, tx);
      }
    }
    // Children of what is no more go with it; parents come before children.
    const all = [...this.mempool.values()];
    this.mempool.clear();
    for (let left = all; left.length > 0; ) {
      const ready = left.filter((tx) => tx.inputs.every((i) => this.output(i)));
      if (ready.length === 0) return;
      for (const tx of ready) this.mempool.set(tx.txid, tx);
      left = left.filter((tx) => !ready.includes(tx));
    }
  }
}
