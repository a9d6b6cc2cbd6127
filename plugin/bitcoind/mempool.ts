/** bitcoind's mempool, seen and filled directly: what stands where ours should go, and packages (BIP 331's idea, `submitpackage`). */
import { FormatError, sat, txid, type Hex, type Outpoint, type Sat, type Txid } from '../../blip/brands.js';
import { reply, UnexpectedReply, type Reply } from '../runtime/json-read.js';
import { isObject, type JsonValue } from '../runtime/json.js';
import { BitcoindError, type BitcoindRpc } from './rpc.js';

export interface MempoolEntry {
  readonly fee: Sat;
  /** vB. */
  readonly vsize: number;
  /** Of it and of all that spends it. */
  readonly descendantFees: Sat;
  /** What spends its outputs, in the mempool. */
  readonly spentBy: readonly Txid[];
}

/** sat per 1,000 vB. */
export interface MempoolMinimum {
  /** What it takes to get in now. */
  readonly floor: number;
  readonly incremental: number;
}

export type PackageResult = { readonly kind: 'accepted' } | { readonly kind: 'refused'; readonly reason: string };

/** @throws BitcoindError */
export interface Mempool {
  /** Whether all of the following may be called, and are there. */
  probe(): Promise<void>;
  minimum(): Promise<MempoolMinimum>;
  /** undefined: not in the mempool. */
  entry(id: Txid): Promise<MempoolEntry | undefined>;
  /** What spends an output, in the mempool. */
  spender(outpoint: Outpoint): Promise<Txid | undefined>;
  /** Parent and child together, so that the child's fee counts for both. What is in already is fine. */
  submitPackage(transactions: readonly Hex[]): Promise<PackageResult>;
}

/** RPC_INVALID_ADDRESS_OR_KEY: no such transaction there. */
const NOT_FOUND = -5;
/** RPC_VERIFY_ERROR and its kin: what bitcoind has against a package as such. */
const PACKAGE_REFUSED: readonly (number | undefined)[] = [-25, -26, -8];

/** Bitcoin as bitcoind writes it, in satoshis: eight decimals are exact in a double far beyond all coins there are. */
const toSat = (answer: Reply, field: string): Sat => {
  const value = answer.num(field);
  if (value < 0) throw answer.unexpected(field, 'an amount');
  return sat(BigInt(Math.round(value * 1e8)), field);
};

/** Reads an answer; what is not as documented is `protocol`. */
const read = <T>(method: string, answer: unknown, reader: (answer: Reply) => T): T => {
  try {
    return reader(reply(method, answer as JsonValue));
  } catch (error) {
    if (error instanceof UnexpectedReply || error instanceof FormatError) throw new BitcoindError('protocol', method, error.message);
    throw error;
  }
};

const readEntry = (answer: Reply): MempoolEntry => {
  const fees = answer.obj('fees');
  return {
    vsize: answer.int('vsize'),
    fee: toSat(fees, 'base'),
    descendantFees: toSat(fees, 'descendant'),
    spentBy: answer.strs('spentby').map((id) => txid(id, 'getmempoolentry.spentby')),
  };
};

const readPackage = (answer: Reply): PackageResult => {
  const message = answer.str('package_msg');
  if (message === 'success') return { kind: 'accepted' };
  const errors = Object.values(answer.obj('tx-results').json).flatMap((result) => (isObject(result) && typeof result['error'] === 'string' ? [result['error']] : []));
  return { kind: 'refused', reason: [message, ...new Set(errors)].join(': ') };
};

const isRefusal = (error: unknown, codes: readonly (number | undefined)[]): error is BitcoindError =>
  error instanceof BitcoindError && error.code === 'refused' && codes.includes(error.rpcCode);

/** Nobody's. */
const NO_TX = txid('00'.repeat(32));

export const mempoolOf = (rpc: BitcoindRpc): Mempool => {
  const mempool: Mempool = {
    ...callsOf(rpc),
    probe: async () => {
      await mempool.minimum();
      await mempool.entry(NO_TX);
      await mempool.spender({ txid: NO_TX, vout: 0 });
      // Refused for being empty.
      await mempool.submitPackage([]);
    },
  };
  return mempool;
};

const callsOf = (rpc: BitcoindRpc): Omit<Mempool, 'probe'> => ({
  minimum: async () =>
    read('getmempoolinfo', await rpc.call('getmempoolinfo'), (info) => ({
      floor: Number(toSat(info, 'mempoolminfee')),
      incremental: Number(toSat(info, 'incrementalrelayfee')),
    })),

  entry: async (id) => {
    try {
      return read('getmempoolentry', await rpc.call('getmempoolentry', [id]), readEntry);
    } catch (error) {
      if (isRefusal(error, [NOT_FOUND])) return undefined;
      throw error;
    }
  },

  spender: async ({ txid: id, vout }) => {
    const answer = await rpc.call('gettxspendingprevout', [[{ txid: id, vout }]]);
    const [spent] = Array.isArray(answer) ? (answer as readonly unknown[]) : [];
    return read('gettxspendingprevout', spent ?? null, (found) => (found.has('spendingtxid') ? txid(found.str('spendingtxid')) : undefined));
  },

  submitPackage: async (transactions) => {
    try {
      return read('submitpackage', await rpc.call('submitpackage', [transactions]), readPackage);
    } catch (error) {
      if (isRefusal(error, PACKAGE_REFUSED)) return { kind: 'refused', reason: error.message };
      throw error;
    }
  },
});
