import type { Block, BlockTx } from './bitcoind.js';
import type { ChainListener } from './blocks.js';
import { type Cause, type Channel, isClosing, isNormal, nameOf, policyOf, type Spend } from './channel.js';
import type { Channels } from './channels.js';
import { DELAY, delayedScript, ourCommitment, sweepDelayed } from './commitment.js';
import { PERMANENT_CHANNEL_FAILURE } from './failures.js';
import type { Node } from './node.js';
import { decodeTx, encodeTx, finalTx, outpointKey, parsePsbt, txidOf } from './tx.js';
import { toSat } from './bitcoind.js';
import { type JsonObject, FatalError, messageOf, text } from './types.js';

/** Blocks after which a channel whose outputs are all resolved is forgotten (BOLT 5). */
export const FORGET_DEPTH = 100;
const ANNOUNCE_DEPTH = 6;
const REBROADCAST_MS = 2_000;

/** Channels and the chain: funding confirmed, funding spent, what is sent until it is in a block, what is swept. */
export class ChannelChain implements ChainListener {
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly channels: Channels) {}

  private get node(): Node {
    return this.channels.node;
  }

  /** lightningd tries rejected transactions again every 30 to 60 seconds; tests have less time. */
  start(): void {
    this.resendFunding();
    this.timer = setInterval(() => {
      this.rebroadcast();
    }, REBROADCAST_MS);
  }

  stop(): void {
    clearInterval(this.timer);
  }

  // Lock-in

  depth({ fundingHeight }: Channel): number {
    return fundingHeight === undefined ? 0 : this.node.blocks.height - fundingHeight + 1;
  }

  /** Says channel_ready when it is time; `again` after a reconnection. */
  maybeReady(channel: Channel, again = false): void {
    const now = !channel.ready.local && this.depth(channel) >= channel.minDepth;
    if (now) {
      channel.ready.local = true;
      this.channels.save(channel);
    }
    if (now || (again && channel.ready.local)) this.channels.link.send(channel, 'channel_ready', { alias: channel.aliasLocal, update: localUpdate(channel, this.node) });
    this.lockIn(channel);
  }

  peerReady(channel: Channel, message: JsonObject): void {
    channel.ready.remote = true;
    const alias = text(message, 'alias');
    if (alias !== undefined) channel.aliasRemote = alias;
    channel.remoteUpdate = message['update'] as JsonObject;
    this.channels.save(channel);
    this.lockIn(channel);
  }

  /** Our terms have changed: the peer is told, and everybody, if the channel is announced. */
  tellTerms(channel: Channel): void {
    if (this.channels.link.isLive(channel)) this.channels.link.send(channel, 'channel_update', { update: localUpdate(channel, this.node) });
    if (channel.announced) this.node.gossip.announce(channel);
  }

  private lockIn(channel: Channel): void {
    if (!channel.ready.local || !channel.ready.remote) return;
    if (channel.state === 'CHANNELD_AWAITING_LOCKIN') this.channels.setState(channel, 'CHANNELD_NORMAL', channel.opener === 'local' ? 'user' : 'remote', 'Lockin complete');
    if (isNormal(channel)) this.channels.setStatus(channel, 'Channel ready for use.');
    this.announce(channel);
  }

  private announce(channel: Channel): void {
    if (channel.private || channel.announced || !isNormal(channel) || this.depth(channel) < ANNOUNCE_DEPTH) return;
    channel.announced = true;
    this.channels.save(channel);
    this.node.gossip.announce(channel);
  }

  // Blocks

  blockConnected(block: Block): void {
    const channels = this.channels.all();
    const byFunding = new Map(channels.map((channel) => [outpointKey(channel.fundingTxid, channel.fundingVout), channel]));
    const fundings = new Map(channels.map((channel) => [channel.fundingTxid, channel]));
    block.tx.forEach((tx, index) => {
      if (fundings.has(tx.txid)) for (const channel of channels) if (channel.fundingTxid === tx.txid) this.funded(channel, block.height, index);
      for (const { txid, vout } of tx.vin) {
        const channel = txid === undefined || vout === undefined ? undefined : byFunding.get(outpointKey(txid, vout));
        if (channel !== undefined) this.spent(channel, tx, block.height);
      }
    });
    for (const channel of channels) this.progress(channel, block.height);
    for (const channel of channels) this.deadlines(channel, block.height);
  }

  /**
   * BOLT 2: a channel fails when an HTLC offered in it outlives its expiry, or one we have the preimage of comes close to it; an HTLC
   * that waits for a dead channel fails back in time for its own. As in lightningd, nobody lets go of what a plugin holds.
   */
  private deadlines(channel: Channel, height: number): void {
    const late = channel.htlcs.find(({ direction, expiry, preimage }) =>
      direction === 'out' ? height > expiry : preimage !== undefined && height >= expiry - Math.ceil(this.node.options.int('cltv-delta') / 2),
    );
    if (isNormal(channel) || channel.state === 'CHANNELD_SHUTTING_DOWN') {
      if (late === undefined || channel.error !== undefined) return;
      const what = late.direction === 'out' ? `Offered HTLC ${late.id} SENT_ADD_ACK_REVOCATION` : `Fulfilled HTLC ${late.id} SENT_REMOVE_HTLC`;
      this.channels.closer.fail(channel, 'protocol', `${what} cltv ${late.expiry} hit deadline`);
      return;
    }
    for (const { direction, expiry, preimage, origin } of channel.htlcs) {
      if (direction !== 'out' || height <= expiry || preimage !== undefined || origin?.kind !== 'forward') continue;
      const source = this.channels.byNumber(origin.channel);
      const waiting = source?.htlcs.find(({ direction: way, id }) => way === 'in' && id === origin.htlc);
      if (source === undefined || waiting === undefined || isClosing(source) || height + 3 < waiting.expiry) continue;
      this.channels.link.fail(source, waiting.id, { message: PERMANENT_CHANNEL_FAILURE, node: this.node.keys.nodeId, channel: nameOf(channel) });
    }
  }

  blockDisconnected(height: number): void {
    for (const channel of this.channels.all()) {
      const { spend } = channel;
      if (spend?.height === height) {
        delete channel.spend;
        this.channels.setState(channel, spend.before, 'onchain', 'Reorganised');
      } else if (spend?.resolved === height) delete spend.resolved;
      if (channel.fundingHeight === height) {
        delete channel.fundingHeight;
        delete channel.scid;
      }
      this.channels.save(channel);
    }
  }

  private funded(channel: Channel, height: number, index: number): void {
    // Seen on lightningd (lightningd-facts): the pushed amount is deducted from a balance that may have become smaller.
    if (channel.opener === 'remote' && channel.minDepth === 0 && channel.pushed > channel.toUs)
      throw new FatalError(`Unable to sub our_msat ${channel.toUs}msat - push ${channel.pushed}msat`);
    channel.fundingHeight = height;
    channel.scid = `${height}x${index}x${channel.fundingVout}`;
    this.channels.save(channel);
    this.channels.logOf(channel).debug(`Funding tx ${channel.fundingTxid} confirmed: ${channel.scid}`);
  }

  private spent(channel: Channel, tx: BlockTx, height: number): void {
    if (channel.spend !== undefined) return;
    const before = channel.state;
    const cause: Cause = isClosing(channel) ? (channel.stateChanges.at(-1)?.cause ?? 'onchain') : 'onchain';
    const delayed = tx.vout.find(({ scriptPubKey }) => scriptPubKey.hex === delayedScript(this.node.keys.channel(channel.id).delayed.pub));
    const mutual = channel.closingTx?.txid === tx.txid;
    const ours = delayed !== undefined || ourCommitment(channel, this.node.keys).txid === tx.txid;
    const spend: Spend = { kind: mutual ? 'mutual' : ours ? 'ours' : 'theirs', txid: tx.txid, height, before, ...(delayed === undefined ? {} : { delayed: { vout: delayed.n, amount: toSat(delayed.value) } }) };
    channel.spend = spend;
    channel.closer ??= ours ? 'local' : 'remote';
    if (spend.delayed === undefined) spend.resolved = height;
    this.channels.closer.failHtlcs(channel);
    this.channels.setState(channel, 'FUNDING_SPEND_SEEN', cause, 'Onchain funding spend');
    channel.status.push(`ONCHAIN:Tracking ${{ mutual: 'mutual close transaction', ours: 'our own unilateral close', theirs: 'their unilateral close' }[spend.kind]}`);
    this.channels.setState(channel, 'ONCHAIN', cause, 'Onchain init reply');
    this.channels.closer.answer(channel, mutual, [{ txid: tx.txid, hex: tx.hex }]);
    if (channel.announced) this.node.gossip.retract(channel);
  }

  /** What a new block means for a channel that is neither funded nor spent in it. */
  private progress(channel: Channel, height: number): void {
    const { spend } = channel;
    if (spend === undefined) {
      this.maybeReady(channel);
      return;
    }
    if (spend.delayed !== undefined && spend.sweep === undefined && height >= spend.height + DELAY - 1) {
      spend.sweep = sweepDelayed(channel, this.node.keys, spend.txid, spend.delayed, this.node.wallet.newScript());
      this.node.wallet.sent(spend.sweep);
      this.channels.save(channel);
      this.broadcast(channel, spend.sweep);
    }
    if (spend.sweep !== undefined && spend.resolved === undefined && this.isConfirmed(spend.sweep)) {
      spend.resolved = height;
      this.channels.save(channel);
    }
    if (spend.resolved !== undefined && height >= spend.resolved + FORGET_DEPTH - 1) this.channels.forget(channel, 'onchain');
  }

  private isConfirmed(hex: string): boolean {
    return (this.node.wallet.transaction(txidOf(decodeTx(hex)))?.height ?? 0) > 0;
  }

  // Broadcasts

  /** Sends a closing transaction, in the background; `rebroadcast` will send it again. */
  broadcast(channel: Channel, hex: string): void {
    const log = this.channels.logOf(channel);
    this.node.store.whenStored(() => {
      this.node.bitcoind.broadcast(hex).then(
        ({ success, message }) => {
          log.debug(success ? 'transaction accepted' : `transaction rejected: ${message.replaceAll('\n', ' ')}`);
        },
        (error: unknown) => {
          log.debug(`cannot broadcast: ${messageOf(error)}`);
        },
      );
    });
  }

  private rebroadcast(): void {
    for (const channel of this.channels.all()) {
      if (channel.state === 'AWAITING_UNILATERAL' && channel.lost !== true) this.broadcast(channel, ourCommitment(channel, this.node.keys).hex);
      else if (channel.state === 'CLOSINGD_COMPLETE' && channel.closingTx !== undefined) this.broadcast(channel, channel.closingTx.hex);
      else if (channel.spend?.sweep !== undefined && channel.spend.resolved === undefined) this.broadcast(channel, channel.spend.sweep);
    }
  }

  /** At the start, funding transactions we have, that nobody has mined yet, are sent again; a leaf's parents may be missing. */
  private resendFunding(): void {
    for (const channel of this.channels.all()) {
      if (channel.fundingPsbt === undefined || channel.withheld || channel.fundingHeight !== undefined || isClosing(channel)) continue;
      const tx = finalTx(parsePsbt(channel.fundingPsbt));
      if (tx !== undefined) this.broadcast(channel, encodeTx(tx));
    }
  }
}

/** A side's conditions for forwarding, as `updates` of listpeerchannels shows them. */
export const localUpdate = (channel: Channel, node: Node): JsonObject => ({
  htlc_minimum_msat: policyOf(channel).least,
  htlc_maximum_msat: policyOf(channel).most,
  cltv_expiry_delta: node.options.int('cltv-delta'),
  fee_base_msat: channel.fees.base,
  fee_proportional_millionths: channel.fees.ppm,
});
