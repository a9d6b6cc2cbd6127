/** Rotation: members move to another factory, hand over their keys, and the coordinator closes the old one alone (architecture 8). */
import { describe, expect, jest, test } from '@jest/globals';
import { secretKey, type NodeId } from '../../blip/brands.js';
import type { FactoryMessage } from '../../blip/messages.js';
import { rotationOf } from '../rotation.js';
import * as serialize from '../serialize.js';
import * as fakeMusig from './sim/fake-musig.js';
import * as fakeSerialize from './sim/fake-serialize.js';
import type { Host } from './sim/host.js';
import { activeWith, silent } from './sim/scenes.js';
import type { World, WorldOptions } from './sim/world.js';

// Hundreds of factories: with the cheap stand-ins of the simulator. `rotation-real.test.ts` has the real ones.
jest.unstable_mockModule('../musig/index.js', () => fakeMusig);
jest.unstable_mockModule('../serialize.js', () => ({ ...serialize, ...fakeSerialize }));
const { liveState, mayCarryHtlcs } = await import('../live/custody.js');
const { ANOTHER, NEXT, RESERVE } = await import('./sim/moving.js');
const sim = await import('./sim/world.js');

const CLIENTS = [
  { capacity: 1_000_000n, stock: 500_000n },
  { capacity: 2_000_000n, stock: 0n },
  { capacity: 750_000n, stock: 330n },
];
const BALANCES = [123_456_789n, 0n, 400_000n] as const;

const active = (options: Partial<WorldOptions> = {}): World => activeWith(new sim.World({ clients: CLIENTS, ...options }), BALANCES);
const rotate = (world: World, members = [0, 1, 2], to = NEXT): void => world.command(world.coordinator, { type: 'migrate_requested', to, members });
const close = (world: World): void => {
  world.command(world.coordinator, { type: 'close_requested', feerate: 3_000 });
  world.quiet();
};
const steps = (world: World): readonly (string | undefined)[] =>
  world.members.map((m) => {
    const state = world.memberState(m);
    return state?.phase === 'live' ? state.migration?.step : undefined;
  });
const held = (world: World): readonly boolean[] => world.coordinator.live!.branches.map((b) => b.heldKey !== undefined);
const there = (world: World, index: number): bigint => {
  const { there: has, fees } = world.moving.account(world.member(index).id);
  expect(fees).toBeLessThan(100n);
  return has;
};
/** Everybody has all it had, over there, and the keys are here. */
const moved = (world: World): void => {
  world.quiet();
  expect(steps(world)).toEqual(['handed_over', 'handed_over', 'handed_over']);
  expect(held(world)).toEqual([true, true, true]);
  expect([0, 1, 2].map((i) => there(world, i))).toEqual(BALANCES);
  world.oracle.concluded();
};
/** One transaction, without asking anybody: all of it is the coordinator's. */
const closedAlone = (world: World): void => {
  const before = world.sent.length;
  close(world);
  expect(world.sent.slice(before).filter((s) => s.envelope.message.type.startsWith('close'))).toEqual([]);
  world.mine(3);
  world.quiet();
  expect(world.hosts.map((h) => liveState(h.live!, false))).toEqual(Array(4).fill('closed'));
  const { spec } = world.coordinator.live!;
  const { outputs } = world.chain.spenderOf(spec.funding)!;
  expect(outputs).toEqual([expect.objectContaining({ script: world.coordinator.identity.payoutScript })]);
  expect(spec.fundingAmount - outputs[0]!.amount).toBeLessThan(400n);
  // Revoked commitments were punishable up to here; now the channels go.
  expect(world.cln.channels.every((c) => [...c.open.values()].every((open) => !open))).toBe(true);
  world.oracle.concluded();
};
const SAID = ['migrate', 'migrating', 'migrated', 'key_handover', 'key_received'] as const;

describe('migration', () => {
  test('everybody moves, to the millisatoshi, and the coordinator closes alone', () => {
    const world = active();
    rotate(world);
    moved(world);
    closedAlone(world);
  });

  test('nothing goes over old channels once a member has said that it is through', () => {
    const world = active();
    rotate(world);
    world.until(() => steps(world)[0] === 'settling');
    const member = world.memberState(world.member(0));
    expect(member?.phase === 'live' && rotationOf(member, 0)).toBe('moved');
    moved(world);
    for (const h of world.hosts) for (const b of h.live!.branches) expect(mayCarryHtlcs(h.live!, b, false)).toBe(false);
  });

  test.each(['coordinator', 'client'] as const)('an HTLC of the %s that is pending when it begins is settled first, or fails', (who) => {
    for (const fulfilled of [true, false]) {
      const world = active();
      world.htlcsSettle = false;
      const member = world.member(0);
      const channel = world.channelOf(member)!;
      channel.htlc = { from: who === 'client' ? member.id : world.coordinator.id, amount: 5_000_000n };
      rotate(world);
      world.settle();
      expect(steps(world)).toEqual(['settling', 'handed_over', 'handed_over']);
      if (fulfilled) world.settleHtlc(channel);
      channel.htlc = undefined;
      world.quiet();
      const change = fulfilled ? (who === 'client' ? -5_000_000n : 5_000_000n) : 0n;
      expect(there(world, 0)).toBe(BALANCES[0] + change);
      expect(held(world)).toEqual([true, true, true]);
      closedAlone(world);
    }
  });

  test('it waits for the next factory to be active', () => {
    const world = active();
    world.moving.active = false;
    rotate(world);
    world.quiet();
    expect(steps(world)).toEqual(['waiting', 'waiting', 'waiting']);
    expect([0, 1, 2].map((i) => there(world, i))).toEqual([0n, 0n, 0n]);
    world.moving.active = true;
    moved(world);
  });

  test('a member that comes back days later moves then', () => {
    const world = active();
    world.crash(world.member(2));
    rotate(world);
    // It is the driver that restarts nodes; this one stays down for a while.
    for (let i = 0; i < 400; i += 1) {
      const next = world.progress().find((a) => a.label !== 'client 2 restarts');
      if (!next) break;
      world.do(next);
    }
    expect(held(world)).toEqual([true, true, false]);
    world.mine(300);
    moved(world);
    closedAlone(world);
  });

  test.each(SAID)('a connection that breaks at the first %s', (type) => {
    const world = active();
    rotate(world);
    world.until(() => world.sent.some((s) => s.envelope.message.type === type));
    for (const m of world.members) world.disconnect(m);
    moved(world);
    closedAlone(world);
  });
  test.each(SAID)('every node crashes at the first %s', (type) => {
    const world = active();
    rotate(world);
    world.until(() => world.sent.some((s) => s.envelope.message.type === type));
    for (const h of world.hosts) world.crash(h);
    moved(world);
    closedAlone(world);
  });
  test('a crash at every point of every node', () => {
    for (const who of [0, 1, 2, 3]) {
      for (let fuse = 0; fuse < 14; fuse += 1) {
        const world = active();
        world.hosts[who]!.fuse = fuse;
        rotate(world);
        world.quiet();
        if (world.coordinator.fuse === undefined && Object.keys(migrations(world)).length === 0) rotate(world);
        moved(world);
        closedAlone(world);
      }
    }
  });
  test.each(SAID)('%s is lost: asked for again with the next block', (type) => {
    const world = active();
    silent(type === 'migrate' || type === 'key_received' ? 'coordinator' : 'client 0', type)(world);
    rotate(world);
    world.quiet();
    expect(held(world)[0]).toBe(type === 'key_received');
    world.tamper = undefined;
    world.mine(1);
    world.quiet();
    if (type === 'key_received') for (const m of world.members) world.disconnect(m);
    moved(world);
    closedAlone(world);
  });
  test('every message twice', () => {
    const world = active();
    world.tamper = (_from, _to, envelope) => [envelope, envelope];
    rotate(world);
    moved(world);
    closedAlone(world);
  });

  test.each([1, 3])('a payment of what is owed that is lost %i times in a power failure is made with another invoice, once', (losses) => {
    const world = active();
    rotate(world);
    world.moving.losses = losses;
    world.quiet();
    expect(Object.values(migrations(world)).filter((m) => m.step === 'refused')).toHaveLength(Math.min(losses, 2));
    const first = world.members.map((m) => invoiceOf(world, m));
    // Said again by the coordinator's own reminder, or by nobody: nothing is asked for twice in a block.
    world.disconnect(world.member(0));
    world.quiet();
    expect(world.members.map((m) => invoiceOf(world, m))).toEqual(first);
    world.mine(1);
    world.quiet();
    world.mine(2);
    moved(world);
    closedAlone(world);
  });
  test('a crash of either side at every point of that', () => {
    for (const who of [0, 1]) {
      for (let fuse = 0; fuse < 10; fuse += 1) {
        const world = active();
        rotate(world);
        world.moving.losses = 1;
        world.quiet();
        world.hosts[who]!.fuse = fuse;
        world.mine(1);
        world.quiet();
        world.mine(2);
        moved(world);
        closedAlone(world);
      }
    }
  });
  test('sent to another factory before it is through: there it goes', () => {
    const world = active();
    world.moving.active = false;
    rotate(world, [0]);
    world.quiet();
    const other = ANOTHER;
    rotate(world, [0, 1, 2], other);
    world.quiet();
    world.moving.active = true;
    moved(world);
    expect(world.members.map((m) => world.memberState(m)).map((s) => s?.phase === 'live' && s.migration?.to)).toEqual([other, other, other]);
  });

  test('a member that leaves alone instead does not hand anything over', () => {
    const world = active();
    world.moving.active = false;
    rotate(world);
    world.quiet();
    world.command(world.member(0), { type: 'exit_requested', members: [0] });
    world.moving.active = true;
    for (let i = 0; i < 8; i += 1) {
      world.mine(1);
      world.quiet();
    }
    expect(steps(world)).toEqual([undefined, 'handed_over', 'handed_over']);
    expect(world.channelOf(world.member(0))!.balance).toBe(BALANCES[0]);
  });
});

describe('close with some keys', () => {
  test('those who stay are asked and paid, the others are not', () => {
    const world = active();
    rotate(world, [0, 2]);
    world.quiet();
    expect(held(world)).toEqual([true, false, true]);
    world.channelOf(world.member(1))!.balance = 77_001n;
    close(world);
    const asked = world.sent.filter((s) => s.envelope.message.type === 'close_request').map((s) => s.to);
    expect(asked).toEqual([world.member(1).id]);
    world.mine(3);
    world.quiet();
    expect(world.hosts.map((h) => liveState(h.live!, false))).toEqual(Array(4).fill('closed'));
    const { outputs } = world.chain.spenderOf(world.coordinator.live!.spec.funding)!;
    const paid = (h: Host) => outputs.find((o) => o.script === h.identity.payoutScript)?.amount;
    expect(world.members.map(paid)).toEqual([undefined, 330n, undefined]);
    world.oracle.concluded();
  });
  test('a restart of the coordinator in the middle of it', () => {
    for (let fuse = 0; fuse < 30; fuse += 1) {
      const world = active();
      rotate(world);
      moved(world);
      world.coordinator.fuse = fuse;
      close(world);
      if (world.chain.pendingTxs().length === 0) close(world);
      world.mine(3);
      world.quiet();
      expect(liveState(world.coordinator.live!, false)).toBe('closed');
      world.oracle.concluded();
    }
  });
  test('a member that moves does not take part in a close', () => {
    const world = active();
    world.moving.active = false;
    rotate(world, [0]);
    world.quiet();
    close(world);
    expect(world.coordinatorState).toMatchObject({ closeFailure: expect.stringContaining('moving to another factory') });
    expect(world.chain.pendingTxs()).toEqual([]);
  });
});

describe('members and coordinators who do not play by the rules', () => {
  const alter = (world: World, from: string, change: (m: FactoryMessage) => FactoryMessage): void => {
    world.tamper = (host, _to: NodeId, envelope) => [host.name === from ? { ...envelope, message: change(envelope.message) } : envelope];
  };
  test('another key is not taken', () => {
    const world = active({ dishonest: ['client 0'] });
    alter(world, 'client 0', (m) => (m.type === 'key_handover' ? { ...m, secretKey: secretKey('11'.repeat(32)) } : m));
    rotate(world);
    world.quiet();
    expect(held(world)).toEqual([false, true, true]);
    alter(world, 'client 0', (m) => (m.type === 'key_handover' ? { ...m, secretKey: secretKey('ff'.repeat(32)) } : m));
    world.mine(1);
    world.quiet();
    expect(held(world)).toEqual([false, true, true]);
  });
  test('more than is owed is not paid', () => {
    const world = active({ dishonest: ['client 0'] });
    alter(world, 'client 0', (m) => (m.type === 'migrated' ? { ...m, owed: (m.owed + 1n) as typeof m.owed } : m));
    rotate(world);
    world.quiet();
    expect(migrations(world)[0]).toMatchObject({ step: 'refused', problem: expect.stringContaining('asks for') });
    expect(world.moving.account(world.member(0).id).repaid).toBe(0n);
    expect(steps(world)).toEqual(['owed', 'handed_over', 'handed_over']);
    world.tamper = undefined;
    world.mine(1);
    moved(world);
  });
  test('who asks for too much all the time is told to count anew less and less often', () => {
    const world = active({ dishonest: ['client 0'] });
    alter(world, 'client 0', (m) => (m.type === 'migrated' ? { ...m, owed: (m.owed + 1n) as typeof m.owed } : m));
    rotate(world);
    for (let block = 0; block < 64; block += 1) {
      world.quiet();
      world.mine(1);
    }
    world.quiet();
    const asked = world.sent.filter((s) => s.to === world.member(0).id && s.envelope.message.type === 'migrate').map((s) => s.envelope.header.attempt);
    expect(new Set(asked).size).toBe(7);
    expect(migrations(world)[0]).toMatchObject({ step: 'refused', refusals: 7 });
    expect(world.moving.account(world.member(0).id).repaid).toBe(0n);
    world.tamper = undefined;
    world.mine(64);
    moved(world);
  });
  test('a key is kept until what is owed has come', () => {
    const world = active();
    world.tamper = (_from, _to, envelope) => (envelope.message.type === 'migrated' ? [] : [envelope]);
    rotate(world);
    world.quiet();
    expect(steps(world)).toEqual(['owed', 'handed_over', 'owed']);
    expect(held(world)).toEqual([false, true, false]);
    expect(world.channelOf(world.member(0))!.balance).toBe(RESERVE);
  });
  test('who was not told to move cannot hand over a key', () => {
    const world = active();
    world.inject(world.member(0), world.coordinator.id, 1, { type: 'key_handover', secretKey: secretKey('11'.repeat(32)) });
    world.quiet();
    expect(held(world)).toEqual([false, false, false]);
  });
});

const invoiceOf = (world: World, member: Host) => {
  const state = world.memberState(member);
  return state?.phase === 'live' && state.migration?.step === 'owed' ? state.migration.paymentHash : undefined;
};
const migrations = (world: World) => {
  const state = world.coordinatorState;
  return (state?.phase === 'live' ? state.migrations : undefined) ?? {};
};
