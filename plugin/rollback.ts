/**
 * Notices a database that is older than the node: a counter of its writes is mirrored in CLN's datastore. Signing with an
 * old copy could sign twice for one outpoint, so such a plugin only watches (architecture 11).
 */
import { hex } from '../blip/brands.js';
import type { Lightning } from './lightning/lightning.js';
import type { Store } from './store/store.js';

const KEY = ['cln-factory', 'generation'] as const;
/** In the old copy itself: it goes on counting while it watches, and must not pass for the newest when it has caught up. */
const MARK = 'rolled_back';

const toHex = (n: number) => hex(n.toString(16).padStart(16, '0'));

/** The problem, in words for the operator; undefined when there is none. */
export const rollbackProblem = async (ln: Lightning, store: Store): Promise<string | undefined> => {
  const entry = await ln.datastoreGet(KEY);
  const mirrored = entry ? Number.parseInt(entry.value, 16) : 0;
  if (mirrored > store.generation() && store.meta(MARK) === undefined) store.setMeta(MARK, `write ${store.generation()}, the node remembered ${mirrored}`);
  const mark = store.meta(MARK);
  if (mark === undefined) return undefined;
  return (
    `the plugin's database is older than the node (${mark}): it was restored from an old copy. ` +
    'Nothing will be signed; the chain is watched and exits are published. Put the newest copy back, or leave the factories with factory-exit.'
  );
};

/**
 * Mirrors the counter, one write at a time; a missed one is caught up with by the next. Not for an old copy: its counter over
 * the newer one would hide the rollback from the next start.
 */
export class Mirror {
  private running = false;
  private written = -1;

  constructor(
    private readonly lightning: Lightning,
    private readonly store: Store,
    private readonly failed: (reason: string) => void,
  ) {}

  update(): void {
    if (this.running || this.store.generation() === this.written) return;
    this.running = true;
    const generation = this.store.generation();
    this.lightning
      .datastoreSet(KEY, toHex(generation))
      .then(() => {
        this.written = generation;
      })
      .catch((error: unknown) => {
        this.failed(error instanceof Error ? error.message : String(error));
      })
      .finally(() => {
        this.running = false;
        if (this.written === generation) this.update();
      });
  }
}
