import { hexToBytes } from '@noble/hashes/utils.js';
import { Transaction } from '@scure/btc-signer';
import type { Node } from './node.js';
import { feeFor, outputWeight, READ } from './tx.js';
import { CODE, type Json, RpcError } from './types.js';
import type { Utxo } from './wallet.js';

const DUST = 546;
const P2TR_LENGTH = 34;
/** Base weight of an input and its witness: a signature of 71 bytes and a key, a Schnorr signature, or signature and script. */
const INPUT_WEIGHT: Readonly<Record<Utxo['owner']['kind'], number>> = { p2wpkh: 164 + 107, p2tr: 164 + 66, to_remote: 164 + 111 };
export const inputWeight = (utxo: Utxo): number => INPUT_WEIGHT[utxo.owner.kind];

export interface Funding {
  readonly coins: readonly Utxo[];
  readonly weight: number;
  /** What is left after amount, fee and change. */
  readonly excess: number;
  /** Value of the change output, 0 for none. */
  readonly change: number;
}

interface FundingRequest {
  /** Satoshis to fund beside the fees. */
  readonly amount: number | 'all';
  readonly perKw: number;
  readonly startWeight: number;
  readonly excessAsChange: boolean;
  /** These coins; absent: whatever it takes. */
  readonly coins?: readonly Utxo[];
  readonly minconf?: number;
  /** An anchor channel is being opened: keep the emergency reserve even if it is the first. */
  readonly anchor?: boolean;
}

const lacking = (amount: number | 'all', count: number, missing: number): RpcError =>
  new RpcError(CODE.fundCannotAfford, `Could not afford ${amount === 'all' ? 'all' : `${amount}sat`} using all ${count} available UTXOs: ${amount === 'all' ? 'all' : `${missing}sat`} short`);

/** What is left of this much change after paying for its own output; 0 when that is not worth one. */
const netChange = (amount: number, perKw: number): number => {
  const net = amount - feeFor(perKw, outputWeight(P2TR_LENGTH));
  return net < DUST ? 0 : net;
};

/** Chooses coins as fundpsbt and utxopsbt do, emergency reserve included. @throws RpcError */
export const selectCoins = (node: Node, request: FundingRequest): Funding => {
  const { amount, perKw, startWeight } = request;
  const coins: Utxo[] = [];
  let weight = startWeight;
  let total = 0;
  const wanted = amount === 'all' ? Infinity : amount;
  const take = (utxo: Utxo): void => {
    coins.push(utxo);
    weight += inputWeight(utxo);
    total += utxo.amount;
  };
  if (request.coins !== undefined) request.coins.forEach(take);
  else
    for (const utxo of node.wallet.spendable(request.minconf)) {
      if (total >= wanted + feeFor(perKw, weight)) break;
      if (utxo.amount > feeFor(perKw, inputWeight(utxo))) take(utxo);
    }
  const left = total - feeFor(perKw, weight) - (amount === 'all' ? 0 : amount);
  if (left < 0 || (amount === 'all' && (coins.length === 0 || left < DUST))) throw lacking(amount, coins.length, -left);
  const asChange = request.excessAsChange && amount !== 'all';
  return withEmergency(node, request, { coins, weight, excess: asChange ? 0 : left, change: asChange ? left : 0 });
};

/** With an anchor channel, lightningd leaves itself `min-emergency-msat` to bump a commitment with, in change if need be. */
const withEmergency = (node: Node, { perKw, anchor }: FundingRequest, funding: Funding): Funding => {
  const net = netChange(funding.change, perKw);
  const withChange = { ...funding, change: net, weight: funding.weight + (net > 0 ? outputWeight(P2TR_LENGTH) : 0) };
  if (anchor !== true && !node.channels.haveAny()) return withChange;
  const elsewhere = node.wallet.all().filter((utxo) => utxo.spent === undefined && !node.wallet.isReserved(utxo) && !funding.coins.includes(utxo));
  const needed = Math.floor(Number(node.options.string('min-emergency-msat')) / 1000) - elsewhere.reduce((sum, utxo) => sum + utxo.amount, 0);
  if (needed <= net || needed <= 0) return withChange;
  const cost = needed + feeFor(perKw, outputWeight(P2TR_LENGTH));
  if (funding.excess < cost) throw new RpcError(CODE.fundCannotAffordEmergency, `We would not have enough left for min-emergency-msat ${Math.floor(Number(node.options.string('min-emergency-msat')) / 1000)}sat`);
  return { ...funding, excess: funding.excess - cost, change: needed, weight: funding.weight + outputWeight(P2TR_LENGTH) };
};

/** A PSBT that spends these coins; it has no outputs yet. */
export const spendingPsbt = (node: Node, coins: readonly Utxo[], lockTime: number): Transaction => {
  const tx = new Transaction({ ...READ, version: 2, lockTime });
  for (const { txid, vout, amount, script, owner } of coins) {
    const previous = node.wallet.transaction(txid);
    tx.addInput({
      txid,
      index: vout,
      sequence: owner.kind === 'to_remote' ? 1 : 0xfffffffd,
      witnessUtxo: { amount: BigInt(amount), script: hexToBytes(script) },
      ...(previous === undefined ? {} : { nonWitnessUtxo: hexToBytes(previous.hex) }),
    });
  }
  return tx;
};

/** One entry of `reservations`. */
export const reservation = (node: Node, before: Utxo, after: Utxo): Json => {
  const reserved = node.wallet.isReserved(after);
  return {
    txid: after.txid,
    vout: after.vout,
    was_reserved: node.wallet.isReserved(before),
    reserved,
    ...(reserved ? { reserved_to_block: after.reservedTil } : {}),
  };
};
