/** The node's wallet: coins, the funding transaction, coins for bumping. */
import { sat, script, txid, type Hex, type Outpoint, type Sat, type Script, type Txid } from '../../blip/brands.js';
import { encodePsbt } from '../../factory-core/psbt.js';
import { reply, type Reply } from '../runtime/json-read.js';
import type { Rpc } from '../runtime/rpc-client.js';
import { broadcastRaw, readUtxo } from './chain.js';
import { isRpcError, RPC } from './errors.js';
import { LightningError, type Coin, type FundingRequest, type PreparedFunding, type Psbt, type WalletApi } from './lightning.js';
import { addressOf, scriptOf } from './networks.js';
import { readInfo } from './node.js';
import { select } from './coin-selection.js';
import { rawTransaction, readPsbt, type PsbtView } from './psbt.js';

const keyOf = ({ txid: id, vout }: Outpoint): string => `${id}:${vout}`;
const P2SH = /^a914/;

interface WalletOutput {
  readonly coin: Coin;
  readonly status: string;
  readonly reserved: boolean;
  readonly wrapped: boolean;
}

const readOutput = (output: Reply): WalletOutput => {
  const scriptPubKey = script(output.hex('scriptpubkey'), 'listfunds.scriptpubkey');
  return {
    coin: {
      outpoint: { txid: txid(output.hex('txid'), 'listfunds.txid'), vout: output.int('output') },
      amount: sat(output.msat('amount_msat') / 1000n, 'listfunds.amount_msat'),
      script: scriptPubKey,
      height: output.optInt('blockheight') ?? 0,
    },
    status: output.str('status'),
    reserved: output.bool('reserved'),
    wrapped: output.has('redeemscript') || P2SH.test(scriptPubKey),
  };
};

/** Unspent outputs (with `spent`, the others as well) of the wallet. */
const readOutputs = async (rpc: Rpc, spent = false): Promise<readonly WalletOutput[]> =>
  reply('listfunds', await rpc.call('listfunds', { spent })).objs('outputs').map(readOutput);

const byAmount = (a: Coin, b: Coin): number => (a.amount < b.amount ? 1 : a.amount > b.amount ? -1 : 0);

const readCoins = async (rpc: Rpc): Promise<readonly Coin[]> =>
  (await readOutputs(rpc))
    .filter(({ status, reserved, wrapped }) => status === 'confirmed' && !reserved && !wrapped)
    .map(({ coin }) => coin)
    .sort(byAmount);

/** A PSBT that only names coins, for `reserveinputs` and `unreserveinputs`: they look at nothing but the inputs. */
const coinsPsbt = (coins: readonly Coin[]): string =>
  encodePsbt({ version: 2, lockTime: 0, inputs: coins.map(({ outpoint, amount, script: spent }) => ({ outpoint, sequence: 0xfffffffd, prevout: { amount, script: spent } })), outputs: [] });

/** Longer than any reservation: `unreserveinputs` shortens one by so many blocks, and ends it when nothing is left. */
const ANY_RESERVATION = 1_000_000;

const unreserve = async (rpc: Rpc, outpoints: readonly Outpoint[]): Promise<void> => {
  const wanted = new Set(outpoints.map(keyOf));
  const reserved = (await readOutputs(rpc)).filter((output) => output.reserved && wanted.has(keyOf(output.coin.outpoint)));
  if (reserved.length === 0) return;
  await rpc.call('unreserveinputs', { psbt: coinsPsbt(reserved.map(({ coin }) => coin)), reserve: ANY_RESERVATION });
};

/** `txprepare` forgets at a restart of the node what it prepared, the wallet does not forget its reservations. */
const discard = async (rpc: Rpc, id: Txid): Promise<void> => {
  try {
    await rpc.call('txdiscard', { txid: id });
  } catch (error) {
    if (!isRpcError(error, RPC.INVALID_PARAMS, RPC.METHOD_NOT_FOUND)) throw error;
  }
};

/** What was built must be what was asked for, with a txid no signature can change. */
const checkPrepared = (view: PsbtView, id: Txid, { script: wanted, amount, coins }: FundingRequest): number => {
  const wrapped = view.inputs.find((input) => input.wrapped || input.prevout === undefined);
  if (wrapped !== undefined) throw new LightningError('unsafe_input', 'a signature for this coin would change the txid', keyOf(wrapped.outpoint));
  const asked = new Set(coins.map(({ outpoint }) => keyOf(outpoint)));
  if (view.inputs.length !== asked.size || !view.inputs.every((input) => asked.has(keyOf(input.outpoint))))
    throw new LightningError('protocol', 'txprepare spends other coins than asked for', 'txprepare');
  const vout = view.outputs.findIndex((output) => output.script === wanted && output.amount === amount);
  if (vout < 0 || view.txid !== id) throw new LightningError('protocol', 'txprepare built something else', 'txprepare');
  return vout;
};

const prepareFunding = async (rpc: Rpc, request: FundingRequest): Promise<PreparedFunding> => {
  const { script: wanted, amount, coins, feerate } = request;
  const wrapped = coins.find((coin) => P2SH.test(coin.script));
  if (wrapped !== undefined) throw new LightningError('unsafe_input', 'a P2SH-wrapped coin', keyOf(wrapped.outpoint));
  const { network } = await readInfo(rpc);
  const outpoints = coins.map(({ outpoint }) => outpoint);
  const destination = addressOf(network, wanted);
  try {
    const answer = await rpc.call('txprepare', { outputs: [{ [destination]: `${amount}sat` }], feerate: `${feerate}perkb`, utxos: outpoints.map(keyOf) });
    const prepared = reply('txprepare', answer);
    const id = txid(prepared.hex('txid'), 'txprepare.txid');
    const psbt = prepared.str('psbt') as Psbt;
    const view = readPsbt(psbt);
    return { psbt, txid: id, vout: checkPrepared(view, id, request), rawTx: view.unsignedTx, coins: outpoints };
  } catch (error) {
    // Refused by CLN: nothing was reserved for us, and what is reserved is somebody else's.
    if (!isRpcError(error)) await unreserve(rpc, outpoints);
    throw error;
  }
};

const signPsbt = async (rpc: Rpc, psbt: Psbt, signonly?: readonly number[]): Promise<Psbt> => {
  const signed = reply('signpsbt', await rpc.call('signpsbt', { psbt, ...(signonly === undefined ? {} : { signonly }) })).str('signed_psbt') as Psbt;
  if (readPsbt(signed).txid !== readPsbt(psbt).txid) throw new LightningError('protocol', 'signing changed the txid', 'signpsbt');
  return signed;
};

/** In a block, with all its outputs spent since: the wallet remembers that it was its own. */
const isConfirmed = async (rpc: Rpc, id: Txid): Promise<boolean> => {
  const transactions = reply('listtransactions', await rpc.call('listtransactions')).objs('transactions');
  return transactions.some((tx) => tx.str('hash') === id && tx.int('blockheight') > 0);
};

/** `sendpsbt` failed: perhaps because the transaction was sent before, or its reservation has ended. bitcoind decides. */
const sendRaw = async (rpc: Rpc, rawTx: Hex, id: Txid, outputs: number): Promise<void> => {
  const sent = await broadcastRaw(rpc, rawTx);
  if (sent.kind === 'accepted' || sent.kind === 'known') return;
  for (let vout = 0; vout < outputs; vout++) if (await readUtxo(rpc, { txid: id, vout })) return;
  if (await isConfirmed(rpc, id)) return;
  throw new LightningError('rejected', `bitcoind refuses ${id}: ${sent.reason}`, 'sendpsbt');
};

const broadcastFunding = async (rpc: Rpc, psbt: Psbt): Promise<Txid> => {
  const view = readPsbt(psbt);
  const { rawTx } = rawTransaction(psbt, view.inputs.map((_, i) => i));
  try {
    // Tells the wallet about coins and change, which a bare `sendrawtransaction` does not.
    await rpc.call('sendpsbt', { psbt });
  } catch (error) {
    if (!isRpcError(error, RPC.LIGHTNINGD)) throw error;
    await sendRaw(rpc, rawTx, view.txid, view.outputs.length);
  }
  return view.txid;
};

const reserveCoin = async (rpc: Rpc, coin: Coin, again: boolean): Promise<void> => {
  try {
    await rpc.call('reserveinputs', { psbt: coinsPsbt([coin]), exclusive: !again });
  } catch (error) {
    if (isRpcError(error, RPC.INVALID_PARAMS)) throw new LightningError('conflict', `reserveinputs: ${error.message}`, keyOf(coin.outpoint), { rpcCode: error.code, cause: error });
    throw error;
  }
};

const readEmergencyReserve = async (rpc: Rpc): Promise<Sat> => {
  const configs = reply('listconfigs', await rpc.call('listconfigs', { config: 'min-emergency-msat' })).obj('configs');
  return sat((configs.obj('min-emergency-msat').msat('value_msat') + 999n) / 1000n, 'min-emergency-msat');
};

const newPayout = async (rpc: Rpc): Promise<{ readonly address: string; readonly script: Script }> => {
  const { network } = await readInfo(rpc);
  const address = reply('newaddr', await rpc.call('newaddr', { addresstype: 'p2tr' })).str('p2tr');
  return { address, script: scriptOf(network, address) };
};

export const walletApi = (rpc: Rpc): WalletApi => ({
  newPayout: () => newPayout(rpc),
  coins: () => readCoins(rpc),
  selectCoins: async (target, feerate) => {
    const [coins, reserve] = await Promise.all([readCoins(rpc), readEmergencyReserve(rpc)]);
    return select(coins, target, feerate, reserve);
  },
  prepareFunding: (request) => prepareFunding(rpc, request),
  releaseFunding: async ({ coins, txid: id, psbt }) => {
    const known = id ?? (psbt === undefined ? undefined : readPsbt(psbt).txid);
    if (known !== undefined) await discard(rpc, known);
    await unreserve(rpc, coins);
  },
  signFunding: (psbt) => signPsbt(rpc, psbt),
  broadcastFunding: (psbt) => broadcastFunding(rpc, psbt),
  reserveCoin: (coin, again = false) => reserveCoin(rpc, coin, again),
  releaseCoins: (coins) => unreserve(rpc, coins),
  signBump: async (psbt, indexes) => rawTransaction(await signPsbt(rpc, psbt, indexes), indexes),
});
