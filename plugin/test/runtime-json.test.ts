import { isDeepStrictEqual } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { MAX_DEPTH, JsonError, parseJson, stringifyJson } from '../runtime/json.js';

/** As parseJson gives them: integers beyond 2^53 are bigint, the others numbers. */
const integer = fc.bigInt({ min: -(2n ** 70n), max: 2n ** 70n }).map((n) => (Number.isSafeInteger(Number(n)) ? Number(n) : n));
const json = fc.letrec((tie) => ({
  value: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.constantFrom(null, true, false, '', '__proto__', '\u2028', '💡é"\\\n'),
    fc.string({ unit: 'binary' }),
    integer,
    fc.double({ noNaN: true, noDefaultInfinity: true }).filter((n) => !Number.isInteger(n)),
    fc.array(tie('value')),
    fc.dictionary(fc.oneof(fc.string(), fc.constant('__proto__')), tie('value'), { noNullPrototype: true }),
  ),
})).value;

describe('parseJson and stringifyJson', () => {
  test('integers beyond 2^53 survive, in both directions and inside structures', () => {
    const text = '{"to_us_msat":2100000000000000001,"id":18446744073709551615,"n":-9007199254740993,"small":9007199254740991,"f":1.5,"e":1e3}';
    expect(parseJson(text)).toEqual({
      to_us_msat: 2_100_000_000_000_000_001n,
      id: 18_446_744_073_709_551_615n,
      n: -9_007_199_254_740_993n,
      small: 9_007_199_254_740_991,
      f: 1.5,
      e: 1000,
    });
    expect(stringifyJson({ a: 2_100_000_000_000_000_001n, b: [1n, { c: -5n }] })).toBe('{"a":2100000000000000001,"b":[1,{"c":-5}]}');
  });

  test('what is written is read back', () => {
    fc.assert(fc.property(json, (value) => expect(parseJson(stringifyJson(value))).toEqual(value)), { numRuns: 500 });
  });

  test('agrees with JSON.parse and JSON.stringify on everything they have', () => {
    fc.assert(
      fc.property(fc.json(), fc.constantFrom(undefined, 1, '\t', '\r\n '), (text, indent) => {
        const plain: unknown = JSON.parse(text);
        const spaced = JSON.stringify(plain, null, indent);
        expect(stringifyJson(plain)).toBe(JSON.stringify(plain));
        expect(stringifyJson(parseJson(spaced))).toBe(stringifyJson(plain));
      }),
      { numRuns: 500 },
    );
  });

  test('accepts and refuses the same texts as JSON.parse', () => {
    const pieces = fc.constantFrom('{', '}', '[', ']', ',', ':', '"', '"a"', '\\', '\\u00e9', '\\x', '-', '0', '01', '12', '.5', 'e+3', 'true', 'nul', 'null', ' ', '\n', '\u0001', '\u00a0', 'é', '"\\"');
    fc.assert(
      fc.property(fc.array(pieces, { maxLength: 12 }).map((p) => p.join('')), (text) => {
        const [native, ours] = [JSON.parse, parseJson].map((parse) => {
          try {
            return { value: parse(text) as unknown };
          } catch (error) {
            return { error };
          }
        });
        return ours?.error === undefined ? isDeepStrictEqual(native, ours) : ours.error instanceof JsonError && native?.error !== undefined;
      }),
      { numRuns: 20_000 },
    );
  });

  test('a member called __proto__ is a member', () => {
    const value = parseJson('{"__proto__":{"polluted":true},"b":1}') as Record<string, unknown>;
    expect(Object.getPrototypeOf(value)).toBe(Object.prototype);
    expect(value['polluted']).toBeUndefined();
    expect(Object.keys(value)).toEqual(['__proto__', 'b']);
    expect(stringifyJson(value)).toBe('{"__proto__":{"polluted":true},"b":1}');
  });

  test('the error says where', () => {
    expect(() => parseJson('{"a": tru}')).toThrow(expect.objectContaining({ code: 'json', action: 'parse', position: 6 }));
    expect(() => parseJson('{"a":1} x')).toThrow(expect.objectContaining({ position: 8 }));
    expect(() => parseJson('"\\q"')).toThrow(JsonError);
    expect(() => parseJson('')).toThrow(/unexpected end/);
  });

  test('nesting is bounded both ways', () => {
    const deep = (n: number): string => '['.repeat(n) + ']'.repeat(n);
    expect(stringifyJson(parseJson(deep(MAX_DEPTH)))).toBe(deep(MAX_DEPTH));
    expect(() => parseJson(deep(MAX_DEPTH + 1))).toThrow(JsonError);
    expect(() => parseJson('['.repeat(1_000_000))).toThrow(JsonError);
    const cycle: Record<string, unknown> = {};
    cycle['self'] = cycle;
    expect(() => stringifyJson(cycle)).toThrow(JsonError);
  });

  test('what JSON has no form for is refused, absent members are left out', () => {
    for (const value of [NaN, Infinity, undefined, () => 1, Symbol('s'), new Date(0), new Map(), [undefined]])
      expect(() => stringifyJson({ value: [value] })).toThrow(JsonError);
    expect(() => stringifyJson({ events: [1, ['a', undefined]] })).toThrow('a value of type undefined has no JSON form (at events.1.1)');
    expect(stringifyJson({ a: undefined, b: 1 })).toBe('{"b":1}');
    expect(stringifyJson(Object.assign(Object.create(null) as object, { a: 1 }))).toBe('{"a":1}');
  });

  test('a block of 8 MB of hex, and a listing of 50,000 objects, are read quickly', () => {
    const block = `{"blockhash":"00","block":"${'0123456789abcdef'.repeat(512 * 1024)}"}`;
    const listing = stringifyJson({ htlcs: Array.from({ length: 50_000 }, (_, i) => ({ id: i, amount_msat: 2n ** 60n, state: 'RCVD_"ADD' })) });
    const start = performance.now();
    expect((parseJson(block) as { block: string }).block).toHaveLength(8 * 1024 * 1024);
    expect((parseJson(listing) as { htlcs: unknown[] }).htlcs).toHaveLength(50_000);
    expect(performance.now() - start).toBeLessThan(3_000);
  });
});
