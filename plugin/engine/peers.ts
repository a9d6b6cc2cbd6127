/**
 * Which peers speak which factory protocols (bLIP-56 `supported_factory_protocols`), while they are connected; and that each hears
 * ours. Said once for each connection, it could be missed for as long as the connection stands, and with it all that is outstanding:
 * lightningd tells a plugin nothing of connections made before it is ready. So a peer that says nothing is asked, by saying ours again, and
 * who hears a peer's without having said its own, or a second time, says its own (blip/cln-factory-protocol.md 2).
 */
import type { NodeId, ProtocolId } from '../../blip/brands.js';
import { FACTORY_PROTOCOL_ID } from '../../blip/protocol-id.js';

export interface PeersParts {
  /** Says ours. */
  readonly announce: (peer: NodeId) => void;
  /** Does something so many milliseconds later, if the plugin still runs. */
  readonly later: (milliseconds: number, work: () => void) => void;
}

/** How long a peer that is connected is waited for, each time, before it is asked. */
const ASK_AFTER_MS = [5_000, 30_000, 120_000] as const;
/** How often ours is said on one connection: two that answer each other come to an end. */
const MOST_SAID = 8;

/** What was said on one connection. */
export interface Visit {
  /** How often we have said ours. */
  said: number;
  /** Whether ours is among the peer's; of what else it lists, nothing is kept. Undefined before it has said. */
  ours?: boolean;
}

export class Peers {
  private readonly visits = new Map<NodeId, Visit>();
  private readonly waiting = new Map<NodeId, Set<() => void>>();

  constructor(private readonly parts: PeersParts) {}

  /** The connection that stands now, of which a message may have come already. */
  visitOf(peer: NodeId): Visit {
    const visit = this.visits.get(peer) ?? { said: 0 };
    this.visits.set(peer, visit);
    return visit;
  }
  /** The peer of this connection has the feature bit, and may be told. */
  greet(peer: NodeId, visit: Visit): void {
    if (this.visits.get(peer) !== visit || visit.said > 0) return;
    this.say(peer, visit);
    this.askLater(peer, visit, 0);
  }
  supported(peer: NodeId, protocols: readonly ProtocolId[]): void {
    const visit = this.visitOf(peer);
    const again = visit.ours !== undefined;
    visit.ours = protocols.includes(FACTORY_PROTOCOL_ID);
    for (const wake of this.waiting.get(peer) ?? []) wake();
    this.waiting.delete(peer);
    if (again || visit.said === 0) this.say(peer, visit);
  }
  disconnected(peer: NodeId): void {
    this.visits.delete(peer);
  }
  speaksOurs(peer: NodeId): boolean {
    return this.visits.get(peer)?.ours === true;
  }

  /** A peer that has just connected may not have said yet. */
  async waitForOurs(peer: NodeId, milliseconds: number): Promise<boolean> {
    if (this.visits.get(peer)?.ours !== undefined) return this.speaksOurs(peer);
    await new Promise<void>((resolve) => {
      const wakers = this.waiting.get(peer) ?? new Set();
      this.waiting.set(peer, wakers);
      const wake = (): void => {
        clearTimeout(timer);
        wakers.delete(wake);
        resolve();
      };
      const timer = setTimeout(wake, milliseconds);
      wakers.add(wake);
    });
    return this.speaksOurs(peer);
  }

  private say(peer: NodeId, visit: Visit): void {
    if (visit.said >= MOST_SAID) return;
    visit.said += 1;
    this.parts.announce(peer);
  }
  private askLater(peer: NodeId, visit: Visit, times: number): void {
    const wait = ASK_AFTER_MS[times];
    if (wait === undefined) return;
    this.parts.later(wait, () => {
      if (this.visits.get(peer) !== visit || visit.ours !== undefined) return;
      this.say(peer, visit);
      this.askLater(peer, visit, times + 1);
    });
  }
}
