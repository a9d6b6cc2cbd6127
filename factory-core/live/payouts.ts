/** Who gets what when a factory is closed by agreement, to the satoshi. */
import { msat, sat, type Msat, type Sat } from '../../blip/brands.js';
import type { CloseOutput, RosterEntry } from '../../blip/messages.js';
import type { FactorySpec } from '../model.js';
import type { ChannelFacts } from '../protocol/effects.js';
import { buildClose, DUST_LIMIT, feeFor } from '../transactions.js';
import { validatePayoutScript } from '../validate.js';
import type { Script } from '../../blip/brands.js';
import type { BranchChannel } from './paths.js';

/**
 * What a balance is worth on chain: rounded up to the next satoshi, and up to the dust limit, at the LSP's expense (a
 * user never loses a satoshi to rounding). Nothing for nothing.
 */
export const payoutOf = (balance: Msat): Sat => {
  if (balance === 0n) return sat(0n);
  const rounded = (balance + 999n) / 1000n;
  return sat(rounded < DUST_LIMIT ? DUST_LIMIT : rounded);
};

/** What one side has in all channels of a branch; undefined when its node has forgotten one of them. */
export const balanceOf = (
  branch: readonly Pick<BranchChannel, 'channelId'>[],
  facts: readonly ChannelFacts[],
): { readonly toUs: Msat; readonly total: Msat } | undefined => {
  const found = branch.map(({ channelId }) => facts.find((f) => f.channelId === channelId));
  const known = found.filter((f) => f !== undefined);
  if (known.length < found.length) return undefined;
  const sum = (amounts: readonly Msat[]): Msat => msat(amounts.reduce((a, b) => a + b, 0n));
  return { toUs: sum(known.map((f) => f.toUs)), total: sum(known.map((f) => f.total)) };
};

/** The close's outputs: the clients' in the roster's order, the LSP's rest last, unless it is dust. */
export const closeOutputs = (spec: FactorySpec, balances: readonly Msat[], lspScript: Script, feerate: number): readonly CloseOutput[] | undefined => {
  const clients = spec.roster.flatMap((entry: RosterEntry, i) => {
    const amount = payoutOf(balances[i] ?? (0n as Msat));
    return amount > 0n ? [{ amount, script: entry.payoutScript }] : [];
  });
  const paid = clients.reduce((sum, o) => sum + o.amount, 0n);
  const withRest = (rest: bigint): readonly CloseOutput[] => [...clients, { amount: sat(rest), script: lspScript }];
  const fee = feeFor(buildClose(spec, withRest(DUST_LIMIT)).vsize, feerate);
  const rest = spec.fundingAmount - paid - fee;
  if (rest >= DUST_LIMIT) return withRest(rest);
  // No rest for the LSP: what is left over is the fee, if it is enough of one.
  const outputs = clients;
  if (outputs.length === 0) return undefined;
  return spec.fundingAmount - paid >= feeFor(buildClose(spec, outputs).vsize, feerate) ? outputs : undefined;
};

/** Why a member must not sign these outputs; undefined when they are fine. */
export const closeProblem = (spec: FactorySpec, member: number, balance: Msat, outputs: readonly CloseOutput[]): string | undefined => {
  const entry = spec.roster[member];
  if (!entry) return 'member: not in the roster';
  if (outputs.length < 1 || outputs.length > spec.roster.length + 1) return 'outputs: their number';
  const dust = outputs.findIndex((o) => o.amount < DUST_LIMIT);
  if (dust >= 0) return `outputs[${String(dust)}].amount: below the dust limit`;
  const total = outputs.reduce((sum, o) => sum + o.amount, 0n);
  const close = total <= spec.fundingAmount ? buildClose(spec, outputs) : undefined;
  if (!close) return 'outputs.amount: more than the factory holds';
  // It must be relayed, or the channels would stay frozen for nothing.
  if (close.fee < feeFor(close.vsize, 1_000)) return 'outputs.amount: the fee is below 1 sat/vB';
  const stranger = strangerAmong(spec, outputs);
  if (stranger !== undefined) return stranger;
  const due = payoutOf(balance);
  const own = outputs.filter((o) => o.script === entry.payoutScript).reduce((sum, o) => sum + o.amount, 0n);
  if (own < due) return `outputs: pay this client ${own.toString()} sat, its balance is ${due.toString()}`;
  return undefined;
};

/**
 * Each pays a client, in the roster's order, but the last one, which may be the coordinator's: what goes elsewhere goes past a
 * client that will refuse, and a script that is not relayed would leave the channels frozen for a close that cannot confirm.
 */
const strangerAmong = (spec: FactorySpec, outputs: readonly CloseOutput[]): string | undefined => {
  let from = 0;
  for (const [i, { script }] of outputs.entries()) {
    const field = `outputs[${String(i)}].script`;
    const at = spec.roster.findIndex((entry, m) => m >= from && entry.payoutScript === script);
    if (at < 0 && i < outputs.length - 1) return `${field}: not the payout of a client, in the order of the roster`;
    const problem = validatePayoutScript(script, field);
    if (problem) return `${problem.field}: ${problem.reason}`;
    from = at + 1;
  }
  return undefined;
};
