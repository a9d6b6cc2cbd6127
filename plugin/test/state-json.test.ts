import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

import { decodeState, decodeValue, digest, encodeState, encodeValue } from '../store/state-json.js';
import { refusal } from './store-suite.js';

const arbLeaf = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.boolean(),
  fc.constant(null),
  fc.bigInt(),
  fc.uint8Array(),
  fc.double({ noNaN: true, noDefaultInfinity: true }).filter((n) => !Object.is(n, -0)),
);
const arbKey = fc.string().filter((key) => !key.startsWith('$') && key !== '__proto__');
const { value: arbValue } = fc.letrec((tie) => ({
  value: fc.oneof({ depthSize: 'small', withCrossShrink: true }, arbLeaf, fc.array(tie('value')), fc.dictionary(arbKey, tie('value'), { noNullPrototype: true })),
}));

describe('canonical JSON', () => {
  test('gives back what it was given', () => {
    fc.assert(fc.property(arbValue, (value) => expect(decodeValue(encodeValue(value))).toEqual(value)));
  });

  test('the same data is the same text, in whatever order it was put together', () => {
    const shuffled = (value: unknown): unknown => {
      if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return value;
      if (Array.isArray(value)) return value.map(shuffled);
      return Object.fromEntries(Object.entries(value).reverse().map(([key, item]) => [key, shuffled(item)]));
    };
    fc.assert(fc.property(arbValue, (value) => expect(encodeValue(shuffled(value))).toBe(encodeValue(value))));
  });

  test('text decoded and encoded again is the same text', () => {
    fc.assert(fc.property(arbValue, (value) => expect(encodeValue(decodeValue(encodeValue(value)))).toBe(encodeValue(value))));
  });

  test('the form', () => {
    const value = { b: 1, a: [true, null, 'é"\u0000\ud800'], n: -5n, bytes: new Uint8Array([0, 255]), gone: undefined };
    expect(encodeValue(value)).toBe('{"a":[true,null,"é\\"\\u0000\\ud800"],"b":1,"bytes":{"$bytes":"00ff"},"n":{"$big":"-5"}}');
  });

  test('bytes of a view are those of the view', () => {
    expect(encodeValue(new Uint8Array([1, 2, 3, 4]).subarray(1, 3))).toBe('{"$bytes":"0203"}');
    expect(decodeValue(encodeValue(Buffer.from([7])))).toEqual(new Uint8Array([7]));
  });

  class Account {
    balance = 1n;
  }
  const cycle: unknown[] = [];
  cycle.push({ cycle });
  test.each<[string, unknown, string]>([
    ['a function', { a: () => 1 }, 'value.a'],
    ['a symbol', [Symbol('s')], 'value[0]'],
    ['undefined in a list', [1, undefined], 'value[1]'],
    ['a hole in a list', new Array<number>(1), 'value[0]'],
    ['undefined itself', undefined, 'value'],
    ['NaN', { x: [NaN] }, 'value.x[0]'],
    ['Infinity', Infinity, 'value'],
    ['minus zero', -0, 'value'],
    ['a Map', { m: new Map() }, 'value.m'],
    ['a Date', new Date(), 'value'],
    ['another typed array', new Uint16Array(1), 'value'],
    ['a class instance', new Account(), 'value'],
    ['a key that is a tag', { a: { $big: '1' } }, 'value.a'],
    ['a key that sets a prototype', JSON.parse('{"__proto__": {"x": 1}}'), 'value'],
  ])('%s is not data', (_name, value, path) => {
    const error = refusal(() => encodeValue(value));
    expect([error.code, error.culprit]).toEqual(['codec', path]);
  });

  test('a cycle ends with a refusal, not with the stack', () => {
    expect(refusal(() => encodeValue(cycle)).message).toContain('cycle');
  });

  test.each([
    ['not JSON', '{'],
    ['an unknown tag', '{"a":{"$date":"2020"}}'],
    ['a tag with company', '{"$big":"1","x":2}'],
    ['two tags', '{"$big":"1","$bytes":"00"}'],
    ['a big number that is none', '{"$big":"1.5"}'],
    ['a big number with a zero before', '{"$big":"01"}'],
    ['a big number as a number', '{"$big":1}'],
    ['minus zero', '{"$big":"-0"}'],
    ['half a byte', '{"$bytes":"0"}'],
    ['upper-case hex', '{"$bytes":"AB"}'],
    ['a number out of range', '[1e999]'],
    ['a key that sets a prototype', '{"__proto__":{"x":1}}'],
    ['too deep', '['.repeat(100) + ']'.repeat(100)],
  ])('%s is refused when read', (_name, text) => {
    expect(refusal(() => decodeValue(text)).code).toBe('codec');
  });
});

describe('versions of a state', () => {
  const upgrades = [(old: unknown) => ({ ...(old as object), two: true }), (old: unknown) => ({ ...(old as object), three: 3n })];

  test('a state is brought forward step by step', () => {
    const first = encodeState({ one: 1 }, []);
    expect(first).toBe('{"state":{"one":1},"version":1}');
    expect(decodeState(first, upgrades)).toEqual({ one: 1, two: true, three: 3n });
    expect(decodeState(encodeState({ one: 1 }, upgrades.slice(0, 1)), upgrades)).toEqual({ one: 1, three: 3n });
    expect(decodeState(encodeState({ one: 1 }, upgrades), upgrades)).toEqual({ one: 1 });
  });

  test('a state of the future is refused', () => {
    const error = refusal(() => decodeState(encodeState({}, upgrades)));
    expect([error.code, error.culprit]).toEqual(['newer_schema', 'state']);
    expect(error.message).toContain('version 3');
  });

  test.each(['null', '[]', '{}', '{"state":1}', '{"version":1}', '{"state":1,"version":0}', '{"state":1,"version":"1"}', '{"state":1,"version":1.5}'])(
    '%s is no state',
    (text) => {
      expect(refusal(() => decodeState(text)).code).toBe('codec');
    },
  );
});

test('the digest of arguments does not depend on their order, and does on their values and types', () => {
  expect(digest({ a: 1, b: [2n] })).toBe(digest({ b: [2n], a: 1 }));
  expect(new Set([digest({ a: 1 }), digest({ a: 1n }), digest({ a: '1' }), digest([1]), digest({})]).size).toBe(5);
  expect(digest({})).toBe('44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a');
});
