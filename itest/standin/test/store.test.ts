import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, expect, test } from '@jest/globals';
import { Store } from '../store.js';

const dir = mkdtempSync(path.join(tmpdir(), 'standin-store-'));
afterAll(() => {
  rmSync(dir, { recursive: true });
});

test('what is written is there again, in order of creation', () => {
  const file = path.join(dir, 'a.sqlite3');
  const first = new Store(file);
  const things = first.collection<{ readonly n: number }>('thing');
  things.put('z', { n: 1 });
  things.put('a', { n: 2 });
  things.put('z', { n: 3 });
  expect([first.next('counter'), first.next('counter')]).toEqual([1, 2]);
  first.close();
  const second = new Store(file);
  expect(second.collection<{ readonly n: number }>('thing').values()).toEqual([{ n: 3 }, { n: 2 }]);
  expect(second.collection('other').size).toBe(0);
  expect(second.next('counter')).toBe(3);
  second.close();
});

test('a message leaves only after the state it tells of is stored, and not at all if that fails', () => {
  const store = new Store(path.join(dir, 'b.sqlite3'));
  const order: string[] = [];
  store.atomically(() => {
    store.whenStored(() => order.push('sent'));
    store.atomically(() => order.push('inner'));
    order.push('outer');
  });
  store.whenStored(() => order.push('at once'));
  expect(order).toEqual(['inner', 'outer', 'sent', 'at once']);
  expect(() =>
    store.atomically(() => {
      store.set('name', 'value');
      store.whenStored(() => order.push('never'));
      throw new Error('no');
    }),
  ).toThrow('no');
  expect(store.get('name')).toBeUndefined();
  expect(order).not.toContain('never');
  store.close();
});
