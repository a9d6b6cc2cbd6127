/** The adapter's node, wallet and chain methods on either host and a bitcoind. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { hex, nodeId, sat, txid, type Hex, type Sat } from '../../blip/brands.js';
import { LightningError, type Lightning, type LightningErrorCode } from '../../plugin/lightning/lightning.js';
import { AdapterLab, handMadeLeaf, idOf, OUR_SCRIPT, slotOf } from '../fixtures/adapter-lab.js';
import { signedHex } from '../../factory-core/transactions.js';
import { clusterForSuite } from '../harness/suite.js';

/** The code a call fails with. */
const failure = async (promise: Promise<unknown>): Promise<LightningErrorCode | 'no failure'> => {
  try {
    await promise;
    return 'no failure';
  } catch (error) {
    if (error instanceof LightningError) return error.code;
    throw error;
  }
};

describe('the adapter: node, wallet, chain', () => {
  const lab = new AdapterLab();
  beforeAll(() => lab.start());
  const cluster = clusterForSuite({ clients: 1, plugin: false, outsider: false, options: { plugin: lab.executable } });
  afterAll(() => lab.stop());

  let lsp: Lightning;
  beforeAll(() => {
    lsp = lab.lightning(cluster().lsp);
  });
  const AMOUNT = sat(10_000_000n);
  const FEERATE = 2_000;
  const STRANGER = nodeId('02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5');

  test('says who and where the node is', async () => {
    const info = await lsp.info();
    expect(info.nodeId).toBe(cluster().lsp.id);
    expect(info).toMatchObject({ network: 'regtest', synced: true, height: await cluster().bitcoind.height() });
    expect(info.chainHash).toBe(hex('06226e46111a0b59caaf126043eb5bbf28c34f3a5e332a1fc7b2b73cf188910f'));
    expect(info.lightningDir).toBe(`${cluster().lsp.dir}/regtest`);
    const config = await lsp.config();
    expect(config).toMatchObject({ cltvFinal: 10, cltvDelta: 6, emergencyReserve: 25_000n, developer: true });
    expect(config.chainBackend).toMatchObject({ host: '127.0.0.1', port: cluster().bitcoind.rpcPort, user: cluster().bitcoind.user });
  });

  test('knows its peers, their feature bits, and carries messages to them', async () => {
    const client = idOf(cluster().client(0));
    expect(await lsp.peer(client)).toMatchObject({ connected: true, supportsFactories: true });
    expect((await lsp.peers()).map((peer) => peer.id)).toEqual([client]);
    expect(await lsp.peer(STRANGER)).toBeUndefined();
    expect(await failure(lsp.sendMessage(STRANGER, hex('8020')))).toBe('not_connected');
    const message = hex(`8020${'ab'.repeat(30_000)}`);
    await lsp.sendMessage(client, message);
    await cluster().client(0).waitFor('the message', () => lab.toy(cluster().client(0)).messages.length > 0);
    expect(lab.toy(cluster().client(0)).messages[0]).toEqual({ peer: idOf(cluster().lsp), message });
  });

  test('derives secrets, the same ones again', async () => {
    const one = await lsp.secret('cln-factory test');
    expect(one).toHaveLength(32);
    expect(await lsp.secret('cln-factory test')).toEqual(one);
    expect(await lsp.secret('cln-factory tess')).not.toEqual(one);
  });

  test('keeps values in the datastore, with compare-and-set', async () => {
    const key = ['cln-factory', 'adapter-test'];
    expect(await lsp.datastoreGet(key)).toBeUndefined();
    expect(await failure(lsp.datastoreSet(key, hex('00'), 0))).toBe('conflict');
    expect(await lsp.datastoreSet(key, hex('01'), 'absent')).toBe(0);
    expect(await failure(lsp.datastoreSet(key, hex('02'), 'absent'))).toBe('conflict');
    expect(await lsp.datastoreSet(key, hex('02'), 0)).toBe(1);
    expect(await failure(lsp.datastoreSet(key, hex('03'), 0))).toBe('conflict');
    expect(await lsp.datastoreSet(key, hex(''))).toBe(2);
    expect(await lsp.datastoreGet(key)).toEqual({ value: '', generation: 2 });
    expect(await lsp.datastoreGet(['cln-factory'])).toBeUndefined();
  });

  test('chooses coins, and says what is missing', async () => {
    const coins = await lsp.coins();
    expect(coins.map((coin) => coin.amount)).toEqual(Array.from({ length: 5 }, () => 50_000_000n));
    expect((await lsp.selectCoins(sat(60_000_000n), FEERATE)).coins).toHaveLength(2);
    const all = sat(250_000_000n);
    await expect(lsp.selectCoins(all, FEERATE)).rejects.toMatchObject({ code: 'insufficient_funds' });
    const missing = await lsp.selectCoins(all, FEERATE).catch((error: unknown) => (error as LightningError).details.missing);
    // Five taproot inputs and two outputs at 2 sat/vB, and the emergency reserve.
    expect(missing).toBe(25_000n + 2n * 384n);
    const most = await lsp.selectCoins(sat(all - (missing as Sat)), FEERATE);
    expect(most.coins).toHaveLength(5);
  });

  test('prepares a funding transaction with a final txid, and releases its coins, again and again', async () => {
    const { coins } = await lsp.selectCoins(slotOf(AMOUNT), FEERATE);
    const prepared = await lsp.prepareFunding({ script: OUR_SCRIPT, amount: slotOf(AMOUNT), coins, feerate: FEERATE });
    expect(prepared.vout).toBe(0);
    expect((await lsp.coins()).length).toBe(4);
    expect(await failure(lsp.prepareFunding({ script: OUR_SCRIPT, amount: slotOf(AMOUNT), coins, feerate: FEERATE }))).toBe('conflict');
    expect((await lsp.coins()).length).toBe(4);
    await lsp.releaseFunding(prepared);
    await lsp.releaseFunding(prepared);
    expect((await lsp.coins()).length).toBe(5);
    expect(await failure(lsp.prepareFunding({ script: OUR_SCRIPT, amount: sat(coins[0]!.amount), coins, feerate: FEERATE }))).toBe('insufficient_funds');
    expect((await lsp.coins()).length).toBe(5);
  });

  test('releases after a restart, when txprepare has forgotten; a reservation on top of it is no obstacle', async () => {
    const { coins } = await lsp.selectCoins(slotOf(AMOUNT), FEERATE);
    const prepared = await lsp.prepareFunding({ script: OUR_SCRIPT, amount: slotOf(AMOUNT), coins, feerate: FEERATE });
    await cluster().lsp.restart();
    expect((await lsp.coins()).length).toBe(4);
    await cluster().lsp.call('reserveinputs', { psbt: prepared.psbt, exclusive: false, reserve: 500 });
    await lsp.releaseFunding({ coins: prepared.coins });
    expect((await lsp.coins()).length).toBe(5);
    await cluster().lsp.connect(cluster().client(0));
  });

  test('a payout address is the wallet’s, and its script fits', async () => {
    const { address, script } = await lsp.newPayout();
    expect(script).toMatch(/^5120[0-9a-f]{64}$/);
    await cluster().bitcoind.send(address, 77_777n);
    await cluster().mine();
    await cluster().lsp.waitFor('the payout', async () => (await lsp.coins()).some((coin) => coin.script === script && coin.amount === 77_777n));
  });

  test('reads the chain', async () => {
    const { bitcoind } = cluster();
    const tip = await lsp.tip();
    expect(tip).toEqual({ height: await bitcoind.height(), headers: await bitcoind.height(), initialBlockDownload: false });
    const block = await lsp.rawBlock(tip.height);
    expect(block?.hash).toBe(await bitcoind.call('getblockhash', [tip.height]));
    expect(block?.raw.length).toBeGreaterThan(160);
    expect(await lsp.rawBlock(tip.height + 1)).toBeUndefined();
    const [coin] = await lsp.coins();
    expect(await lsp.utxo(coin!.outpoint)).toEqual({ amount: coin!.amount, script: coin!.script });
    expect(await lsp.utxo({ txid: coin!.outpoint.txid, vout: 99 })).toBeUndefined();
    const { floor, slow, normal, urgent } = await lsp.feerates();
    expect(floor).toBeGreaterThanOrEqual(1_000);
    expect(slow).toBeGreaterThanOrEqual(floor);
    expect(normal).toBeGreaterThanOrEqual(slow);
    expect(urgent).toBeGreaterThanOrEqual(normal);
  });

  test('sends a funding transaction once, however often it is told to, and a leaf after it', async () => {
    const { bitcoind } = cluster();
    const { coins } = await lsp.selectCoins(slotOf(AMOUNT), FEERATE);
    const prepared = await lsp.prepareFunding({ script: OUR_SCRIPT, amount: slotOf(AMOUNT), coins, feerate: FEERATE });
    const outpoint = { txid: prepared.txid, vout: prepared.vout };
    const leaf = handMadeLeaf(outpoint, AMOUNT, OUR_SCRIPT);
    expect(await lsp.broadcast(signedHex(leaf))).toMatchObject({ kind: 'missing_inputs' });

    const signed = await lsp.signFunding(prepared.psbt);
    expect(await lsp.utxo(outpoint)).toBeUndefined();
    expect(await lsp.broadcastFunding(signed)).toBe(prepared.txid);
    expect(await lsp.broadcastFunding(signed)).toBe(prepared.txid);
    expect(await lsp.utxo(outpoint)).toEqual({ amount: slotOf(AMOUNT), script: OUR_SCRIPT });
    await cluster().confirm(prepared.txid);
    expect(await lsp.broadcastFunding(signed)).toBe(prepared.txid);

    expect(await lsp.broadcast(signedHex(leaf))).toEqual({ kind: 'accepted' });
    expect(await lsp.broadcast(signedHex(leaf))).toEqual({ kind: 'accepted' });
    const entry = await bitcoind.call('getmempoolentry', [leaf.signable.txid]);
    expect(entry.vsize).toBe(leaf.signable.vsize);
    await cluster().confirm(leaf.signable.txid);
    expect(await lsp.broadcast(signedHex(leaf))).toEqual({ kind: 'known' });
    // Nothing of the funding is unspent any more but its change; and then not even that.
    expect(await lsp.broadcastFunding(signed)).toBe(prepared.txid);
    expect(await lsp.broadcast(signedHex(handMadeLeaf(outpoint, sat(AMOUNT - 1n), OUR_SCRIPT)))).toMatchObject({ kind: 'missing_inputs' });
  });

  test('tells refusals apart from what bitcoind cannot know', async () => {
    const { coins } = await lsp.selectCoins(slotOf(AMOUNT), FEERATE);
    const prepared = await lsp.prepareFunding({ script: OUR_SCRIPT, amount: slotOf(AMOUNT), coins, feerate: FEERATE });
    await lsp.broadcastFunding(await lsp.signFunding(prepared.psbt));
    const leaf = handMadeLeaf({ txid: prepared.txid, vout: prepared.vout }, AMOUNT, OUR_SCRIPT);
    const raw = signedHex(leaf);
    // Unconfirmed version-2 parent, version-3 child: BIP 431.
    expect(await lsp.broadcast(raw)).toMatchObject({ kind: 'rejected', reason: expect.stringMatching(/TRUC|version=3/) as unknown });
    await cluster().confirm(prepared.txid);
    const broken = `${raw.slice(0, -20)}00000000${raw.slice(-12)}` as Hex;
    expect(await lsp.broadcast(broken)).toMatchObject({ kind: 'rejected' });
    expect(await lsp.broadcast(hex('00'))).toMatchObject({ kind: 'rejected', reason: expect.stringMatching(/decode/) as unknown });
    expect(await lsp.broadcast(raw)).toEqual({ kind: 'accepted' });
  });

  test('a bitcoind that is away is no empty chain', async () => {
    const { bitcoind } = cluster();
    const [coin] = await lsp.coins();
    const height = await bitcoind.height();
    await bitcoind.stop();
    try {
      expect(await failure(lsp.utxo(coin!.outpoint))).toBe('unavailable');
      expect(await failure(lsp.utxo({ txid: txid('00'.repeat(32)), vout: 0 }))).toBe('unavailable');
      expect(await failure(lsp.rawBlock(height))).toBe('unavailable');
      expect(await failure(lsp.rawBlock(height + 1))).toBe('unavailable');
      expect(await failure(lsp.tip())).toBe('unavailable');
      expect(await failure(lsp.broadcast(hex('00')))).toBe('unavailable');
      expect((await lsp.feerates()).floor).toBeGreaterThanOrEqual(1_000);
    } finally {
      await bitcoind.resume();
    }
    expect(await lsp.utxo(coin!.outpoint)).toEqual({ amount: coin!.amount, script: coin!.script });
  });

  test('a node that is away is unavailable', async () => {
    await cluster().lsp.stop();
    try {
      expect(await failure(lsp.info())).toBe('unavailable');
      expect(await failure(lsp.channels())).toBe('unavailable');
    } finally {
      await cluster().lsp.resume();
    }
    expect((await lsp.info()).nodeId).toBe(cluster().lsp.id);
  });
});
