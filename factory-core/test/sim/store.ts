/**
 * What a node keeps on disk: state, outbox and sign-once record of its one factory, all or nothing in one step, under the
 * rules of `plugin/store` (a contract test there compares the two). States are immutable, so they are kept as they are
 * and become text, as on a disk, when a process starts anew.
 */
import { decodeState, decodeValue, encodeState, encodeValue } from '../../../plugin/store/state-json.js';
import type { CoordinatorState } from '../../coordinator/state.js';
import type { MemberState } from '../../member/state.js';
import type { DurableEffect, SignOnce } from '../../protocol/effects.js';
import { outpointText } from './chain.js';

export type FactoryState = CoordinatorState | MemberState;

/** The step was not stored, nothing has happened. */
export class StoreFailure extends Error {
  constructor(readonly code: 'disk' | 'sign_once') {
    super(code);
    this.name = 'StoreFailure';
  }
}

export interface Item {
  readonly id: number;
  readonly effect: DurableEffect;
}
export interface Write {
  readonly state: FactoryState;
  readonly outbox: readonly DurableEffect[];
  readonly done?: number | undefined;
  readonly cancelled: readonly number[];
  readonly signOnce: readonly SignOnce[];
}

const keyOf = (s: Pick<SignOnce, 'outpoint' | 'purpose'>): string => `${outpointText(s.outpoint)} ${s.purpose}`;

export class DiskStore {
  private state: FactoryState | undefined;
  private readonly items = new Map<number, DurableEffect>();
  private readonly record = new Map<string, string>();
  private lastItem = 0;

  signedOnce(s: Pick<SignOnce, 'outpoint' | 'purpose'>): string | undefined {
    return this.record.get(keyOf(s));
  }
  pending(): readonly Item[] {
    return [...this.items].map(([id, effect]) => ({ id, effect }));
  }

  /** @throws StoreFailure `sign_once`; nothing is stored then */
  apply(write: Write): readonly number[] {
    const conflict = write.signOnce.some((s) => (this.record.get(keyOf(s)) ?? s.sighash) !== s.sighash);
    if (conflict) throw new StoreFailure('sign_once');
    this.state = write.state;
    if (write.done !== undefined) this.items.delete(write.done);
    for (const id of write.cancelled) this.items.delete(id);
    for (const s of write.signOnce) this.record.set(keyOf(s), s.sighash);
    return write.outbox.map((effect) => {
      this.lastItem += 1;
      this.items.set(this.lastItem, effect);
      return this.lastItem;
    });
  }
  markDone(id: number): void {
    this.items.delete(id);
  }

  /** As it was stored; nobody may change it. */
  get stored(): FactoryState | undefined {
    return this.state;
  }

  /** What a new process reads: text, and back. */
  load(): { readonly state: FactoryState | undefined; readonly items: readonly Item[] } {
    const state = this.state && (decodeState(encodeState(this.state)) as FactoryState);
    if (state) this.state = state;
    return { state, items: this.pending().map(({ id, effect }) => ({ id, effect: decodeValue(encodeValue(effect)) as DurableEffect })) };
  }
}
