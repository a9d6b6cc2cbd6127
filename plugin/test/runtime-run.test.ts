import { EventEmitter } from 'node:events';
import { PassThrough } from 'node:stream';
import { afterEach, describe, expect, test } from '@jest/globals';
import { createPlugin, type Plugin } from '../runtime/plugin.js';
import { runPlugin } from '../runtime/run.js';
import { FakeNode } from './runtime-harness.js';

const realConsole = globalThis.console;
afterEach(() => {
  globalThis.console = realConsole;
});

/** A process of which only the streams are real, with lightningd at the other end. */
const host = (plugin: Plugin<Readonly<Record<string, never>>>) => {
  const events = new EventEmitter();
  const stderr = new PassThrough();
  let exited: (code: number) => void = () => undefined;
  const exit = new Promise<number>((resolve) => (exited = resolve));
  const node = new FakeNode({
    run: ({ input, output }) => {
      const stub = { stdin: input, stdout: output, stderr, on: (event: string, listener: (cause: unknown) => void) => events.on(event, listener), exit: exited };
      return runPlugin(plugin, stub).then(() => ({ code: 0, reason: 'shutdown' }));
    },
  });
  return { events, stderr, exit, node };
};
const toy = (): Plugin<Readonly<Record<string, never>>> => createPlugin({ name: 'toy', onInit: () => undefined });

describe('runPlugin', () => {
  test('the end of input exits with 0, and SIGTERM does', async () => {
    const first = host(toy());
    await first.node.start();
    first.node.toPlugin.end();
    expect(await first.exit).toBe(0);
    const second = host(toy());
    await second.node.start();
    second.events.emit('SIGINT');
    second.events.emit('SIGTERM');
    expect(await second.exit).toBe(0);
    expect(second.node.logs).toEqual(['debug SIGINT ignored: waiting for lightningd']);
  });

  test('an exception or rejection nobody caught is logged as broken and exits with 1', async () => {
    for (const event of ['uncaughtException', 'unhandledRejection']) {
      const { events, exit, node } = host(toy());
      await node.start();
      events.emit(event, new Error('nobody caught me'));
      expect(await exit).toBe(1);
      expect(node.logs).toEqual(['broken fatal: Error: nobody caught me']);
    }
  });

  test('what anything prints goes to standard error', async () => {
    const { stderr, exit, node } = host(toy());
    await node.start();
    console.log('a library talks');
    expect(String(stderr.read())).toBe('a library talks\n');
    node.notify('shutdown', {});
    expect(await exit).toBe(0);
  });
});
