/** bLIP-56 to the letter of the draft: numbers, TLVs, refusals; its TLV for open_channel, its feature bit, our id. */
import { createHash } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import {
  FACTORY_FEATURE_BITS,
  FACTORY_PROTOCOL_ID,
  MAX_MONEY,
  MAX_PAYLOAD,
  PROTOCOL_NAME,
  SUB_MESSAGES,
  channelId,
  decodeChannelInFactory,
  decodeFactoryMessage,
  encodeChannelInFactory,
  encodeFactoryMessage,
  hasFactoryFeature,
  hex,
  instanceId,
  protocolId,
  pubKey,
  txid,
  type KnownSubMessage,
} from '../index.js';
import { rawSubMessage } from './raw.js';
import { refusal } from './refusal.js';

const ONE = '11'.repeat(32);
const TWO = '22'.repeat(32);
const KEY = '03' + '33'.repeat(32);
/** 00 01 … 1f on the wire; shown the other way round (BOLT 2). */
const WIRE_TXID = Array.from({ length: 32 }, (_, i) => i.toString(16).padStart(2, '0')).join('');
const SHOWN_TXID = Array.from({ length: 32 }, (_, i) => (31 - i).toString(16).padStart(2, '0')).join('');

describe('sub-messages', () => {
  const change = { channelId: channelId(ONE), fundingContribution: -1n, fundingPubkey: pubKey(KEY) };
  const funding = { channelId: channelId(ONE), fundingTxid: txid(SHOWN_TXID), fundingOutputIndex: 258 };
  const changeHex = ONE + 'ffffffffffffffff' + KEY;
  const fundingHex = ONE + WIRE_TXID + '0102';
  // type, sub-message id, TLVs: by hand, from the draft.
  const examples: readonly (readonly [KnownSubMessage, string])[] = [
    [{ kind: 'supported_factory_protocols', protocolIds: [] }, '80200002' + 'fd0200' + '00'],
    [{ kind: 'supported_factory_protocols', protocolIds: [protocolId(ONE), protocolId(TWO)] }, '80200002' + 'fd0200' + '40' + ONE + TWO],
    [{ kind: 'factory_piggyback', protocolId: protocolId(ONE), payload: hex('') }, '80200004' + '0020' + ONE + 'fd0400' + '00'],
    [{ kind: 'factory_piggyback', protocolId: protocolId(ONE), payload: hex('c0ffee') }, '80200004' + '0020' + ONE + 'fd0400' + '03c0ffee'],
    [{ kind: 'factory_change_init', change }, '80200006' + 'fd0600' + '49' + changeHex],
    [{ kind: 'factory_change_init', payload: hex('c0'), change }, '80200006' + 'fd0400' + '01c0' + 'fd0600' + '49' + changeHex],
    [{ kind: 'factory_change_ack', payload: hex(''), change }, '80200008' + 'fd0400' + '00' + 'fd0600' + '49' + changeHex],
    [{ kind: 'factory_change_funding', funding }, '8020000a' + 'fd0a00' + '42' + fundingHex],
    [{ kind: 'factory_change_continue', funding }, '8020000c' + 'fd0c00' + '42' + fundingHex],
    [
      { kind: 'factory_change_locked', locked: { channelId: channelId(ONE), lockedFundingTxid: txid(SHOWN_TXID) } },
      '8020000e' + 'fd0e00' + '40' + ONE + WIRE_TXID,
    ],
  ];

  test.each(examples.map(([message, bytes]) => ({ kind: message.kind, message, bytes })))('$kind', ({ message, bytes }) => {
    expect(encodeFactoryMessage(message)).toBe(bytes);
    expect(decodeFactoryMessage(bytes)).toEqual(message);
  });

  const mandatory = SUB_MESSAGES.flatMap(({ kind, id, fields }) => fields.filter((f) => !f.optional).map((f) => ({ kind, id, name: f.wireName })));
  test.each(mandatory)('$kind without $name is refused', ({ kind, id, name }) => {
    const bytes = examples.findLast(([m]) => m.kind === kind)![1];
    // The last TLV goes, or the first of two.
    const cut = name === 'protocol_id' ? bytes.replace('0020' + ONE, '') : bytes.slice(0, bytes.lastIndexOf('fd0'));
    const rest = cut.length === bytes.length ? rawSubMessage(id, []) : cut;
    expect(refusal(() => decodeFactoryMessage(rest))).toMatchObject({ code: 'missing_field', field: `${kind}.${name}` });
  });

  test('unknown ones: odd are named, even refused', () => {
    expect(decodeFactoryMessage(rawSubMessage(3, []))).toEqual({ kind: 'unknown', id: 3 });
    expect(decodeFactoryMessage(rawSubMessage(65_535, []) + 'ff')).toEqual({ kind: 'unknown', id: 65_535 });
    for (const id of [0, 16, 65_534]) {
      expect(refusal(() => decodeFactoryMessage(rawSubMessage(id, [])))).toMatchObject({
        code: 'unknown_even_message',
        field: 'factory_submessage_id',
        message: `factory_submessage_id: ${id} is unknown`,
      });
    }
  });

  test.each([
    ['another type', rawSubMessage(2, [[512, '']], 32_801), 'wrong_type', 'factory_message.type'],
    ['nothing', '', 'truncated', 'factory_message.type'],
    ['a type alone', '8020', 'truncated', 'factory_submessage_id'],
    ['odd number of digits', '80200', 'not_hex', 'factory_message'],
    ['upper case', '8020000A', 'not_hex', 'factory_message'],
    ['more than a Lightning message', '8020' + '00'.repeat(65_534), 'too_long', 'factory_message'],
    ['ids that are not a multiple of 32 bytes', rawSubMessage(2, [[512, ONE + '22']]), 'truncated', 'supported_factory_protocols.protocol_ids[1]'],
    ['a protocol id too long', rawSubMessage(4, [[0, ONE + '22'], [1024, '']]), 'trailing', 'factory_piggyback.protocol_id'],
    ['TLVs in the wrong order', rawSubMessage(4, [[1024, ''], [0, ONE]]), 'order', 'factory_piggyback tlv 0'],
    ['an unknown even TLV', rawSubMessage(4, [[0, ONE], [2, ''], [1024, '']]), 'unknown_even_field', 'factory_piggyback tlv 2'],
    ['a payload beyond our bound', rawSubMessage(4, [[0, ONE], [1024, '00'.repeat(MAX_PAYLOAD + 1)]]), 'too_long', 'factory_piggyback.payload'],
    [
      'a contribution beyond all money',
      rawSubMessage(6, [[1536, ONE + (MAX_MONEY + 1n).toString(16).padStart(16, '0') + KEY]]),
      'bad_value',
      'factory_change_init.change.funding_contribution',
    ],
    ['a key that is none', rawSubMessage(8, [[1536, ONE + '00'.repeat(8) + '05' + ONE]]), 'bad_value', 'factory_change_ack.change.funding_pubkey'],
    ['a change cut short', rawSubMessage(6, [[1536, ONE]]), 'truncated', 'factory_change_init.change.funding_contribution'],
    ['a change too long', rawSubMessage(10, [[2560, fundingHex + '00']]), 'trailing', 'factory_change_funding.funding'],
  ])('%s is refused', (_, bytes, code, field) => {
    expect(refusal(() => decodeFactoryMessage(bytes))).toMatchObject({ name: 'DecodeError', code, field });
  });

  test('unknown odd TLVs are ignored', () => {
    expect(decodeFactoryMessage(rawSubMessage(4, [[0, ONE], [1, 'ff'], [1024, 'c0'], [1025, '']]))).toEqual({
      kind: 'factory_piggyback',
      protocolId: ONE,
      payload: 'c0',
    });
  });

  test('the largest payload fits a Lightning message', () => {
    const message: KnownSubMessage = { kind: 'factory_piggyback', protocolId: FACTORY_PROTOCOL_ID, payload: hex('ab'.repeat(MAX_PAYLOAD)) };
    const bytes = encodeFactoryMessage(message);
    expect(bytes.length / 2).toBeLessThanOrEqual(65_535);
    expect(decodeFactoryMessage(bytes)).toEqual(message);
    const larger = { ...message, payload: hex('ab'.repeat(MAX_PAYLOAD + 1)) };
    expect(refusal(() => encodeFactoryMessage(larger))).toMatchObject({ name: 'EncodeError', code: 'too_long', field: 'factory_piggyback.payload' });
  });

  test('values without an encoding are refused', () => {
    const bad = (over: Partial<typeof change>): (() => unknown) => () => encodeFactoryMessage({ kind: 'factory_change_init', change: { ...change, ...over } });
    expect(refusal(bad({ fundingContribution: MAX_MONEY + 1n }))).toMatchObject({ name: 'EncodeError', code: 'bad_value' });
    expect(refusal(bad({ channelId: 'aa' as typeof change.channelId }))).toMatchObject({ field: 'factory_change_init.change.channel_id' });
  });
});

describe('channel_in_factory', () => {
  const channel = { protocolId: protocolId(ONE), instanceId: instanceId(TWO), earlyWarningTime: 42 };
  const record = 'fe00010040' + '42' + ONE + TWO + '002a';

  test('is one TLV record of type 65600', () => {
    expect(encodeChannelInFactory(channel)).toBe(record);
    expect(decodeChannelInFactory(record)).toEqual(channel);
  });

  test.each([
    ['', 'missing_field'],
    [record.slice(0, -2), 'truncated'],
    [record + '00', 'too_long'],
    [record.replace('fe00010040', 'fe00010042'), 'unknown_even_field'],
    [record.replace('fe0001004042', 'fe0001004041'), 'order'],
    ['fe0001004000', 'truncated'],
    ['ff00000000000100404200', 'not_minimal'],
    ['zz', 'not_hex'],
  ])('%s is refused: %s', (bytes, code) => {
    const error = refusal(() => decodeChannelInFactory(bytes));
    expect(error).toMatchObject({ name: 'DecodeError', code });
    expect(error.field).toMatch(/^channel_in_factory/);
  });

  test('a time beyond 16 bits has no encoding', () => {
    expect(refusal(() => encodeChannelInFactory({ ...channel, earlyWarningTime: 65_536 }))).toMatchObject({
      name: 'EncodeError',
      field: 'channel_in_factory.early_warning_time',
    });
  });
});

describe('feature bit and protocol id', () => {
  test('the manifest offers bit 271', () => {
    expect(FACTORY_FEATURE_BITS).toBe('80' + '00'.repeat(33));
    expect(BigInt(`0x${FACTORY_FEATURE_BITS}`)).toBe(1n << 271n);
  });

  test.each([
    [270, true],
    [271, true],
    [269, false],
    [272, false],
    [0, false],
  ])('bit %i alone: %s', (bit, has) => {
    const digits = (1n << BigInt(bit)).toString(16);
    expect(hasFactoryFeature(digits.length % 2 === 0 ? digits : `0${digits}`)).toBe(has);
  });

  test('among others, absent, or nonsense', () => {
    expect(hasFactoryFeature('88a0800a8a59a1' + '80' + '00'.repeat(33))).toBe(true);
    expect(hasFactoryFeature('88a0800a8a59a1')).toBe(false);
    expect(hasFactoryFeature('')).toBe(false);
    expect(hasFactoryFeature('zz' + FACTORY_FEATURE_BITS)).toBe(false);
  });

  test('the protocol id is the hash of name and major version', () => {
    expect(FACTORY_PROTOCOL_ID).toBe(createHash('sha256').update(PROTOCOL_NAME).digest('hex'));
  });
});
