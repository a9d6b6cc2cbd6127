/**
 * Partial turnover (architecture 8): the coordinator takes back a whole subtree of which it holds every key, by one key-path
 * spend of the output above it. What is below that output never comes to the chain.
 */
import { sat, type Sat, type Script } from '../blip/brands.js';
import type { FactorySpec, Prevout, Signable } from './model.js';
import type { Range } from './shape.js';
import { ANCHOR_AMOUNT, DUST_LIMIT, feeFor, keySpendVsize } from './sizes.js';
import { P2A_SCRIPT } from './taproot.js';
import { anchorOutput, SEQUENCE, signable, signersOf, TreeError } from './tree.js';

/** vB of a spend to this script. */
export const turnoverVsize = (destination: Script): number => keySpendVsize([destination, P2A_SCRIPT]);

/** What such a spend brings, in sat; undefined where it is not worth a transaction. @param feerate sat per 1,000 vB */
export const turnoverYield = (amount: Sat, destination: Script, feerate: number): Sat | undefined => {
  const rest = amount - feeFor(turnoverVsize(destination), feerate) - ANCHOR_AMOUNT;
  return rest < DUST_LIMIT ? undefined : sat(rest);
};

/**
 * The spend of the output that holds the clients of `range`. Its anchor makes it one of our own transactions like the others:
 * signed once, and bumped by a child.
 * @param output of the tree, for exactly these clients
 * @param feerate sat per 1,000 vB
 * @throws TreeError `output` when it is not worth its fee
 */
export const buildTurnover = (spec: FactorySpec, range: Range, output: Prevout, destination: Script, feerate: number): Signable => {
  const amount = turnoverYield(output.amount, destination, feerate);
  if (amount === undefined) throw new TreeError('output', `${output.amount} sat are not worth a fee at ${feerate} sat/kvB`);
  const outputs = [{ amount, script: destination, role: { kind: 'close', index: 0 } } as const, anchorOutput];
  return signable('turnover', { version: 3, lockTime: 0, sequence: SEQUENCE, prevout: output, outputs }, signersOf(spec, range));
};
