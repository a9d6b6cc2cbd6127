/**
 * Core Lightning's channels between the coordinator and its clients, as far as the machines see them: both sides of a
 * channel have the same script; each side knows for itself whether the channel is there.
 */
import { bytesToHex } from '@noble/hashes/utils.js';
import { channelId, msat, script, type ChannelId, type NodeId, type Outpoint, type PaymentHash, type Sat, type Script, type Txid } from '../../../blip/brands.js';
import type { Signable } from '../../model.js';
import type { ChannelFacts } from '../../protocol/effects.js';
import { digest } from '../support/factory.js';

export interface Htlc {
  readonly from: NodeId;
  readonly amount: bigint;
  /** It pays for a purchase: the coordinator's plugin decides, and nobody else. */
  readonly fee?: PaymentHash;
}

export interface SimChannel {
  readonly id: ChannelId;
  readonly opener: NodeId;
  readonly fundee: NodeId;
  readonly funding: Outpoint;
  readonly script: Script;
  readonly capacity: Sat;
  /** What the opener has given away with it, in msat: a lie, but no payment. */
  readonly pushed: bigint;
  /** By node: whether it has this channel, and has not closed it. */
  readonly open: Map<NodeId, boolean>;
  withheld: boolean;
  /** The fundee's balance, in msat. */
  balance: bigint;
  htlc?: Htlc | undefined;
  frozen: boolean;
}

export type Result<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly reason: string };
const failed = (reason: string) => ({ ok: false, reason }) as const;

export class Cln {
  private readonly openings = new Map<NodeId, Script>();
  readonly channels: SimChannel[] = [];
  private scripts = 0;

  /**
   * @param connected whether a client's connection stands
   * @param lies whether the coordinator's node now does something else than it says: another funding, a push
   */
  constructor(
    private readonly coordinator: NodeId,
    private readonly connected: (client: NodeId) => boolean,
    private readonly lies: () => boolean,
  ) {}

  at(node: NodeId): readonly SimChannel[] {
    return this.channels.filter((c) => c.open.get(node) === true);
  }
  find(node: NodeId, id: ChannelId): SimChannel | undefined {
    return this.channels.find((c) => c.id === id && c.open.get(node) === true);
  }

  /** @param accepts the client's `openchannel` hook */
  start(client: NodeId, accepts: boolean): Result<Script> {
    if (!this.connected(client)) return failed('peer is not connected');
    if (!accepts) return failed('peer does not accept the channel');
    this.scripts += 1;
    const made = script(`0020${bytesToHex(digest(`channel script ${String(this.scripts)}`))}`);
    this.openings.set(client, made);
    return { ok: true, value: made };
  }
  cancel(client: NodeId): void {
    this.openings.delete(client);
  }

  /** @param half the connection breaks when the client has the channel and the coordinator does not */
  complete(client: NodeId, leaf: Signable, half = false): Result<ChannelId> {
    const known = this.at(this.coordinator).find((c) => c.funding.txid === leaf.txid);
    if (known) return { ok: true, value: known.id };
    const opening = this.openings.get(client);
    this.openings.delete(client);
    if (opening === undefined || !this.connected(client)) return failed('no channel is being opened');
    const [output] = leaf.tx.outputs;
    if (!output || (output.script !== opening && !this.lies())) return failed('the funding transaction does not pay the channel');
    const pushed = this.lies() ? 1_000n : 0n;
    const channel: SimChannel = {
      id: channelId(leaf.txid),
      opener: this.coordinator,
      fundee: client,
      funding: { txid: leaf.txid, vout: 0 },
      script: opening,
      capacity: output.amount,
      pushed,
      open: new Map([
        [this.coordinator, !half],
        [client, true],
      ]),
      withheld: true,
      balance: pushed,
      frozen: false,
    };
    this.channels.push(channel);
    return half ? failed('the connection broke') : { ok: true, value: channel.id };
  }

  factsAt(node: NodeId, channel: SimChannel): ChannelFacts {
    const total = channel.capacity * 1000n;
    const inFlight = channel.htlc;
    const ours = node === channel.fundee ? channel.balance : total - channel.balance;
    const offered = inFlight?.from === node ? inFlight.amount : 0n;
    return { channelId: channel.id, toUs: msat(ours - offered), total: msat(total) };
  }

  /** A channel goes at one side; at the other too if it hears of it. */
  close(node: NodeId, id: ChannelId): void {
    const channel = this.find(node, id);
    if (!channel) return;
    channel.open.set(node, false);
    if (this.connected(channel.fundee)) channel.open.set(node === channel.fundee ? channel.opener : channel.fundee, false);
  }
  drop(node: NodeId, fundingTxids: readonly Txid[]): void {
    for (const c of this.at(node)) if (fundingTxids.includes(c.funding.txid)) this.close(node, c.id);
  }

  /** @returns whether the coordinator has the channel */
  arm(leaf: Signable): boolean {
    const channel = this.at(this.coordinator).find((c) => c.funding.txid === leaf.txid);
    if (!channel) return false;
    channel.withheld = false;
    return true;
  }

  disconnected(client: NodeId): void {
    this.openings.delete(client);
    for (const c of this.channels) {
      if (c.fundee === client) c.frozen = false;
    }
  }
  /** `channel_reestablish`: who has lost a channel says so, and the other fails it. */
  reconnected(client: NodeId): void {
    for (const c of this.channels) {
      if (c.fundee !== client) continue;
      const both = c.open.get(c.opener) === true && c.open.get(c.fundee) === true;
      if (!both) for (const node of [c.opener, c.fundee]) c.open.set(node, false);
    }
  }
}
