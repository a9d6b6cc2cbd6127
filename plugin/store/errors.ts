/** Everything the store can refuse or fail at, as a code. */
export type StoreErrorCode =
  /** The file was written by a later version of the plugin. */
  | 'newer_schema'
  /** The file is not a database, or a damaged one. */
  | 'corrupt'
  /** It is a sound database, but of another program. */
  | 'not_ours'
  /** Another process has it open. */
  | 'locked'
  /** The file, or where it lies, cannot be written. */
  | 'read_only'
  /** There is no such folder, or it is not a file. */
  | 'cannot_open'
  /** The disk is full or failing. */
  | 'io'
  /** The store has been closed. */
  | 'closed'
  /** The state, the request or the chain position is not what the writer thought it was. */
  | 'conflict'
  /** Architecture 12.6: this outpoint and purpose were signed with another sighash. */
  | 'sign_once'
  /** A request id was used before with another command or other arguments (architecture 12.16). */
  | 'request_mismatch'
  /** An outbox item that does not exist. */
  | 'not_found'
  /** An outbox item whose result was applied before. */
  | 'not_pending'
  /** A value that cannot be written as, or read from, our canonical JSON. */
  | 'codec'
  /** The target of a backup exists. */
  | 'exists';

/** What the store throws. `culprit` names the file, key, id or field that it is about. */
export class StoreError extends Error {
  constructor(
    readonly code: StoreErrorCode,
    readonly culprit: string,
    message: string,
    options?: ErrorOptions,
  ) {
    super(`${culprit}: ${message}`, options);
    this.name = 'StoreError';
  }
}
