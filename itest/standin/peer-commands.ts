import { command, type Command } from './commands.js';
import type { Node } from './node.js';
import { bool, def, hex, int, nodeId, opt, req, str } from './params.js';
import { parseAddress } from './peers.js';
import { CODE, FatalError, messageOf, RpcError } from './types.js';

/** Message types lightningd handles itself (BOLT 1, 2, 4, 7); it refuses to send them for somebody else. */
const INTERNAL: Readonly<Record<number, string>> = {
  1: 'WIRE_WARNING', 2: 'WIRE_STFU', 16: 'WIRE_INIT', 17: 'WIRE_ERROR', 18: 'WIRE_PING', 19: 'WIRE_PONG', 32: 'WIRE_OPEN_CHANNEL', 33: 'WIRE_ACCEPT_CHANNEL',
  34: 'WIRE_FUNDING_CREATED', 35: 'WIRE_FUNDING_SIGNED', 36: 'WIRE_CHANNEL_READY', 38: 'WIRE_SHUTDOWN', 39: 'WIRE_CLOSING_SIGNED', 128: 'WIRE_UPDATE_ADD_HTLC',
  130: 'WIRE_UPDATE_FULFILL_HTLC', 131: 'WIRE_UPDATE_FAIL_HTLC', 132: 'WIRE_COMMITMENT_SIGNED', 133: 'WIRE_REVOKE_AND_ACK', 134: 'WIRE_UPDATE_FEE',
  135: 'WIRE_UPDATE_FAIL_MALFORMED_HTLC', 136: 'WIRE_CHANNEL_REESTABLISH', 256: 'WIRE_CHANNEL_ANNOUNCEMENT', 257: 'WIRE_NODE_ANNOUNCEMENT', 258: 'WIRE_CHANNEL_UPDATE',
};

/** Custom messages in and out (lightningd's custommsg hook and notification). */
export class CustomMessages {
  constructor(private readonly node: Node) {}

  received(peerId: string, payload: string): void {
    const type = Number.parseInt(payload.slice(0, 4), 16);
    if (type % 2 === 0 && !this.node.plugins.customMessages().includes(type)) {
      const warning = `Invalid unknown even msg ${payload}`;
      this.node.log.of('connectd').unusual(warning);
      this.node.peers.send(peerId, { t: 'warning', text: warning });
      this.node.peers.hangUp(peerId);
      return;
    }
    this.node.plugins.notify('custommsg', { peer_id: peerId, payload });
    this.node.plugins
      .hook('custommsg', { payload, peer_id: peerId }, type)
      .then((answer) => {
        if (answer['result'] !== 'continue') throw new FatalError('Plugin returned an invalid response to the custommsg hook: it must be continue');
      })
      .catch((error: unknown) => {
        this.node.fatal(error instanceof FatalError ? error : new FatalError(messageOf(error)));
      });
  }

  send(peerId: string, payload: string): void {
    const type = Number.parseInt(payload.slice(0, 4), 16);
    if (payload.length < 4) throw new RpcError(CODE.invalidParams, 'Message type is missing');
    const internal = INTERNAL[type];
    if (internal !== undefined)
      throw new RpcError(
        CODE.invalidRequest,
        `Cannot send messages of type ${type} (${internal}). It is not possible to send messages that have a type managed internally since that might cause issues with the internal state tracking.`,
      );
    if (this.node.peers.send(peerId, { t: 'custom', hex: payload })) return;
    if (this.node.channels.withPeer(peerId).length > 0) throw new RpcError(CODE.invalidRequest, 'Peer is not connected');
    throw new RpcError(CODE.invalidRequest, `No such peer: ${peerId}`);
  }
}

export const peerCommands = (node: Node): readonly Command[] => [
  command('connect', { id: req(str), host: opt(str), port: opt(int) }, ({ id: given, host, port }) => {
    const at = given.indexOf('@');
    const id = nodeId(at < 0 ? given : given.slice(0, at), 'id');
    const where = at < 0 ? host : given.slice(at + 1);
    return node.peers.connect(id, where === undefined ? undefined : parseAddress(port === undefined ? where : `${where}:${port}`, 9735));
  }),
  command('disconnect', { id: req(nodeId), force: def(bool, false) }, ({ id, force }) => {
    node.peers.disconnect(id, force);
    return {};
  }),
  command('listpeers', { id: opt(nodeId), level: opt(str) }, ({ id }) => ({ peers: node.peers.listPeers().filter((peer) => id === undefined || peer['id'] === id) })),
  command('sendcustommsg', { node_id: req(nodeId), msg: req(hex) }, ({ node_id, msg }) => {
    node.customMessages.send(node_id, msg);
    return { status: 'Message sent to connectd for delivery' };
  }),
];
