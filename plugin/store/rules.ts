/** What may follow on what is stored. Every implementation of the store asks here, so that all refuse alike. */
import type { Hex, Outpoint } from '../../blip/brands.js';
import type { BlockRef, ChainStep } from '../chain/position.js';
import { stepProblem } from '../chain/position.js';
import { StoreError } from './errors.js';
import { encodeValue } from './state-json.js';
import type { RequestKey, RequestRecord, Role, SignOnce, StateWrite } from './store.js';

export const outpointText = ({ txid, vout }: Outpoint): string => `${txid}:${vout}`;

export const checkState = (write: StateWrite, stored: { readonly role: Role; readonly revision: number } | undefined): void => {
  const revision = stored?.revision ?? 0;
  if (revision !== write.revision) {
    throw new StoreError('conflict', write.instanceId, `the state was computed from revision ${write.revision}, stored is ${revision}`);
  }
  if (stored !== undefined && stored.role !== write.role) {
    throw new StoreError('conflict', write.instanceId, `this node is ${stored.role} of it, not ${write.role}`);
  }
};

/** Architecture 12.6: another sighash for the same outpoint and purpose is refused, for good. */
export const checkSignOnce = ({ outpoint, purpose, sighash }: SignOnce, stored: Hex): void => {
  if (stored !== sighash) {
    throw new StoreError('sign_once', `${outpointText(outpoint)} ${purpose}`, `signed for sighash ${stored}, not to be signed for ${sighash}`);
  }
};

/** Architecture 12.16: the same id with another command or other arguments is a mistake of the caller. */
export const checkRequest = (key: RequestKey, stored: RequestKey): void => {
  if (stored.command !== key.command) {
    throw new StoreError('request_mismatch', key.requestId, `was used for ${stored.command}`);
  }
  if (stored.digest !== key.digest) {
    throw new StoreError('request_mismatch', key.requestId, `was used for ${stored.command} with other arguments`);
  }
};

/** A stored request, its result still as text. */
export interface RequestRow extends Omit<RequestRecord, 'result'> {
  readonly result?: string;
}

/** What to store for `next`: a result, once there, stays; a factory, once named, too. */
export const mergeRequest = (next: RequestRecord, stored: RequestRow | undefined): RequestRow => {
  if (stored !== undefined) checkRequest(next, stored);
  const result = next.result === undefined ? undefined : encodeValue(next.result, 'result');
  if (stored?.result !== undefined && result !== undefined && stored.result !== result) {
    throw new StoreError('conflict', next.requestId, 'has another result already');
  }
  const instanceId = stored?.instanceId ?? next.instanceId;
  const kept = stored?.result ?? result;
  return {
    requestId: next.requestId,
    command: next.command,
    digest: next.digest,
    ...(instanceId === undefined ? {} : { instanceId }),
    ...(kept === undefined ? {} : { result: kept }),
  };
};

export const checkStep = (top: BlockRef | undefined, step: ChainStep): void => {
  const problem = stepProblem(top, step);
  if (problem !== undefined) throw new StoreError('conflict', 'chain', problem);
};

/** Why an item that is not pending cannot be finished: its result may be applied once. */
export const notPending = (id: number, status: 'finished' | undefined): StoreError =>
  status === undefined
    ? new StoreError('not_found', `outbox ${id}`, 'no such item')
    : new StoreError('not_pending', `outbox ${id}`, 'its result was applied before');

/** Why an item that was cancelled has failed. */
export const CANCELLED = 'cancelled: what asked for it is over';
