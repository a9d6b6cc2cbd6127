/**
 * Wrote blip/vectors, once. They are frozen: a change of theirs is a change of the protocol. To add some, extend the
 * samples and run, from the repository's root:
 *   npx tsc --outDir .cache/vectors; node .cache/vectors/blip/test/generate-vectors.js
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import {
  FACTORY_PROTOCOL_ID,
  channelId,
  encodeChannelInFactory,
  encodeFactoryMessage,
  encodeMessage,
  hex,
  protocolId,
  pubKey,
  txid,
  type BlipMessage,
  type KnownSubMessage,
} from '../index.js';
import { treeVector } from './tree-vector.js';
import { INSTANCE as RAW_INSTANCE, rawMessage, rawSubMessage, type TlvRecord } from './raw.js';
import { VECTOR_FILES, toJson, type EnvelopeVector, type Json, type InvalidVector, type MessageVector, type VectorFile } from './vector-json.js';
import { INSTANCE, samples } from './vector-samples.js';

const folder = path.resolve('blip/vectors');

const save = (file: string, content: VectorFile<unknown> | Json): void =>
  writeFileSync(path.join(folder, file), `${JSON.stringify(content, null, 1)}\n`);

const messages = samples.map(({ name, instance, attempt, message }): MessageVector => {
  const header = { instanceId: instance ?? INSTANCE, attempt };
  const payload = encodeMessage({ header, message });
  const lightning = encodeFactoryMessage({ kind: 'factory_piggyback', protocolId: FACTORY_PROTOCOL_ID, payload });
  return { name, header: toJson(header), message: toJson(message), payload, lightning_message: lightning };
});

const invalid = (name: string, bytes: string, code: string, field: string): InvalidVector => ({ name, bytes, error: { code, field } });

const KEY = '0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798';
const P2WPKH = `0014${'22'.repeat(20)}`;
const JOIN: readonly TlvRecord[] = [[0, KEY], [2, P2WPKH]];
const NONCE = KEY + KEY;
const entry = `${KEY}16${P2WPKH}00000000000186a00000000000000000`;
const spec = (change: { readonly [tlv: number]: string }): string => {
  const records: readonly TlvRecord[] = [
    [0, KEY], [2, ''], [4, entry + entry], [6, '02'], [8, '64'], [10, '1484'], [12, `${'ab'.repeat(32)}0001`], [14, '030d40'],
  ];
  return rawMessage('spec', records.map(([tlv, value]) => [tlv, change[tlv] ?? value]));
};
const stored = rawMessage('stored', []);

// What is wrong, and what it is called, is written by hand; the test holds the decoder to it.
const invalidMessages: readonly InvalidVector[] = [
  invalid('nothing at all', '', 'truncated', 'version'),
  invalid('a version to come', `02${stored.slice(2)}`, 'version', 'version'),
  invalid('unknown even message', rawMessage('stored', [], { number: 1_000 }), 'unknown_even_message', 'message_number'),
  invalid('unknown odd message', rawMessage('stored', [], { number: 1_001 }), 'unknown_odd_message', 'message_number'),
  invalid('instance id cut short', stored.slice(0, 60), 'truncated', 'stored.instance_id'),
  invalid('no attempt', stored.slice(0, -4), 'truncated', 'stored.attempt'),
  invalid('attempt zero', rawMessage('stored', [], { attempt: 0 }), 'bad_value', 'stored.attempt'),
  invalid('half a record after the message', `${stored}01`, 'truncated', 'stored tlv 1'),
  invalid('an unknown even field', `${stored}0000`, 'unknown_even_field', 'stored tlv 0'),
  invalid('a missing field', rawMessage('join', JOIN.slice(1)), 'missing_field', 'join.key'),
  invalid('fields in descending order', rawMessage('join', [...JOIN].reverse()), 'order', 'join tlv 0'),
  invalid('a field twice', rawMessage('join', [[0, KEY], ...JOIN]), 'order', 'join tlv 0'),
  invalid('a TLV type in three bytes that fits one', `${rawMessage('join', JOIN.slice(0, 1))}fd000216${P2WPKH}`, 'not_minimal', 'join tlv type'),
  invalid('a TLV length in three bytes that fits one', `${rawMessage('join', JOIN.slice(0, 1))}02fd0016${P2WPKH}`, 'not_minimal', 'join tlv 2'),
  invalid('a TLV length beyond the message', `${rawMessage('join', JOIN.slice(0, 1))}02ffffffffffffffffff`, 'truncated', 'join tlv 2'),
  invalid('an uncompressed key', rawMessage('join', [[0, `04${KEY.slice(2)}`], [2, P2WPKH]]), 'bad_value', 'join.key'),
  invalid('a key too long', rawMessage('join', [[0, `${KEY}00`], [2, P2WPKH]]), 'trailing', 'join.key'),
  invalid('no script', rawMessage('join', [[0, KEY], [2, '']]), 'truncated', 'join.payout_script'),
  invalid('a script of 43 bytes', rawMessage('join', [[0, KEY], [2, '51'.repeat(43)]]), 'too_long', 'join.payout_script'),
  invalid('an integer with a leading zero', rawMessage('close_ready', [[0, '0001']]), 'not_minimal', 'close_ready.balance'),
  invalid('zero as a byte', rawMessage('close_ready', [[0, '00']]), 'not_minimal', 'close_ready.balance'),
  invalid('an integer of nine bytes', rawMessage('close_ready', [[0, '01'.repeat(9)]]), 'too_long', 'close_ready.balance'),
  invalid('more than all money', rawMessage('close_ready', [[0, '1d24b2dfac520001']]), 'bad_value', 'close_ready.balance'),
  invalid('a reason that is not UTF-8', rawMessage('abort', [[0, '0001'], [2, 'c0af']]), 'bad_value', 'abort.reason'),
  invalid('a reason of 513 bytes', rawMessage('decline', [[0, '0005'], [2, '61'.repeat(513)]]), 'too_long', 'decline.reason'),
  invalid('no nonce', rawMessage('nonces', [[0, '']]), 'count', 'nonces.nonces'),
  invalid('a nonce and a half', rawMessage('nonces', [[0, NONCE + KEY]]), 'truncated', 'nonces.nonces[1]'),
  invalid('17 nonces', rawMessage('nonces', [[0, NONCE.repeat(17)]]), 'count', 'nonces.nonces'),
  invalid('17 partial signatures', rawMessage('partials', [[0, '01'.repeat(32 * 17)]]), 'count', 'partials.partials'),
  invalid('17 signatures', rawMessage('signatures', [[0, '01'.repeat(64 * 17)]]), 'count', 'signatures.signatures'),
  invalid('an empty roster', spec({ 4: '' }), 'count', 'spec.roster'),
  invalid('a roster entry cut short', spec({ 4: entry + entry.slice(0, -2) }), 'truncated', 'spec.roster[1].stock'),
  invalid('a roster entry with too much capacity', spec({ 4: entry.replace('00000000000186a0', '000775f05a074001') }), 'bad_value', 'spec.roster[0].capacity'),
  invalid('a roster entry without script', spec({ 4: `${KEY}00${'00'.repeat(16)}` }), 'truncated', 'spec.roster[0].payout_script'),
  invalid('a member index beyond any roster', spec({ 2: '03e8' }), 'bad_value', 'spec.member_index'),
  invalid('16 levels', spec({ 6: '02'.repeat(16) }), 'count', 'spec.fanouts'),
  invalid('a height that is a time', spec({ 10: '1dcd6500' }), 'bad_value', 'spec.expiry_height'),
  invalid('an outpoint with four bytes of index', spec({ 12: `${'ab'.repeat(32)}00000001` }), 'trailing', 'spec.funding'),
  invalid('a close without outputs', rawMessage('close_proposal', [[0, '']]), 'count', 'close_proposal.outputs'),
  invalid(
    'channel_in_factory with another type',
    rawMessage('open_intent', [[0, `fe0001004242${RAW_INSTANCE}${RAW_INSTANCE}0024`], [2, '01']]),
    'unknown_even_field',
    'open_intent.channel_in_factory tlv 65602',
  ),
  invalid('a ninth purchase of one stock', rawMessage('purchase_intent', [[0, `fe0001004042${RAW_INSTANCE}${RAW_INSTANCE}0024`], [2, '4e20'], [4, '08']]), 'bad_value', 'purchase_intent.index'),
  invalid('a preimage of 31 bytes', rawMessage('purchase_stored', [[0, '01'.repeat(31)]]), 'truncated', 'purchase_stored.preimage'),
  invalid('a payment hash of 33 bytes', rawMessage('purchase_request', [[0, '4e20'], [2, '5208'], [4, '01'.repeat(33)]]), 'trailing', 'purchase_request.payment_hash'),
  invalid('a refusal that is not UTF-8', rawMessage('purchase_quote', [[0, '4e20'], [2, '5208'], [4, ''], [5, 'c0af']]), 'bad_value', 'purchase_quote.refusal'),
];

const ONE = '11'.repeat(32);
const change = { channelId: channelId(ONE), fundingContribution: -2_000n, fundingPubkey: pubKey(KEY) };
const funding = {
  channelId: channelId(ONE),
  fundingTxid: txid('1f1e1d1c1b1a191817161514131211100f0e0d0c0b0a09080706050403020100'),
  fundingOutputIndex: 1,
};
const envelope = (name: string, message: KnownSubMessage): EnvelopeVector => ({ name, message: toJson(message), bytes: encodeFactoryMessage(message) });
const ignored = (name: string, message: BlipMessage, bytes: string): EnvelopeVector => ({ name, message: toJson(message), bytes, decode_only: true });

const envelopes: readonly EnvelopeVector[] = [
  envelope('no protocol supported', { kind: 'supported_factory_protocols', protocolIds: [] }),
  envelope('ours and another', { kind: 'supported_factory_protocols', protocolIds: [FACTORY_PROTOCOL_ID, protocolId(ONE)] }),
  envelope('an empty payload', { kind: 'factory_piggyback', protocolId: FACTORY_PROTOCOL_ID, payload: hex('') }),
  envelope('a payload', { kind: 'factory_piggyback', protocolId: protocolId(ONE), payload: hex('c0ffee') }),
  envelope('change_init', { kind: 'factory_change_init', change }),
  envelope('change_ack with a payload', { kind: 'factory_change_ack', payload: hex('c0ffee'), change }),
  envelope('change_funding: the txid travels reversed', { kind: 'factory_change_funding', funding }),
  envelope('change_continue', { kind: 'factory_change_continue', funding }),
  envelope('change_locked', { kind: 'factory_change_locked', locked: { channelId: channelId(ONE), lockedFundingTxid: funding.fundingTxid } }),
  ignored('an odd sub-message to come', { kind: 'unknown', id: 17 }, `${rawSubMessage(17, [])}ff`),
  ignored(
    'unknown odd fields',
    { kind: 'factory_piggyback', protocolId: protocolId(ONE), payload: hex('c0') },
    rawSubMessage(4, [[0, ONE], [1, 'ff'], [1024, 'c0'], [1025, '']]),
  ),
];

const invalidEnvelopes: readonly InvalidVector[] = [
  invalid('another Lightning message', rawSubMessage(2, [[512, '']], 32_801), 'wrong_type', 'factory_message.type'),
  invalid('a type alone', '8020', 'truncated', 'factory_submessage_id'),
  invalid('an even sub-message to come', rawSubMessage(16, []), 'unknown_even_message', 'factory_submessage_id'),
  invalid('no list of protocols', rawSubMessage(2, []), 'missing_field', 'supported_factory_protocols.protocol_ids'),
  invalid('protocol ids of 33 bytes in all', rawSubMessage(2, [[512, `${ONE}22`]]), 'truncated', 'supported_factory_protocols.protocol_ids[1]'),
  invalid('piggyback without a protocol', rawSubMessage(4, [[1024, 'c0']]), 'missing_field', 'factory_piggyback.protocol_id'),
  invalid('piggyback without a payload', rawSubMessage(4, [[0, ONE]]), 'missing_field', 'factory_piggyback.payload'),
  invalid('an unknown even field', rawSubMessage(4, [[0, ONE], [2, ''], [1024, '']]), 'unknown_even_field', 'factory_piggyback tlv 2'),
  invalid('change_init without a change', rawSubMessage(6, [[1024, 'c0']]), 'missing_field', 'factory_change_init.change'),
  invalid('change_ack with a change cut short', rawSubMessage(8, [[1536, ONE]]), 'truncated', 'factory_change_ack.change.funding_contribution'),
  invalid('change_funding without it', rawSubMessage(10, []), 'missing_field', 'factory_change_funding.funding'),
  invalid('change_continue without it', rawSubMessage(12, []), 'missing_field', 'factory_change_continue.funding'),
  invalid('change_locked without it', rawSubMessage(14, []), 'missing_field', 'factory_change_locked.locked'),
];

const channel = { protocolId: FACTORY_PROTOCOL_ID, instanceId: INSTANCE, earlyWarningTime: 36 };

mkdirSync(folder, { recursive: true });
save(VECTOR_FILES.messages, { about: 'Messages of cln-factory/1 and the Lightning messages that carry them', vectors: messages });
save(VECTOR_FILES.invalidMessages, { about: 'Payloads that a receiver must refuse', vectors: invalidMessages });
save(VECTOR_FILES.envelope, { about: 'Sub-messages of bLIP-56', vectors: envelopes });
save(VECTOR_FILES.invalidEnvelope, { about: 'Lightning messages that a receiver must refuse', vectors: invalidEnvelopes });
save(VECTOR_FILES.channelInFactory, {
  about: 'The TLV record channel_in_factory (65600)',
  vectors: [{ name: 'for a way out of three transactions: 6 x 3 + 18 blocks', message: toJson(channel), bytes: encodeChannelInFactory(channel) }],
});
save(VECTOR_FILES.tree, treeVector());
