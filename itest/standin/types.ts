import { stringifyJson } from '../../plugin/runtime/json.js';

/**
 * The stand-in's vocabulary. Ids, keys, scripts and transactions are lowercase hex strings. Amounts are plain numbers: a
 * regtest chain never holds 90,000 bitcoin, below which millisatoshis are exact in a double.
 */
export type Json = null | boolean | number | bigint | string | readonly Json[] | JsonObject;
export interface JsonObject {
  readonly [key: string]: Json | undefined;
}

export const isObject = (value: Json | undefined): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

export const field = (value: Json | undefined, name: string): Json | undefined => (isObject(value) ? value[name] : undefined);

/** A field that has to be text, for answers of plugins and bitcoind. */
export const text = (value: Json | undefined, name: string): string | undefined => {
  const found = field(value, name);
  return typeof found === 'string' ? found : undefined;
};

/** Text for messages and ids: what a string, number or boolean says, else JSON. */
export const show = (value: Json | undefined): string => (typeof value === 'string' ? value : stringifyJson(value ?? null));

export const nowSeconds = (): number => Math.floor(Date.now() / 1000);

/** Error codes of Core Lightning's RPC (common/jsonrpc_errors.h has the whole list). */
export const CODE = {
  lightningd: -1,
  pluginTerminated: -4,
  shuttingDown: -5,
  invalidRequest: -32600,
  methodNotFound: -32601,
  invalidParams: -32602,
  payInProgress: 200,
  payRhashUsed: 201,
  payUnparseableOnion: 202,
  payDestinationFailed: 203,
  payTryOtherRoute: 204,
  payRouteNotFound: 205,
  payRouteTooExpensive: 206,
  payInvoiceExpired: 207,
  payNoSuchPayment: 208,
  payUnspecified: 209,
  payAlreadyPaid: 219,
  fundMaxExceeded: 300,
  fundCannotAfford: 301,
  fundOutputIsDust: 302,
  fundBroadcastFail: 303,
  fundPeerNotConnected: 305,
  fundUnknownPeer: 306,
  fundNothingToCancel: 307,
  fundCancelNotSafe: 308,
  fundPsbtInvalid: 309,
  fundUnknownChannel: 311,
  fundCannotAffordEmergency: 313,
  spliceWrongOwner: 351,
  spliceUnknownChannel: 352,
  spliceChannelState: 353,
  spliceNotSupported: 354,
  spliceBusy: 355,
  spliceState: 358,
  bcli: 500,
  connectNoAddress: 400,
  connectAllFailed: 401,
  connectDropped: 402,
  invoiceLabelExists: 900,
  invoicePreimageExists: 901,
  invoiceNoRoutes: 902,
  invoiceExpiredDuringWait: 903,
  invoiceWaitTimedOut: 904,
  invoiceNotFound: 905,
  invoiceStatusUnexpected: 906,
  datastoreDelAbsent: 1200,
  datastoreDelGeneration: 1201,
  datastoreExists: 1202,
  datastoreAbsent: 1203,
  datastoreGeneration: 1204,
  datastoreHasChildren: 1205,
  datastoreNoChildren: 1206,
} as const;

/** What a command answers instead of a result. */
export class RpcError extends Error {
  constructor(
    readonly code: number,
    message: string,
    readonly data?: Json,
  ) {
    super(message);
    this.name = 'RpcError';
  }

  toJson(): JsonObject {
    return { code: this.code, message: this.message, ...(this.data === undefined ? {} : { data: this.data }) };
  }
}

/** The node cannot go on: logged as broken, and the process ends with code 1, as lightningd's `fatal()`. */
export class FatalError extends Error {
  override readonly name = 'FatalError';
}

export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
