/**
 * Connections between the coordinator and its clients. Messages travel in order within one connection; a connection that ends
 * loses what was under way.
 */
import type { Hex, NodeId } from '../../../blip/brands.js';
import type { FactoryEnvelope } from '../../../blip/messages.js';

/** A message in the codec's bytes, or, where that is not what is tested, as it is; `hello` begins every connection. */
export type Packet = Hex | FactoryEnvelope | { readonly hello: true };

interface Link {
  connected: boolean;
  /** Under way, by receiver. */
  readonly to: Map<NodeId, Packet[]>;
  /** Everything that was ever delivered, by receiver: for a network that repeats. */
  readonly past: Map<NodeId, Packet[]>;
}

/** A repetition older than that is as good as any. */
const MEMORY = 64;

export class Network {
  private readonly links = new Map<NodeId, Link>();

  constructor(
    private readonly coordinator: NodeId,
    clients: readonly NodeId[],
  ) {
    for (const c of clients) {
      const queues = (): Map<NodeId, Packet[]> =>
        new Map([
          [coordinator, []],
          [c, []],
        ]);
      this.links.set(c, { connected: false, to: queues(), past: queues() });
    }
  }

  private link(a: NodeId, b: NodeId): Link {
    const link = this.links.get(a === this.coordinator ? b : a);
    if (!link) throw new Error('no such link');
    return link;
  }
  private client(a: NodeId, b: NodeId): NodeId {
    return a === this.coordinator ? b : a;
  }

  isConnected(client: NodeId): boolean {
    return this.links.get(client)?.connected === true;
  }
  connect(client: NodeId): void {
    this.link(client, this.coordinator).connected = true;
  }
  disconnect(client: NodeId): void {
    const link = this.link(client, this.coordinator);
    link.connected = false;
    for (const queue of link.to.values()) queue.length = 0;
  }

  send(from: NodeId, to: NodeId, packet: Packet): void {
    if (this.isConnected(this.client(from, to))) this.link(from, to).to.get(to)?.push(packet);
  }
  /** Whether something is under way from one to the other. */
  waiting(from: NodeId, to: NodeId): number {
    return this.link(from, to).to.get(to)?.length ?? 0;
  }
  take(from: NodeId, to: NodeId): Packet | undefined {
    const link = this.link(from, to);
    const packet = link.to.get(to)?.shift();
    if (packet !== undefined) {
      const past = link.past.get(to);
      past?.push(packet);
      if (past && past.length > MEMORY) past.shift();
    }
    return packet;
  }
  /** Something `to` has had before from `from`. */
  past(from: NodeId, to: NodeId): readonly Packet[] {
    return this.link(from, to).past.get(to) ?? [];
  }
}
