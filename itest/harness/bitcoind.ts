import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { httpCall, type Params, RpcError } from './rpc.js';
import { waitFor } from './wait.js';
import { type Daemon, freePort, REPOSITORY, type Workspace } from './workspace.js';

/** What the methods tests use answer, as far as tests look at it. Amounts in JSON are bitcoin, as bitcoind has them. */
export interface BitcoindResults {
  getblockcount: number;
  getbestblockhash: string;
  getblockhash: string;
  getrawmempool: readonly string[];
  getnewaddress: string;
  generatetoaddress: readonly string[];
  sendtoaddress: string;
  sendrawtransaction: string;
  getrawtransaction: RawTransaction;
  decoderawtransaction: RawTransaction;
  gettxout: { readonly value: number; readonly confirmations: number; readonly scriptPubKey: { readonly hex: string } } | null;
  getmempoolentry: { readonly vsize: number; readonly fees: { readonly base: number; readonly descendant: number }; readonly spentby: readonly string[] };
  getmempoolinfo: { readonly mempoolminfee: number; readonly size: number };
  testmempoolaccept: readonly { readonly txid: string; readonly allowed: boolean; readonly 'reject-reason'?: string }[];
  submitpackage: {
    readonly package_msg: string;
    readonly 'tx-results': Readonly<Record<string, { readonly txid: string; readonly error?: string }>>;
  };
}

export interface RawTransaction {
  readonly txid: string;
  readonly hex: string;
  readonly version: number;
  readonly vsize: number;
  readonly locktime: number;
  readonly blockhash?: string;
  readonly confirmations?: number;
  readonly vin: readonly { readonly txid: string; readonly vout: number; readonly sequence: number; readonly txinwitness?: readonly string[] }[];
  readonly vout: readonly { readonly n: number; readonly value: number; readonly scriptPubKey: { readonly hex: string } }[];
}

/** Bitcoin as bitcoind writes it, in satoshis. */
export const toSat = (bitcoin: number): bigint => BigInt(Math.round(bitcoin * 1e8));
const toBitcoin = (sat: bigint): string => `${sat / 100_000_000n}.${(sat % 100_000_000n).toString().padStart(8, '0')}`;

interface Programs {
  readonly bitcoind: string;
  readonly bitcoinCli: string;
}
let programs: Programs | undefined;

/** Where bitcoind and bitcoin-cli are; scripts/lib/bitcoind finds or provides them. */
export const findBitcoind = (): Programs => {
  if (programs === undefined) {
    const script = path.join(REPOSITORY, 'scripts/lib/bitcoind');
    const [bitcoind, bitcoinCli] = execFileSync(script, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }).split('\n');
    if (!bitcoind || !bitcoinCli) throw new Error(`${script} named no bitcoind`);
    programs = { bitcoind, bitcoinCli };
  }
  return programs;
};

/** Core's relay policy for version-3 transactions and dust anchors, where the node is Knots (its defaults differ). */
const policyFlags = (bitcoind: string): readonly string[] =>
  execFileSync(bitcoind, ['-version'], { encoding: 'utf8' }).includes('Knots') ? ['-mempooltruc=enforce', '-permitephemeral=anchor'] : [];

/** A real bitcoind on regtest, with a wallet that has mature coins. */
export class Bitcoind {
  readonly user = 'itest';
  readonly password = 'itest';
  private daemon: Daemon | undefined;
  /** Where mining pays to. */
  private wallet = '';

  private constructor(
    readonly rpcPort: number,
    readonly cli: string,
    private readonly dir: string,
    private readonly workspace: Workspace,
    private readonly flags: readonly string[],
  ) {}

  /** Starts it, with further options if given, and mines 110 blocks: ten mature coinbases of 50 bitcoin. */
  static async start(workspace: Workspace, flags: readonly string[] = []): Promise<Bitcoind> {
    const dir = path.join(workspace.dir, 'bitcoind');
    mkdirSync(dir);
    const node = new Bitcoind(await freePort(), findBitcoind().bitcoinCli, dir, workspace, flags);
    await node.resume();
    await node.call('createwallet', ['miner']);
    node.wallet = await node.call('getnewaddress');
    await node.mine(110);
    return node;
  }

  /** Starts it (again) on its data; returns when it answers. */
  async resume(): Promise<void> {
    const { bitcoind } = findBitcoind();
    this.daemon = this.workspace.spawn('bitcoind', bitcoind, [
      `-datadir=${this.dir}`,
      '-regtest',
      '-server',
      '-listen=0',
      '-txindex',
      '-acceptnonstdtxn=0',
      '-fallbackfee=0.00002',
      '-printtoconsole=0',
      '-dbcache=32',
      `-rpcport=${this.rpcPort}`,
      `-rpcuser=${this.user}`,
      `-rpcpassword=${this.password}`,
      // Each lightningd asks for a new block every second, through bitcoin-cli.
      '-rpcthreads=8',
      '-rpcworkqueue=512',
      ...policyFlags(bitcoind),
      ...this.flags,
    ]);
    await waitFor('bitcoind to answer', async () => {
      if (this.daemon?.ended !== undefined) throw new Error(`bitcoind ended: ${this.daemon.ended}`);
      return (await this.call('getblockcount')) >= 0;
    });
    if (this.wallet !== '') await this.call('loadwallet', ['miner']);
  }

  async stop(): Promise<void> {
    await this.call('stop').catch(() => this.daemon?.terminate());
    await this.daemon?.end();
  }

  call<M extends keyof BitcoindResults>(method: M, params?: Params): Promise<BitcoindResults[M]>;
  call(method: string, params?: Params): Promise<unknown>;
  call(method: string, params: Params = []): Promise<unknown> {
    return httpCall(`http://127.0.0.1:${this.rpcPort}/`, `${this.user}:${this.password}`, method, params);
  }

  height(): Promise<number> {
    return this.call('getblockcount');
  }

  /** Mines `blocks` blocks with what the mempool holds. @returns their hashes */
  mine(blocks = 1): Promise<readonly string[]> {
    return this.call('generatetoaddress', [blocks, this.wallet]);
  }

  /** Mines blocks that hold only the given raw transactions (none): the mempool stays as it is. */
  async mineOnly(blocks = 1, transactions: readonly string[] = []): Promise<void> {
    for (let i = 0; i < blocks; i += 1) await this.call('generateblock', [this.wallet, i === 0 ? transactions : []]);
  }

  /** Mines until the chain has this height. */
  async mineTo(height: number): Promise<void> {
    const missing = height - (await this.height());
    if (missing > 0) await this.mine(missing);
  }

  /**
   * Replaces the last `depth` blocks by one more of new ones. What they had confirmed returns to the mempool, and is mined
   * again in the first new block unless `confirm` is false.
   */
  async reorganise(depth: number, { confirm = true }: { readonly confirm?: boolean } = {}): Promise<void> {
    const tip = await this.height();
    await this.call('invalidateblock', [await this.call('getblockhash', [tip - depth + 1])]);
    // An empty block would repeat the header of the one it replaces if it came in the same second; a new address never does.
    this.wallet = await this.call('getnewaddress');
    await (confirm ? this.mine(depth + 1) : this.mineOnly(depth + 1));
  }

  /** Sends satoshis to an address from the miner's wallet; unconfirmed. @returns the txid */
  send(address: string, amount: bigint): Promise<string> {
    return this.call('sendtoaddress', [address, toBitcoin(amount)]);
  }

  /** Waits until the mempool holds this transaction, or this many of them. @returns the mempool's txids */
  waitForMempool(wanted: string | number): Promise<readonly string[]> {
    return waitFor(`${wanted} in the mempool`, async () => {
      const txids = await this.call('getrawmempool');
      return (typeof wanted === 'string' ? txids.includes(wanted) : txids.length >= wanted) && txids;
    });
  }

  /** A transaction in the mempool or a block. */
  transaction(txid: string): Promise<RawTransaction> {
    return this.call('getrawtransaction', [txid, true]);
  }

  /** 0 in the mempool, undefined when nobody has heard of it. */
  async confirmations(txid: string): Promise<number | undefined> {
    try {
      return (await this.transaction(txid)).confirmations ?? 0;
    } catch (error) {
      if (error instanceof RpcError && error.code === -5) return undefined;
      throw error;
    }
  }

  /** The transaction in the mempool or the chain's last `depth` blocks that spends this output, if any. */
  async spender(txid: string, vout: number, depth = 20): Promise<RawTransaction | undefined> {
    const spends = (tx: RawTransaction): boolean => tx.vin.some((input) => input.txid === txid && input.vout === vout);
    for (const candidate of await this.call('getrawmempool')) {
      const tx = await this.transaction(candidate);
      if (spends(tx)) return tx;
    }
    const tip = await this.height();
    for (let height = tip; height > Math.max(0, tip - depth); height -= 1) {
      const block = (await this.call('getblock', [await this.call('getblockhash', [height]), 2])) as { readonly tx: readonly RawTransaction[] };
      const hit = block.tx.find(spends);
      if (hit) return hit;
    }
    return undefined;
  }

  /** Hands transactions over together (parent first), so that the child's fee counts for its parents. */
  submitPackage(transactions: readonly string[]): Promise<BitcoindResults['submitpackage']> {
    return this.call('submitpackage', [transactions]);
  }
}
