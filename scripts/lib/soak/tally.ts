/** What has happened so far, in numbers; and what must not have happened, in words. */
import { WaitTimeout } from '../../../itest/harness/wait.js';
import { RpcError } from '../../../itest/harness/rpc.js';

export type Counter =
  | 'attempted'
  | 'succeeded'
  | 'failed'
  | 'unknown'
  | 'arrived'
  | 'restarts'
  | 'kills'
  | 'disconnects'
  | 'creates'
  | 'purchases'
  | 'rotations'
  | 'closes'
  | 'exits'
  | 'blocks';

const started = performance.now();
/** m:ss since the start. */
export const clock = (): string => {
  const s = Math.floor((performance.now() - started) / 1000);
  return `${Math.floor(s / 60)}:${(s % 60).toString().padStart(2, '0')}`;
};

export const say = (text: string): void => {
  process.stdout.write(`${clock().padStart(6)}  ${text}\n`);
};

/** Ids, amounts and heights differ from one failure to the next; what remains is the reason. */
export const reasonOf = (error: unknown): string => {
  if (error instanceof WaitTimeout) return error.what;
  if (!(error instanceof Error)) return String(error);
  if (!(error instanceof RpcError) && /ECONNREFUSED|ENOENT|ECONNRESET|EPIPE|connection closed/.test(error.message)) return 'a node was down';
  const words = error.message
    .replaceAll(/\b[0-9a-f]{16,}\b/g, '…')
    .replaceAll(/\d+x\d+x\d+(\/\d)?/g, '…')
    .replaceAll(/\b\d+(?=msat|sat| channels| attempts)/g, '…')
    .replaceAll(/\bfrom \d+ to \d+/g, 'from … to …');
  return words.length > 110 ? `${words.slice(0, 109)}…` : words;
};

export class Tally {
  private readonly counts = new Map<Counter, number>();
  /** Why payments failed, and why commands had to be given again: how often, and how often while nothing was wrong. */
  readonly reasons = new Map<string, { count: number; calm: number }>();
  readonly errors: string[] = [];

  add(counter: Counter, by = 1): void {
    this.counts.set(counter, this.get(counter) + by);
  }

  get(counter: Counter): number {
    return this.counts.get(counter) ?? 0;
  }

  reason(what: string, error: unknown, calm: boolean): void {
    const key = `${what}: ${reasonOf(error)}`;
    const entry = this.reasons.get(key) ?? { count: 0, calm: 0 };
    entry.count += 1;
    if (calm) {
      entry.calm += 1;
      say(`with nothing wrong, ${what}: ${error instanceof Error ? error.message : String(error)}`);
    }
    this.reasons.set(key, entry);
  }

  error(text: string): void {
    this.errors.push(`${clock()} ${text}`);
    say(`ERROR ${text}`);
  }

  line(): string {
    const n = (counter: Counter): number => this.get(counter);
    const calm = [...this.reasons.values()].reduce((sum, reason) => sum + reason.calm, 0);
    return (
      `payments ${n('succeeded')} ok, ${n('failed')} failed, ${n('unknown')} unknown (${calm} with nothing wrong); restarts ${n('restarts')}, kills ${n('kills')}, ` +
      `disconnects ${n('disconnects')}; factories created ${n('creates')}, purchases ${n('purchases')}, rotations ${n('rotations')}, closed ${n('closes')}, left ${n('exits')}; blocks ${n('blocks')}; errors ${this.errors.length}`
    );
  }
}
