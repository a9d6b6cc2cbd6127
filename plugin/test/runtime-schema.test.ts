import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { CommandError, INVALID_PARAMS } from '../runtime/command-error.js';
import type { JsonObject, JsonValue } from '../runtime/json.js';
import { Reply, reply, UnexpectedReply } from '../runtime/json-read.js';
import { option, OptionError, readOptions } from '../runtime/options.js';
import { param, readParams, usageOf } from '../runtime/params.js';

describe('params', () => {
  const schema = {
    clients: param.array(param.either(param.hex(33), param.object({ node_id: param.hex(33), stock: param.optional(param.msat()) }), 'a node id, or an object'), { min: 1, max: 3 }),
    capacity: param.msat({ min: 1_000n }),
    stock: param.withDefault(param.msat(), 0n),
    request_id: param.optional(param.string({ pattern: /^[a-z0-9-]{1,32}$/, expected: 'a short name' })),
    min_clients: param.optional(param.int(2, 500)),
    mode: param.withDefault(param.oneOf('static', 'layered'), 'static'),
    dry_run: param.withDefault(param.bool(), false),
  };
  const ID = `02${'ab'.repeat(32)}`;
  const fieldOf = (params: JsonValue): unknown => {
    try {
      readParams(schema, params);
    } catch (error) {
      if (error instanceof CommandError && error.code === INVALID_PARAMS) return error.data?.['field'] ?? error.message;
      throw error;
    }
    return 'accepted';
  };

  test('the usage line shows what may be left out', () => {
    expect(usageOf(schema)).toBe('clients capacity [stock] [request_id] [min_clients] [mode] [dry_run]');
  });

  test('positional and named give the same', () => {
    const expected = { clients: [ID], capacity: 5_000_000n, stock: 10n, request_id: 'r-1', min_clients: 2, mode: 'layered', dry_run: true };
    expect(readParams(schema, [[ID], '5000sat', 10, 'r-1', '2', 'layered', 'true'])).toEqual(expected);
    expect(readParams(schema, { dry_run: true, mode: 'layered', min_clients: 2, request_id: 'r-1', stock: '10msat', capacity: 5_000_000, clients: [ID] })).toEqual(expected);
  });

  test('null and absent are the same, and take the default', () => {
    const expected = { clients: [ID], capacity: 1_000n, stock: 0n, request_id: undefined, min_clients: undefined, mode: 'static', dry_run: false };
    expect(readParams(schema, [[ID], 1_000])).toEqual(expected);
    expect(readParams(schema, [[ID], 1_000, null, null, null, null, null])).toEqual(expected);
    expect(readParams(schema, { clients: [ID], capacity: 1_000, stock: null })).toEqual(expected);
    expect(readParams({}, undefined)).toEqual({});
  });

  test('every error names its field', () => {
    expect(fieldOf([])).toBe('clients');
    expect(fieldOf([[ID]])).toBe('capacity');
    expect(fieldOf({ clients: [ID], capacity: null })).toBe('capacity');
    expect(fieldOf([[], 1_000])).toBe('clients');
    expect(fieldOf([[ID, 'zz'], 1_000])).toBe('clients[1]');
    expect(fieldOf([[ID, { node_id: ID, stock: 'x' }], 1_000])).toBe('clients[1].stock');
    expect(fieldOf([[{ node_id: ID, extra: 1 }], 1_000])).toBe('clients[0].extra');
    expect(fieldOf([[{ stock: 1 }], 1_000])).toBe('clients[0].node_id');
    expect(fieldOf([[ID], 999])).toBe('capacity');
    expect(fieldOf([[ID], -1])).toBe('capacity');
    expect(fieldOf([[ID], 1.5])).toBe('capacity');
    expect(fieldOf([[ID], 1_000, 0, 'UPPER'])).toBe('request_id');
    expect(fieldOf([[ID], 1_000, 0, 'r', 1])).toBe('min_clients');
    expect(fieldOf([[ID], 1_000, 0, 'r', 2, 'other'])).toBe('mode');
    expect(fieldOf([[ID], 1_000, 0, 'r', 2, 'static', 'maybe'])).toBe('dry_run');
    expect(fieldOf({ clients: [ID], capacity: 1_000, nonsense: 1 })).toBe('nonsense');
    expect(fieldOf({ clients: [ID], capacity: 1_000, __proto__: 1, constructor: 2 })).toBe('constructor');
    expect(fieldOf([[ID], 1_000, 0, 'r', 2, 'static', true, 'more'])).toBe('too many parameters: got 8, expected 7');
    expect(fieldOf('clients')).toBe('Expected array or object for params');
  });

  test('amounts in every form of lightningd-rpc(7), and in no other', () => {
    const read = (value: JsonValue): bigint => param.msat().parse(value, 'amount');
    const forms: readonly (readonly [JsonValue, bigint])[] = [
      [10_000, 10_000n],
      ['10000', 10_000n],
      ['10000msat', 10_000n],
      ['10sat', 10_000n],
      ['10.001sat', 10_001n],
      ['1btc', 100_000_000_000n],
      ['0.00000010btc', 10_000n],
      ['0.00000010001btc', 10_001n],
      [2_100_000_000_000_000_000n, 2_100_000_000_000_000_000n],
    ];
    for (const [form, expected] of forms) expect(read(form)).toBe(expected);
    for (const form of ['', 'sat', '1.0sat', '1.5btc', '-1sat', '1 sat', '0x10', '1e3', '21000001btc', 2n ** 64n, true, [], {}])
      expect(() => read(form)).toThrow(/amount: should be an amount/);
    expect(param.wholeSatMsat().parse('10sat', 'a')).toBe(10_000n);
    expect(() => param.wholeSatMsat().parse(10_001, 'a')).toThrow(/whole number of satoshis/);
  });

  test('integers beyond 2^53 are not rounded into bounds', () => {
    expect(() => param.int().parse(2n ** 53n, 'n')).toThrow(CommandError);
    expect(param.int().parse('-5', 'n')).toBe(-5);
    expect(() => param.int().parse('5.0', 'n')).toThrow(CommandError);
  });

  test('custom readings turn exceptions into -32602, a long value is not shown in full', () => {
    const even = param.custom((v) => {
      if (v === 2) return 'two';
      throw new Error('only 2 will do');
    });
    expect(even.parse(2, 'n')).toBe('two');
    expect(() => even.parse(3, 'n')).toThrow(expect.objectContaining({ code: INVALID_PARAMS, message: 'n: only 2 will do' }));
    expect(() => param.hex(32).parse('x'.repeat(5_000), 'txid')).toThrow(/^txid: should be 32 bytes of hex: invalid token "x{199}…$/);
  });

  test('nothing an RPC user sends is anything but a CommandError', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        try {
          readParams(schema, value as JsonValue);
        } catch (error) {
          expect(error).toBeInstanceOf(CommandError);
        }
      }),
      { numRuns: 5_000 },
    );
  });
});

describe('options', () => {
  const schema = {
    accept: option.strings({ description: 'whom' }),
    rate: option.int({ description: 'rate', default: 2_000, convert: (n) => {
      if (n < 1_000) throw new Error('below 1000');
      return BigInt(n);
    } }),
    db: option.string({ description: 'file' }),
    mainnet: option.bool({ description: 'dare', default: false }),
    quiet: option.flag({ description: 'hush' }),
    ports: option.ints({ description: 'ports', default: 1 }),
  };

  test('defaults, and values as lightningd sends them', () => {
    expect(readOptions(schema, {})).toEqual({ accept: [], rate: 2_000n, db: undefined, mainnet: false, quiet: false, ports: [1] });
    expect(readOptions(schema, { accept: ['a', 'b'], rate: 5_000, db: '/x', mainnet: true, quiet: true, ports: [] })).toEqual({
      accept: ['a', 'b'], rate: 5_000n, db: '/x', mainnet: true, quiet: true, ports: [],
    });
  });

  test('setconfig sends text', () => {
    expect(schema.rate.read('+3000', 'rate')).toBe(3_000n);
    expect(schema.mainnet.read('YES', 'mainnet')).toBe(true);
    expect(schema.mainnet.read('0', 'mainnet')).toBe(false);
    expect(schema.ports.read(['1', '2'], 'ports')).toEqual([1, 2]);
  });

  test('what cannot be used is named', () => {
    const message = (given: JsonObject): string => {
      try {
        readOptions(schema, given);
      } catch (error) {
        if (error instanceof OptionError) return error.message;
      }
      return 'accepted';
    };
    expect(message({ rate: 5 })).toBe('rate: below 1000');
    expect(message({ rate: 2n ** 60n })).toBe('rate: should be an integer, not 1152921504606846976');
    expect(message({ rate: '0x10' })).toBe('rate: should be an integer, not "0x10"');
    expect(message({ db: 7 })).toBe('db: should be a string, not 7');
    expect(message({ mainnet: 'perhaps' })).toMatch(/^mainnet: should be 'true' or 'false'/);
    expect(message({ accept: ['a', 3] })).toMatch(/^accept: should be a string/);
  });
});

describe('Reply', () => {
  const read = reply('listpeerchannels', {
    n: 5, big: 2n ** 60n, name: 'x', yes: true, none: null, half: 0.5, hex: 'ABcd', old: '123msat', bad: '12sat', negative: -1,
    channels: [{ state: 'A', funding: { local_msat: 10 } }, { state: 7 }], names: ['a', 1],
  });

  test('reads what is there', () => {
    expect([read.int('n'), read.big('n'), read.big('big'), read.str('name'), read.bool('yes'), read.num('half'), read.hex('hex')]).toEqual([
      5, 5n, 2n ** 60n, 'x', true, 0.5, 'abcd',
    ]);
    expect([read.msat('n'), read.msat('big'), read.msat('old')]).toEqual([5n, 2n ** 60n, 123n]);
    expect(read.objs('channels')[0]?.obj('funding').msat('local_msat')).toBe(10n);
    expect([read.optStr('none'), read.optStr('absent'), read.optInt('n'), read.optMsat('toString'), read.optObjs('absent')]).toEqual([undefined, undefined, 5, undefined, []]);
  });

  test('what is not as documented is named by its path', () => {
    const failure = (run: () => unknown): unknown => {
      try {
        run();
      } catch (error) {
        return error instanceof UnexpectedReply ? `${error.method} ${error.field}` : error;
      }
      return 'accepted';
    };
    const m = 'listpeerchannels';
    expect(failure(() => read.str('absent'))).toBe(`${m} absent`);
    expect(failure(() => read.str('toString'))).toBe(`${m} toString`);
    expect(failure(() => read.int('big'))).toBe(`${m} big`);
    expect(failure(() => read.int('half'))).toBe(`${m} half`);
    expect(failure(() => read.msat('bad'))).toBe(`${m} bad`);
    expect(failure(() => read.msat('negative'))).toBe(`${m} negative`);
    expect(failure(() => read.hex('name'))).toBe(`${m} name`);
    expect(failure(() => read.optStr('n'))).toBe(`${m} n`);
    expect(failure(() => read.objs('channels')[1]?.str('state'))).toBe(`${m} channels[1].state`);
    expect(failure(() => read.objs('channels')[0]?.obj('funding').str('local_msat'))).toBe(`${m} channels[0].funding.local_msat`);
    expect(failure(() => read.objs('names'))).toBe(`${m} names[0]`);
    expect(failure(() => read.strs('names'))).toBe(`${m} names[1]`);
    expect(failure(() => reply('x', []))).toBe('x result');
    expect(read.unexpected('n', 'six')).toMatchObject({ field: 'n', message: 'listpeerchannels: n: expected six, got 5' });
    expect(new Reply('a', {}).has('__proto__')).toBe(false);
  });
});
