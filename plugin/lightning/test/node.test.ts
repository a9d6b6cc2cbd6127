import { describe, expect, test } from '@jest/globals';
import { createHash } from 'node:crypto';
import { hex, nodeId } from '../../../blip/brands.js';
import { FACTORY_FEATURE_BITS } from '../../../blip/features.js';
import { createLightning } from '../cln.js';
import { networkOf } from '../networks.js';
import { FakeRpc, rpcError } from './fake-rpc.js';

const ID = nodeId(`02${'ab'.repeat(32)}`);
const INFO = { id: ID, network: 'regtest', blockheight: 222, 'lightning-dir': '/x/regtest', version: 'v26.06.6' };

describe('info', () => {
  test('is synchronised unless lightningd warns', async () => {
    expect(await createLightning(new FakeRpc({ getinfo: INFO })).info()).toMatchObject({ nodeId: ID, height: 222, lightningDir: '/x/regtest', synced: true });
    for (const warning of ['warning_bitcoind_sync', 'warning_lightningd_sync'])
      expect((await createLightning(new FakeRpc({ getinfo: { ...INFO, [warning]: '…' } })).info()).synced).toBe(false);
  });
  test('of a network we do not know is an error', async () => {
    await expect(createLightning(new FakeRpc({ getinfo: { ...INFO, network: 'liquid' } })).info()).rejects.toMatchObject({ code: 'protocol', culprit: 'network' });
  });
});

test('chain hashes are those of the genesis blocks (BOLT 0)', () => {
  const header = (time: number, bits: string, nonce: number, merkle = '3ba3edfd7a7b12b27ac72c3e67768f617fc81bc3888a51323a9fb8aa4b1e5e4a') => {
    const number = (value: number): string => Buffer.from(Uint32Array.of(value).buffer).toString('hex');
    const bytes = Buffer.from(`01000000${'00'.repeat(32)}${merkle}${number(time)}${bits}${number(nonce)}`, 'hex');
    const once = createHash('sha256').update(bytes).digest();
    return createHash('sha256').update(once).digest('hex');
  };
  expect(networkOf('bitcoin').chainHash).toBe(header(1_231_006_505, 'ffff001d', 2_083_236_893));
  expect(networkOf('testnet').chainHash).toBe(header(1_296_688_602, 'ffff001d', 414_098_458));
  expect(networkOf('regtest').chainHash).toBe(header(1_296_688_602, 'ffff7f20', 2));
  expect(networkOf('signet').chainHash).toBe(header(1_598_918_400, 'ae77031e', 52_613_770));
  // BIP 94 has another coinbase.
  expect(networkOf('testnet4').chainHash).toBe(header(1_714_777_860, 'ffff001d', 393_743_547, '4e7b2b9128fe0291db0693af2ae418b767e657cd407e80cb1434221eaea7a07a'));
});

describe('peers', () => {
  const peers = (...list: readonly object[]) => new FakeRpc({ listpeers: { peers: list as never } });

  test('support factories by either bit; one that is gone has no features', async () => {
    const connected = { id: ID, connected: true, num_channels: 0 };
    expect(await createLightning(peers({ ...connected, features: FACTORY_FEATURE_BITS })).peer(ID)).toEqual({ id: ID, connected: true, features: FACTORY_FEATURE_BITS, supportsFactories: true });
    expect((await createLightning(peers({ ...connected, features: '800898880a8a59a1' })).peer(ID))?.supportsFactories).toBe(false);
    expect(await createLightning(peers({ ...connected, connected: false, features: FACTORY_FEATURE_BITS })).peer(ID)).toEqual({ id: ID, connected: false, features: '', supportsFactories: false });
    expect(await createLightning(peers()).peer(ID)).toBeUndefined();
  });
});

describe('configuration', () => {
  const configs = (more: object) => ({
    getinfo: INFO,
    listconfigs: { configs: { 'cltv-final': { value_int: 18, source: 'default' }, 'cltv-delta': { value_int: 34 }, 'min-emergency-msat': { value_msat: 25_000_001 }, developer: { set: false }, ...more } },
  });

  test('with defaults', async () => {
    expect(await createLightning(new FakeRpc(configs({}))).config()).toEqual({ chainBackend: { host: '127.0.0.1', port: 18_443 }, cltvFinal: 18, cltvDelta: 34, emergencyReserve: 25_001n, developer: false });
  });
  test('as set', async () => {
    const set = {
      'bitcoin-rpcconnect': { value_str: 'btc' },
      'bitcoin-rpcport': { value_int: 1 },
      'bitcoin-rpcuser': { value_str: 'u' },
      'bitcoin-rpcpassword': { value_str: 'p' },
      'bitcoin-datadir': { value_str: '/b' },
      wallet: { value_str: 'postgres://x' },
    };
    expect(await createLightning(new FakeRpc(configs(set))).config()).toMatchObject({ chainBackend: { host: 'btc', port: 1, user: 'u', password: 'p', dataDir: '/b' }, wallet: 'postgres://x' });
  });
  test.each([
    ['btc:8000', 'btc', 8_000],
    ['[::1]:8000', '::1', 8_000],
    ['[::1]', '::1', 18_443],
    ['::1', '::1', 18_443],
  ])('an address with its port: %s', async (text, host, port) => {
    expect((await createLightning(new FakeRpc(configs({ 'bitcoin-rpcconnect': { value_str: text } }))).config()).chainBackend).toEqual({ host, port });
  });
});

test('a secret has 32 bytes', async () => {
  expect(await createLightning(new FakeRpc({ makesecret: { secret: 'ab'.repeat(32) } })).secret('l')).toEqual(new Uint8Array(32).fill(0xab));
  await expect(createLightning(new FakeRpc({ makesecret: { secret: 'ab' } })).secret('l')).rejects.toMatchObject({ code: 'protocol' });
});

describe('the datastore', () => {
  const key = ['a', 'b'];
  test('finds the key itself, not its children or parents', async () => {
    const entries = (...list: readonly object[]) => new FakeRpc({ listdatastore: { datastore: list as never } });
    expect(await createLightning(entries({ key, generation: 3, hex: '00ff', string: '' })).datastoreGet(key)).toEqual({ value: '00ff', generation: 3 });
    expect(await createLightning(entries({ key: ['a', 'b', 'c'] }, { key: ['a'], hex: '00', generation: 0 })).datastoreGet(key)).toBeUndefined();
    expect(await createLightning(entries({ key })).datastoreGet(key)).toBeUndefined();
  });
  test.each([
    [undefined, { mode: 'create-or-replace' }],
    ['absent' as const, { mode: 'must-create' }],
    [4, { mode: 'must-replace', generation: 4 }],
  ])('writes expecting %s', async (expected, params) => {
    const rpc = new FakeRpc({ datastore: { key: key as never, generation: 5, hex: '00' } });
    expect(await createLightning(rpc).datastoreSet(key, hex('00'), expected)).toBe(5);
    expect(rpc.of('datastore')).toEqual([{ key, hex: '00', ...params }]);
  });
  test('says when somebody else was there', async () => {
    for (const code of [1202, 1203, 1204]) await expect(createLightning(new FakeRpc({ datastore: rpcError('datastore', code, '') })).datastoreSet(key, hex('00'), 4)).rejects.toMatchObject({ code: 'conflict' });
    await expect(createLightning(new FakeRpc({ datastore: rpcError('datastore', 1205, 'Key has children already') })).datastoreSet(key, hex('00'))).rejects.toMatchObject({ code: 'rejected' });
  });
});
