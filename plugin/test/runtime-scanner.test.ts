import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { JsonScanner, ScanError, type ScannerLimits } from '../runtime/json-scanner.js';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

/** Feeds the bytes in chunks of the given sizes (the last size repeats). */
const feed = (scanner: JsonScanner, data: Uint8Array, sizes: readonly number[]): (string | ScanError)[] => {
  const found: (string | ScanError)[] = [];
  for (let at = 0, i = 0; at < data.length; i++) {
    const size = sizes[Math.min(i, sizes.length - 1)] ?? 1;
    // A copy that is overwritten afterwards: the scanner may not hold on to the chunk.
    const chunk = data.slice(at, at + size);
    found.push(...scanner.push(chunk));
    chunk.fill(0x21);
    at += size;
  }
  return found;
};
const scan = (data: Uint8Array, sizes: readonly number[] = [65_536], limits: ScannerLimits = {}): (string | ScanError)[] =>
  feed(new JsonScanner(limits), data, sizes);
const codes = (found: readonly (string | ScanError)[]): readonly string[] => found.map((f) => (typeof f === 'string' ? 'text' : f.code));

const document = fc.oneof(fc.dictionary(fc.string({ unit: 'grapheme' }), fc.jsonValue()), fc.array(fc.jsonValue(), { maxLength: 4 }));
const separator = fc.stringMatching(/^[ \t\r\n]{0,6}$/);

describe('JsonScanner', () => {
  test('any stream of JSON values, cut anywhere, gives the values', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(document, separator, fc.constantFrom(undefined, 2)), { maxLength: 8 }),
        fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 30 }),
        (values, sizes) => {
          const stream = values.map(([v, space, indent]) => JSON.stringify(v, null, indent) + space).join('');
          const scanner = new JsonScanner();
          const found = feed(scanner, bytes(stream), sizes);
          expect(found.map((f) => JSON.parse(f as string) as unknown)).toEqual(values.map(([v]) => JSON.parse(JSON.stringify(v)) as unknown));
          expect(scanner.end()).toBeUndefined();
        },
      ),
      { numRuns: 500 },
    );
  });

  test('cut inside a multi-byte character, an escape, and at every other place', () => {
    const text = '{"a":"é💡\\"\\\\","b":[{"c":"}]"}]}';
    const data = bytes(`${text}\n\n${text}`);
    for (let cut = 1; cut < data.length; cut++) expect(scan(data, [cut, data.length])).toEqual([text, text]);
    expect(scan(data, [1])).toEqual([text, text]);
  });

  test('hostile bytes never throw, and whatever they were, the next stream is read', () => {
    const hostile = fc.oneof(
      fc.uint8Array({ maxLength: 60 }),
      fc.array(fc.constantFrom('{', '}', '[', ']', '"', ':', '\\', ',', '\n', ' ', '1', 'a', '\u00ff'), { maxLength: 60 }).map((c) => bytes(c.join(''))),
    );
    const good = bytes('\n{"ok":1}\n');
    let runs = 0;
    fc.assert(
      fc.property(hostile, fc.integer({ min: 1, max: 8 }), (junk, size) => {
        runs++;
        const scanner = new JsonScanner({ maxBytes: 50, maxDepth: 6 });
        const found = feed(scanner, junk, [size]);
        if (!found.every((item) => (typeof item === 'string' ? item.length <= 50 : item instanceof ScanError))) return false;
        scanner.end();
        const [next, ...more] = scanner.push(good);
        return next === '{"ok":1}' && more.length === 0;
      }),
      { numRuns: 100_000 },
    );
    expect(runs).toBe(100_000);
  }, 60_000);

  test('too large: reported once, skipped exactly to its end, whatever the chunks', () => {
    const large = `{"jsonrpc":"2.0","x":"${'y'.repeat(500)}\\"}","z":[{}]}`;
    const data = bytes(`${large}{"ok":1}`);
    for (const size of [1, 7, 64, 4096]) {
      const found = scan(data, [size], { maxBytes: 100 });
      expect(codes(found)).toEqual(['too_large', 'text']);
      expect((found[0] as ScanError).head.startsWith('{"jsonrpc":"2.0","x"')).toBe(true);
      expect(found[1]).toBe('{"ok":1}');
    }
    expect(scan(bytes('{"a":12345}'), [1], { maxBytes: 11 })).toEqual(['{"a":12345}']);
    expect(codes(scan(bytes('{"a":123456}'), [1], { maxBytes: 11 }))).toEqual(['too_large']);
  });

  test('malformed and too deep: skipped to the next line feed', () => {
    expect(codes(scan(bytes('oops {"in":1}\n{"ok":1}')))).toEqual(['malformed', 'text']);
    expect(codes(scan(bytes('{"a":[1}]}\n{"ok":1}')))).toEqual(['malformed', 'text']);
    expect(codes(scan(bytes(']\n{"ok":1}')))).toEqual(['malformed', 'text']);
    expect(codes(scan(bytes(`${'['.repeat(9)}\n{"ok":1}`), [3], { maxDepth: 8 }))).toEqual(['too_deep', 'text']);
    expect(scan(bytes('[[[[[[[[]]]]]]]]'), [3], { maxDepth: 8 })).toHaveLength(1);
  });

  test('the end inside a value is an error, between values it is none', () => {
    const scanner = new JsonScanner();
    scanner.push(bytes('{"a":1}\n{"b'));
    expect(scanner.end()).toMatchObject({ code: 'truncated', head: '{"b' });
    expect(scanner.end()).toBeUndefined();
    expect(scanner.push(bytes('{"c":1}'))).toEqual(['{"c":1}']);
  });

  test('bytes that are no UTF-8 become replacement characters', () => {
    expect(scan(Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d))).toEqual(['{"\ufffd":1}']);
  });

  test('time is linear: 4 MB in 1-byte chunks, in large ones, and as a million small messages', () => {
    const big = bytes(`{"block":"${'ab'.repeat(2 * 1024 * 1024)}"}`);
    const elapsed = (run: () => void): number => {
      const start = performance.now();
      run();
      return performance.now() - start;
    };
    const single = new JsonScanner();
    const found: unknown[] = [];
    const byBytes = elapsed(() => {
      for (let i = 0; i < big.length; i++) found.push(...single.push(big.subarray(i, i + 1)));
    });
    expect(found).toHaveLength(1);
    const many = bytes('{"a":1}\n\n'.repeat(1_000_000));
    const small = elapsed(() => expect(scan(many)).toHaveLength(1_000_000));
    // A quadratic scanner needs hours for either.
    expect(byBytes).toBeLessThan(10_000);
    expect(small).toBeLessThan(10_000);
  }, 30_000);

  test('memory: a value that never ends is not kept beyond the limit', () => {
    const scanner = new JsonScanner({ maxBytes: 100_000 });
    const before = process.memoryUsage().arrayBuffers;
    expect(codes(scanner.push(bytes('{"x":"')))).toEqual([]);
    const chunk = bytes('y'.repeat(65_536));
    const reported = Array.from({ length: 2_000 }, () => scanner.push(chunk)).flat();
    expect(codes(reported)).toEqual(['too_large']);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(8 * 1024 * 1024);
    expect(scanner.push(bytes('"}[1]'))).toEqual(['[1]']);
  });
});
