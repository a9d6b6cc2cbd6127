/**
 * lightningd's JSON-RPC over its unix socket.
 *
 * One call, one connection at a time; connections that became idle are used again. lightningd does answer pipelined
 * requests out of order, but it stops reading a connection while an answer is unread or has only begun (a command that
 * notifies), so one call would hold up its neighbours. This way a call that waits (`waitanyinvoice`,
 * `fundchannel_complete`) blocks nobody, a timeout or abort is the end of its connection and of nothing else, and an answer
 * cannot reach the wrong caller.
 */
import { createConnection, type Socket } from 'node:net';
import { isObject, parseJson, stringifyJson, type JsonObject, type JsonValue } from './json.js';
import { DEFAULT_MAX_BYTES, JsonScanner } from './json-scanner.js';
import { UnexpectedReply } from './json-read.js';

/** lightningd, or the plugin behind the command, answered with an error. `code` is theirs (`common/jsonrpc_errors.h`). */
export class RpcError extends Error {
  constructor(
    readonly method: string,
    readonly code: number,
    message: string,
    readonly data?: JsonValue,
  ) {
    super(message);
    this.name = 'RpcError';
  }
}

export type UnavailableReason =
  /** Nobody listens at the socket. */
  | 'connect'
  /** The connection ended before the answer. */
  | 'lost'
  | 'timeout'
  /** The caller's signal. */
  | 'aborted'
  /** `close` was called. */
  | 'closed'
  /** What came back is no JSON-RPC answer to this request. */
  | 'garbled';

/** No answer. When `sent`, lightningd may have executed the command all the same: ask before doing it again. */
export class RpcUnavailable extends Error {
  readonly code = 'unavailable';
  constructor(
    readonly method: string,
    readonly reason: UnavailableReason,
    readonly sent: boolean,
    detail: string,
  ) {
    super(`${method}: no answer from lightningd (${reason}): ${detail}`);
    this.name = 'RpcUnavailable';
  }
}

export interface CallOptions {
  /** Milliseconds; 0 waits for ever. Default: the client's. */
  readonly timeoutMs?: number;
  /** Ends the waiting, not the command. */
  readonly signal?: AbortSignal;
  /** The id of the request on whose behalf this is, so that lightningd's log shows the chain (lightningd-rpc(7)). */
  readonly parentId?: string;
  /** lightningd's field filter: a template of the result with `true` where a field is wanted. */
  readonly filter?: JsonObject;
}

export interface Rpc {
  /** Throws `RpcError`, `RpcUnavailable` or (a result that is no object) `UnexpectedReply`. */
  call(method: string, params?: Readonly<Record<string, unknown>>, options?: CallOptions): Promise<JsonObject>;
  /** Ends every call with `RpcUnavailable`, now and later. */
  close(): void;
}

export interface RpcClientOptions {
  readonly path: string;
  /** The prefix of our ids: the plugin's name. */
  readonly name: string;
  /** Default 60,000. */
  readonly timeoutMs?: number;
  /** Calls at a time; more wait their turn. Default 256. */
  readonly maxConnections?: number;
  readonly maxReplyBytes?: number;
}

const MAX_IDLE = 4;

/** One call, from the caller's request to its end. Ends once, however many reasons there are. */
class Call {
  connection: Connection | undefined;
  private readonly cleanups: (() => void)[] = [];

  constructor(
    readonly method: string,
    readonly id: string,
    readonly text: string,
    private readonly resolve: (result: JsonObject) => void,
    private readonly reject: (error: Error) => void,
  ) {}

  onEnd(cleanup: () => void): void {
    this.cleanups.push(cleanup);
  }

  fail(error: Error): void {
    for (const cleanup of this.cleanups) cleanup();
    this.reject(error);
  }

  settle(message: JsonObject): void {
    const { error, result } = message;
    if (isObject(error)) {
      const { code, message: text, data } = error;
      this.fail(new RpcError(this.method, typeof code === 'number' ? code : 0, typeof text === 'string' ? text : stringifyJson(error), data));
    } else if (isObject(result)) {
      for (const cleanup of this.cleanups) cleanup();
      this.resolve(result);
    } else this.fail(new UnexpectedReply(this.method, 'result', 'an object', result));
  }
}

/** A connection and the one call it carries, if any. */
class Connection {
  private readonly socket: Socket;
  private readonly scanner: JsonScanner;
  private connected = false;
  private call: Call | undefined;
  private cause = 'connection closed';

  constructor(
    options: RpcClientOptions,
    private readonly onIdle: (connection: Connection) => void,
    private readonly onEnd: (connection: Connection) => void,
  ) {
    this.scanner = new JsonScanner({ maxBytes: options.maxReplyBytes ?? DEFAULT_MAX_BYTES });
    this.socket = createConnection({ path: options.path });
    this.socket.on('connect', () => (this.connected = true));
    this.socket.on('data', (chunk: Buffer) => this.received(chunk));
    this.socket.on('error', (error) => (this.cause = error.message));
    this.socket.on('close', () => this.end(this.connected ? 'lost' : 'connect', this.cause));
  }

  carry(call: Call): void {
    this.call = call;
    call.connection = this;
    this.socket.ref();
    this.socket.write(`${call.text}\n\n`);
  }

  /** Ends the connection, and its call for this reason. */
  end(reason: UnavailableReason, detail: string): void {
    const call = this.call;
    this.call = undefined;
    this.socket.destroy();
    this.onEnd(this);
    call?.fail(new RpcUnavailable(call.method, reason, this.connected, detail));
  }

  private received(chunk: Buffer): void {
    for (const item of this.scanner.push(chunk)) {
      if (typeof item === 'string') this.answered(item);
      else this.end('garbled', item.message);
      if (this.socket.destroyed) return;
    }
  }

  private answered(text: string): void {
    const call = this.call;
    let message: JsonValue;
    try {
      message = parseJson(text);
    } catch (error) {
      this.end('garbled', String(error));
      return;
    }
    // A notification (`message`, `progress`): nobody asked for it here.
    if (isObject(message) && message['id'] === undefined && message['method'] !== undefined) return;
    if (call === undefined || !isObject(message) || message['id'] !== call.id) {
      this.end('garbled', `not the answer to ${call?.id ?? 'any call'}`);
      return;
    }
    this.call = undefined;
    // An idle connection must not keep the process alive.
    this.socket.unref();
    call.settle(message);
    this.onIdle(this);
  }
}

export class RpcClient implements Rpc {
  private readonly open = new Set<Connection>();
  private readonly queue: Call[] = [];
  private idle: Connection[] = [];
  private nextId = 0;
  private closed = false;

  constructor(private readonly options: RpcClientOptions) {}

  call(method: string, params: Readonly<Record<string, unknown>> = {}, options: CallOptions = {}): Promise<JsonObject> {
    return new Promise((resolve, reject) => {
      const ownId = `${this.options.name}:${method}#${this.nextId++}`;
      const id = options.parentId === undefined ? ownId : `${options.parentId}/${ownId}`;
      const text = stringifyJson({ jsonrpc: '2.0', id, method, params, filter: options.filter });
      const call = new Call(method, id, text, resolve, reject);
      if (this.closed) this.giveUp(call, 'closed', 'the client is closed');
      else if (options.signal?.aborted === true) this.giveUp(call, 'aborted', 'before it was sent');
      else {
        this.watch(call, options);
        this.queue.push(call);
        this.pump();
      }
    });
  }

  close(): void {
    this.closed = true;
    for (const call of this.queue.splice(0)) this.giveUp(call, 'closed', 'the client was closed');
    for (const connection of [...this.open]) connection.end('closed', 'the client was closed');
  }

  private watch(call: Call, options: CallOptions): void {
    const { signal } = options;
    const timeoutMs = options.timeoutMs ?? this.options.timeoutMs ?? 60_000;
    if (timeoutMs > 0) {
      const timer = setTimeout(() => this.giveUp(call, 'timeout', `${timeoutMs} ms have passed`), timeoutMs);
      call.onEnd(() => clearTimeout(timer));
    }
    if (signal !== undefined) {
      const aborted = (): void => this.giveUp(call, 'aborted', 'by the caller');
      signal.addEventListener('abort', aborted);
      call.onEnd(() => signal.removeEventListener('abort', aborted));
    }
  }

  private giveUp(call: Call, reason: UnavailableReason, detail: string): void {
    const place = this.queue.indexOf(call);
    if (place >= 0) this.queue.splice(place, 1);
    if (call.connection !== undefined) call.connection.end(reason, detail);
    else call.fail(new RpcUnavailable(call.method, reason, false, detail));
  }

  private pump(): void {
    while (this.queue.length > 0) {
      const connection = this.idle.pop() ?? this.connect();
      if (connection === undefined) return;
      const call = this.queue.shift();
      if (call !== undefined) connection.carry(call);
    }
  }

  private connect(): Connection | undefined {
    if (this.open.size >= (this.options.maxConnections ?? 256)) return undefined;
    const connection = new Connection(
      this.options,
      (free) => {
        if (this.queue.length === 0 && this.idle.length >= MAX_IDLE) free.end('closed', 'not needed');
        else this.idle.push(free);
        this.pump();
      },
      (gone) => {
        this.open.delete(gone);
        this.idle = this.idle.filter((c) => c !== gone);
        this.pump();
      },
    );
    this.open.add(connection);
    return connection;
  }
}
