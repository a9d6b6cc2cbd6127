/** What peers send us: decoded, checked against who may send it, and given to the factory it belongs to. */
import type { Hex, NodeId } from '../../blip/brands.js';
import { decodeFactoryMessage } from '../../blip/factory-message.js';
import { DecodeError } from '../../blip/errors.js';
import type { FactoryEnvelope, FactoryMessageType } from '../../blip/messages.js';
import { decodeMessage } from '../../blip/protocol-codec.js';
import { FACTORY_PROTOCOL_ID } from '../../blip/protocol-id.js';
import { isWaitingMessage } from '../../blip/waiting-messages.js';
import { AbortCode } from '../../factory-core/protocol/abort-codes.js';
import type { Log } from '../runtime/definition.js';
import { StoreError } from '../store/errors.js';
import type { Standing } from './acquaintances.js';
import type { Engine } from './engine.js';
import type { Gate, GateCounts } from './gate.js';
import type { Messenger } from './messenger.js';
import type { Peers } from './peers.js';

export interface InboxParts {
  readonly engine: Pick<Engine, 'get' | 'dispatch' | 'peerConnected'>;
  readonly peers: Peers;
  readonly messenger: Pick<Messenger, 'send'>;
  readonly gate: Gate;
  readonly log: Log;
  /** The waiting room's, of no factory. */
  readonly waiting: { readonly receive: (from: NodeId, envelope: FactoryEnvelope) => void; readonly connected: (peer: NodeId) => void };
  /** An invitation to a factory this node does not know. */
  readonly invited: (from: NodeId, envelope: FactoryEnvelope) => void;
  /** Why no ceremony may go on, if so: nothing is signed then. */
  readonly paused: () => string | undefined;
  readonly standing: (peer: NodeId) => Standing;
  /** Does something so many milliseconds later, if the plugin still runs. */
  readonly later: (milliseconds: number, work: () => void) => void;
}

/** A peer that comes and goes too often is told what is outstanding after so long. */
const REST_MS = 5_000;

export class Inbox {
  /** Peers that are told later what is outstanding; all of them parties of our factories. */
  private readonly resting = new Set<NodeId>();

  constructor(private readonly parts: InboxParts) {}

  /** For the status. */
  counts(): GateCounts {
    return this.parts.gate.counts();
  }

  /**
   * Never throws for what a peer sent; a message that does not fit, or whose consequences cannot be stored, changes nothing
   * (architecture 12.8, 12.13). A mistake of ours is no reason either to end a node at a peer's will: what cannot be done is not.
   */
  receive(from: NodeId, bytes: Hex): void {
    if (!this.parts.gate.admits(from, bytes.length / 2)) return;
    this.safely(from, () => {
      this.take(from, bytes);
    });
  }

  private take(from: NodeId, bytes: Hex): void {
    const { gate, peers } = this.parts;
    const message = decodeFactoryMessage(bytes);
    switch (message.kind) {
      case 'supported_factory_protocols':
        peers.supported(from, message.protocolIds);
        // Only now may it be sent what a ceremony waits for (blip/cln-factory-protocol.md).
        if (peers.speaksOurs(from)) this.reconnected(from);
        return;
      case 'factory_piggyback':
        if (!gate.admitsProtocol(from)) return;
        if (message.protocolId !== FACTORY_PROTOCOL_ID) {
          this.ignore(from, `of protocol ${message.protocolId}`);
          return;
        }
        this.deliver(from, decodeMessage(message.payload));
        return;
      default:
        this.ignore(from, `${message.kind}: not used on this node`);
    }
  }

  private safely(from: NodeId, work: () => void): void {
    const { gate, log } = this.parts;
    try {
      work();
    } catch (error) {
      if (error instanceof DecodeError || error instanceof StoreError) {
        this.ignore(from, error.message);
        return;
      }
      gate.ignored(from);
      log('broken', `a message of ${from} could not be handled: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
    }
  }

  /** Strangers have nothing outstanding. Nobody else is forgotten, or a ceremony would wait for the next connection. */
  private reconnected(peer: NodeId): void {
    const { gate, engine, peers, standing, later } = this.parts;
    if (standing(peer) === 'stranger' || this.resting.has(peer)) return;
    if (gate.announces(peer)) {
      engine.peerConnected(peer);
      this.parts.waiting.connected(peer);
      return;
    }
    this.resting.add(peer);
    later(REST_MS, () => {
      this.resting.delete(peer);
      this.safely(peer, () => {
        if (peers.speaksOurs(peer)) this.reconnected(peer);
      });
    });
  }

  private deliver(from: NodeId, envelope: FactoryEnvelope): void {
    const { header, message } = envelope;
    if (this.parts.paused() !== undefined) {
      this.ignore(from, `${message.type}: this node only watches`);
      return;
    }
    this.parts.log('debug', `<- ${from}: ${message.type}`);
    if (isWaitingMessage(message)) {
      this.parts.waiting.receive(from, envelope);
      return;
    }
    const factory = this.parts.engine.get(header.instanceId);
    if (!factory) {
      if (message.type === 'invite') this.parts.invited(from, envelope);
      else this.unknown(from, envelope);
      return;
    }
    if (!isParty(factory.state, from)) {
      this.ignore(from, `${message.type} for a factory it is not part of`);
      return;
    }
    if (BEGINNINGS.has(message.type) && !this.parts.gate.begins(from)) return;
    this.parts.engine.dispatch(header.instanceId, { type: 'message', from, attempt: header.attempt, message });
  }

  /** Lets an honest peer that has lost track give up; an abort is never answered, so this cannot go back and forth. */
  private unknown(from: NodeId, { header, message }: FactoryEnvelope): void {
    this.ignore(from, `${message.type} for an unknown factory`);
    if (message.type === 'abort' || message.type === 'decline') return;
    const { messenger, gate } = this.parts;
    if (!gate.answers(from)) return;
    messenger.send(from, { header, message: { type: 'abort', code: AbortCode.UnknownFactory, reason: 'this node knows no such factory' } });
  }

  private ignore(from: NodeId, why: string): void {
    this.parts.gate.ignored(from);
    this.parts.log('debug', `ignored from ${from}: ${why}`);
  }
}

/** What a peer may begin in a factory it is part of: each is written; some stop payments for a while, or open a channel. */
const BEGINNINGS: ReadonlySet<FactoryMessageType> = new Set(['close_request', 'purchase_request', 'purchase_offer', 'leave']);

type State = NonNullable<ReturnType<Engine['get']>>['state'];
const isParty = (state: State, peer: NodeId): boolean =>
  state.role === 'member' ? state.coordinator === peer : state.request.clients.some((c) => c.nodeId === peer);
