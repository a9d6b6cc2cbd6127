import { randomBytes } from 'node:crypto';
import { connect as dial, createServer, type Server, type Socket } from 'node:net';
import type { Log } from './log.js';
import type { Node } from './node.js';
import type { Collection } from './store.js';
import { CODE, FatalError, type Json, type JsonObject, messageOf, RpcError, text } from './types.js';
import { handshake, type Hello, Wire } from './wire.js';

export interface Address {
  readonly host: string;
  readonly port: number;
}

interface Peer {
  readonly id: string;
  readonly wire: Wire;
  readonly features: string;
  readonly direction: 'in' | 'out';
  readonly address: Address;
  /** The peer takes us for connected, too. */
  readonly mutual: Promise<void>;
  readonly isMutual: () => void;
}

const RECONNECT_FIRST = 1_000;
const RECONNECT_MOST = 4_000;

/** Connections to other stand-ins: made, kept up where there are channels, and what goes over them. */
export class Peers {
  private readonly connected = new Map<string, Peer>();
  private readonly dialing = new Map<string, Promise<Peer>>();
  private readonly retries = new Map<string, NodeJS.Timeout>();
  /** Where we once reached a peer; a peer that came to us leaves no address, as in lightningd. */
  private readonly addresses: Collection<Address>;
  private readonly servers: Server[] = [];
  private readonly listening: Address[] = [];

  constructor(
    private readonly node: Node,
    private readonly log: Log,
  ) {
    this.addresses = node.store.collection('address');
  }

  async listen(): Promise<void> {
    const { options } = this.node;
    for (const text of [...options.strings('addr'), ...options.strings('bind-addr')]) {
      const address = parseAddress(text, 19846);
      const server = createServer((socket) => {
        void this.accept(socket);
      });
      await new Promise<void>((resolve, reject) => {
        server.once('error', (error) => {
          reject(new FatalError(`Failed to bind on ${text}: ${error.message}`));
        });
        server.listen(address.port, address.host, resolve);
      });
      this.servers.push(server);
      this.listening.push(address);
    }
  }

  bindings(): readonly Json[] {
    return this.listening.map(addressJson);
  }

  /** Keeps trying to reach the peers we have channels with. */
  start(): void {
    for (const id of this.node.channels.peersWanted()) this.scheduleReconnect(id, 0);
  }

  stop(): void {
    for (const server of this.servers) server.close();
    for (const timer of this.retries.values()) clearTimeout(timer);
    for (const { wire } of this.connected.values()) wire.close();
  }

  isConnected(id: string): boolean {
    return this.connected.has(id);
  }

  peer(id: string): Peer | undefined {
    return this.connected.get(id);
  }

  /** False when the peer is not connected. */
  send(id: string, message: JsonObject): boolean {
    const peer = this.connected.get(id);
    this.node.store.whenStored(() => peer?.wire.send(message));
    return peer !== undefined;
  }

  broadcast(message: JsonObject, except?: string): void {
    for (const id of this.connected.keys()) if (id !== except) this.send(id, message);
  }

  /** Connected peers, and those we have channels with. */
  listPeers(): readonly JsonObject[] {
    const ids = [...new Set([...this.connected.keys(), ...this.node.channels.all().map(({ peerId }) => peerId)])];
    return ids.map((id) => {
      const peer = this.connected.get(id);
      return {
        id,
        connected: peer !== undefined,
        num_channels: this.node.channels.all().filter(({ peerId }) => peerId === id).length,
        ...(peer === undefined ? {} : { netaddr: [`${peer.address.host}:${peer.address.port}`], features: peer.features }),
      };
    });
  }

  /** `connect`. @throws RpcError 400/401/402 */
  async connect(id: string, address: Address | undefined): Promise<JsonObject> {
    if (id === this.node.keys.nodeId) throw new RpcError(CODE.invalidParams, 'Cannot connect to self');
    const peer = this.connected.get(id) ?? (await this.reach(id, address));
    return { id, features: peer.features, direction: peer.direction, address: addressJson(peer.address) };
  }

  disconnect(id: string, force: boolean): void {
    const peer = this.connected.get(id);
    if (peer === undefined) throw new RpcError(CODE.lightningd, this.node.channels.withPeer(id).length > 0 ? 'Peer not connected' : 'Unknown peer');
    const channel = this.node.channels.withPeer(id).find(({ state }) => !['ONCHAIN', 'CLOSED'].includes(state));
    if (channel !== undefined && !force) throw new RpcError(CODE.lightningd, `Peer has (at least one) channel in state ${channel.state}`);
    this.drop(peer);
  }

  /** Closes a connection because of what the peer did; channels reconnect. */
  hangUp(id: string): void {
    const peer = this.connected.get(id);
    if (peer !== undefined) this.drop(peer);
  }

  // Connections

  private reach(id: string, address: Address | undefined): Promise<Peer> {
    const running = this.dialing.get(id);
    if (running !== undefined) return running;
    const attempt = this.dial(id, address ?? this.addresses.get(id)).finally(() => this.dialing.delete(id));
    this.dialing.set(id, attempt);
    return attempt;
  }

  private async dial(id: string, address: Address | undefined): Promise<Peer> {
    if (address === undefined) throw new RpcError(CODE.connectNoAddress, 'Unable to connect, no address known for peer');
    const failed = (error: unknown): RpcError =>
      new RpcError(CODE.connectAllFailed, `All addresses failed: ${address.host}:${address.port}: Connection establishment: ${messageOf(error)}. `);
    const socket = await openSocket(address).catch((error: unknown) => {
      throw failed(error);
    });
    const wire = new Wire(socket);
    const hello = await handshake(wire, this.node.keys, this.node.plugins.features.init).catch((error: unknown) => {
      // The peer may have come to us meanwhile, and prefers that connection.
      const other = this.connected.get(id);
      if (other !== undefined) return undefined;
      throw failed(error);
    });
    const already = this.connected.get(id);
    if (hello === undefined && already !== undefined) return already;
    if (hello?.id !== id) {
      wire.close();
      throw new RpcError(CODE.connectAllFailed, `All addresses failed: ${address.host}:${address.port}: Cryptographic handshake: peer closed connection (wrong key?). `);
    }
    const peer = await this.welcome(wire, hello, 'out', address);
    if (peer === undefined) throw new RpcError(CODE.connectDropped, 'Disconnected during connection');
    await Promise.race([peer.mutual, this.node.sleep(1_000)]);
    this.addresses.put(id, address);
    return peer;
  }

  private async accept(socket: Socket): Promise<void> {
    const address = { host: socket.remoteAddress ?? '127.0.0.1', port: socket.remotePort ?? 0 };
    const wire = new Wire(socket);
    try {
      const hello = await handshake(wire, this.node.keys, this.node.plugins.features.init);
      // Both dial at once: the lower id's connection stays.
      if (this.dialing.has(hello.id) && this.node.keys.nodeId < hello.id) wire.close();
      else await this.welcome(wire, hello, 'in', address);
    } catch (error) {
      if (error instanceof FatalError) this.node.fatal(error);
      else this.log.debug(`incoming connection failed: ${messageOf(error)}`);
    }
  }

  /** From handshake to connected: the hook, the notification, the channels' reestablishment. */
  private async welcome(wire: Wire, { id, features }: Hello, direction: 'in' | 'out', address: Address): Promise<Peer | undefined> {
    const answer = await this.node.plugins.hook('peer_connected', { peer: { id, direction, addr: `${address.host}:${address.port}`, features } });
    if (answer['result'] === 'disconnect' || !wire.open || this.node.stopped) {
      wire.close();
      return undefined;
    }
    const old = this.connected.get(id);
    if (old !== undefined) this.drop(old);
    let isMutual = (): void => undefined;
    const mutual = new Promise<void>((resolve) => {
      isMutual = resolve;
    });
    const peer: Peer = { id, wire, features, direction, address, mutual, isMutual };
    this.connected.set(id, peer);
    clearTimeout(this.retries.get(id));
    this.retries.delete(id);
    wire.onClose = () => {
      this.lost(peer);
    };
    this.log.of(`${id}-connectd`).debug(`peer connected (${direction})`);
    this.node.plugins.notify('connect', { id, direction, address: addressJson(address) });
    wire.send({ t: 'welcome' });
    // Core Lightning keeps its encrypted backup with every peer: type 7, an odd message every custommsg hook sees.
    wire.send({ t: 'custom', hex: `0007${randomBytes(60).toString('hex')}` });
    this.node.gossip.greet(id);
    this.node.channels.peerConnected(id);
    wire.listen((message) => {
      this.received(peer, message);
    });
    return peer;
  }

  private received(peer: Peer, message: JsonObject): void {
    // What comes while the node stops is the peer's to send again: nothing is stored any more.
    if (this.node.stopped) return;
    if (this.connected.get(peer.id) !== peer) return;
    try {
      const type = text(message, 't') ?? '';
      if (type === 'welcome') peer.isMutual();
      else if (type === 'custom') this.node.customMessages.received(peer.id, text(message, 'hex') ?? '');
      else if (type === 'warning') this.log.of(`${peer.id}-connectd`).info(`Received WIRE_WARNING: WARNING: ${text(message, 'text') ?? ''}`);
      else if (type === 'gossip') this.node.gossip.received(peer.id, message);
      else this.node.channels.received(peer.id, type, message);
    } catch (error) {
      if (error instanceof FatalError) this.node.fatal(error);
      else this.log.broken(`peer ${peer.id}: ${error instanceof Error ? (error.stack ?? error.message) : messageOf(error)}`);
    }
  }

  private drop(peer: Peer): void {
    peer.wire.close();
    this.lost(peer);
  }

  private lost(peer: Peer): void {
    if (this.connected.get(peer.id) !== peer) return;
    this.connected.delete(peer.id);
    if (this.node.stopped) return;
    this.log.of(`${peer.id}-lightningd`).debug('peer_disconnected');
    this.node.channels.peerLost(peer.id);
    this.node.plugins.notify('disconnect', { id: peer.id });
    if (this.node.channels.peersWanted().includes(peer.id)) this.scheduleReconnect(peer.id, RECONNECT_FIRST);
  }

  private scheduleReconnect(id: string, delay: number): void {
    if (this.node.stopped || this.retries.has(id) || !this.addresses.has(id)) return;
    const attempt = (): void => {
      this.retries.delete(id);
      if (this.isConnected(id) || !this.node.channels.peersWanted().includes(id)) return;
      this.reach(id, undefined).catch((error: unknown) => {
        if (error instanceof FatalError) this.node.fatal(error);
        this.scheduleReconnect(id, Math.min(Math.max(delay * 2, RECONNECT_FIRST), RECONNECT_MOST));
      });
    };
    this.retries.set(id, setTimeout(attempt, delay));
  }
}

const addressJson = ({ host, port }: Address): JsonObject => ({ type: host.includes(':') ? 'ipv6' : 'ipv4', address: host, port });

export const parseAddress = (text: string, defaultPort: number): Address => {
  const match = /^(.*?)(?::(\d+))?$/.exec(text);
  return { host: match?.[1] === undefined || match[1] === '' ? '127.0.0.1' : match[1], port: Number(match?.[2] ?? defaultPort) };
};

const openSocket = ({ host, port }: Address): Promise<Socket> =>
  new Promise((resolve, reject) => {
    const socket = dial({ host, port });
    socket.once('connect', () => {
      socket.removeListener('error', reject);
      resolve(socket);
    });
    socket.once('error', reject);
  });
