/** What peers send us: decoded, checked against who may send it, and given to the factory it belongs to. */
import type { Hex, NodeId } from '../../blip/brands.js';
import { decodeFactoryMessage } from '../../blip/factory-message.js';
import { DecodeError } from '../../blip/errors.js';
import type { FactoryEnvelope } from '../../blip/messages.js';
import { decodeMessage } from '../../blip/protocol-codec.js';
import { FACTORY_PROTOCOL_ID } from '../../blip/protocol-id.js';
import { AbortCode } from '../../factory-core/protocol/abort-codes.js';
import type { Log } from '../runtime/definition.js';
import { StoreError } from '../store/errors.js';
import type { Engine } from './engine.js';
import type { Messenger } from './messenger.js';
import type { Peers } from './peers.js';

export interface InboxParts {
  readonly engine: Engine;
  readonly peers: Peers;
  readonly messenger: Messenger;
  readonly log: Log;
  /** An invitation to a factory this node does not know. */
  readonly invited: (from: NodeId, envelope: FactoryEnvelope) => void;
  /** Why no ceremony may go on, if so: nothing is signed then. */
  readonly paused: () => string | undefined;
}

/** Counted per peer, for the status: what was refused or ignored. */
export interface InboxCounters {
  readonly received: number;
  readonly ignored: number;
}

/** Senders we keep counters for: strangers must not grow our memory. */
const MAX_COUNTED = 1_000;

export class Inbox {
  private readonly counters = new Map<NodeId, { received: number; ignored: number }>();

  constructor(private readonly parts: InboxParts) {}

  countersOf(peer: NodeId): InboxCounters | undefined {
    return this.counters.get(peer);
  }
  ignoredInAll(): number {
    return [...this.counters.values()].reduce((sum, c) => sum + c.ignored, 0);
  }

  /**
   * Never throws for what a peer sent; a message that does not fit, or whose consequences cannot be stored, changes nothing
   * (architecture 12.8, 12.13).
   */
  receive(from: NodeId, bytes: Hex): void {
    this.count(from, 'received');
    try {
      const message = decodeFactoryMessage(bytes);
      switch (message.kind) {
        case 'supported_factory_protocols':
          this.parts.peers.supported(from, message.protocolIds);
          // Only now may it be sent what a ceremony waits for (blip/cln-factory-protocol.md).
          if (this.parts.peers.speaksOurs(from)) this.parts.engine.peerConnected(from);
          return;
        case 'factory_piggyback':
          if (message.protocolId !== FACTORY_PROTOCOL_ID) {
            this.ignore(from, `of protocol ${message.protocolId}`);
            return;
          }
          this.deliver(from, decodeMessage(message.payload));
          return;
        default:
          this.ignore(from, `${message.kind}: not used on this node`);
      }
    } catch (error) {
      if (!(error instanceof DecodeError) && !(error instanceof StoreError)) throw error;
      this.ignore(from, error.message);
    }
  }

  private deliver(from: NodeId, envelope: FactoryEnvelope): void {
    const { header, message } = envelope;
    if (this.parts.paused() !== undefined) {
      this.ignore(from, `${message.type}: this node only watches`);
      return;
    }
    const factory = this.parts.engine.get(header.instanceId);
    this.parts.log('debug', `<- ${from}: ${message.type}`);
    if (!factory) {
      if (message.type === 'invite') this.parts.invited(from, envelope);
      else this.unknown(from, envelope);
      return;
    }
    if (!isParty(factory.state, from)) {
      this.ignore(from, `${message.type} for a factory it is not part of`);
      return;
    }
    this.parts.engine.dispatch(header.instanceId, { type: 'message', from, attempt: header.attempt, message });
  }

  /** Lets an honest peer that has lost track give up; an abort is never answered, so this cannot go back and forth. */
  private unknown(from: NodeId, { header, message }: FactoryEnvelope): void {
    this.ignore(from, `${message.type} for an unknown factory`);
    if (message.type === 'abort' || message.type === 'decline') return;
    const { messenger } = this.parts;
    messenger.send(from, { header, message: { type: 'abort', code: AbortCode.UnknownFactory, reason: 'this node knows no such factory' } });
  }

  private ignore(from: NodeId, why: string): void {
    this.count(from, 'ignored');
    this.parts.log('debug', `ignored from ${from}: ${why}`);
  }

  private count(from: NodeId, what: 'received' | 'ignored'): void {
    let counter = this.counters.get(from);
    if (!counter) {
      if (this.counters.size >= MAX_COUNTED) return;
      counter = { received: 0, ignored: 0 };
      this.counters.set(from, counter);
    }
    counter[what] += 1;
  }
}

type State = NonNullable<ReturnType<Engine['get']>>['state'];
const isParty = (state: State, peer: NodeId): boolean =>
  state.role === 'member' ? state.coordinator === peer : state.request.clients.some((c) => c.nodeId === peer);
