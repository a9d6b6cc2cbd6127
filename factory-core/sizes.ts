/**
 * Sizes and fees of factory transactions, as arithmetic (architecture 4). All have one input, spent by one Schnorr
 * signature; what varies is the outputs.
 */
import { sat, type Sat, type Script } from '../blip/brands.js';

/** The pay-to-anchor output of every tree transaction, in sat: the dust limit of its type (BIP 433), so it relays without a child. */
export const ANCHOR_AMOUNT: Sat = sat(240n);
/** No output but the anchor may be smaller, in sat: the dust limit of P2TR and P2WSH at 3,000 sat/kvB (safety rule 3). */
export const DUST_LIMIT: Sat = sat(330n);
/** What a child that bumps an anchor from one P2TR coin into one P2TR change output weighs, in vB (see `cpfp.ts`). */
export const CPFP_CHILD_VSIZE = 153;
/** A leaf with a P2WSH channel, a P2TR stock and an anchor, in vB: 68 + 43 + 43 + 13. */
export const LEAF_VSIZE = 167;

/**
 * Weight units of a transaction without its outputs: version 4, one input 41, input count 1, lock time 4 bytes at four
 * units each; marker, flag and the witness (item count, length, 64-byte signature) at one unit each (BIP 141).
 */
const FRAME_WEIGHT = (4 + 1 + 41 + 4) * 4 + 2 + (1 + 1 + 64);
const P2TR_OUTPUT_VSIZE = 43;
const ANCHOR_OUTPUT_VSIZE = 13;

/** Bytes of a CompactSize integer. */
export const compactSizeLength = (n: number): number => (n < 0xfd ? 1 : n <= 0xffff ? 3 : 5);

/**
 * Virtual size, in vB, of a spend of one Taproot input by one signature, with outputs of these scripts.
 * @param extraWitness bytes of witness items (with their lengths) besides the signature: none for the key path
 */
export const keySpendVsize = (scripts: readonly Script[], extraWitness = 0): number => {
  let bytes = compactSizeLength(scripts.length);
  for (const script of scripts) {
    const length = script.length / 2;
    bytes += 8 + compactSizeLength(length) + length;
  }
  return Math.ceil((FRAME_WEIGHT + bytes * 4 + extraWitness) / 4);
};

/** Virtual size, in vB, of a split with `children` children (at most 16, so that their count takes one byte). */
export const splitVsize = (children: number): number => FRAME_WEIGHT / 4 + 1 + children * P2TR_OUTPUT_VSIZE + ANCHOR_OUTPUT_VSIZE;

/** Virtual size, in vB, of a leaf; without stock it has one output less. */
export const leafVsize = (withStock: boolean): number => LEAF_VSIZE - (withStock ? 0 : P2TR_OUTPUT_VSIZE);

/**
 * The fee of `vsize` vB at `feerate` sat per 1,000 vB, rounded up, in sat.
 * `feerate` must be a safe integer: validators bound it before it comes here.
 */
export const feeFor = (vsize: number, feerate: number): Sat => sat((BigInt(vsize) * BigInt(feerate) + 999n) / 1000n, 'fee');
