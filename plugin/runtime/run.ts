/** Runs a plugin as the process lightningd has started. */
import { Console } from 'node:console';
import type { Readable, Writable } from 'node:stream';
import type { OptionSchema } from './options.js';
import type { Plugin } from './plugin.js';

/** What is needed of `process`. */
export interface Host {
  readonly stdin: Readable;
  readonly stdout: Writable;
  readonly stderr: NodeJS.WritableStream;
  readonly on: (event: string, listener: (cause: unknown) => void) => unknown;
  readonly exit: (code: number) => unknown;
}

/**
 * Serves standard input and output until the end, then ends the process. Anything else that prints goes to standard error:
 * one stray line on standard output, and lightningd kills the plugin. An exception nobody caught is logged as broken and ends
 * the process with code 1: a plugin in an unknown state must not go on signing.
 */
export const runPlugin = async <O extends OptionSchema>(plugin: Plugin<O>, host: Host = process): Promise<void> => {
  globalThis.console = new Console(host.stderr, host.stderr);
  host.on('uncaughtException', (error) => plugin.fatal(error));
  host.on('unhandledRejection', (reason) => plugin.fatal(reason));
  host.on('SIGTERM', () => plugin.stop());
  // A Ctrl-C in lightningd's terminal reaches the whole process group. lightningd will tell us when to stop.
  host.on('SIGINT', () => plugin.log('debug', 'SIGINT ignored: waiting for lightningd'));
  const { code } = await plugin.run({ input: host.stdin, output: host.stdout });
  host.exit(code);
};
