import { hexToBytes } from '@noble/hashes/utils.js';
import { type Channel, isClosing, isNormal } from './channel.js';
import { channelJson, closedJson } from './channel-json.js';
import { startedJson } from './channel-open.js';
import { selectCoins, spendingPsbt } from './coin-selection.js';
import { command, type Command } from './commands.js';
import { channelTypeJson } from './features.js';
import type { Node } from './node.js';
import { any, arrayOf, badParam, bool, channelId, def, feerate, int, msat, nodeId, opt, outpoint, req, sat, satOrAll, scid, str } from './params.js';
import { sendPsbt, signPsbt } from './psbt-commands.js';
import { addressParam, coreWeight, encodePsbt, outputWeight, parsePsbt, psbtParam } from './tx.js';
import { CODE, type Json, type JsonObject, RpcError, show } from './types.js';
import { RESERVATION } from './wallet.js';

/** A channel that can be made quiescent. @throws RpcError with the splice commands' codes, as in lightningd */
const quiescable = (node: Node, id: string): Channel => {
  const channel = node.channels.byChannelId(id);
  if (channel === undefined) throw new RpcError(CODE.spliceUnknownChannel, `Unknown channel ${id}`);
  if (!node.channels.link.isLive(channel)) throw new RpcError(CODE.spliceWrongOwner, 'Channel is disconnected');
  if (!isNormal(channel)) throw new RpcError(CODE.spliceChannelState, `Channel needs to be in normal or awaiting splice state but is in state ${channel.state}`);
  return channel;
};

const manyQuiescable = (node: Node, ids: readonly string[] | undefined): readonly Channel[] => {
  if (ids === undefined || ids.length === 0) throw badParam('channel_ids', 'Must specify a channel', ids ?? null);
  return ids.map((id) => quiescable(node, id));
};

/** lightningd splices; a virtual channel does not survive it, so the stand-in only has the commands for plugins to guard. */
const splice = (node: Node, name: string, parameter: string): Command =>
  command(name, { [parameter]: req(any), relative_amount: opt(any), initialpsbt: opt(any), feerate_per_kw: opt(any), force_feerate: opt(any), skip_stfu: opt(any) }, (args) => {
    quiescable(node, show(args[parameter]));
    throw new RpcError(CODE.spliceNotSupported, 'the stand-in does not splice');
  });

interface FundRequest {
  readonly peerId: string;
  readonly amount: number | 'all';
  readonly announce: boolean;
  readonly pushMsat: number;
  readonly perKw: number;
  readonly minDepth: number | undefined;
  readonly reserve: number | undefined;
  readonly type: readonly number[] | undefined;
  readonly closeTo: string | undefined;
}

const FUNDING_WEIGHT = coreWeight + outputWeight(34);

/** `fundchannel`: start, coins, complete, broadcast; on failure the coins are free again. */
const fund = async (node: Node, request: FundRequest): Promise<JsonObject> => {
  const { perKw } = request;
  const choose = (): ReturnType<typeof selectCoins> => selectCoins(node, { amount: request.amount, perKw, startWeight: FUNDING_WEIGHT, excessAsChange: true, anchor: true });
  const amount = request.amount === 'all' ? choose().excess : request.amount;
  choose();
  const { script, type } = await node.channels.opener.start({ ...request, amount });
  let psbt: string | undefined;
  try {
    psbt = node.store.atomically(() => {
      const funding = choose();
      const tx = spendingPsbt(node, funding.coins, node.blocks.height);
      tx.addOutput({ script: hexToBytes(script), amount: BigInt(amount) }, true);
      if (funding.change > 0) tx.addOutput({ script: hexToBytes(node.wallet.newScript()), amount: BigInt(funding.change) }, true);
      for (const utxo of funding.coins) node.wallet.reserve(utxo, RESERVATION * 28);
      return encodePsbt(tx, 2);
    });
    const channel = await node.channels.opener.complete(request.peerId, parsePsbt(psbt), false);
    const tx = parsePsbt(psbt);
    signPsbt(node, tx);
    const sent = await sendPsbt(node, tx);
    return { ...sent, channel_id: channel.channelId, channel_type: channelTypeJson(type) as unknown as JsonObject, outnum: channel.fundingVout };
  } catch (error) {
    if (node.peers.isConnected(request.peerId)) node.channels.opener.cancel(request.peerId);
    throw error;
  }
};

const openingCommands = (node: Node): readonly Command[] => [
  command(
    'fundchannel_start',
    {
      id: req(nodeId), amount: req(sat), feerate: opt(feerate), announce: def(bool, true), close_to: opt(addressParam), push_msat: def(msat, 0), mindepth: opt(int), reserve: opt(sat),
      channel_type: opt(arrayOf(int)),
    },
    async ({ id: peerId, amount, announce, close_to: closeTo, push_msat: pushMsat, mindepth: minDepth, reserve, channel_type: type }) =>
      startedJson(await node.channels.opener.start({ peerId, amount, announce, pushMsat, minDepth, reserve, type, closeTo })),
  ),
  command('fundchannel_complete', { id: req(nodeId), psbt: req(psbtParam), withhold: def(bool, false) }, async ({ id, psbt, withhold }) => {
    const channel = await node.channels.opener.complete(id, psbt.tx, withhold);
    return { channel_id: channel.channelId, commitments_secured: true };
  }),
  command('fundchannel_cancel', { id: req(nodeId) }, ({ id }) => {
    if (node.channels.opener.cancel(id)) return { cancelled: 'Channel open canceled by RPC' };
    const channels = node.channels.withPeer(id);
    if (channels.length === 0 && !node.peers.isConnected(id)) throw new RpcError(CODE.fundUnknownPeer, 'Unknown peer');
    const waiting = channels.find(({ state }) => state === 'CHANNELD_AWAITING_LOCKIN');
    if (waiting === undefined) throw new RpcError(CODE.fundNothingToCancel, `No channels being opened or awaiting lock-in for peer_id ${id}`);
    if (waiting.opener === 'remote') throw new RpcError(CODE.fundCancelNotSafe, 'Cannot cancel channel that was initiated by peer');
    if (node.wallet.transaction(waiting.fundingTxid) !== undefined) throw new RpcError(CODE.fundCancelNotSafe, 'Has the funding transaction been broadcast? Please use `close` or `dev-fail` instead.');
    node.channels.link.send(waiting, 'error', { text: 'Cancel channel by our RPC command before funding transaction broadcast.' });
    node.channels.forget(waiting, 'user');
    return { cancelled: 'Channel open canceled by RPC(after fundchannel_complete)' };
  }),
  command(
    'fundchannel',
    {
      id: req(nodeId), amount: req(satOrAll), feerate: def(feerate, 253), announce: def(bool, true), minconf: opt(int), utxos: opt(arrayOf(outpoint)), push_msat: def(msat, 0), close_to: opt(addressParam),
      request_amt: opt(any), compact_lease: opt(any), reserve: opt(sat), mindepth: opt(int), channel_type: opt(arrayOf(int)),
    },
    ({ id: peerId, amount, feerate: perKw, announce, push_msat: pushMsat, close_to: closeTo, reserve, mindepth: minDepth, channel_type: type }) =>
      fund(node, { peerId, amount, perKw, announce, pushMsat, closeTo, reserve, minDepth, type }),
  ),
];

export const channelCommands = (node: Node): readonly Command[] => [
  ...openingCommands(node),
  command('listpeerchannels', { id: opt(nodeId), short_channel_id: opt(scid), channel_id: opt(channelId) }, ({ id, short_channel_id: name, channel_id }) => ({
    channels: [
      ...(name === undefined && channel_id === undefined ? node.channels.opener.list(id) : []),
      ...node.channels
        .all()
        .filter(
          (channel) =>
            (id === undefined || channel.peerId === id) &&
            (name === undefined || channel.scid === name || channel.aliasLocal === name) &&
            (channel_id === undefined || channel.channelId === channel_id),
        )
        .map((channel) => channelJson(node, channel)),
    ],
  })),
  command('listclosedchannels', { id: opt(nodeId) }, ({ id }) => ({
    closedchannels: node.channels.closedChannels().filter(({ channel }) => id === undefined || channel.peerId === id).map(({ channel, cause }) => closedJson(node, channel, cause)),
  })),
  command(
    'close',
    { id: req(str), unilateraltimeout: def(int, 48 * 3600), destination: opt(addressParam), fee_negotiation_step: opt(any), wrong_funding: opt(any), force_lease_closed: opt(any), feerange: opt(any) },
    ({ id, unilateraltimeout, destination }, call) => {
      if (/^0[23][0-9a-f]{64}$/.test(id) && !node.channels.withPeer(id).some((channel) => !isClosing(channel)) && node.channels.opener.cancel(id)) return { type: 'unopened' };
      return node.channels.closer.close(node.channels.find(id, (channel) => !isClosing(channel)), unilateraltimeout, destination, call);
    },
  ),
  command('stfu_channels', { channel_ids: opt(arrayOf(str)) }, async ({ channel_ids }) => {
    const channels = manyQuiescable(node, channel_ids);
    const available = await Promise.all(channels.map((channel) => node.channels.link.stfu(channel)));
    return { channels: channels.map((channel, i): Json => ({ channel_id: channel.channelId, available_msat: available[i] })) };
  }),
  command('abort_channels', { channel_ids: opt(arrayOf(str)) }, ({ channel_ids }) => {
    for (const channel of manyQuiescable(node, channel_ids)) node.channels.link.abort(channel);
    return {};
  }),
  splice(node, 'splice_init', 'channel_id'),
  splice(node, 'splicein', 'channel'),
  splice(node, 'spliceout', 'channel'),
  command('dev-forget-channel', { id: req(nodeId), short_channel_id: opt(scid), channel_id: opt(channelId), force: def(bool, false) }, async ({ id, short_channel_id, channel_id, force }) => {
    if (!node.options.flag('developer')) throw new RpcError(CODE.methodNotFound, "Unknown command 'dev-forget-channel'");
    const matching = node.channels.withPeer(id).filter((one) => (short_channel_id === undefined || one.scid === short_channel_id) && (channel_id === undefined || one.channelId === channel_id));
    const [channel] = matching;
    if (channel === undefined) throw new RpcError(CODE.lightningd, 'No channels matching that peer_id');
    if (matching.length > 1) throw new RpcError(CODE.lightningd, 'Multiple channels: please specify short_channel_id');
    const unspent = (await node.bitcoind.call('gettxout', [channel.fundingTxid, channel.fundingVout])) !== null;
    if (unspent && !force) throw new RpcError(CODE.lightningd, 'Cowardly refusing to forget channel with an unspent funding output, if you know what you\'re doing you can override with `force=true`, otherwise consider `close` or `dev-fail`! If you force and the channel is not properly closed, your funds may be lost!');
    node.channels.forget(channel, 'user');
    return { forced: force, funding_unspent: unspent, funding_txid: channel.fundingTxid };
  }),
  command('listforwards', { status: opt(str), in_channel: opt(scid), out_channel: opt(scid) }, ({ status, in_channel, out_channel }) => ({
    forwards: node.forwards
      .list()
      .filter((one) => (status === undefined || one['status'] === status) && (in_channel === undefined || one['in_channel'] === in_channel) && (out_channel === undefined || one['out_channel'] === out_channel)),
  })),
];
