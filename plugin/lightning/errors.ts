/** Turns whatever goes wrong below the adapter into a `LightningError`, in one place. */
import { FormatError } from '../../blip/brands.js';
import { UnexpectedReply } from '../runtime/json-read.js';
import { RpcError, RpcUnavailable } from '../runtime/rpc-client.js';
import { LightningError, type LightningErrorCode } from './lightning.js';

/** lightningd's `common/jsonrpc_errors.h`, as far as the commands we use answer with it. */
export const RPC = {
  LIGHTNINGD: -1,
  INVALID_PARAMS: -32602,
  METHOD_NOT_FOUND: -32601,
  PLUGIN_TERMINATED: -4,
  LIGHTNINGD_SHUTDOWN: -5,
  FUND_CANNOT_AFFORD: 301,
  FUNDING_STILL_SYNCING: 304,
  PEER_NOT_CONNECTED: 305,
  UNKNOWN_PEER: 306,
  NOTHING_TO_CANCEL: 307,
  UNKNOWN_CHANNEL: 311,
  CANNOT_AFFORD_WITH_EMERGENCY: 313,
  /** Quiescence shares the splice commands' codes. */
  CHANNEL_DISCONNECTED: 351,
  SPLICE_UNKNOWN_CHANNEL: 352,
  CHANNEL_STATE: 353,
  SPLICE_BUSY: 355,
  SPLICE_STATE: 358,
  CHAIN_BACKEND: 500,
  NO_FEE_ESTIMATES: 501,
  DATASTORE_ALREADY_EXISTS: 1202,
  DATASTORE_DOES_NOT_EXIST: 1203,
  DATASTORE_WRONG_GENERATION: 1204,
} as const;

const CODES: ReadonlyMap<number, LightningErrorCode> = new Map<number, LightningErrorCode>([
  [RPC.METHOD_NOT_FOUND, 'not_found'],
  [RPC.PLUGIN_TERMINATED, 'unavailable'],
  [RPC.LIGHTNINGD_SHUTDOWN, 'unavailable'],
  [RPC.FUND_CANNOT_AFFORD, 'insufficient_funds'],
  [RPC.CANNOT_AFFORD_WITH_EMERGENCY, 'insufficient_funds'],
  [RPC.FUNDING_STILL_SYNCING, 'unavailable'],
  [RPC.PEER_NOT_CONNECTED, 'not_connected'],
  [RPC.UNKNOWN_PEER, 'not_connected'],
  [RPC.NOTHING_TO_CANCEL, 'not_found'],
  [RPC.UNKNOWN_CHANNEL, 'not_found'],
  [RPC.CHANNEL_DISCONNECTED, 'not_connected'],
  [RPC.SPLICE_UNKNOWN_CHANNEL, 'not_found'],
  [RPC.SPLICE_BUSY, 'unavailable'],
  [RPC.CHAIN_BACKEND, 'unavailable'],
  [RPC.NO_FEE_ESTIMATES, 'unavailable'],
  [RPC.DATASTORE_ALREADY_EXISTS, 'conflict'],
  [RPC.DATASTORE_DOES_NOT_EXIST, 'conflict'],
  [RPC.DATASTORE_WRONG_GENERATION, 'conflict'],
]);

/** What lightningd says in words only, under codes it uses for everything. */
const WORDS: readonly (readonly [RegExp, LightningErrorCode])[] = [
  [/No such peer|not connected|still connecting|disconnected/i, 'not_connected'],
  [/already reserved|is not reserved|already spent/i, 'conflict'],
  [/Unknown UTXO|Channel id not found|not an unreleased txid/i, 'not_found'],
  [/Already funding channel|Have in-progress|waiting for STFU|Cannot estimate fees/i, 'unavailable'],
];

const codeOf = ({ code, message }: RpcError): LightningErrorCode =>
  CODES.get(code) ?? WORDS.find(([words]) => words.test(message))?.[1] ?? 'rejected';

export const isRpcError = (error: unknown, ...codes: readonly number[]): error is RpcError =>
  error instanceof RpcError && (codes.length === 0 || codes.includes(error.code));

/** Anything a call can throw, as a `LightningError`; what is none of ours (a bug) passes through. */
export const asLightningError = (error: unknown, culprit?: string): unknown => {
  if (error instanceof RpcError)
    return new LightningError(codeOf(error), `${error.method}: ${error.message}`, culprit ?? error.method, { rpcCode: error.code, cause: error });
  if (error instanceof RpcUnavailable) return new LightningError('unavailable', error.message, culprit ?? error.method, { cause: error });
  if (error instanceof UnexpectedReply) return new LightningError('protocol', error.message, culprit ?? error.field, { cause: error });
  if (error instanceof FormatError) return new LightningError('protocol', error.message, culprit ?? error.field, { cause: error });
  return error;
};

type AsyncMethod = (...args: never[]) => Promise<unknown>;

/** The same methods, failing with nothing but `LightningError`. */
export const guarded = <T extends { readonly [K in keyof T]: AsyncMethod }>(methods: T): T => {
  const guard =
    (run: (...args: unknown[]) => Promise<unknown>) =>
    async (...args: unknown[]): Promise<unknown> => {
      try {
        return await run(...args);
      } catch (error) {
        throw asLightningError(error);
      }
    };
  return Object.fromEntries(Object.entries(methods).map(([name, run]) => [name, guard(run as (...args: unknown[]) => Promise<unknown>)])) as unknown as T;
};
