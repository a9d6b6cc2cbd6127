/** Partial turnover: what is the coordinator's comes back, what is somebody else's is never touched (architecture 3.5, 8, 12.6). */
import { describe, expect, test } from '@jest/globals';
import { bytesToHex, randomBytes } from '@noble/hashes/utils.js';
import fc from 'fast-check';
import { script, secretKey as secretKeyBrand } from '../../blip/brands.js';
import { onTurnover } from '../coordinator/turnover.js';
import type { CoordinatorLive, Env } from '../coordinator/state.js';
import { endOf, liveState, onChain } from '../live/custody.js';
import { calendarOf } from '../live/deadlines.js';
import { exitPath, outpointKey } from '../live/paths.js';
import { plan, retire } from '../live/plan.js';
import type { Live } from '../live/state.js';
import { planTurnover, unsignedTurnovers } from '../live/turnover.js';
import { costOf, turnoverAhead, turnoverCost, turnoverDone } from '../live/turnover-cost.js';
import type { SignedTx } from '../model.js';
import { createSigner, verifyFinal } from '../musig/index.js';
import { checkShape, planShape, shapeNodes } from '../shape.js';
import { ANCHOR_AMOUNT, buildTurnover, prevoutOf, turnoverVsize } from '../transactions.js';
import { sat } from '../../blip/brands.js';
import { client, COORDINATOR, publicKey, secretKey } from './support/factory.js';
import { liveFactory, publish } from './support/live.js';

const DESTINATION = script(`5120${'ab'.repeat(32)}`);
const FEERATE = 3_000;
const NO_CHILD = () => sat(0n);
const keyOf = (member: number) => secretKeyBrand(bytesToHex(secretKey(client(member))));

const factory = (clients: number, fanouts: readonly number[], stock = 20_000n): Live =>
  liveFactory('coordinator', { clients: Array.from({ length: clients }, (_, i) => ({ capacity: 100_000n * BigInt(i + 1), stock: i % 2 ? 0n : stock })), fanouts });
const without = (live: Live, absent: ReadonlySet<number>): Live => ({
  ...live,
  branches: live.branches.map((b) => (absent.has(b.member) ? b : { ...b, heldKey: keyOf(b.member) })),
});
const env = (): Env => ({ signer: createSigner(secretKey(COORDINATOR), randomBytes), height: 0, pricing: { base: 0n as Env['pricing']['base'], ppm: 0 } });
const stateOf = (live: Live): CoordinatorLive =>
  ({ role: 'coordinator', phase: 'live', request: { instanceId: live.spec.instanceId, payoutScript: DESTINATION }, attempt: 1, excluded: [], members: [], live, closeAttempts: 0 }) as unknown as CoordinatorLive;

const broadcasts = (live: Live): readonly SignedTx[] => plan(live, 'coordinator').flatMap((e) => (e.kind === 'broadcast' ? [e.tx] : []));
const mined = (live: Live, txs: readonly SignedTx[], height = live.chain.tip + 1): Live =>
  onChain(live, { type: 'block_connected', height, spends: txs.map(({ signable }) => ({ outpoint: signable.tx.prevout.outpoint, by: signable.txid })), confirmed: [] });
const signed = (live: Live): Live => onTurnover(stateOf(live), FEERATE, env()).state.live;
const atGuard = (live: Live): Live => ({ ...live, chain: { ...live.chain, tip: calendarOf(live.spec).guard } });

/** Block after block, all that the plan asks for is mined. @returns what was published */
const turnOver = (start: Live): { readonly live: Live; readonly published: readonly SignedTx[] } => {
  let live = start;
  const published: SignedTx[] = [];
  for (;;) {
    live = signed(live);
    const next = broadcasts(live);
    if (next.length === 0) return { live, published };
    published.push(...next);
    live = mined(live, next);
  }
};

const shapes = (clients: number): readonly (readonly number[])[] =>
  [[2, 2, 2, 2], [3, 2, 2], [2, 3, 2], [clients], [4, 4], planShape(clients)].filter((f) => checkShape(clients, f) === undefined);
const subsets = (n: number): readonly ReadonlySet<number>[] =>
  Array.from({ length: 2 ** n }, (_, bits) => new Set(Array.from({ length: n }, (_, i) => i).filter((i) => (bits >> i) & 1)));

/** All that must hold at the end, whoever was absent. */
const checkEnd = (absent: ReadonlySet<number>, { live, published }: ReturnType<typeof turnOver>): void => {
  const { spec } = live;
  const members = spec.roster.map((_, i) => i);
  const spends = published.filter((t) => t.signable.purpose === 'turnover');
  const splits = published.filter((t) => t.signable.purpose === 'split');
  expect(spends.length + splits.length).toBe(published.length);
  for (const { signable, signature } of spends) {
    expect(verifyFinal(signable, signature)).toBe(true);
    for (const member of absent) expect(signable.signers).not.toContain(publicKey(client(member)));
    expect(signable.vsize).toBe(turnoverVsize(DESTINATION));
  }
  // Nobody's way out is cut who has not handed over its key, and everybody else's is, once.
  for (const branch of live.branches) {
    const end = endOf(live, branch);
    expect(end === undefined).toBe(absent.has(branch.member));
    const mine = spends.filter((t) => t.signable.signers.includes(publicKey(client(branch.member))));
    expect(mine).toHaveLength(absent.has(branch.member) ? 0 : 1);
    if (end) expect(end.by).toBe(mine[0]!.signable.txid);
    for (const { signable } of exitPath(live, branch)) {
      const spend = live.chain.spends[outpointKey(signable.tx.prevout.outpoint)];
      if (spend && absent.has(branch.member)) expect(spend.by).toBe(signable.txid);
    }
  }
  // The root, and splits that have both kinds below them: no other.
  const wanted = shapeNodes(members.length, spec.fanouts).filter((node) => {
    const below = members.filter((m) => m >= node.from && m < node.to);
    const away = below.filter((m) => absent.has(m)).length;
    return node.level === 0 || (away > 0 && away < below.length);
  });
  expect(splits).toHaveLength(wanted.length);
  // To the satoshi: what came back, what is still there, what miners have, anchors.
  const outputs = new Map(published.flatMap(({ signable }) => signable.tx.outputs.map((o, vout) => [outpointKey({ txid: signable.txid, vout }), o] as const)));
  for (const { signable } of published) outputs.delete(outpointKey(signable.tx.prevout.outpoint));
  const sum = (kinds: readonly string[]): bigint => [...outputs.values()].filter((o) => kinds.includes(o.role.kind)).reduce((total, o) => total + o.amount, 0n);
  const fees = published.reduce((total, t) => total + t.signable.fee, 0n);
  expect(sum(['close']) + sum(['split', 'slot']) + fees + ANCHOR_AMOUNT * BigInt(published.length)).toBe(spec.fundingAmount);
  // The forecast was right.
  const done = costOf(turnoverDone(live, NO_CHILD));
  expect(done).toEqual({ transactions: published.length, vbytes: published.reduce((total, t) => total + t.signable.vsize, 0), fee: fees, returned: sum(['close']) });
  expect(turnoverAhead(live, DESTINATION, FEERATE)).toEqual([]);
};

describe('a turnover', () => {
  test.each([2, 3, 4, 5, 6])('of %i clients, whoever is absent', (clients) => {
    // Of the larger ones, the deepest is enough.
    for (const fanouts of clients > 4 ? shapes(clients).slice(0, 1) : shapes(clients)) {
      for (const absent of subsets(clients)) {
        // With nobody absent that is the close, in one transaction.
        if (absent.size === 0) continue;
        const before = factory(clients, fanouts);
        // At the tree's own feerate: no split needs a child.
        const forecast = turnoverCost(before, absent, DESTINATION, 2_000);
        const start = atGuard(without(before, absent));
        const end = turnOver(start);
        checkEnd(absent, end);
        const spends = end.published.filter((t) => t.signable.purpose === 'turnover').length;
        expect(forecast.transactions).toBe(end.published.length);
        expect(forecast.fee).toBe(end.published.reduce((sum, t) => sum + t.signable.fee, 0n) - BigInt(spends * turnoverVsize(DESTINATION)));
      }
    }
  });

  test('of any factory', () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 24 }), fc.infiniteStream(fc.boolean()), fc.nat(5), (clients, coin, pick) => {
        const drawn = Array.from({ length: clients }, (_, i) => i).filter(() => coin.next().value);
        const absent = new Set(drawn.length === 0 ? [0] : drawn);
        const all = shapes(clients);
        checkEnd(absent, turnOver(atGuard(without(factory(clients, all[pick % all.length]!), absent))));
      }),
      { numRuns: 25 },
    );
  });

  test('with nobody absent is one transaction, the close, and no turnover', () => {
    const live = without(factory(4, [2, 2]), new Set());
    expect(turnoverCost(live, [], DESTINATION, FEERATE)).toMatchObject({ transactions: 1, vbytes: 111, fee: 333n, returned: live.spec.fundingAmount - 333n });
    expect(unsignedTurnovers(live, DESTINATION, FEERATE)).toEqual([]);
    expect(onTurnover(stateOf(live), FEERATE, env())).toMatchObject({ effects: [] });
  });

  test('with everybody absent is the root alone', () => {
    const live = atGuard(factory(4, [2, 2]));
    expect(turnOver(live).published.map((t) => t.signable.purpose)).toEqual(['split']);
    expect(turnoverCost(live, [0, 1, 2, 3], DESTINATION, 2_000)).toMatchObject({ transactions: 1, returned: 0n });
  });

  test('costs a child for each split that was signed for less', () => {
    const live = factory(4, [2, 2]);
    const cheap = turnoverCost(live, [3], DESTINATION, 2_000);
    const dear = turnoverCost(live, [3], DESTINATION, 2_001);
    expect([cheap.transactions, dear.transactions]).toEqual([4, 4]);
    expect(dear.vbytes - cheap.vbytes).toBe(2 * 153);
  });
});

/** All ways in which `k` of `n` can be away. */
const placements = (n: number, k: number): readonly ReadonlySet<number>[] => subsets(n).filter((s) => s.size === k);

test.each([
  ['8', [8], 1, [8, 1_293], [8, 1_293]],
  ['8', [8], 2, [7, 1_169], [7, 1_169]],
  ['8', [8], 4, [5, 921], [5, 921]],
  ['2×2×2', [2, 2, 2], 1, [6, 873], [6, 873]],
  ['2×2×2', [2, 2, 2], 2, [4, 582], [9, 1_331]],
  ['2×2×2', [2, 2, 2], 4, [2, 291], [11, 1_665]],
] as const)('eight clients at %s, %i absent: transactions and vB as published, at best and at worst', (_, fanouts, absent, best, worst) => {
  const live = factory(8, fanouts);
  const costs = placements(8, absent).map((away) => turnoverCost(live, away, DESTINATION, 2_000));
  const sorted = costs.map((c) => [c.transactions, c.vbytes] as const).sort((a, b) => a[1] - b[1]);
  expect([sorted[0], sorted.at(-1)]).toEqual([best, worst]);
  // At the tree's own feerate no child is needed.
  for (const { vbytes, fee } of costs) expect(fee).toBe(BigInt(vbytes) * 2n);
});

describe('when', () => {
  /** Clients 0 to 2 have moved, 3 has not: 0 and 1 are one subtree, 2 is beside 3. */
  const started = (): Live => without(factory(4, [2, 2]), new Set([3]));
  const rootOut = (live: Live): Live => publish(live, live.branches[3]!, 1);

  test('nothing before the root is on chain', () => {
    expect(broadcasts(signed(started()))).toEqual([]);
    expect(unsignedTurnovers(started(), DESTINATION, FEERATE)).toEqual([]);
  });

  test('a subtree is taken at once when its output is there, but no split is published for it before expiry is near', () => {
    const live = signed(rootOut(started()));
    expect(live.turnovers).toMatchObject([{ from: 0, to: 2 }]);
    expect(broadcasts(live).map((t) => t.signable.purpose)).toEqual(['turnover']);
    expect(broadcasts(atGuard(live)).map((t) => t.signable.purpose)).toEqual(['split', 'turnover']);
  });

  test('signed once: a second request changes nothing, whatever the feerate', () => {
    const live = signed(rootOut(started()));
    const again = onTurnover(stateOf(live), FEERATE * 10, env());
    expect(again.state.live).toBe(live);
    expect(again.signOnce).toBeUndefined();
    const first = onTurnover(stateOf(rootOut(started())), FEERATE, env());
    expect(first.signOnce).toEqual([{ outpoint: planTurnover(rootOut(started())).subtrees[0]!.output.outpoint, purpose: 'turnover', sighash: expect.any(String) }]);
  });

  test('not at a feerate that would take all of it', () => {
    expect(onTurnover(stateOf(rootOut(started())), 50_000_000, env()).state.live.turnovers).toBeUndefined();
    const output = planTurnover(rootOut(started())).subtrees[0]!.output;
    expect(() => buildTurnover(started().spec, { from: 0, to: 2 }, output, DESTINATION, 50_000_000)).toThrow('are not worth');
  });

  test('a former member publishes the split below: what is below that is taken instead, down to the slots', () => {
    const live = atGuard(signed(rootOut(started())));
    // Its copy confirms in the place of ours, and the leaf of client 0 as well.
    const stale = exitPath(live, live.branches[0]!);
    const after = mined(live, [stale[1]!]);
    expect(planTurnover(after).subtrees.map(({ from, to, onChain }) => [from, to, onChain])).toEqual([[0, 1, true], [1, 2, true], [2, 3, false]]);
    const leafOut = mined(signed(after), [stale[2]!]);
    const { live: end } = turnOver(leafOut);
    expect(planTurnover(end).subtrees).toEqual([]);
    expect(end.turnovers!.map(({ from, to }) => [from, to])).toEqual([[0, 2], [0, 1], [1, 2], [2, 3]]);
    // Its channel is closed by this node: its last state pays this node, an older one lightningd punishes.
    const { channelId, peer } = live.branches[0]!;
    expect(plan(end, 'coordinator')).toEqual([{ kind: 'close_channel', peer, channelId, unilateral: true }]);
    expect(endOf(end, end.branches[3]!)).toBeUndefined();
    // And it is not forgotten.
    const deep = mined(end, [], end.chain.tip + 10);
    expect(retire(deep).live.retiredMembers).toEqual([1, 2]);
  });

  test('channels are retired when the spend above them is six deep, those of the absent never', () => {
    const { live } = turnOver(atGuard(started()));
    const spent = live.chain.tip;
    const first = Math.min(...Object.values(live.chain.spends).filter((s) => live.turnovers!.length > 0 && endOf(live, live.branches[0]!)!.by === s.by).map((s) => s.height));
    expect(retire({ ...live, chain: { ...live.chain, tip: first + 4 } }).effects).toEqual([]);
    const later = retire({ ...live, chain: { ...live.chain, tip: spent + 5 } });
    expect(later.effects.map((e) => e.kind === 'retire_channel' && e.channelId)).toEqual([0, 1, 2].map((m) => live.branches[m]!.channelId));
    expect(later.live).toMatchObject({ retired: false, retiredMembers: [0, 1, 2] });
    expect(retire(later.live).effects).toEqual([]);
    expect(liveState(live, false)).toBe('exiting');
  });

  test('a member that has handed over its key learns from the chain that all is over', () => {
    const { published } = turnOver(atGuard(started()));
    const member: Live = { ...liveFactory('member', { clients: started().spec.roster.map(({ capacity, stock }) => ({ capacity, stock })), fanouts: [2, 2] }), handedOver: true };
    const [root, ...rest] = published;
    const onlyRoot = mined(member, [root!]);
    expect(liveState(onlyRoot, false)).toBe('exiting');
    const over = mined(onlyRoot, rest);
    expect(liveState(over, false)).toBe('closed');
    expect(retire(over).effects).toEqual([]);
    const deep = mined(over, [], over.chain.tip + 6);
    expect(retire(deep)).toMatchObject({ live: { retired: true }, effects: [{ kind: 'retire_channel', channelId: member.branches[0]!.channelId }] });
    expect(plan(deep, 'member')).toEqual([]);
  });

  test('a reorganisation brings it back', () => {
    const { live } = turnOver(atGuard(started()));
    const height = endOf(live, live.branches[2]!)!.height;
    const back = onChain(live, { type: 'block_disconnected', height });
    expect(broadcasts(back).map((t) => t.signable.txid)).toContain(endOf(live, live.branches[2]!)!.by);
  });

  test('an output of the tree is what the spend says it is', () => {
    const live = rootOut(started());
    const [subtree] = planTurnover(live).subtrees;
    const root = exitPath(live, live.branches[0]!)[0]!.signable;
    expect(subtree!.output).toEqual(prevoutOf(root.txid, root.tx, 0));
  });
});
