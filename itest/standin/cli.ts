/**
 * The stand-in for lightning-cli: calls one RPC command of a node and prints the answer, with lightning-cli's conventions for
 * parameters, output and exit codes (0 done, 1 refused, 2 no answer, 3 used wrongly).
 */
import { parseInvocation } from './cli-args.js';
import { call, EXIT } from './cli-call.js';
import { messageOf } from './types.js';

const complain = (line: string): void => {
  process.stderr.write(`lightning-cli: ${line}\n`);
};

// Whoever reads has seen enough (`| head`).
process.stdout.on('error', () => process.exit());

try {
  process.exitCode = await call(parseInvocation(process.argv.slice(2)), (line) => process.stdout.write(`${line}\n`), complain);
} catch (error) {
  complain(messageOf(error));
  process.exitCode = EXIT.usage;
}
