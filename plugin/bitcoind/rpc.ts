/**
 * JSON-RPC to bitcoind itself, over HTTP, with the address and credentials that lightningd's own configuration has. Only for
 * what lightningd does not pass on (`submitpackage`, the mempool); whoever calls must get on without it.
 */
import { readFile } from 'node:fs/promises';
import { request } from 'node:http';
import { homedir } from 'node:os';
import { join } from 'node:path';
import type { ChainBackendConfig } from '../lightning/lightning.js';

export type BitcoindErrorCode =
  /** Nobody answers there, or not in time. */
  | 'unreachable'
  /** Wrong password or cookie, or a method that this user may not call. */
  | 'unauthorised'
  /** bitcoind's own error; `rpcCode` is its code. */
  | 'refused'
  /** Not the answer of a bitcoind, or more of it than there can be. */
  | 'protocol';

/** Why bitcoind did not do it. `culprit` is the method, or the cookie file. */
export class BitcoindError extends Error {
  constructor(
    readonly code: BitcoindErrorCode,
    readonly culprit: string,
    detail: string,
    readonly rpcCode?: number,
  ) {
    super(`${culprit}: ${detail}`);
    this.name = 'BitcoindError';
  }
}

/** bitcoind, as far as we ask it. @throws BitcoindError */
export interface BitcoindRpc {
  call(method: string, params?: readonly unknown[]): Promise<unknown>;
}

/** What is asked for here is small; more than this is nothing we want to read. */
const MAX_ANSWER_BYTES = 1_000_000;
const TIMEOUT_MS = 15_000;

/** Where bitcoind keeps a network's files, below its data directory. */
const NETWORK_DIRS: Readonly<Record<string, string>> = { bitcoin: '', testnet: 'testnet3', testnet4: 'testnet4', signet: 'signet', regtest: 'regtest' };

const cookieFile = (config: ChainBackendConfig, network: string): string =>
  join(config.dataDir ?? join(homedir(), '.bitcoin'), NETWORK_DIRS[network] ?? network, '.cookie');

/** `user:password`. The cookie is read at every call: bitcoind writes a new one at every start. */
const credentials = async (config: ChainBackendConfig, network: string): Promise<string> => {
  if (config.user !== undefined) return `${config.user}:${config.password ?? ''}`;
  const file = cookieFile(config, network);
  try {
    return (await readFile(file, 'utf8')).trim();
  } catch {
    throw new BitcoindError('unauthorised', file, 'no bitcoin-rpcuser is configured in lightningd, and this cookie cannot be read');
  }
};

interface Answer {
  readonly status: number;
  readonly body: string;
}

const post = (config: ChainBackendConfig, auth: string, method: string, body: string, timeoutMs: number): Promise<Answer> =>
  new Promise((resolve, reject) => {
    const fail = (code: BitcoindErrorCode, detail: string): void => reject(new BitcoindError(code, method, detail));
    const { host, port } = config;
    const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
    const outgoing = request({ host, port, method: 'POST', path: '/', auth, headers, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      let size = 0;
      response.on('data', (chunk: Buffer) => {
        size += chunk.length;
        if (size > MAX_ANSWER_BYTES) {
          fail('protocol', `an answer of more than ${MAX_ANSWER_BYTES} bytes`);
          outgoing.destroy();
        } else chunks.push(chunk);
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() }));
      response.on('error', (error) => fail('unreachable', error.message));
    });
    // A limit for the whole call, not for each silence in it.
    const timer = setTimeout(() => {
      fail('unreachable', `no answer from ${host}:${port} within ${timeoutMs} ms`);
      outgoing.destroy();
    }, timeoutMs);
    outgoing.on('error', (error) => fail('unreachable', error.message));
    outgoing.on('close', () => clearTimeout(timer));
    outgoing.end(body);
  });

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> => typeof value === 'object' && value !== null && !Array.isArray(value);

const resultOf = (method: string, { status, body }: Answer): unknown => {
  if (status === 401 || status === 403) throw new BitcoindError('unauthorised', method, `bitcoind answered ${status}`);
  let answer: unknown;
  try {
    answer = JSON.parse(body);
  } catch {
    throw new BitcoindError(status === 503 ? 'unreachable' : 'protocol', method, `no JSON (status ${status})`);
  }
  if (!isObject(answer)) throw new BitcoindError('protocol', method, 'not a JSON-RPC answer');
  const { error, result } = answer;
  if (error === null || error === undefined) return result;
  const { code, message } = isObject(error) ? error : {};
  if (typeof code !== 'number' || typeof message !== 'string') throw new BitcoindError('protocol', method, 'an error without code and message');
  // It is starting up (RPC_IN_WARMUP).
  throw new BitcoindError(code === -28 ? 'unreachable' : 'refused', method, message, code);
};

/** @param network lightningd's name for it */
export const connectBitcoind = (config: ChainBackendConfig, network: string, timeoutMs = TIMEOUT_MS): BitcoindRpc => ({
  call: async (method, params = []) => {
    const body = JSON.stringify({ jsonrpc: '1.0', id: 'cln-factory', method, params });
    const auth = await credentials(config, network);
    try {
      return resultOf(method, await post(config, auth, method, body, timeoutMs));
    } catch (error) {
      if (error instanceof BitcoindError) throw error;
      // Node does not even try such a host or port. What it says names them, and no credentials.
      throw new BitcoindError('unreachable', method, error instanceof Error ? error.message : String(error));
    }
  },
});
