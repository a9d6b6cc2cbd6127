/** What it takes to make fees matter on regtest: a full mempool, and children of strangers on our anchors. */
import { createHmac } from 'node:crypto';
import { hex as hexCoder } from '@scure/base';
import { RawTx } from '@scure/btc-signer/script.js';
import { type Bitcoind, toSat } from '../harness/bitcoind.js';

const ANCHOR_SCRIPT = '51024e73';
/** A Taproot output nobody can spend. */
const NOWHERE = hexCoder.decode(`5120${'11'.repeat(32)}`);
const COIN = 10_000_000n;

interface MinerCoin {
  readonly txid: string;
  readonly vout: number;
}

/** Confirmed coins of 0.1 bitcoin each, in the miner's wallet. */
const minerCoins = async (chain: Bitcoind, count: number): Promise<readonly MinerCoin[]> => {
  const outputs: Record<string, number>[] = [];
  for (let i = 0; i < count; i += 1) outputs.push({ [await chain.call('getnewaddress', ['', 'bech32m'])]: Number(COIN) / 1e8 });
  const { txid } = (await chain.call('send', [outputs, null, 'unset', 20])) as { readonly txid: string };
  await chain.mine();
  const { vout } = await chain.transaction(txid);
  return vout.filter(({ value }) => toSat(value) === COIN).map(({ n }) => ({ txid, vout: n }));
};

interface Spend {
  readonly version: number;
  readonly inputs: readonly MinerCoin[];
  readonly outputs: readonly { readonly amount: bigint; readonly script: Uint8Array }[];
}

/** Signed by the miner's wallet, as far as it can: an anchor needs no signature. */
const minerSigns = async (chain: Bitcoind, { version, inputs, outputs }: Spend, anchors: readonly object[] = []): Promise<string> => {
  const unsigned = RawTx.encode({
    version,
    segwitFlag: false,
    inputs: inputs.map(({ txid, vout }) => ({ txid: hexCoder.decode(txid), index: vout, finalScriptSig: new Uint8Array(), sequence: 0xfffffffd })),
    outputs: [...outputs],
    witnesses: [],
    lockTime: 0,
  });
  const { hex } = (await chain.call('signrawtransactionwithwallet', [hexCoder.encode(unsigned), anchors])) as { readonly hex: string };
  return hex;
};

/** vB of a version-2 transaction of one Taproot coin into so many Taproot outputs, about. */
const BULK_OUTPUTS = 2_000;
const BULK_VSIZE = 43 * BULK_OUTPUTS + 70;
/** More than a mempool of 5 MB (`-maxmempool=5`, the least there is) takes of them. */
const BULK_COUNT = 56;

/** Fills a mempool of 5 MB with transactions that pay `feerate` (sat per 1,000 vB) and more. @returns the minimum it has then, in sat per 1,000 vB */
export const fillMempool = async (chain: Bitcoind, feerate: number): Promise<number> => {
  let paying = feerate;
  for (const coin of await minerCoins(chain, BULK_COUNT)) {
    const fee = BigInt(Math.ceil((paying * BULK_VSIZE) / 1_000));
    const outputs = Array.from({ length: BULK_OUTPUTS }, () => ({ amount: (COIN - fee) / BigInt(BULK_OUTPUTS), script: NOWHERE }));
    await chain.call('sendrawtransaction', [await minerSigns(chain, { version: 2, inputs: [coin], outputs }), 0]);
    paying += 20;
  }
  return mempoolMinimum(chain);
};

/** sat per 1,000 vB. */
export const mempoolMinimum = async (chain: Bitcoind): Promise<number> => Number(toSat((await chain.call('getmempoolinfo')).mempoolminfee));

/** A stranger with coins, who puts children on other people's anchors. */
export class Stranger {
  private constructor(
    private readonly chain: Bitcoind,
    private readonly coins: MinerCoin[],
  ) {}

  static async with(chain: Bitcoind, coins: number): Promise<Stranger> {
    return new Stranger(chain, [...(await minerCoins(chain, coins))]);
  }

  /** A version-3 child on the parent's anchor that pays `fee`; `padding` outputs of 43 vB make it larger. @returns its txid */
  async junk(parent: string, fee: bigint, padding: number): Promise<string> {
    const coin = this.coins.pop();
    const anchor = (await this.chain.transaction(parent)).vout.find(({ scriptPubKey }) => scriptPubKey.hex === ANCHOR_SCRIPT);
    if (!coin || !anchor) throw new Error('no coin, or no anchor');
    const inputs = [{ txid: parent, vout: anchor.n }, coin];
    const padded = Array.from({ length: padding }, () => ({ amount: 1_000n, script: NOWHERE }));
    const rest = COIN + toSat(anchor.value) - fee - 1_000n * BigInt(padding);
    const outputs = [{ amount: rest, script: NOWHERE }, ...padded];
    const prevout = { txid: parent, vout: anchor.n, scriptPubKey: ANCHOR_SCRIPT, amount: anchor.value };
    return this.chain.call('sendrawtransaction', [await minerSigns(this.chain, { version: 3, inputs, outputs }, [prevout])]);
  }
}

/** A transaction in the mempool, with the one that spends it there. */
export interface Pair {
  readonly parent: { readonly vsize: number; readonly fee: bigint };
  readonly child: { readonly txid: string; readonly vsize: number; readonly fee: bigint };
  /** sat per 1,000 vB of both together. */
  readonly feerate: number;
}

/** undefined while the transaction, or a child of it, is not in the mempool. */
export const pairOf = async (chain: Bitcoind, txid: string): Promise<Pair | undefined> => {
  if (!(await chain.call('getrawmempool')).includes(txid)) return undefined;
  const entry = await chain.call('getmempoolentry', [txid]);
  const [id] = entry.spentby;
  if (id === undefined) return undefined;
  const below = await chain.call('getmempoolentry', [id]);
  const parent = { vsize: entry.vsize, fee: toSat(entry.fees.base) };
  const child = { txid: id, vsize: below.vsize, fee: toSat(below.fees.base) };
  return { parent, child, feerate: Number(((parent.fee + child.fee) * 1_000n) / BigInt(parent.vsize + child.vsize)) };
};

/** A user of bitcoind's who may do what lightningd needs, and nothing of what only the plugin asks for. */
export const LIMITED = { 'bitcoin-rpcuser': 'limited', 'bitcoin-rpcpassword': 'correct-horse-battery' } as const;
const LIMITED_MAY = ['getblockchaininfo', 'getnetworkinfo', 'getblockhash', 'getbestblockhash', 'getblock', 'getblockcount', 'getmempoolinfo', 'estimatesmartfee', 'gettxout', 'sendrawtransaction', 'getpeerinfo', 'getblockfrompeer', 'echo'];
const SALT = '00112233445566778899aabbccddeeff';

/** bitcoind's options for that user. */
export const limitedUser = (): readonly string[] => {
  const hash = createHmac('sha256', SALT).update(LIMITED['bitcoin-rpcpassword']).digest('hex');
  const user = LIMITED['bitcoin-rpcuser'];
  return [`-rpcauth=${user}:${SALT}$${hash}`, `-rpcwhitelist=${user}:${LIMITED_MAY.join(',')}`, '-rpcwhitelistdefault=0'];
};
