/** Which peers speak which factory protocols (bLIP-56 `supported_factory_protocols`), while they are connected. */
import type { NodeId, ProtocolId } from '../../blip/brands.js';
import { FACTORY_PROTOCOL_ID } from '../../blip/protocol-id.js';

export class Peers {
  /** Whether ours is among them; of what else a peer lists, nothing is kept. */
  private readonly ours = new Map<NodeId, boolean>();
  private readonly waiting = new Map<NodeId, Set<() => void>>();

  supported(peer: NodeId, protocols: readonly ProtocolId[]): void {
    this.ours.set(peer, protocols.includes(FACTORY_PROTOCOL_ID));
    for (const wake of this.waiting.get(peer) ?? []) wake();
    this.waiting.delete(peer);
  }
  disconnected(peer: NodeId): void {
    this.ours.delete(peer);
  }
  speaksOurs(peer: NodeId): boolean {
    return this.ours.get(peer) === true;
  }

  /** A peer that has just connected may not have said yet. */
  async waitForOurs(peer: NodeId, milliseconds: number): Promise<boolean> {
    if (this.ours.has(peer)) return this.speaksOurs(peer);
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
}
