import { type Channel, directionOf } from './channel.js';
import { localUpdate } from './channel-chain.js';
import { command, type Command } from './commands.js';
import type { Node } from './node.js';
import { nodeId, opt, scid } from './params.js';
import type { Collection } from './store.js';
import { type JsonObject, nowSeconds, text } from './types.js';

/** One direction of an announced channel. */
export interface Announced extends JsonObject {
  readonly short_channel_id: string;
  readonly source: string;
  readonly destination: string;
  readonly direction: number;
  readonly amount_msat: number;
  readonly base_fee_millisatoshi: number;
  readonly fee_per_millionth: number;
  readonly delay: number;
  readonly active: boolean;
  readonly last_update: number;
}

/** Announced channels and nodes, flooded among stand-ins. What is told is believed; lightningd would check it on the chain. */
export class Gossip {
  private readonly channels: Collection<Announced>;
  private readonly nodes: Collection<JsonObject>;

  constructor(private readonly node: Node) {
    this.channels = node.store.collection('gossip_channel');
    this.nodes = node.store.collection('gossip_node');
  }

  all(): readonly Announced[] {
    return this.channels.values();
  }

  /** Our side of a channel that is deep enough; the peer announces its own. */
  announce(channel: Channel): void {
    const { nodeId: us } = this.node.keys;
    const update = localUpdate(channel, this.node);
    const id = `${channel.scid ?? ''}/${directionOf(us, channel.peerId)}`;
    const entry: Announced = {
      source: us,
      destination: channel.peerId,
      short_channel_id: channel.scid ?? '',
      direction: directionOf(us, channel.peerId),
      public: true,
      amount_msat: channel.capacity * 1000,
      message_flags: 1,
      channel_flags: directionOf(us, channel.peerId),
      active: true,
      // Later than the one before, even in the same second (BOLT 7).
      last_update: Math.max(nowSeconds(), (this.channels.get(id)?.last_update ?? 0) + 1),
      base_fee_millisatoshi: channel.fees.base,
      fee_per_millionth: channel.fees.ppm,
      delay: Number(update['cltv_expiry_delta']),
      htlc_minimum_msat: update['htlc_minimum_msat'],
      htlc_maximum_msat: update['htlc_maximum_msat'],
      features: '',
    };
    this.learn({ t: 'gossip', kind: 'channel', entry });
    this.learn({
      t: 'gossip',
      kind: 'node',
      entry: { nodeid: us, alias: this.node.alias, color: this.node.color, last_timestamp: nowSeconds(), features: this.node.plugins.features.node, addresses: [] },
    });
  }

  /** The channel is closed. */
  retract(channel: Channel): void {
    if (channel.scid !== undefined) this.learn({ t: 'gossip', kind: 'gone', scid: channel.scid });
  }

  /** Everything we know, for a peer that has just come. */
  greet(peerId: string): void {
    for (const entry of this.nodes.values()) this.node.peers.send(peerId, { t: 'gossip', kind: 'node', entry });
    for (const entry of this.channels.values()) this.node.peers.send(peerId, { t: 'gossip', kind: 'channel', entry });
  }

  received(peerId: string, message: JsonObject): void {
    this.learn(message, peerId);
  }

  private learn(message: JsonObject, from?: string): void {
    if (this.isNew(message)) this.node.peers.broadcast(message, from);
  }

  private isNew(message: JsonObject): boolean {
    const entry = message['entry'] as JsonObject | undefined;
    if (message['kind'] === 'gone') {
      const closed = this.channels.values().filter(({ short_channel_id }) => short_channel_id === message['scid']);
      for (const old of closed) this.channels.delete(`${old.short_channel_id}/${old.direction}`);
      return closed.length > 0;
    }
    if (entry === undefined) return false;
    const id = message['kind'] === 'channel' ? `${text(entry, 'short_channel_id') ?? ''}/${Number(entry['direction'])}` : (text(entry, 'nodeid') ?? '');
    const collection: Collection<JsonObject> = message['kind'] === 'channel' ? (this.channels) : this.nodes;
    const stamp = message['kind'] === 'channel' ? 'last_update' : 'last_timestamp';
    const old = collection.get(id);
    if (old !== undefined && Number(old[stamp]) >= Number(entry[stamp])) return false;
    collection.put(id, entry);
    return true;
  }

  commands(): readonly Command[] {
    return [
      command('listchannels', { short_channel_id: opt(scid), source: opt(nodeId), destination: opt(nodeId) }, ({ short_channel_id: wanted, source, destination }) => ({
        channels: this.all().filter(
          (entry) =>
            (wanted === undefined || entry.short_channel_id === wanted) &&
            (source === undefined || entry.source === source) &&
            (destination === undefined || entry.destination === destination),
        ),
      })),
      command('listnodes', { id: opt(nodeId) }, ({ id }) => ({ nodes: this.nodes.values().filter((entry) => id === undefined || entry['nodeid'] === id) })),
    ];
  }
}
