import { secp256k1 } from '@noble/curves/secp256k1.js';
import { bytesToHex } from '@noble/hashes/utils.js';
import { describe, expect, test } from '@jest/globals';
import { bolt11Json, decodeBolt11, encodeBolt11 } from '../bolt11.js';

const secret = new Uint8Array(32).fill(9);
const key = { secret, pub: bytesToHex(secp256k1.getPublicKey(secret, true)) };
const invoice = {
  timestamp: 1_795_224_016,
  hash: 'ab'.repeat(32),
  secret: 'cd'.repeat(32),
  description: 'Grüße',
  expiry: 604_800,
  finalCltv: 55,
  features: '02024100',
  routes: [[{ pubkey: key.pub, scid: '9287764x14605021x13510', base: 1, ppm: 10, delta: 6 }]],
};

describe('BOLT 11', () => {
  test.each([undefined, 1, 10, 12_345, 100_000, 10_000_000, 100_000_000_000, 2_500_000_000_001])('an invoice over %s msat comes back as it was', (amount) => {
    const text = encodeBolt11({ ...invoice, ...(amount === undefined ? {} : { amount }) }, key);
    expect(text).toMatch(/^lnbcrt/);
    expect(decodeBolt11(text)).toMatchObject({ ...invoice, payee: key.pub, ...(amount === undefined ? {} : { amount }) });
  });

  // Made by lightningd v26.06.6.
  const REAL =
    'lnbcrt1m1p4spuwssp50xv2qt5yv4j669tanzxt5lydvgssdw2sw0ykjw64twfg7ela2pwqpp5ard4j4gkunpyxcuqpp2g3m5y3r90rdckyf2494edyqys0ny7h8nsdqzvsxqyjw5qcqp2rzjqdmve55wdkks5xkgvfc6wh8jthk9ncpqujf6qd6a2q8euwskdpsytrdc2n0d4hf5ccqqqqqpqqqqqzsqqc9qxpqysgqt0m04t4agu8xpffcnt8pwwa4jr5q37emq964e3uwwd973hf7mpl5vcf7wzmyketvy9d00nc7qqurxkju70zx2epgah0a34z8zgvrcxqqaprdvd';

  test('reads Core Lightning’s as Core Lightning does', () => {
    expect(bolt11Json(decodeBolt11(REAL))).toMatchObject({
      created_at: 1_795_224_016,
      expiry: 604_800,
      payee: '0371514856b75908ade317288eea6855dc59448929582675fb8defa0a66f179c04',
      amount_msat: 100_000_000,
      description: 'd',
      min_final_cltv_expiry: 10,
      payment_secret: '7998a02e846565ad157d988cba7c8d622106b95073c9693b555b928f67fd505c',
      features: '02024100',
      routes: [[{ short_channel_id: '9287764x14605021x13510', fee_base_msat: 1, fee_proportional_millionths: 10, cltv_expiry_delta: 6 }]],
      payment_hash: 'e8db595516e4c2436380085488ee8488caf1b716225552d72d200907cc9eb9e7',
      valid: true,
    });
  });

  test('refuses what is no invoice', () => {
    for (const text of ['', 'lnbc1', REAL.slice(0, -1), REAL.replace('lnbcrt', 'lnbc')]) expect(() => decodeBolt11(text)).toThrow(/Invalid bolt11/);
  });
});
