/**
 * Every field of every message a coordinator gets from a member, altered in turn: whoever sent it is out, by name and with the
 * reason, the factory of the others comes to be, and nothing is signed twice; or the alteration is listed below. Messages and
 * fields are those of the codec's table, so a new one cannot be forgotten.
 */
import { describe, expect, test } from '@jest/globals';
import { MESSAGE_TYPES, messageSender } from '../../blip/protocol-codec.js';
import { RESERVE } from './sim/moving.js';
import { alterationsOf, assertComplete, endingOf, live, undisturbed, type Scenario } from './support/altered.js';
import { calledOff, created, createdAndClosed, left, rotated, theClient, theCoordinator, worldWith } from './support/lives.js';

const scenario = (name: string, drive: Scenario['drive']): Scenario => ({ name, drive, world: worldWith('client 1'), liar: theClient, victim: theCoordinator });
const declined: Scenario['drive'] = (world) => {
  theClient(world).declines = 'not today';
  created(world);
};
const ROTATION: ReadonlySet<string> = new Set(['migrating', 'migrated', 'key_handover']);
const LIVES = [
  undisturbed(scenario('a creation and a close', createdAndClosed), (type) => type !== 'abort' && !ROTATION.has(type)),
  undisturbed(scenario('an invitation that is declined', declined), (type) => type === 'decline'),
  undisturbed(scenario('a creation that a client leaves', calledOff(theClient)), (type) => type === 'abort'),
  undisturbed(scenario('a rotation', rotated), (type) => ROTATION.has(type)),
  undisturbed(scenario('a client that leaves', left), (type) => type === 'leave'),
];

// Those of purchases are in purchase-mutations.test.ts, the waiting room's, of no factory, in waiting.test.ts.
test('there is a life for every message a coordinator can get, and every field of it is altered', () => {
  expect(LIVES.map((l) => l.ending)).toEqual(['closed', 'active', 'funding', 'active', 'active']);
  assertComplete(LIVES, MESSAGE_TYPES.filter((type) => messageSender(type) !== 'coordinator' && !/^(purchase|waiting)_/.test(type)));
});

/** How the coordinator finds out. The liar says nothing of what it finds out itself. */
const FOUND: readonly (readonly [field: RegExp, reason: RegExp])[] = [
  // Its own node refuses a roster that has another key or script than it gave: it has shut itself out.
  [/^join\.key$/, /^no valid answer to spec within 30 s/],
  [/^join\.payoutScript$/, /^(join\.payoutScript: must be|no valid answer to spec within 30 s)/],
  [/^nonces\.nonces/, /^sent (an invalid nonce|\d nonces, expected 2|a bad partial signature for )/],
  [/^partials\.partials/, /^sent (a bad partial signature for |\d partial signatures, expected 2)/],
  [/^leaf_partial\./, /^sent a bad partial signature for its leaf/],
  [/^decline\./, /^declined: /],
  [/^abort\./, /^aborted: /],
];
/** In a close nobody is shut out: it is given up, the sender named; after the partial signatures it stays this very close. */
const CLOSE_FAILS: readonly (readonly [field: RegExp, reason: RegExp, ending: 'active' | 'closing'])[] = [
  [/^close_ready\.balance$/, /: says its balance is \d+ msat; this node has/, 'active'],
  [/^close_nonce\.nonce$/, /: sent (an invalid nonce|a bad partial signature)/, 'active'],
  [/^close_partial\.partial$/, /: sent a bad partial signature/, 'closing'],
];

/** In a rotation nobody is shut out either: what the member gets wrong keeps its own key from being the coordinator's. */
const STAYS: readonly (readonly [field: RegExp, step: RegExp, why: string])[] = [
  [/^migrated\.owed$/, /^(refused|paying)$/, 'more than is due is refused; what is less than its own invoice says it does not take'],
  [/^migrated\.payment(Hash|Secret)$/, /^paying$/, 'not its invoice: the payment fails, and is tried again'],
  [/^migrated\.finalCltv$/, /^done$/, 'it gets more time than it needs'],
  [/^key_handover\.secretKey$/, /^paid$/, 'not its key'],
];

describe.each(LIVES)('$scenario.name', ({ scenario: played, originals }) => {
  const altered = originals.flatMap((o) => alterationsOf(o).map((a) => [`${o.message.type}.${a.path}`, a.what, a] as const));
  test.each(altered)('%s: %s', (field, _what, alteration) => {
    const { world, victim, liar } = live(played, alteration);
    const state = world.coordinatorState;
    const close = CLOSE_FAILS.find(([f]) => f.test(field));
    if (close) {
      expect(state).toMatchObject({ phase: 'live', excluded: [], closeFailure: expect.stringMatching(close[1]) });
      expect(state?.phase === 'live' && state.closeFailure?.startsWith(liar.id)).toBe(true);
      // A nonce of another factor is found out by the partial signature only.
      expect(['closing', close[2]]).toContain(endingOf(victim));
      return;
    }
    const stays = STAYS.find(([f]) => f.test(field));
    if (stays) {
      const migration = state?.phase === 'live' ? state.migrations?.[1] : undefined;
      expect(migration?.step).toMatch(stays[1]);
      expect(world.coordinator.live!.branches.map((b) => b.heldKey !== undefined)).toEqual([true, migration?.step === 'done', true]);
      expect(world.moving.account(liar.id).repaid).toBeLessThanOrEqual(RESERVE + 100n);
      return;
    }
    if (field === 'leave.leaves') {
      // It is as the coordinator has heard, and the member hears that.
      expect(state?.phase === 'live' && state.leaving).toEqual({ 1: { attempt: 1, leaves: false } });
      const own = world.memberState(liar);
      expect(own?.phase === 'live' && own.leaving).toEqual({ attempt: 1, leaves: false, noted: true, refused: true });
      return;
    }
    const found = FOUND.find(([f]) => f.test(field));
    if (!found) throw new Error(`the coordinator goes on with another ${field}: make it refuse, or list why that is harmless`);
    expect(state?.excluded).toEqual([{ nodeId: liar.id, reason: expect.stringMatching(found[1]) }]);
    expect(world.members.map((m) => m === liar || endingOf(m) === endingOf(victim))).toEqual([true, true, true]);
    expect(['closed', 'funding', 'active']).toContain(endingOf(victim));
  });
});
