import { describe, expect, test } from '@jest/globals';
import { decodePayload, encodePayload } from '../onion.js';

describe('hop payloads', () => {
  // As lightningd v26.06.6 showed them to the htlc_accepted hook.
  test.each([
    ['120203989680040188060800006c0000010000', { amount: 10_000_000, cltv: 136, scid: '108x1x0' }],
    ['12020398968004019006088db854dedadd34c6', { amount: 10_000_000, cltv: 144, scid: '9287764x14605021x13510' }],
    [
      '2f020405f5e10004017c08247998a02e846565ad157d988cba7c8d622106b95073c9693b555b928f67fd505c05f5e100',
      { amount: 100_000_000, cltv: 124, secret: '7998a02e846565ad157d988cba7c8d622106b95073c9693b555b928f67fd505c', total: 100_000_000 },
    ],
  ])('%s', (hex, payload) => {
    expect(decodePayload(hex, true)).toEqual(payload);
    expect(encodePayload(payload)).toBe(hex);
  });

  test('a spontaneous payment carries its preimage', () => {
    const payload = { amount: 1, cltv: 300, keysend: 'ee'.repeat(32) };
    expect(decodePayload(encodePayload(payload), true)).toEqual(payload);
  });

  test('what lacks an amount or ends early is no payload', () => {
    expect(decodePayload('0404019006', true)).toBeUndefined();
    expect(decodePayload('0202', false)).toBeUndefined();
  });
});
