import { describe, expect, test } from '@jest/globals';
import { Memo } from '../memo.js';

/** A memo, and the keys it had to compute. */
const counting = (maxLength: number): { readonly memo: Memo<object>; readonly computed: string[]; readonly get: (key: string) => object } => {
  const memo = new Memo<object>(maxLength);
  const computed: string[] = [];
  const get = (key: string): object =>
    memo.get(key, () => {
      computed.push(key);
      return { key };
    });
  return { memo, computed, get };
};

describe('Memo', () => {
  test('computes once, and answers with the same object', () => {
    const { computed, get } = counting(10);
    expect(get('a')).toBe(get('a'));
    expect(computed).toEqual(['a']);
  });

  test('forgets what was unused for longest when the keys get too long', () => {
    const { memo, computed, get } = counting(4);
    ['aa', 'bb', 'aa', 'cc', 'aa', 'bb'].forEach(get);
    expect(computed).toEqual(['aa', 'bb', 'cc', 'bb']);
    expect(memo.size).toBe(2);
  });

  test('what is asked for again takes no more room than before', () => {
    const { computed, get } = counting(4);
    ['aa', 'bb', 'bb', 'bb', 'aa'].forEach(get);
    expect(computed).toEqual(['aa', 'bb']);
  });

  test('makes room for a long key, also for one beyond the bound', () => {
    const { memo, get } = counting(4);
    ['a', 'b', 'c', 'd'].forEach(get);
    get('eee');
    expect(memo.size).toBe(2);
    get('longer than all');
    expect(memo.size).toBe(1);
    ['a', 'b', 'c', 'd', 'e'].forEach(get);
    expect(memo.size).toBe(4);
  });

  test('does not remember a failure', () => {
    const { memo, get } = counting(4);
    const fail = (): object => {
      throw new Error('no');
    };
    expect(() => memo.get('a', fail)).toThrow('no');
    expect(memo.size).toBe(0);
    expect(get('a')).toEqual({ key: 'a' });
  });
});
