/**
 * What commands refuse: each with a code and the field to blame, and without a trace. Every case goes through the command
 * and through `check`, by name and, where that is possible, by position.
 */
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { FACTORY_FEATURE_BITS } from '../../blip/features.js';
import { InProcessPlugin } from '../fixtures/in-process-plugin.js';
import { Cluster } from '../harness/cluster.js';
import type { LightningNode } from '../harness/lightningd.js';
import { activeFactory, createFactory, factoryState, lspSees, rpcError, writtenBy } from './factory-helpers.js';

jest.setTimeout(240_000);

const INVALID = -32602;
const UNKNOWN_ID = 'ab'.repeat(32);
/** A point nobody has connected to. */
const STRANGER = '0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798';

/** The parameters in the order of the usage line. */
const ORDER: Readonly<Record<string, readonly string[]>> = {
  'factory-create': ['clients', 'capacity', 'stock', 'request_id', 'min_clients', 'feerate', 'active_blocks', 'dying_blocks', 'shape', 'dry_run'],
  'factory-status': ['factory_id'],
  'factory-tree': ['factory_id', 'format'],
  'factory-verify': ['factory_id'],
  'factory-close': ['factory_id', 'feerate'],
  'factory-exit': ['factory_id', 'node_id'],
  'factory-plan': ['clients', 'factory_id', 'feerate', 'shape', 'overrides'],
};

interface Case {
  readonly command: string;
  readonly params: Readonly<Record<string, unknown>>;
  readonly code: number;
  readonly field: string | undefined;
}

const positional = ({ command, params }: Case): readonly unknown[] | undefined => {
  const order = ORDER[command] ?? [];
  if (Object.keys(params).some((name) => !order.includes(name))) return undefined;
  const last = Math.max(-1, ...Object.keys(params).map((name) => order.indexOf(name)));
  return order.slice(0, last + 1).map((name) => params[name] ?? null);
};

/** All the ways to ask for it end in the same error. */
const refuses = async (node: LightningNode, c: Case): Promise<void> => {
  const list = positional(c);
  const calls: readonly (() => Promise<unknown>)[] = [
    () => node.call(c.command, c.params),
    () => node.call('check', { command_to_check: c.command, ...c.params }),
    ...(list === undefined ? [] : [() => node.call(c.command, list), () => node.call('check', [c.command, ...list])]),
  ];
  for (const [way, call] of calls.entries()) {
    const { code, data, message } = await rpcError(call());
    const field = (data as { readonly field?: string } | undefined)?.field;
    expect({ params: c.params, way, code, field, message }).toMatchObject({ way, code: c.code, ...(c.field === undefined ? {} : { field: c.field }) });
    if (c.field !== undefined) expect(message).toContain(c.field);
  }
};

describe('bad input', () => {
  let cluster: Cluster;
  /** Has neither the feature bit nor the plugin. */
  let plain: LightningNode;
  /** Has the feature bit, and says nothing. */
  let mute: LightningNode;
  /** A client with the plugin that has never been connected to the LSP. */
  let apart: LightningNode;
  const toy = new InProcessPlugin(() => ({ name: 'mute', featurebits: { init: FACTORY_FEATURE_BITS, node: FACTORY_FEATURE_BITS }, custommessages: [32_800] }));

  beforeAll(async () => {
    await toy.start();
    cluster = await Cluster.start({ clients: 3, outsider: false, lspCoins: [20_000_000n], plugin: { lsp: { 'factory-min-depth': 1, 'factory-step-timeout': 20 }, client: {} } });
    [plain, mute, apart] = await Promise.all([
      cluster.addNode('plain'),
      cluster.addNode('mute', false, { plugin: toy.executable }),
      cluster.addNode('apart', { 'factory-accept': cluster.lsp.id }),
    ]);
    await Promise.all([plain, mute].map((node) => node.connect(cluster.lsp)));
    await lspSees(cluster);
  }, 240_000);
  afterAll(async () => {
    try {
      await cluster.stop();
    } finally {
      await toy.stop();
    }
  }, 240_000);

  const ids = (): string[] => cluster.clients.map((client) => client.id);

  /** Runs cases, and compares everything the LSP could have changed. */
  const untouched = async (cases: readonly Case[], node = cluster.lsp): Promise<void> => {
    const before = await writtenBy(node);
    for (const one of cases) await refuses(node, one);
    expect(await writtenBy(node)).toEqual(before);
  };
  const create = (field: string | undefined, params: Readonly<Record<string, unknown>>, code = INVALID): Case => ({
    command: 'factory-create',
    params: { clients: ids(), capacity: 100_000, ...params },
    code,
    field,
  });

  test('clients: not a list of nodes, doubled, this node itself, too few', () =>
    untouched([
      { command: 'factory-create', params: { capacity: 100_000 }, code: INVALID, field: 'clients' },
      ...[[], 'abc', 7, {}, true].map((clients) => create('clients', { clients })),
      create('clients', { clients: ids().slice(2) }),
      ...['', 'xyz', '02abcd', '05' + '11'.repeat(32), 12, null, []].map((bad) => create('clients[1]', { clients: [ids()[0], bad] })),
      create('clients[2]', { clients: [ids()[0], ids()[1], ids()[0]] }),
      create('clients[1]', { clients: [ids()[0], { node_id: ids()[0]!.toUpperCase() }] }),
      create('clients[1]', { clients: [ids()[0], cluster.lsp.id] }),
      create('clients[0].node_id', { clients: [{ capacity: 100_000 }, ids()[1]] }),
      create('clients[0].capcity', { clients: [{ node_id: ids()[0], capcity: 1 }, ids()[1]] }),
      create('clients[0].capacity', { clients: [{ node_id: ids()[0], capacity: -1 }, ids()[1]] }),
      create('clients[0].stock', { clients: [{ node_id: ids()[0], stock: 'lots' }, ids()[1]] }),
    ]));

  test('clients: unknown, not connected, without bLIP-56, without our protocol', async () => {
    await untouched([
      create('clients[1]', { clients: [ids()[0], STRANGER] }, 306),
      create('clients[2]', { clients: [ids()[0], ids()[1], apart.id] }, 306),
      create('clients[0]', { clients: [plain.id, ids()[0]] }, 3003),
    ]);
    // It is given five seconds to name its protocols, so this one is tried once, without the other ways to ask.
    const before = await writtenBy(cluster.lsp);
    const silent = rpcError(cluster.lsp.call('factory-create', { clients: [ids()[0], mute.id], capacity: 100_000 }));
    const { message, ...refusal } = await silent;
    expect(refusal).toMatchObject({ code: 3003, data: { field: 'clients[1]', node_id: mute.id } });
    expect(message).toContain('supported_factory_protocols');
    expect(await writtenBy(cluster.lsp)).toEqual(before);
  });

  test('capacity and stock: no amount, negative, fractional, too small, dust, more than there is', () =>
    untouched([
      { command: 'factory-create', params: { clients: ids() }, code: INVALID, field: 'capacity' },
      ...[-1, 1.5, 0, 1, 9_999, 'many', '', '12 apples', '100000.5', '100000.5sat', '10000000001msat', '-5sat', 1e30, 2_100_000_000_000_001, '99999999999999999999', true, [], {}].map(
        (capacity) => create('capacity', { capacity }),
      ),
      ...[-1, 0.5, 1, 329, '329sat', 'x', 1e30, 2_100_000_000_000_001, false].map((stock) => create('stock', { stock })),
      create('capacity', { clients: [ids()[0], { node_id: ids()[1], capacity: 5_000 }] }),
      create('stock', { clients: [ids()[0], { node_id: ids()[1], stock: 100 }] }),
    ]));

  test('more than the wallet holds: it says how much is missing', async () => {
    await untouched([create('capacity', { capacity: 50_000_000 }, 301), create('capacity', { capacity: 1_000_000_000_000 }, 301), create('capacity', { stock: '0.2btc' }, 301)]);
    const { data } = await rpcError(createFactory(cluster, { capacity: 50_000_000n }));
    const { needed_msat: needed, missing_msat: missing } = data as { needed_msat: number; missing_msat: number };
    expect(needed).toBeGreaterThan(150_000_000_000);
    expect(needed).toBeLessThan(150_010_000_000);
    // What is missing: the difference to the wallet, the fee and CLN's emergency reserve.
    expect(missing - (needed - 20_000_000_000)).toBeGreaterThan(0);
    expect(missing - (needed - 20_000_000_000)).toBeLessThan(100_000_000);
  });

  test('heights, feerates, shapes, min_clients, the rest', () =>
    untouched([
      ...[0, 999, 1_000_001, -1, 'fast', 1.5, '2000perfoo', '', 1e12].map((feerate) => create('feerate', { feerate })),
      ...[0, -1, 52_561, 1e9, 1e20, 'long', 0.5].flatMap((blocks) => [create('active_blocks', { active_blocks: blocks }), create('dying_blocks', { dying_blocks: blocks })]),
      ...['2', '1x3', '0', '17', '3x', 'x', 'a', [], [2], ['three'], '1', 2, {}, Array.from({ length: 10 }, () => 2).join('x')].map((shape) => create('shape', { shape })),
      ...[0, 1, 4, 1_001, -3, 'all', 2.5].map((min) => create('min_clients', { min_clients: min })),
      ...['x'.repeat(129), {}, [], true].map((id) => create('request_id', { request_id: id })),
      ...['maybe', 2, []].map((dry) => create('dry_run', { dry_run: dry })),
      create('capcity', { capcity: 5 }),
      create('settling_blocks', { settling_blocks: 5 }),
    ]));

  test('too many positional parameters', async () => {
    const before = await writtenBy(cluster.lsp);
    const eleven = [ids(), 100_000, 0, 'r', 2, 2_000, 100, 100, '3', true, 'one more'];
    await expect(rpcError(cluster.lsp.call('factory-create', eleven))).resolves.toMatchObject({ code: INVALID });
    await expect(rpcError(cluster.lsp.call('factory-list', [1]))).resolves.toMatchObject({ code: INVALID });
    expect(await writtenBy(cluster.lsp)).toEqual(before);
  });

  test('ids: malformed and unknown ones', () =>
    untouched([
      ...['factory-status', 'factory-tree', 'factory-verify', 'factory-close', 'factory-exit'].flatMap((command) => [
        ...['', 'abc', 'zz'.repeat(32), 'ab'.repeat(31), 'ab'.repeat(33), 5, [], {}, true].map((id) => ({ command, params: { factory_id: id }, code: INVALID, field: 'factory_id' })),
        { command, params: { factory_id: UNKNOWN_ID }, code: 3000, field: 'factory_id' },
      ]),
      ...['factory-tree', 'factory-close', 'factory-exit'].map((command) => ({ command, params: {}, code: INVALID, field: 'factory_id' })),
      { command: 'factory-tree', params: { factory_id: UNKNOWN_ID, format: 'svg' }, code: INVALID, field: 'format' },
      { command: 'factory-close', params: { factory_id: UNKNOWN_ID, feerate: 'slow' }, code: INVALID, field: 'feerate' },
      { command: 'factory-exit', params: { factory_id: UNKNOWN_ID, node_id: 'me' }, code: INVALID, field: 'node_id' },
      ...[0, 1, 513, -1, 'x', 1e9].map((clients) => ({ command: 'factory-plan', params: { clients }, code: INVALID, field: 'clients' })),
      { command: 'factory-plan', params: { clients: 20, shape: '4x4' }, code: INVALID, field: 'shape' },
      { command: 'factory-plan', params: { clients: 20, feerate: 'x' }, code: INVALID, field: 'feerate' },
      { command: 'factory-plan', params: { clients: 'rotate' }, code: INVALID, field: 'factory_id' },
      { command: 'factory-plan', params: { clients: 20, factory_id: UNKNOWN_ID }, code: INVALID, field: 'factory_id' },
      { command: 'factory-plan', params: { clients: 20, overrides: [{ node_id: '02' }] }, code: INVALID, field: undefined },
      ...['factory-list', 'factory-status', 'factory-plan'].map((command) => ({ command, params: { clients: 5, bogus: 1 }, code: INVALID, field: undefined })),
    ]));

  test('check says yes to what would be done, by name and by position, in any unit, and does nothing', async () => {
    const { lsp } = cluster;
    const before = await writtenBy(lsp);
    const client = { node_id: ids()[0], capacity: '0.001btc', stock: '1000sat' };
    for (const params of [
      { clients: ids(), capacity: 100_000 },
      { clients: [client, ids()[1], { node_id: ids()[2] }], capacity: '100000sat', stock: '330000msat', shape: [3], feerate: '500perkw', min_clients: 2 },
      { clients: ids(), capacity: '0.001btc', stock: 0, request_id: 17, active_blocks: '100', dying_blocks: 10, shape: '2x2', dry_run: 'true' },
    ]) {
      await expect(lsp.call('check', { command_to_check: 'factory-create', ...params })).resolves.toMatchObject({ command_to_check: 'factory-create' });
    }
    await lsp.call('check', ['factory-create', ids(), '100000000msat', null, null, 2]);
    for (const command of ['factory-list', 'factory-status', 'factory-verify']) await lsp.call('check', [command]);
    await lsp.call('check', ['factory-plan', 5]);
    // The same amounts, said in different units, are the same.
    const previews = await Promise.all([100_000, '100000', '100000sat', '100000000msat', '0.001btc'].map((capacity) => lsp.call('factory-create', { clients: ids(), capacity, dry_run: true })));
    for (const preview of previews) expect(preview).toEqual(previews[0]);
    await expect(lsp.call('factory-create', [ids(), 100_000, null, null, null, null, null, null, null, true])).resolves.toEqual(previews[0]);
    expect(await writtenBy(lsp)).toEqual(before);
  });

  test('the same request twice at once is one factory; a second one meanwhile is refused', async () => {
    const { lsp } = cluster;
    const [one, two, other] = await Promise.all([
      createFactory(cluster, { capacity: 100_000n, requestId: 'twice' }),
      createFactory(cluster, { capacity: 100_000n, requestId: 'twice' }),
      rpcError(createFactory(cluster, { capacity: 100_000n })),
    ]);
    expect(two).toEqual(one);
    expect(other).toMatchObject({ code: 3004, data: { factory_id: one.factory_id } });
    expect((await lsp.call('factory-list')).factories).toHaveLength(1);
    const again = await writtenBy(lsp);
    await expect(createFactory(cluster, { capacity: 100_000n, requestId: 'twice' })).resolves.toEqual(one);
    for (const more of [{ capacity: 100_001n }, { stock: 500n }, { minClients: 2 }, { clients: cluster.clients.slice(1) }]) {
      const refused = rpcError(createFactory(cluster, { capacity: 100_000n, requestId: 'twice', ...more }));
      await expect(refused).resolves.toMatchObject({ code: 3005, data: { field: 'request_id' } });
    }
    expect(await writtenBy(lsp)).toEqual(again);
  });

  test('before the confirmation: nothing to close, nothing to leave', async () => {
    const [factory] = (await cluster.lsp.call('factory-list')).factories;
    const params = { factory_id: factory!.factory_id };
    for (const node of [cluster.lsp, cluster.client(0)]) {
      await untouched([{ command: 'factory-exit', params, code: 3001, field: undefined }], node);
    }
    await untouched([{ command: 'factory-close', params, code: 3001, field: undefined }]);
    await cluster.confirm(factory!.funding_txid);
    for (const node of [cluster.lsp, ...cluster.clients]) await node.waitFor('active', async () => (await factoryState(node, factory!.factory_id)) === 'active');
  });

  test('while it is active: a member cannot close, strangers cannot leave, nobody closes without all', async () => {
    const [factory] = (await cluster.lsp.call('factory-list')).factories;
    const params = { factory_id: factory!.factory_id };
    await untouched([{ command: 'factory-close', params, code: 3001, field: undefined }], cluster.client(0));
    await untouched([
      { command: 'factory-exit', params: { ...params, node_id: plain.id }, code: INVALID, field: 'node_id' },
      { command: 'factory-close', params: { ...params, feerate: 10 }, code: INVALID, field: 'feerate' },
    ]);
    await untouched([{ command: 'factory-exit', params: { ...params, node_id: cluster.client(1).id }, code: INVALID, field: 'node_id' }], cluster.client(0));
    await cluster.client(2).stop();
    await cluster.lsp.waitFor('the client to be away', async (lsp) => (await lsp.call('listpeers')).peers.some((p) => p.id === ids()[2] && !p.connected));
    await untouched([{ command: 'factory-close', params, code: 305, field: undefined }, create('clients[2]', {}, 305)]);
    const { data } = await rpcError(cluster.lsp.call('factory-close', params));
    expect(data).toMatchObject({ missing: [ids()[2]] });
    await cluster.client(2).resume();
    await cluster.lsp.waitForPeer(cluster.client(2));
  });

  test('after a close there is nothing to leave, after an exit nothing to close', async () => {
    const { lsp } = cluster;
    const [first] = (await lsp.call('factory-list')).factories;
    const closed = (await lsp.call('factory-close', { factory_id: first!.factory_id })) as { readonly txid: string };
    await cluster.confirm(closed.txid);
    await lsp.waitFor('closed', async () => (await factoryState(lsp, first!.factory_id)) === 'closed');
    await lsp.waitFor('its channels to be retired', async () => (await lsp.channels()).every((c) => c.state === 'CLOSINGD_COMPLETE'));
    await untouched([{ command: 'factory-exit', params: { factory_id: first!.factory_id }, code: 3001, field: undefined }]);

    const second = await activeFactory(cluster, { capacity: 100_000n });
    await lsp.call('factory-exit', { factory_id: second.factory_id, node_id: ids()[0] });
    await untouched([{ command: 'factory-close', params: { factory_id: second.factory_id }, code: 3001, field: undefined }]);
  });
});
