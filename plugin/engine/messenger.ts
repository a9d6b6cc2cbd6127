/** Sends our messages, in order per peer. A message that cannot be sent is dropped: machines ask again on reconnection. */
import type { NodeId } from '../../blip/brands.js';
import type { FactoryEnvelope } from '../../blip/messages.js';
import { encodeFactoryMessage, type KnownSubMessage } from '../../blip/factory-message.js';
import { encodeMessage } from '../../blip/protocol-codec.js';
import { FACTORY_PROTOCOL_ID } from '../../blip/protocol-id.js';
import type { Lightning } from '../lightning/lightning.js';
import type { Log } from '../runtime/definition.js';

export class Messenger {
  private readonly queues = new Map<NodeId, Promise<void>>();

  constructor(
    private readonly lightning: Lightning,
    private readonly log: Log,
  ) {}

  send(to: NodeId, envelope: FactoryEnvelope): void {
    const payload = encodeMessage(envelope);
    this.sendFactoryMessage(to, { kind: 'factory_piggyback', protocolId: FACTORY_PROTOCOL_ID, payload }, envelope.message.type);
  }

  /** bLIP-56: after `init`, to every peer with the feature bit. */
  announce(to: NodeId): void {
    this.sendFactoryMessage(to, { kind: 'supported_factory_protocols', protocolIds: [FACTORY_PROTOCOL_ID] }, 'supported_factory_protocols');
  }

  private sendFactoryMessage(to: NodeId, message: KnownSubMessage, name: string): void {
    const bytes = encodeFactoryMessage(message);
    const before = this.queues.get(to) ?? Promise.resolve();
    const after = before.then(async () => {
      try {
        await this.lightning.sendMessage(to, bytes);
        this.log('debug', `-> ${to}: ${name} (${bytes.length / 2} bytes)`);
      } catch (error) {
        this.log('debug', `-> ${to}: ${name} not sent: ${error instanceof Error ? error.message : String(error)}`);
      }
    });
    this.queues.set(to, after);
    void after.then(() => {
      if (this.queues.get(to) === after) this.queues.delete(to);
    });
  }
}
