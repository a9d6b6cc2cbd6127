/**
 * The stand-in for lightningd, for machines without Core Lightning: same command line, same RPC, same plugin protocol, on a real
 * bitcoind. It proves nothing about Core Lightning; README.md beside this file says what it leaves out.
 */
import { Node } from './node.js';
import { OptionError, Options } from './options.js';
import { FatalError, messageOf } from './types.js';

const run = async (argv: readonly string[]): Promise<void> => {
  if (argv.includes('--version')) {
    process.stdout.write('v26.06.6-standin\n');
    return;
  }
  const node = new Node(new Options(argv));
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => void node.exit(0));
  process.on('unhandledRejection', (error) => {
    node.fatal(new FatalError(error instanceof Error ? (error.stack ?? error.message) : messageOf(error)));
  });
  process.on('uncaughtException', (error) => {
    node.fatal(new FatalError(error.stack ?? error.message));
  });
  try {
    await node.start();
  } catch (error) {
    if (!(error instanceof OptionError)) node.log.broken(messageOf(error));
    throw error;
  }
};

run(process.argv.slice(2)).catch((error: unknown) => {
  process.stderr.write(`lightningd: ${error instanceof OptionError || error instanceof FatalError ? error.message : error instanceof Error ? (error.stack ?? error.message) : messageOf(error)}\n`);
  process.exit(1);
});
