import { chmodSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { parseJson, stringifyJson } from '../../plugin/runtime/json.js';
import { JsonScanner, ScanError } from '../../plugin/runtime/json-scanner.js';
import { type Call, command, type Command, type Commands } from './commands.js';
import type { Log } from './log.js';
import { bool, req } from './params.js';
import { CODE, FatalError, isObject, type Json, type JsonObject, messageOf, RpcError } from './types.js';

/** The JSON-RPC socket: any number of requests at once per connection, answers end with an empty line. */
export class RpcServer {
  private readonly server: Server;
  private readonly connections = new Set<Socket>();
  /** The request whose answer is sent when everything else has ended (`stop`). */
  private farewell: (() => void) | undefined;

  constructor(
    private readonly commands: Commands,
    private readonly log: Log,
    private readonly onFatal: (error: FatalError) => void,
  ) {
    this.server = createServer((socket) => {
      this.serve(socket);
    });
  }

  async listen(path: string): Promise<void> {
    rmSync(path, { force: true });
    await new Promise<void>((resolve, reject) => {
      this.server.once('error', reject).listen(path, resolve);
    });
    chmodSync(path, 0o600);
  }

  /** No new connections; those there are are served until `close`. */
  stopListening(): void {
    this.server.close();
  }

  /** Sends the answer to `stop`, if that is how it came to an end, and hangs up. */
  close(): void {
    this.farewell?.();
    for (const socket of this.connections) socket.end();
  }

  private serve(socket: Socket): void {
    this.connections.add(socket);
    const scanner = new JsonScanner();
    const session = { notifications: false };
    socket.on('data', (chunk) => {
      for (const found of scanner.push(chunk)) {
        if (found instanceof ScanError) {
          send(socket, { jsonrpc: '2.0', id: null, error: { code: CODE.invalidRequest, message: `Invalid token in json input: '${found.head}'` } });
          socket.end();
        } else void this.answer(socket, session, found);
      }
    });
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.connections.delete(socket));
  }

  private async answer(socket: Socket, session: { notifications: boolean }, text: string): Promise<void> {
    let id: Json = null;
    try {
      const request = parseJson(text) as Json;
      if (!isObject(request)) throw new RpcError(CODE.invalidRequest, 'Expected {} for json command');
      if (request['id'] === undefined) throw new RpcError(CODE.invalidRequest, 'No id');
      id = request['id'];
      if (request['jsonrpc'] !== '2.0') throw new RpcError(CODE.invalidRequest, 'jsonrpc: "2.0" must be specified in the request');
      const { method, params = {} } = request;
      if (typeof method !== 'string') throw new RpcError(CODE.invalidRequest, 'Expected string for method');
      if (method === 'notifications') {
        session.notifications = (params as JsonObject)['enable'] === true || (Array.isArray(params) && params[0] === true);
        send(socket, { jsonrpc: '2.0', id, result: {} });
        return;
      }
      const call: Call = {
        id,
        checkOnly: false,
        notify: (kind, body) => {
          if (session.notifications) send(socket, { jsonrpc: '2.0', method: kind, params: { ...body, id } });
        },
      };
      const answer = await this.commands.run({ id, method, params }, call);
      const result = request['filter'] === undefined ? answer : filtered(answer, request['filter']);
      if (method === 'stop') this.farewell = () => send(socket, { jsonrpc: '2.0', id, result });
      else send(socket, { jsonrpc: '2.0', id, result });
    } catch (error) {
      if (error instanceof FatalError) this.onFatal(error);
      else if (error instanceof RpcError) send(socket, { jsonrpc: '2.0', id, error: error.toJson() });
      else {
        this.log.unusual(`a command failed: ${error instanceof Error ? (error.stack ?? error.message) : messageOf(error)}`);
        send(socket, { jsonrpc: '2.0', id, error: { code: CODE.lightningd, message: messageOf(error) } });
      }
    }
  }
}

const send = (socket: Socket, message: JsonObject): void => {
  if (socket.writable) socket.write(`${stringifyJson(message)}\n\n`);
};

/** `filter` of a request: the same shape as the result, with `true` at what is wanted. */
const filtered = (value: Json, filter: Json): Json => {
  if (filter === true) return value;
  if (Array.isArray(value)) return (value as readonly Json[]).map((item) => filtered(item, Array.isArray(filter) ? ((filter[0] as Json | undefined) ?? true) : filter));
  if (!isObject(value) || !isObject(filter)) return value;
  return Object.fromEntries(Object.entries(filter).flatMap(([name, wanted]) => (value[name] === undefined || wanted === undefined ? [] : [[name, filtered(value[name], wanted)]])));
};

/** Handled by the server itself; listed so that `check` and the plugins find them. */
export const sessionCommands: readonly Command[] = [command('notifications', { enable: req(bool) }, () => ({}))];
