/** Runs a plugin as the process lightningd has started. */
import { Console } from 'node:console';
import type { OptionSchema } from './options.js';
import type { Plugin } from './plugin.js';

/**
 * Serves standard input and output until the end, then ends the process. Anything else that prints goes to standard error:
 * one stray line on standard output, and lightningd kills the plugin. An exception nobody caught is logged as broken and ends
 * the process with code 1: a plugin in an unknown state must not go on signing.
 */
export const runPlugin = async <O extends OptionSchema>(plugin: Plugin<O>): Promise<never> => {
  globalThis.console = new Console(process.stderr, process.stderr);
  process.on('uncaughtException', (error) => plugin.fatal(error));
  process.on('unhandledRejection', (reason) => plugin.fatal(reason));
  process.on('SIGTERM', () => plugin.stop());
  // lightningd tells us when to stop. A Ctrl-C in its terminal reaches the whole process group, and must not cut that short.
  process.on('SIGINT', () => plugin.log('debug', 'SIGINT ignored: waiting for lightningd'));
  const { code } = await plugin.run({ input: process.stdin, output: process.stdout });
  process.exit(code);
};
