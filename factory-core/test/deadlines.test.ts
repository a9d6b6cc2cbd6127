/** The calendar: for all terms, heights and absences, no deadline passes unattended (architecture 3.5, 3.6, 9). */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { sat, schnorrSignature } from '../../blip/brands.js';
import { fundingStatus } from '../live/custody.js';
import { calendarOf, closeDelay, closeDue, dutyAt, dutyEnds, phaseAt, REPEAT_AFTER, urgencyAt, type CloseAttempts, type Role } from '../live/deadlines.js';
import { closeOf, distributionOf, rootOf } from '../live/paths.js';
import { exitFrom, plan } from '../live/plan.js';
import type { Live } from '../live/state.js';
import { warningsOf } from '../live/warnings.js';
import type { Terms } from '../model.js';
import { alike, payoutScript, planFor, TERMS } from './support/factory.js';
import { liveFactory, publish } from './support/live.js';

const anyTerms: fc.Arbitrary<Partial<Terms>> = fc.record({
  activeBlocks: fc.integer({ min: 1, max: 5_000 }),
  dyingBlocks: fc.integer({ min: 1, max: 600 }),
  settlingBlocks: fc.integer({ min: 1, max: 600 }),
});
const heightsOf = (terms: Partial<Terms>) => planFor({ clients: alike(2), terms });
const life = anyTerms.chain((terms) => {
  const heights = heightsOf(terms);
  return fc.record({ heights: fc.constant(heights), height: fc.integer({ min: heights.startHeight, max: heights.expiryHeight + 500 }) });
});
const bothRoles: readonly Role[] = ['coordinator', 'member'];

describe('the calendar', () => {
  test('has its heights in order, and time between settling and expiry for a close and for the root', () => {
    fc.assert(
      fc.property(anyTerms, (terms) => {
        const { dying, settling, guard, lastCall, expiry } = calendarOf(heightsOf(terms));
        expect([dying, settling, guard, lastCall, expiry]).toEqual([dying, settling, guard, lastCall, expiry].sort((a, b) => a - b));
        expect(guard).toBeLessThan(expiry);
        const settlingBlocks = terms.settlingBlocks ?? 0;
        expect(expiry - guard).toBe(Math.min(144, Math.ceil(settlingBlocks / 2)));
        if (settlingBlocks > 1) expect(guard).toBeGreaterThan(settling);
      }),
    );
  });

  test('each phase begins where the one before ends, and none comes back', () => {
    const order = ['active', 'dying', 'settling', 'guarding', 'expired'];
    fc.assert(
      fc.property(life, ({ heights, height }) => {
        const now = phaseAt(heights, height);
        const ends = dutyEnds(heights, height);
        if (ends === undefined) {
          expect(now).toBe('expired');
          return;
        }
        expect([height, ends - 1].map((h) => phaseAt(heights, h))).toEqual([now, now]);
        // A settling period of one block is all guard.
        const steps = order.indexOf(phaseAt(heights, ends)) - order.indexOf(now);
        expect(steps).toBe(now === 'dying' && heights.terms.settlingBlocks === 1 ? 2 : 1);
      }),
    );
  });

  test('rotation is for the dying period, the close for the settling one, the root and the distribution for what is left', () => {
    const heights = heightsOf({ activeBlocks: 10, dyingBlocks: 10, settlingBlocks: 10 });
    const at = (after: number) => bothRoles.map((role) => dutyAt(heights, role, heights.startHeight + after));
    expect([0, 9, 10, 19, 20, 24, 25, 29, 30, 500].map(at)).toEqual([
      ['none', 'none'],
      ['none', 'none'],
      ['rotate', 'none'],
      ['rotate', 'none'],
      ['close', 'none'],
      ['close', 'none'],
      ['publish_root', 'none'],
      ['publish_root', 'none'],
      ['publish_root', 'distribute'],
      ['publish_root', 'distribute'],
    ]);
  });

  test('what presses presses more and more, and is said oftener', () => {
    const order = [undefined, 'notice', 'warning', 'urgent', 'critical'] as const;
    fc.assert(
      fc.property(life, fc.constantFrom(...bothRoles), ({ heights, height }, role) => {
        const [now, next] = [urgencyAt(heights, role, height), urgencyAt(heights, role, height + 1)];
        expect(order.indexOf(next)).toBeGreaterThanOrEqual(order.indexOf(now));
        expect(now === undefined).toBe(phaseAt(heights, height) === 'active');
        // A coordinator about to lose its money hears of it with every block.
        if (role === 'coordinator' && height >= heights.expiryHeight - 1) expect(now).toBe('critical');
      }),
    );
    expect(Object.values(REPEAT_AFTER)).toEqual([...Object.values(REPEAT_AFTER)].sort((a, b) => b - a));
  });
});

/** A confirmed factory whose tip is at this height. */
const at = (live: Live, height: number): Live => ({ ...live, chain: { ...live.chain, tip: height } });
const published = (live: Live, role: Role): readonly string[] => plan(live, role).flatMap((e) => (e.kind === 'broadcast' ? [e.tx.signable.txid] : []));

describe('what is published', () => {
  const terms = { activeBlocks: 30, dyingBlocks: 10, settlingBlocks: 50 };
  const [lsp, client] = bothRoles.map((role) => liveFactory(role, { clients: alike(3), terms }));
  const { startHeight, expiryHeight } = lsp!.spec;
  const { guard, lastCall } = calendarOf(lsp!.spec);
  const heights = Array.from({ length: 200 }, (_, i) => startHeight + 2 + i);
  const closed = (signed: boolean): Live => ({
    ...lsp!,
    close: { outputs: [{ amount: sat(1_000_000n), script: payoutScript(0) }], ...(signed ? { signature: schnorrSignature('00'.repeat(64)) } : {}) },
  });
  const leaving: Live = { ...lsp!, exits: { 1: { since: startHeight } } };

  // Whenever a node comes back: the plan is made anew from height and state alone, so an absence is as good as none.
  test.each(heights)('at %d, after any absence', (height) => {
    const root = rootOf(lsp!).signable.txid;
    expect(published(at(lsp!, height), 'coordinator')).toEqual(height >= guard ? [root] : []);
    expect(published(at(client!, height), 'member')).toEqual(height >= expiryHeight ? [distributionOf(client!).signable.txid] : []);
    // A close that was agreed and not signed by all is no reason to wait.
    expect(published(at(closed(false), height), 'coordinator')).toEqual(height >= guard ? [root] : []);
    // A signed one has a while to itself.
    const close = closeOf(closed(true))?.txid;
    expect(published(at(closed(true), height), 'coordinator')).toEqual(height >= lastCall ? [close, root] : [close]);
    // Somebody is leaving: the root once, whatever the height, and from the guard on with expiry as its deadline.
    expect(published(at(leaving, height), 'coordinator')).toEqual([root]);
    const deadline = plan(at(leaving, height), 'coordinator').flatMap((e) => (e.kind === 'broadcast' ? [e.deadline] : []));
    expect(deadline).toEqual([expiryHeight]);
  });
});

describe('by when it is to be confirmed', () => {
  const terms = { activeBlocks: 1_000, dyingBlocks: 100, settlingBlocks: 100 };
  const lsp = liveFactory('coordinator', { clients: alike(3), terms });
  const client = liveFactory('member', { clients: alike(3), terms });
  const { expiryHeight } = lsp.spec;
  const { guard } = calendarOf(lsp.spec);
  const now = lsp.chain.tip;
  const wanted = (live: Live, role: Role): readonly (readonly [string, number | undefined])[] =>
    plan(live, role).flatMap((e) => (e.kind === 'broadcast' ? [[e.tx.signable.purpose, e.deadline] as const] : []));

  test('a member loses nothing by expiry, the coordinator does; an HTLC leaves time for what follows', () => {
    expect(wanted({ ...client, exits: { 0: { since: now } } }, 'member')).toEqual([['split', undefined]]);
    expect(wanted({ ...lsp, exits: { 0: { since: now } } }, 'coordinator')).toEqual([['split', expiryHeight]]);
    const by = now + 40;
    const leaving = { ...client, exits: { 0: { since: now, by } } };
    expect(wanted(leaving, 'member')).toEqual([['split', by - 6]]);
    expect(wanted(publish(leaving, client.branches[0]!, 1), 'member')).toEqual([['leaf', by]]);
  });

  test('what several are waiting for has the earliest of their deadlines, the guard’s expiry among them', () => {
    const exits = { 0: { since: now }, 1: { since: now, by: now + 50 }, 2: { since: now, by: now + 30 } };
    expect(wanted({ ...lsp, exits }, 'coordinator')).toEqual([['split', now + 24]]);
    const late = { 1: { since: now, by: guard + 20 }, 2: { since: now } };
    expect(wanted({ ...at(lsp, guard), exits: late }, 'coordinator')).toEqual([['split', guard + 14]]);
    expect(wanted({ ...at(lsp, guard), exits: { 2: { since: now } } }, 'coordinator')).toEqual([['split', expiryHeight]]);
  });

  test('of two wishes the earlier counts', () => {
    expect(exitFrom(undefined, 7, undefined)).toEqual({ since: 7 });
    expect(exitFrom({ since: 3 }, 7, 20)).toEqual({ since: 3, by: 20 });
    expect(exitFrom({ since: 3, by: 10 }, 7, 20)).toEqual({ since: 3, by: 10 });
    expect(exitFrom({ since: 3, by: 10 }, 7, undefined)).toEqual({ since: 3, by: 10 });
  });
});

describe('the close by itself', () => {
  /** One entry per block from the settling height on: whether all are connected, and whether an attempt would fail. */
  const blocks = fc.array(fc.record({ all: fc.boolean(), fails: fc.boolean() }), { minLength: 1, maxLength: 500 });

  test('is tried whenever all are there, later and later, and never once the root is due', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 600 }), blocks, (settlingBlocks, course) => {
        const heights = heightsOf({ settlingBlocks });
        const { settling, guard } = calendarOf(heights);
        let attempts: CloseAttempts = { made: 0 };
        const tried: number[] = [];
        for (const [i, { all, fails }] of course.entries()) {
          const height = settling - 20 + i;
          if (!all || !closeDue(heights, height, attempts)) continue;
          tried.push(height);
          attempts = { made: attempts.made + 1, last: height };
          if (!fails) break;
        }
        for (const height of tried) expect(dutyAt(heights, 'coordinator', height)).toBe('close');
        tried.slice(1).forEach((height, i) => expect(height - tried[i]!).toBeGreaterThanOrEqual(Math.min(36, 2 ** i)));
        // Nobody waits longer than the delay with all there.
        const first = course.findIndex(({ all }, i) => all && settling - 20 + i >= settling && settling - 20 + i < guard);
        expect(tried[0]).toBe(first < 0 ? undefined : settling - 20 + first);
      }),
    );
  });
  test('a close that was agreed is finished in any phase', () => {
    const heights = heightsOf({ activeBlocks: 100 });
    expect(closeDue(heights, heights.startHeight + 1, { made: 0 })).toBe(false);
    expect(closeDue(heights, heights.startHeight + 1, { made: 0 }, true)).toBe(true);
    expect(closeDue(heights, heights.startHeight + 2, { made: 2, last: heights.startHeight + 1 }, true)).toBe(false);
    expect(closeDue(heights, heights.startHeight + 3, { made: 2, last: heights.startHeight + 1 }, true)).toBe(true);
    expect(closeDue(heights, calendarOf(heights).guard, { made: 0 }, true)).toBe(false);
  });
  test('the delay', () => {
    expect([0, 1, 2, 3, 4, 5, 6, 7, 8, 1_000].map(closeDelay)).toEqual([0, 1, 2, 4, 8, 16, 32, 36, 36, 36]);
  });
});

describe('what the operator is told', () => {
  const [lsp, client] = bothRoles.map((role) => liveFactory(role, { clients: alike(3) }));
  const { dying, settling, guard, lastCall, expiry } = calendarOf(lsp!.spec);
  const told = (live: Live, role: Role, height: number) =>
    warningsOf(at(live, height), role, { away: [], closeFailure: 'nobody listens' }).map(({ code, urgency, deadline }) => [code, urgency, deadline]);
  test.each([
    ['before', dying - 1, [], []],
    ['dying', dying, [['dying', 'notice', settling]], [['dying', 'notice', settling]]],
    ['settling', settling, [['settling', 'warning', guard]], [['settling', 'warning', guard]]],
    ['guarding', guard, [['guarding', 'urgent', expiry]], [['guarding', 'warning', expiry]]],
    ['the last call', lastCall, [['guarding', 'urgent', expiry]], [['guarding', 'warning', expiry]]],
    ['the last hours', expiry - 36, [['guarding', 'critical', expiry]], [['guarding', 'warning', expiry]]],
    ['expiry', expiry, [['expired', 'critical', expiry]], [['expired', 'urgent', expiry]]],
  ])('%s', (_, height, coordinator, member) => {
    expect(told(lsp!, 'coordinator', height)).toEqual(coordinator);
    expect(told(client!, 'member', height)).toEqual(member);
  });
  test('who is away, why the last close failed, and that the channels stand still', () => {
    const { peer } = lsp!.branches[1]!;
    const frozen: Live = { ...at(lsp!, settling), close: { outputs: [] } };
    const [first, second] = warningsOf(frozen, 'coordinator', { away: [peer], closeFailure: 'draining: no answer' });
    expect(first?.text).toMatch(new RegExp(`not connected: ${peer}; the last attempt to close failed: draining: no answer`));
    expect(second).toMatchObject({ code: 'frozen', urgency: 'warning' });
    expect(warningsOf({ ...at(lsp!, dying - 1), close: { outputs: [] } }, 'member', { away: [] })).toMatchObject([{ code: 'frozen', urgency: 'warning' }]);
  });
  test('nothing, once the output is spent or before it is there', () => {
    const spent: Live = { ...lsp!, chain: { ...lsp!.chain, tip: expiry, spends: { [`${lsp!.spec.funding.txid}:${String(lsp!.spec.funding.vout)}`]: { by: rootOf(lsp!).signable.txid, height: guard } } } };
    expect(fundingStatus(spent).kind).toBe('spent');
    expect(warningsOf(spent, 'coordinator', { away: [] })).toEqual([]);
    const unconfirmed = { tip: expiry, everFunded: true, spends: {} };
    expect(warningsOf({ ...lsp!, chain: unconfirmed }, 'coordinator', { away: [] })).toEqual([]);
  });
  test('by default there are two days for the close, and one for the root', () => {
    expect(TERMS.settlingBlocks).toBe(432);
    expect([guard - settling, expiry - guard]).toEqual([288, 144]);
  });
});
