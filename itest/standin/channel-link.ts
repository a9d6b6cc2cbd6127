import { createHash } from 'node:crypto';
import { hexToBytes } from '@noble/hashes/utils.js';
import { type Channel, type Failure, type Htlc, isNormal, nameOf, type Origin, type Settled, spendable, talks } from './channel.js';
import type { Channels } from './channels.js';
import { signTheirs, verifyOurs } from './commitment.js';
import { TEMPORARY_CHANNEL_FAILURE } from './failures.js';
import type { Node } from './node.js';
import { COMMITMENT_PERKW } from './params.js';
import { CODE, type JsonObject, nowSeconds, RpcError, text } from './types.js';

export interface Offer {
  readonly amount: number;
  readonly expiry: number;
  readonly hash: string;
  readonly onion: readonly string[];
  readonly origin: Origin;
}

/** What a channel has while its peer is connected; gone with the connection. */
interface Session {
  /** The peer's reestablish (or the opening) is through: HTLCs may move. */
  live: boolean;
  /** Quiescence, and who waits for it. */
  stfu: 'asked' | 'quiet' | undefined;
  waiting: { readonly resolve: (availableMsat: number) => void; readonly reject: (error: RpcError) => void } | undefined;
  /** Offered while quiescent: never sent, fails at the thaw (lightningd-facts). */
  readonly queued: Offer[];
}

/**
 * HTLCs and balances of open channels, a simplification of BOLT 2: every HTLC is one message each way, and balances change when
 * one is fulfilled. The opener orders those changes: it signs the peer's next commitment, the peer answers with its signature on
 * the opener's. Everything is repeated after a reconnection, and hearing it twice changes nothing.
 */
export class ChannelLink {
  private readonly sessions = new Map<number, Session>();

  constructor(private readonly channels: Channels) {}

  private get node(): Node {
    return this.channels.node;
  }

  isLive(channel: Channel): boolean {
    return this.session(channel).live;
  }

  /** A new channel: its peer is there. */
  attach(channel: Channel): void {
    this.session(channel).live = true;
  }

  detach(channel: Channel): void {
    this.pause(channel);
    this.sessions.delete(channel.id);
  }

  /** HTLCs that came in and have no verdict: the htlc_accepted hook sees them again, as after lightningd's restart. */
  replay(): void {
    for (const channel of this.channels.all())
      for (const htlc of channel.htlcs) {
        const waits = htlc.direction === 'in' && htlc.preimage === undefined && htlc.failure === undefined;
        if (!waits || !talks(channel) || this.isForwarded(channel, htlc)) continue;
        this.channels.logOf(channel).unusual(`Replaying old unprocessed HTLC #${htlc.id}`);
        this.node.forwards.incoming(channel, htlc);
      }
  }

  connected(peerId: string): void {
    for (const channel of this.channels.withPeer(peerId)) {
      if (!talks(channel)) continue;
      this.send(channel, 'reestablish', { number: channel.commitNumber, next_in: channel.nextPeerHtlcId });
    }
  }

  disconnected(peerId: string): void {
    for (const channel of this.channels.withPeer(peerId)) this.pause(channel);
  }

  // HTLCs of ours

  /** Offers an HTLC. @returns why it cannot be offered, if so */
  offer(channel: Channel, offer: Offer): { readonly failure: Failure; readonly why: string } | undefined {
    const session = this.session(channel);
    const refuse = (why: string) => ({ failure: { message: TEMPORARY_CHANNEL_FAILURE, node: this.node.keys.nodeId, channel: nameOf(channel) }, why });
    if (!isNormal(channel) || !session.live) return refuse('Unable to send: channel not ready');
    if (offer.amount > spendable(channel, COMMITMENT_PERKW)) return refuse('WIRE_TEMPORARY_CHANNEL_FAILURE: Capacity exceeded');
    if (session.stfu !== undefined) {
      session.queued.push(offer);
      return undefined;
    }
    const htlc: Htlc = { direction: 'out', id: channel.nextHtlcId, ...offer, since: nowSeconds() };
    channel.nextHtlcId += 1;
    channel.htlcs.push(htlc);
    channel.counts.outOffered += 1;
    channel.counts.outOfferedMsat += htlc.amount;
    this.channels.save(channel);
    this.sendAdd(channel, htlc);
    return undefined;
  }

  /** An HTLC of the peer's is ours: it gets the preimage. */
  fulfil(channel: Channel, id: number, preimage: string): void {
    const htlc = channel.htlcs.find((candidate) => candidate.direction === 'in' && candidate.id === id);
    if (htlc === undefined || htlc.failure !== undefined) return;
    htlc.preimage = preimage;
    this.channels.save(channel);
    this.progress(channel, htlc);
  }

  fail(channel: Channel, id: number, failure: Failure): void {
    const htlc = channel.htlcs.find((candidate) => candidate.direction === 'in' && candidate.id === id);
    if (htlc === undefined || htlc.preimage !== undefined) return;
    htlc.failure = failure;
    this.channels.save(channel);
    this.progress(channel, htlc);
  }

  // Quiescence

  /** `stfu_channels`. @throws RpcError */
  async stfu(channel: Channel): Promise<number> {
    const session = this.session(channel);
    if (session.waiting !== undefined) throw new RpcError(CODE.spliceBusy, 'Currently waiting on previous splice command to finish.');
    if (session.stfu !== undefined) throw new RpcError(CODE.spliceState, "Can't stfu splice while currently in STFU");
    session.stfu = 'asked';
    this.send(channel, 'stfu', {});
    return new Promise((resolve, reject) => {
      session.waiting = { resolve, reject };
    });
  }

  /** `abort_channels`: both sides start afresh. */
  abort(channel: Channel): void {
    this.send(channel, 'tx_abort', {});
    this.restart(channel);
  }

  // Messages

  received(channel: Channel, type: string, message: JsonObject): void {
    switch (type) {
      case 'reestablish':
        this.reestablish(channel, message);
        break;
      case 'channel_ready':
        this.channels.chain.peerReady(channel, message);
        break;
      case 'channel_update':
        channel.remoteUpdate = message['update'] as JsonObject;
        this.channels.save(channel);
        break;
      case 'add_htlc':
        this.added(channel, message);
        break;
      case 'fulfill_htlc':
        this.fulfilled(channel, Number(message['id']), text(message, 'preimage') ?? '');
        break;
      case 'fail_htlc':
        this.failed(channel, Number(message['id']), message['failure'] as Failure);
        break;
      case 'fail_ack':
        this.drop(channel, 'in', Number(message['id']));
        break;
      case 'commit':
        this.committed(channel, message);
        break;
      case 'commit_ack':
        this.acknowledged(channel, message);
        break;
      case 'stfu':
        this.session(channel).stfu = 'quiet';
        this.send(channel, 'stfu_ack', {});
        break;
      case 'stfu_ack':
        this.quiet(channel);
        break;
      case 'tx_abort':
        this.restart(channel);
        break;
      default:
        this.channels.logOf(channel).debug(`ignoring ${type}`);
    }
  }

  send(channel: Channel, type: string, body: JsonObject): void {
    this.node.peers.send(channel.peerId, { t: type, channel: channel.channelId, ...body });
  }

  private reestablish(channel: Channel, message: JsonObject): void {
    if (channel.error !== undefined) {
      this.send(channel, 'error', { text: channel.error });
      return;
    }
    if (!talks(channel)) {
      this.channels.closer.completed(channel);
      return;
    }
    const theirs = Number(message['number']);
    const pending = channel.pendingCommit?.number ?? channel.commitNumber;
    // The fundee may be one ahead of what the opener has acknowledged, the opener one behind.
    if (theirs !== channel.commitNumber && theirs !== pending && !(channel.opener === 'remote' && theirs === channel.commitNumber - 1)) {
      if (theirs > channel.commitNumber) channel.lost = true;
      this.channels.closer.fail(channel, 'protocol', `bad reestablish commitment number: ${theirs} vs ${channel.commitNumber}`);
      return;
    }
    const session = this.session(channel);
    session.live = true;
    this.channels.setStatus(channel, 'Reconnected, and reestablished.');
    this.channels.chain.maybeReady(channel, true);
    for (const htlc of channel.htlcs) if (htlc.direction === 'out' && htlc.preimage === undefined && htlc.id >= Number(message['next_in'])) this.sendAdd(channel, htlc);
    this.repeat(channel);
    this.channels.closer.reconnected(channel);
  }

  /** Everything that waits for an answer, once more. */
  private repeat(channel: Channel): void {
    if (channel.pendingCommit !== undefined) this.sendCommit(channel);
    for (const htlc of channel.htlcs) this.progress(channel, htlc);
  }

  /** Tells the peer what has become of one of its HTLCs, where it is for us to tell. */
  private progress(channel: Channel, htlc: Htlc): void {
    const session = this.session(channel);
    if (!session.live || session.stfu !== undefined || !talks(channel)) return;
    if (channel.opener === 'local') this.maybeCommit(channel);
    if (htlc.direction === 'out') return;
    if (htlc.failure !== undefined) this.send(channel, 'fail_htlc', { id: htlc.id, failure: htlc.failure });
    else if (htlc.preimage !== undefined && channel.opener === 'remote') this.send(channel, 'fulfill_htlc', { id: htlc.id, preimage: htlc.preimage });
  }

  private added(channel: Channel, message: JsonObject): void {
    const id = Number(message['id']);
    if (id < channel.nextPeerHtlcId) return;
    const htlc: Htlc = {
      direction: 'in',
      id,
      amount: Number(message['amount']),
      expiry: Number(message['expiry']),
      hash: text(message, 'hash') ?? '',
      onion: message['onion'] as readonly string[],
      since: nowSeconds(),
    };
    channel.nextPeerHtlcId = id + 1;
    channel.htlcs.push(htlc);
    channel.counts.inOffered += 1;
    channel.counts.inOfferedMsat += htlc.amount;
    this.channels.save(channel);
    this.node.forwards.incoming(channel, htlc);
  }

  /** The peer has the preimage of an HTLC of ours. We tell whoever we have it from at once: the money is as good as gone. */
  private fulfilled(channel: Channel, id: number, preimage: string): void {
    const htlc = channel.htlcs.find((candidate) => candidate.direction === 'out' && candidate.id === id);
    if (htlc === undefined || htlc.preimage !== undefined) return;
    if (createHash('sha256').update(hexToBytes(preimage)).digest('hex') !== htlc.hash) {
      this.channels.closer.fail(channel, 'protocol', `channeld: Bad update_fulfill_htlc: bad preimage for ${id}`);
      return;
    }
    this.node.store.atomically(() => {
      htlc.preimage = preimage;
      this.channels.save(channel);
      if (htlc.origin !== undefined) this.node.forwards.fulfilled(htlc.origin, preimage);
    });
    if (channel.opener === 'local') this.maybeCommit(channel);
  }

  private failed(channel: Channel, id: number, failure: Failure): void {
    const htlc = channel.htlcs.find((candidate) => candidate.direction === 'out' && candidate.id === id);
    this.node.store.atomically(() => {
      this.drop(channel, 'out', id);
      if (htlc?.origin !== undefined) this.node.forwards.failed(htlc.origin, failure);
      this.send(channel, 'fail_ack', { id });
    });
    this.channels.closer.resume(channel);
  }

  private drop(channel: Channel, direction: 'in' | 'out', id: number): void {
    const index = channel.htlcs.findIndex((htlc) => htlc.direction === direction && htlc.id === id);
    if (index < 0) return;
    channel.htlcs.splice(index, 1);
    this.channels.save(channel);
    this.channels.closer.resume(channel);
  }

  // Balances

  /** The opener: all that has been fulfilled goes into the next commitment, one at a time. */
  private maybeCommit(channel: Channel): void {
    if (channel.pendingCommit !== undefined) return;
    const settled = channel.htlcs.flatMap(({ direction, id, preimage }): Settled[] => (preimage === undefined ? [] : [{ offered: direction === 'out' ? 'local' : 'remote', id, preimage }]));
    if (settled.length === 0) return;
    channel.pendingCommit = { number: channel.commitNumber + 1, settled };
    this.channels.save(channel);
    this.sendCommit(channel);
  }

  private sendCommit(channel: Channel): void {
    const { pendingCommit: commit } = channel;
    const session = this.session(channel);
    if (commit === undefined || !session.live || session.stfu !== undefined) return;
    const view = { number: commit.number, toUs: toUsAfter(channel, commit.settled) };
    this.send(channel, 'commit', { number: commit.number, settled: commit.settled as unknown as readonly JsonObject[], signature: signTheirs(channel, this.node.keys, view) });
  }

  /** The fundee: the opener's next state, checked and stored before we sign the opener's transaction. */
  private committed(channel: Channel, message: JsonObject): void {
    const number = Number(message['number']);
    const answer = (): void => {
      this.send(channel, 'commit_ack', { number, signature: signTheirs(channel, this.node.keys, { number, toUs: channel.toUs }) });
    };
    if (number === channel.commitNumber) answer();
    if (number !== channel.commitNumber + 1) return;
    // The opener's point of view turned round.
    const settled = (message['settled'] as unknown as readonly Settled[]).map((one): Settled => ({ ...one, offered: one.offered === 'local' ? 'remote' : 'local' }));
    const signature = text(message, 'signature') ?? '';
    if (!verifyOurs(channel, this.node.keys, { number, toUs: toUsAfter(channel, settled) }, signature)) {
      this.channels.closer.fail(channel, 'protocol', 'channeld: Bad commit_sig signature');
      return;
    }
    this.node.store.atomically(() => {
      for (const { offered, id, preimage } of settled) if (offered === 'local') this.fulfilled(channel, id, preimage);
      this.apply(channel, number, settled, signature);
      answer();
    });
    this.channels.closer.resume(channel);
  }

  private acknowledged(channel: Channel, message: JsonObject): void {
    const { pendingCommit: commit } = channel;
    if (commit === undefined || Number(message['number']) !== commit.number) return;
    const signature = text(message, 'signature') ?? '';
    if (!verifyOurs(channel, this.node.keys, { number: commit.number, toUs: toUsAfter(channel, commit.settled) }, signature)) {
      this.channels.closer.fail(channel, 'protocol', 'channeld: Bad commit_sig signature');
      return;
    }
    delete channel.pendingCommit;
    this.apply(channel, commit.number, commit.settled, signature);
    this.maybeCommit(channel);
    this.channels.closer.resume(channel);
  }

  private apply(channel: Channel, number: number, settled: readonly Settled[], signature: string): void {
    const toUs = toUsAfter(channel, settled);
    for (const { offered, id } of settled) {
      const direction = offered === 'local' ? 'out' : 'in';
      const htlc = channel.htlcs.find((candidate) => candidate.direction === direction && candidate.id === id);
      if (htlc === undefined) continue;
      channel.htlcs.splice(channel.htlcs.indexOf(htlc), 1);
      if (direction === 'out') {
        channel.counts.outFulfilled += 1;
        channel.counts.outFulfilledMsat += htlc.amount;
      } else {
        channel.counts.inFulfilled += 1;
        channel.counts.inFulfilledMsat += htlc.amount;
      }
    }
    channel.toUs = toUs;
    channel.minToUs = Math.min(channel.minToUs, toUs);
    channel.maxToUs = Math.max(channel.maxToUs, toUs);
    channel.commitNumber = number;
    channel.commitSignature = signature;
    this.channels.save(channel);
  }

  // Sessions

  private quiet(channel: Channel): void {
    const session = this.session(channel);
    session.stfu = 'quiet';
    session.waiting?.resolve(channel.toUs);
    session.waiting = undefined;
  }

  /** The end of quiescence on a connection that goes on. */
  private restart(channel: Channel): void {
    this.endQuiescence(channel, 'Outgoing subdaemon died');
    this.repeat(channel);
  }

  private pause(channel: Channel): void {
    this.session(channel).live = false;
    this.endQuiescence(channel, 'Peer disconnected');
  }

  private endQuiescence(channel: Channel, why: string): void {
    const session = this.session(channel);
    session.stfu = undefined;
    session.waiting?.reject(new RpcError(CODE.lightningd, why));
    session.waiting = undefined;
    for (const { origin } of session.queued.splice(0))
      this.node.forwards.failed(origin, { message: TEMPORARY_CHANNEL_FAILURE, node: this.node.keys.nodeId, channel: nameOf(channel) }, why);
  }

  private session(channel: Channel): Session {
    const found = this.sessions.get(channel.id) ?? { live: false, stfu: undefined, waiting: undefined, queued: [] };
    this.sessions.set(channel.id, found);
    return found;
  }

  private sendAdd(channel: Channel, { id, amount, expiry, hash, onion }: Htlc): void {
    this.send(channel, 'add_htlc', { id, amount, expiry, hash, onion });
  }

  private isForwarded(channel: Channel, htlc: Htlc): boolean {
    const ours = (origin: Origin | undefined): boolean => origin?.kind === 'forward' && origin.channel === channel.id && origin.htlc === htlc.id;
    return this.channels.all().some(({ htlcs }) => htlcs.some(({ origin }) => ours(origin)));
  }
}

/** What belongs to us once these HTLCs are paid, in millisatoshis. */
const toUsAfter = (channel: Channel, settled: readonly Settled[]): number =>
  settled.reduce((sum, { offered, id }) => {
    const direction = offered === 'local' ? 'out' : 'in';
    const amount = channel.htlcs.find((htlc) => htlc.direction === direction && htlc.id === id)?.amount ?? 0;
    return direction === 'out' ? sum - amount : sum + amount;
  }, channel.toUs);
