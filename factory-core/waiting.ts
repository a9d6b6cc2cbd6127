/**
 * The waiting room (architecture 8): who would like to be in a coordinator's next factory, as the coordinator keeps it; and a
 * client's own wishes, as it keeps them. Pure: a change is a new value, and the same value means that nothing has changed.
 */
import type { ChainHash, NodeId, Sat } from '../blip/brands.js';
import type { WaitingJoin, WaitingMessage } from '../blip/waiting-messages.js';
import { AbortCode } from './protocol/abort-codes.js';
import { MAX_CLIENTS } from './shape.js';
import { DUST_LIMIT } from './transactions.js';

/** As many as one factory can hold. */
export const MAX_WAITING = MAX_CLIENTS;
/** Blocks after which somebody who has not been connected gives up its place, if others want it. */
export const ABSENT_BLOCKS = 2_016;
/** Being connected is written down so often at most, in blocks. */
const SEEN_BLOCKS = 144;
/** Numbers of wishes have two bytes. */
const MAX_NUMBER = 0xffff;

/** One who waits. */
export interface Waiting {
  readonly nodeId: NodeId;
  /** The number it has given its wish. */
  readonly wish: number;
  readonly capacity: Sat;
  readonly stock: Sat;
  /** Height when it came, and when it was last connected (not to the block). */
  readonly since: number;
  readonly seen: number;
}

/** In the order in which they came. */
export type WaitingRoom = readonly Waiting[];

export interface WaitingPolicy {
  readonly allows: (node: NodeId) => boolean;
  readonly chainHash: ChainHash;
  readonly minCapacity: Sat;
  readonly maxCapacity: Sat;
  readonly maxStock: Sat;
}

export interface Answered<T> {
  readonly next: T;
  readonly answer: WaitingMessage;
}

const over = (code: number, reason: string): WaitingMessage => ({ type: 'waiting_over', code, reason });
export const NOT_ALLOWED = over(AbortCode.NotAccepted, 'this node does not let you wait (its option factory-waiting)');

/** Why a wish is not taken, whoever has it. */
const unfit = ({ chainHash, capacity, stock }: WaitingJoin, policy: WaitingPolicy): string | undefined => {
  if (chainHash !== policy.chainHash) return 'chain_hash: this node is on another chain';
  if (capacity < policy.minCapacity || capacity > policy.maxCapacity) return `capacity: must be from ${policy.minCapacity} to ${policy.maxCapacity} sat`;
  if (stock !== 0n && stock < DUST_LIMIT) return `stock: must be 0, or at least ${DUST_LIMIT} sat`;
  if (stock > policy.maxStock) return `stock: must be at most ${policy.maxStock} sat`;
  return undefined;
};

/** Room for one more: there is some, or the one who has been away longest has lost its place. */
const withRoom = (room: WaitingRoom, height: number): WaitingRoom | undefined => {
  if (room.length < MAX_WAITING) return room;
  const longest = room.reduce((a, b) => (b.seen < a.seen ? b : a));
  return longest.seen + ABSENT_BLOCKS < height ? room.filter((w) => w !== longest) : undefined;
};

/** @param wish the number in the message's header */
export const enter = (room: WaitingRoom, from: NodeId, wish: number, message: WaitingJoin, policy: WaitingPolicy, height: number): Answered<WaitingRoom> => {
  if (!policy.allows(from)) return { next: without(room, from), answer: NOT_ALLOWED };
  const problem = unfit(message, policy);
  if (problem !== undefined) return { next: without(room, from), answer: over(AbortCode.Invalid, problem) };
  const { capacity, stock } = message;
  const known = room.find((w) => w.nodeId === from);
  if (known) {
    const same = known.wish === wish && known.capacity === capacity && known.stock === stock;
    const next = same ? seen(room, from, height) : room.map((w) => (w === known ? { ...w, wish, capacity, stock, seen: height } : w));
    return { next, answer: { type: 'waiting_accepted' } };
  }
  const free = withRoom(room, height);
  if (!free) return { next: room, answer: over(AbortCode.Busy, 'too many wait already') };
  return { next: [...free, { nodeId: from, wish, capacity, stock, since: height, seen: height }], answer: { type: 'waiting_accepted' } };
};

/** It has withdrawn. */
export const withdraw = (room: WaitingRoom, from: NodeId): Answered<WaitingRoom> => ({ next: without(room, from), answer: over(AbortCode.Cancelled, 'withdrawn') });

/** It is connected. */
export const seen = (room: WaitingRoom, node: NodeId, height: number): WaitingRoom =>
  room.some((w) => w.nodeId === node && w.seen + SEEN_BLOCKS <= height) ? room.map((w) => (w.nodeId === node ? { ...w, seen: height } : w)) : room;

/** These wait no longer. */
export const without = (room: WaitingRoom, ...nodes: readonly NodeId[]): WaitingRoom =>
  room.some((w) => nodes.includes(w.nodeId)) ? room.filter((w) => !nodes.includes(w.nodeId)) : room;

/** What a client has asked one coordinator for. */
export interface Wish {
  readonly coordinator: NodeId;
  readonly wish: number;
  readonly capacity: Sat;
  readonly stock: Sat;
  /** Height when it was made. */
  readonly since: number;
  /** `asked` and `withdrawn` are said again until they are answered; `over` was answered, with this reason, and is kept to be seen. */
  readonly state: 'asked' | 'waiting' | 'withdrawn' | 'over';
  readonly reason?: string;
}
export type Wishes = readonly Wish[];

export const wishOf = (wishes: Wishes, coordinator: NodeId): Wish | undefined => wishes.find((w) => w.coordinator === coordinator);
const replaced = (wishes: Wishes, wish: Wish): Wishes => [...wishes.filter((w) => w.coordinator !== wish.coordinator), wish];

/** A new wish in the place of the one before. After the last number comes the first: only the latest is ever asked about. */
export const wished = (wishes: Wishes, coordinator: NodeId, capacity: Sat, stock: Sat, height: number): Wishes => {
  const before = wishOf(wishes, coordinator);
  const wish = before && before.wish < MAX_NUMBER ? before.wish + 1 : 1;
  return replaced(wishes, { coordinator, wish, capacity, stock, since: height, state: 'asked' });
};

export const unwished = (wishes: Wishes, coordinator: NodeId): Wishes => {
  const before = wishOf(wishes, coordinator);
  return before ? replaced(wishes, { ...before, state: 'withdrawn' }) : wishes;
};

/** The coordinator has answered; what does not answer the latest wish changes nothing. */
export const answered = (wishes: Wishes, coordinator: NodeId, wish: number, message: WaitingMessage): Wishes => {
  const own = wishOf(wishes, coordinator);
  if (own?.wish !== wish || own.state === 'over') return wishes;
  if (message.type === 'waiting_accepted') return own.state === 'asked' ? replaced(wishes, { ...own, state: 'waiting' }) : wishes;
  if (message.type !== 'waiting_over') return wishes;
  return own.state === 'withdrawn' ? fulfilled(wishes, coordinator) : replaced(wishes, { ...own, state: 'over', reason: message.reason });
};

/** What this coordinator is to be told after a reconnection. */
export const unanswered = (wishes: Wishes, coordinator: NodeId, chainHash: ChainHash): { readonly wish: number; readonly message: WaitingMessage } | undefined => {
  const own = wishOf(wishes, coordinator);
  if (own?.state === 'withdrawn') return { wish: own.wish, message: { type: 'waiting_withdraw' } };
  if (own?.state !== 'asked') return undefined;
  return { wish: own.wish, message: { type: 'waiting_join', chainHash, capacity: own.capacity, stock: own.stock } };
};

/** There is nothing to wait for any more. */
export const fulfilled = (wishes: Wishes, coordinator: NodeId): Wishes => (wishOf(wishes, coordinator) ? wishes.filter((w) => w.coordinator !== coordinator) : wishes);
