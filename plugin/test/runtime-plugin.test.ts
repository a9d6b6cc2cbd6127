import { PassThrough } from 'node:stream';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { CommandContext } from '../runtime/definition.js';
import { stringifyJson } from '../runtime/json.js';
import { CommandError, createPlugin, method, option, param, type Plugin } from '../runtime/plugin.js';
import { FakeNode, pause, silentRpc } from './runtime-harness.js';

const commands = () => {
  const calls: string[] = [];
  const plugin = createPlugin({
    name: 'toy',
    methods: {
      'toy-add': method({
        description: 'adds',
        category: 'toys',
        longDescription: 'adds two amounts',
        params: { a: param.msat(), b: param.withDefault(param.msat(), 1n) },
        check: ({ a }) => {
          calls.push('check');
          if (a === 13n) throw new CommandError(3001, 'unlucky', { a: 13 });
        },
        run: ({ a, b }) => {
          calls.push('run');
          return { sum_msat: a + b };
        },
      }),
      'toy-wait': method({ description: 'waits', params: { ms: param.int(0, 1_000) }, run: async ({ ms }) => (await pause(ms), { waited: ms }) }),
      'toy-fail': method({
        description: 'fails',
        params: { how: param.string() },
        run: ({ how }) => {
          if (how === 'typed') throw new CommandError(3002, 'as planned', { culprit: 'you' });
          if (how === 'json') return { f: () => 1 };
          throw new TypeError('surprise');
        },
      }),
      'toy-progress': method({
        description: 'shows progress',
        params: {},
        run: (_params, ctx: CommandContext) => {
          ctx.message('info', 'hello');
          ctx.progress(0, 3, { num: 0, total: 2 });
          ctx.progress(7, 3);
          ctx.progress(-1, 2, { num: 9, total: 1 });
          ctx.progress(0, 1);
          return { id: ctx.id, check: ctx.check };
        },
      }),
    },
  });
  return { plugin, calls };
};

describe('manifest and init', () => {
  test('the manifest has everything lightningd asks for', async () => {
    const plugin = createPlugin({
      name: 'toy',
      options: {
        'toy-accept': option.strings({ description: 'whom', dynamic: true }),
        'toy-rate': option.int({ description: 'rate', default: 2_000 }),
        'toy-quiet': option.flag({ description: 'hush', deprecated: true }),
      },
      methods: { 'toy-add': method({ description: 'adds', category: 'toys', longDescription: 'long', params: { a: param.int(), b: param.optional(param.int()) }, run: () => ({}) }) },
      hooks: {
        custommsg: { handle: () => ({ result: 'continue' }), fallback: { result: 'continue' }, filters: [32_800], before: ['other'], after: ['third'] },
        rpc_command: { handle: () => ({ result: 'continue' }), fallback: { result: 'continue' }, filters: ['invoice'] },
      },
      subscriptions: { connect: () => undefined },
      notifications: ['toy_event'],
      featurebits: { init: '80', node: '80' },
      custommessages: [32_800],
    });
    const node = new FakeNode(plugin);
    expect(await node.ask('getmanifest', { 'allow-deprecated-apis': true, 'something-new': 1 })).toMatchObject({
      jsonrpc: '2.0',
      result: {
        options: [
          { name: 'toy-accept', type: 'string', description: 'whom', multi: true, dynamic: true },
          { name: 'toy-rate', type: 'int', description: 'rate', default: 2_000 },
          { name: 'toy-quiet', type: 'flag', description: 'hush', deprecated: true },
        ],
        rpcmethods: [{ name: 'toy-add', usage: 'a [b]', description: 'adds', long_description: 'long', category: 'toys' }],
        subscriptions: ['connect', 'shutdown'],
        hooks: [
          { name: 'custommsg', filters: [32_800], before: ['other'], after: ['third'] },
          { name: 'rpc_command', filters: ['invoice'] },
        ],
        notifications: [{ method: 'toy_event' }],
        featurebits: { init: '80', node: '80' },
        custommessages: [32_800],
        nonnumericids: true,
        cancheck: true,
        dynamic: false,
      },
    });
  });

  test('init reads options and configuration; before it they are not to be had', async () => {
    let path = '';
    const plugin = createPlugin({ name: 'toy', options: { 'toy-rate': option.int({ description: 'rate', default: 2_000 }) } });
    expect(() => plugin.options).toThrow('not before init');
    const node = new FakeNode(plugin, { connect: (p) => ((path = p), silentRpc) });
    expect((await node.start({ 'toy-rate': 7 }))['result']).toEqual({});
    expect(plugin.options['toy-rate']).toBe(7);
    expect(plugin.configuration).toMatchObject({ lightningDir: '/nowhere/regtest', rpcPath: '/nowhere/regtest/lightning-rpc', network: 'regtest', startup: true, features: { init: '80' } });
    expect(path).toBe('/nowhere/regtest/lightning-rpc');
    expect(plugin.rpc).toBe(silentRpc);
  });

  test('a plugin that refuses is disabled, loudly', async () => {
    const refusing = new FakeNode(createPlugin({ name: 'toy', onInit: () => ({ disable: 'not on this network' }) }));
    expect((await refusing.start())['result']).toEqual({ disable: 'not on this network' });
    expect(refusing.logs).toEqual(['broken disabled: not on this network']);
  });

  // lightningd takes one that disables itself for unimportant, and goes on without it.
  const rate = { options: { 'toy-rate': option.int({ description: 'rate', default: 1 }) } };
  test('an option that cannot be used, and an exception, end it before it has answered', async () => {
    const withOption = new FakeNode(createPlugin({ name: 'toy', ...rate }));
    void withOption.start({ 'toy-rate': 'x' });
    expect(await withOption.ending).toEqual({ code: 1, reason: 'fatal' });
    expect(withOption.logs).toEqual(['broken fatal: toy-rate: should be an integer, not "x"']);
    const throwing = new FakeNode(createPlugin({ name: 'toy', onInit: () => Promise.reject(new Error('no database')) }));
    void throwing.start();
    expect(await throwing.ending).toEqual({ code: 1, reason: 'fatal' });
    expect(throwing.logs).toEqual([expect.stringMatching(/^broken fatal: .*no database/)]);
  });

  test('an int option such as 0x10, which lightningd passes on as it was typed, ends the plugin instead of hanging the node', async () => {
    const node = new FakeNode(createPlugin({ name: 'toy', ...rate }));
    node.write('{"jsonrpc":"2.0","id":"cln:init#1","method":"init","params":{"options":{"toy-rate":0x10},"configuration":{}}}\n\n');
    expect(await node.ending).toEqual({ code: 1, reason: 'fatal' });
    expect(node.logs).toContainEqual(expect.stringMatching(/fatal: the configuration is unreadable/));
  });

  test('setconfig changes dynamic options only, and check does not', async () => {
    const changed: string[] = [];
    const plugin = createPlugin({
      name: 'toy',
      options: { 'toy-rate': option.int({ description: 'rate', default: 1, dynamic: true }), 'toy-db': option.string({ description: 'file' }) },
      onOptionChanged: (name) => void changed.push(name),
    });
    const node = new FakeNode(plugin);
    await node.start();
    expect((await node.ask('check', { command_to_check: 'setconfig', config: 'toy-rate', val: '5' }))['result']).toEqual({ command_to_check: 'setconfig' });
    expect(plugin.options['toy-rate']).toBe(1);
    expect((await node.ask('setconfig', { config: 'toy-rate', val: '5' }))['result']).toEqual({});
    expect(plugin.options['toy-rate']).toBe(5);
    expect(changed).toEqual(['toy-rate']);
    expect((await node.ask('setconfig', { config: 'toy-rate', val: 'x' }))['error']).toMatchObject({ code: -32_602, data: { field: 'toy-rate' } });
    expect((await node.ask('setconfig', { config: 'toy-db', val: 'x' }))['error']).toMatchObject({ code: -32_602 });
  });
});

describe('commands', () => {
  test('named and positional, large integers, errors', async () => {
    const node = new FakeNode(commands().plugin);
    await node.start();
    expect((await node.ask('toy-add', { a: 2n ** 60n, b: 1 }))['result']).toEqual({ sum_msat: 2n ** 60n + 1n });
    expect((await node.ask('toy-add', ['1sat']))['result']).toEqual({ sum_msat: 1_001 });
    expect((await node.ask('toy-add', { b: 1 }))['error']).toEqual({ code: -32_602, message: 'missing required parameter: a', data: { field: 'a' } });
    expect((await node.ask('toy-fail', ['typed']))['error']).toEqual({ code: 3_002, message: 'as planned', data: { culprit: 'you' } });
    expect((await node.ask('toy-fail', ['x']))['error']).toMatchObject({ code: -32_603, message: 'internal error: surprise' });
    expect((await node.ask('toy-fail', ['json']))['error']).toMatchObject({ code: -32_603 });
    expect(node.logs).toEqual(['broken toy-fail: TypeError: surprise', expect.stringMatching(/^broken an answer has no JSON form/)]);
    expect((await node.ask('toString'))['error']).toMatchObject({ code: -32_601 });
    expect((await node.ask('toy-add', [1], 7))['id']).toBe(7);
  });

  test('check reads the parameters and asks the command, but never runs it', async () => {
    const { plugin, calls } = commands();
    const node = new FakeNode(plugin);
    await node.start();
    expect((await node.ask('check', { command_to_check: 'toy-add', a: 1 }))['result']).toEqual({ command_to_check: 'toy-add' });
    expect((await node.ask('check', ['toy-add', 1, 2]))['result']).toEqual({ command_to_check: 'toy-add' });
    expect((await node.ask('check', ['toy-add', 13]))['error']).toEqual({ code: 3_001, message: 'unlucky', data: { a: 13 } });
    expect((await node.ask('check', ['toy-add']))['error']).toMatchObject({ code: -32_602, data: { field: 'a' } });
    expect((await node.ask('check', ['toy-wait', 10]))['result']).toEqual({ command_to_check: 'toy-wait' });
    expect((await node.ask('check', ['nothing']))['error']).toMatchObject({ code: -32_601 });
    expect((await node.ask('check', {}))['error']).toMatchObject({ code: -32_602 });
    expect(calls).toEqual(['check', 'check', 'check']);
  });

  test('progress and messages carry the request id, and nothing that crashes lightning-cli', async () => {
    const node = new FakeNode(commands().plugin);
    await node.start();
    const { result } = await node.ask('toy-progress', [], 'cli:toy#1/cln:toy-progress#9');
    const id = 'cli:toy#1/cln:toy-progress#9';
    expect(result).toEqual({ id, check: false });
    expect(node.notifications).toEqual([
      { jsonrpc: '2.0', method: 'message', params: { id, level: 'info', message: 'hello' } },
      { jsonrpc: '2.0', method: 'progress', params: { id, num: 0, total: 3, stage: { num: 0, total: 2 } } },
      { jsonrpc: '2.0', method: 'progress', params: { id, num: 2, total: 3 } },
      { jsonrpc: '2.0', method: 'progress', params: { id, num: 0, total: 2, stage: { num: 0, total: 1 } } },
    ]);
  });

  test('pipelined requests in one chunk, answered in the order they are done', async () => {
    const node = new FakeNode(commands().plugin);
    await node.start();
    const order: number[] = [];
    const asks = [60, 30, 0].map((ms) => ({ jsonrpc: '2.0', id: `w${ms}`, method: 'toy-wait', params: [ms] }));
    const answers = asks.map(async ({ id }, i) => {
      const { result } = await node.answer(id);
      order.push(i);
      return result;
    });
    node.write(asks.map(stringifyJson).join('\n \r\n'));
    expect(await Promise.all(answers)).toEqual([{ waited: 60 }, { waited: 30 }, { waited: 0 }]);
    expect(order).toEqual([2, 1, 0]);
  });

  test('any chunking of any requests gives every answer', async () => {
    const node = new FakeNode(commands().plugin);
    await node.start();
    let n = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(fc.bigInt({ min: 0n, max: 10n ** 18n }), { minLength: 1, maxLength: 5 }), fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1 }), async (amounts, cuts) => {
        const asks = amounts.map((a) => ({ jsonrpc: '2.0', id: `é#${n++}`, method: 'toy-add', params: { a, b: 0 } }));
        const answers = Promise.all(asks.map(({ id }) => node.answer(id)));
        const stream = Buffer.from(asks.map((a) => `${stringifyJson(a)}\n\n`).join(''));
        for (let at = 0, i = 0; at < stream.length; at += cuts[i++ % cuts.length] ?? 1) node.toPlugin.write(stream.subarray(at, at + (cuts[i % cuts.length] ?? 1)));
        expect((await answers).map((a) => BigInt((a['result'] as { sum_msat: bigint | number }).sum_msat))).toEqual(amounts);
      }),
      { numRuns: 100 },
    );
  });
});

describe('what lightningd sends that we cannot use', () => {
  test('is logged, and the next request is served', async () => {
    const node = new FakeNode(commands().plugin);
    await node.start();
    node.write('garbage\n{"jsonrpc":"2.0","id":"x","result":{}}\n[1]\n{"a":}\n');
    expect((await node.ask('toy-add', [1]))['result']).toEqual({ sum_msat: 2 });
    expect(node.logs).toHaveLength(4);
  });

  test('a command that is too large or no JSON is refused by its id', async () => {
    const node = new FakeNode(commands().plugin, { limits: { maxBytes: 2_000 } });
    await node.start();
    expect((await node.ask('toy-add', ['x'.repeat(3_000)]))['error']).toMatchObject({ code: -32_602 });
    const answer = node.answer('b');
    // What lightning-cli makes of `toy-add 01`.
    node.write('{ "jsonrpc" : "2.0", "method" : "toy-add", "id" : "b", "params" : [01] }');
    expect((await answer)['error']).toMatchObject({ code: -32_602, message: expect.stringMatching(/unreadable/) });
    expect((await node.ask('toy-add', [1]))['result']).toEqual({ sum_msat: 2 });
  });

  test('hostile bytes never end it', async () => {
    const node = new FakeNode(commands().plugin, { limits: { maxBytes: 1_000 } });
    await node.start();
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 40 }), fc.jsonValue().map((v) => Buffer.from(JSON.stringify({ jsonrpc: '2.0', id: v, method: v, params: v })))), (junk) => {
        node.toPlugin.write(junk);
      }),
      { numRuns: 5_000 },
    );
    node.write(`${'x"}]\n'.repeat(3)}${' '.repeat(2_000)}\n`);
    node.write(`"${'}'.repeat(2_000)}\n\n`);
    await pause(50);
    expect((await node.ask('toy-add', [1]))['result']).toEqual({ sum_msat: 2 });
  });
});

describe('notifications', () => {
  test('the payload comes without its wrapping, whoever sent it; failures are logged', async () => {
    const seen: unknown[] = [];
    const plugin = createPlugin({
      name: 'toy',
      subscriptions: {
        connect: (payload, ctx) => void seen.push([payload, ctx]),
        other_event: (payload, ctx) => void seen.push([payload, ctx]),
        '*': (_payload, { topic }) => void seen.push(topic),
        disconnect: () => Promise.reject(new Error('async')),
        warning: () => {
          throw new Error('sync');
        },
      },
    });
    const node = new FakeNode(plugin);
    await node.start();
    node.notify('connect', { connect: { id: '02' } });
    node.notify('connect', { id: '03' });
    node.notify('other_event', { a: 1 }, { origin: 'someone' });
    node.notify('other_event', { origin: 'someone', payload: { a: 2 } });
    node.notify('disconnect', {});
    node.notify('warning', {});
    await pause(10);
    expect(seen).toEqual([
      [{ id: '02' }, { topic: 'connect' }],
      'connect',
      [{ id: '03' }, { topic: 'connect' }],
      'connect',
      [{ a: 1 }, { topic: 'other_event', origin: 'someone' }],
      'other_event',
      [{ a: 2 }, { topic: 'other_event', origin: 'someone' }],
      'other_event',
      'disconnect',
      'warning',
    ]);
    expect(node.logs).toEqual(expect.arrayContaining(['broken notification disconnect: Error: async', 'broken notification warning: Error: sync']));
  });

  test('ours go out on declared topics only', async () => {
    const plugin = createPlugin({ name: 'toy', notifications: ['toy_event'] });
    const node = new FakeNode(plugin);
    await node.start();
    plugin.notify('toy_event', { amount_msat: 2n ** 60n });
    expect(() => plugin.notify('elsewhere', {})).toThrow(/not in the manifest/);
    await pause(5);
    expect(node.notifications).toEqual([{ jsonrpc: '2.0', method: 'toy_event', params: { amount_msat: 2n ** 60n } }]);
  });
});

describe('the end', () => {
  const started = async (): Promise<{ plugin: Plugin<Readonly<Record<string, never>>>; node: FakeNode; done: string[] }> => {
    const done: string[] = [];
    const plugin = createPlugin({ name: 'toy', onShutdown: async () => (await pause(5), void done.push('shutdown')) });
    const node = new FakeNode(plugin);
    await node.start();
    return { plugin, node, done };
  };

  test('shutdown runs the handler once, aborts the signal, and ends with 0', async () => {
    const { plugin, node, done } = await started();
    node.notify('shutdown', {});
    node.notify('shutdown', {});
    expect(await node.ending).toEqual({ code: 0, reason: 'shutdown' });
    expect(done).toEqual(['shutdown']);
    expect(plugin.signal.aborted).toBe(true);
  });

  test('so do the end of input, a closed output and a signal', async () => {
    const eof = await started();
    eof.node.toPlugin.end('{"cut');
    expect(await eof.node.ending).toEqual({ code: 0, reason: 'input_ended' });
    expect([eof.done, eof.node.logs]).toEqual([['shutdown'], [expect.stringMatching(/^unusual truncated JSON/)]]);
    const epipe = await started();
    epipe.node.fromPlugin.destroy(Object.assign(new Error('write EPIPE'), { code: 'EPIPE' }));
    expect(await epipe.node.ending).toEqual({ code: 0, reason: 'output_closed' });
    epipe.plugin.log('info', 'into the void');
    const term = await started();
    term.plugin.stop();
    expect(await term.node.ending).toEqual({ code: 0, reason: 'signal' });
    expect([epipe.done, term.done]).toEqual([['shutdown'], ['shutdown']]);
  });

  test('a fatal error is logged as broken and ends with 1, without tidying up', async () => {
    const { plugin, node, done } = await started();
    plugin.fatal(new Error('impossible'));
    expect(await node.ending).toEqual({ code: 1, reason: 'fatal' });
    expect([done, node.logs]).toEqual([[], ['broken fatal: Error: impossible']]);
  });

  test('a shutdown handler that fails is logged and does not hold up the end', async () => {
    const node = new FakeNode(createPlugin({ name: 'toy', onShutdown: () => Promise.reject(new Error('stuck')) }));
    await node.start();
    node.notify('shutdown', {});
    expect(await node.ending).toEqual({ code: 0, reason: 'shutdown' });
    expect(node.logs).toEqual(['broken shutdown: Error: stuck']);
  });
});

describe('an output that is not read', () => {
  test('stops the reading of requests until it is, and loses only log lines, which it counts', async () => {
    const output = new PassThrough({ highWaterMark: 1_024 });
    const { plugin } = commands();
    const node = new FakeNode(plugin, {}, output);
    await node.start();
    output.pause();
    const first = node.ask('toy-add', [1]);
    // More than the log backlog: the rest of the lines is dropped.
    for (let i = 0; i < 1_200; i++) plugin.log('debug', 'z'.repeat(16_000));
    // This one is read, and finds the output full; the next one has to wait.
    const poke = node.ask('toy-add', [1], 'poke');
    await pause(5);
    const second = node.ask('toy-add', [2]);
    await pause(20);
    expect(node.toPlugin.readableLength + node.toPlugin.writableLength).toBeGreaterThan(0);
    output.resume();
    expect([(await first)['result'], (await second)['result']]).toEqual([{ sum_msat: 2 }, { sum_msat: 3 }]);
    expect((await poke)['result']).toEqual({ sum_msat: 2 });
    await pause(20);
    expect(node.logs.find((l) => l.startsWith('unusual'))).toMatch(/^unusual \d+ log lines were dropped/);
  });
});
