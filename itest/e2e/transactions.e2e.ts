import { describe, expect, test } from '@jest/globals';
import { base64 } from '@scure/base';
import { Transaction } from '@scure/btc-signer/transaction.js';
import fc from 'fast-check';
import { randomBytes } from 'node:crypto';
import { bytesToHex } from '@noble/hashes/utils.js';
import { channelId, msat, nodeId, sat, script, secretKey as toSecretKey, txid, type Sat } from '../../blip/brands.js';
import { buildChild, childVsize, finishChild, COIN_INPUT, type ChildRequest } from '../../factory-core/cpfp.js';
import { childFee, replacementFee } from '../../factory-core/bump.js';
import { exitTransactions, isFinalAfter, planExit, spendableFrom } from '../../factory-core/exit-plan.js';
import type { FactoryPlan, Prevout, Signable, SignedTx } from '../../factory-core/model.js';
import { armingPsbt, leafPsbt } from '../../factory-core/psbt.js';
import { alike, arbitraryPlan, channelScript, client, COORDINATOR, expectationOf, payoutScript, planFor, publicKey, REGTEST, secretKey } from '../../factory-core/test/support/factory.js';
import { onTurnover } from '../../factory-core/coordinator/turnover.js';
import type { CoordinatorLive } from '../../factory-core/coordinator/state.js';
import { onChain } from '../../factory-core/live/custody.js';
import { rootOf, stockOf } from '../../factory-core/live/paths.js';
import type { Branch, Live } from '../../factory-core/live/state.js';
import { publishableOf } from '../../factory-core/live/turnover.js';
import { createSigner } from '../../factory-core/musig/index.js';
import { buildClose, buildStockSweep, DUST_LIMIT, largestPurchase, prevoutOf, signedHex, signedSweepHex } from '../../factory-core/transactions.js';
import { defaultPolicy, validateSpec } from '../../factory-core/validate.js';
import { type Bitcoind, toSat } from '../harness/bitcoind.js';
import type { WalletOutput } from '../harness/lightning-results.js';
import { clusterForSuite } from '../harness/suite.js';
import { OnChainFactory, refusal } from './on-chain-factory.js';

const cluster = clusterForSuite({ clients: 1, plugin: false, outsider: false });
const chain = (): Bitcoind => cluster().bitcoind;

/** Other shapes and amounts at each run; a failure names the seed, which repeats it. */
const seed = Number(process.env['SEED'] ?? Date.now() % 1_000_000_000);
const MAX_AMOUNT = 10_000_000n;
const drawPlans = (count: number): readonly FactoryPlan[] => fc.sample(arbitraryPlan({ maxClients: 12, maxAmount: MAX_AMOUNT }), { numRuns: count, seed });

/** Short enough to be mined through. */
const SHORT = { activeBlocks: 6, dyingBlocks: 3, settlingBlocks: 3, stockCsv: 18, treeFeerate: 2_000 };

describe('the way out of a factory', () => {
  test.each(drawPlans(8).map((plan, index) => [`factory ${index} of seed ${seed}: ${plan.roster.length} clients at ${plan.fanouts.join('×')}`, plan] as const))(
    'is open to every member, one confirmation per transaction, the leaf included: %s',
    async (_, plan) => {
      const factory = await OnChainFactory.fund(chain(), plan);
      for (const member of factory.spec.roster.keys()) {
        expect(validateSpec(factory.spec, expectationOf(factory.spec, member), defaultPolicy(REGTEST))).toBeUndefined();
        const path = factory.exitPath(member);
        const published: string[] = [];
        for (let step = planExit(path, factory); step.kind !== 'complete'; step = planExit(path, factory)) {
          if (step.kind !== 'publish') throw new Error(`member ${member}: ${step.kind}`);
          const { signable } = step.next;
          // What comes after it cannot go first.
          for (const later of step.remaining.slice(1)) expect(await refusal(chain(), signedHex(later))).toBe('missing-inputs');
          await chain().call('sendrawtransaction', [signedHex(step.next)]);
          const entry = await chain().call('getmempoolentry', [signable.txid]);
          expect([entry.vsize, toSat(entry.fees.base)]).toEqual([signable.vsize, signable.fee]);
          await chain().mine();
          await factory.noteConfirmed(signable);
          published.push(signable.txid);
        }
        // The splits that siblings had published are not published again; the leaf is everybody's own.
        expect(exitTransactions(path).map((t) => t.signable.txid).slice(-published.length)).toEqual(published);
        expect(published.length).toBeGreaterThan(0);
      }
    },
  );
});

describe('127 clients at 5×5×6', () => {
  const plan = planFor({ clients: alike(127, 100_000n, 50_000n), fanouts: [5, 5, 6], terms: SHORT });

  test('one of them leaves with 4 transactions of 1,098 vB, as published (architecture 4)', async () => {
    const factory = await OnChainFactory.fund(chain(), plan);
    const path = factory.exitPath(0);
    let vbytes = 0;
    for (const transaction of exitTransactions(path)) {
      await factory.confirm(transaction);
      vbytes += (await chain().transaction(transaction.signable.txid)).vsize;
    }
    expect([exitTransactions(path).length, vbytes]).toEqual([4, 1_098]);
  });

  test('all of them are paid by one distribution', async () => {
    const factory = await OnChainFactory.fund(chain(), plan);
    const distribution = factory.sign(factory.tree.distribution);
    await chain().mineTo(factory.spec.expiryHeight);
    await factory.confirm(distribution);
    expect((await chain().transaction(distribution.signable.txid)).vout).toHaveLength(128);
  });
});

describe('the stock of a leaf on chain', () => {
  test('goes back to the LSP alone after the delay, not a block before', async () => {
    const factory = await OnChainFactory.fund(chain(), planFor({ clients: alike(3), terms: SHORT }));
    const path = factory.exitPath(1);
    for (const transaction of exitTransactions(path)) await factory.confirm(transaction);
    const confirmedAt = await chain().height();
    const leaf = path.leaf!.signable;
    const vout = leaf.tx.outputs.findIndex(({ role }) => role.kind === 'stock');
    const sweep = buildStockSweep(factory.spec, 1, prevoutOf(leaf.txid, leaf.tx, vout), payoutScript(2), 3_000);
    const hex = signedSweepHex(sweep, factory.signAsLsp(sweep.sighash));

    await chain().mineTo(spendableFrom(confirmedAt, SHORT.stockCsv) - 1);
    expect(await refusal(chain(), hex)).toBe('non-BIP68-final');
    await chain().mine();
    expect(await refusal(chain(), hex)).toBeUndefined();
    await chain().call('sendrawtransaction', [hex]);
    const entry = await chain().call('getmempoolentry', [sweep.txid]);
    expect([entry.vsize, toSat(entry.fees.base)]).toEqual([sweep.vsize, sweep.fee]);
    await chain().mine();
    expect(await chain().confirmations(sweep.txid)).toBe(1);
  });
});

describe('partial turnover', () => {
  const draws = fc.sample(fc.tuple(arbitraryPlan({ maxClients: 8, maxAmount: MAX_AMOUNT }), fc.array(fc.boolean(), { minLength: 8, maxLength: 8 })), { numRuns: 4, seed });

  test.each(draws.map(([plan, away], index) => [`factory ${index} of seed ${seed}: ${plan.roster.length} clients at ${plan.fanouts.join('×')}`, plan, away] as const))(
    'the LSP takes back alone what is its own, with the keys it holds, and the absent still get out: %s',
    async (_, plan, away) => {
      const factory = await OnChainFactory.fund(chain(), plan);
      // The last never comes, whoever else does not.
      const absent = new Set(factory.spec.roster.flatMap((__, m) => (away[m] === true || m === factory.spec.roster.length - 1 ? [m] : [])));
      let live = liveOf(factory, absent);
      const confirm = async (signed: SignedTx): Promise<void> => {
        await chain().call('sendrawtransaction', [signedHex(signed)]);
        const entry = await chain().call('getmempoolentry', [signed.signable.txid]);
        expect([entry.vsize, toSat(entry.fees.base)]).toEqual([signed.signable.vsize, signed.signable.fee]);
        await chain().mine();
        await factory.noteConfirmed(signed.signable);
        const spends = [{ outpoint: signed.signable.tx.prevout.outpoint, by: signed.signable.txid }];
        live = onChain(live, { type: 'block_connected', height: factory.height, spends, confirmed: [] });
      };
      await confirm(rootOf(live));
      for (;;) {
        live = takenBack(live);
        const { splits, spends } = publishableOf(live);
        for (const next of [...splits.map((split) => factory.sign(split)), ...spends]) await confirm(next);
        if (splits.length + spends.length === 0) break;
      }
      const held = factory.spec.roster.length - absent.size;
      expect((live.turnovers ?? []).reduce((sum, { from, to }) => sum + to - from, 0)).toBe(held);
      for (const member of absent) for (const next of exitTransactions(factory.exitPath(member))) if (!factory.spenderOf(next.signable.tx.prevout.outpoint)) await factory.confirm(next);
    },
  );

  test('a former member’s copy of what is below, and the LSP’s spend: the first to confirm wins, and what is below is taken instead', async () => {
    const factory = await OnChainFactory.fund(chain(), planFor({ clients: alike(4), fanouts: [2, 2], terms: SHORT }));
    let live = liveOf(factory, new Set([3]));
    const [root, split] = factory.exitPath(0).splits;
    const note = ({ signable }: SignedTx): void => {
      live = onChain(live, { type: 'block_connected', height: factory.height, spends: [{ outpoint: signable.tx.prevout.outpoint, by: signable.txid }], confirmed: [] });
    };
    await factory.confirm(root!);
    note(root!);
    const [late] = publishableOf(takenBack(live)).spends;
    await factory.confirm(split!);
    note(split!);
    expect(await refusal(chain(), signedHex(late!))).toMatch(/missing-inputs|bad-txns-inputs-missingorspent/);
    const { spends } = publishableOf(takenBack(live));
    expect(spends).toHaveLength(2);
    for (const spend of spends) await factory.confirm(spend);
  });
});

/** The coordinator's view of a factory on chain whose keys it holds but for these members'. */
const liveOf = (factory: OnChainFactory, absent: ReadonlySet<number>): Live => {
  const { spec, tree, height } = factory;
  const signatures = Object.fromEntries([...tree.splits, tree.distribution].map((s) => [s.txid, factory.sign(s).signature]));
  const branches = spec.roster.map((_, member): Branch => {
    const script = channelScript(member);
    const leafSignature = factory.sign(factory.leaf(member, script)).signature;
    const heldKey = absent.has(member) ? {} : { heldKey: toSecretKey(bytesToHex(secretKey(client(member)))) };
    return { member, peer: nodeId(publicKey(client(member))), channelId: channelId('00'.repeat(32)), channelScript: script, leafSignature, purchases: [], ...heldKey };
  });
  return { spec, signatures, branches, chain: { tip: height, fundingHeight: height, everFunded: true, spends: {} }, exits: {}, retired: false };
};

/** The machine's own step: it has the LSP's signer and what is in the state. */
const takenBack = (live: Live): Live => {
  const request = { instanceId: live.spec.instanceId, payoutScript: payoutScript(2) };
  const state = { role: 'coordinator', phase: 'live', request, attempt: 1, excluded: [], members: [], live, closeAttempts: 0 } as unknown as CoordinatorLive;
  const env = { signer: createSigner(secretKey(COORDINATOR), (n) => randomBytes(n)), height: live.chain.tip, pricing: { base: msat(0n), ppm: 0 } };
  return onTurnover(state, 1_500, env).state.live;
};

describe('purchases', () => {
  /** What to buy, in parts of the largest purchase possible, in 1,000ths: the last takes all. */
  const draws = fc.sample(fc.tuple(arbitraryPlan({ maxClients: 6, maxAmount: MAX_AMOUNT }), fc.array(fc.bigInt(1n, 600n), { minLength: 1, maxLength: 4 })), { numRuns: 4, seed });

  test.each(draws.map(([plan, parts], index) => [`factory ${index} of seed ${seed}`, plan, parts] as const))(
    'out of every stock are mined in order, whoever published the leaf, before and after the relative lock, until it is used up: %s',
    async (_, plan, parts) => {
      const factory = await OnChainFactory.fund(chain(), { ...plan, terms: { ...plan.terms, ...SHORT, treeFeerate: plan.terms.treeFeerate } });
      for (const member of factory.spec.roster.keys()) {
        const path = factory.exitPath(member);
        let stock = stockOf(path.leaf!.signable);
        const purchases: SignedTx[] = [];
        for (const part of [...parts, 1_000n]) {
          const amount = stock && sat((largestPurchase(factory.spec, stock.amount) * part) / 1_000n);
          if (!stock || amount === undefined || amount < DUST_LIMIT) break;
          const purchase = factory.purchase(member, stock, amount);
          purchases.push(purchase);
          stock = stockOf(purchase.signable);
        }
        for (const next of exitTransactions(path)) if (!factory.spenderOf(next.signable.tx.prevout.outpoint)) await factory.confirm(next);
        for (const [index, next] of purchases.entries()) {
          for (const later of purchases.slice(index + 1)) expect(await refusal(chain(), signedHex(later))).toBe('missing-inputs');
          await factory.confirm(next);
        }
      }
    },
  );

  test('and the LSP’s sweep of the same stock: the first to confirm wins', async () => {
    const factory = await OnChainFactory.fund(chain(), planFor({ clients: alike(2), terms: SHORT }));
    const path = factory.exitPath(0);
    for (const next of exitTransactions(path)) await factory.confirm(next);
    const stock = stockOf(path.leaf!.signable)!;
    const purchase = factory.purchase(0, stock, sat(50_000n));
    const sweep = buildStockSweep(factory.spec, 0, stock, payoutScript(2), 3_000);
    const hex = signedSweepHex(sweep, factory.signAsLsp(sweep.sighash));
    await chain().mineTo((await chain().height()) + SHORT.stockCsv - 2);
    expect(await refusal(chain(), hex)).toBe('non-BIP68-final');
    await factory.confirm(purchase);
    await chain().mine(2);
    expect(await refusal(chain(), hex)).toMatch(/missing-inputs|bad-txns-inputs-missingorspent/);
    // What is left of it is the LSP's as before.
    const rest = buildStockSweep(factory.spec, 0, stockOf(purchase.signable)!, payoutScript(2), 3_000);
    await chain().mine(SHORT.stockCsv);
    expect(await refusal(chain(), signedSweepHex(rest, factory.signAsLsp(rest.sighash)))).toBeUndefined();
  });
});

describe('the distribution', () => {
  test('pays every client its slot at expiry, not a block before', async () => {
    const factory = await OnChainFactory.fund(chain(), planFor({ clients: alike(5), terms: SHORT }));
    const { spec, tree } = factory;
    const distribution = factory.sign(tree.distribution);
    await chain().mineTo(spec.expiryHeight - 1);
    expect(isFinalAfter(spec.expiryHeight, await chain().height())).toBe(false);
    expect(await refusal(chain(), signedHex(distribution))).toBe('non-final');
    await chain().mine();
    expect(isFinalAfter(spec.expiryHeight, await chain().height())).toBe(true);
    await factory.confirm(distribution);
    const { vout } = await chain().transaction(distribution.signable.txid);
    for (const [member, { payoutScript: to }] of spec.roster.entries()) {
      expect(vout.find((output) => output.scriptPubKey.hex === to)?.value).toBe(Number(tree.slots[member]!.amount) / 1e8);
    }
    const path = factory.exitPath(0);
    expect(planExit(path, factory)).toMatchObject({ kind: 'ended', distributed: true });
    expect(await refusal(chain(), signedHex(path.splits[0]!))).toMatch(/missing-inputs|bad-txns-inputs-missingorspent/);
  });

  test('is dead once the root is on chain', async () => {
    const factory = await OnChainFactory.fund(chain(), planFor({ clients: alike(2), terms: SHORT }));
    await factory.confirm(factory.exitPath(0).splits[0]!);
    await chain().mineTo(factory.spec.expiryHeight);
    expect(await refusal(chain(), signedHex(factory.sign(factory.tree.distribution)))).toMatch(/missing-inputs|bad-txns-inputs-missingorspent/);
  });
});

describe('a close', () => {
  test('ends the factory in one transaction, at any time', async () => {
    const factory = await OnChainFactory.fund(chain(), planFor({ clients: alike(6) }));
    const balances = factory.spec.roster.map(({ payoutScript: to }, member) => ({ amount: sat(400_000n + BigInt(member)), script: to }));
    const rest = factory.spec.fundingAmount - balances.reduce<bigint>((sum, { amount }) => sum + amount, 1_000n);
    const close = factory.sign(buildClose(factory.spec, [...balances, { amount: sat(rest), script: payoutScript(99) }]));
    expect(close.signable.fee).toBe(1_000n);
    await factory.confirm(close);
    expect(planExit(factory.exitPath(0), factory)).toMatchObject({ kind: 'ended', by: close.signable.txid, distributed: false });
  });
});

describe('the child on an anchor', () => {
  const feerate = 25_000;
  const feeOf = (parent: Signable, coin: Prevout): Sat => childFee(parent, childVsize(coin.script), feerate);

  /** A confirmed coin of bitcoind's wallet. */
  const minerCoin = async (type: 'bech32' | 'bech32m'): Promise<Prevout> => {
    const address = await chain().call('getnewaddress', ['', type]);
    const id = await chain().send(address, 500_000n);
    await chain().mine();
    const output = (await chain().transaction(id)).vout.find(({ value }) => toSat(value) === 500_000n);
    return { outpoint: { txid: txid(id), vout: output!.n }, amount: sat(500_000n), script: script(output!.scriptPubKey.hex) };
  };
  const minerSigns = async (request: ChildRequest): Promise<{ readonly id: string; readonly hex: string; readonly vsize: number }> => {
    const child = buildChild(request);
    const { psbt } = (await chain().call('walletprocesspsbt', [child.psbt])) as { readonly psbt: string };
    return { id: child.txid, hex: finishChild(child, psbt), vsize: child.vsize };
  };
  const together = async (parent: SignedTx, child: string): Promise<void> => {
    const answer = await chain().submitPackage([signedHex(parent), child]);
    expect(answer.package_msg).toBe('success');
  };

  test.each(['bech32', 'bech32m'] as const)('brings a split into the chain with a wallet’s coin (%s), and gives way to a dearer one', async (type) => {
    const factory = await OnChainFactory.fund(chain(), planFor({ clients: alike(4), terms: SHORT }));
    const [root] = factory.exitPath(0).splits;
    const coin = await minerCoin(type);
    const request: ChildRequest = { parent: root!.signable, coin, changeScript: payoutScript(2), fee: feeOf(root!.signable, coin) };
    const child = await minerSigns(request);
    await together(root!, child.hex);
    const entry = await chain().call('getmempoolentry', [child.id]);
    expect(child.vsize - entry.vsize).toBeGreaterThanOrEqual(0);
    expect(child.vsize - entry.vsize).toBeLessThanOrEqual(1);
    const paid = toSat(entry.fees.base) + root!.signable.fee;
    expect(paid * 1_000n).toBeGreaterThanOrEqual(BigInt((root!.signable.vsize + entry.vsize) * feerate));

    const dearer = await minerSigns({ ...request, fee: replacementFee(child.vsize, { fee: request.fee, vsize: child.vsize, evicted: request.fee }) });
    await chain().call('sendrawtransaction', [dearer.hex]);
    expect(await chain().call('getrawmempool')).toEqual(expect.arrayContaining([root!.signable.txid, dearer.id]));
    expect(await chain().call('getrawmempool')).not.toContain(child.id);
    await chain().mine();
    await factory.noteConfirmed(root!.signable);
    expect(await chain().confirmations(dearer.id)).toBe(1);
  });

  test('brings a leaf in, after its path, as parent and then child', async () => {
    const factory = await OnChainFactory.fund(chain(), planFor({ clients: alike(4), terms: SHORT }));
    const path = factory.exitPath(2);
    for (const split of path.splits) await factory.confirm(split);
    const coin = await minerCoin('bech32m');
    const child = await minerSigns({ parent: path.leaf!.signable, coin, changeScript: payoutScript(0), fee: feeOf(path.leaf!.signable, coin) });
    await chain().call('sendrawtransaction', [signedHex(path.leaf!)]);
    await chain().call('sendrawtransaction', [child.hex]);
    await chain().mine();
    expect(await chain().confirmations(child.id)).toBe(1);
  });

  test('of the distribution is of version 2, as its parent is', async () => {
    const factory = await OnChainFactory.fund(chain(), planFor({ clients: alike(3), terms: SHORT }));
    const distribution = factory.sign(factory.tree.distribution);
    const coin = await minerCoin('bech32m');
    await chain().mineTo(factory.spec.expiryHeight);
    const request: ChildRequest = { parent: distribution.signable, coin, changeScript: payoutScript(2), fee: feeOf(distribution.signable, coin) };
    await together(distribution, (await minerSigns(request)).hex);
    await chain().mine();
    expect(await chain().confirmations(distribution.signable.txid)).toBe(1);
  });

  test('is signed by Core Lightning: signpsbt signonly=[1] on its reserved coin', async () => {
    const { lsp } = cluster();
    const factory = await OnChainFactory.fund(chain(), planFor({ clients: alike(4), terms: SHORT }));
    const [root] = factory.exitPath(0).splits;
    await cluster().synced();
    const [own] = (await lsp.call('listfunds')).outputs as readonly (WalletOutput & { readonly scriptpubkey: string })[];
    const coin: Prevout = { outpoint: { txid: txid(own!.txid), vout: own!.output }, amount: sat(BigInt(own!.amount_msat) / 1_000n), script: script(own!.scriptpubkey) };
    const { p2tr } = await lsp.call('newaddr', { addresstype: 'p2tr' });
    const { scriptPubKey } = (await chain().call('validateaddress', [p2tr])) as { readonly scriptPubKey: string };
    const child = buildChild({ parent: root!.signable, coin, changeScript: script(scriptPubKey), fee: feeOf(root!.signable, coin) });
    await lsp.call('reserveinputs', { psbt: child.psbt });
    const { signed_psbt } = (await lsp.call('signpsbt', { psbt: child.psbt, signonly: [COIN_INPUT] })) as { readonly signed_psbt: string };
    await together(root!, finishChild(child, signed_psbt));
    await chain().mine();
    await factory.noteConfirmed(root!.signable);
    await lsp.waitFor('the change', async () => (await lsp.call('listfunds')).outputs.some((o) => o.txid === child.txid && o.status === 'confirmed'));
  });
});

describe("a leaf's PSBT at Core Lightning", () => {
  const idOf = (psbt: string): string => Transaction.fromPSBT(base64.decode(psbt), { allowUnknownInputs: true, allowUnknownOutputs: true }).id;

  test('is understood: it comes back as the same transaction in either version', async () => {
    const factory = await OnChainFactory.fund(chain(), planFor({ clients: alike(2) }));
    const leaf = factory.sign(factory.leaf(0, channelScript(0)));
    for (const psbt of [leafPsbt(leaf.signable), armingPsbt(leaf.signable)]) {
      for (const version of [2, 0]) {
        const answer = (await cluster().lsp.call('setpsbtversion', { psbt, version })) as { readonly psbt: string };
        expect(idOf(answer.psbt)).toBe(leaf.signable.txid);
        if (version === 0) expect(answer.psbt).toBe(psbt);
      }
    }
  });

  test('funds a channel: completed unsigned and withheld, armed by the signed one, open when the path is on chain', async () => {
    const { lsp } = cluster();
    const peer = cluster().client(0);
    const factory = await OnChainFactory.fund(chain(), planFor({ clients: alike(3), terms: SHORT }));
    await cluster().synced();
    const capacity = Number(factory.spec.roster[0]!.capacity);
    const started = (await lsp.call('fundchannel_start', { id: peer.id, amount: capacity, announce: false })) as { readonly scriptpubkey: string };
    const path = factory.exitPath(0, script(started.scriptpubkey));
    const leaf = path.leaf!;
    const completed = (await lsp.call('fundchannel_complete', { id: peer.id, psbt: leafPsbt(leaf.signable), withhold: true })) as { readonly channel_id: string };

    const withheld = async (): Promise<boolean | undefined> => (await lsp.channels(peer)).find((c) => c.channel_id === completed.channel_id)?.funding?.withheld;
    expect(await withheld()).toBe(true);
    // Arming (architecture 3.3): it cannot be broadcast yet, and is cleared and saved before that is found out.
    await expect(lsp.call('sendpsbt', { psbt: armingPsbt(leaf.signable) })).rejects.toMatchObject({ name: 'RpcError' });
    expect(await withheld()).toBe(false);

    for (const transaction of exitTransactions(path)) await factory.confirm(transaction);
    await chain().mine(5);
    await cluster().synced();
    await cluster().usable(lsp, completed.channel_id);
  });
});
