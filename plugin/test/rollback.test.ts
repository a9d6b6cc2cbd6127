import { describe, expect, test } from '@jest/globals';
import { hex, instanceId } from '../../blip/brands.js';
import type { Lightning } from '../lightning/lightning.js';
import { Mirror, rollbackProblem } from '../rollback.js';
import { openMemoryStore } from '../store/memory-store.js';
import type { Store } from '../store/store.js';

/** A node's datastore with one entry. */
const datastore = () => {
  let value: string | undefined;
  const ln = {
    datastoreGet: () => Promise.resolve(value === undefined ? undefined : { value: hex(value), generation: 0 }),
    datastoreSet: (_: readonly string[], next: string) => {
      value = next;
      return Promise.resolve(0);
    },
  } as unknown as Lightning;
  return { ln, count: () => Number.parseInt(value ?? '0', 16) };
};
/** So many states, one after the other. */
const written = (store: Store, writes: number): Store => {
  const id = instanceId('ab'.repeat(32));
  for (let i = 0; i < writes; i += 1) {
    const revision = store.factory(id)?.revision ?? 0;
    store.apply({ journal: { event: 'test' }, states: [{ instanceId: id, role: 'member', phase: 'live', state: {}, revision }] });
  }
  return store;
};
const mirrored = async (ln: Lightning, store: Store): Promise<void> => {
  new Mirror(ln, store, (reason) => expect(reason).toBe('')).update();
  await new Promise(setImmediate);
};

describe('a database that was rolled back', () => {
  test('the newest copy is none, nor is one that is ahead of its mirror', async () => {
    const { ln } = datastore();
    const store = written(openMemoryStore(), 3);
    await mirrored(ln, store);
    expect(await rollbackProblem(ln, store)).toBeUndefined();
    expect(await rollbackProblem(ln, written(store, 1))).toBeUndefined();
  });

  test('an older one is noticed, and stays noticed when it has counted past the newest', async () => {
    const { ln, count } = datastore();
    await mirrored(ln, written(openMemoryStore(), 5));
    const old = written(openMemoryStore(), 3);
    expect(await rollbackProblem(ln, old)).toMatch(/write 3, the node remembered 5.*[Nn]othing will be signed/s);
    written(old, 10);
    expect(old.generation()).toBeGreaterThan(count());
    expect(await rollbackProblem(ln, old)).toMatch(/write 3, the node remembered 5/);
  });
});
