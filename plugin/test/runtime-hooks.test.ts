import { describe, expect, jest, test } from '@jest/globals';
import fc from 'fast-check';
import { answerHook, CONTINUE, type Hook, type HookName } from '../runtime/hooks.js';
import { createPlugin } from '../runtime/plugin.js';
import { FakeNode, pause } from './runtime-harness.js';

const FAIL = { result: 'fail', failure_message: '2002' } as const;
const never = new Promise<never>(() => undefined);

const call = async <N extends HookName>(name: N, hook: Hook<N>): Promise<{ answer: unknown; reports: readonly string[] }> => {
  const reports: string[] = [];
  const answer = await answerHook(name, hook, { htlc: { id: 1 } }, 'cln:1', (cause) => reports.push(cause));
  return { answer, reports };
};

describe('a hook answers, whatever happens', () => {
  test('what the handler says, at once or later', async () => {
    expect(await call('htlc_accepted', { handle: () => FAIL, fallback: CONTINUE })).toEqual({ answer: FAIL, reports: [] });
    expect(await call('htlc_accepted', { handle: async () => (await pause(5), FAIL), fallback: CONTINUE })).toEqual({ answer: FAIL, reports: [] });
  });

  test('the fallback when it throws, rejects, or never answers', async () => {
    const thrower = (): never => {
      throw new Error('x');
    };
    expect(await call('htlc_accepted', { handle: thrower, fallback: FAIL })).toEqual({ answer: FAIL, reports: ['exception'] });
    expect(await call('htlc_accepted', { handle: () => Promise.reject(new Error('x')), fallback: FAIL })).toEqual({ answer: FAIL, reports: ['exception'] });
    expect(await call('htlc_accepted', { handle: () => never, fallback: FAIL, deadlineMs: 10 })).toEqual({ answer: FAIL, reports: ['deadline'] });
  });

  test('the deadline aborts the handler, whose late end is reported and otherwise ignored', async () => {
    const reports: string[] = [];
    let aborted = false;
    const hook: Hook<'custommsg'> = {
      handle: async (_params, { signal }) => {
        signal.addEventListener('abort', () => (aborted = true));
        await pause(30);
        throw new Error('too late');
      },
      fallback: CONTINUE,
      deadlineMs: 10,
    };
    expect(await answerHook('custommsg', hook, {}, 'x', (cause) => reports.push(cause))).toEqual(CONTINUE);
    await pause(40);
    expect(aborted).toBe(true);
    expect(reports).toEqual(['deadline', 'late']);
  });

  test('a fallback may look at the question; if it fails or is nonsense itself, continue', async () => {
    const seen: unknown[] = [];
    const handle = (): Promise<never> => Promise.reject(new Error('x'));
    expect((await call('htlc_accepted', { handle, fallback: (params, cause) => (seen.push(params, cause), FAIL) })).answer).toEqual(FAIL);
    expect(seen).toEqual([{ htlc: { id: 1 } }, 'exception']);
    const failing = (): never => {
      throw new Error('y');
    };
    expect(await call('htlc_accepted', { handle, fallback: failing })).toEqual({ answer: CONTINUE, reports: ['exception', 'exception'] });
    expect(await call('custommsg', { handle, fallback: { result: 'stop' } as never })).toEqual({ answer: CONTINUE, reports: ['exception', 'bad_answer'] });
  });

  test('answers that abort lightningd are replaced', async () => {
    const bad: readonly (readonly [HookName, unknown])[] = [
      ['custommsg', { result: 'fail' }],
      ['custommsg', undefined],
      ['custommsg', 'continue'],
      ['openchannel', {}],
      ['openchannel', { result: 'reject', close_to: 'bc1' }],
      ['openchannel', { result: 'continue', mindepth: -1 }],
      ['openchannel', { result: 'continue', mindepth: '0' }],
      ['openchannel2', { result: 'maybe' }],
      ['htlc_accepted', { result: 'fail' }],
      ['htlc_accepted', { result: 'fail', failure_message: '200' }],
      ['htlc_accepted', { result: 'fail', failure_message: '2002', failure_onion: 5 }],
      ['htlc_accepted', { result: 'resolve', payment_key: '00' }],
      ['htlc_accepted', { result: 'continue', payload: 'xyz' }],
      ['htlc_accepted', { result: 'continue', forward_to: '00' }],
      ['htlc_accepted', { result: 'continue', invoice_msat: '5' }],
      ['htlc_accepted', { result: 'whatever' }],
      ['rpc_command', { result: 'fail' }],
      ['rpc_command', { replace: 'x' }],
      ['peer_connected', { result: 'reject' }],
      ['invoice_payment', {}],
      ['invoice_payment', { failure_message: 'zz' }],
    ];
    for (const [name, answer] of bad) {
      const { answer: given, reports } = await call(name, { handle: () => answer as never, fallback: CONTINUE });
      expect([name, answer, given, reports]).toEqual([name, answer, CONTINUE, ['bad_answer']]);
    }
  });

  test('good answers of every form pass', async () => {
    const good: readonly (readonly [HookName, object])[] = [
      ['openchannel', { result: 'continue', mindepth: 0, reserve: '0sat', close_to: 'bcrt1q' }],
      ['openchannel', { result: 'reject', error_message: 'no' }],
      ['openchannel2', { result: 'reject' }],
      ['htlc_accepted', { result: 'fail', failure_onion: 'ab' }],
      ['htlc_accepted', { result: 'resolve', payment_key: '00'.repeat(32) }],
      ['htlc_accepted', { result: 'continue', payload: '00', forward_to: '00'.repeat(32), extra_tlvs: '', invoice_msat: 5n }],
      ['rpc_command', { replace: { jsonrpc: '2.0', id: 1, method: 'invoice', params: {} } }],
      ['rpc_command', { return: { error: { code: 1, message: 'no' } } }],
      ['peer_connected', { result: 'disconnect', error_message: 'no' }],
      ['invoice_payment', { result: 'reject' }],
      ['invoice_payment', { failure_message: '2002' }],
    ];
    for (const [name, answer] of good) expect(await call(name, { handle: () => answer as never, fallback: CONTINUE })).toEqual({ answer, reports: [] });
  });

  test('any answer at all, over the wire, is a result with something lightningd survives', async () => {
    let next: unknown;
    const plugin = createPlugin({
      name: 'toy',
      hooks: {
        custommsg: { handle: () => next as never, fallback: CONTINUE },
        htlc_accepted: { handle: () => next as never, fallback: FAIL },
      },
    });
    const node = new FakeNode(plugin);
    await node.start();
    await fc.assert(
      fc.asyncProperty(fc.anything({ withBigInt: true, withDate: true, withMap: true }), async (value) => {
        next = value;
        expect((await node.ask('custommsg', { payload: '8020' }))['result']).toEqual(CONTINUE);
        const answer = await node.ask('htlc_accepted', {});
        expect(answer['error']).toBeUndefined();
        expect(answer['result']).toEqual(FAIL);
      }),
      { numRuns: 500 },
    );
    // Passes the form, but has no JSON.
    next = { result: 'continue', note: () => 1 };
    expect((await node.ask('custommsg', {}))['result']).toEqual(CONTINUE);
  });
});

describe('hooks over the wire', () => {
  test('several at once; a slow one holds up neither the others nor commands', async () => {
    const plugin = createPlugin({
      name: 'toy',
      hooks: {
        custommsg: { handle: () => CONTINUE, fallback: CONTINUE },
        htlc_accepted: { handle: async () => (await pause(60), CONTINUE), fallback: FAIL, deadlineMs: 30 },
        rpc_command: { handle: () => Promise.reject(new Error('x')), fallback: CONTINUE },
      },
    });
    const node = new FakeNode(plugin);
    await node.start();
    const order: string[] = [];
    const ask = async (name: string): Promise<unknown> => {
      const { result } = await node.ask(name, {});
      order.push(name);
      return result;
    };
    expect(await Promise.all(['htlc_accepted', 'custommsg', 'rpc_command'].map(ask))).toEqual([FAIL, CONTINUE, CONTINUE]);
    expect(order).toEqual(['custommsg', 'rpc_command', 'htlc_accepted']);
    await pause(50);
    expect(node.logs.map((l) => l.split(':').slice(0, 2).join(':'))).toEqual(['broken hook rpc_command: exception', 'broken hook htlc_accepted: deadline', 'broken hook htlc_accepted: late']);
  });

  test('one that is too large to read gets the fallback', async () => {
    const handle = jest.fn(() => CONTINUE);
    const plugin = createPlugin({ name: 'toy', hooks: { htlc_accepted: { handle, fallback: (params, cause) => ({ ...FAIL, failure_message: cause === 'unreadable' && Object.keys(params).length === 0 ? 'aa' : 'bb' }) } } });
    const node = new FakeNode(plugin, { limits: { maxBytes: 2_000 } });
    await node.start();
    expect((await node.ask('htlc_accepted', { x: 'y'.repeat(5_000) }))['result']).toEqual({ result: 'fail', failure_message: 'aa' });
    expect(handle).not.toHaveBeenCalled();
    expect((await node.ask('htlc_accepted', {}))['result']).toEqual(CONTINUE);
  });

  test('a hook nobody declared is an unknown command, not a crash', async () => {
    const node = new FakeNode(createPlugin({ name: 'toy' }));
    await node.start();
    expect((await node.ask('db_write', {}))['error']).toMatchObject({ code: -32_601 });
  });
});
