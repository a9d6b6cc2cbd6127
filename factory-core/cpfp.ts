/**
 * The child that pays for its parent: spends a transaction's anchor and one coin of the wallet (architecture 10). At most
 * 1,000 vB, as BIP 431 wants of a version-3 child; ours is about 153. What it pays: `bump.ts`.
 */
import { base64, hex as hexCoder } from '@scure/base';
import { Transaction } from '@scure/btc-signer/transaction.js';
import { hex, sat, type Hex, type Sat, type Script, type Txid } from '../blip/brands.js';
import type { Prevout, Signable } from './model.js';
import { encodePsbt } from './psbt.js';
import { prevoutOf, rawHex, rawTxid, rawUnsigned, type RawUnsigned } from './serialize.js';
import { ANCHOR_AMOUNT, DUST_LIMIT } from './sizes.js';

/** Where the wallet's coin is among the child's inputs: what `signpsbt signonly` gets. */
export const COIN_INPUT = 1;
/** Replaceable (BIP 125), no relative lock. */
const SEQUENCE = 0xfffffffd;

export type ChildErrorCode = 'no_anchor' | 'coin_type' | 'change_type' | 'coin_too_small' | 'psbt' | 'psbt_mismatch' | 'psbt_unsigned';

/** Why there is no child. */
export class ChildError extends Error {
  constructor(
    readonly code: ChildErrorCode,
    detail: string,
    options?: ErrorOptions,
  ) {
    super(`${code}: ${detail}`, options);
    this.name = 'ChildError';
  }
}

export interface ChildRequest {
  /** The transaction to bump; it has an anchor. */
  readonly parent: Signable;
  /** A *confirmed* coin of the wallet, P2WPKH or P2TR: a version-3 child may have one unconfirmed parent only (BIP 431). */
  readonly coin: Prevout;
  /** Where the change goes: P2WPKH, P2WSH or P2TR. */
  readonly changeScript: Script;
  /** What the child pays, in sat. */
  readonly fee: Sat;
}

export interface Child {
  readonly txid: Txid;
  /** Unsigned, version 0, base64: for `signpsbt psbt signonly=[1]`. */
  readonly psbt: string;
  /** As far as it is known before the signature: an ECDSA signature may come out one or two bytes shorter. */
  readonly vsize: number;
  readonly fee: Sat;
  readonly change: Sat;
  /** The transaction without witness; `finishChild` adds it. */
  readonly raw: RawUnsigned;
}

const P2WPKH = /^0014[0-9a-f]{40}$/;
const P2WSH = /^0020[0-9a-f]{64}$/;
const P2TR = /^5120[0-9a-f]{64}$/;

/** Bytes of the witness of a coin, item count included: signature and key (BIP 143), or signature alone (BIP 341). */
const coinWitnessBytes = (script: Script): number => {
  if (P2WPKH.test(script)) return 1 + (1 + 72) + (1 + 33);
  if (P2TR.test(script)) return 1 + (1 + 64);
  throw new ChildError('coin_type', 'the coin must be P2WPKH or P2TR');
};

const changeBytes = (script: Script): number => {
  if (![P2WPKH, P2WSH, P2TR].some((type) => type.test(script))) throw new ChildError('change_type', 'change must be P2WPKH, P2WSH or P2TR');
  return 8 + 1 + script.length / 2;
};

/** Whether a child can spend such a coin: P2WPKH or P2TR. */
export const canBump = (script: Script): boolean => P2WPKH.test(script) || P2TR.test(script);

/** What our wallet's change is: P2TR. Only its type matters here. */
const CHANGE_TYPE = `5120${'00'.repeat(32)}` as Script;

/**
 * vB of a child. Version, two inputs, one output, counts and lock time; marker, flag, the anchor's empty witness and the
 * coin's (BIP 141).
 * @throws ChildError `coin_type`, `change_type`
 */
export const childVsize = (coin: Script, change: Script = CHANGE_TYPE): number =>
  4 + 1 + 2 * 41 + 1 + changeBytes(change) + 4 + Math.ceil((2 + 1 + coinWitnessBytes(coin)) / 4);

/** The most that a child can pay from a coin of so much, in sat: it has a change output, and the anchor's own few satoshis. */
export const coinPays = (amount: Sat): Sat => sat(amount + ANCHOR_AMOUNT > DUST_LIMIT ? amount + ANCHOR_AMOUNT - DUST_LIMIT : 0n);
/** The coin that a child with this fee needs, in sat. */
export const coinFor = (fee: Sat): Sat => sat(fee + DUST_LIMIT > ANCHOR_AMOUNT ? fee + DUST_LIMIT - ANCHOR_AMOUNT : 0n);

/** The anchor of a transaction. @throws ChildError `no_anchor` */
export const anchorOf = ({ tx, txid }: Signable): Prevout => {
  const vout = tx.outputs.findIndex((output) => output.role.kind === 'anchor');
  if (vout < 0) throw new ChildError('no_anchor', `${txid} has no anchor`);
  return prevoutOf(txid, tx, vout);
};

/**
 * The child, unsigned. Its version is its parent's: only version 3 may spend unconfirmed version 3, and only other
 * versions unconfirmed others (BIP 431).
 * @throws ChildError `no_anchor`, `coin_type`, `change_type`, `coin_too_small`
 */
export const buildChild = ({ parent, coin, changeScript, fee }: ChildRequest): Child => {
  const anchor = anchorOf(parent);
  const vsize = childVsize(coin.script, changeScript);
  const change = anchor.amount + coin.amount - fee;
  if (change < DUST_LIMIT) throw new ChildError('coin_too_small', `a fee of ${fee} sat leaves no change of ${coin.amount} sat`);
  const inputs = [anchor, coin].map((prevout) => ({ outpoint: prevout.outpoint, sequence: SEQUENCE, prevout }));
  const outputs = [{ amount: sat(change), script: changeScript }];
  const { version } = parent.tx;
  const raw = rawUnsigned(version, 0, inputs, outputs);
  const psbt = encodePsbt({ version, lockTime: 0, inputs, outputs });
  return { txid: rawTxid(raw), psbt, vsize, fee, change: sat(change), raw };
};

/** CLN may add what only a finaliser knows, and in PSBT version 2; we want the one signature. */
const READ_OPTIONS = { allowUnknownInputs: true, allowUnknownOutputs: true, disableScriptCheck: true, unknown: 'ignore' } as const;

const parse = (psbt: string): Transaction => {
  try {
    return Transaction.fromPSBT(base64.decode(psbt), READ_OPTIONS);
  } catch (cause) {
    throw new ChildError('psbt', 'not a PSBT', { cause });
  }
};

const coinWitness = (tx: Transaction): readonly Uint8Array[] => {
  const { finalScriptWitness, tapKeySig, partialSig } = tx.getInput(COIN_INPUT);
  if (finalScriptWitness?.length) return finalScriptWitness;
  if (tapKeySig) return [tapKeySig];
  const [ecdsa] = partialSig ?? [];
  if (ecdsa) return [ecdsa[1], ecdsa[0]];
  throw new ChildError('psbt_unsigned', `input ${COIN_INPUT} has no signature`);
};

/**
 * The child in hex, from what `signpsbt` gave back (any PSBT version). Put together here because the library's own
 * extraction refuses the empty witness that a pay-to-anchor input must have (BIP 433).
 * @throws ChildError `psbt`, `psbt_mismatch` when it is another transaction, `psbt_unsigned`
 */
export const finishChild = (child: Child, signedPsbt: string): Hex => {
  const tx = parse(signedPsbt);
  if (hexCoder.encode(tx.unsignedTx) !== rawHex(child.raw, [])) throw new ChildError('psbt_mismatch', 'the signed PSBT is not this child');
  return rawHex(child.raw, [[], coinWitness(tx).map((item) => hex(hexCoder.encode(item)))]);
};
