import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { parseJson, stringifyJson, type JsonObject } from '../runtime/json.js';
import { UnexpectedReply } from '../runtime/json-read.js';
import { JsonScanner } from '../runtime/json-scanner.js';
import { RpcClient, RpcError, RpcUnavailable, type RpcClientOptions } from '../runtime/rpc-client.js';
import { pause } from './runtime-harness.js';

/** lightningd's end of the socket: `answer` decides what each request gets. */
class FakeRpcServer {
  readonly requests: JsonObject[] = [];
  readonly sockets = new Set<Socket>();
  connections = 0;
  answer: (request: JsonObject, socket: Socket) => void = (request, socket) => this.reply(socket, { id: request['id'], result: { echo: request['params'] } });
  private server: Server | undefined;

  constructor(readonly path: string) {}

  listen(): Promise<void> {
    this.server = createServer((socket) => {
      this.connections++;
      this.sockets.add(socket);
      const scanner = new JsonScanner();
      socket.on('error', () => undefined);
      socket.on('close', () => this.sockets.delete(socket));
      socket.on('data', (chunk: Buffer) => {
        for (const item of scanner.push(chunk)) {
          const request = parseJson(item as string) as JsonObject;
          this.requests.push(request);
          this.answer(request, socket);
        }
      });
    });
    return new Promise((resolve) => this.server?.listen(this.path, resolve));
  }

  reply(socket: Socket, message: object): void {
    socket.write(`${stringifyJson({ jsonrpc: '2.0', ...message })}\n\n`);
  }

  close(): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    return new Promise((resolve) => (this.server === undefined ? resolve() : this.server.close(() => resolve())));
  }
}

let directory: string;
let server: FakeRpcServer;
let clients: RpcClient[];
const connect = (options: Partial<RpcClientOptions> = {}): RpcClient => {
  const client = new RpcClient({ path: server.path, name: 'toy', timeoutMs: 2_000, ...options });
  clients.push(client);
  return client;
};
const outcome = async (call: Promise<JsonObject>): Promise<unknown> => {
  try {
    return await call;
  } catch (error) {
    return error instanceof RpcUnavailable ? `${error.reason} ${error.sent ? 'sent' : 'unsent'}` : error;
  }
};

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'runtime-rpc-'));
  server = new FakeRpcServer(join(directory, 'lightning-rpc'));
  clients = [];
  await server.listen();
});
afterEach(async () => {
  for (const client of clients) client.close();
  await server.close();
  rmSync(directory, { recursive: true });
});

describe('RpcClient', () => {
  test('calls, with ids that tell where they come from, filters and large integers', async () => {
    const rpc = connect();
    expect(await rpc.call('sendpay', { amount_msat: 2n ** 60n, label: undefined }, { parentId: 'cln:x#1', filter: { echo: true } })).toEqual({ echo: { amount_msat: 2n ** 60n } });
    expect(await rpc.call('getinfo')).toEqual({ echo: {} });
    expect(server.requests).toEqual([
      { jsonrpc: '2.0', id: 'cln:x#1/toy:sendpay#0', method: 'sendpay', params: { amount_msat: 2n ** 60n }, filter: { echo: true } },
      { jsonrpc: '2.0', id: 'toy:getinfo#1', method: 'getinfo', params: {} },
    ]);
    expect(server.connections).toBe(1);
  });

  test('an error answer is an RpcError with code, message, data and method', async () => {
    server.answer = (request, socket) => server.reply(socket, { id: request['id'], error: { code: 301, message: 'cannot afford', data: { missing_msat: 2n ** 60n } } });
    const error = await outcome(connect().call('fundpsbt'));
    expect(error).toBeInstanceOf(RpcError);
    expect(error).toMatchObject({ method: 'fundpsbt', code: 301, message: 'cannot afford', data: { missing_msat: 2n ** 60n } });
  });

  test('a call that waits blocks no other, and idle connections are used again', async () => {
    const rpc = connect();
    server.answer = (request, socket) => {
      if (request['method'] === 'wait') setTimeout(() => server.reply(socket, { id: request['id'], result: { waited: true } }), 100);
      else server.reply(socket, { id: request['id'], result: {} });
    };
    const order: string[] = [];
    const call = async (method: string): Promise<void> => {
      await rpc.call(method);
      order.push(method);
    };
    const waiting = call('wait');
    for (let i = 0; i < 20; i++) await call('quick');
    await waiting;
    expect(order.slice(-1)).toEqual(['wait']);
    expect(server.connections).toBe(2);
    await Promise.all(Array.from({ length: 50 }, () => call('quick')));
    await pause(20);
    expect(server.sockets.size).toBeLessThanOrEqual(4);
  });

  test('beyond the limit calls wait their turn, first come, first served', async () => {
    const rpc = connect({ maxConnections: 2 });
    const held: (() => void)[] = [];
    server.answer = (request, socket) => held.push(() => server.reply(socket, { id: request['id'], result: { n: request['params'] } }));
    const calls = [0, 1, 2, 3].map((n) => rpc.call('m', { n }));
    while (server.requests.length < 2) await pause(5);
    await pause(20);
    expect(server.requests).toHaveLength(2);
    while (server.requests.length < 4 || held.length > 0) {
      held.shift()?.();
      await pause(5);
    }
    expect(server.requests.map((r) => r['params'])).toEqual([0, 1, 2, 3].map((n) => ({ n })));
    expect(await Promise.all(calls)).toHaveLength(4);
    expect(server.connections).toBe(2);
  });

  test('timeout and abort end one call; its late answer reaches nobody', async () => {
    const rpc = connect();
    server.answer = (request, socket) => {
      const late = stringifyJson(request['params']) !== '{}';
      setTimeout(() => server.reply(socket, { id: request['id'], result: { method: request['method'] } }), late ? 60 : 0);
    };
    const aborter = new AbortController();
    const slow = outcome(rpc.call('slow', { n: 1 }, { timeoutMs: 20 }));
    const aborted = outcome(rpc.call('aborted', { n: 1 }, { signal: aborter.signal }));
    setTimeout(() => aborter.abort(), 20);
    expect(await Promise.all([slow, aborted])).toEqual(['timeout sent', 'aborted sent']);
    expect(await outcome(rpc.call('x', {}, { signal: aborter.signal }))).toBe('aborted unsent');
    expect(await rpc.call('next')).toEqual({ method: 'next' });
    await pause(60);
    expect(await rpc.call('patient', { n: 1 }, { timeoutMs: 0 })).toEqual({ method: 'patient' });
  });

  test('a call that is given up while it waits its turn was not sent', async () => {
    const rpc = connect({ maxConnections: 1 });
    server.answer = () => undefined;
    const first = outcome(rpc.call('first', {}, { timeoutMs: 50 }));
    const aborter = new AbortController();
    const second = outcome(rpc.call('second', {}, { timeoutMs: 10 }));
    const third = outcome(rpc.call('third', {}, { signal: aborter.signal }));
    setTimeout(() => aborter.abort(), 10);
    const fourth = outcome(rpc.call('fourth', {}, { timeoutMs: 80 }));
    expect(await Promise.all([first, second, third, fourth])).toEqual(['timeout sent', 'timeout unsent', 'aborted unsent', 'timeout sent']);
    expect(server.requests.map((r) => r['method'])).toEqual(['first', 'fourth']);
  });

  test('a socket that is gone is RpcUnavailable; the next call connects anew', async () => {
    const rpc = connect();
    server.answer = (_request, socket) => socket.destroy();
    expect(await outcome(rpc.call('getinfo'))).toBe('lost sent');
    await server.close();
    expect(await outcome(rpc.call('getinfo'))).toBe('connect unsent');
    const again = new FakeRpcServer(server.path);
    await again.listen();
    server = again;
    expect(await rpc.call('getinfo')).toEqual({ echo: {} });
    for (const socket of again.sockets) socket.destroy();
    await pause(10);
    expect(await rpc.call('getinfo')).toEqual({ echo: {} });
    expect(await outcome(new RpcClient({ path: join(directory, 'none'), name: 'toy' }).call('x'))).toBe('connect unsent');
  });

  test('notifications are passed over; what is no answer to this call ends it', async () => {
    const rpc = connect({ maxReplyBytes: 1_000 });
    const answers: readonly ((id: unknown) => string)[] = [
      (id) => `${stringifyJson({ jsonrpc: '2.0', method: 'message', params: { id } })}\n\n${stringifyJson({ id, result: { ok: true } })}`,
      () => stringifyJson({ id: 'somebody else', result: {} }),
      () => '{"id":}',
      () => 'no JSON\n',
      () => '[]',
      (id) => stringifyJson({ id, result: { x: 'y'.repeat(2_000) } }),
    ];
    const found: unknown[] = [];
    for (const answer of answers) {
      server.answer = (request, socket) => void socket.write(answer(request['id']));
      found.push(await outcome(rpc.call('m')));
    }
    expect(found).toEqual([{ ok: true }, ...Array.from({ length: 5 }, () => 'garbled sent')]);
    server.answer = (request, socket) => server.reply(socket, { id: request['id'], result: 'text' });
    expect(await outcome(rpc.call('m'))).toBeInstanceOf(UnexpectedReply);
    server.answer = (request, socket) => server.reply(socket, { id: request['id'], error: 'odd' });
    expect(await outcome(rpc.call('m'))).toBeInstanceOf(UnexpectedReply);
    server.answer = (request, socket) => server.reply(socket, { id: request['id'], error: { odd: 1 } });
    expect(await outcome(rpc.call('m'))).toMatchObject({ code: 0, message: '{"odd":1}' });
  });

  test('close ends every call, now and later', async () => {
    const rpc = connect({ maxConnections: 1 });
    server.answer = () => undefined;
    const calls = [rpc.call('a'), rpc.call('b')].map(outcome);
    await pause(20);
    rpc.close();
    expect(await Promise.all([...calls, outcome(rpc.call('c'))])).toEqual(['closed sent', 'closed unsent', 'closed unsent']);
  });

  test('parameters without a JSON form reject the call and cost no connection', async () => {
    const rpc = connect();
    await expect(rpc.call('m', { f: () => 1 })).rejects.toThrow(/no JSON form/);
    expect(server.connections).toBe(0);
  });

  test('answers in any chunking, of any calls at once, reach their callers', async () => {
    const rpc = connect();
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(fc.string({ unit: 'grapheme' }), fc.bigInt({ min: 2n ** 53n, max: 2n ** 63n }), fc.integer({ min: 1, max: 30 })), { minLength: 1, maxLength: 12 }), async (calls) => {
        server.answer = (request, socket) => {
          const size = (request['params'] as { size: number }).size;
          const data = Buffer.from(`\n${stringifyJson({ jsonrpc: '2.0', id: request['id'], result: request['params'] })}\n\n`);
          for (let at = 0; at < data.length; at += size) socket.write(data.subarray(at, at + size));
        };
        const sent = calls.map(([text, amount, size]) => ({ text, amount, size }));
        expect(await Promise.all(sent.map((params) => rpc.call('m', params)))).toEqual(sent);
      }),
      { numRuns: 100 },
    );
  });
});
