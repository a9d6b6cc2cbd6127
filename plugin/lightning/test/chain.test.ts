import { describe, expect, test } from '@jest/globals';
import { hex, txid } from '../../../blip/brands.js';
import { classifyBroadcast } from '../chain.js';
import { createLightning } from '../cln.js';
import { FakeRpc, rpcError } from './fake-rpc.js';

const OUTPOINT = { txid: txid('ab'.repeat(32)), vout: 1 };
const TIP = { chain: 'regtest', headercount: 222, blockcount: 222, ibd: false };
const GONE = { amount: null, script: null };
const NO_BLOCK = { blockhash: null, block: null };
const AWAY = rpcError('getchaininfo', 500, 'bitcoin-cli … getblockchaininfo: command failed (error: timeout on transient error: Could not connect to the server 127.0.0.1:28443)');
/** As bitcoin-cli prints them (bitcoind 29). */
const printed = (code: number, message: string): string => `error code: ${code}\nerror message:\n${message}\n`;

describe('what bitcoind thinks of a transaction', () => {
  test.each([
    [true, '', 'accepted'],
    [true, printed(-27, 'Transaction outputs already in utxo set'), 'known'],
    [true, printed(-27, 'Transaction already in block chain'), 'known'],
    [false, printed(-26, 'txn-already-in-mempool'), 'known'],
    [false, printed(-26, 'txn-already-known'), 'known'],
    [false, printed(-25, 'bad-txns-inputs-missingorspent'), 'missing_inputs'],
    [false, printed(-25, 'Missing inputs'), 'missing_inputs'],
    [false, printed(-26, 'min relay fee not met, 0 < 153'), 'low_fee'],
    [false, printed(-26, 'mempool min fee not met, 334 < 1670'), 'low_fee'],
    [false, printed(-26, 'non-final'), 'rejected'],
    [false, printed(-26, 'txn-mempool-conflict'), 'rejected'],
    [false, printed(-26, 'insufficient fee, rejecting replacement ab; new feerate 0.00002 BTC/kvB <= old feerate 0.00003 BTC/kvB'), 'low_fee'],
    [false, printed(-26, 'TRUC-violation, version=3 tx ab (wtxid=cd) cannot spend from non-version=3 tx ef (wtxid=01)'), 'rejected'],
    [false, printed(-22, 'TX decode failed. Make sure the tx has at least one input.'), 'rejected'],
  ])('%s %j: %s', (success, text, kind) => {
    expect(classifyBroadcast(success, text).kind).toBe(kind);
  });

  test('the reason is bitcoind’s, on one line', () => {
    expect(classifyBroadcast(false, printed(-26, 'dust,\n tx with dust output must be 0-fee'))).toEqual({ kind: 'rejected', reason: 'dust, tx with dust output must be 0-fee' });
  });

  test.each([
    'error: timeout on transient error: Could not connect to the server 127.0.0.1:28443\n\nMake sure the bitcoind server is running',
    printed(-28, 'Loading block index…'),
    printed(-28, 'Verifying blocks…'),
    'error: Authorization failed: Incorrect rpcuser or rpcpassword',
  ])('%j: bitcoind cannot be asked', (text) => {
    expect(() => classifyBroadcast(false, text)).toThrow(expect.objectContaining({ code: 'unavailable' }));
  });
});

describe('bcli answers nulls when bitcoind is away', () => {
  test('an output counts as gone only when bitcoind answers in between', async () => {
    const rpc = new FakeRpc({ getutxout: GONE, getchaininfo: TIP });
    expect(await createLightning(rpc).utxo(OUTPOINT)).toBeUndefined();
    expect(rpc.calls.map((call) => call.method)).toEqual(['getutxout', 'getchaininfo', 'getutxout']);
  });
  test('not when it does not', async () => {
    await expect(createLightning(new FakeRpc({ getutxout: GONE, getchaininfo: AWAY })).utxo(OUTPOINT)).rejects.toMatchObject({ code: 'unavailable' });
  });
  test('and not when it was only away for a moment', async () => {
    const rpc = new FakeRpc({ getutxout: [GONE, { amount: '5000sat', script: '51024e73' }], getchaininfo: TIP });
    expect(await createLightning(rpc).utxo(OUTPOINT)).toEqual({ amount: 5000n, script: '51024e73' });
  });
  test('the same for blocks', async () => {
    expect(await createLightning(new FakeRpc({ getrawblockbyheight: NO_BLOCK, getchaininfo: TIP })).rawBlock(223)).toBeUndefined();
    await expect(createLightning(new FakeRpc({ getrawblockbyheight: NO_BLOCK, getchaininfo: AWAY })).rawBlock(223)).rejects.toMatchObject({ code: 'unavailable' });
    const moment = new FakeRpc({ getrawblockbyheight: [NO_BLOCK, { blockhash: 'aa', block: 'bb' }], getchaininfo: TIP });
    expect(await createLightning(moment).rawBlock(222)).toEqual({ height: 222, hash: 'aa', raw: 'bb' });
  });
});

test('other backends may give amounts as numbers; anything else is refused', async () => {
  expect(await createLightning(new FakeRpc({ getutxout: { amount: 7, script: '00' } })).utxo(OUTPOINT)).toEqual({ amount: 7n, script: '00' });
  for (const amount of ['7', '7msat', '-7sat', -7, 1.5, true])
    await expect(createLightning(new FakeRpc({ getutxout: { amount, script: '00' } })).utxo(OUTPOINT)).rejects.toMatchObject({ code: 'protocol' });
});

test('broadcast does not lift bitcoind’s limit on fees', async () => {
  const rpc = new FakeRpc({ sendrawtransaction: { success: true, errmsg: '' } });
  await createLightning(rpc).broadcast(hex('00'));
  expect(rpc.of('sendrawtransaction')).toEqual([{ tx: '00', allowhighfees: false }]);
});

describe('feerates', () => {
  const estimates = [2, 6, 12, 100].map((blockcount, i) => ({ blockcount, feerate: 9_999, smoothed_feerate: 8_000 - i * 2_000 }));
  const ask = (perkb: object) => createLightning(new FakeRpc({ feerates: { perkb: perkb as never } })).feerates();

  test('by target', async () => {
    expect(await ask({ floor: 1_012, min_acceptable: 1_012, estimates })).toEqual({ floor: 1_012, slow: 2_000, normal: 4_000, urgent: 8_000, estimated: true });
  });
  test('never below the floor, nor more urgent for less; both stand in for estimates that are missing', async () => {
    expect(await ask({ floor: 3_000, min_acceptable: 1_012, estimates })).toMatchObject({ slow: 3_000, normal: 4_000 });
    expect(await ask({ min_acceptable: 1_012, estimates: [] })).toEqual({ floor: 1_012, slow: 1_012, normal: 1_012, urgent: 1_012, estimated: false });
    expect(await ask({ floor: 1_000, min_acceptable: 1_012, estimates: estimates.slice(3) })).toMatchObject({ slow: 2_000, normal: 2_000, urgent: 2_000, estimated: true });
  });
});
