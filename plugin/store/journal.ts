/**
 * The journal's hash chain: each entry's hash covers its line and, through the hash before, every line before. Whoever
 * noted one hash can tell later whether anything up to it was altered.
 */
import { createHash } from 'node:crypto';

import type { Hex, InstanceId } from '../../blip/brands.js';
import { StoreError } from './errors.js';
import { decodeValue, encodeValue } from './state-json.js';
import type { JournalEntry, JournalVerdict, NewJournalEntry } from './store.js';

/** The hash "before" the first entry. */
export const JOURNAL_ROOT = '00'.repeat(32) as Hex;

/** An entry as it is stored. */
export interface JournalRow {
  readonly seq: number;
  readonly line: string;
  readonly hash: Hex;
}

const lineHash = (previous: Hex, line: string): Hex =>
  createHash('sha256').update(previous, 'hex').update(line, 'utf8').digest('hex') as Hex;

export const nextRow = (head: { readonly seq: number; readonly hash: Hex }, time: number, entry: NewJournalEntry): JournalRow => {
  const seq = head.seq + 1;
  const line = encodeValue({ seq, time, instance: entry.instanceId, event: entry.event, detail: entry.detail }, 'journal');
  return { seq, line, hash: lineHash(head.hash, line) };
};

export const readRow = ({ seq, line, hash }: JournalRow): JournalEntry => {
  const value = decodeValue(line, `journal ${seq}`) as { time: number; instance?: InstanceId; event: string; detail?: unknown };
  if (typeof value !== 'object' || typeof value.time !== 'number' || typeof value.event !== 'string') {
    throw new StoreError('codec', `journal ${seq}`, 'not a journal line');
  }
  return {
    seq,
    time: value.time,
    event: value.event,
    ...(value.instance === undefined ? {} : { instanceId: value.instance }),
    ...(value.detail === undefined ? {} : { detail: value.detail }),
    hash,
  };
};

/**
 * Recomputes the chain.
 * @param head seq and hash of the last entry as noted elsewhere: a chain cut short is otherwise a good chain
 */
export const verifyRows = (rows: Iterable<JournalRow>, head: { readonly seq: number; readonly hash: Hex }): JournalVerdict => {
  let seq = 0;
  let hash = JOURNAL_ROOT;
  for (const row of rows) {
    seq += 1;
    if (row.seq !== seq) return { ok: false, seq, reason: `an entry is missing: found ${row.seq}` };
    hash = lineHash(hash, row.line);
    if (row.hash !== hash) return { ok: false, seq, reason: 'its line or an earlier one was altered' };
  }
  if (seq !== head.seq || hash !== head.hash) return { ok: false, seq: seq + 1, reason: `the end is missing: ${head.seq} entries were written` };
  return { ok: true, length: seq, head: hash };
};
