import { schnorr } from '@noble/curves/secp256k1.js';
import { bytesToHex, hexToBytes } from '@noble/hashes/utils.js';
import { p2pkh, type Transaction } from '@scure/btc-signer';
import { taprootTweakPrivKey } from '@scure/btc-signer/utils.js';
import { reservation, selectCoins, spendingPsbt } from './coin-selection.js';
import { command, type Command } from './commands.js';
import { derWithAll, type KeyPair, signHash } from './keys.js';
import type { Node } from './node.js';
import { arrayOf, bool, def, feerate, int, opt, outpoint, req, sat, satOrAll } from './params.js';
import { addressParam, encodePsbt, encodeTx, finalTx, psbtParam, type Raw, txidOf } from './tx.js';
import { CODE, type Json, RpcError } from './types.js';
import { RESERVATION, type Utxo } from './wallet.js';

/** The wallet's coins among a PSBT's inputs, with their positions. */
const coinsOf = (node: Node, tx: Transaction): readonly (readonly [number, Utxo])[] =>
  Array.from({ length: tx.inputsLength }, (_, i) => tx.getInput(i)).flatMap(({ txid, index }, i) => {
    const utxo = txid === undefined || index === undefined ? undefined : node.wallet.utxo(bytesToHex(txid), index);
    return utxo === undefined ? [] : [[i, utxo] as const];
  });

const mustBeReserved = (node: Node, coins: readonly (readonly [number, Utxo])[]): void => {
  const free = coins.find(([, utxo]) => !node.wallet.isReserved(utxo))?.[1];
  if (free !== undefined) throw new RpcError(CODE.lightningd, `Aborting PSBT signing. UTXO ${free.txid}:${free.vout} is not reserved`);
};

/** Signs the inputs at these positions; their coins must be the wallet's. */
const signInputs = (node: Node, tx: Transaction, coins: readonly (readonly [number, Utxo])[]): void => {
  for (const [i, { amount, script }] of coins)
    if (tx.getInput(i).witnessUtxo === undefined) tx.updateInput(i, { witnessUtxo: { amount: BigInt(amount), script: hexToBytes(script) } }, true);
  for (const [i, { owner, amount }] of coins) {
    if (owner.kind === 'p2tr') tx.updateInput(i, { tapKeySig: signTaproot(tx, i, node.keys.wallet(owner.index)) }, true);
    else {
      const key = owner.kind === 'p2wpkh' ? node.keys.wallet(owner.index) : node.keys.channel(owner.channel).payment;
      const script = owner.kind === 'p2wpkh' ? p2pkh(hexToBytes(key.pub)).script : hexToBytes(owner.witnessScript);
      const signature = derWithAll(signHash(tx.preimageWitnessV0(i, script, 1, BigInt(amount)), key));
      tx.updateInput(i, { partialSig: [[hexToBytes(key.pub), signature]], ...(owner.kind === 'p2wpkh' ? {} : { witnessScript: script }) }, true);
    }
  }
};

const signTaproot = (tx: Transaction, index: number, key: KeyPair): Uint8Array => {
  const prevouts = Array.from({ length: tx.inputsLength }, (_, i): { readonly amount: bigint; readonly script: Uint8Array } => {
    const { witnessUtxo, nonWitnessUtxo, index: vout } = tx.getInput(i);
    const prevout = witnessUtxo ?? (nonWitnessUtxo?.outputs as Raw['outputs'] | undefined)?.[vout ?? -1];
    if (prevout === undefined) throw new RpcError(CODE.lightningd, `input ${i} has no utxo: a taproot signature commits to all of them`);
    return prevout;
  });
  const hash = tx.preimageWitnessV1(index, prevouts.map(({ script }) => script), 0, prevouts.map(({ amount }) => amount));
  return schnorr.sign(hash, taprootTweakPrivKey(key.secret));
};

/** Signs what is ours. @throws RpcError when a coin is not reserved or there is nothing to sign */
export const signPsbt = (node: Node, tx: Transaction, only?: readonly number[]): void => {
  const mine = coinsOf(node, tx);
  const stranger = only?.find((i) => !mine.some(([position]) => position === i));
  if (stranger !== undefined) throw new RpcError(CODE.lightningd, 'Aborting PSBT signing. UTXO is unknown (and specified by signonly)');
  const coins = mine.filter(([i]) => only?.includes(i) ?? true);
  mustBeReserved(node, coins);
  if (coins.length === 0) throw new RpcError(CODE.lightningd, 'No wallet inputs to sign. Are you sure you added inputs to this PSBT? If not, then there is no need to sign it.');
  signInputs(node, tx, coins);
};

/** `sendpsbt`: arms the channels this transaction funds, saves that, and only then broadcasts (lightningd-facts). */
export const sendPsbt = async (node: Node, tx: Transaction): Promise<{ readonly tx: string; readonly txid: string }> => {
  const final = finalTx(tx);
  if (final === undefined) throw new RpcError(CODE.lightningd, `PSBT not finalizeable ${encodePsbt(tx, 0)}`);
  const coins = coinsOf(node, tx);
  mustBeReserved(node, coins);
  final.witnesses?.forEach((witness, i) => {
    tx.updateInput(i, { finalScriptWitness: witness }, true);
  });
  const hex = encodeTx(final);
  node.store.atomically(() => {
    node.channels.fundingSent(tx);
  });
  const { success, message } = await node.bitcoind.broadcast(hex);
  if (!success) throw new RpcError(CODE.lightningd, `Error broadcasting transaction: ${message.replaceAll('\n', '\\n')}. Unsent tx discarded ${hex}`);
  node.store.atomically(() => {
    node.wallet.sent(hex);
  });
  return { tx: hex, txid: txidOf(final) };
};

const finish = (node: Node, funding: ReturnType<typeof selectCoins>, perKw: number, reserve: number, lockTime: number | undefined): Json =>
  node.store.atomically(() => {
    const tx = spendingPsbt(node, funding.coins, lockTime ?? node.blocks.height);
    if (funding.change > 0) tx.addOutput({ script: hexToBytes(node.wallet.newScript()), amount: BigInt(funding.change) });
    return {
      psbt: encodePsbt(tx, 0),
      feerate_per_kw: perKw,
      estimated_final_weight: funding.weight,
      excess_msat: funding.excess * 1000,
      ...(funding.change > 0 ? { change_outnum: 0 } : {}),
      ...(reserve > 0 ? { reservations: funding.coins.map((utxo) => reservation(node, utxo, node.wallet.reserve(utxo, reserve))) } : {}),
    };
  });

export const psbtCommands = (node: Node): readonly Command[] => [
  command(
    'fundpsbt',
    {
      satoshi: req(satOrAll), feerate: req(feerate), startweight: req(int), minconf: def(int, 1), reserve: def(int, RESERVATION), locktime: opt(int),
      min_witness_weight: def(int, 0), excess_as_change: def(bool, false), nonwrapped: def(bool, false), opening_anchor_channel: def(bool, false),
    },
    (args) => {
      const { satoshi: amount, feerate: perKw, startweight: startWeight, minconf, excess_as_change: excessAsChange, opening_anchor_channel: anchor } = args;
      return finish(node, selectCoins(node, { amount, perKw, startWeight, excessAsChange, minconf, anchor }), perKw, args.reserve, args.locktime);
    },
  ),
  command(
    'utxopsbt',
    {
      satoshi: req(satOrAll), feerate: req(feerate), startweight: req(int), utxos: req(arrayOf(outpoint)), reserve: def(int, RESERVATION), reservedok: def(bool, false),
      locktime: opt(int), min_witness_weight: def(int, 0), excess_as_change: def(bool, false), opening_anchor_channel: def(bool, false),
    },
    (args) => {
      const { satoshi: amount, feerate: perKw, startweight: startWeight, excess_as_change: excessAsChange, opening_anchor_channel: anchor } = args;
      const coins = node.wallet.take(args.utxos, args.reservedok);
      return finish(node, selectCoins(node, { amount, perKw, startWeight, excessAsChange, coins, anchor }), perKw, args.reserve, args.locktime);
    },
  ),
  command('reserveinputs', { psbt: req(psbtParam), exclusive: def(bool, true), reserve: def(int, RESERVATION) }, ({ psbt, exclusive, reserve }) => {
    const coins = coinsOf(node, psbt.tx);
    const taken = coins.find(([, utxo]) => exclusive && node.wallet.isReserved(utxo))?.[1];
    if (taken !== undefined) throw new RpcError(CODE.invalidParams, `${taken.txid}:${taken.vout} already reserved`);
    return node.store.atomically(() => ({ reservations: coins.map(([, utxo]) => reservation(node, utxo, node.wallet.reserve(utxo, reserve))) }));
  }),
  command('unreserveinputs', { psbt: req(psbtParam), reserve: def(int, RESERVATION) }, ({ psbt, reserve }) => {
    const coins = coinsOf(node, psbt.tx).filter(([, utxo]) => utxo.spent === undefined && node.wallet.isReserved(utxo));
    return node.store.atomically(() => ({ reservations: coins.map(([, utxo]) => reservation(node, utxo, node.wallet.unreserve(utxo, reserve))) }));
  }),
  command('signpsbt', { psbt: req(psbtParam), signonly: opt(arrayOf(int)) }, ({ psbt: { tx, version }, signonly }) => {
    signonly?.forEach((input, i) => {
      if (input >= tx.inputsLength) throw new RpcError(CODE.invalidParams, `signonly[${i}]: ${input} out of range`);
    });
    signPsbt(node, tx, signonly);
    return { signed_psbt: encodePsbt(tx, version) };
  }),
  command('sendpsbt', { psbt: req(psbtParam), reserve: def(int, RESERVATION) }, async ({ psbt }) => ({ ...(await sendPsbt(node, psbt.tx)) })),
  command('setpsbtversion', { psbt: req(psbtParam), version: req(int) }, ({ psbt, version }) => {
    if (version !== 0 && version !== 2) throw new RpcError(CODE.invalidParams, 'Could not set PSBT version');
    return { psbt: encodePsbt(psbt.tx, version) };
  }),
  command('addpsbtoutput', { satoshi: req(sat), initialpsbt: opt(psbtParam), locktime: opt(int), destination: opt(addressParam) }, ({ satoshi, initialpsbt, locktime, destination }) => {
    if (satoshi < 330) throw new RpcError(CODE.fundOutputIsDust, 'Receive amount is below dust limit (330sat)');
    const tx = initialpsbt?.tx ?? spendingPsbt(node, [], locktime ?? node.blocks.height);
    const outnum = tx.addOutput({ script: hexToBytes(destination ?? node.wallet.newScript()), amount: BigInt(satoshi) }, true);
    return { psbt: encodePsbt(tx, initialpsbt?.version ?? 2), estimated_added_weight: 172, outnum };
  }),
];
