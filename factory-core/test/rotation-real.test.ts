/** Rotation once with the real MuSig2, transactions and bytes: keys that travel, and a close signed with them. */
import { expect, test } from '@jest/globals';
import { isHandedOverKey } from '../keys.js';
import { closeOf } from '../live/paths.js';
import { verifyFinal } from '../musig/index.js';
import { NEXT } from './sim/moving.js';
import { World } from './sim/world.js';

test.each([[[0, 1, 2]], [[0, 2]], [[1]]])('members %j move, and the close verifies', (members) => {
  const world = new World({ clients: [1, 2, 3].map((n) => ({ capacity: BigInt(n) * 100_000n, stock: 0n })) });
  world.create();
  world.quiet();
  world.mine(3);
  world.quiet();
  world.members.forEach((m, i) => (world.channelOf(m)!.balance = BigInt(i + 1) * 7_777_777n));
  world.command(world.coordinator, { type: 'migrate_requested', to: NEXT, members });
  world.quiet();
  const { branches, spec } = world.coordinator.live!;
  expect(branches.flatMap((b) => (b.heldKey === undefined ? [] : [b.member]))).toEqual(members);
  for (const b of branches) if (b.heldKey !== undefined) expect(isHandedOverKey(b.heldKey, spec.roster[b.member]!.key)).toBe(true);
  world.command(world.coordinator, { type: 'close_requested', feerate: 2_000 });
  world.quiet();
  const live = world.coordinator.live!;
  expect(verifyFinal(closeOf(live)!, live.close!.signature!)).toBe(true);
  world.mine(3);
  world.quiet();
  expect(world.chain.spenderOf(spec.funding)?.outputs).toHaveLength(1 + 3 - members.length);
  world.oracle.concluded();
});
