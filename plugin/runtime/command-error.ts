/** Errors a command answers with. Codes below 0 are JSON-RPC's and lightningd's (`common/jsonrpc_errors.h`), ours begin at 3000. */
import type { JsonObject } from './json.js';

export const INVALID_PARAMS = -32602;
export const METHOD_NOT_FOUND = -32601;
export const INVALID_REQUEST = -32600;
/** An exception nobody foresaw: ours to mend. */
export const INTERNAL_ERROR = -32603;
/** The plugin stops before the command has finished (lightningd's own code for a plugin that went away). */
export const PLUGIN_TERMINATED = -4;

/** What a command answers instead of a result. `data` is for programs, `message` for people. */
export class CommandError extends Error {
  constructor(
    readonly code: number,
    message: string,
    readonly data?: JsonObject,
  ) {
    super(message);
    this.name = 'CommandError';
  }
}
