/**
 * The chain, through whatever backend plugin the node has: its methods are ordinary RPC (lightningd-facts).
 *
 * bcli hides that bitcoind is away: `getutxout` and `getrawblockbyheight` then answer nulls, as for an output that is spent
 * and a block that is not there yet (seen on v26.06.6). Taking one for the other would be fatal, so a null counts only
 * when the backend answers before it is asked again.
 */
import { hex, sat, script, type Hex, type Outpoint, type Sat, type Script } from '../../blip/brands.js';
import { reply } from '../runtime/json-read.js';
import type { Rpc } from '../runtime/rpc-client.js';
import { LightningError, type Block, type BroadcastResult, type ChainApi, type Feerates, type Tip } from './lightning.js';

/** Large blocks through bitcoin-cli on a slow machine. */
const BLOCK_TIMEOUT_MS = 180_000;

/** @throws RpcError 500 when bitcoind cannot be asked */
const readTip = async (rpc: Rpc): Promise<Tip> => {
  // Other backends than bcli may wait for `last_height`: 0 has always been reached.
  const info = reply('getchaininfo', await rpc.call('getchaininfo', { last_height: 0 }));
  return { height: info.int('blockcount'), headers: info.int('headercount'), initialBlockDownload: info.bool('ibd') };
};

const KNOWN = /already in block chain|already in utxo set|outputs already in utxo|txn-already-known|txn-already-in-mempool|txn-same-nonwitness-data-in-mempool/i;
const MISSING = /bad-txns-inputs-missingorspent|missing[- ]?inputs/i;
/** Below the minimum (static or the mempool's own), or not enough to take another transaction's place (BIP 125). */
const LOW_FEE = /mempool min fee not met|min relay fee not met|insufficient fee|rejecting replacement|mempool full/i;
const UNREACHABLE = /could not connect|timeout on transient error|couldn't connect|verifying blocks|loading|rewinding|error code: -28|work queue depth exceeded|server in warmup|authorization failed/i;

/** What bitcoin-cli printed, on one line. */
const reasonOf = (text: string): string => {
  const [, message = text] = /error message:\s*([\s\S]*)/.exec(text) ?? [];
  return message.trim().replace(/\s+/g, ' ');
};

/** Sorts bitcoind's answer to `sendrawtransaction`. @throws LightningError `unavailable` */
export const classifyBroadcast = (success: boolean, text: string): BroadcastResult => {
  if (KNOWN.test(text)) return { kind: 'known' };
  if (success) return { kind: 'accepted' };
  if (MISSING.test(text)) return { kind: 'missing_inputs', reason: reasonOf(text) };
  if (UNREACHABLE.test(text)) throw new LightningError('unavailable', `bitcoind cannot be asked: ${reasonOf(text)}`, 'sendrawtransaction');
  return { kind: LOW_FEE.test(text) ? 'low_fee' : 'rejected', reason: reasonOf(text) };
};

export const broadcastRaw = async (rpc: Rpc, tx: Hex): Promise<BroadcastResult> => {
  const sent = reply('sendrawtransaction', await rpc.call('sendrawtransaction', { tx, allowhighfees: false }));
  return classifyBroadcast(sent.bool('success'), sent.optStr('errmsg') ?? '');
};

/** bcli says "1234sat", other backends may say a plain number. */
const readSat = (value: unknown): Sat => {
  const amount = typeof value === 'string' ? /^([0-9]{1,16})sat$/.exec(value)?.[1] : Number.isSafeInteger(value) && (value as number) >= 0 ? String(value) : undefined;
  if (amount === undefined) throw new LightningError('protocol', 'getutxout: an amount in sat expected', 'amount');
  return sat(BigInt(amount), 'getutxout.amount');
};

type Utxo = { readonly amount: Sat; readonly script: Script };

const readUtxoOnce = async (rpc: Rpc, { txid, vout }: Outpoint): Promise<Utxo | undefined> => {
  const found = reply('getutxout', await rpc.call('getutxout', { txid, vout }));
  return found.has('amount') ? { amount: readSat(found.json['amount']), script: script(found.hex('script'), 'getutxout.script') } : undefined;
};

export const readUtxo = async (rpc: Rpc, outpoint: Outpoint): Promise<Utxo | undefined> => {
  const first = await readUtxoOnce(rpc, outpoint);
  if (first !== undefined) return first;
  await readTip(rpc);
  return readUtxoOnce(rpc, outpoint);
};

const readBlockOnce = async (rpc: Rpc, height: number): Promise<Block | undefined> => {
  const answer = await rpc.call('getrawblockbyheight', { height }, { timeoutMs: BLOCK_TIMEOUT_MS });
  const found = reply('getrawblockbyheight', answer);
  return found.has('blockhash') ? { height, hash: hex(found.hex('blockhash')), raw: hex(found.hex('block')) } : undefined;
};

const readBlock = async (rpc: Rpc, height: number): Promise<Block | undefined> => {
  const first = await readBlockOnce(rpc, height);
  if (first !== undefined) return first;
  const tip = await readTip(rpc);
  return height > tip.height ? undefined : readBlockOnce(rpc, height);
};

/** `feerates` rather than the backend's `estimatefees`: smoothed, and kept while bitcoind is away. */
const readFeerates = async (rpc: Rpc): Promise<Feerates> => {
  const perkb = reply('feerates', await rpc.call('feerates', { style: 'perkb' })).obj('perkb');
  const floor = perkb.optInt('floor') ?? perkb.int('min_acceptable');
  const estimates = perkb.optObjs('estimates').map((one) => ({ blocks: one.int('blockcount'), feerate: one.int('smoothed_feerate') }));
  // The estimate for the longest target within `blocks`; estimates come sorted by target.
  const within = (blocks: number): number => Math.max(floor, estimates.filter((one) => one.blocks <= blocks).at(-1)?.feerate ?? floor);
  const slow = within(100);
  const normal = Math.max(slow, within(12));
  return { floor, slow, normal, urgent: Math.max(normal, within(2)), estimated: estimates.length > 0 };
};

export const chainApi = (rpc: Rpc): ChainApi => ({
  broadcast: (rawTx) => broadcastRaw(rpc, rawTx),
  utxo: (outpoint) => readUtxo(rpc, outpoint),
  tip: () => readTip(rpc),
  rawBlock: (height) => readBlock(rpc, height),
  feerates: () => readFeerates(rpc),
});
