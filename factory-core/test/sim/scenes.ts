/** How tests of single moments set the simulated world up. */
import type { FactoryMessage } from '../../../blip/messages.js';
import type { World } from './world.js';

/** A factory that is active, and these balances of its members, in millisatoshis. */
export const activeWith = (world: World, balances: readonly bigint[]): World => {
  world.create();
  world.quiet();
  world.mine(3);
  world.quiet();
  world.members.forEach((m, i) => (world.channelOf(m)!.balance = balances[i]!));
  return world;
};

/** A node that says nothing any more from this message on. */
export const silent =
  (from: string, type: FactoryMessage['type']) =>
  (world: World): void => {
    let gone = false;
    world.tamper = (host, _to, envelope) => {
      gone ||= host.name === from && envelope.message.type === type;
      return gone && host.name === from ? [] : [envelope];
    };
  };
