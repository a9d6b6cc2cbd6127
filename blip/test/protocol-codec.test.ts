/** Bounds and refusals of our messages, field by field. */
import { describe, expect, test } from '@jest/globals';
import {
  FACTORY_PROTOCOL_ID,
  MAX_CLOSE_OUTPUTS,
  MAX_HEIGHT,
  MAX_LEVELS,
  MAX_MONEY,
  MAX_PATH,
  MAX_PAYLOAD,
  MAX_REASON,
  MAX_ROSTER,
  MESSAGE_TYPES,
  decodeMessage,
  encodeChannelInFactory,
  encodeMessage,
  hex,
  instanceId,
  messageFields,
  messageNumber,
  messageSender,
  pubKey,
  sat,
  schnorrSignature,
  script,
  type CloseOutput,
  type FactoryMessage,
  type FactoryMessageType,
  type RosterEntry,
  type Sat,
  type Script,
  type Spec,
  txid,
} from '../index.js';
import { INSTANCE, rawMessage, type TlvRecord } from './raw.js';
import { refusal } from './refusal.js';

const header = { instanceId: instanceId(INSTANCE), attempt: 1 };
const encode = (message: FactoryMessage): string => encodeMessage({ header, message });
const KEY = '02' + '11'.repeat(32);
const entry = (payoutScript: string): RosterEntry => ({ key: pubKey(KEY), payoutScript: payoutScript as Script, capacity: sat(1n), stock: sat(0n) });
const spec = (roster: readonly RosterEntry[]): Spec => ({
  type: 'spec',
  coordinatorKey: pubKey(KEY),
  memberIndex: 0,
  roster,
  fanouts: [2],
  startHeight: 1,
  expiryHeight: 2,
  funding: { txid: txid('ab'.repeat(32)), vout: 1 },
  fundingAmount: sat(1n),
});

/** The records of a valid message of each type, taken apart. */
const recordsOf = (payload: string): TlvRecord[] => {
  const bytes = Buffer.from(payload, 'hex');
  const records: TlvRecord[] = [];
  for (let at = 37; at < bytes.length; ) {
    const tlv = bytes[at]!;
    const wide = bytes[at + 1] === 0xfd;
    const length = wide ? bytes.readUInt16BE(at + 2) : bytes[at + 1]!;
    at += wide ? 4 : 2;
    records.push([tlv, bytes.subarray(at, at + length).toString('hex')]);
    at += length;
  }
  return records;
};

describe('the table', () => {
  test('every message has an even number of its own', () => {
    const numbers = MESSAGE_TYPES.map(messageNumber);
    expect(new Set(numbers).size).toBe(numbers.length);
    expect(numbers).toEqual([...numbers].sort((a, b) => a - b));
    expect(numbers.every((n) => n % 2 === 0 && n > 0 && n <= 0xffff)).toBe(true);
  });

  test.each(MESSAGE_TYPES)('%s: mandatory fields are even, optional ones odd, ascending', (type) => {
    const fields = messageFields(type);
    expect(fields.map((f) => f.tlv)).toEqual([...new Set(fields.map((f) => f.tlv))].sort((a, b) => a - b));
    expect(fields.every((f) => (f.tlv % 2 === 1) === f.optional)).toBe(true);
  });

  test('who sends what', () => {
    expect(MESSAGE_TYPES.filter((t) => messageSender(t) === 'either')).toEqual(['purchase_abort', 'abort']);
    expect(messageSender('invite')).toBe('coordinator');
    expect(messageSender('nonces')).toBe('member');
  });
});

describe('the header', () => {
  const good = rawMessage('stored', []);

  test('is version, number, instance, attempt', () => {
    expect(good).toBe('01' + '0012' + INSTANCE + '0001');
    expect(decodeMessage(good)).toEqual({ header, message: { type: 'stored' } });
  });

  test.each([0, 2, 255])('version %i is not ours', (version) => {
    expect(refusal(() => decodeMessage(rawMessage('stored', [], { version })))).toMatchObject({ code: 'version', field: 'version' });
  });

  test('attempt 0 there is none', () => {
    expect(refusal(() => decodeMessage(rawMessage('stored', [], { attempt: 0 })))).toMatchObject({ code: 'bad_value', field: 'stored.attempt' });
    expect(refusal(() => encodeMessage({ header: { ...header, attempt: 0 }, message: { type: 'stored' } })).name).toBe('EncodeError');
    expect(refusal(() => encodeMessage({ header: { ...header, attempt: 65_536 }, message: { type: 'stored' } })).code).toBe('bad_value');
  });

  test('unknown messages: odd ones are told from even ones', () => {
    expect(refusal(() => decodeMessage(rawMessage('stored', [], { number: 1_000 }))).code).toBe('unknown_even_message');
    expect(refusal(() => decodeMessage(rawMessage('stored', [], { number: 1_001 })))).toMatchObject({
      code: 'unknown_odd_message',
      field: 'message_number',
      message: 'message_number: 1001 is unknown',
    });
  });

  test('an instance that is not hex cannot be sent', () => {
    const bad = { instanceId: 'zz' as typeof header.instanceId, attempt: 1 };
    expect(refusal(() => encodeMessage({ header: bad, message: { type: 'stored' } }))).toMatchObject({
      name: 'EncodeError',
      field: 'stored.instance_id',
    });
  });
});

describe('every field of every message', () => {
  const roster = [entry('0014' + '22'.repeat(20)), entry('5120' + '33'.repeat(32))];
  const nonce = '02' + '44'.repeat(32) + '03' + '55'.repeat(32);
  const partial = '66'.repeat(32);
  const signature = '77'.repeat(64);
  const p2wsh = '0020' + '88'.repeat(32);
  const channelInFactory = encodeChannelInFactory({ protocolId: FACTORY_PROTOCOL_ID, instanceId: header.instanceId, earlyWarningTime: 36 });
  const empty: readonly FactoryMessageType[] = ['stored', 'open_ready', 'leaf_stored', 'ready', 'close_request', 'purchase_ready', 'migrating', 'key_received', 'waiting_withdraw', 'waiting_accepted'];
  // Spelled out as bytes: the codec must agree with what the specification says, not with itself.
  const records: { readonly [T in FactoryMessageType]?: readonly TlvRecord[] } = {
    invite: [
      [0, 'aa'.repeat(32)], [2, '0186a0'], [4, ''], [6, '07d0'], [8, '10e0'], [10, '01b0'],
      [12, '01b0'], [14, '90'], [16, '03'], [18, '02'], [20, '05'],
    ],
    join: [[0, KEY], [2, p2wsh]],
    decline: [[0, '0005'], [2, '6e6f']],
    spec: recordsOf(encode(spec(roster))),
    nonces: [[0, nonce + nonce]],
    aggregate_nonces: [[0, nonce + '00'.repeat(66)]],
    partials: [[0, partial + partial]],
    signatures: [[0, signature]],
    open_intent: [[0, channelInFactory], [2, '0186a0']],
    leaf: [[0, p2wsh], [2, nonce]],
    leaf_partial: [[0, nonce], [2, partial]],
    leaf_signature: [[0, signature]],
    channel_opened: [[0, '99'.repeat(32)]],
    published: [[0, 'bb'.repeat(32)]],
    close_ready: [[0, '05f5e100']],
    close_proposal: [[0, '000000000000014a' + '16' + '0014' + '22'.repeat(20)]],
    close_nonce: [[0, nonce]],
    close_aggregate_nonce: [[0, nonce]],
    close_partial: [[0, partial]],
    close_signature: [[0, signature]],
    purchase_quote_request: [[0, '4e20']],
    purchase_quote: [[0, '4e20'], [2, '5208'], [4, '72f2'], [5, '6e6f']],
    purchase_offer: [[0, '4e20'], [2, '']],
    purchase_request: [[0, '4e20'], [2, '5208'], [4, 'cc'.repeat(32)]],
    purchase_intent: [[0, channelInFactory], [2, '4e20'], [4, '07']],
    purchase_opened: [[0, p2wsh], [2, '99'.repeat(32)], [4, nonce]],
    purchase_partial: [[0, nonce], [2, nonce], [4, partial]],
    purchase_signature: [[0, signature]],
    purchase_stored: [[0, 'dd'.repeat(32)]],
    purchase_abort: [[0, '0007'], [2, '']],
    migrate: [[0, 'cc'.repeat(32)]],
    migrated: [[0, '085cd1'], [2, 'dd'.repeat(32)], [4, 'ee'.repeat(32)], [6, '37']],
    key_handover: [[0, '04'.padStart(64, '0')]],
    leave: [[0, '01']],
    leave_noted: [[0, '00']],
    abort: [[0, '0001'], [2, '']],
    waiting_join: [[0, 'aa'.repeat(32)], [2, '0f4240'], [4, '0186a0']],
    waiting_over: [[0, '0005'], [2, '6e6f']],
  };

  test('has an example here', () => {
    expect([...Object.keys(records), ...empty].sort()).toEqual([...MESSAGE_TYPES].sort());
  });

  const cases = MESSAGE_TYPES.flatMap((type) => messageFields(type).map((field) => ({ type, field, name: field.wireName })));
  const good = (type: FactoryMessageType): readonly TlvRecord[] => records[type] ?? [];
  const without = (type: FactoryMessageType, tlv: number): readonly TlvRecord[] => good(type).filter(([t]) => t !== tlv);
  const replaced = (type: FactoryMessageType, tlv: number, change: (value: string) => string): readonly TlvRecord[] =>
    good(type).map(([t, value]) => [t, t === tlv ? change(value) : value]);

  test.each(MESSAGE_TYPES)('%s is read and written back byte for byte', (type) => {
    const payload = rawMessage(type, good(type));
    const envelope = decodeMessage(payload);
    expect(envelope.message.type).toBe(type);
    expect(encodeMessage(envelope)).toBe(payload);
  });

  test.each(cases.filter(({ field }) => field.optional))('$name of $type may be left out', ({ type, field }) => {
    const payload = rawMessage(type, without(type, field.tlv));
    const envelope = decodeMessage(payload);
    expect(envelope.message).not.toHaveProperty(field.name);
    expect(encodeMessage(envelope)).toBe(payload);
  });

  test.each(cases.filter(({ field }) => !field.optional))('$name of $type is missed when it is not there', ({ type, field }) => {
    expect(refusal(() => decodeMessage(rawMessage(type, without(type, field.tlv))))).toMatchObject({
      code: 'missing_field',
      field: `${type}.${field.wireName}`,
    });
    const { message } = decodeMessage(rawMessage(type, good(type)));
    const incomplete = Object.fromEntries(Object.entries(message).filter(([k]) => k !== field.name)) as unknown as FactoryMessage;
    expect(refusal(() => encode(incomplete))).toMatchObject({ name: 'EncodeError', code: 'missing_field', field: `${type}.${field.wireName}` });
  });

  test.each(cases)('$name of $type twice is refused', ({ type, field }) => {
    const twice = good(type).flatMap((r) => (r[0] === field.tlv ? [r, r] : [r]));
    expect(refusal(() => decodeMessage(rawMessage(type, twice)))).toMatchObject({ code: 'order', field: `${type} tlv ${field.tlv}` });
  });

  const fixed = cases.filter(({ field }) => !/^(tu|\.\.\.|script|text)/.test(field.codec.wire));
  // Rosters and outputs are as long as their entries; below.
  const variable = cases.filter((c) => !fixed.includes(c) && !/roster|output/.test(c.field.codec.wire));

  test.each(fixed)('$name of $type with a byte too many or too few is refused', ({ type, field }) => {
    const longer = replaced(type, field.tlv, (value) => value + 'ff');
    expect(refusal(() => decodeMessage(rawMessage(type, longer)))).toMatchObject({ code: 'trailing', field: `${type}.${field.wireName}` });
    const shorter = replaced(type, field.tlv, (value) => value.slice(0, -2));
    expect(refusal(() => decodeMessage(rawMessage(type, shorter)))).toMatchObject({ code: 'truncated' });
  });

  test.each(variable)('$name of $type far too long is refused', ({ type, field }) => {
    const longer = replaced(type, field.tlv, (value) => value.padEnd(60_000, value === '' ? 'f' : value));
    const error = refusal(() => decodeMessage(rawMessage(type, longer)));
    expect(error.field).toBe(`${type}.${field.wireName}`);
    expect(['too_long', 'count']).toContain(error.code);
  });

  const truncated = cases.filter(({ field }) => field.codec.wire.startsWith('tu'));
  test.each(truncated)('$name of $type with a leading zero is refused', ({ type, field }) => {
    const padded = replaced(type, field.tlv, () => '0001');
    const error = refusal(() => decodeMessage(rawMessage(type, padded)));
    expect(error).toMatchObject({ code: 'not_minimal', field: `${type}.${field.wireName}` });
    expect(error.message).toBe(`${type}.${field.wireName}: integer with leading zeros`);
  });

  test.each(MESSAGE_TYPES)('%s: unknown odd fields are ignored, unknown even ones refused', (type) => {
    const plain = decodeMessage(rawMessage(type, good(type)));
    expect(decodeMessage(rawMessage(type, [...good(type), [251, 'c0ffee']]))).toEqual(plain);
    expect(refusal(() => decodeMessage(rawMessage(type, [...good(type), [252, 'c0ffee']])))).toMatchObject({
      code: 'unknown_even_field',
      field: `${type} tlv 252`,
    });
  });
});

describe('limits', () => {
  const decode = (type: FactoryMessageType, records: readonly TlvRecord[]) => refusal(() => decodeMessage(rawMessage(type, records)));
  const tiny = (n: number): RosterEntry[] => Array.from({ length: n }, () => entry('51'));

  test(`a roster of ${MAX_ROSTER}, not one more, not none`, () => {
    const full = encode(spec(tiny(MAX_ROSTER)));
    expect((decodeMessage(full).message as Spec).roster).toHaveLength(MAX_ROSTER);
    expect(refusal(() => encode(spec(tiny(MAX_ROSTER + 1))))).toMatchObject({ name: 'EncodeError', code: 'count', field: 'spec.roster' });
    expect(refusal(() => encode(spec([]))).code).toBe('count');
    const records = recordsOf(full);
    const one = KEY + '01' + '51' + '0000000000000001' + '0000000000000000';
    const more = records.map(([t, v]): TlvRecord => [t, t === 4 ? v + one : v]);
    expect(decode('spec', more)).toMatchObject({ code: 'count', field: 'spec.roster' });
    expect(decode('spec', records.map(([t, v]): TlvRecord => [t, t === 4 ? '' : v]))).toMatchObject({ code: 'count', field: 'spec.roster' });
  });

  test(`a payload of ${MAX_PAYLOAD} bytes, not one more`, () => {
    const p2tr = '5120' + '33'.repeat(32);
    expect(refusal(() => encode(spec(Array.from({ length: 800 }, () => entry(p2tr)))))).toMatchObject({ code: 'too_long', field: 'spec.roster' });
    const room = MAX_PAYLOAD - rawMessage('stored', [[65_535, '']]).length / 2 - 2; // its length then takes 3 bytes, not 1
    const widest = rawMessage('stored', [[65_535, '00'.repeat(room)]]);
    expect(widest).toHaveLength(MAX_PAYLOAD * 2);
    expect(decodeMessage(widest).message).toEqual({ type: 'stored' });
    expect(refusal(() => decodeMessage(widest + '00'))).toMatchObject({ code: 'too_long', field: 'payload' });
  });

  test.each([
    ['nonces', 66], ['aggregate_nonces', 66], ['partials', 32], ['signatures', 64],
  ] as const)('%s: as many as a path has, at the most', (type, size) => {
    const items = (n: number): TlvRecord[] => [[0, '02'.repeat(size * n)]];
    const field = `${type}.${type === 'aggregate_nonces' ? 'nonces' : type}`;
    expect(decodeMessage(rawMessage(type, items(MAX_PATH))).message.type).toBe(type);
    expect(decode(type, items(MAX_PATH + 1))).toMatchObject({ code: 'count', field });
    expect(decode(type, items(0))).toMatchObject({ code: 'count', field });
    expect(decode(type, [[0, '02'.repeat(size + 1)]])).toMatchObject({ code: 'truncated', field: `${field}[1]` });
  });

  test('a list that is too long is not read to its end', () => {
    // Item 17 is no item at all: the count is refused before it is looked at.
    expect(decode('signatures', [[0, '02'.repeat(64 * MAX_PATH + 1)]])).toMatchObject({ code: 'count' });
    const signatures = Array.from({ length: MAX_PATH + 1 }, () => schnorrSignature('02'.repeat(64)));
    expect(refusal(() => encode({ type: 'signatures', signatures })).code).toBe('count');
  });

  test('levels and outputs of a close', () => {
    const withFanouts = (n: number): TlvRecord[] => recordsOf(encode(spec(tiny(2)))).map(([t, v]) => [t, t === 6 ? '02'.repeat(n) : v]);
    expect(decodeMessage(rawMessage('spec', withFanouts(MAX_LEVELS))).message.type).toBe('spec');
    expect(decode('spec', withFanouts(MAX_LEVELS + 1))).toMatchObject({ code: 'count', field: 'spec.fanouts' });
    const output: CloseOutput = { amount: sat(1n), script: script('51') };
    const proposal = (n: number): FactoryMessage => ({ type: 'close_proposal', outputs: Array.from({ length: n }, () => output) });
    expect(decodeMessage(encode(proposal(MAX_CLOSE_OUTPUTS))).message).toEqual(proposal(MAX_CLOSE_OUTPUTS));
    expect(refusal(() => encode(proposal(MAX_CLOSE_OUTPUTS + 1))).code).toBe('count');
  });

  test('amounts end at 21 million bitcoin', () => {
    const amount = (n: bigint): string => n.toString(16).padStart(16, '0').replace(/^(00)+/, '');
    const intent = (n: bigint): TlvRecord[] => [...recordsOf(encode({ type: 'open_intent', channelInFactory: hex(recordsOfIntent()), fundingAmount: sat(1n) })).slice(0, 1), [2, amount(n)]];
    expect(decodeMessage(rawMessage('open_intent', intent(MAX_MONEY))).message).toMatchObject({ fundingAmount: MAX_MONEY });
    expect(decode('open_intent', intent(MAX_MONEY + 1n))).toMatchObject({ code: 'bad_value', field: 'open_intent.funding_amount' });
    expect(decodeMessage(rawMessage('close_ready', [[0, amount(MAX_MONEY * 1000n)]])).message).toMatchObject({ balance: MAX_MONEY * 1000n });
    expect(decode('close_ready', [[0, amount(MAX_MONEY * 1000n + 1n)]])).toMatchObject({ code: 'bad_value', field: 'close_ready.balance' });
    const roster = KEY + '01' + '51' + 'ff'.repeat(8) + '00'.repeat(8);
    const rich = recordsOf(encode(spec(tiny(1)))).map(([t, v]): TlvRecord => [t, t === 4 ? roster : v]);
    expect(decode('spec', rich)).toMatchObject({ code: 'bad_value', field: 'spec.roster[0].capacity' });
    expect(refusal(() => encode(spec([{ ...entry('51'), stock: -1n as Sat }])))).toMatchObject({ name: 'EncodeError', field: 'spec.roster[0].stock' });
  });

  const recordsOfIntent = (): string =>
    encodeChannelInFactory({ protocolId: FACTORY_PROTOCOL_ID, instanceId: header.instanceId, earlyWarningTime: 1 });

  test('heights end where lock times become seconds', () => {
    const at = (height: number): FactoryMessage => ({ ...spec(tiny(2)), expiryHeight: height });
    expect(decodeMessage(encode(at(MAX_HEIGHT))).message).toEqual(at(MAX_HEIGHT));
    expect(refusal(() => encode(at(MAX_HEIGHT + 1)))).toMatchObject({ code: 'bad_value', field: 'spec.expiry_height' });
    expect(refusal(() => encode(at(0.5)))).toMatchObject({ code: 'bad_value', message: 'spec.expiry_height: not an integer' });
    const late = recordsOf(encode(at(1))).map(([t, v]): TlvRecord => [t, t === 10 ? '1dcd6500' : v]); // 500,000,000
    expect(decode('spec', late)).toMatchObject({ code: 'bad_value', message: 'spec.expiry_height: expected 0 to 499999999, not 500000000' });
  });

  test('scripts have a byte, and no more than a witness program', () => {
    const join = (payoutScript: string): TlvRecord[] => [[0, KEY], [2, payoutScript]];
    expect(decode('join', join(''))).toMatchObject({ code: 'truncated', field: 'join.payout_script' });
    expect(decode('join', join('51'.repeat(43)))).toMatchObject({ code: 'too_long', field: 'join.payout_script' });
    expect(decodeMessage(rawMessage('join', join('51'.repeat(42)))).message.type).toBe('join');
    const close = (script: string): TlvRecord[] => [[0, '0000000000000001' + script]];
    expect(decode('close_proposal', close('00'))).toMatchObject({ code: 'truncated', field: 'close_proposal.outputs[0].script' });
    expect(decode('close_proposal', close('02' + '51'))).toMatchObject({ code: 'truncated', field: 'close_proposal.outputs[0].script' });
    expect(decode('close_proposal', close('2b' + '51'.repeat(43)))).toMatchObject({ code: 'too_long' });
    expect(refusal(() => encode({ type: 'join', key: pubKey(KEY), payoutScript: '' as Script })).code).toBe('bad_value');
  });

  test('keys look like keys', () => {
    expect(decode('join', [[0, '04' + '11'.repeat(32)], [2, '51']])).toMatchObject({
      code: 'bad_value',
      message: 'join.key: expected a compressed point (02… or 03…)',
    });
  });
});

describe('reasons', () => {
  const decline = (reason: string): FactoryMessage => ({ type: 'decline', code: 5, reason });
  const sent = (reason: string): string => (decodeMessage(encode(decline(reason))).message as { reason: string }).reason;

  test(`${MAX_REASON} bytes are read, one more is not`, () => {
    expect(sent('é'.repeat(256))).toBe('é'.repeat(256));
    expect(refusal(() => decodeMessage(rawMessage('decline', [[0, '0005'], [2, '61'.repeat(513)]])))).toMatchObject({
      code: 'too_long',
      field: 'decline.reason',
    });
  });

  test('longer ones are cut where a character ends', () => {
    expect(sent('a'.repeat(600))).toBe('a'.repeat(512));
    expect(sent('a' + 'é'.repeat(300))).toBe('a' + 'é'.repeat(255));
    expect(sent('aaa' + '🜚'.repeat(200))).toBe('aaa' + '🜚'.repeat(127));
  });

  test('what is not Unicode is replaced on the way out and refused on the way in', () => {
    expect(sent('\ud800')).toBe('\ufffd');
    for (const bad of ['ff', 'c0af', 'eda080', 'f4908080', 'e282']) {
      expect(refusal(() => decodeMessage(rawMessage('abort', [[0, '0001'], [2, bad]])))).toMatchObject({
        code: 'bad_value',
        message: 'abort.reason: not valid UTF-8',
      });
    }
  });

  test('a byte order mark is a character like others', () => expect(sent('\ufeffa')).toBe('\ufeffa'));
});

describe('channel_in_factory inside open_intent', () => {
  const record = encodeChannelInFactory({ protocolId: FACTORY_PROTOCOL_ID, instanceId: header.instanceId, earlyWarningTime: 36 });
  const intent = (value: string): string => rawMessage('open_intent', [[0, value], [2, '01']]);

  test('is kept byte for byte', () => {
    expect(decodeMessage(intent(record)).message).toMatchObject({ channelInFactory: record });
  });

  test.each([
    ['another type', record.replace('fe00010040', 'fe00010042'), 'unknown_even_field'],
    ['an odd type', record.replace('fe00010040', 'fe00010041'), 'missing_field'],
    ['a shorter value', record.replace('fe0001004042', 'fe0001004041'), 'order'],
    ['a longer length', record.replace('fe0001004042', 'fe0001004043'), 'truncated'],
  ])('%s is refused', (_, bad, code) => {
    expect(refusal(() => decodeMessage(intent(bad)))).toMatchObject({ code, field: expect.stringMatching(/^open_intent\.channel_in_factory/) as unknown });
    expect(refusal(() => encode({ type: 'open_intent', channelInFactory: bad as typeof record, fundingAmount: sat(1n) })).name).toBe('EncodeError');
  });
});
