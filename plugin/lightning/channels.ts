/** CLN's channels: opening them on unpublished transactions, arming, freezing, closing, auditing. */
import { setTimeout as pause } from 'node:timers/promises';
import { channelId, hex, msat, nodeId, script, txid, type ChannelId, type NodeId, type Outpoint } from '../../blip/brands.js';
import { armingPsbt, leafPsbt } from '../../factory-core/psbt.js';
import type { Signable } from '../../factory-core/model.js';
import { reply, type Reply } from '../runtime/json-read.js';
import { RpcUnavailable, type Rpc } from '../runtime/rpc-client.js';
import { asLightningError, isRpcError, RPC } from './errors.js';
import { readFundingKeys, type WalletReader } from './funding-keys.js';
import {
  CHANNEL_STATES,
  LightningError,
  type Channel,
  type ChannelApi,
  type ChannelFilter,
  type ChannelState,
  type ChannelUpdate,
  type CloseRequest,
  type CloseResult,
  type Htlc,
} from './lightning.js';
import { readConfig, readInfo } from './node.js';

/** static_remotekey, anchors, scid_alias, zeroconf, each as its compulsory bit (BOLT 9). */
const CHANNEL_TYPE = [12, 22, 46, 50];

const OPEN_TIMEOUT_MS = 60_000;
const FREEZE_TIMEOUT_MS = 20_000;
const CLOSE_TIMEOUT_MS = 60_000;
/** How long a withheld channel's peer may take to agree to its end, in seconds. */
const FORGET_PATIENCE = 20;

const readHtlc = (htlc: Reply): Htlc => ({
  direction: htlc.str('direction') === 'in' ? 'in' : 'out',
  id: htlc.big('id'),
  amount: msat(htlc.msat('amount_msat'), 'htlcs.amount_msat'),
  expiry: htlc.int('expiry'),
  paymentHash: hex(htlc.hex('payment_hash'), 'htlcs.payment_hash'),
  state: htlc.str('state'),
});

const readUpdate = (update: Reply): ChannelUpdate => ({
  feeBase: msat(update.msat('fee_base_msat'), 'fee_base_msat'),
  feePpm: update.int('fee_proportional_millionths'),
  cltvDelta: update.int('cltv_expiry_delta'),
  htlcMin: msat(update.msat('htlc_minimum_msat'), 'htlc_minimum_msat'),
  htlcMax: msat(update.msat('htlc_maximum_msat'), 'htlc_maximum_msat'),
});
const readUpdates = (updates: Reply | undefined): Pick<Channel, 'localUpdate' | 'remoteUpdate'> => {
  const [local, remote] = [updates?.optObj('local'), updates?.optObj('remote')];
  return { ...(local ? { localUpdate: readUpdate(local) } : {}), ...(remote ? { remoteUpdate: readUpdate(remote) } : {}) };
};

const readState = (state: string): ChannelState => CHANNEL_STATES.find((known) => known === state) ?? 'UNKNOWN';

const readChannel = (channel: Reply): Channel => {
  const amount = (field: string) => msat(channel.optMsat(field) ?? 0n, `listpeerchannels.${field}`);
  const shortChannelId = channel.optStr('short_channel_id');
  const localAlias = channel.optObj('alias')?.optStr('local');
  const remoteAlias = channel.optObj('alias')?.optStr('remote');
  return {
    peer: nodeId(channel.str('peer_id'), 'listpeerchannels.peer_id'),
    connected: channel.bool('peer_connected'),
    channelId: channelId(channel.hex('channel_id'), 'listpeerchannels.channel_id'),
    funding: { txid: txid(channel.hex('funding_txid'), 'listpeerchannels.funding_txid'), vout: channel.int('funding_outnum') },
    state: readState(channel.str('state')),
    opener: channel.str('opener') === 'local' ? 'local' : 'remote',
    private: channel.optBool('private') ?? false,
    withheld: channel.optObj('funding')?.optBool('withheld') ?? false,
    toUs: amount('to_us_msat'),
    total: amount('total_msat'),
    ourReserve: amount('our_reserve_msat'),
    theirReserve: amount('their_reserve_msat'),
    spendable: amount('spendable_msat'),
    receivable: amount('receivable_msat'),
    sentInAll: amount('out_fulfilled_msat'),
    ...(shortChannelId === undefined ? {} : { shortChannelId }),
    ...(localAlias === undefined ? {} : { localAlias }),
    ...(remoteAlias === undefined ? {} : { remoteAlias }),
    htlcs: channel.optObjs('htlcs').map(readHtlc),
    ...readUpdates(channel.optObj('updates')),
  };
};

export const readChannels = async (rpc: Rpc, filter: ChannelFilter = {}): Promise<readonly Channel[]> => {
  const { peer, channelId: wanted, fundingTxid } = filter;
  const answer = await rpc.call('listpeerchannels', peer === undefined ? {} : { id: peer });
  return reply('listpeerchannels', answer)
    .objs('channels')
    // One that is only being negotiated has no funding yet.
    .filter((channel) => channel.has('channel_id') && channel.has('funding_txid'))
    .filter((channel) => (wanted === undefined || channel.str('channel_id') === wanted) && (fundingTxid === undefined || channel.str('funding_txid') === fundingTxid))
    .map(readChannel);
};

/** The peers we have begun to open a channel with. lightningd ends openings when it stops, and we live no longer than it. */
type Openings = Set<NodeId>;

/**
 * Only what we began ourselves: `fundchannel_cancel` for a peer without an opening would drop a channel that waits for its
 * confirmations instead, and with one, it could be the operator's.
 */
const openCancel = async (rpc: Rpc, openings: Openings, peer: NodeId): Promise<void> => {
  if (!openings.delete(peer)) return;
  try {
    await rpc.call('fundchannel_cancel', { id: peer });
  } catch (error) {
    // Gone with the connection, or by itself.
    if (!isRpcError(error, RPC.NOTHING_TO_CANCEL, RPC.UNKNOWN_PEER, RPC.PEER_NOT_CONNECTED)) throw error;
  }
};

const openStart = async (rpc: Rpc, openings: Openings, peer: NodeId, amount: bigint) => {
  // CLN raises a reserve of 0 to its dust limit, 546 sat, on either side.
  const request = { id: peer, amount, announce: false, mindepth: 0, reserve: 0, channel_type: CHANNEL_TYPE };
  try {
    const started = reply('fundchannel_start', await rpc.call('fundchannel_start', request, { timeoutMs: OPEN_TIMEOUT_MS }));
    openings.add(peer);
    return { script: script(started.hex('scriptpubkey'), 'fundchannel_start.scriptpubkey') };
  } catch (error) {
    if (error instanceof RpcUnavailable && error.sent) {
      openings.add(peer);
      await openCancel(rpc, openings, peer);
    }
    throw asLightningError(error, peer);
  }
};

/** Which channels have this funding transaction, and which of them are withheld. Asks for nothing else: there may be hundreds. */
const readWithheld = async (rpc: Rpc, fundingTxid: string): Promise<readonly boolean[]> => {
  const filter = { channels: [{ funding_txid: true, funding: { withheld: true } }] };
  const channels = reply('listpeerchannels', await rpc.call('listpeerchannels', {}, { filter })).objs('channels');
  return channels.filter((channel) => channel.optStr('funding_txid') === fundingTxid).map((channel) => channel.optObj('funding')?.optBool('withheld') ?? false);
};

const arm = async (rpc: Rpc, fundingTx: Signable): Promise<void> => {
  const { txid: id } = fundingTx;
  let said = 'sent';
  try {
    await rpc.call('sendpsbt', { psbt: armingPsbt(fundingTx) });
  } catch (error) {
    // Clearing the flag comes before the broadcast, which cannot succeed: its witness is nobody's.
    if (!isRpcError(error)) throw error;
    said = error.message;
  }
  const withheld = await readWithheld(rpc, id);
  if (withheld.length === 0) throw new LightningError('not_found', 'no channel has this funding transaction', id);
  if (withheld.includes(true)) throw new LightningError('rejected', `still withheld after sendpsbt: ${said}`, id);
};

const CLOSE_KINDS = ['mutual', 'unilateral', 'unopened'] as const;

const close = async (rpc: Rpc, { channelId: id, unilateralTimeout = 0, destination }: CloseRequest): Promise<CloseResult> => {
  const request = { id, unilateraltimeout: unilateralTimeout, ...(destination === undefined ? {} : { destination }) };
  const closed = reply('close', await rpc.call('close', request, { timeoutMs: CLOSE_TIMEOUT_MS + unilateralTimeout * 1000 }));
  const kind = CLOSE_KINDS.find((known) => known === closed.str('type'));
  if (kind === undefined) throw closed.unexpected('type', CLOSE_KINDS.join(', '));
  return { kind, txids: closed.has('txids') ? closed.strs('txids').map((one) => txid(one, 'close.txids')) : [] };
};

const forgetWithheld = async (rpc: Rpc, id: ChannelId): Promise<void> => {
  const [channel] = await readChannels(rpc, { channelId: id });
  if (channel === undefined) return;
  if (!channel.withheld) throw new LightningError('rejected', 'the channel is not withheld', id);
  try {
    // Without its agreement CLN drops the channel just the same, the peer only hears of it later.
    await close(rpc, { channelId: id, unilateralTimeout: channel.connected ? FORGET_PATIENCE : 1 });
  } catch (error) {
    if (isRpcError(error) && (await readChannels(rpc, { channelId: id })).length === 0) return;
    throw error;
  }
};

/** One command per channel: of several in one, the answer comes when the last is quiescent, and does not say which is not. */
const freezeOne = async (rpc: Rpc, id: ChannelId): Promise<void> => {
  try {
    await rpc.call('stfu_channels', { channel_ids: [id] }, { timeoutMs: FREEZE_TIMEOUT_MS });
  } catch (error) {
    if (isRpcError(error, RPC.SPLICE_STATE) && /currently in STFU/.test(error.message)) return; // quiescent already
    throw asLightningError(error, id);
  }
};

/** A channel that is disconnected, closing or gone is not quiescent. */
const NOT_FROZEN = [RPC.CHANNEL_DISCONNECTED, RPC.SPLICE_UNKNOWN_CHANNEL, RPC.CHANNEL_STATE];

/**
 * `abort_channels` answers at once, but the channel's daemon is only restarted when the peer has acknowledged, and forgets what
 * it was told in between: a `close`, then, hangs until the next reconnection (seen on v26.06.6). Nothing tells when it is over.
 */
const THAW_MS = 1_500;

const thaw = async (rpc: Rpc, ids: readonly ChannelId[]): Promise<void> => {
  const thawed = await Promise.all(
    ids.map(async (id) => {
      try {
        await rpc.call('abort_channels', { channel_ids: [id] });
        return true;
      } catch (error) {
        if (!isRpcError(error, ...NOT_FROZEN)) throw asLightningError(error, id);
        return false;
      }
    }),
  );
  if (thawed.includes(true)) await pause(THAW_MS);
};

const freeze = async (rpc: Rpc, ids: readonly ChannelId[]): Promise<void> => {
  const results = await Promise.allSettled(ids.map((id) => freezeOne(rpc, id)));
  const failed = results.find((result) => result.status === 'rejected');
  if (failed === undefined) return;
  // Thaw the one that failed, too: its quiescence may still be under way.
  await thaw(rpc, ids);
  throw failed.reason;
};

const audit = async (rpc: Rpc, read: WalletReader, funding: Outpoint) => {
  const [{ lightningDir }, { wallet }] = await Promise.all([readInfo(rpc), readConfig(rpc)]);
  return readFundingKeys(read, lightningDir, wallet, funding);
};

export const channelApi = (rpc: Rpc, read: WalletReader): ChannelApi => {
  const openings: Openings = new Set();
  return {
    openStart: ({ peer, amount }) => openStart(rpc, openings, peer, amount),
    openCancel: (peer) => openCancel(rpc, openings, peer),
    openComplete: async ({ peer, fundingTx }) => {
      const request = { id: peer, psbt: leafPsbt(fundingTx), withhold: true };
      const completed = reply('fundchannel_complete', await rpc.call('fundchannel_complete', request, { timeoutMs: OPEN_TIMEOUT_MS }));
      openings.delete(peer);
      return { channelId: channelId(completed.hex('channel_id'), 'fundchannel_complete.channel_id') };
    },
    arm: (fundingTx) => arm(rpc, fundingTx),
    channels: (filter) => readChannels(rpc, filter),
    closeChannel: (request) => close(rpc, request),
    forgetWithheld: (id) => forgetWithheld(rpc, id),
    freeze: (ids) => freeze(rpc, ids),
    thaw: (ids) => thaw(rpc, ids),
    auditFundingKeys: (funding) => audit(rpc, read, funding),
  };
};
