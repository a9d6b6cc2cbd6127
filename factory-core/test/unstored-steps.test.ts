/** A step that could not be stored has not happened; what it left in memory must not be in the way of the next. */
import { expect, test } from '@jest/globals';
import { publicKey } from './support/factory.js';
import { worldWith } from './support/lives.js';

test('another spec of the same attempt, after one whose nonces were made and not stored', () => {
  const world = worldWith('coordinator')();
  const member = world.member(1);
  let altered = 0;
  world.tamper = (host, to, envelope) => {
    const { message } = envelope;
    if (!host.isCoordinator || to !== member.id || message.type !== 'spec' || altered > 0) return [envelope];
    altered += 1;
    member.failing = 1;
    // The distribution has the same txid, and is signed with other keys.
    return [{ ...envelope, message: { ...message, coordinatorKey: publicKey('somebody') } }, envelope];
  };
  world.create();
  world.quiet();
  expect(altered).toBe(1);
  expect(world.trace).toContain(`${member.name}: message not stored (disk)`);
  expect(world.hosts.map((h) => h.state?.phase)).toEqual(Array(4).fill('live'));
  world.oracle.concluded();
});
