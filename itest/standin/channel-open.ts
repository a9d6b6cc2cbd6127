import { bytesToHex } from '@noble/hashes/utils.js';
import type { Transaction } from '@scure/btc-signer';
import { type Channel, channelIdOf, DUST, newAlias, type PeerKeys, type Side } from './channel.js';
import type { Channels } from './channels.js';
import { DELAY, fundingScript, type Funded, signTheirs, verifyOurs } from './commitment.js';
import { channelTypeJson, DEFAULT_CHANNEL_TYPE, isChannelType, ZEROCONF } from './features.js';
import type { Node } from './node.js';
import { COMMITMENT_PERKW, type Outpoint } from './params.js';
import { addressToScript, encodePsbt, scriptToAddress, txidOf, unsignedRaw } from './tx.js';
import { CODE, FatalError, type Json, type JsonObject, messageOf, RpcError, show, text } from './types.js';

export interface OpenRequest {
  readonly peerId: string;
  /** Satoshis. */
  readonly amount: number;
  readonly announce: boolean;
  readonly pushMsat: number;
  readonly minDepth: number | undefined;
  /** What the peer must keep, in satoshis. */
  readonly reserve: number | undefined;
  readonly type: readonly number[] | undefined;
  readonly closeTo: string | undefined;
}

/** A channel that is being negotiated: in memory only, gone with the connection. One per peer, as in lightningd. */
interface Opening {
  readonly temporary: string;
  /** Number the channel will have; its keys depend on it. */
  readonly number: number;
  readonly opener: Side;
  readonly amount: number;
  readonly announce: boolean;
  readonly pushMsat: number;
  readonly type: readonly number[];
  readonly minDepth: number;
  /** What the other side has to keep. */
  readonly theirReserve: number;
  readonly shutdown: string;
  accepted?: { readonly keys: PeerKeys; readonly ourReserve: number; readonly shutdown: string };
  status: string;
  /** The command that waits for the peer. */
  waiting?: { readonly resolve: (value: Json) => void; readonly reject: (error: RpcError) => void };
  funding?: Outpoint & { readonly psbt: string; readonly withheld: boolean };
}

/** BOLT 2's channel establishment, version 1, on both sides. */
export class ChannelOpener {
  private readonly openings = new Map<string, Opening>();

  constructor(private readonly channels: Channels) {}

  private get node(): Node {
    return this.channels.node;
  }

  /** `fundchannel_start`: resolves with the peer's agreement. @throws RpcError */
  async start(request: OpenRequest): Promise<{ readonly script: string; readonly type: readonly number[] }> {
    const { peerId, amount } = request;
    const type = request.type ?? DEFAULT_CHANNEL_TYPE;
    if (!isChannelType(type)) throw new RpcError(CODE.invalidParams, 'channel_type not supported');
    if (type.includes(ZEROCONF) && request.minDepth !== undefined && request.minDepth !== 0) throw new RpcError(CODE.invalidParams, 'Cannot set non-zero mindepth for zero-conf channel_type');
    if (request.pushMsat > amount * 1000) throw new RpcError(CODE.fundCannotAfford, `Requested to push_msat of ${request.pushMsat}msat is greater than available funding amount ${amount}sat`);
    this.mustBeConnected(peerId);
    const minimum = this.node.options.int('min-capacity-sat');
    const effective = amount - 2 * DUST - 2065;
    if (effective < minimum)
      throw new RpcError(CODE.lightningd, `Not opening because if they used the same setting as us channel capacity with funding ${amount}sat, reserves ${DUST}sat/${DUST}sat, max_htlc_value_in_flight_msat is 18446744073709551615msat, channel capacity is ${Math.max(0, effective)}sat, which is below ${minimum}sat`);
    const running = this.openings.get(peerId);
    if (running !== undefined) throw new RpcError(CODE.lightningd, running.opener === 'local' ? 'Already funding channel' : 'Have in-progress `open_channel` from peer');
    const opening: Opening = {
      temporary: this.node.keys.random(),
      number: this.node.store.next('last_channel'),
      opener: 'local',
      amount,
      announce: request.announce,
      pushMsat: request.pushMsat,
      type,
      minDepth: type.includes(ZEROCONF) ? 0 : (request.minDepth ?? this.node.options.int('funding-confirms')),
      theirReserve: Math.max(DUST, request.reserve ?? Math.floor(amount / 100)),
      shutdown: request.closeTo ?? this.node.wallet.newScript(),
      status: 'Funding channel start: asking the peer',
    };
    this.openings.set(peerId, opening);
    const answer = this.wait(opening);
    this.node.peers.send(peerId, {
      t: 'open_channel', temporary: opening.temporary, amount, push_msat: opening.pushMsat, announce: opening.announce, type,
      reserve: opening.theirReserve, shutdown: opening.shutdown, keys: this.ourKeys(opening),
    });
    await answer;
    const script = this.scriptOf(opening);
    opening.status = `Funding channel start: awaiting funding_txid with output to ${script}`;
    return { script, type };
  }

  /** `fundchannel_complete`: both sides hold a signed commitment transaction when it resolves. @throws RpcError */
  async complete(peerId: string, psbt: Transaction, withheld: boolean): Promise<Channel> {
    this.mustBeConnected(peerId);
    const opening = this.openings.get(peerId);
    if (opening?.accepted === undefined || opening.opener !== 'local') throw new RpcError(CODE.lightningd, 'No channel funding in progress.');
    if (opening.waiting !== undefined) throw new RpcError(CODE.lightningd, 'Channel funding in progress.');
    const raw = unsignedRaw(psbt);
    const script = this.scriptOf(opening);
    const outputs = raw.outputs.flatMap((output, vout) => (bytesToHex(output.script) === script ? [{ vout, amount: Number(output.amount) }] : []));
    const [output] = outputs;
    if (outputs.length > 1) throw new RpcError(CODE.fundPsbtInvalid, 'Two outputs to open channel');
    if (output === undefined) throw new RpcError(CODE.fundPsbtInvalid, 'No output to open channel');
    if (output.amount !== opening.amount) throw new RpcError(CODE.fundPsbtInvalid, `Output to open channel is ${output.amount}sat, should be ${opening.amount}sat`);
    for (let i = 0; i < psbt.inputsLength; i += 1)
      if (psbt.getInput(i).witnessUtxo === undefined) throw new RpcError(CODE.fundPsbtInvalid, `Input ${i} is non-segwit and unsigned: txid is unknown until signed`);
    opening.funding = { txid: txidOf(raw), vout: output.vout, psbt: encodePsbt(psbt, 2), withheld };
    const answer = this.wait(opening);
    const funded = this.funded(opening, opening.funding);
    this.node.peers.send(peerId, {
      t: 'funding_created', temporary: opening.temporary, txid: funded.fundingTxid, vout: funded.fundingVout,
      signature: signTheirs(funded, this.node.keys, this.firstState(opening)),
    });
    await answer;
    const channel = this.channels.byChannelId(channelIdOf(funded.fundingTxid, funded.fundingVout));
    if (channel === undefined) throw new RpcError(CODE.lightningd, 'The channel failed at once');
    return channel;
  }

  /** `fundchannel_cancel`. @returns false when nothing was being opened */
  cancel(peerId: string): boolean {
    const opening = this.openings.get(peerId);
    if (opening === undefined) return false;
    if (opening.opener === 'remote') throw new RpcError(CODE.fundNothingToCancel, 'No channel funding in progress.');
    this.end(peerId, opening, new RpcError(CODE.lightningd, 'Channel open canceled by RPC'));
    this.node.peers.send(peerId, { t: 'error', temporary: opening.temporary, text: 'Channel open canceled by us' });
    return true;
  }

  /** Entries for listpeerchannels. */
  list(peerId: string | undefined): readonly JsonObject[] {
    return [...this.openings].filter(([id, { opener }]) => opener === 'local' && (peerId === undefined || id === peerId)).map(([id, opening]) => ({
      peer_id: id,
      peer_connected: true,
      channel_type: channelTypeJson(opening.type),
      state: 'OPENINGD',
      owner: 'lightning_openingd',
      opener: opening.opener,
      status: [opening.status],
      to_us_msat: opening.amount * 1000,
      total_msat: opening.amount * 1000,
      features: ['option_static_remotekey', 'option_anchors'],
    }));
  }

  peerLost(peerId: string): void {
    const opening = this.openings.get(peerId);
    if (opening !== undefined) this.end(peerId, opening, new RpcError(CODE.lightningd, 'Owning subdaemon openingd died (62208)'));
  }

  /** @returns false when the message is about a channel that exists */
  received(peerId: string, type: string, message: JsonObject): boolean {
    const temporary = text(message, 'temporary');
    if (temporary === undefined) return false;
    const opening = this.openings.get(peerId);
    if (type === 'open_channel') {
      void this.accept(peerId, temporary, message);
      return true;
    }
    if (opening?.temporary !== temporary) return true;
    if (type === 'accept_channel') {
      opening.accepted = { keys: message['keys'] as unknown as PeerKeys, ourReserve: Number(message['reserve']), shutdown: text(message, 'shutdown') ?? '' };
      this.answered(opening)?.resolve(null);
    } else if (type === 'funding_created') this.created(peerId, opening, message);
    else if (type === 'funding_signed') this.signed(peerId, opening, message);
    else if (type === 'error') this.end(peerId, opening, new RpcError(CODE.lightningd, `They sent ERROR channel ${temporary}: ${text(message, 'text') ?? ''}`));
    return true;
  }

  // The fundee

  private async accept(peerId: string, temporary: string, message: JsonObject): Promise<void> {
    const refuse = (reason: string): void => {
      this.openings.delete(peerId);
      this.node.peers.send(peerId, { t: 'error', temporary, text: reason });
    };
    const [amount, push, announce, type] = [Number(message['amount']), Number(message['push_msat']), message['announce'] === true, message['type'] as readonly number[]];
    if (this.openings.has(peerId)) {
      this.node.peers.send(peerId, { t: 'error', temporary, text: 'Already opening a channel' });
      return;
    }
    const opening: Opening = {
      temporary,
      number: this.node.store.next('last_channel'),
      opener: 'remote',
      amount,
      announce,
      pushMsat: push,
      type,
      minDepth: this.node.options.int('funding-confirms'),
      theirReserve: Math.floor(amount / 100),
      shutdown: '',
      accepted: { keys: message['keys'] as unknown as PeerKeys, ourReserve: Number(message['reserve']), shutdown: text(message, 'shutdown') ?? '' },
      status: '',
    };
    this.openings.set(peerId, opening);
    if (amount < this.node.options.int('min-capacity-sat')) {
      refuse(`channel capacity is ${amount}sat, which is below ${this.node.options.int('min-capacity-sat')}sat`);
      return;
    }
    try {
      const answer = await this.node.plugins.hook('openchannel', { openchannel: openChannelPayload(peerId, message) });
      if (this.openings.get(peerId) !== opening) return;
      if (answer['result'] === 'reject') {
        refuse(`You gave bad parameters: ${text(answer, 'error_message') ?? 'Client error. Operation unauthorized'}`);
        return;
      }
      const closeTo = text(answer, 'close_to');
      const agreed: Opening = {
        ...opening,
        minDepth: typeof answer['mindepth'] === 'number' ? answer['mindepth'] : opening.minDepth,
        theirReserve: Math.max(DUST, answer['reserve'] === undefined ? opening.theirReserve : Number.parseInt(show(answer['reserve']), 10)),
        shutdown: (closeTo === undefined ? undefined : addressToScript(closeTo)) ?? this.node.wallet.newScript(),
      };
      if (type.includes(ZEROCONF) && agreed.minDepth !== 0) {
        refuse('You required zeroconf but you\'re not on our allowlist');
        return;
      }
      this.openings.set(peerId, agreed);
      this.node.peers.send(peerId, { t: 'accept_channel', temporary, keys: this.ourKeys(agreed), reserve: agreed.theirReserve, shutdown: agreed.shutdown });
    } catch (error) {
      this.node.fatal(error instanceof FatalError ? error : new FatalError(messageOf(error)));
    }
  }

  private created(peerId: string, opening: Opening, message: JsonObject): void {
    const funding = { txid: text(message, 'txid') ?? '', vout: Number(message['vout']), psbt: '', withheld: false };
    const channel = this.build(peerId, opening, funding, text(message, 'signature') ?? '');
    this.openings.delete(peerId);
    if (!verifyOurs(channel, this.node.keys, this.firstState(opening), channel.commitSignature)) {
      this.node.peers.send(peerId, { t: 'error', temporary: opening.temporary, text: 'Bad signature on our first commitment' });
      return;
    }
    this.channels.add(channel);
    this.node.plugins.notify('channel_opened', { id: peerId, funding_msat: channel.capacity * 1000, funding_txid: channel.fundingTxid, channel_ready: false });
    this.node.peers.send(peerId, { t: 'funding_signed', temporary: opening.temporary, signature: signTheirs(channel, this.node.keys, this.firstState(opening)) });
    this.channels.chain.maybeReady(channel);
  }

  // Both

  /** The channel exists from here on: the peer's next message may be about it. */
  private signed(peerId: string, opening: Opening, message: JsonObject): void {
    const waiting = this.answered(opening);
    if (opening.funding === undefined) return;
    const channel = this.build(peerId, opening, opening.funding, text(message, 'signature') ?? '');
    if (!verifyOurs(channel, this.node.keys, this.firstState(opening), channel.commitSignature)) {
      waiting?.reject(new RpcError(CODE.lightningd, 'Bad signature on our first commitment'));
      return;
    }
    this.openings.delete(peerId);
    this.channels.add(channel);
    this.channels.chain.maybeReady(channel);
    waiting?.resolve(null);
  }

  private firstState({ opener, amount, pushMsat }: Opening): { readonly number: number; readonly toUs: number } {
    return { number: 0, toUs: opener === 'local' ? amount * 1000 - pushMsat : pushMsat };
  }

  private funded(opening: Opening, funding: Outpoint): Funded {
    const keys = opening.accepted?.keys ?? { funding: '', payment: '', delayed: '' };
    return { id: opening.number, fundingTxid: funding.txid, fundingVout: funding.vout, capacity: opening.amount, opener: opening.opener, keys };
  }

  private build(peerId: string, opening: Opening, funding: NonNullable<Opening['funding']>, signature: string): Channel {
    const { toUs } = this.firstState(opening);
    const channel: Channel = {
      ...this.funded(opening, funding),
      peerId,
      channelId: channelIdOf(funding.txid, funding.vout),
      private: !opening.announce,
      type: opening.type,
      minDepth: opening.minDepth,
      pushed: opening.pushMsat,
      ourReserve: opening.accepted?.ourReserve ?? DUST,
      theirReserve: opening.theirReserve,
      fees: { base: this.node.options.int('fee-base'), ppm: this.node.options.int('fee-per-satoshi') },
      aliasLocal: newAlias(),
      ready: { local: false, remote: false },
      announced: false,
      state: 'CHANNELD_AWAITING_LOCKIN',
      status: [],
      stateChanges: [],
      withheld: funding.withheld,
      ...(opening.opener === 'local' ? { fundingPsbt: funding.psbt } : {}),
      toUs,
      minToUs: toUs,
      maxToUs: toUs,
      commitNumber: 0,
      commitSignature: signature,
      nextHtlcId: 0,
      nextPeerHtlcId: 0,
      htlcs: [],
      counts: { inOffered: 0, inOfferedMsat: 0, inFulfilled: 0, inFulfilledMsat: 0, outOffered: 0, outOfferedMsat: 0, outFulfilled: 0, outFulfilledMsat: 0 },
      shutdown: { local: opening.shutdown, ...(opening.accepted === undefined ? {} : { remote: opening.accepted.shutdown }), sent: false, received: false },
    };
    this.channels.setStatus(channel, `Funding needs ${opening.minDepth} more confirmations to be ready.`);
    return channel;
  }

  private mustBeConnected(peerId: string): void {
    if (this.node.peers.isConnected(peerId)) return;
    if (this.channels.withPeer(peerId).length > 0) throw new RpcError(CODE.fundPeerNotConnected, 'Peer not connected');
    throw new RpcError(CODE.fundUnknownPeer, 'Unknown peer');
  }

  private ourKeys({ number }: Opening): JsonObject {
    const { funding, payment, delayed } = this.node.keys.channel(number);
    return { funding: funding.pub, payment: payment.pub, delayed: delayed.pub };
  }

  private scriptOf({ number, accepted }: Opening): string {
    return fundingScript(this.node.keys.channel(number).funding.pub, accepted?.keys.funding ?? '');
  }

  private wait(opening: Opening): Promise<Json> {
    return new Promise((resolve, reject) => {
      opening.waiting = { resolve, reject };
    });
  }

  private answered(opening: Opening): Opening['waiting'] {
    const { waiting } = opening;
    delete opening.waiting;
    return waiting;
  }

  private end(peerId: string, opening: Opening, error: RpcError): void {
    this.openings.delete(peerId);
    this.answered(opening)?.reject(error);
  }
}

/** The hook's payload: BOLT 2's open_channel in lightningd's words. */
const openChannelPayload = (peerId: string, message: JsonObject): JsonObject => ({
  id: peerId,
  funding_msat: Number(message['amount']) * 1000,
  push_msat: message['push_msat'],
  dust_limit_msat: DUST * 1000,
  max_htlc_value_in_flight_msat: MAX_IN_FLIGHT,
  channel_reserve_msat: Number(message['reserve']) * 1000,
  htlc_minimum_msat: 0,
  feerate_per_kw: COMMITMENT_PERKW,
  to_self_delay: DELAY,
  max_accepted_htlcs: 483,
  channel_flags: message['announce'] === true ? 1 : 0,
  channel_type: channelTypeJson(message['type'] as readonly number[]),
});

/** "No limit": 2^64 - 1. */
export const MAX_IN_FLIGHT = 18446744073709551615n;

/** The answer of `fundchannel_start`. */
export const startedJson = ({ script, type }: { readonly script: string; readonly type: readonly number[] }): Json => ({
  funding_address: scriptToAddress(script),
  scriptpubkey: script,
  channel_type: channelTypeJson(type),
  warning_usage: 'The funding transaction MUST NOT be broadcast until after channel establishment has been successfully completed by running `fundchannel_complete`',
});
