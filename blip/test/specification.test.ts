/** The specification and the tables say the same: every message, number, sender, field and type. */
import { describe, expect, test } from '@jest/globals';
import { readFileSync } from 'node:fs';
import {
  FACTORY_PROTOCOL_ID,
  MAX_CLOSE_OUTPUTS,
  MAX_HEIGHT,
  MAX_LEVELS,
  MAX_MONEY,
  MAX_PATH,
  MAX_PAYLOAD,
  MAX_PURCHASES,
  MAX_REASON,
  MAX_ROSTER,
  MAX_SCRIPT,
  MESSAGE_TYPES,
  PROTOCOL_NAME,
  SUB_MESSAGES,
  messageFields,
  messageNumber,
  messageSender,
} from '../index.js';

const specification = readFileSync(new URL('../cln-factory-protocol.md', import.meta.url), 'utf8');

/** `### `name` (number), sender → receiver` and what follows it, up to the next heading. */
const sections = specification.split(/^###? /m).flatMap((text) => {
  const [, name, number, sender] = /^`(\w+)` \((\d+)\), (\w+) → \w+$/m.exec(text.split('\n', 1)[0]!) ?? [];
  return name === undefined ? [] : [{ name, number: Number(number), sender, text }];
});

describe('messages', () => {
  test('all are described, and no others, in the order of their numbers', () => {
    expect(sections.map((s) => s.name)).toEqual(MESSAGE_TYPES);
  });

  test.each(MESSAGE_TYPES)('%s', (type) => {
    const section = sections.find((s) => s.name === type)!;
    expect(section).toMatchObject({ number: messageNumber(type), sender: messageSender(type) });
    const rows = [...section.text.matchAll(/^\| (\d+) \| `(\w+)` \| `([^`]+)` \| .+ \|$/gm)].map(([, tlv, name, wire]) => [Number(tlv), name, wire]);
    expect(rows).toEqual(messageFields(type).map((f) => [f.tlv, f.wireName, f.codec.wire]));
    if (rows.length === 0) expect(section.text).toContain('No fields.');
  });
});

test.each(SUB_MESSAGES.map((s) => ({ ...s, name: s.kind })))('bLIP-56: $name', ({ kind, id, fields }) => {
  const tlvs = fields.map((f) => `${f.tlv} \`${f.wireName}\` (\`${f.codec.wire}\`${f.optional ? ', optional' : ''})`);
  expect(specification).toContain(`| ${id} | \`${kind}\` | ${tlvs.join(', ')} |`);
});

test('ids and limits', () => {
  expect(specification).toContain(`The name of the protocol is \`${PROTOCOL_NAME}\``);
  expect(specification).toContain(`\`${FACTORY_PROTOCOL_ID}\``);
  const figure = (n: number | bigint): string => n.toLocaleString('en-US');
  for (const row of [
    `| a payload | ${figure(MAX_PAYLOAD)} bytes |`,
    `| entries of a roster | 1 to ${figure(MAX_ROSTER)} decodable`,
    `| levels of fan-outs | 1 to ${figure(MAX_LEVELS)} decodable`,
    `| nonces, partial signatures, signatures of a path | 1 to ${figure(MAX_PATH)} |`,
    `| outputs of a close | 1 to ${figure(MAX_CLOSE_OUTPUTS)} decodable`,
    `| purchases of one stock | ${figure(MAX_PURCHASES)} |`,
    `| an amount in satoshis, in millisatoshis | ${figure(MAX_MONEY)}; a thousand times that |`,
    `| a height or a number of blocks | ${figure(MAX_HEIGHT)} |`,
    `| \`script\` | a scriptPubKey of 1 to ${figure(MAX_SCRIPT)} bytes |`,
    `| \`text\` | UTF-8, at most ${figure(MAX_REASON)} bytes |`,
  ]) {
    expect(specification).toContain(row);
  }
});

test('every type of a field is explained', () => {
  const types = new Set(MESSAGE_TYPES.flatMap(messageFields).map((f) => f.codec.wire.replace('...*', '')));
  const bolt1 = ['u8', 'u16', 'tu16', 'tu32', 'tu64', 'chain_hash', 'channel_id', 'point'];
  for (const type of types) expect(bolt1.includes(type) || specification.includes(`\n| \`${type}\` | `)).toBe(true);
});

test('links to files that exist', () => {
  for (const [, file] of specification.matchAll(/\]\((vectors\/[\w.-]+)\)/g)) {
    expect(() => readFileSync(new URL(`../${file!}`, import.meta.url))).not.toThrow();
  }
});
