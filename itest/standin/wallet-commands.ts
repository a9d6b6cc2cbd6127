import { bytesToHex, hexToBytes } from '@noble/hashes/utils.js';
import { reservation, selectCoins, spendingPsbt } from './coin-selection.js';
import { command, type Command } from './commands.js';
import type { Node } from './node.js';
import { arrayOf, bool, def, feerate, int, oneOf, opt, outpoint, type Outpoint, req, satOrAll, txid } from './params.js';
import { sendPsbt, signPsbt } from './psbt-commands.js';
import { addressParam, addressToScript, coreWeight, decodeTx, encodePsbt, encodeTx, outputWeight, p2trScript, p2wpkhScript, parsePsbt, scriptToAddress, txidOf, unsignedRaw } from './tx.js';
import { CODE, isObject, type Json, type JsonObject, RpcError } from './types.js';
import { RESERVATION, type Utxo } from './wallet.js';

interface Output {
  readonly script: string;
  readonly amount: number | 'all';
}
interface Prepared {
  readonly psbt: string;
  readonly unsigned_tx: string;
  readonly txid: string;
}

const listedOutput = (node: Node, utxo: Utxo): Json => ({
  txid: utxo.txid,
  output: utxo.vout,
  amount_msat: utxo.amount * 1000,
  scriptpubkey: utxo.script,
  address: scriptToAddress(utxo.script),
  status: utxo.spent === undefined ? (utxo.height === undefined ? 'unconfirmed' : 'confirmed') : 'spent',
  ...(utxo.height === undefined ? {} : { blockheight: utxo.height }),
  reserved: node.wallet.isReserved(utxo),
  ...(node.wallet.isReserved(utxo) ? { reserved_to_block: utxo.reservedTil } : {}),
});

const outputsParam = (value: Json): readonly Output[] => {
  if (!Array.isArray(value)) throw new RpcError(CODE.invalidParams, `Expected an array of outputs in the format '[{"txid":0}, ...]', got ${JSON.stringify(value)}`);
  return (value as readonly Json[]).map((item) => {
    const [entry, ...more] = isObject(item) ? Object.entries(item) : [];
    if (entry === undefined || more.length > 0) throw new RpcError(CODE.invalidParams, 'The output format must be {destination: amount}');
    const script = addressToScript(entry[0]);
    if (script === undefined) throw new RpcError(CODE.invalidParams, 'Could not parse destination address');
    return { script, amount: satOrAll(entry[1] ?? null, 'outputs') };
  });
};

/** Coins, change and outputs of a transaction that pays these; the coins are reserved. */
const prepare = (node: Node, outputs: readonly Output[], perKw: number, coins: readonly Outpoint[] | undefined, minconf: number): Prepared =>
  node.store.atomically(() => {
    const all = outputs.some(({ amount }) => amount === 'all');
    const fixed = outputs.reduce((sum, { amount }) => sum + (amount === 'all' ? 0 : amount), 0);
    const startWeight = coreWeight + outputs.reduce((sum, { script }) => sum + outputWeight(script.length / 2), 0);
    const given = coins === undefined ? undefined : node.wallet.take(coins, false);
    const funding = selectCoins(node, { amount: all ? 'all' : fixed, perKw, startWeight, excessAsChange: true, minconf, ...(given === undefined ? {} : { coins: given }) });
    const rest = funding.excess - (all ? fixed : 0);
    if (rest < 0) throw new RpcError(CODE.fundCannotAfford, `Could not afford ${fixed}sat using all ${funding.coins.length} available UTXOs: ${-rest}sat short`);
    const tx = spendingPsbt(node, funding.coins, node.blocks.height);
    for (const { script, amount } of outputs) tx.addOutput({ script: hexToBytes(script), amount: BigInt(amount === 'all' ? rest : amount) }, true);
    if (funding.change > 0) tx.addOutput({ script: hexToBytes(node.wallet.newScript()), amount: BigInt(funding.change) }, true);
    for (const utxo of funding.coins) node.wallet.reserve(utxo, RESERVATION);
    const raw = unsignedRaw(tx);
    return { psbt: encodePsbt(tx, 2), unsigned_tx: encodeTx(raw), txid: txidOf(raw) };
  });

const release = (node: Node, psbt: string): readonly Json[] => {
  const tx = parsePsbt(psbt);
  return Array.from({ length: tx.inputsLength }, (_, i) => tx.getInput(i)).flatMap(({ txid: id, index }) => {
    const utxo = id === undefined || index === undefined ? undefined : node.wallet.utxo(bytesToHex(id), index);
    return utxo === undefined || !node.wallet.isReserved(utxo) ? [] : [reservation(node, utxo, node.wallet.unreserve(utxo, RESERVATION))];
  });
};

/** Signs and sends; on any failure the coins are free again, as Core Lightning's txprepare plugin has it. */
const signAndSend = async (node: Node, prepared: Prepared): Promise<JsonObject> => {
  const tx = parsePsbt(prepared.psbt);
  try {
    signPsbt(node, tx);
    const sent = await sendPsbt(node, tx);
    return { ...sent, psbt: encodePsbt(tx, 2) };
  } catch (error) {
    release(node, prepared.psbt);
    throw error;
  }
};

export const walletCommands = (node: Node): readonly Command[] => {
  // As in Core Lightning's plugin, prepared transactions live in memory only; their reservations outlive a restart.
  const unreleased = new Map<string, Prepared>();
  const take = (id: string): Prepared => {
    const found = unreleased.get(id);
    if (found === undefined) throw new RpcError(CODE.invalidParams, `not an unreleased txid '${id}'`);
    unreleased.delete(id);
    return found;
  };
  return [
    command('newaddr', { addresstype: def(oneOf('bech32', 'p2tr', 'all'), 'p2tr') }, ({ addresstype }) => {
      const key = node.keys.wallet(node.wallet.newIndex());
      return {
        ...(addresstype === 'p2tr' ? {} : { bech32: scriptToAddress(p2wpkhScript(key)) }),
        ...(addresstype === 'bech32' ? {} : { p2tr: scriptToAddress(p2trScript(key)) }),
      };
    }),
    command('listfunds', { spent: def(bool, false) }, ({ spent }) => ({
      outputs: node.wallet.all().filter((utxo) => spent || utxo.spent === undefined).map((utxo) => listedOutput(node, utxo)),
      channels: node.channels.listFunds(),
    })),
    command('txprepare', { outputs: req(outputsParam), feerate: opt(feerate), minconf: def(int, 1), utxos: opt(arrayOf(outpoint)) }, ({ outputs, feerate: perKw = 253, minconf, utxos }) => {
      const prepared = prepare(node, outputs, perKw, utxos, minconf);
      unreleased.set(prepared.txid, prepared);
      return { unsigned_tx: prepared.unsigned_tx, txid: prepared.txid, psbt: prepared.psbt };
    }),
    command('txsend', { txid: req(txid) }, ({ txid: id }) => signAndSend(node, take(id))),
    command('txdiscard', { txid: req(txid) }, ({ txid: id }) => {
      const { unsigned_tx, psbt } = take(id);
      release(node, psbt);
      return { unsigned_tx, txid: id };
    }),
    command(
      'withdraw',
      { destination: req(addressParam), satoshi: req(satOrAll), feerate: opt(feerate), minconf: def(int, 1), utxos: opt(arrayOf(outpoint)) },
      ({ destination: script, satoshi: amount, feerate: perKw = 253, minconf, utxos }) => signAndSend(node, prepare(node, [{ script, amount }], perKw, utxos, minconf)),
    ),
    command('listtransactions', {}, () => ({
      transactions: node.wallet.transactions().map(({ txid: id, hex, height, index }) => {
        const raw = decodeTx(hex);
        return {
          hash: id,
          rawtx: hex,
          blockheight: height,
          txindex: index,
          locktime: raw.lockTime,
          version: raw.version,
          inputs: raw.inputs.map((input) => ({ txid: bytesToHex(input.txid), index: input.index, sequence: input.sequence })),
          outputs: raw.outputs.map((output, i) => ({ index: i, amount_msat: Number(output.amount) * 1000, scriptPubKey: bytesToHex(output.script) })),
        };
      }),
    })),
  ];
};
