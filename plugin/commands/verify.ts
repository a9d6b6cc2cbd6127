/** `factory-verify`: what is stored, audited against itself, CLN and the chain. */
import { fundingStatus } from '../../factory-core/live/custody.js';
import { channelsOf, closeOf, distributionOf, exitPath, outpointKey, purchasePath, type BranchChannel } from '../../factory-core/live/paths.js';
import type { Live } from '../../factory-core/live/state.js';
import { turnoverTx } from '../../factory-core/live/turnover.js';
import type { SignedTx } from '../../factory-core/model.js';
import { verifyFinal } from '../../factory-core/musig/index.js';
import { fundingRequirement, signedHex } from '../../factory-core/transactions.js';
import { LightningError } from '../lightning/lightning.js';
import { method, param } from '../runtime/plugin.js';
import type { JsonObject } from '../runtime/json.js';
import type { Context } from './context.js';
import { findFactory } from './find.js';
import type { Factory } from '../engine/factory.js';
import { factoryIdParam } from './params.js';
import { stateName } from './views.js';

export const factoryVerify = (context: () => Context) =>
  method({
    description: 'Audit what is stored of a channel factory against itself, the node and the chain',
    longDescription:
      'Rebuilds every transaction from the specification, verifies every signature, and compares with the stored transactions, the funding ' +
      'output on chain, the channels’ funding scripts in the node’s database, and the journal’s hash chain. Without {factory_id}: all of them.',
    category: 'factory',
    params: { factory_id: param.optional(factoryIdParam) },
    check: ({ factory_id: id }) => {
      if (id !== undefined) findFactory(context(), id);
    },
    run: async ({ factory_id: id }) => {
      const ctx = context();
      const factories = id === undefined ? ctx.engine.all() : [findFactory(ctx, id)];
      const journal = ctx.store.verifyJournal();
      const results = await Promise.all(factories.map((f) => verify(ctx, f)));
      const ok = journal.ok && results.every((r) => r.problems.length === 0);
      return {
        ok,
        journal: journal.ok ? { ok: true, entries: journal.length } : { ok: false, entry: journal.seq, reason: journal.reason },
        factories: results.map((r) => ({ ...r, ok: r.problems.length === 0 })),
      };
    },
  });

interface Verdict {
  readonly factory_id: string;
  readonly state: string;
  /** How many checks were made. */
  readonly checks: number;
  readonly problems: readonly string[];
}

const verify = async (ctx: Context, { instanceId, state }: Factory): Promise<Verdict & JsonObject> => {
  const report = new Report();
  if (state.phase === 'live') {
    const { live } = state;
    checkTransactions(ctx, instanceId, live, report);
    await checkFunding(ctx, live, report);
    for (const channel of live.branches.flatMap((b) => channelsOf(live, b))) await checkChannel(ctx, channel, report);
  }
  return { factory_id: instanceId, state: stateName(state), checks: report.checks, problems: report.problems };
};

class Report {
  checks = 0;
  readonly problems: string[] = [];
  expect(holds: boolean, problem: string): void {
    this.checks += 1;
    if (!holds) this.problems.push(problem);
  }
}

/** Every signature holds for the transaction the spec gives, and the stored bytes are that transaction. */
const checkTransactions = (ctx: Context, id: Factory['instanceId'], live: Live, report: Report): void => {
  const stored = new Map(ctx.store.transactionsOf(id).map((t) => [t.txid, t.raw]));
  const close = closeOf(live);
  const closes = close && live.close?.signature !== undefined ? [{ signable: close, signature: live.close.signature }] : [];
  const turnovers = (live.turnovers ?? []).map((turnover) => turnoverTx(live, turnover));
  const all = new Map<string, SignedTx>();
  for (const tx of [...live.branches.flatMap((b) => [...exitPath(live, b), ...purchasePath(live, b)]), distributionOf(live), ...closes, ...turnovers]) all.set(tx.signable.txid, tx);
  for (const tx of all.values()) {
    const { txid, purpose } = tx.signable;
    report.expect(verifyFinal(tx.signable, tx.signature), `${purpose} ${txid}: its signature does not verify`);
    report.expect(stored.get(txid) === signedHex(tx), `${purpose} ${txid}: the stored transaction is missing or differs`);
  }
};

const checkFunding = async (ctx: Context, live: Live, report: Report): Promise<void> => {
  const { script, amount } = fundingRequirement(live.spec);
  report.expect(amount === live.spec.fundingAmount, 'funding: the amount is not what the tree needs');
  const status = fundingStatus(live);
  if (status.kind !== 'confirmed') return;
  const utxo = await ctx.lightning.utxo(live.spec.funding);
  report.expect(utxo !== undefined, 'funding: recorded as unspent, but the chain (or the mempool) has it spent');
  if (!utxo) return;
  report.expect(utxo.script === script, 'funding: the output on chain does not pay to all members');
  report.expect(utxo.amount === amount, 'funding: the output on chain has another amount');
};

/** The channel CLN has is the one in the leaf or purchase (architecture 6). A channel CLN has forgotten is no problem once it is closed. */
const checkChannel = async (ctx: Context, own: BranchChannel, report: Report): Promise<void> => {
  const name = `channel ${own.channelId}`;
  const what = own.funding.signable.purpose;
  const [channel] = await ctx.lightning.channels({ channelId: own.channelId });
  if (!channel) return;
  report.expect(outpointKey(channel.funding) === outpointKey(own.outpoint), `${name}: its funding outpoint is not the ${what}’s`);
  report.expect(!channel.withheld, `${name}: it is still withheld: an error from the peer would delete it`);
  try {
    const { script } = await ctx.lightning.auditFundingKeys(own.outpoint);
    report.expect(script === own.channelScript, `${name}: its funding keys do not give the ${what}’s script`);
  } catch (error) {
    if (!(error instanceof LightningError)) throw error;
    report.expect(false, `${name}: its funding keys could not be read: ${error.message}`);
  }
};
