/**
 * A factory's life in which one message is not what the protocol makes it: what the other side makes of that. The message is
 * altered whenever it is sent, again after a reconnection too; in a later attempt it is another message, and honest.
 */
import { DecodeError, EncodeError } from '../../../blip/errors.js';
import type { FactoryEnvelope, FactoryMessage, FactoryMessageType } from '../../../blip/messages.js';
import { decodeMessage, encodeMessage, messageFields } from '../../../blip/protocol-codec.js';
import { liveState } from '../../live/custody.js';
import type { Host } from '../sim/host.js';
import type { World } from '../sim/world.js';
import { leaves, listMutationsOf, mutationsOf } from './mutations.js';

/** What a test looks at: who is lied to, who lies, and what they live through. */
export interface Scenario {
  readonly name: string;
  readonly world: () => World;
  readonly drive: (world: World) => void;
  readonly liar: (world: World) => Host;
  readonly victim: (world: World) => Host;
}

export interface Life {
  readonly world: World;
  readonly victim: Host;
  readonly liar: Host;
  /** What the liar sent the victim, as it was received. */
  readonly received: readonly FactoryEnvelope[];
  /** What the victim answered since the altered message left; nothing if it never did. */
  readonly answers: readonly FactoryMessage[];
}

/** One message, in the place of another. */
export interface Alteration {
  readonly original: FactoryEnvelope;
  readonly altered: FactoryMessage;
}

/**
 * @param alteration undefined: nothing is altered
 * @param playsOn the liar does not tell the victim that it is out, but goes on with these, as if nothing had happened
 */
export const live = (scenario: Scenario, alteration?: Alteration, playsOn: readonly FactoryEnvelope[] = []): Life => {
  const world = scenario.world();
  const [victim, liar] = [scenario.victim(world), scenario.liar(world)];
  const target = alteration && encodeMessage(alteration.original);
  let since: number | undefined;
  let rest = playsOn;
  world.tamper = (host, to, envelope) => {
    if (!alteration || host !== liar || to !== victim.id) return [envelope];
    if (encodeMessage(envelope) === target) {
      since ??= world.sent.length;
      return [{ ...envelope, message: alteration.altered }];
    }
    if (since === undefined || envelope.message.type !== 'abort') return [envelope];
    const now = rest;
    rest = [];
    return now;
  };
  scenario.drive(world);
  const received = world.sent.filter((s) => s.from === liar.name && s.to === victim.id).map((s) => s.envelope);
  const after = since === undefined ? [] : world.sent.slice(since);
  const answers = after.filter((s) => s.from === victim.name && s.to === liar.id).map((s) => s.envelope.message);
  return { world, victim, liar, received, answers };
};

/** How it ended for a node, in a word or two. */
export const endingOf = (host: Host): string => {
  const { state } = host;
  if (state?.phase !== 'live') return state?.phase ?? 'nothing';
  return liveState(state.live, state.closing !== undefined);
};

/** The first message of each type. */
export const firstOfEach = (envelopes: readonly FactoryEnvelope[]): ReadonlyMap<FactoryMessageType, FactoryEnvelope> => {
  const first = new Map<FactoryMessageType, FactoryEnvelope>();
  for (const envelope of envelopes) if (!first.has(envelope.message.type)) first.set(envelope.message.type, envelope);
  return first;
};

/** What the codec refuses never gets as far as a machine (its own tests see to that). */
const travels = (envelope: FactoryEnvelope): boolean => {
  try {
    decodeMessage(encodeMessage(envelope));
    return true;
  } catch (error) {
    if (error instanceof EncodeError || error instanceof DecodeError) return false;
    throw error;
  }
};

export interface AlteredField extends Alteration {
  /** As in `roster[1].key`. */
  readonly path: string;
  readonly what: string;
}

const fieldsOf = ({ message }: FactoryEnvelope): object => Object.fromEntries(Object.entries(message).filter(([name]) => name !== 'type'));

/** Every value in a message altered in turn, and every list in it cut, lengthened and put into another order. */
export const alterationsOf = (original: FactoryEnvelope): readonly AlteredField[] => {
  const fields = fieldsOf(original);
  return [...mutationsOf(fields), ...listMutationsOf(fields)]
    .map(({ path, what, value }) => ({ path, what, original, altered: { type: original.message.type, ...value } as FactoryMessage }))
    .filter(({ altered }) => travels({ ...original, message: altered }));
};

/** What each scenario has the victim receive: the whole of it, and one message of each of the types it is there for. */
export interface Undisturbed {
  readonly scenario: Scenario;
  readonly ending: string;
  readonly received: readonly FactoryEnvelope[];
  readonly originals: readonly FactoryEnvelope[];
}

export const undisturbed = (scenario: Scenario, covers: (type: FactoryMessageType) => boolean): Undisturbed => {
  const { victim, received } = live(scenario);
  const originals = [...firstOfEach(received).values()].filter(({ message }) => covers(message.type));
  return { scenario, ending: endingOf(victim), received, originals };
};

/**
 * @param received the types the codec's table knows for this side
 * @throws when one of them is in no scenario, or a field of one is never altered: what was added needs a proof, too
 */
export const assertComplete = (lives: readonly Undisturbed[], received: readonly FactoryMessageType[]): void => {
  const seen = new Set(lives.flatMap((l) => l.originals.map((o) => o.message.type)));
  const missing = received.filter((type) => !seen.has(type));
  if (missing.length > 0) {
    throw new Error(`not covered: ${missing.join(', ')}. Let a scenario of this test have the message, so that every field of it is altered`);
  }
  for (const original of lives.flatMap((l) => l.originals)) {
    const { type } = original.message;
    const paths = alterationsOf(original).map((a) => a.path);
    const named = (field: string): boolean => paths.some((path) => path.split(/[.[]/)[0] === field);
    const fields = messageFields(type).filter(({ name }) => !named(name)).map(({ name }) => name);
    const values = leaves(fieldsOf(original)).map((l) => l.path).filter((path) => !paths.includes(path));
    if (fields.length + values.length > 0) throw new Error(`not altered: ${[...fields, ...values].map((f) => `${type}.${f}`).join(', ')}`);
  }
};
