/**
 * A stranger that floods an LSP and its clients with all that a peer can say, over the wire, while they make a factory and pay
 * through it: they do so unharmed, what was too much costs nothing, and the status says how much there was, and of whom.
 */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { hex, instanceId, sat, type Hex, type InstanceId } from '../../blip/brands.js';
import { encodeFactoryMessage } from '../../blip/factory-message.js';
import type { FactoryMessage } from '../../blip/messages.js';
import { encodeMessage } from '../../blip/protocol-codec.js';
import { FACTORY_PROTOCOL_ID } from '../../blip/protocol-id.js';
import { TERMS } from '../../factory-core/test/support/factory.js';
import { Cluster } from '../harness/cluster.js';
import type { LightningNode } from '../harness/lightningd.js';
import { activeFactory, openChannels } from './factory-helpers.js';

jest.setTimeout(240_000);

/** What a stranger is answered within a minute or two, at most. */
const FEW_ANSWERS = 12;
/** Factories it may begin with a client that takes everybody's invitations: 8, and one an hour. */
const FEW_FACTORIES = 9;

const random = (bytes: number): Hex => hex(randomBytes(bytes).toString('hex'));
const anyInstance = (): InstanceId => instanceId(random(32));

const said = (id: InstanceId, message: FactoryMessage): Hex =>
  encodeFactoryMessage({ kind: 'factory_piggyback', protocolId: FACTORY_PROTOCOL_ID, payload: encodeMessage({ header: { instanceId: id, attempt: 1 }, message }) });

const invitation = (): Hex =>
  said(anyInstance(), {
    type: 'invite',
    ...TERMS,
    capacity: sat(1_000_000n),
    stock: sat(0n),
    minClients: 2,
    maxClients: 10,
  });

/** One of each kind, then again. */
const KINDS: readonly ((target: InstanceId) => Hex)[] = [
  invitation,
  () => said(anyInstance(), { type: 'stored' }),
  () => said(anyInstance(), { type: 'abort', code: 1, reason: 'never mind' }),
  (target) => said(target, { type: 'close_request' }),
  (target) => said(target, { type: 'abort', code: 1, reason: 'it is over' }),
  () => encodeFactoryMessage({ kind: 'supported_factory_protocols', protocolIds: [FACTORY_PROTOCOL_ID] }),
  () => encodeFactoryMessage({ kind: 'factory_piggyback', protocolId: FACTORY_PROTOCOL_ID, payload: random(40_000) }),
  () => hex(`8020${random(300)}`),
];

interface NodeStatus {
  readonly received_messages: number;
  readonly ignored_messages: number;
  readonly dropped_messages: number;
  readonly unanswered_messages: number;
  readonly noisy_peers: readonly { readonly node_id: string; readonly received: number; readonly ignored: number; readonly dropped: number }[];
}
const nodeStatus = async (node: LightningNode): Promise<NodeStatus> => ((await node.call('factory-status')) as unknown as { readonly node: NodeStatus }).node;
const factories = async (node: LightningNode): Promise<number> => (await node.call('factory-list')).factories.length;

describe('a stranger that floods everybody', () => {
  let cluster: Cluster;
  let stranger: LightningNode;
  /** A client that takes everybody's invitations, and one that takes its LSP's. */
  let open: LightningNode;
  let careful: LightningNode;
  let all: readonly LightningNode[];
  let target = anyInstance();
  let flooding = true;
  let flood: Promise<number> | undefined;

  beforeAll(async () => {
    cluster = await Cluster.start({ clients: 1, outsider: false, plugin: { lsp: { 'factory-min-depth': 1 } } });
    careful = cluster.client(0);
    [open, stranger] = await Promise.all([cluster.addNode('open', { 'factory-accept': 'any' }), cluster.addNode('stranger', {})]);
    all = [cluster.lsp, careful, open];
    await open.connect(cluster.lsp);
    for (const node of all) await stranger.connect(node);
    flood = Promise.all(all.map(send)).then((counts) => counts.reduce((a, b) => a + b, 0));
  }, 240_000);
  afterAll(async () => {
    flooding = false;
    await flood?.catch(() => undefined);
    await cluster.stop();
  }, 240_000);

  /** Eight at a time, as fast as the stranger's node takes them. @returns how many */
  const send = async (node: LightningNode): Promise<number> => {
    let count = 0;
    while (flooding) {
      await Promise.all(KINDS.map((kind) => stranger.call('sendcustommsg', { node_id: node.id, msg: kind(target) })));
      count += KINDS.length;
    }
    return count;
  };

  test('the honest make a factory and pay, meanwhile', async () => {
    for (const node of all) await node.waitFor('the flood', async () => (await nodeStatus(node)).dropped_messages > 100);
    const pids = all.map((node) => node.pluginPid());
    const clients = [careful, open];
    const created = await activeFactory(cluster, { clients, more: { min_clients: 2 } });
    target = instanceId(created.factory_id);
    await cluster.pay(cluster.lsp, careful, 100_000_000);
    await cluster.pay(cluster.lsp, open, 100_000_000);
    await cluster.pay(careful, open, 10_000_000);
    await cluster.pay(open, careful, 20_000_000);
    // Some more of it, now that the stranger knows the factory.
    const before = await Promise.all(all.map(nodeStatus));
    for (const [i, node] of all.entries()) {
      await node.waitFor('more of it', async () => (await nodeStatus(node)).received_messages > (before[i]?.received_messages ?? 0) + 100);
      expect(node.pluginPid()).toBe(pids[i]);
    }
    for (const client of clients) {
      expect((await openChannels(client)).length).toBe(1);
      expect(await client.call('factory-verify')).toMatchObject({ ok: true });
    }
    await cluster.pay(careful, open, 1_000_000);
  });

  test('and the status says what was dropped, and of whom', async () => {
    flooding = false;
    const sent = await flood;
    expect(sent).toBeGreaterThan(500);
    for (const node of all) {
      const { received_messages: received, ignored_messages: ignored, dropped_messages: dropped, unanswered_messages: unanswered, noisy_peers: noisy } = await nodeStatus(node);
      expect(dropped).toBeGreaterThan(received / 2);
      expect(ignored).toBeGreaterThan(0);
      expect(unanswered).toBeGreaterThan(0);
      expect(noisy[0]).toMatchObject({ node_id: stranger.id });
      // Of the honest, nothing was dropped.
      expect(noisy.filter((n) => n.dropped > 0).map((n) => n.node_id)).toEqual([stranger.id]);
      expect(noisy[0]?.dropped).toBe(dropped);
    }
  });

  test('and it has cost them next to nothing: a few answers, a line in the log, and no more factories than one may begin', async () => {
    expect(await factories(cluster.lsp)).toBe(1);
    expect(await factories(careful)).toBe(1);
    expect(await factories(open)).toBeLessThanOrEqual(1 + FEW_FACTORIES);
    for (const node of all) {
      const lines = node.log().filter((line) => line.includes('plugin-cln-factory') && line.includes(stranger.id));
      expect(lines.filter((line) => /-> [0-9a-f]{66}: (abort|decline)/.test(line)).length).toBeLessThanOrEqual(FEW_ANSWERS);
      expect(lines.filter((line) => line.includes('sends more than it may'))).toHaveLength(1);
    }
  });
});
