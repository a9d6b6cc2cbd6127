/** Blocks and chains made by hand, for the tests of the follower. */
import { createHash } from 'node:crypto';

import { hex, script, txid } from '../../blip/brands.js';
import type { Hex, Outpoint, Script, Txid } from '../../blip/brands.js';
import type { ChainEvent, ChainSource, WatchSet } from '../chain/events.js';
import { advance, stepProblem } from '../chain/position.js';
import type { BlockRef } from '../chain/position.js';

const doubleSha = (bytes: Uint8Array): Buffer => createHash('sha256').update(createHash('sha256').update(bytes).digest()).digest();
const u32 = (n: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(n);
  return bytes;
};
const u64 = (n: bigint): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(n);
  return bytes;
};
export const compactSize = (n: number): Buffer => {
  if (n < 0xfd) return Buffer.from([n]);
  if (n <= 0xffff) return Buffer.from([0xfd, n & 0xff, n >> 8]);
  return Buffer.concat([Buffer.from([0xfe]), u32(n)]);
};
const reversed = (text: string): Buffer => Buffer.from(text, 'hex').reverse();
const display = (bytes: Buffer): string => Buffer.from(bytes).reverse().toString('hex');
const prefixed = (bytes: Buffer): Buffer => Buffer.concat([compactSize(bytes.length), bytes]);

export interface SimOutput {
  readonly amount: bigint;
  readonly script: Script;
}
export interface SimTx {
  readonly txid: Txid;
  readonly raw: Hex;
  readonly inputs: readonly Outpoint[];
  readonly outputs: readonly SimOutput[];
}

/** A transaction; with `witness`, each input gets these items. */
export const makeTx = (inputs: readonly Outpoint[], outputs: readonly SimOutput[], witness: readonly string[] = [], lockTime = 0): SimTx => {
  const body = Buffer.concat([
    compactSize(inputs.length),
    ...inputs.flatMap((o) => [reversed(o.txid), u32(o.vout), Buffer.from([0]), u32(0xfffffffe)]),
    compactSize(outputs.length),
    ...outputs.flatMap((o) => [u64(o.amount), prefixed(Buffer.from(o.script, 'hex'))]),
  ]);
  const items = Buffer.concat([compactSize(witness.length), ...witness.map((item) => prefixed(Buffer.from(item, 'hex')))]);
  const [version, end] = [u32(2), u32(lockTime)];
  const bare = Buffer.concat([version, body, end]);
  const raw = witness.length === 0 ? bare : Buffer.concat([version, Buffer.from([0, 1]), body, ...inputs.map(() => items), end]);
  return { txid: txid(display(doubleSha(bare))), raw: hex(raw.toString('hex')), inputs, outputs };
};

const NOTHING: Outpoint = { txid: txid('00'.repeat(32)), vout: 0xffffffff };
/** A coinbase; `nonce` makes it unlike any other. */
export const coinbase = (nonce: number): SimTx => makeTx([NOTHING], [{ amount: 50n, script: script('51') }], ['00'.repeat(32)], nonce);

export interface SimBlock extends BlockRef {
  readonly hex: string;
  readonly txs: readonly SimTx[];
}

let nonces = 0;
/** A block on `prev` (undefined: a first one) with these transactions after a coinbase. */
export const makeBlock = (prev: SimBlock | undefined, txs: readonly SimTx[] = [], height = (prev?.height ?? -1) + 1): SimBlock => {
  const all = [coinbase((nonces += 1)), ...txs];
  const header = Buffer.concat([u32(4), reversed(prev?.hash ?? '00'.repeat(32)), doubleSha(u32(nonces)), u32(1), u32(2), u32(nonces)]);
  return {
    height,
    hash: display(doubleSha(header)) as BlockRef['hash'],
    prev: (prev?.hash ?? '00'.repeat(32)) as BlockRef['prev'],
    hex: Buffer.concat([header, compactSize(all.length), ...all.map((tx) => Buffer.from(tx.raw, 'hex'))]).toString('hex'),
    txs: all,
  };
};

/** A best chain that can be changed at any moment, also between two answers of the source. */
export class SimChain implements ChainSource {
  blocks: readonly SimBlock[];
  /** Called before every answer. */
  beforeAnswer: () => void = () => undefined;
  /** How many blocks were given out. */
  served = 0;

  constructor(length: number) {
    this.blocks = [];
    this.grow(length);
  }

  get top(): SimBlock {
    return this.blocks.at(-1)!;
  }
  grow(count = 1, txs: readonly SimTx[] = []): void {
    for (let i = 0; i < count; i++) this.blocks = [...this.blocks, makeBlock(this.blocks.at(-1), i === 0 ? txs : [])];
  }
  /** Replaces the last `depth` blocks by `count` new ones. The first block stays. */
  reorganise(depth: number, count: number, txs: readonly SimTx[] = []): void {
    this.blocks = this.blocks.slice(0, Math.max(1, this.blocks.length - depth));
    this.grow(count, txs);
  }

  tip(): Promise<number> {
    this.beforeAnswer();
    return Promise.resolve(this.blocks.length - 1);
  }
  block(height: number): Promise<{ readonly hash: string; readonly hex: string } | undefined> {
    this.beforeAnswer();
    this.served += 1;
    const block = this.blocks[height];
    return Promise.resolve(block && { hash: block.hash, hex: block.hex });
  }
}

/** The chain with the cheap question for a hash. */
export class SimChainWithHash extends SimChain {
  hash(height: number): Promise<string | undefined> {
    this.beforeAnswer();
    return Promise.resolve(this.blocks[height]?.hash);
  }
}

export const WATCH_NOTHING: WatchSet = { outpoints: [], txids: [], scripts: [] };

/**
 * A consumer that keeps what the events tell: position and confirmed transactions change together, as in one database
 * transaction. Whatever breaks the order of events is an error here.
 */
export class Ledger {
  position: readonly BlockRef[] = [];
  /** txid → height */
  confirmed: ReadonlyMap<string, number> = new Map();
  readonly events: ChainEvent[] = [];
  /** Fails before or after the event was stored, as a crash would. */
  crash: 'before' | 'after' | undefined;

  readonly consume = (event: ChainEvent): Promise<void> => {
    if (this.crash === 'before') return this.#fail();
    const problem = stepProblem(this.position.at(-1), event.step);
    if (problem !== undefined) return Promise.reject(new Error(`out of order: ${problem}`));
    this.events.push(event);
    this.position = advance(this.position, event.step);
    switch (event.type) {
      case 'rescan':
        this.confirmed = new Map();
        break;
      case 'block_disconnected':
        this.confirmed = new Map([...this.confirmed].filter(([, height]) => height !== event.height));
        break;
      case 'block_connected':
        this.confirmed = new Map([...this.confirmed, ...event.txs.map((tx) => [tx.txid, event.height] as const)]);
    }
    return this.crash === 'after' ? this.#fail() : Promise.resolve();
  };

  #fail(): Promise<void> {
    this.crash = undefined;
    return Promise.reject(new Error('crash'));
  }

  /** What was told since the last time, as `+height` and `-height`. */
  takeSteps(): readonly string[] {
    return this.events.splice(0).map((event) => {
      if (event.type === 'rescan') return `rescan ${event.fromHeight}`;
      return `${event.type === 'block_connected' ? '+' : '-'}${event.height}`;
    });
  }
}
