/**
 * Every field of every message of a purchase, altered in turn, before the member and before the coordinator: whoever is lied to
 * refuses and names the reason, or the alteration is listed as harmless. Nothing is paid for a purchase that is not there, nothing
 * is signed twice (the simulator's oracle sees to both), and a member that has refused signs nothing, whatever comes after.
 */
import { describe, expect, test } from '@jest/globals';
import { msat, sat } from '../../blip/brands.js';
import { MESSAGE_TYPES } from '../../blip/protocol-codec.js';
import { alterationsOf, assertComplete, live, undisturbed, type Scenario } from './support/altered.js';
import { activeWorld, AMOUNT, buy, paid, PRICE, reasons, sell, standing } from './support/purchases.js';
import type { Host } from './sim/host.js';
import type { World } from './sim/world.js';

const theClient = (world: World): Host => world.member(0);
const theCoordinator = (world: World): Host => world.coordinator;

const then = (work: (world: World) => void): Scenario['drive'] => (world) => {
  work(world);
  world.quiet();
};
const bought = then(buy);
const offered = then((world) => {
  sell(world, 0, AMOUNT, msat(5_000n));
});
/** More than there is: the answer says why not. */
const asked = then((world) => {
  world.command(theClient(world), { type: 'quote_requested', amount: sat(10_000_000n) });
});
const tooCheap = then((world) => {
  buy(world, 0, AMOUNT, msat(PRICE - 1n));
});
const tooDear = then((world) => {
  sell(world, 0, AMOUNT, msat(5_001n));
});

const before = { member: [theClient, theCoordinator, 'coordinator'], coordinator: [theCoordinator, theClient, 'client 0'] } as const;
const scenario = (side: keyof typeof before, name: string, drive: Scenario['drive']): Scenario => {
  const [victim, liar, dishonest] = before[side];
  return { name: `${name}, before the ${side}`, drive, victim, liar, world: () => activeWorld({ dishonest: [dishonest] }) };
};
const OFFERS = ['purchase_offer', 'purchase_request'];
const QUOTES = ['purchase_quote', 'purchase_quote_request'];
const LIVES = (['member', 'coordinator'] as const).flatMap((side) => [
  undisturbed(scenario(side, 'a channel that is bought', bought), (type) => type.startsWith('purchase_')),
  undisturbed(scenario(side, 'a channel that is offered', offered), (type) => OFFERS.includes(type)),
  undisturbed(scenario(side, 'a quote', asked), (type) => QUOTES.includes(type)),
  undisturbed(scenario(side, 'a price too low', tooCheap), (type) => type === 'purchase_abort'),
  undisturbed(scenario(side, 'an offer too high', tooDear), (type) => type === 'purchase_abort'),
]);

test('there is a life for every message of a purchase, and every field of it is altered', () => {
  assertComplete(LIVES, MESSAGE_TYPES.filter((type) => type.startsWith('purchase_')));
});

const NOTHING = '0 idle / 0 idle';
/** Bound by what it has signed; the coordinator has not what it needs. */
const STUCK = '0 signed / 0 signing';
interface Rule {
  readonly field: RegExp;
  readonly what?: RegExp;
  /** How it ends, in the words of `standing`. */
  readonly ends: string;
  /** What the victim says, if it has found out. */
  readonly found?: RegExp;
  readonly why?: string;
}
const RULES: readonly Rule[] = [
  // Before the member.
  { field: /^purchase_intent\.channelInFactory$/, ends: NOTHING, found: /^purchase_intent\.channel_in_factory: / },
  { field: /^purchase_intent\.amount$/, ends: NOTHING, found: /^purchase_intent\.amount: / },
  { field: /^purchase_intent\.index$/, ends: NOTHING, found: /^purchase_intent\.index: / },
  { field: /^purchase_opened\.channelScript$/, what: /byte/, ends: NOTHING, found: /^purchase_opened\.channel_script: not P2WSH/ },
  { field: /^purchase_opened\.channelScript$/, ends: NOTHING, found: /^audit: the channel did not appear/ },
  { field: /^purchase_opened\.channelId$/, ends: NOTHING, found: /^audit: another channel id/ },
  { field: /^purchase_opened\.nonce$/, what: /halves/, ends: STUCK, why: 'a valid nonce that the coordinator does not have: what is signed for it is of no use to anybody' },
  { field: /^purchase_opened\.nonce$/, ends: NOTHING, found: /^purchase_opened\.nonce: / },
  { field: /^purchase_signature\.signature$/, ends: '0 signed / 1 storing', why: 'ignored unless it verifies: nothing is stored, no preimage leaves' },
  { field: /^purchase_offer\.amount$/, what: /dust/, ends: NOTHING, found: /would be dust/ },
  { field: /^purchase_offer\.fee$/, what: /more|all money/, ends: NOTHING, found: /this node pays 5000 msat at most/ },
  { field: /^purchase_offer\./, ends: NOTHING, why: 'a good offer, which the coordinator does not keep to' },
  { field: /^purchase_quote\./, ends: NOTHING, why: 'binds nobody: the operator decides' },
  // Before the coordinator.
  { field: /^purchase_request\.amount$/, what: /dust/, ends: NOTHING, found: /would be dust|the client did not answer/ },
  { field: /^purchase_request\.paymentHash$/, ends: STUCK, why: 'the HTLC has another hash: it pays for nothing' },
  { field: /^purchase_request\.amount$/, what: /less/, ends: NOTHING, found: /purchase_intent\.amount|the client did not answer/ },
  { field: /^purchase_request\.amount$/, ends: NOTHING, found: /the price is \d+ msat|the client did not answer/ },
  { field: /^purchase_request\.fee$/, what: /less|dust/, ends: NOTHING, found: /the price is 101000 msat|the client did not answer/ },
  { field: /^purchase_request\.fee$/, ends: STUCK, why: 'the HTLC has another amount than was agreed: it is failed back' },
  { field: /^purchase_partial\.coordinatorNonce$/, ends: STUCK, why: 'for a nonce of another time: ignored' },
  { field: /^purchase_partial\.(nonce|partial)$/, ends: '0 signed / 0 idle', found: /^purchase_partial: does not verify/ },
  { field: /^purchase_stored\.preimage$/, ends: '1 idle / 1 storing', why: 'not of this hash: ignored, and asked for again' },
  { field: /^purchase_quote_request\.amount$/, ends: NOTHING, why: 'another question gets another answer' },
  // Before either.
  { field: /^purchase_abort\./, ends: NOTHING, why: 'it is over, whatever the reason' },
];
const used = new Set<Rule>();

describe.each(LIVES)('$scenario.name', ({ scenario: played, received, originals }) => {
  const altered = originals.flatMap((o) => alterationsOf(o).map((a) => [`${o.message.type}.${a.path}`, a.what, a] as const));
  if (altered.length === 0) return;
  test.each(altered)('%s: %s', (field, what, alteration) => {
    const { world, victim, liar } = live(played, alteration);
    const rule = RULES.find((r) => r.field.test(field) && r.what?.test(what) !== false);
    if (!rule) throw new Error(`with another ${field} (${what}) it goes on: make it refuse, or list why that is harmless`);
    used.add(rule);
    // An offer that is asked for in other terms is not taken; the coordinator waits on.
    const ends = field.startsWith('purchase_request.fee') && played.drive === offered ? NOTHING : rule.ends;
    expect(standing(world)).toBe(ends);
    expect(paid(world)).toBe(0n);
    const said = reasons(world)[victim.isCoordinator ? 1 : 0] ?? world.sent.findLast((s) => s.from === victim.name && s.envelope.message.type === 'purchase_abort')?.envelope.message;
    if (rule.found) expect(typeof said === 'object' && 'reason' in said ? said.reason : said).toMatch(rule.found);
    if (victim.isCoordinator || rule.ends !== NOTHING) return;
    // The liar goes on as if nothing had happened.
    for (const { header, message } of received.slice(received.findIndex((e) => e === alteration.original) + 1)) {
      world.inject(liar, victim.id, header.attempt, message);
      world.quiet();
    }
    expect([...victim.record.parts.values()].filter((p) => p.signable.purpose === 'purchase')).toEqual([]);
  });
});

test('nothing is listed that does not happen', () => {
  expect(RULES.filter((r) => !used.has(r)).map((r) => r.field.source)).toEqual([]);
});
