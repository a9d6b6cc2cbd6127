import { describe, expect, test } from '@jest/globals';
import { flat, parseInvocation, pretty } from '../cli-args.js';
import { Options } from '../options.js';
import { feerate, int, msat, opt, readArgs, req, sat, str } from '../params.js';

const BASE = ['--lightning-dir=/nowhere/at/all', '--network=regtest'];

describe('lightningd’s options', () => {
  test('with = or as the next word; the last one counts, lists keep all', () => {
    const options = new Options([...BASE, '--alias', 'one', '--alias=two', '--plugin=/a', '--plugin', '/b', '--bitcoin-rpcport=1234']);
    expect(options.string('alias')).toBe('two');
    expect(options.strings('plugin')).toEqual(['/a', '/b']);
    expect(options.int('bitcoin-rpcport')).toBe(1234);
    expect(options.int('cltv-delta')).toBe(6);
    expect(options.networkDir).toBe('/nowhere/at/all/regtest');
    options.check();
  });

  test.each([
    [['--foo=1'], '--foo=1: unknown option'],
    [['--dev-fast-gossip'], '--dev-fast-gossip: requires --developer'],
    [['--developer=1'], "--developer=1: doesn't allow an argument"],
    [['--cltv-delta=x'], "'x' is not a number"],
  ])('%s is refused', (argv, words) => {
    expect(() => {
      new Options([...BASE, ...argv]).check();
    }).toThrow(words);
  });

  test('a plugin gets its own, and an unset flag not at all', () => {
    const options = new Options([...BASE, '--p-list=a', '--p-list=b', '--p-int=3']);
    for (const spec of [
      { name: 'p-list', kind: 'string', multi: true },
      { name: 'p-int', kind: 'int' },
      { name: 'p-flag', kind: 'flag' },
      { name: 'p-text', kind: 'string', default: 'x' },
    ] as const)
      options.register({ ...spec, plugin: '/p' });
    options.check();
    expect(options.forPlugin('/p')).toEqual({ 'p-list': ['a', 'b'], 'p-int': 3, 'p-text': 'x' });
    expect(options.configs()['p-flag']).toEqual({ set: false, source: 'default', plugin: '/p' });
    expect(() => {
      options.register({ name: 'alias', kind: 'string', plugin: '/p' });
    }).toThrow(/already taken/);
  });
});

describe('parameters', () => {
  const specs = { id: req(str), amount: req(sat), count: opt(int) };

  test('by place and by name, null stands for nothing', () => {
    expect(readArgs(specs, ['a', '5sat', 3])).toEqual({ id: 'a', amount: 5, count: 3 });
    expect(readArgs(specs, { amount: '5000msat', id: 'a', count: null })).toEqual({ id: 'a', amount: 5, count: undefined });
  });

  test('what lightningd refuses is refused in its words', () => {
    expect(() => readArgs(specs, ['a'])).toThrow('missing required parameter: amount');
    expect(() => readArgs(specs, ['a', 1, 2, 3])).toThrow('too many parameters: got 4, expected 3');
    expect(() => readArgs(specs, { foo: 1 })).toThrow(/^unknown parameter: foo/);
    expect(() => readArgs(specs, ['a', '1msat'])).toThrow("amount: should be a satoshi amount: invalid token '\"1msat\"'");
  });

  test('amounts and feerates have units', () => {
    expect(msat('0.001btc', 'x')).toBe(100_000_000);
    expect(sat(7, 'x')).toBe(7);
    expect(feerate('2000perkb', 'x')).toBe(500);
    expect(feerate('500perkw', 'x')).toBe(500);
    expect(feerate('slow', 'x')).toBe(253);
  });
});

describe('lightning-cli', () => {
  const cli = (...argv: string[]) => parseInvocation(['--lightning-dir=/d', '--regtest', ...argv]);

  test('finds the socket; parameters by place or by name, as JSON where they are', () => {
    expect(cli('getinfo')).toMatchObject({ socket: '/d/regtest/lightning-rpc', method: 'getinfo', params: [] });
    expect(cli('m', '1', 'x', '[1,"a"]', 'true').params).toEqual([1, 'x', [1, 'a'], true]);
    expect(cli('m', 'a=1', 'b=x=y').params).toEqual({ a: 1, b: 'x=y' });
    // A PSBT in front needs -k or -o: it may end in "=".
    expect(cli('-o', 'm', 'cHNidA=').params).toEqual(['cHNidA=']);
    expect(cli('-k', 'm', 'psbt=cHNidA=').params).toEqual({ psbt: 'cHNidA=' });
  });

  test('prints as lightning-cli prints', () => {
    expect(pretty({ a: 1, b: [], c: [{ d: 'x' }], e: 18446744073709551615n })).toBe('{\n   "a": 1,\n   "b": [],\n   "c": [\n      {\n         "d": "x"\n      }\n   ],\n   "e": 18446744073709551615\n}');
    expect(flat({ a: { b: [1, 'x'] } })).toEqual(['a.b[0]=1', 'a.b[1]=x']);
  });

  test('what it does not know it refuses', () => {
    expect(() => cli()).toThrow(/Need at least one argument/);
    expect(() => cli('--nonsense', 'm')).toThrow(/unrecognized option/);
    expect(() => cli('-k', 'm', 'x')).toThrow(/Expected key=value/);
  });
});
