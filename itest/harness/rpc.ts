import { connect } from 'node:net';

/** An error answered by lightningd or bitcoind. `code` is theirs. */
export class RpcError extends Error {
  constructor(
    readonly method: string,
    readonly code: number,
    reason: string,
    readonly data?: unknown,
  ) {
    super(`${method}: ${reason} (${code})`);
    this.name = 'RpcError';
  }
}

export type Params = Readonly<Record<string, unknown>> | readonly unknown[];

interface Reply {
  readonly result?: unknown;
  readonly error?: { readonly code: number; readonly message: string; readonly data?: unknown } | null;
}

const resultOf = (method: string, reply: Reply): unknown => {
  if (reply.error) throw new RpcError(method, reply.error.code, reply.error.message, reply.error.data);
  return reply.result;
};

/** The reply, once all of it is there. */
const whole = (text: string): Reply | undefined => {
  if (!text.trimEnd().endsWith('}')) return undefined;
  try {
    return JSON.parse(text) as Reply;
  } catch {
    return undefined; // cut off after some inner brace
  }
};

/** One JSON-RPC call over lightningd's Unix socket, on a connection of its own: no framing to get wrong. */
export const unixCall = (socketPath: string, method: string, params: Params = {}): Promise<unknown> =>
  new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    const socket = connect(socketPath, () => socket.write(JSON.stringify({ jsonrpc: '2.0', id: 'itest', method, params })));
    socket.once('error', reject);
    socket.once('close', () => reject(new Error(`${method}: connection closed before the answer`)));
    socket.on('data', (chunk) => {
      chunks.push(chunk);
      const reply = whole(Buffer.concat(chunks).toString());
      if (reply === undefined) return;
      socket.destroy();
      try {
        resolve(resultOf(method, reply));
      } catch (error) {
        reject(error instanceof Error ? error : new Error(String(error)));
      }
    });
  });

/** One JSON-RPC call over HTTP, as bitcoind takes it. */
export const httpCall = async (url: string, auth: string, method: string, params: Params = []): Promise<unknown> => {
  const response = await fetch(url, {
    method: 'POST',
    headers: { authorization: `Basic ${Buffer.from(auth).toString('base64')}`, 'content-type': 'application/json' },
    body: JSON.stringify({ jsonrpc: '1.0', id: 'itest', method, params }),
  });
  const text = await response.text();
  if (!text.startsWith('{')) throw new Error(`${method}: HTTP ${response.status} ${text}`);
  return resultOf(method, JSON.parse(text) as Reply);
};
