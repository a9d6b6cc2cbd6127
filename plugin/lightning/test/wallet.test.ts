import { describe, expect, test } from '@jest/globals';
import { sat, script, txid, type Outpoint, type Script } from '../../../blip/brands.js';
import { encodePsbt } from '../../../factory-core/psbt.js';
import { RpcUnavailable } from '../../runtime/rpc-client.js';
import { createLightning } from '../cln.js';
import type { Coin, Psbt } from '../lightning.js';
import { readPsbt } from '../psbt.js';
import { FakeRpc, rpcError } from './fake-rpc.js';

const FUNDING = script('5120989c0b76cb563971fdc9bef31ec06c3560f3249d6ee9e5d83c57625596e05f6f');
const ADDRESS = 'bcrt1pnzwqkakt2cuhrlwfhme3asrvx4s0xfyadm57tkpu2a39t9hqtahs8cs3qj';
const CHANGE = script('5120802f6f7c3f83dc70e761432468af01dde1454f0b418260f36f6673e49888abb9');
const P2TR = script(`5120${'33'.repeat(32)}`);
const AMOUNT = sat(1_000_000n);
const INFO = { id: `02${'ab'.repeat(32)}`, network: 'regtest', blockheight: 222, 'lightning-dir': '/x/regtest', version: 'v26.06.6' };
const id = (byte: string) => txid(byte.repeat(32));
const coin = (byte: string, amount = 2_000_000n, paid: Script = P2TR): Coin => ({ outpoint: { txid: id(byte), vout: 0 }, amount: sat(amount), script: paid, height: 100 });

/** An output as `listfunds` shows it. */
const output = ({ outpoint, amount, script: paid, height }: Coin, more: object = {}) => ({
  txid: outpoint.txid,
  output: outpoint.vout,
  amount_msat: amount * 1000n,
  scriptpubkey: paid,
  status: 'confirmed',
  blockheight: height,
  reserved: false,
  ...more,
});
const funds = (...outputs: readonly object[]) => ({ outputs: outputs as never, channels: [] });

const built = (coins: readonly Coin[], outputs = [{ amount: AMOUNT, script: FUNDING }, { amount: sat(999_000n), script: CHANGE }], witness?: readonly string[]) => {
  const inputs = coins.map(({ outpoint, amount, script: paid }) => ({ outpoint, sequence: 0xfffffffd, prevout: { amount, script: paid }, ...(witness && { witness }) }));
  const psbt = encodePsbt({ version: 2, lockTime: 222, inputs, outputs }) as Psbt;
  const view = readPsbt(psbt);
  return { psbt, txid: view.txid, unsigned_tx: view.unsignedTx };
};
const request = (coins: readonly Coin[]) => ({ script: FUNDING, amount: AMOUNT, coins, feerate: 2_000 });
/** The outpoints of a PSBT given to a command. */
const spent = (params: Readonly<Record<string, unknown>> | undefined): readonly Outpoint[] => readPsbt(params?.['psbt'] as Psbt).inputs.map((input) => input.outpoint);

describe('coins', () => {
  test('are those that can be spent now, without changing a txid, largest first', async () => {
    const wrapped = { redeemscript: '0014' + '00'.repeat(20) };
    const listfunds = funds(
      output(coin('01', 1_000n)),
      output(coin('02', 9_000n), { reserved: true, reserved_to_block: 300 }),
      output(coin('03', 9_000n), { status: 'unconfirmed' }),
      output(coin('04', 9_000n), { status: 'immature' }),
      output(coin('05', 9_000n, script(`a914${'00'.repeat(20)}87`))),
      output(coin('06', 9_000n), wrapped),
      output(coin('07', 5_000n)),
    );
    expect((await createLightning(new FakeRpc({ listfunds })).coins()).map((one) => one.outpoint.txid)).toEqual([id('07'), id('01')]);
  });
});

describe('preparing a funding transaction', () => {
  const reserved = (coins: readonly Coin[]) => funds(...coins.map((one) => output(one, { reserved: true, reserved_to_block: 294 })));

  test('spends the coins given, and finds the output', async () => {
    const coins = [coin('01'), coin('02')];
    const prepared = built(coins);
    const rpc = new FakeRpc({ getinfo: INFO, txprepare: prepared });
    expect(await createLightning(rpc).prepareFunding(request(coins))).toEqual({ psbt: prepared.psbt, txid: prepared.txid, vout: 0, rawTx: prepared.unsigned_tx, coins: coins.map((one) => one.outpoint) });
    expect(rpc.of('txprepare')).toEqual([{ outputs: [{ [ADDRESS]: '1000000sat' }], feerate: '2000perkb', utxos: [`${id('01')}:0`, `${id('02')}:0`] }]);
  });
  test('a P2SH-wrapped coin is refused before anything is reserved', async () => {
    const rpc = new FakeRpc({ getinfo: INFO });
    await expect(createLightning(rpc).prepareFunding(request([coin('01', 1n, script(`a914${'00'.repeat(20)}87`))]))).rejects.toMatchObject({ code: 'unsafe_input', culprit: `${id('01')}:0` });
    expect(rpc.calls).toEqual([]);
  });
  test('whatever else CLN builds is refused and given back', async () => {
    const coins = [coin('01')];
    const bad = [
      { answer: built([coin('01', 2_000_000n, script(`a914${'00'.repeat(20)}87`))]), code: 'unsafe_input' },
      { answer: built([coin('02')]), code: 'protocol' },
      { answer: built([coin('01'), coin('02')]), code: 'protocol' },
      { answer: built(coins, [{ amount: sat(AMOUNT - 1n), script: FUNDING }]), code: 'protocol' },
      { answer: built(coins, [{ amount: AMOUNT, script: CHANGE }]), code: 'protocol' },
      { answer: { ...built(coins), txid: '00'.repeat(32) }, code: 'protocol' },
      { answer: { ...built(coins), psbt: 'bm9uc2Vuc2U=' }, code: 'protocol' },
    ];
    for (const { answer, code } of bad) {
      const rpc = new FakeRpc({ getinfo: INFO, txprepare: answer, listfunds: reserved(coins), unreserveinputs: { reservations: [] } });
      await expect(createLightning(rpc).prepareFunding(request(coins))).rejects.toMatchObject({ code });
      expect(spent(rpc.of('unreserveinputs')[0])).toEqual([coins[0]!.outpoint]);
    }
  });
  test('refused by CLN, nobody else’s reservation is touched; without an answer, ours is', async () => {
    const coins = [coin('01')];
    const refusals = [
      { error: rpcError('txprepare', -32602, `UTXO ${id('01')}:0 already reserved`), code: 'conflict', released: 0 },
      { error: rpcError('txprepare', -32602, `Unknown UTXO ${id('01')}:0`), code: 'not_found', released: 0 },
      { error: rpcError('txprepare', 301, 'Could not afford'), code: 'insufficient_funds', released: 0 },
      { error: rpcError('txprepare', 313, 'We would not have enough left for min-emergency-msat 25000sat'), code: 'insufficient_funds', released: 0 },
      { error: new RpcUnavailable('txprepare', 'timeout', true, ''), code: 'unavailable', released: 1 },
    ];
    for (const { error, code, released } of refusals) {
      const rpc = new FakeRpc({ getinfo: INFO, txprepare: error, listfunds: reserved(coins), unreserveinputs: { reservations: [] } });
      await expect(createLightning(rpc).prepareFunding(request(coins))).rejects.toMatchObject({ code });
      expect(rpc.of('unreserveinputs')).toHaveLength(released);
    }
  });
  test('an output without an address is refused', async () => {
    for (const paid of ['51024e73', '6a00', '76a914' + '00'.repeat(20) + '88ac'])
      await expect(createLightning(new FakeRpc({ getinfo: INFO })).prepareFunding({ ...request([coin('01')]), script: script(paid) })).rejects.toMatchObject({ code: 'rejected', culprit: 'script' });
  });
});

describe('releasing', () => {
  const coins = [coin('01'), coin('02'), coin('03')];
  const forgotten = rpcError('txdiscard', -32602, 'not an unreleased txid');

  test('what txprepare has forgotten: only what is still reserved, all at once, however long', async () => {
    const listfunds = funds(output(coins[0]!, { reserved: true }), output(coins[1]!), output(coin('04'), { reserved: true }));
    const rpc = new FakeRpc({ txdiscard: forgotten, listfunds, unreserveinputs: { reservations: [] } });
    await createLightning(rpc).releaseFunding({ coins: coins.map((one) => one.outpoint), txid: id('aa') });
    expect(rpc.of('unreserveinputs')).toHaveLength(1);
    expect(spent(rpc.of('unreserveinputs')[0])).toEqual([coins[0]!.outpoint]);
    expect(rpc.of('unreserveinputs')[0]).toMatchObject({ reserve: 1_000_000 });
  });
  test('nothing reserved, nothing to do; the txid comes from the PSBT', async () => {
    const prepared = built(coins);
    const rpc = new FakeRpc({ txdiscard: {}, listfunds: funds(output(coins[0]!)) });
    const ln = createLightning(rpc);
    await ln.releaseFunding({ coins: coins.map((one) => one.outpoint), psbt: prepared.psbt });
    await ln.releaseCoins([coins[0]!.outpoint]);
    expect(rpc.of('txdiscard')).toEqual([{ txid: prepared.txid }]);
    expect(rpc.of('unreserveinputs')).toEqual([]);
  });
  test('is not done when CLN did not answer', async () => {
    const rpc = new FakeRpc({ txdiscard: new RpcUnavailable('txdiscard', 'lost', true, ''), listfunds: funds() });
    await expect(createLightning(rpc).releaseFunding({ coins: [], txid: id('aa') })).rejects.toMatchObject({ code: 'unavailable' });
  });
});

describe('signing and sending', () => {
  const coins = [coin('01')];
  const unsigned = built(coins);
  const signed = built(coins, undefined, ['ee'.repeat(64)]);
  const failed = rpcError('sendpsbt', -1, 'Error broadcasting transaction: …');
  const refused = { success: false, errmsg: 'error code: -25\nerror message:\nbad-txns-inputs-missingorspent\n' };
  const tip = { headercount: 1, blockcount: 1, ibd: false };

  test('a signature that changes the txid is refused', async () => {
    expect(await createLightning(new FakeRpc({ signpsbt: { signed_psbt: signed.psbt } })).signFunding(unsigned.psbt)).toBe(signed.psbt);
    const other = built([coin('02')], undefined, ['ee'.repeat(64)]);
    await expect(createLightning(new FakeRpc({ signpsbt: { signed_psbt: other.psbt } })).signFunding(unsigned.psbt)).rejects.toMatchObject({ code: 'protocol' });
  });
  test('an unsigned one is not sent', async () => {
    const rpc = new FakeRpc({});
    await expect(createLightning(rpc).broadcastFunding(unsigned.psbt)).rejects.toMatchObject({ code: 'protocol' });
    expect(rpc.calls).toEqual([]);
  });
  test('sent before: bitcoind knows it, or an output of it, or the wallet has it in a block', async () => {
    const known = [
      { sendrawtransaction: { success: true, errmsg: 'error code: -27\nerror message:\nTransaction outputs already in utxo set\n' } },
      { sendrawtransaction: refused, getutxout: { amount: '1000000sat', script: FUNDING } },
      { sendrawtransaction: refused, getutxout: { amount: null, script: null }, getchaininfo: tip, listtransactions: { transactions: [{ hash: signed.txid, blockheight: 200 }] } },
    ];
    for (const answers of known) expect(await createLightning(new FakeRpc({ sendpsbt: failed, ...answers })).broadcastFunding(signed.psbt)).toBe(signed.txid);
  });
  test('refused for good', async () => {
    const answers = { sendrawtransaction: refused, getutxout: { amount: null, script: null }, getchaininfo: tip, listtransactions: { transactions: [{ hash: signed.txid, blockheight: 0 }] } };
    await expect(createLightning(new FakeRpc({ sendpsbt: failed, ...answers })).broadcastFunding(signed.psbt)).rejects.toMatchObject({ code: 'rejected', message: expect.stringMatching(/missingorspent/) });
  });
  test('not refused when bitcoind is away', async () => {
    const away = { success: false, errmsg: 'error: timeout on transient error: Could not connect to the server' };
    await expect(createLightning(new FakeRpc({ sendpsbt: failed, sendrawtransaction: away })).broadcastFunding(signed.psbt)).rejects.toMatchObject({ code: 'unavailable' });
  });
});

describe('a coin for bumping', () => {
  test('is reserved for nobody else, and again when it is ours already', async () => {
    const rpc = new FakeRpc({ reserveinputs: { reservations: [] } });
    await createLightning(rpc).reserveCoin(coin('01', 50_000n));
    await createLightning(rpc).reserveCoin(coin('01', 50_000n), true);
    expect(rpc.of('reserveinputs').map(({ exclusive }) => exclusive)).toEqual([true, false]);
  });
  test('is another’s when somebody was faster', async () => {
    const rpc = new FakeRpc({ reserveinputs: rpcError('reserveinputs', -32602, 'already reserved') });
    await expect(createLightning(rpc).reserveCoin(coin('01', 50_000n))).rejects.toMatchObject({ code: 'conflict', culprit: `${id('01')}:0` });
  });
  test('signed, the anchor keeps its empty witness', async () => {
    const anchor = { outpoint: { txid: id('09'), vout: 2 }, sequence: 0xfffffffd, prevout: { amount: sat(240n), script: script('51024e73') } };
    const wallet = { outpoint: coins[0]!.outpoint, sequence: 0xfffffffd, prevout: { amount: coins[0]!.amount, script: P2TR } };
    const outputs = [{ amount: sat(1_000n), script: CHANGE }];
    const child = encodePsbt({ version: 3, lockTime: 0, inputs: [anchor, wallet], outputs }) as Psbt;
    const done = encodePsbt({ version: 3, lockTime: 0, inputs: [anchor, { ...wallet, witness: ['ee'.repeat(64)] }], outputs });
    const rpc = new FakeRpc({ signpsbt: { signed_psbt: done } });
    const signed = await createLightning(rpc).signBump(child, [1]);
    expect(rpc.of('signpsbt')).toEqual([{ psbt: child, signonly: [1] }]);
    expect(signed.txid).toBe(readPsbt(child).txid);
    // BIP 144: marker and flag, …, no item for the anchor, one of 64 bytes for the coin, lock time.
    expect(signed.rawTx).toMatch(new RegExp(`^030000000001.*000140${'ee'.repeat(64)}00000000$`));
    await expect(createLightning(new FakeRpc({ signpsbt: { signed_psbt: child } })).signBump(child, [1])).rejects.toMatchObject({ code: 'protocol' });
  });
  const coins = [coin('01')];
});

test('a payout address and its script belong together', async () => {
  const rpc = new FakeRpc({ getinfo: INFO, newaddr: { p2tr: ADDRESS } });
  expect((await createLightning(rpc).newPayout()).script).toBe(FUNDING);
  await expect(createLightning(new FakeRpc({ getinfo: { ...INFO, network: 'bitcoin' }, newaddr: { p2tr: ADDRESS } })).newPayout()).rejects.toMatchObject({ code: 'protocol' });
});
