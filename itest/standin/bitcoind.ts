import { Agent, request } from 'node:http';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import type { Options } from './options.js';
import { field, type Json, messageOf, text } from './types.js';

export class BitcoindError extends Error {
  constructor(
    readonly code: number,
    message: string,
  ) {
    super(message);
    this.name = 'BitcoindError';
  }

  get isUnreachable(): boolean {
    return this.code === 0;
  }
}

const ALREADY_IN_CHAIN = -27;

export interface BlockTx {
  readonly txid: string;
  readonly hex: string;
  readonly vin: readonly { readonly txid?: string; readonly vout?: number }[];
  readonly vout: readonly { readonly n: number; readonly value: number; readonly scriptPubKey: { readonly hex: string } }[];
}

export interface Block {
  readonly hash: string;
  readonly height: number;
  readonly previousblockhash?: string;
  readonly tx: readonly BlockTx[];
}

/** Bitcoin, as bitcoind writes amounts, in satoshis. */
export const toSat = (bitcoin: number): number => Math.round(bitcoin * 1e8);

/** The real bitcoind, over its JSON-RPC. */
export class Bitcoind {
  private readonly agent = new Agent({ keepAlive: true, maxSockets: 4 });
  private readonly host: string;
  private readonly port: number;

  constructor(private readonly options: Options) {
    this.host = options.string('bitcoin-rpcconnect') ?? '127.0.0.1';
    this.port = Number(options.string('bitcoin-rpcport') ?? 18443);
  }

  /** @throws BitcoindError what bitcoind answers; code 0 when it cannot be reached */
  call(method: string, params: readonly Json[] = []): Promise<Json> {
    const body = JSON.stringify({ jsonrpc: '1.0', id: 'standin', method, params });
    return new Promise((resolve, reject) => {
      const unreachable = (error: Error): void => {
        reject(new BitcoindError(0, `bitcoind: ${error.message}`));
      };
      const outgoing = request(
        { agent: this.agent, host: this.host, port: this.port, method: 'POST', auth: this.auth(), headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) } },
        (response) => {
          const chunks: Buffer[] = [];
          response.on('data', (chunk: Buffer) => chunks.push(chunk));
          response.on('error', unreachable);
          response.on('end', () => {
            try {
              const answer = JSON.parse(Buffer.concat(chunks).toString()) as { result: Json; error: Json };
              if (answer.error === null) resolve(answer.result);
              else reject(new BitcoindError(Number(field(answer.error, 'code')), text(answer.error, 'message') ?? 'unknown error'));
            } catch (error) {
              reject(new BitcoindError(0, `bitcoind answered ${response.statusCode ?? 0}: ${messageOf(error)}`));
            }
          });
        },
      );
      outgoing.on('error', unreachable);
      outgoing.end(body);
    });
  }

  async height(): Promise<number> {
    return (await this.call('getblockcount')) as number;
  }

  async bestHash(): Promise<string> {
    return (await this.call('getbestblockhash')) as string;
  }

  async hashAt(height: number): Promise<string> {
    return (await this.call('getblockhash', [height])) as string;
  }

  async block(hash: string): Promise<Block> {
    return (await this.call('getblock', [hash, 2])) as unknown as Block;
  }

  /** What bcli answers: bitcoin-cli's words, and success also for what is in a block already. */
  async broadcast(rawTx: string, allowHighFees = false): Promise<{ readonly success: boolean; readonly message: string }> {
    try {
      await this.call('sendrawtransaction', allowHighFees ? [rawTx, 0] : [rawTx]);
      return { success: true, message: '' };
    } catch (error) {
      if (!(error instanceof BitcoindError)) throw error;
      const message = error.isUnreachable ? `error: timeout on transient error: Could not connect to the server ${this.host}:${this.port}\n` : `error code: ${error.code}\nerror message:\n${error.message}\n`;
      return { success: error.code === ALREADY_IN_CHAIN, message };
    }
  }

  close(): void {
    this.agent.destroy();
  }

  private auth(): string {
    const user = this.options.string('bitcoin-rpcuser');
    if (user !== undefined) return `${user}:${this.options.string('bitcoin-rpcpassword') ?? ''}`;
    const dir = this.options.string('bitcoin-datadir') ?? path.join(process.env['HOME'] ?? '/', '.bitcoin');
    return readFileSync(path.join(dir, 'regtest/.cookie'), 'utf8').trim();
  }
}
