/** What our commands refuse, as codes: CLN's where it has one, ours from 3000 on (architecture 13). */
import { CommandError, PLUGIN_TERMINATED } from '../runtime/command-error.js';
import type { JsonObject } from '../runtime/json.js';

export const ErrorCode = {
  /** CLN's: a parameter is missing or cannot be what it is. */
  InvalidParams: -32602,
  /** CLN's `FUND_CANNOT_AFFORD`. */
  CannotAfford: 301,
  /** CLN's `PAY_ROUTE_TOO_EXPENSIVE`. */
  TooExpensive: 206,
  /** CLN's `FUNDING_UNKNOWN_PEER`. */
  UnknownPeer: 306,
  /** CLN's `FUNDING_PEER_NOT_CONNECTED`. */
  PeerNotConnected: 305,
  UnknownFactory: 3000,
  WrongState: 3001,
  /** The ceremony was given up; `data.excluded` says who and why. */
  CeremonyFailed: 3002,
  /** A client lacks bLIP-56's feature bit or our protocol. */
  PeerUnsupported: 3003,
  /** Another ceremony is under way on this node. */
  Busy: 3004,
  /** The request id was used with other arguments. */
  RequestMismatch: 3005,
  /** Main network without `factory-mainnet`. */
  NetworkNotAllowed: 3006,
  /** A close could not be completed; `data.frozen` says whether the channels remain frozen. */
  CloseFailed: 3007,
  /** Our database cannot be written, or the node cannot be asked, now. */
  Unavailable: 3008,
  /** Nothing came of a purchase; `data.reason` says why. */
  PurchaseFailed: 3009,
  /** The LSP has not taken a wish; `data.reason` says why. */
  NotTaken: 3010,
} as const;

export const fail = (code: number, message: string, data?: JsonObject): never => {
  throw new CommandError(code, message, data);
};
export const invalid = (field: string, message: string): never => fail(ErrorCode.InvalidParams, `${field}: ${message}`, { field });

/** For a command that waits while the plugin ends: what it began goes on, or is given up, at the next start. */
export const stopping = (): CommandError => new CommandError(PLUGIN_TERMINATED, 'the plugin stops; see factory-status after the restart');
