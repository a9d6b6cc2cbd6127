import type { Transaction } from '@scure/btc-signer';
import type { Block } from './bitcoind.js';
import type { ChainListener } from './blocks.js';
import { type Cause, type Channel, type ChannelState, isClosing, isNormal, STATE_NUMBERS, talks } from './channel.js';
import { ChannelChain } from './channel-chain.js';
import { ChannelCloser } from './channel-close.js';
import { ChannelLink } from './channel-link.js';
import { ChannelOpener } from './channel-open.js';
import { toRemoteScript, toRemoteWitnessScript } from './commitment.js';
import type { Log } from './log.js';
import type { Node } from './node.js';
import type { Collection } from './store.js';
import { encodePsbt, isFinalPsbt, parsePsbt, reverseHex, sameTransaction } from './tx.js';
import { CODE, type Json, type JsonObject, RpcError, text } from './types.js';
import { bytesToHex } from '@noble/hashes/utils.js';

/** A channel's entry in listclosedchannels. */
interface ClosedChannel {
  readonly channel: Channel;
  readonly cause: Cause;
}

/** All channels: their records, and who handles which message about them. */
export class Channels implements ChainListener {
  readonly opener: ChannelOpener;
  readonly link: ChannelLink;
  readonly closer: ChannelCloser;
  readonly chain: ChannelChain;
  private readonly channels: Collection<Channel>;
  private readonly closed: Collection<ClosedChannel>;

  constructor(
    readonly node: Node,
    private readonly log: Log,
  ) {
    this.channels = node.store.collection('channel');
    this.closed = node.store.collection('closed_channel');
    this.opener = new ChannelOpener(this);
    this.link = new ChannelLink(this);
    this.closer = new ChannelCloser(this);
    this.chain = new ChannelChain(this);
    for (const channel of this.all()) this.watch(channel);
  }

  /** After the node's parts are there and plugins listen: HTLCs without a verdict are looked at again, transactions sent again. */
  start(): void {
    this.link.replay();
    this.chain.start();
  }

  // Records

  all(): readonly Channel[] {
    return this.channels.values();
  }

  withPeer(peerId: string): readonly Channel[] {
    return this.all().filter((channel) => channel.peerId === peerId);
  }

  byNumber(id: number): Channel | undefined {
    return this.channels.get(String(id));
  }

  byChannelId(channelId: string): Channel | undefined {
    return this.channels.find((channel) => channel.channelId === channelId);
  }

  /** By its real short channel id or the alias we gave it. */
  byScid(scid: string): Channel | undefined {
    return this.channels.find((channel) => channel.scid === scid || channel.aliasLocal === scid);
  }

  /** A command's `id`: channel id, short channel id, alias, or the peer of a single channel that passes. @throws RpcError */
  find(id: string, passes: (channel: Channel) => boolean): Channel {
    if (/^0[23][0-9a-f]{64}$/.test(id)) {
      const candidates = this.withPeer(id).filter(passes);
      if (candidates.length > 1) throw new RpcError(CODE.lightningd, 'Peer has multiple channels: use channel_id or short_channel_id');
      if (candidates[0] !== undefined) return candidates[0];
      throw new RpcError(CODE.lightningd, 'Peer has no active channel');
    }
    if (!/^[0-9a-f]{64}$|^\d+x\d+x\d+$/.test(id)) throw new RpcError(CODE.invalidParams, `id: should be a channel ID or short channel ID: invalid token '${JSON.stringify(id)}'`);
    const channel = this.byChannelId(id) ?? this.byScid(id);
    if (channel === undefined) throw new RpcError(CODE.lightningd, id.includes('x') ? `Short channel ID not found: '${id}'` : `Channel ID not found: '${id}'`);
    return channel;
  }

  save(channel: Channel): void {
    this.node.store.atomically(() => {
      this.channels.put(String(channel.id), channel);
      this.node.store.putChannel({
        id: channel.id,
        full_channel_id: Buffer.from(channel.channelId, 'hex'),
        funding_tx_id: Buffer.from(reverseHex(channel.fundingTxid), 'hex'),
        funding_tx_outnum: channel.fundingVout,
        funding_satoshi: channel.capacity,
        msatoshi_local: channel.toUs,
        funding_pubkey_local: Buffer.from(this.node.keys.channel(channel.id).funding.pub, 'hex'),
        fundingkey_remote: Buffer.from(channel.keys.funding, 'hex'),
        state: STATE_NUMBERS[channel.state],
        funder: channel.opener === 'local' ? 0 : 1,
        withheld: channel.withheld,
      });
    });
  }

  /** A channel both sides have agreed on. */
  add(channel: Channel): void {
    this.save(channel);
    this.watch(channel);
    this.notifyState(channel, undefined, channel.opener === 'local' ? 'user' : 'remote', 'new channel opened');
    this.link.attach(channel);
  }

  setState(channel: Channel, state: ChannelState, cause: Cause, message: string): void {
    const old = channel.state;
    channel.stateChanges.push({ timestamp: new Date().toISOString(), old_state: old, new_state: state, cause, message });
    channel.state = state;
    this.save(channel);
    this.logOf(channel).info(`State changed from ${old} to ${state}`);
    this.notifyState(channel, old, cause, message);
  }

  setStatus(channel: Channel, status: string): void {
    channel.status = [`${channel.state}:${status}`];
  }

  /** The channel is over; nothing is owed or owned in it any more. */
  forget(channel: Channel, cause: Cause): void {
    this.node.store.atomically(() => {
      const key = String(channel.id);
      this.closed.put(key, { channel: { ...channel, htlcs: [] }, cause });
      this.channels.delete(key);
      this.node.store.deleteChannel(channel.id);
    });
    this.link.detach(channel);
  }

  closedChannels(): readonly ClosedChannel[] {
    return this.closed.values();
  }

  /** `sendpsbt` came by: the channels this transaction funds are withheld no longer. */
  fundingSent(tx: Transaction): void {
    for (const channel of this.all()) {
      if (channel.fundingPsbt === undefined) continue;
      const stored = parsePsbt(channel.fundingPsbt);
      if (isFinalPsbt(stored) || !sameTransaction(stored, tx)) continue;
      this.logOf(channel).info(`Funding PSBT sent, and stored for rexmit${channel.withheld ? ' (was withheld)' : ''}`);
      channel.fundingPsbt = encodePsbt(tx, 2);
      channel.withheld = false;
      this.save(channel);
    }
  }

  // What others ask

  /** lightningd keeps an emergency reserve from its first channel with anchors on. */
  haveAny(): boolean {
    return this.all().length > 0;
  }

  /** Peers to stay connected to. */
  peersWanted(): readonly string[] {
    return [...new Set(this.all().filter((channel) => talks(channel)).map(({ peerId }) => peerId))];
  }

  listFunds(): readonly Json[] {
    return this.all().map((channel) => ({
      peer_id: channel.peerId,
      connected: !isClosing(channel) && this.node.peers.isConnected(channel.peerId),
      state: channel.state,
      channel_id: channel.channelId,
      ...(channel.scid === undefined ? {} : { short_channel_id: channel.scid }),
      our_amount_msat: channel.toUs,
      amount_msat: channel.capacity * 1000,
      funding_txid: channel.fundingTxid,
      funding_output: channel.fundingVout,
    }));
  }

  logOf(channel: Channel): Log {
    return this.log.of(`${channel.peerId}-chan#${channel.id}`);
  }

  // Peers

  peerConnected(peerId: string): void {
    this.link.connected(peerId);
  }

  peerLost(peerId: string): void {
    this.opener.peerLost(peerId);
    this.link.disconnected(peerId);
  }

  received(peerId: string, type: string, message: JsonObject): void {
    if (this.opener.received(peerId, type, message)) return;
    const id = text(message, 'channel');
    const channel = this.withPeer(peerId).find(({ channelId }) => channelId === id);
    if (channel === undefined) {
      if (type !== 'error') this.node.peers.send(peerId, { t: 'error', channel: id, text: `Unknown channel ${id ?? ''} for ${type}` });
      return;
    }
    if (!this.closer.received(channel, type, message)) this.link.received(channel, type, message);
  }

  // Chain

  blockConnected(block: Block): void {
    this.chain.blockConnected(block);
  }

  blockDisconnected(height: number): void {
    this.chain.blockDisconnected(height);
  }

  /** Channels an HTLC for this peer may take. */
  usable(peerId: string): readonly Channel[] {
    return this.withPeer(peerId).filter((channel) => isNormal(channel) && this.link.isLive(channel));
  }

  /** Our output of the peer's commitment transaction is the wallet's. */
  private watch(channel: Channel): void {
    const { payment } = this.node.keys.channel(channel.id);
    this.node.wallet.watch(toRemoteScript(payment.pub), { kind: 'to_remote', channel: channel.id, witnessScript: bytesToHex(toRemoteWitnessScript(payment.pub)) });
  }

  private notifyState(channel: Channel, old: ChannelState | undefined, cause: Cause, message: string): void {
    this.node.plugins.notify('channel_state_changed', {
      peer_id: channel.peerId,
      channel_id: channel.channelId,
      ...(channel.scid === undefined ? {} : { short_channel_id: channel.scid }),
      timestamp: new Date().toISOString(),
      ...(old === undefined ? {} : { old_state: old }),
      new_state: channel.state,
      cause,
      message,
    });
  }
}
