/**
 * A raw block, read just far enough to find what one looks for: a walk over the bytes that notes where each
 * transaction's inputs and outputs begin. Nothing else is decoded until it is asked for. Every count and length is
 * checked against the bytes that are left before it is used.
 */
import { createHash } from 'node:crypto';

import type { Hex, Outpoint, Sat, Script, Txid } from '../../blip/brands.js';
import { MAX_MONEY } from '../../blip/brands.js';
import { ChainError } from './events.js';
import type { ChainOutput } from './events.js';
import type { BlockHash } from './position.js';

/** Consensus: a block weighs at most 4,000,000, and each byte weighs at least 1 (BIP-141). */
const MAX_BLOCK_BYTES = 4_000_000;
const HEADER_BYTES = 80;
/** The least an input (outpoint, empty script, sequence), an output (amount, empty script) and a transaction can take. */
const MIN_INPUT = 41;
const MIN_OUTPUT = 9;
const MIN_TRANSACTION = 4 + 1 + MIN_INPUT + 1 + MIN_OUTPUT + 4;
/** The high half of an amount is at most this: enough to refuse garbage, and needs no bigint. */
const MAX_AMOUNT_HIGH = Number(MAX_MONEY >> 32n);
/** What a coinbase spends. */
const NO_TXID = '00'.repeat(32);

const sha256 = (...parts: readonly Uint8Array[]): Buffer => {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest();
};
/** A hash in display order. */
const reversed = (bytes: Buffer): string => Buffer.from(bytes).reverse().toString('hex');

/** Walks over a block's bytes. */
class Cursor {
  constructor(
    readonly bytes: Buffer,
    readonly name: string,
    public at: number,
  ) {}

  refuse(message: string): never {
    throw new ChainError('bad_block', this.name, `${message} at byte ${this.at}`);
  }

  skip(length: number): void {
    if (length > this.bytes.length - this.at) this.refuse(`ends ${length - (this.bytes.length - this.at)} bytes too early`);
    this.at += length;
  }

  /** A CompactSize; of two ways to write a number, the longer is refused, as by every node. */
  size(): number {
    const { bytes, at } = this;
    this.skip(1);
    const first = bytes.readUInt8(at);
    if (first < 0xfd) return first;
    // What takes eight bytes is beyond any count or length in a block.
    if (first === 0xff) return this.refuse('a length out of range');
    const long = first === 0xfe;
    this.skip(long ? 4 : 2);
    const value = long ? bytes.readUInt32LE(at + 1) : bytes.readUInt16LE(at + 1);
    if (value < (long ? 0x1_0000 : 0xfd)) return this.refuse('a length not in its shortest form');
    return value;
  }

  /** A count of items that take at least `least` bytes each. */
  count(least: number, what: string): number {
    const value = this.size();
    if (value * least > this.bytes.length - this.at) this.refuse(`${value} ${what} do not fit`);
    return value;
  }

  /** Skips a length and as many bytes. */
  skipPrefixed(): void {
    this.skip(this.size());
  }
}

/** Where a transaction's parts lie; decoded when asked for. */
export class BlockTransaction {
  #txid: Txid | undefined;

  constructor(
    private readonly block: Buffer,
    /** Position in the block. */
    readonly index: number,
    private readonly start: number,
    private readonly end: number,
    private readonly witness: boolean,
    /** Where each input and output begins. */
    private readonly inputsAt: readonly number[],
    private readonly outputsAt: readonly number[],
    private readonly outputsEnd: number,
  ) {}

  get txid(): Txid {
    return (this.#txid ??= this.#computeTxid());
  }
  /** The double SHA-256 of the serialisation without marker, flag and witnesses (BIP-141). */
  #computeTxid(): Txid {
    const { block, start, end } = this;
    const parts = this.witness
      ? [block.subarray(start, start + 4), block.subarray(start + 6, this.outputsEnd), block.subarray(end - 4, end)]
      : [block.subarray(start, end)];
    return reversed(sha256(sha256(...parts))) as Txid;
  }

  /** With witnesses. */
  get raw(): Hex {
    return this.block.toString('hex', this.start, this.end) as Hex;
  }

  get inputCount(): number {
    return this.inputsAt.length;
  }
  /** The outpoint as it is serialised, 36 bytes of hex: what `serializedOutpoint` gives. */
  inputKey(i: number): string {
    const at = this.inputsAt[i] ?? this.end;
    return this.block.toString('hex', at, at + 36);
  }
  /** Empty for a coinbase: it spends nothing. */
  inputs(): readonly Outpoint[] {
    const all = this.inputsAt.map((at) => ({
      txid: reversed(this.block.subarray(at, at + 32)) as Txid,
      vout: this.block.readUInt32LE(at + 32),
    }));
    return all.filter((outpoint) => outpoint.txid !== NO_TXID);
  }

  get outputCount(): number {
    return this.outputsAt.length;
  }
  /** The script of output `i` as hex, if it has one of these lengths in bytes. */
  scriptIfLength(i: number, lengths: ReadonlySet<number>): string | undefined {
    const at = (this.outputsAt[i] ?? this.end) + 8;
    const first = this.block[at] ?? 0;
    // Longer ones carry a longer length; what we pay to is short.
    if (first >= 0xfd || !lengths.has(first)) return undefined;
    return this.block.toString('hex', at + 1, at + 1 + first);
  }
  outputs(): readonly ChainOutput[] {
    return this.outputsAt.map((at, i) => {
      const cursor = new Cursor(this.block, 'output', at + 8);
      cursor.size();
      const end = this.outputsAt[i + 1] ?? this.outputsEnd;
      return { amount: this.block.readBigUInt64LE(at) as Sat, script: this.block.toString('hex', cursor.at, end) as Script };
    });
  }
}

const readTransaction = (cursor: Cursor, index: number): BlockTransaction => {
  const { bytes, at: start } = cursor;
  cursor.skip(4);
  // In a block every transaction has an input, so a zero here is BIP-144's marker.
  const witness = bytes[cursor.at] === 0;
  if (witness) {
    cursor.skip(2);
    if (bytes[cursor.at - 1] !== 1) cursor.refuse('an unknown witness flag');
  }
  const inputs = new Array<number>(cursor.count(MIN_INPUT, 'inputs'));
  if (inputs.length === 0) cursor.refuse('a transaction without inputs');
  for (let i = 0; i < inputs.length; i++) {
    inputs[i] = cursor.at;
    cursor.skip(36);
    cursor.skipPrefixed();
    cursor.skip(4);
  }
  const outputs = new Array<number>(cursor.count(MIN_OUTPUT, 'outputs'));
  if (outputs.length === 0) cursor.refuse('a transaction without outputs');
  for (let i = 0; i < outputs.length; i++) {
    outputs[i] = cursor.at;
    cursor.skip(8);
    if (bytes.readUInt32LE(cursor.at - 4) > MAX_AMOUNT_HIGH) cursor.refuse('an amount out of range');
    cursor.skipPrefixed();
  }
  const outputsEnd = cursor.at;
  if (witness) {
    for (let i = 0; i < inputs.length; i++) {
      for (let items = cursor.count(1, 'witness items'); items > 0; items--) cursor.skipPrefixed();
    }
  }
  cursor.skip(4);
  return new BlockTransaction(bytes, index, start, cursor.at, witness, inputs, outputs, outputsEnd);
};

export interface Block {
  readonly hash: BlockHash;
  readonly prev: BlockHash;
  /** Walks anew each time. Throws where the bytes stop making sense, and at the end if any are left. */
  readonly transactions: () => Generator<BlockTransaction, void>;
}

/**
 * @param hex the block as `getblock … 0` or `getrawblockbyheight` give it
 * @param name how errors call it
 * @throws ChainError 'bad_block', here or while its transactions are walked
 */
export const parseBlock = (hex: string, name = 'block'): Block => {
  const refuse = (message: string): never => {
    throw new ChainError('bad_block', name, message);
  };
  if (hex.length > MAX_BLOCK_BYTES * 2) refuse('is larger than a block can be');
  const bytes = Buffer.from(hex, 'hex');
  // Buffer stops at the first thing that is not hex.
  if (bytes.length * 2 !== hex.length || bytes.length < HEADER_BYTES) refuse('is not a block in hex');
  return {
    hash: reversed(sha256(sha256(bytes.subarray(0, HEADER_BYTES)))) as BlockHash,
    prev: reversed(bytes.subarray(4, 36)) as BlockHash,
    transactions: function* () {
      const cursor = new Cursor(bytes, name, HEADER_BYTES);
      const count = cursor.count(MIN_TRANSACTION, 'transactions');
      if (count === 0) cursor.refuse('no transactions');
      for (let index = 0; index < count; index++) yield readTransaction(cursor, index);
      if (cursor.at !== bytes.length) cursor.refuse('bytes left over');
    },
  };
};

/** An outpoint as transactions carry it: txid in internal order, output index, 36 bytes of hex. */
export const serializedOutpoint = ({ txid, vout }: Outpoint): string => {
  const bytes = Buffer.alloc(36);
  bytes.write(txid, 'hex');
  bytes.subarray(0, 32).reverse();
  bytes.writeUInt32LE(vout, 32);
  return bytes.toString('hex');
};
