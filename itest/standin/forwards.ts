import { createHash } from 'node:crypto';
import { type Channel, type Failure, forwardFee, type Htlc, isNormal, nameOf, type Origin, policiesOf, spendable } from './channel.js';
import {
  EXPIRY_TOO_FAR, EXPIRY_TOO_SOON, failureCode, failureName, FEE_INSUFFICIENT, INCORRECT_CLTV_EXPIRY, INVALID_ONION_PAYLOAD, TEMPORARY_CHANNEL_FAILURE, TEMPORARY_NODE_FAILURE,
  UNKNOWN_NEXT_PEER,
} from './failures.js';
import { SCID_ALIAS } from './features.js';
import type { Node } from './node.js';
import { decodePayload, type HopPayload } from './onion.js';
import { COMMITMENT_PERKW } from './params.js';
import type { Collection } from './store.js';
import { FatalError, type JsonObject, messageOf, text } from './types.js';

interface Forward extends JsonObject {
  readonly created_index: number;
  readonly in_channel: string;
  readonly in_htlc_id: number;
  readonly out_channel?: string;
  readonly in_msat: number;
  readonly out_msat?: number;
  readonly fee_msat?: number;
  readonly status: 'offered' | 'settled' | 'failed' | 'local_failed';
}

/** lightningd's `max-locktime-blocks`. */
const MAX_HTLC_CLTV = 2016;

/** What becomes of HTLCs that come in: the hook, then forwarding or an invoice; and of the answers to those that went out. */
export class Forwards {
  private readonly records: Collection<Forward>;

  constructor(private readonly node: Node) {
    this.records = node.store.collection('forward');
  }

  list(): readonly JsonObject[] {
    return this.records.values();
  }

  feesCollected(): number {
    return this.records.values().reduce((sum, { status, fee_msat }) => sum + (status === 'settled' ? (fee_msat ?? 0) : 0), 0);
  }

  /** An HTLC has come in and is stored. */
  incoming(channel: Channel, htlc: Htlc): void {
    this.judge(channel, htlc).catch((error: unknown) => {
      if (error instanceof FatalError) this.node.fatal(error);
      else this.node.log.broken(`HTLC ${htlc.id}: ${error instanceof Error ? (error.stack ?? error.message) : messageOf(error)}`);
    });
  }

  /** The next hop has the preimage. */
  fulfilled(origin: Origin, preimage: string): void {
    if (origin.kind === 'payment') {
      this.node.payments.fulfilled(origin.id, preimage);
      return;
    }
    const channel = this.node.channels.byNumber(origin.channel);
    if (channel === undefined) return;
    this.note(channel, origin.htlc, { status: 'settled', resolved_time: Date.now() / 1000 }, { preimage });
    this.node.channels.link.fulfil(channel, origin.htlc, preimage);
  }

  /** The next hop, or our own channel to it, has failed it. `why` is for our own payments. */
  failed(origin: Origin, failure: Failure, why?: string): void {
    if (origin.kind === 'payment') {
      this.node.payments.failed(origin.id, failure, why);
      return;
    }
    const channel = this.node.channels.byNumber(origin.channel);
    if (channel === undefined) return;
    const local = failure.node === this.node.keys.nodeId;
    const code = failureCode(failure.message);
    this.note(channel, origin.htlc, { status: local ? 'local_failed' : 'failed', ...(local ? { failcode: code, failreason: failureName(code) } : {}), resolved_time: Date.now() / 1000 });
    this.node.channels.link.fail(channel, origin.htlc, failure);
  }

  private async judge(channel: Channel, htlc: Htlc): Promise<void> {
    const [own = '', ...rest] = htlc.onion;
    const payload = decodePayload(own, true);
    const next = payload?.scid === undefined ? undefined : this.nextChannel(payload.scid);
    const answer = await this.node.plugins.hook('htlc_accepted', this.hookPayload(channel, htlc, own, rest, payload, next));
    if (this.node.stopped || !channel.htlcs.includes(htlc) || htlc.preimage !== undefined || htlc.failure !== undefined) return;
    if (answer['result'] === 'resolve') {
      this.resolve(channel, htlc, text(answer, 'payment_key') ?? '');
      return;
    }
    if (answer['result'] === 'fail') {
      this.refuse(channel, htlc, text(answer, 'failure_message') ?? TEMPORARY_NODE_FAILURE);
      return;
    }
    const replaced = text(answer, 'payload');
    const asked = replaced === undefined ? payload : decodePayload(replaced, false);
    if (asked === undefined) this.refuse(channel, htlc, INVALID_ONION_PAYLOAD);
    else if (asked.scid === undefined) {
      const override = answer['invoice_msat'];
      this.node.invoices.incoming(channel, htlc, asked, typeof override === 'number' ? override : undefined);
      // As in lightningd, the choice that the hook was told stands, whatever has changed meanwhile.
    } else this.forward(channel, htlc, asked, asked.scid, text(answer, 'forward_to') ?? (asked.scid === payload?.scid ? next?.channelId : undefined), rest);
  }

  /** A plugin's preimage has to be the HTLC's; a wrong one is a bug of the plugin's and costs the payment. */
  private resolve(channel: Channel, htlc: Htlc, preimage: string): void {
    const hash = createHash('sha256').update(Buffer.from(preimage, 'hex')).digest('hex');
    if (hash === htlc.hash) this.node.channels.link.fulfil(channel, htlc.id, preimage);
    else {
      this.node.log.broken(`Plugin returned a preimage (sha256(${preimage}) = ${hash}) that doesn't match the HTLC hash (${htlc.hash}) it tries to resolve.`);
      this.refuse(channel, htlc, '400f');
    }
  }

  /** BOLT 4, hop by hop. Fee and limits are those of the channel the HTLC takes, which need not be the one the sender named. */
  private forward(channel: Channel, htlc: Htlc, payload: HopPayload, scid: string, override: string | undefined, onion: readonly string[]): void {
    const target = override === undefined ? this.nextChannel(scid) : this.node.channels.byChannelId(override);
    if (target === undefined || !isNormal(target)) {
      this.refuse(channel, htlc, UNKNOWN_NEXT_PEER, target === undefined ? scid : nameOf(target));
      return;
    }
    const [name, { height }] = [nameOf(target), this.node.blocks];
    if (!policiesOf(target).some(({ fees }) => htlc.amount >= payload.amount + forwardFee(fees, payload.amount))) this.refuse(channel, htlc, FEE_INSUFFICIENT, name);
    else if (!policiesOf(target).some(({ least, most }) => payload.amount >= least && payload.amount <= most)) this.refuse(channel, htlc, TEMPORARY_CHANNEL_FAILURE, name);
    else if (htlc.expiry - payload.cltv < this.node.options.int('cltv-delta')) this.refuse(channel, htlc, INCORRECT_CLTV_EXPIRY, name);
    else if (payload.cltv <= height) this.refuse(channel, htlc, EXPIRY_TOO_SOON, name);
    else if (payload.cltv > height + MAX_HTLC_CLTV) this.refuse(channel, htlc, EXPIRY_TOO_FAR, name);
    else
      this.node.store.atomically(() => {
        const origin: Origin = { kind: 'forward', channel: channel.id, htlc: htlc.id };
        const forward: Forward = {
          ...this.record(channel, htlc, name),
          out_msat: payload.amount,
          fee_msat: htlc.amount - payload.amount,
          status: 'offered',
        };
        const refused = this.node.channels.link.offer(target, { amount: payload.amount, expiry: payload.cltv, hash: htlc.hash, onion, origin });
        if (refused !== undefined) this.refuse(channel, htlc, refused.failure.message, name);
        else {
          this.records.put(key(channel, htlc.id), forward);
          this.node.plugins.notify('forward_event', { payment_hash: htlc.hash, ...forward });
        }
      });
  }

  /** The channel with most to spend among those to the named one's peer, unless their fees differ. */
  private nextChannel(scid: string): Channel | undefined {
    const named = this.node.channels.byScid(scid);
    if (named === undefined) return undefined;
    // BOLT 2: with option_scid_alias, the real short channel id is not for use from outside.
    if (named.type.includes(SCID_ALIAS) && named.aliasLocal !== scid) return undefined;
    const rivals = this.node.channels.withPeer(named.peerId).filter((channel) => isNormal(channel) && channel.fees.base === named.fees.base && channel.fees.ppm === named.fees.ppm);
    // The first of equals, in the order of their opening.
    const most = Math.max(0, ...rivals.map((channel) => spendable(channel, COMMITMENT_PERKW)));
    return (most === 0 ? undefined : rivals.find((channel) => spendable(channel, COMMITMENT_PERKW) === most)) ?? named;
  }

  /** `out`: the name of the channel that was to take it, where it was one to forward. */
  private refuse(channel: Channel, htlc: Htlc, message: string, out?: string): void {
    const failure: Failure = { message, node: this.node.keys.nodeId, ...(out === undefined ? {} : { channel: out }) };
    this.node.store.atomically(() => {
      if (out !== undefined) {
        const code = failureCode(message);
        const forward: Forward = { ...this.record(channel, htlc, out), status: 'local_failed', failcode: code, failreason: failureName(code) };
        this.records.put(key(channel, htlc.id), forward);
        this.node.plugins.notify('forward_event', { payment_hash: htlc.hash, ...forward });
      }
      this.node.channels.link.fail(channel, htlc.id, failure);
    });
  }

  private record(channel: Channel, htlc: Htlc, out: string) {
    return {
      created_index: this.records.get(key(channel, htlc.id))?.created_index ?? this.node.store.next('last_forward'),
      in_channel: nameOf(channel),
      in_htlc_id: htlc.id,
      out_channel: out,
      in_msat: htlc.amount,
      style: 'tlv',
      received_time: htlc.since,
    };
  }

  private note(channel: Channel, htlc: number, change: JsonObject, secret: JsonObject = {}): void {
    const old = this.records.get(key(channel, htlc));
    if (old === undefined) return;
    const forward = { ...old, ...change };
    this.records.put(key(channel, htlc), forward);
    const hash = channel.htlcs.find(({ direction, id }) => direction === 'in' && id === htlc)?.hash;
    this.node.plugins.notify('forward_event', { payment_hash: hash, ...forward, ...secret });
  }

  private hookPayload(channel: Channel, htlc: Htlc, own: string, rest: readonly string[], payload: HopPayload | undefined, next: Channel | undefined): JsonObject {
    return {
      peer_id: channel.peerId,
      onion: {
        payload: own,
        type: payload === undefined ? undefined : 'tlv',
        short_channel_id: payload?.scid,
        forward_msat: payload?.amount,
        outgoing_cltv_value: payload?.cltv,
        total_msat: payload?.total,
        payment_secret: payload?.secret,
        next_onion: Buffer.from(JSON.stringify(rest)).toString('hex').padEnd(2732, '0'),
        shared_secret: createHash('sha256').update(`${htlc.hash}${this.node.keys.nodeId}`).digest('hex'),
      },
      forward_to: next?.channelId,
      htlc: {
        short_channel_id: nameOf(channel),
        id: htlc.id,
        amount_msat: htlc.amount,
        cltv_expiry: htlc.expiry,
        cltv_expiry_relative: htlc.expiry - this.node.blocks.height,
        payment_hash: htlc.hash,
      },
    };
  }
}

const key = (channel: Channel, htlc: number): string => `${channel.id}/${htlc}`;
