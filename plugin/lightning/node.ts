/** The node itself: who it is, its peers, its messages, secrets and datastore. */
import { hex as hexCoder } from '@scure/base';
import { hex, nodeId, sat, type Hex, type NodeId } from '../../blip/brands.js';
import { hasFactoryFeature } from '../../blip/features.js';
import { reply, type Reply } from '../runtime/json-read.js';
import type { Rpc } from '../runtime/rpc-client.js';
import { LightningError, type ChainBackendConfig, type NodeApi, type NodeConfig, type NodeInfo, type Peer } from './lightning.js';
import { networkOf } from './networks.js';

export const readInfo = async (rpc: Rpc): Promise<NodeInfo> => {
  const info = reply('getinfo', await rpc.call('getinfo'));
  const network = info.str('network');
  return {
    nodeId: nodeId(info.str('id'), 'getinfo.id'),
    network,
    chainHash: networkOf(network).chainHash,
    height: info.int('blockheight'),
    lightningDir: info.str('lightning-dir'),
    synced: !info.has('warning_bitcoind_sync') && !info.has('warning_lightningd_sync'),
    version: info.str('version'),
  };
};

const readPeer = (peer: Reply): Peer => {
  const connected = peer.bool('connected');
  const features = hex((connected ? peer.optHex('features') : undefined) ?? '', 'listpeers.features');
  return { id: nodeId(peer.str('id'), 'listpeers.id'), connected, features, supportsFactories: hasFactoryFeature(features) };
};

const readPeers = async (rpc: Rpc, id?: NodeId): Promise<readonly Peer[]> =>
  reply('listpeers', await rpc.call('listpeers', id === undefined ? {} : { id })).objs('peers').map(readPeer);

/** `host`, `host:port`, `[IPv6]` or `[IPv6]:port`, as bitcoin-cli takes it; an IPv6 address without brackets has no port. */
const hostAndPort = (text: string): { readonly host: string; readonly port?: number } => {
  const [, bracketed, plain, port] = /^(?:\[([^\]]+)\]|([^:]+))(?::([0-9]{1,5}))?$/.exec(text) ?? [];
  return { host: bracketed ?? plain ?? text, ...(port === undefined ? {} : { port: Number(port) }) };
};

/** bitcoind as bcli's options have it; what they leave out is bitcoind's default, or in its own configuration file. */
const readBackend = (configs: Reply, network: string): ChainBackendConfig => {
  const text = (name: string): string | undefined => configs.optObj(name)?.optStr('value_str');
  const user = text('bitcoin-rpcuser');
  const password = text('bitcoin-rpcpassword');
  const dataDir = text('bitcoin-datadir');
  const { host, port } = hostAndPort(text('bitcoin-rpcconnect') ?? '127.0.0.1');
  return {
    host,
    port: configs.optObj('bitcoin-rpcport')?.optInt('value_int') ?? port ?? networkOf(network).rpcPort,
    ...(user === undefined ? {} : { user }),
    ...(password === undefined ? {} : { password }),
    ...(dataDir === undefined ? {} : { dataDir }),
  };
};

export const readConfig = async (rpc: Rpc): Promise<NodeConfig> => {
  const [{ network }, answer] = await Promise.all([readInfo(rpc), rpc.call('listconfigs')]);
  const configs = reply('listconfigs', answer).obj('configs');
  const wallet = configs.optObj('wallet')?.optStr('value_str');
  return {
    chainBackend: readBackend(configs, network),
    cltvFinal: configs.obj('cltv-final').int('value_int'),
    cltvDelta: configs.obj('cltv-delta').int('value_int'),
    emergencyReserve: sat((configs.obj('min-emergency-msat').msat('value_msat') + 999n) / 1000n, 'min-emergency-msat'),
    developer: configs.optObj('developer')?.optBool('set') ?? false,
    ...(wallet === undefined ? {} : { wallet }),
  };
};

const sameKey = (a: readonly unknown[], b: readonly string[]): boolean => a.length === b.length && a.every((part, i) => part === b[i]);

export const nodeApi = (rpc: Rpc): NodeApi => ({
  info: () => readInfo(rpc),
  config: () => readConfig(rpc),
  peers: () => readPeers(rpc),
  peer: async (id) => (await readPeers(rpc, id)).find((peer) => peer.id === id),

  sendMessage: async (to: NodeId, message: Hex) => {
    await rpc.call('sendcustommsg', { node_id: to, msg: message });
  },

  secret: async (label) => {
    const bytes = hexCoder.decode(reply('makesecret', await rpc.call('makesecret', { string: label })).hex('secret'));
    if (bytes.length !== 32) throw new LightningError('protocol', `makesecret: ${bytes.length} bytes instead of 32`, 'secret');
    return bytes;
  },

  datastoreGet: async (key) => {
    const entries = reply('listdatastore', await rpc.call('listdatastore', { key })).objs('datastore');
    const entry = entries.find((candidate) => sameKey(candidate.arr('key'), key));
    // A key that only has children is listed, too, without a value.
    return entry?.has('hex') === true ? { value: hex(entry.hex('hex')), generation: entry.int('generation') } : undefined;
  },

  datastoreSet: async (key, value, expect) => {
    const mode = expect === undefined ? 'create-or-replace' : expect === 'absent' ? 'must-create' : 'must-replace';
    const generation = typeof expect === 'number' ? { generation: expect } : {};
    const written = reply('datastore', await rpc.call('datastore', { key, hex: value, mode, ...generation }));
    return written.int('generation');
  },
});
