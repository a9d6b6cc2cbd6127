/**
 * What dishonest nodes do to the messages they send: any field altered, entries exchanged, messages withheld, repeated,
 * sent to the wrong member or under another attempt, and things said at the wrong moment.
 */
import type { NodeId } from '../../../blip/brands.js';
import { EncodeError } from '../../../blip/errors.js';
import type { FactoryEnvelope, FactoryMessage } from '../../../blip/messages.js';
import { encodeMessage } from '../../../blip/protocol-codec.js';
import { leaves } from '../support/mutations.js';
import type { Choices } from './bytes.js';
import type { Host } from './host.js';
import type { Tamper, World } from './world.js';

type Json = unknown;
const flipped = (hex: string, at: number): string => {
  const i = hex.length === 0 ? 0 : at % hex.length;
  const digit = ((Number.parseInt(hex[i] ?? '0', 16) || 0) ^ (1 + (at % 15))) % 16;
  return hex.slice(0, i) + digit.toString(16) + hex.slice(i + 1);
};

/** Another value of the same type. */
const altered = (value: string | number | bigint, choices: Choices): string | number | bigint => {
  const how = choices.next();
  if (typeof value === 'number') return how < 128 ? value + 1 + (how % 3) : Math.max(0, value - 1 - (how % 3));
  if (typeof value === 'bigint') return how < 128 ? value + BigInt(how) + 1n : value > BigInt(how) ? value - BigInt(how) : 0n;
  return flipped(value, how);
};

const replaced = (value: Json, at: { left: number }, replacement: (old: string | number | bigint) => Json): Json => {
  if (typeof value === 'string' || typeof value === 'number' || typeof value === 'bigint') {
    at.left -= 1;
    return at.left === -1 ? replacement(value) : value;
  }
  if (Array.isArray(value)) return value.map((item) => replaced(item, at, replacement));
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, replaced(item, at, replacement)]));
  }
  return value;
};

const alterField = (message: FactoryMessage, choices: Choices): FactoryMessage => {
  const { type, ...fields } = message;
  const count = leaves(fields).length;
  if (count === 0) return message;
  const changed = replaced(fields, { left: choices.below(count) }, (old) => altered(old, choices));
  return { type, ...(changed as object) } as FactoryMessage;
};

/** Two entries of a list in each other's place, or one field of theirs; an entry twice, or gone. */
const alterList = (message: FactoryMessage, choices: Choices): FactoryMessage => {
  const lists = Object.entries(message).filter((entry): entry is [string, unknown[]] => Array.isArray(entry[1]) && entry[1].length > 0);
  const list = choices.pick(lists);
  if (!list) return message;
  const [name, items] = list;
  const a = choices.below(items.length);
  const b = choices.below(items.length);
  const copy = [...items];
  switch (choices.below(4)) {
    case 0:
      [copy[a], copy[b]] = [copy[b], copy[a]];
      break;
    case 1: {
      const [x, y] = [items[a], items[b]];
      if (typeof x !== 'object' || typeof y !== 'object' || x === null || y === null) break;
      const field = choices.pick(Object.keys(x));
      if (field === undefined) break;
      copy[a] = { ...x, [field]: (y as Record<string, unknown>)[field] };
      break;
    }
    case 2:
      copy.splice(a, 1);
      break;
    default:
      copy.push(items[a]);
  }
  return { ...message, [name]: copy };
};

const encodable = (e: FactoryEnvelope): boolean => {
  try {
    encodeMessage(e);
    return true;
  } catch (error) {
    if (error instanceof EncodeError) return false;
    throw error;
  }
};

/** Bytes from here on lie; below, the message goes out as it is. */
const HONEST = 150;
/** Where one is enough: a key is handed over once. */
const RARELY_HONEST = 50;

export const byzantine = (world: World, choices: Choices): Tamper => {
  const said: FactoryEnvelope[] = [];
  return (from: Host, to: NodeId, envelope: FactoryEnvelope) => {
    if (world.isHonest(from) || choices.left <= 0) return [envelope];
    said.push(envelope);
    const roll = choices.next();
    if (envelope.message.type === 'key_handover' && roll >= RARELY_HONEST && roll < HONEST) return [{ ...envelope, message: alterField(envelope.message, choices) }].filter(encodable);
    if (roll < HONEST) return [envelope];
    const all = lie(world, choices, from, to, envelope, said, roll - HONEST);
    return all.filter(encodable);
  };
};

const lie = (
  world: World,
  choices: Choices,
  from: Host,
  _to: NodeId,
  envelope: FactoryEnvelope,
  said: readonly FactoryEnvelope[],
  roll: number,
): readonly FactoryEnvelope[] => {
  const { message } = envelope;
  if (roll < 20) return [];
  if (roll < 60) return [{ ...envelope, message: alterField(message, choices) }];
  if (roll < 75) return [{ ...envelope, message: alterList(message, choices) }];
  if (roll < 80) return [envelope, envelope];
  if (roll < 88) {
    // Something said before, perhaps under another attempt.
    const old = choices.pick(said) ?? envelope;
    return [{ header: { ...old.header, attempt: Math.max(1, envelope.header.attempt + choices.below(3) - 1) }, message: old.message }, envelope];
  }
  if (roll < 94) return [{ ...envelope, message: { type: 'abort', code: choices.below(9), reason: 'so there' } }];
  if (from.isCoordinator) return [exchanged(world, choices, envelope)];
  // Another's slot.
  const other = choices.pick(world.hosts) ?? from;
  return message.type === 'join' ? [{ ...envelope, message: { ...message, key: other.identity.key, payoutScript: other.identity.payoutScript } }] : [envelope];
};

/** What another member should have got. */
const exchanged = (world: World, choices: Choices, envelope: FactoryEnvelope): FactoryEnvelope => {
  const alike = world.sent.filter((s) => s.envelope.message.type === envelope.message.type).map((s) => s.envelope);
  return choices.pick(alike) ?? envelope;
};

/** Something out of turn: an old message, to anybody it could be for, or an abort. */
export const outOfTurn = (world: World, choices: Choices, liar: Host): void => {
  const to = liar.isCoordinator ? choices.pick(world.members) : world.coordinator;
  if (!to) return;
  const attempt = 1 + choices.below(4);
  const own = world.sent.filter((s) => s.from === liar.name).map((s) => s.envelope.message);
  const message = choices.below(3) === 0 ? undefined : choices.pick(own);
  world.inject(liar, to.id, attempt, message ?? { type: 'abort', code: choices.below(9), reason: 'out of turn' });
};
