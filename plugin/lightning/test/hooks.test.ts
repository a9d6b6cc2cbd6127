/** Payloads as lightningd v26.06.6 sent them (onions and hashes shortened where nothing depends on them). */
import { describe, expect, test } from '@jest/globals';
import { channelId, hex } from '../../../blip/brands.js';
import { FormatError } from '../../../blip/brands.js';
import { UnexpectedReply } from '../../runtime/json-read.js';
import { parseJson, type JsonObject } from '../../runtime/json.js';
import {
  ACCEPT_ZERO_CONF,
  htlcAnswer,
  raiseInvoiceCltv,
  raiseRouteCltv,
  readBlockAdded,
  readChannelStateChange,
  readCommand,
  readCustomMessage,
  readHtlc,
  readOpenChannel,
  readPeerId,
  readRoutes,
  refuseCommand,
  rejectOpen,
  replaceParams,
  splicedChannel,
  withLayers,
} from '../hooks.js';

const PEER = '03f1b393443a37edfa46b8ff13698c655b5b82f9723ea1527760d922a0d093743b';
const CHANNEL = 'f94c9836e2238fe8f680d561843989bb2fc612988dafc39ad95d2f0b345b1122';
const HASH = '54fedcc8b821c386156304a12925612f9b0a2a9c65c9a8fd3ad6ee7612572089';
const json = (text: string): JsonObject => parseJson(text) as JsonObject;

describe('openchannel', () => {
  const text = `{"openchannel": {"id": "${PEER}", "funding_msat": 500000000, "push_msat": 0, "dust_limit_msat": 546000,
    "max_htlc_value_in_flight_msat": 18446744073709551615, "channel_reserve_msat": 546000, "htlc_minimum_msat": 0, "feerate_per_kw": 1250,
    "to_self_delay": 6, "max_accepted_htlcs": 483, "channel_flags": 0, "channel_type": {"bits": [12, 22, 46, 50],
    "names": ["static_remotekey/even", "anchors/even", "scid_alias/even", "zeroconf/even"]}}}`;

  test('is read', () => {
    expect(readOpenChannel(json(text))).toEqual({ peer: PEER, amount: 500_000n, pushed: 0n, channelType: [12, 22, 46, 50], private: true });
    expect(readOpenChannel(json(text.replace('"channel_flags": 0', '"channel_flags": 1'))).private).toBe(false);
    expect(readOpenChannel(json(text.replace('"push_msat": 0', '"push_msat": 1000'))).pushed).toBe(1000n);
  });
  test('is answered', () => {
    expect(ACCEPT_ZERO_CONF).toEqual({ result: 'continue', mindepth: 0, reserve: '0sat' });
    expect(rejectOpen('no')).toEqual({ result: 'reject', error_message: 'no' });
  });
  test('that cannot be read is an error, not a guess', () => {
    expect(() => readOpenChannel({})).toThrow(UnexpectedReply);
    expect(() => readOpenChannel(json(text.replace(PEER, '02')))).toThrow(FormatError);
  });
});

describe('htlc_accepted', () => {
  const htlc = `"htlc": {"short_channel_id": "217x1x0", "id": 18446744073709551615, "amount_msat": 1000011, "cltv_expiry": 239, "cltv_expiry_relative": 17, "payment_hash": "${HASH}"}`;
  const forward = `{"peer_id": "${PEER}", "onion": {"payload": "1202030f42400401e90608743ce87936016750", "type": "tlv", "short_channel_id": "7617768x7943681x26448",
    "forward_msat": 1000000, "outgoing_cltv_value": 233, "next_onion": "00", "shared_secret": "${HASH}"}, "forward_to": "${CHANNEL}", ${htlc}}`;
  const final = `{"peer_id": "${PEER}", "onion": {"payload": "2d02", "type": "tlv", "forward_msat": 1000000, "outgoing_cltv_value": 233, "total_msat": 1000000,
    "payment_secret": "${HASH}", "next_onion": "00", "shared_secret": "${HASH}"}, ${htlc}}`;

  test('of a forward', () => {
    expect(readHtlc(json(forward))).toEqual({
      height: 222,
      amount: 1_000_011n,
      cltvExpiry: 239,
      paymentHash: HASH,
      incoming: { peer: PEER, shortChannelId: '217x1x0', id: 18_446_744_073_709_551_615n },
      forward: { amount: 1_000_000n, cltvExpiry: 233, shortChannelId: '7617768x7943681x26448', channelId: CHANNEL },
    });
  });
  test('of a payment to us: an outgoing_cltv_value does not make it a forward', () => {
    expect(readHtlc(json(final)).forward).toBeUndefined();
  });
  test('of a forward to a channel lightningd does not know, and of one by node id', () => {
    expect(readHtlc(json(forward.replace(`"forward_to": "${CHANNEL}", `, ''))).forward).toEqual({ amount: 1_000_000n, cltvExpiry: 233, shortChannelId: '7617768x7943681x26448' });
    const byNode = forward.replace('"short_channel_id": "7617768x7943681x26448"', `"next_node_id": "${PEER}"`);
    expect(readHtlc(json(byNode)).forward).toMatchObject({ nextNode: PEER, channelId: CHANNEL });
  });
  test('is answered', () => {
    const id = channelId(CHANNEL);
    expect(htlcAnswer({ result: 'continue' })).toEqual({ result: 'continue' });
    expect(htlcAnswer({ result: 'continue', forwardTo: id })).toEqual({ result: 'continue', forward_to: id });
    expect(htlcAnswer({ result: 'fail', failure: hex('2002'), why: '' })).toEqual({ result: 'fail', failure_message: '2002' });
  });
});

describe('rpc_command', () => {
  const invoice = json('{"rpc_command": {"jsonrpc": "2.0", "method": "invoice", "id": "cli:invoice#22040", "params": [1000, "a0", "d"]}}');

  test('is read, by place and by name, with or without parameters', () => {
    expect(readCommand(invoice)).toEqual({ id: 'cli:invoice#22040', method: 'invoice', params: [1000, 'a0', 'd'] });
    expect(readCommand(json('{"rpc_command": {"method": "invoice", "id": 7, "params": {"label": "a"}}}'))).toEqual({ id: 7, method: 'invoice', params: { label: 'a' } });
    expect(readCommand(json('{"rpc_command": {"method": "getinfo", "id": "x"}}')).params).toEqual({});
    expect(() => readCommand(json('{"rpc_command": {"method": "getinfo"}}'))).toThrow(UnexpectedReply);
  });
  test('is answered', () => {
    expect(replaceParams(readCommand(invoice), [1])).toEqual({ replace: { jsonrpc: '2.0', id: 'cli:invoice#22040', method: 'invoice', params: [1] } });
    expect(refuseCommand(-1, 'no')).toEqual({ return: { error: { code: -1, message: 'no' } } });
  });
  test('splices are recognised by whatever names the channel', () => {
    expect(splicedChannel({ id: 1, method: 'splice_init', params: [CHANNEL, 1000] })).toBe(CHANNEL);
    expect(splicedChannel({ id: 1, method: 'splicein', params: { channel: '1x2x3', amount: 1 } })).toBe('1x2x3');
    expect(splicedChannel({ id: 1, method: 'spliceout', params: {} })).toBe('');
    expect(splicedChannel({ id: 1, method: 'invoice', params: [] })).toBeUndefined();
  });
});

describe('raiseInvoiceCltv', () => {
  const ALIASES = ['8262812x15812948x34982'];
  const raised = 42 + 1 + 12;

  test('by place: null stands for what was left out', () => {
    expect(raiseInvoiceCltv([1000, 'a', 'd'], 42, 10, ALIASES)).toEqual([1000, 'a', 'd', null, null, null, ALIASES, raised]);
    expect(raiseInvoiceCltv([1000, 'a', 'd'], 42, 10, [])).toEqual([1000, 'a', 'd', null, null, null, null, raised]);
    expect(raiseInvoiceCltv([1000, 'a', 'd', 60, null, null, null, 18, true], 42, 10, [])).toEqual([1000, 'a', 'd', 60, null, null, null, raised, true]);
    expect(raiseInvoiceCltv([1000, 'a', 'd', 60, null, null, null, 500], 42, 10, ALIASES)).toEqual([1000, 'a', 'd', 60, null, null, ALIASES, 500]);
  });
  test('by name', () => {
    expect(raiseInvoiceCltv({ amount_msat: 'any', label: 'a', description: 'd' }, 42, 10, ALIASES)).toEqual({
      amount_msat: 'any',
      label: 'a',
      description: 'd',
      cltv: raised,
      exposeprivatechannels: ALIASES,
    });
    expect(raiseInvoiceCltv({ label: 'a', cltv: '18' }, 42, 10, [])).toEqual({ label: 'a', cltv: raised });
  });
  test('what the caller decided about exposure stays', () => {
    expect(raiseInvoiceCltv({ label: 'a', exposeprivatechannels: false }, 42, 10, ALIASES)).toEqual({ label: 'a', exposeprivatechannels: false, cltv: raised });
    expect(raiseInvoiceCltv([1, 'a', 'd', null, null, null, true], 42, 10, ALIASES)).toEqual([1, 'a', 'd', null, null, null, true, raised]);
  });
  test('leaves alone what is enough already, what it cannot read, and keysend’s records', () => {
    expect(raiseInvoiceCltv({ label: 'a', cltv: raised }, 42, 10, [])).toBeUndefined();
    expect(raiseInvoiceCltv({ label: 'a' }, 5, 18, [])).toBeUndefined();
    expect(raiseInvoiceCltv({ label: 'a', cltv: 'soon' }, 42, 10, ALIASES)).toBeUndefined();
    expect(raiseInvoiceCltv({ label: 'keysend-1795224172.131011783' }, 42, 10, ALIASES)).toBeUndefined();
    expect(raiseInvoiceCltv({ label: 7 }, 42, 10, [])).toEqual({ label: 7, cltv: raised });
  });
  test('does not change what it was given', () => {
    const params = Object.freeze([1000, 'a', 'd']);
    raiseInvoiceCltv(params, 42, 10, ALIASES);
    expect(params).toEqual([1000, 'a', 'd']);
  });
});

test('raiseRouteCltv raises xpay’s question to askrene, and only that', () => {
  expect(raiseRouteCltv({ source: 'a', final_cltv: 18 }, 42)).toEqual({ source: 'a', final_cltv: 55 });
  expect(raiseRouteCltv({ source: 'a', final_cltv: 55 }, 42)).toBeUndefined();
  expect(raiseRouteCltv({ source: 'a' }, 42)).toBeUndefined();
  expect(raiseRouteCltv(['a'], 42)).toBeUndefined();
});

test('readRoutes reads what is to be paid and to whom, in all forms of an amount, and never throws', () => {
  const asked = { destination: PEER, amount: 12_000n };
  for (const amount_msat of [12_000, 12_000n, '12000', '12000msat']) expect(readRoutes({ destination: PEER, amount_msat })).toEqual(asked);
  for (const amount_msat of ['12sat', -1, 1.5, null, {}]) expect(readRoutes({ destination: PEER, amount_msat })).toBeUndefined();
  for (const params of [{ amount_msat: 1 }, { destination: 5, amount_msat: 1 }, [PEER, 1]]) expect(readRoutes(params)).toBeUndefined();
});

test('withLayers adds layers at the end, once', () => {
  expect(withLayers({ source: 'a', layers: ['own', 'x'] }, ['own', 'new'])).toEqual({ source: 'a', layers: ['x', 'own', 'new'] });
  expect(withLayers({ source: 'a' }, ['own'])).toBeUndefined();
  expect(withLayers(['a'], ['own'])).toBeUndefined();
});

describe('messages and notifications, wrapped under their topic or not', () => {
  test('custommsg', () => {
    const inner = { peer_id: PEER, payload: '8020FF' };
    const message = { peer: PEER, message: '8020ff' };
    expect(readCustomMessage(inner)).toEqual(message);
    expect(readCustomMessage({ custommsg: inner })).toEqual(message);
  });
  test('connect, disconnect, block_added', () => {
    expect(readPeerId('connect', json(`{"connect": {"id": "${PEER}", "direction": "in", "address": {"type": "ipv4", "address": "127.0.0.1", "port": 37330}}}`))).toBe(PEER);
    expect(readPeerId('disconnect', { id: PEER })).toBe(PEER);
    expect(readBlockAdded(json(`{"block_added": {"hash": "${HASH}", "height": 221}}`))).toEqual({ height: 221, hash: HASH });
    expect(() => readPeerId('connect', { connect: {} })).toThrow(UnexpectedReply);
  });
  test('channel_state_changed, of a new channel and of one that is dropped', () => {
    const fresh = `{"peer_id": "${PEER}", "channel_id": "${CHANNEL}", "timestamp": "2026-11-21T01:22:49.058Z", "new_state": "CHANNELD_AWAITING_LOCKIN", "cause": "remote", "message": "new channel opened"}`;
    expect(readChannelStateChange(json(`{"channel_state_changed": ${fresh}}`))).toEqual({ peer: PEER, channelId: CHANNEL, to: 'CHANNELD_AWAITING_LOCKIN', cause: 'remote', message: 'new channel opened' });
    const dropped = `{"peer_id": "${PEER}", "channel_id": "${CHANNEL}", "timestamp": "2026-11-21T01:26:14.576Z", "old_state": "CLOSINGD_COMPLETE", "new_state": "CLOSED", "cause": "unknown"}`;
    expect(readChannelStateChange(json(dropped))).toEqual({ peer: PEER, channelId: CHANNEL, from: 'CLOSINGD_COMPLETE', to: 'CLOSED', cause: 'unknown' });
  });
});
