/**
 * What a ceremony costs: one process plays every signer, for the planner's shape. Times in milliseconds, bytes as they
 * travel (bLIP-56 envelope included, Lightning's own framing not), exit path from funding to channel.
 */
import { randomFillSync } from 'node:crypto';
import { bytesToHex } from '@noble/hashes/utils.js';
import {
  aggregateNonce,
  chainHash,
  channelId,
  encodeChannelInFactory,
  encodeFactoryMessage,
  encodeMessage,
  FACTORY_PROTOCOL_ID,
  instanceId,
  partialSignature,
  publicNonce,
  sat,
  schnorrSignature,
  script,
  txid,
  type AggregateNonce,
  type FactoryMessage,
  type PartialSignature,
  type PublicNonce,
  type SchnorrSignature,
  type Script,
} from '../blip/index.js';
import { factoryEarlyWarningTime } from '../factory-core/exit-plan.js';
import type { FactoryPlan, FactorySpec, Signable } from '../factory-core/model.js';
import { aggregateNonces, aggregatePartials, createSigner, verifyFinal, type Signer } from '../factory-core/musig/index.js';
import { planShape, shapeCost } from '../factory-core/shape.js';
import { buildLeaf, buildPath, buildTree, fundingRequirement, type Tree } from '../factory-core/transactions.js';
import { DEFAULT_TERMS, DEFAULT_TERMS_BOUNDS, validateSpec } from '../factory-core/validate.js';

const random = (n: number): Uint8Array => randomFillSync(new Uint8Array(n));
const hexOf = (n: number): string => bytesToHex(random(n));
const randomScript = (): Script => script(`5120${hexOf(32)}`);

const terms = { ...DEFAULT_TERMS, chainHash: chainHash('06226e46111a0b59caaf126043eb5bbf28c34f3a5e332a1fc7b2b73cf188910f') };

interface Party {
  readonly signer: Signer;
  readonly payout: Script;
}
const party = (): Party => ({ signer: createSigner(random(32), random), payout: randomScript() });

const specFor = (lsp: Party, clients: readonly Party[]): FactorySpec => {
  const plan: FactoryPlan = {
    instanceId: instanceId(hexOf(32)),
    terms,
    coordinatorKey: lsp.signer.publicKey,
    roster: clients.map((c) => ({ key: c.signer.publicKey, payoutScript: c.payout, capacity: sat(1_000_000n), stock: sat(200_000n) })),
    fanouts: planShape(clients.length),
    startHeight: 800_000,
    expiryHeight: 800_000 + terms.activeBlocks + terms.dyingBlocks + terms.settlingBlocks,
  };
  return { ...plan, funding: { txid: txid(hexOf(32)), vout: 0 }, fundingAmount: fundingRequirement(plan).amount };
};

class Clock {
  readonly laps = new Map<string, number>();
  lap<T>(name: string, work: () => T): T {
    const started = process.hrtime.bigint();
    const result = work();
    this.laps.set(name, (this.laps.get(name) ?? 0) + Number(process.hrtime.bigint() - started) / 1e6);
    return result;
  }
  get total(): number {
    return [...this.laps.values()].reduce((a, b) => a + b, 0);
  }
}

/** Every signer's nonces and partials for every transaction, aggregated and verified. */
const signAll = (clock: Clock, signables: readonly Signable[], byKey: ReadonlyMap<string, Signer>): SchnorrSignature[] => {
  const signersOf = (s: Signable): Signer[] => s.signers.map((key) => byKey.get(key)).filter((x) => x !== undefined);
  const nonces = clock.lap('nonces', () => signables.map((s): PublicNonce[] => signersOf(s).map((x) => x.nonce('bench', s))));
  const aggregates = clock.lap('aggregate nonces', () => nonces.map((n): AggregateNonce => aggregateNonces(n)));
  const partials = clock.lap('sign', () =>
    signables.map((s, i): PartialSignature[] => signersOf(s).map((x) => x.sign('bench', s, at(aggregates, i)))),
  );
  return clock.lap('aggregate and verify', () =>
    signables.map((s, i) => {
      const signature = aggregatePartials(s, at(aggregates, i), at(partials, i));
      if (!verifyFinal(s, signature)) throw new Error(`${s.txid}: the signature does not verify`);
      return signature;
    }),
  );
};
const at = <T>(list: readonly T[], i: number): T => {
  const value = list[i];
  if (value === undefined) throw new Error('out of range');
  return value;
};

/** All a member with the longest path sends and receives, in bytes. */
const wireBytes = (spec: FactorySpec, member: number, pathLength: number): { readonly received: number; readonly sent: number } => {
  const n = pathLength + 1;
  const nonce = (): PublicNonce => publicNonce(`02${hexOf(32)}02${hexOf(32)}`);
  const entry = at(spec.roster, member);
  const { instanceId: id, terms: t } = spec;
  const channelInFactory = encodeChannelInFactory({
    protocolId: FACTORY_PROTOCOL_ID,
    instanceId: id,
    earlyWarningTime: factoryEarlyWarningTime(spec),
  });
  const received: FactoryMessage[] = [
    { type: 'invite', ...t, capacity: entry.capacity, stock: entry.stock, minClients: 2, maxClients: spec.roster.length },
    { type: 'spec', ...spec, memberIndex: member },
    { type: 'aggregate_nonces', nonces: Array.from({ length: n }, () => aggregateNonce(nonce())) },
    { type: 'signatures', signatures: Array.from({ length: n }, () => schnorrSignature(hexOf(64))) },
    { type: 'open_intent', channelInFactory, fundingAmount: entry.capacity },
    { type: 'leaf', channelScript: script(`0020${hexOf(32)}`), nonce: nonce() },
    { type: 'leaf_signature', signature: schnorrSignature(hexOf(64)) },
    { type: 'channel_opened', channelId: channelId(hexOf(32)) },
    { type: 'published', fundingTxid: spec.funding.txid },
  ];
  const sent: FactoryMessage[] = [
    { type: 'join', key: entry.key, payoutScript: entry.payoutScript },
    { type: 'nonces', nonces: Array.from({ length: n }, nonce) },
    { type: 'partials', partials: Array.from({ length: n }, () => partialSignature(hexOf(32))) },
    { type: 'stored' },
    { type: 'open_ready' },
    { type: 'leaf_partial', nonce: nonce(), partial: partialSignature(hexOf(32)) },
    { type: 'leaf_stored' },
    { type: 'ready' },
  ];
  const size = (list: readonly FactoryMessage[]): number =>
    list.reduce((sum, message) => {
      const payload = encodeMessage({ header: { instanceId: id, attempt: 1 }, message });
      return sum + encodeFactoryMessage({ kind: 'factory_piggyback', protocolId: FACTORY_PROTOCOL_ID, payload }).length / 2;
    }, 0);
  return { received: size(received), sent: size(sent) };
};

const run = (n: number): Record<string, string | number> => {
  const [lsp, clients] = [party(), Array.from({ length: n }, party)];
  const spec = specFor(lsp, clients);
  const byKey = new Map([lsp, ...clients].map((p) => [p.signer.publicKey as string, p.signer]));
  const clock = new Clock();

  const tree: Tree = clock.lap('build (LSP, whole tree)', () => buildTree(spec));
  clock.lap('build and validate (one member)', () => {
    const own = at(spec.roster, 0);
    const problem = validateSpec(
      spec,
      {
        instanceId: spec.instanceId,
        invite: { type: 'invite', ...terms, capacity: own.capacity, stock: own.stock, minClients: 2, maxClients: n },
        memberIndex: 0,
        ownKey: own.key,
        ownPayoutScript: own.payoutScript,
        tipHeight: spec.startHeight,
      },
      { terms: DEFAULT_TERMS_BOUNDS, capacity: { min: sat(10_000n), max: sat(100_000_000n) }, clients: { min: 2, max: 512 } },
    );
    if (problem) throw new Error(`${problem.field}: ${problem.reason}`);
    buildPath(spec, 0);
  });
  const trunk = [...tree.splits, tree.distribution];
  signAll(clock, trunk, byKey);
  const treeTotal = clock.total;
  const leaves = clock.lap('build leaves', () => clients.map((_, i) => buildLeaf(spec, i, at(tree.slots, i), script(`0020${hexOf(32)}`))));
  const leafClock = new Clock();
  signAll(leafClock, leaves, byKey);

  const cost = shapeCost(n, spec.fanouts);
  const wire = wireBytes(spec, 0, cost.pathSplits);
  const ms = (name: string): number => Math.round((clock.laps.get(name) ?? 0) * 10) / 10;
  return {
    clients: n,
    shape: spec.fanouts.join('x'),
    'transactions signed': trunk.length + leaves.length,
    'partial signatures': [...trunk, ...leaves].reduce((sum, s) => sum + s.signers.length, 0),
    'build ms': ms('build (LSP, whole tree)'),
    'member build+validate ms': ms('build and validate (one member)'),
    'nonces ms': ms('nonces'),
    'aggregate nonces ms': ms('aggregate nonces'),
    'sign ms': ms('sign'),
    'aggregate+verify ms': ms('aggregate and verify'),
    'tree total ms': Math.round(treeTotal),
    'leaves total ms': Math.round(leafClock.total + (clock.laps.get('build leaves') ?? 0)),
    'to a member, bytes': wire.received,
    'from a member, bytes': wire.sent,
    'exit transactions': cost.pathTransactions,
    'exit vB': cost.pathVbytes,
  };
};

const sizes = process.argv.slice(2).map(Number).filter((n) => n >= 2);
// Warm up the engine: a plugin that runs for weeks is warm.
run(16);
const results = (sizes.length > 0 ? sizes : [4, 16, 64, 127]).map(run);
for (const name of Object.keys(results[0] ?? {})) {
  console.log(`${name.padEnd(28)}${results.map((r) => String(r[name]).padStart(10)).join('')}`);
}
