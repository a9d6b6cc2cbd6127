/**
 * The messages of the waiting room (`cln-factory-protocol.md`, "Waiting room"). They belong to no factory: their instance id is
 * `NO_INSTANCE`, their attempt the number of the client's wish.
 */
import { instanceId, type ChainHash, type InstanceId, type Sat } from './brands.js';

export const NO_INSTANCE: InstanceId = instanceId('00'.repeat(32));

/** member → coordinator: I should like to be in your next factory. It takes the place of any wish of mine before. */
export interface WaitingJoin {
  readonly type: 'waiting_join';
  readonly chainHash: ChainHash;
  readonly capacity: Sat;
  readonly stock: Sat;
}
/** member → coordinator: not any more. */
export interface WaitingWithdraw {
  readonly type: 'waiting_withdraw';
}
/** coordinator → member: you are waiting here, and on disk. */
export interface WaitingAccepted {
  readonly type: 'waiting_accepted';
}
/** coordinator → member: you do not wait here (any more). */
export interface WaitingOver {
  readonly type: 'waiting_over';
  readonly code: number;
  readonly reason: string;
}

export type WaitingMessage = WaitingJoin | WaitingWithdraw | WaitingAccepted | WaitingOver;
const WAITING: ReadonlySet<string> = new Set<WaitingMessage['type']>(['waiting_join', 'waiting_withdraw', 'waiting_accepted', 'waiting_over']);
export const isWaitingMessage = (message: { readonly type: string }): message is WaitingMessage => WAITING.has(message.type);
