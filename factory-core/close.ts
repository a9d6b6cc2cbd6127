/** The cooperative end: one transaction from the funding output to final balances, signed by all (architecture 9). */
import type { CloseOutput } from '../blip/messages.js';
import type { FactorySpec, Signable, TxOutput } from './model.js';
import { fundingPrevout, SEQUENCE, signable, signersOf, TreeError } from './tree.js';

/**
 * The close with exactly these outputs, in this order; what they leave of the funding is its fee. It has no anchor: the
 * LSP, whose output it has, bumps it there. What the outputs should be is the state machines' business.
 * @throws TreeError `outputs` when there are none, `close` when they exceed the funding
 */
export const buildClose = (spec: FactorySpec, outputs: readonly CloseOutput[]): Signable => {
  if (outputs.length === 0) throw new TreeError('outputs', 'a close pays somebody');
  const paid = outputs.map((output, index): TxOutput => ({ ...output, role: { kind: 'close', index } }));
  return signable(
    'close',
    { version: 2, lockTime: 0, sequence: SEQUENCE, prevout: fundingPrevout(spec), outputs: paid },
    signersOf(spec, { from: 0, to: spec.roster.length }),
  );
};
