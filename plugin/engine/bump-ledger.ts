/**
 * What raising fees has cost, and with which coins: kept over restarts, and entered before a child leaves this node, so
 * that no crash makes a limit forgotten (architecture 12.15) or a coin stay reserved for nothing (12.17).
 */
import type { Hex, InstanceId, Sat, Script, Txid } from '../../blip/brands.js';
import { sat } from '../../blip/brands.js';
import { outpointKey } from '../../factory-core/live/paths.js';
import type { Coin } from '../lightning/lightning.js';
import { decodeValue, encodeValue } from '../store/state-json.js';
import type { Store } from '../store/store.js';

/** One coin that is meant to bump one transaction. */
export interface BumpRecord {
  readonly instanceId: InstanceId;
  /** Whose budget it comes out of: everything of one way out has the same. */
  readonly account: string;
  readonly parent: Txid;
  readonly coin: Coin;
  readonly changeScript: Script;
  /** Absent until one was made: then the coin is reserved at most. */
  readonly child?: { readonly txid: Txid; readonly vsize: number; readonly fee: Sat; readonly raw: Hex };
  /** Height of the last change. */
  readonly height: number;
  /** Height at which the coin was last reserved. */
  readonly reserved: number;
  /** The coin is spent, or may be: what it cost stays counted. */
  readonly closed: boolean;
}

/** Limits are for so many blocks: a day. */
export const DAY_BLOCKS = 144;
/** Closed records stay for as long as their way out may last (two weeks). */
const KEEP_BLOCKS = 2_016;

const META_KEY = 'bumps';

export class BumpLedger {
  private readonly records: Map<string, BumpRecord>;

  constructor(private readonly store: Pick<Store, 'apply' | 'meta'>) {
    const text = store.meta(META_KEY);
    // Written by `save` and nobody else.
    const stored = text === undefined ? [] : (decodeValue(text, META_KEY) as readonly BumpRecord[]);
    this.records = new Map(stored.map((record) => [outpointKey(record.coin.outpoint), record]));
  }

  open(): readonly BumpRecord[] {
    return [...this.records.values()].filter((record) => !record.closed);
  }
  openFor(parent: Txid): readonly BumpRecord[] {
    return this.open().filter((record) => record.parent === parent);
  }

  /** Spent in the last day, by children of other transactions than this one. */
  spentInDay(height: number, except?: Txid): Sat {
    return this.sum((record) => record.parent !== except && record.height > height - DAY_BLOCKS);
  }
  /** Spent from an account, by children of other transactions than this one. */
  spentFrom(account: string, except?: Txid): Sat {
    return this.sum((record) => record.parent !== except && record.account === account);
  }

  /** Spent on this transaction, as far back as is remembered. */
  spentOn(parent: Txid): Sat {
    return this.sum((record) => record.parent === parent);
  }

  /** Of several children of one transaction one at most confirms: the dearest counts. */
  private sum(which: (record: BumpRecord) => boolean): Sat {
    const perParent = new Map<Txid, bigint>();
    for (const record of this.records.values()) {
      const fee = which(record) ? (record.child?.fee ?? 0n) : 0n;
      if (fee > (perParent.get(record.parent) ?? 0n)) perParent.set(record.parent, fee);
    }
    return sat([...perParent.values()].reduce((sum, fee) => sum + fee, 0n));
  }

  /** @throws StoreError when it cannot be stored: then nothing has changed */
  put(record: BumpRecord): void {
    const key = outpointKey(record.coin.outpoint);
    this.save(new Map(this.records).set(key, record), record.child ? 'bump' : 'bump_coin', record);
  }
  /** The coin is free again, and nothing was spent. @throws StoreError */
  remove(record: BumpRecord): void {
    const next = new Map(this.records);
    next.delete(outpointKey(record.coin.outpoint));
    this.save(next, 'bump_undone', record);
  }

  private save(next: ReadonlyMap<string, BumpRecord>, event: string, { instanceId, account, parent, coin, child, height, closed }: BumpRecord): void {
    const kept = [...next.values()].filter((record) => !record.closed || record.height > height - KEEP_BLOCKS);
    const detail = { account, parent, coin: outpointKey(coin.outpoint), closed, ...(child ? { child: child.txid, fee: child.fee } : {}) };
    this.store.apply({ journal: { instanceId, event, detail }, meta: { [META_KEY]: encodeValue(kept, META_KEY) } });
    this.records.clear();
    for (const record of kept) this.records.set(outpointKey(record.coin.outpoint), record);
  }
}
