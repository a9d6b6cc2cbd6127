import { bytesToHex } from '@noble/hashes/utils.js';
import { type Block, type BlockTx, toSat } from './bitcoind.js';
import type { ChainListener } from './blocks.js';
import type { Node } from './node.js';
import type { Collection } from './store.js';
import { decodeTx, outpointKey, p2trScript, p2wpkhScript, txidOf } from './tx.js';
import { CODE, RpcError } from './types.js';

/** How we can spend a script: an address of the wallet, or our output of a peer's commitment transaction. */
export type Owner =
  | { readonly kind: 'p2wpkh'; readonly index: number }
  | { readonly kind: 'p2tr'; readonly index: number }
  /** BOLT 3 `to_remote` with anchors: our channel's payment key, one block after confirmation. */
  | { readonly kind: 'to_remote'; readonly channel: number; readonly witnessScript: string };

export interface Utxo {
  readonly txid: string;
  readonly vout: number;
  /** Satoshis. */
  readonly amount: number;
  readonly script: string;
  readonly owner: Owner;
  /** Absent while unconfirmed. */
  readonly height?: number;
  /** Height of the block that spends it. */
  readonly spent?: number;
  readonly reservedTil: number;
}

export interface WalletTx {
  readonly txid: string;
  readonly hex: string;
  /** 0 while unconfirmed. */
  readonly height: number;
  readonly index: number;
}

/** Addresses beyond the last one given out that are watched all the same (a seed brought back to a new directory). */
const LOOKAHEAD = 50;
/** Blocks a reservation lasts: 72, half a day. */
export const RESERVATION = 72;

/** The on-chain wallet: which outputs of the chain are ours, and which of them are spoken for. */
export class Wallet implements ChainListener {
  private readonly owners = new Map<string, Owner>();
  private readonly utxos: Collection<Utxo>;
  private readonly txs: Collection<WalletTx>;
  private watched = 0;

  constructor(private readonly node: Node) {
    this.utxos = node.store.collection('utxo');
    this.txs = node.store.collection('tx');
    this.watchTo(Number(node.store.get('last_address') ?? 0) + LOOKAHEAD);
  }

  /** A key index nobody has seen yet. */
  newIndex(): number {
    const index = this.node.store.next('last_address');
    this.watchTo(index + LOOKAHEAD);
    return index;
  }

  /** A fresh P2TR script of ours, for change, closes and sweeps. */
  newScript(): string {
    return p2trScript(this.node.keys.wallet(this.newIndex()));
  }

  watch(script: string, owner: Owner): void {
    this.owners.set(script, owner);
  }

  ownerOf(script: string): Owner | undefined {
    return this.owners.get(script);
  }

  // Coins

  all(): readonly Utxo[] {
    return this.utxos.values();
  }

  utxo(txid: string, vout: number): Utxo | undefined {
    return this.utxos.get(outpointKey(txid, vout));
  }

  transaction(txid: string): WalletTx | undefined {
    return this.txs.get(txid);
  }

  transactions(): readonly WalletTx[] {
    return this.txs.values();
  }

  isReserved(utxo: Utxo): boolean {
    return utxo.reservedTil > this.node.blocks.height;
  }

  /** What may be spent now: unspent, unreserved, deep enough. */
  spendable(minconf = 1): readonly Utxo[] {
    return this.utxos.values().filter((utxo) => utxo.spent === undefined && !this.isReserved(utxo) && this.depth(utxo) >= Math.max(minconf, utxo.owner.kind === 'to_remote' ? 1 : 0));
  }

  depth({ height }: Utxo): number {
    return height === undefined ? 0 : this.node.blocks.height - height + 1;
  }

  /** Reservations add up, as in lightningd. */
  reserve(utxo: Utxo, blocks: number): Utxo {
    return this.put({ ...utxo, reservedTil: Math.max(utxo.reservedTil, this.node.blocks.height) + blocks });
  }

  unreserve(utxo: Utxo, blocks: number): Utxo {
    return this.put({ ...utxo, reservedTil: utxo.reservedTil - blocks <= this.node.blocks.height ? 0 : utxo.reservedTil - blocks });
  }

  /** The coins, in that order. @throws RpcError when one is unknown, spent or reserved */
  take(outpoints: readonly { readonly txid: string; readonly vout: number }[], reservedOk: boolean): readonly Utxo[] {
    return outpoints.map(({ txid, vout }) => {
      const utxo = this.utxo(txid, vout);
      if (utxo === undefined) throw new RpcError(CODE.invalidParams, `Unknown UTXO ${outpointKey(txid, vout)}`);
      if (utxo.spent !== undefined) throw new RpcError(CODE.invalidParams, `UTXO ${outpointKey(txid, vout)} already spent`);
      if (!reservedOk && this.isReserved(utxo)) throw new RpcError(CODE.invalidParams, `UTXO ${outpointKey(txid, vout)} already reserved`);
      return utxo;
    });
  }

  /** A transaction we have sent: its outputs to us are ours at once, unconfirmed. */
  sent(hex: string): void {
    const raw = decodeTx(hex);
    const txid = txidOf(raw);
    if (!this.txs.has(txid)) this.txs.put(txid, { txid, hex, height: 0, index: 0 });
    raw.outputs.forEach(({ amount, script }, vout) => {
      this.found({ txid, vout, amount: Number(amount), script: bytesToHex(script) });
    });
  }

  // Chain

  blockConnected(block: Block): void {
    block.tx.forEach((tx, index) => {
      const ours = [this.spends(tx, block.height), this.receives(tx, block.height)].some(Boolean);
      if (ours || this.txs.has(tx.txid)) this.txs.put(tx.txid, { txid: tx.txid, hex: tx.hex, height: block.height, index });
    });
  }

  blockDisconnected(height: number): void {
    for (const utxo of this.utxos.values()) {
      const { height: confirmed, spent, ...rest } = utxo;
      if (confirmed !== height && spent !== height) continue;
      this.put({ ...rest, ...(confirmed === undefined || confirmed === height ? {} : { height: confirmed }), ...(spent === undefined || spent === height ? {} : { spent }) });
    }
    for (const tx of this.txs.values()) if (tx.height === height) this.txs.put(tx.txid, { ...tx, height: 0, index: 0 });
  }

  private spends({ vin }: BlockTx, height: number): boolean {
    let any = false;
    for (const { txid, vout } of vin) {
      const utxo = txid === undefined || vout === undefined ? undefined : this.utxo(txid, vout);
      if (utxo === undefined) continue;
      this.put({ ...utxo, spent: height });
      any = true;
    }
    return any;
  }

  private receives({ txid, vout }: BlockTx, height: number): boolean {
    return vout.filter(({ n, value, scriptPubKey }) => this.found({ txid, vout: n, amount: toSat(value), script: scriptPubKey.hex, height })).length > 0;
  }

  private found(output: Pick<Utxo, 'txid' | 'vout' | 'amount' | 'script' | 'height'>): boolean {
    const owner = this.owners.get(output.script);
    if (owner === undefined) return false;
    const known = this.utxo(output.txid, output.vout);
    if (known === undefined || output.height !== undefined) this.put({ reservedTil: 0, ...known, ...output, owner });
    return true;
  }

  private put(utxo: Utxo): Utxo {
    this.utxos.put(outpointKey(utxo.txid, utxo.vout), utxo);
    return utxo;
  }

  private watchTo(index: number): void {
    for (; this.watched < index; this.watched += 1) {
      const key = this.node.keys.wallet(this.watched + 1);
      this.owners.set(p2wpkhScript(key), { kind: 'p2wpkh', index: this.watched + 1 });
      this.owners.set(p2trScript(key), { kind: 'p2tr', index: this.watched + 1 });
    }
  }
}
