/** The schedule: begins rotations in the dying window, ever later when they fail, never two at once, and gives way in time (architecture 8). */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { instanceId, type InstanceId, type NodeId } from '../../blip/brands.js';
import { onRotating } from '../coordinator/rotating.js';
import { scheduled, stragglers, type Around } from '../coordinator/schedule.js';
import type { CoordinatorLive, CoordinatorState } from '../coordinator/state.js';
import { calendarOf, closeDelay } from '../live/deadlines.js';
import { secretKey } from '../../blip/brands.js';
import { alike } from './support/factory.js';
import { liveFactory } from './support/live.js';

const OPTIONS = { clients: alike(4), terms: { activeBlocks: 50, dyingBlocks: 100, settlingBlocks: 100 } };
const LIVE = liveFactory('coordinator', OPTIONS);
const PEERS = LIVE.branches.map((b) => b.peer);
const { dying, settling, guard, expiry } = calendarOf(LIVE.spec);
const PATIENCE = dying + 25;
const NEXT = instanceId('5a'.repeat(32));
const KEY = secretKey('01'.padStart(64, '0'));

const old: CoordinatorLive = {
  role: 'coordinator',
  phase: 'live',
  request: { instanceId: LIVE.spec.instanceId } as CoordinatorLive['request'],
  attempt: 1,
  excluded: [],
  members: PEERS.map((nodeId) => ({ nodeId })) as unknown as CoordinatorLive['members'],
  live: LIVE,
  closeAttempts: 0,
};
const at = (height: number, state = old): CoordinatorLive => ({ ...state, live: { ...state.live, chain: { ...state.live.chain, tip: height } } });
const around = (connected: readonly NodeId[] = PEERS, newcomers = 0, next?: CoordinatorState): Around => ({ connected: new Set(connected), newcomers, find: (id) => (id === NEXT ? next : undefined) });
const rotatingTo = (state: CoordinatorLive, to: InstanceId = NEXT): CoordinatorLive => onRotating(state, { type: 'rotation_begun', to }).state;
const failed = (state: CoordinatorLive, reason = 'a reason'): CoordinatorLive => onRotating(state, { type: 'rotation_postponed', reason }).state;
/** The next factory with these members, so many blocks deep. */
const nextOf = (members: readonly NodeId[], depth = 10): CoordinatorLive => {
  const live = liveFactory('coordinator', { clients: alike(Math.max(2, members.length)) });
  const branches = live.branches.slice(0, members.length).map((b, i) => ({ ...b, peer: members[i]! }));
  const chain = { ...live.chain, tip: (live.chain.fundingHeight ?? 0) + depth - 1 };
  return { ...old, request: { instanceId: NEXT } as CoordinatorLive['request'], members: members.map((nodeId) => ({ nodeId })) as unknown as CoordinatorLive['members'], live: { ...live, branches, chain } };
};
const steps = (state: (height: number) => CoordinatorLive, heights: readonly number[], view = around()): readonly string[] => heights.map((h) => scheduled(state(h), view).step);

describe('the calendar', () => {
  test('idle, rotate, close, publish the root', () => {
    expect(steps((h) => at(h), [dying - 1, dying, settling - 1, settling, guard - 1, guard, expiry + 5])).toEqual(['idle', 'rotate', 'waiting', 'close', 'close', 'publish_root', 'publish_root']);
    expect(scheduled(at(dying - 1), around())).toMatchObject({ until: dying });
    expect(scheduled(at(settling), around())).toMatchObject({ until: guard });
  });
  test('none is begun so late that the close would overtake it', () => {
    const last = settling - LIVE.spec.terms.minDepth - 3;
    expect(steps((h) => at(h), [last, last + 1])).toEqual(['rotate', 'waiting']);
    expect(scheduled(at(last + 1, failed(old)), around()).why).toBe('too late for another factory: it is closed instead (a reason)');
  });
});

describe('in the dying window', () => {
  test('members that are away are waited for, for a quarter of it; then the others go', () => {
    const view = around(PEERS.slice(1));
    expect(scheduled(at(dying), view)).toEqual({ step: 'waiting', why: `not connected: ${PEERS[0]!}`, until: PATIENCE });
    expect(steps((h) => at(h), [PATIENCE - 1, PATIENCE], view)).toEqual(['waiting', 'rotate']);
  });
  test('a factory has two clients at least; those who wait count', () => {
    const one = PEERS.slice(3);
    expect(scheduled(at(PATIENCE), around(one)).why).toMatch(/^a factory has at least 2 clients, and 1 could be in it now; not connected: /);
    expect(scheduled(at(PATIENCE), around(one, 1)).step).toBe('rotate');
    expect(scheduled(at(PATIENCE), around([], 9)).step).toBe('waiting');
  });
  test('what fails is tried again later and later, and says why', () => {
    let state = at(dying);
    const tried: number[] = [];
    for (let h = dying; h < settling; h += 1) {
      state = at(h, state);
      const decision = scheduled(state, around());
      if (decision.step === 'rotate') {
        tried.push(h - dying);
        state = failed(state, 'the wallet lacks 5 sat');
      } else expect(decision.why).toMatch(/the wallet lacks 5 sat/);
    }
    expect(tried).toEqual([0, 1, 3, 7, 15, 31, 63]);
    expect(state.schedule).toMatchObject({ tries: 7, last: dying + 63 });
  });
  test('a factory that does not come to be counts, too', () => {
    const begun = rotatingTo(at(dying));
    expect(begun.schedule).toEqual({ tries: 0, last: dying });
    const ended = onRotating(begun, { type: 'rotation_ended', to: NEXT, reason: 'nobody answered' }).state;
    expect(ended).toMatchObject({ rotation: { failure: 'nobody answered' }, schedule: { tries: 1, last: dying, problem: 'nobody answered' } });
    expect(steps((h) => at(h, ended), [dying, dying + 1])).toEqual(['waiting', 'rotate']);
    expect(onRotating(ended, { type: 'rotation_ended', to: NEXT, reason: 'again' }).state).toBe(ended);
  });
});

describe('never two at once', () => {
  const begun = rotatingTo(at(dying));
  test.each(['inviting', 'preparing', 'signing', 'opening', 'arming'] as const)('while the next one is %s', (phase) => {
    const next = { ...nextOf(PEERS), phase, invitees: [] } as unknown as CoordinatorState;
    expect(steps((h) => at(h, begun), [dying, settling - 10], around(PEERS, 5, next))).toEqual(['creating', 'creating']);
  });
  test('while it has not the depth, and until all who are in it have been told', () => {
    expect(scheduled(begun, around(PEERS, 0, nextOf(PEERS, 1))).step).toBe('creating');
    expect(scheduled(begun, around(PEERS, 0, nextOf(PEERS))).step).toBe('moving');
  });
  test('those who were not in it get another one, when the first ones are on their way', () => {
    const next = nextOf(PEERS.slice(0, 2));
    const told: CoordinatorLive = { ...begun, migrations: { 0: { step: 'moving', attempt: 1, to: NEXT }, 1: { step: 'asked', attempt: 1, to: NEXT } } };
    expect(stragglers(told, around(PEERS, 0, next).find).map((b) => b.member)).toEqual([2, 3]);
    expect(scheduled(told, around(PEERS, 0, next)).step).toBe('rotate');
    const all: CoordinatorLive = { ...told, migrations: { ...told.migrations, 2: { step: 'paying', attempt: 1, to: NEXT } as never, 3: { step: 'paid', attempt: 1, to: NEXT } as never } };
    expect(scheduled(all, around(PEERS, 0, next))).toMatchObject({ step: 'moving' });
  });
});

describe('who goes on', () => {
  const leaving = (...members: readonly number[]): CoordinatorLive => ({ ...old, leaving: Object.fromEntries(members.map((m) => [m, { attempt: 1, leaves: true }])) });
  test('not those who leave: nobody waits for them, and when only they are left it is closed', () => {
    expect(scheduled(at(dying, leaving(0)), around(PEERS.slice(1))).step).toBe('rotate');
    expect(scheduled(at(dying, leaving(0, 1, 2, 3)), around())).toMatchObject({ step: 'close', why: 'those who leave are paid' });
  });
  test('when all keys are here it is closed; when somebody is on the chain there is nothing to do', () => {
    const held = { ...old, live: { ...LIVE, branches: LIVE.branches.map((b) => ({ ...b, heldKey: KEY })) } };
    expect(scheduled(at(dying, held), around())).toMatchObject({ step: 'close', why: 'all have moved' });
    const exits = { ...old, live: { ...LIVE, exits: Object.fromEntries(PEERS.map((_, i) => [i, { since: 1 }])) } };
    expect(scheduled(at(dying, exits), around()).step).toBe('done');
  });
});

test('whoever comes and goes, whatever fails: only in its window, ever more seldom, in time when it can, and the calendar goes on', () => {
  const block = fc.record({ connected: fc.subarray([...PEERS]), outcome: fc.constantFrom('fails', 'ends', 'busy') });
  fc.assert(
    fc.property(fc.array(block, { minLength: expiry - dying + 20, maxLength: expiry - dying + 20 }), (blocks) => {
      let state = old;
      let previous: number | undefined;
      blocks.forEach(({ connected, outcome }, i) => {
        const height = dying - 10 + i;
        state = at(height, state);
        const { step } = scheduled(state, around(connected));
        const expected = height < dying ? ['idle'] : height < settling ? ['rotate', 'waiting'] : [height < guard ? 'close' : 'publish_root'];
        expect(expected).toContain(step);
        const tries = state.schedule?.tries ?? 0;
        const able = connected.length === 4 || (height >= PATIENCE && connected.length >= 2);
        const due = state.schedule === undefined || height >= state.schedule.last + closeDelay(tries);
        const inTime = height >= dying && height + LIVE.spec.terms.minDepth + 3 <= settling;
        expect(step === 'rotate').toBe(able && due && inTime);
        if (step !== 'rotate' || outcome === 'busy') return;
        expect(previous === undefined || height - previous >= closeDelay(tries)).toBe(true);
        previous = height;
        state = outcome === 'fails' ? failed(state) : onRotating(rotatingTo(state), { type: 'rotation_ended', to: NEXT, reason: 'x' }).state;
      });
    }),
    { numRuns: 60 },
  );
});
