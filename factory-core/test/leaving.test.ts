/** Members that do not go on: they are paid by the close, to the satoshi, and lose nothing if the coordinator does not care (architecture 8). */
import { describe, expect, jest, test } from '@jest/globals';
import type { FactoryMessage } from '../../blip/messages.js';
import * as serialize from '../serialize.js';
import * as fakeMusig from './sim/fake-musig.js';
import * as fakeSerialize from './sim/fake-serialize.js';
import { activeWith } from './sim/scenes.js';
import type { World } from './sim/world.js';

jest.unstable_mockModule('../musig/index.js', () => fakeMusig);
jest.unstable_mockModule('../serialize.js', () => ({ ...serialize, ...fakeSerialize }));
const { branchStatus, liveState } = await import('../live/custody.js');
const { shouldClose } = await import('../coordinator/rotating.js');
const { NEXT } = await import('./sim/moving.js');
const sim = await import('./sim/world.js');

const BALANCES = [123_456_789n, 222_000_001n, 400_000_000n] as const;
const active = (): World => activeWith(new sim.World({ clients: [1, 2, 3].map(() => ({ capacity: 1_000_000n, stock: 0n })) }), BALANCES);
const lsp = (world: World) => {
  const state = world.coordinatorState;
  if (state?.phase !== 'live') throw new Error('not live');
  return state;
};
const client = (world: World, index: number) => {
  const state = world.memberState(world.member(index));
  if (state?.phase !== 'live') throw new Error('not live');
  return state;
};
const leave = (world: World, index: number, leaves = true): void => {
  world.command(world.member(index), { type: 'leave_requested', leaves });
  world.quiet();
};
const rotate = (world: World, members = [0, 1, 2]): void => {
  world.command(world.coordinator, { type: 'migrate_requested', to: NEXT, members });
  world.quiet();
};
const held = (world: World): readonly boolean[] => world.coordinator.live!.branches.map((b) => b.heldKey !== undefined);
const close = (world: World): void => {
  world.command(world.coordinator, { type: 'close_requested', feerate: 3_000 });
  world.quiet();
  world.mine(3);
  world.quiet();
};
const paidTo = (world: World, index: number): readonly bigint[] =>
  world.chain
    .spenderOf(world.coordinator.live!.spec.funding)!
    .outputs.filter((o) => o.script === client(world, index).payoutScript)
    .map((o) => o.amount);
const never = (world: World, type: FactoryMessage['type']): void => {
  world.tamper = (_host, _to, envelope) => (envelope.message.type === type ? [] : [envelope]);
};

describe('a member that leaves', () => {
  test('is left out of the rotation, and paid by the close, which is due when the others have moved', () => {
    const world = active();
    leave(world, 1);
    expect([lsp(world).leaving?.[1], client(world, 1).leaving]).toEqual([{ attempt: 1, leaves: true }, { attempt: 1, leaves: true, noted: true }]);
    expect(shouldClose(lsp(world))).toBe(false);
    rotate(world);
    expect(held(world)).toEqual([true, false, true]);
    expect(shouldClose(lsp(world))).toBe(true);
    close(world);
    expect(world.hosts.map((h) => liveState(h.live!, false))).toEqual(Array(4).fill('closed'));
    expect([0, 1, 2].map((i) => paidTo(world, i))).toEqual([[], [222_001n], []]);
    world.oracle.concluded();
  });
  test('who changes its mind goes on with the others', () => {
    const world = active();
    leave(world, 1);
    leave(world, 1, false);
    expect(client(world, 1).leaving).toEqual({ attempt: 2, leaves: false, noted: true });
    rotate(world);
    expect(held(world)).toEqual([true, true, true]);
  });
  test('while it waits for the next factory to be active it still can; once it moves, no more', () => {
    const world = active();
    world.moving.active = false;
    rotate(world);
    expect(client(world, 1).migration?.step).toBe('waiting');
    leave(world, 1);
    expect([client(world, 1).migration, lsp(world).migrations?.[1]]).toEqual([undefined, undefined]);
    world.moving.active = true;
    world.mine(1);
    world.quiet();
    expect(held(world)).toEqual([true, false, true]);
    leave(world, 0);
    expect(client(world, 0).leaving).toBeUndefined();
    close(world);
    expect(paidTo(world, 1)).toEqual([222_001n]);
  });
  test.each(['leave', 'leave_noted'] as const)('says so again until it is answered (%s is lost)', (type) => {
    const world = active();
    never(world, type);
    leave(world, 1);
    expect(client(world, 1).leaving).toMatchObject({ leaves: true, noted: false });
    world.tamper = (_host, _to, envelope) => [envelope];
    world.crash(world.member(1));
    world.quiet();
    expect(client(world, 1).leaving).toMatchObject({ leaves: true, noted: true });
    expect(lsp(world).leaving?.[1]).toEqual({ attempt: 1, leaves: true });
  });
  test('of a coordinator that does not care: it is told to move and does not, its channel goes on, and it leaves alone', () => {
    const world = active();
    never(world, 'leave');
    leave(world, 1);
    rotate(world);
    expect([client(world, 1).migration, held(world)]).toEqual([undefined, [true, false, true]]);
    world.command(world.member(1), { type: 'exit_requested', members: [1] });
    for (let i = 0; i < 6; i += 1) {
      world.mine(1);
      world.quiet();
    }
    expect(branchStatus(client(world, 1).live, client(world, 1).live.branches[0]!).kind).toBe('channel_closed');
    expect(world.channelOf(world.member(1))?.balance).toBe(BALANCES[1]);
  });
  test('an older decision, or one of somebody who moves, changes nothing', () => {
    const world = active();
    leave(world, 1);
    leave(world, 1, false);
    rotate(world);
    const before = lsp(world);
    world.coordinator.dispatch({ type: 'message', from: world.member(1).id, attempt: 1, message: { type: 'leave', leaves: 1 } });
    expect(lsp(world)).toBe(before);
    world.coordinator.dispatch({ type: 'message', from: world.member(1).id, attempt: 3, message: { type: 'leave', leaves: 1 } });
    expect(lsp(world).leaving?.[1]).toEqual({ attempt: 3, leaves: false });
    expect(lsp(world).migrations?.[1]?.step).toBe('done');
  });
  test('when all leave, the factory is closed once it is dying, and not before', () => {
    const world = active();
    [0, 1, 2].forEach((i) => leave(world, i));
    expect(shouldClose(lsp(world))).toBe(false);
    const { spec } = lsp(world).live;
    const dying = spec.startHeight + spec.terms.activeBlocks;
    const at = (tip: number) => ({ ...lsp(world), live: { ...lsp(world).live, chain: { ...lsp(world).live.chain, tip } } });
    expect([shouldClose(at(dying - 1)), shouldClose(at(dying))]).toEqual([false, true]);
    leave(world, 2, false);
    expect(shouldClose(at(dying))).toBe(false);
  });
});
