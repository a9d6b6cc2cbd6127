import { utf8ToBytes } from '@noble/hashes/utils.js';
import { command, type Command } from './commands.js';
import type { Node } from './node.js';
import { bool, bytes, COMMITMENT_PERKW, def, FLOOR_PERKW, int, oneOf, opt, req, str, hex, txid } from './params.js';
import { BitcoindError, toSat } from './bitcoind.js';
import { CODE, field, type Json, type JsonObject, messageOf, RpcError } from './types.js';

const ESTIMATE_BLOCKS = [2, 6, 12, 100] as const;

const feerates = (style: 'perkw' | 'perkb'): JsonObject => {
  const rate = (perKw: number): number => (style === 'perkw' ? perKw : perKw * 4);
  const floor = rate(FLOOR_PERKW);
  return {
    [style]: {
      opening: floor,
      mutual_close: floor,
      unilateral_close: floor,
      unilateral_anchor_close: rate(COMMITMENT_PERKW),
      penalty: floor,
      splice: floor,
      min_acceptable: floor,
      max_acceptable: floor * 10,
      floor,
      estimates: ESTIMATE_BLOCKS.map((blockcount) => ({ blockcount, feerate: floor, smoothed_feerate: floor })),
    },
    onchain_fee_estimates: {
      opening_channel_satoshis: 177,
      mutual_close_satoshis: 170,
      unilateral_close_satoshis: 1390,
      unilateral_close_nonanchor_satoshis: 151,
      htlc_timeout_satoshis: 167,
      htlc_success_satoshis: 177,
    },
  };
};

const getinfo = (node: Node): JsonObject => {
  const count = (state: (name: string) => boolean): number => node.channels.all().filter((channel) => state(channel.state)).length;
  return {
    id: node.keys.nodeId,
    alias: node.alias,
    color: node.color,
    num_peers: node.peers.listPeers().length,
    num_pending_channels: count((state) => state === 'CHANNELD_AWAITING_LOCKIN'),
    num_active_channels: count((state) => state === 'CHANNELD_NORMAL'),
    num_inactive_channels: count((state) => !['CHANNELD_AWAITING_LOCKIN', 'CHANNELD_NORMAL'].includes(state)),
    address: [],
    binding: node.peers.bindings(),
    version: node.version,
    blockheight: Math.max(0, node.blocks.height),
    network: node.options.network,
    fees_collected_msat: node.forwards.feesCollected(),
    'lightning-dir': node.options.networkDir,
    our_features: { init: node.plugins.features.init, node: node.plugins.features.node, channel: node.plugins.features.channel, invoice: node.plugins.features.invoice },
  };
};

/** bcli takes a bitcoind that is away for one that knows nothing (lightningd-facts; seen on v26.06). */
const knowsNothing = (error: unknown): boolean => error instanceof BitcoindError && (error.isUnreachable || error.code === -8);

/** What Core Lightning's bcli answers, as plugins can call it. */
const backendCommands = (node: Node): readonly Command[] => [
  command('getchaininfo', { last_height: opt(int) }, async () => {
    const info = await node.bitcoind.call('getblockchaininfo').catch((error: unknown) => {
      throw new RpcError(CODE.bcli, messageOf(error));
    });
    return { chain: field(info, 'chain'), headercount: field(info, 'headers'), blockcount: field(info, 'blocks'), ibd: field(info, 'initialblockdownload') };
  }),
  command('estimatefees', {}, () => ({ feerates: ESTIMATE_BLOCKS.map((blocks) => ({ blocks, feerate: 1000 })), feerate_floor: 1000 })),
  command('getrawblockbyheight', { height: req(int) }, async ({ height }) => {
    try {
      const blockhash = await node.bitcoind.hashAt(height);
      return { blockhash, block: await node.bitcoind.call('getblock', [blockhash, 0]) };
    } catch (error) {
      if (knowsNothing(error)) return { blockhash: null, block: null };
      throw error;
    }
  }),
  command('getutxout', { txid: req(txid), vout: req(int) }, async ({ txid: id, vout }) => {
    const found = await node.bitcoind.call('gettxout', [id, vout]).catch((error: unknown) => {
      if (knowsNothing(error)) return null;
      throw error;
    });
    if (found === null) return { amount: null, script: null };
    return { amount: `${toSat(Number(field(found, 'value')))}sat`, script: field(field(found, 'scriptPubKey'), 'hex') };
  }),
  command('sendrawtransaction', { tx: req(hex), allowhighfees: req(bool) }, async ({ tx, allowhighfees }) => {
    const { success, message } = await node.bitcoind.broadcast(tx, allowhighfees);
    return { success, errmsg: message };
  }),
];

const help = (node: Node, wanted: string | undefined): Json => {
  const found = node.commands.all().filter(({ name }) => wanted === undefined || name === wanted);
  if (found.length === 0) throw new RpcError(CODE.methodNotFound, `Unknown command ${wanted ?? ''}`);
  return { help: found.map(({ name, usage }) => ({ command: `${name} ${usage}`.trim() })), 'format-hint': 'simple' };
};

export const nodeCommands = (node: Node): readonly Command[] => [
  ...backendCommands(node),
  command('getinfo', {}, () => getinfo(node)),
  command('listconfigs', { config: opt(str) }, ({ config }) => {
    const configs = node.options.configs();
    if (config === undefined) return { configs };
    if (configs[config] === undefined) throw new RpcError(CODE.invalidParams, `Unknown config option '${config}'`);
    return { configs: { [config]: configs[config] } };
  }),
  command('feerates', { style: req(oneOf('perkw', 'perkb')) }, ({ style }) => feerates(style)),
  command('makesecret', { hex: opt(bytes), string: opt(str) }, ({ hex: info, string }) => {
    if ((info === undefined) === (string === undefined)) throw new RpcError(CODE.invalidParams, 'Must have either hex or string');
    return { secret: node.keys.secret(info ?? utf8ToBytes(string ?? '')) };
  }),
  command('waitblockheight', { blockheight: req(int), timeout: def(int, 60) }, async ({ blockheight, timeout }) => {
    const reached = await Promise.race([node.blocks.waitFor(blockheight).then(() => true), node.sleep(timeout * 1000).then(() => false)]);
    if (!reached) throw new RpcError(2000, `Timed out after ${timeout} seconds. Still at block height ${node.blocks.height}`);
    return { blockheight: node.blocks.height };
  }),
  command('help', { command: opt(str) }, ({ command: wanted }) => help(node, wanted)),
  { name: 'check', usage: 'command_to_check [parameters]', run: (params, call) => node.commands.check(params, call) },
  command('stop', {}, () => {
    void node.exit(0);
    return { result: 'Shutdown complete' };
  }),
];
