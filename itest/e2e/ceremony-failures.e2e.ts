/**
 * Clients that fail, each in its own way, at every step of a creation: the LSP says who and why, goes on without them if
 * that was allowed, and in no case keeps a coin or a channel that belongs to nothing.
 */
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import type { Hex, PartialSignature, PubKey, PublicNonce, Script } from '../../blip/brands.js';
import { Hostile, instead, type Mischief } from '../fixtures/hostile.js';
import { whenLogged } from '../fixtures/when-logged.js';
import { Cluster } from '../harness/cluster.js';
import type { LightningNode } from '../harness/lightningd.js';
import { ErrorCode } from '../../plugin/commands/errors.js';
import { RpcError } from '../harness/rpc.js';
import { createFactory, factoryState, lspSees, openChannels, reservedCoins, rpcError } from './factory-helpers.js';

jest.setTimeout(120_000);

/** Seconds a client has for an answer here. */
const PATIENCE = 4;
const CAPACITY = 100_000n;

const GARBAGE = '80200004deadbeef' as Hex;
const NO_POINT = `02${'ff'.repeat(32)}`;
const NO_NONCE = (NO_POINT + NO_POINT) as PublicNonce;
/** Another number than the one given, of the same size. */
const other = <T extends string>(hex: T): T => `${hex.slice(0, -1)}${hex.endsWith('0') ? '1' : '0'}` as T;
const abort = { type: 'abort', code: 1, reason: 'changed my mind' } as const;

/** What a client does, and what the LSP says of it then. */
const MISBEHAVIOURS: readonly (readonly [string, Mischief, RegExp])[] = [
  ['answers an invitation with garbage', instead('join', () => GARBAGE), /^no answer to the invitation within 4 s$/],
  ['joins with a key that is no point', instead('join', (m) => ({ ...m, key: NO_POINT as PubKey })), /^join\.key: /],
  ['joins with a payout that a signature alone cannot spend', instead('join', (m) => ({ ...m, payoutScript: '51' as Script })), /^join\.payoutScript: /],
  ['has second thoughts instead of joining', instead('join', () => abort), /^aborted: changed my mind$/],
  ['sends too few nonces', instead('nonces', (m) => ({ ...m, nonces: m.nonces.slice(1) })), /^sent 1 nonces, expected 2$/],
  ['sends too many nonces', instead('nonces', (m) => ({ ...m, nonces: [...m.nonces, ...m.nonces] })), /^sent 4 nonces, expected 2$/],
  ['sends nonces that are no points', instead('nonces', (m) => ({ ...m, nonces: m.nonces.map(() => NO_NONCE) })), /^sent an invalid nonce$/],
  ['sends garbage for nonces', instead('nonces', () => GARBAGE), /^no valid answer to spec within 4 s$/],
  ['sends no nonces', instead('nonces', () => undefined), /^no valid answer to spec within 4 s$/],
  ['aborts when it should sign', instead('partials', () => abort), /^aborted: changed my mind$/],
  ['signs badly', instead('partials', (m) => ({ ...m, partials: m.partials.map(other) })), /^sent a bad partial signature for [0-9a-f]{64}$/],
  ['signs with a number out of range', instead('partials', (m) => ({ ...m, partials: m.partials.map(() => 'ff'.repeat(32) as PartialSignature) })), /^sent a bad partial signature for /],
  ['signs one transaction too few', instead('partials', (m) => ({ ...m, partials: m.partials.slice(1) })), /^sent 1 partial signatures, expected 2$/],
  ['does not sign', instead('partials', () => undefined), /^no valid answer to aggregate_nonces within 4 s$/],
  ['does not store', instead('stored', () => undefined), /^no valid answer to signatures within 4 s$/],
  ['does not expect the channel', instead('open_ready', () => undefined), /^its channel was not ready within 4 s \(intent\)$/],
  ['signs its leaf badly', instead('leaf_partial', (m) => ({ ...m, partial: other(m.partial) })), /^sent a bad partial signature for its leaf$/],
  ['signs its leaf with a nonce that is no point', instead('leaf_partial', (m) => ({ ...m, nonce: NO_NONCE })), /^sent an invalid nonce or partial signature for its leaf$/],
  ['does not sign its leaf', instead('leaf_partial', () => undefined), /^its channel was not ready within 4 s \(signing\)$/],
  ['does not store its leaf', instead('leaf_stored', () => undefined), /^its channel was not ready within 4 s \(storing\)$/],
  ['does not like its channel', instead('ready', () => abort), /^aborted: changed my mind$/],
  ['says nothing of its channel', instead('ready', () => undefined), /^its channel was not ready within 4 s \(auditing\)$/],
];

describe('clients that fail', () => {
  let cluster: Cluster;
  const hostile = new Hostile();
  /** Does what a test wants. */
  let rogue: LightningNode;
  /** Takes no invitations. */
  let shy: LightningNode;
  /** Its node takes no channel this small. */
  let picky: LightningNode;
  /** Channels of the factories that have come to be, by node: nothing else may be open. */
  const alive: string[] = [];

  beforeAll(async () => {
    await hostile.start();
    cluster = await Cluster.start({ clients: 3, outsider: false, lspCoins: [20_000_000n, 20_000_000n], plugin: { lsp: { 'factory-min-depth': 1, 'factory-step-timeout': PATIENCE }, client: {} } });
    const { lsp } = cluster;
    [rogue, shy, picky] = await Promise.all([
      cluster.addNode('rogue', false, { plugin: hostile.executable, 'factory-accept': lsp.id }),
      cluster.addNode('shy', { 'factory-accept': 'none' }),
      cluster.addNode('picky', { 'factory-accept': lsp.id }, { 'min-capacity-sat': 10_000_000 }),
    ]);
    await Promise.all([rogue, shy, picky].map((node) => node.connect(lsp)));
  }, 240_000);
  afterAll(async () => {
    try {
      await cluster.stop();
    } finally {
      await hostile.stop();
    }
  }, 240_000);

  const honest = (): readonly LightningNode[] => cluster.clients.slice(0, 2);

  /** Nothing is left of what failed: not at the LSP, not at the clients. */
  const clean = async (nodes: readonly LightningNode[] = [cluster.lsp, ...honest()]): Promise<void> => {
    expect(await reservedCoins(cluster.lsp)).toBe(0);
    for (const node of nodes) {
      await node.waitFor('no channel but those of factories', async () => (await openChannels(node)).every((id) => alive.includes(id)));
      await node.waitFor('no ceremony', async () => (await node.call('factory-list')).factories.every((f) => f.state === 'active' || f.state === 'aborted'));
    }
  };

  /** The factory comes to be, without those, for these reasons. */
  const without = async (call: ReturnType<typeof createFactory>, excluded: readonly (readonly [LightningNode, RegExp])[]): Promise<void> => {
    const created = await call;
    const reasons = new Map((created.excluded ?? []).map((x) => [x.node_id, x.reason]));
    expect([...reasons.keys()].sort()).toEqual(excluded.map(([node]) => node.id).sort());
    for (const [node, reason] of excluded) expect(reasons.get(node.id)).toMatch(reason);
    expect(created.channels.map((c) => c.node_id).sort()).toEqual(honest().map((c) => c.id).sort());
    alive.push(...created.channels.map((c) => c.channel_id));
    await cluster.confirm(created.funding_txid);
    for (const node of [cluster.lsp, ...honest()]) await node.waitFor('active', async () => (await factoryState(node, created.factory_id)) === 'active');
    await clean();
  };
  /** Two nodes that dial each other at once, after one was away, may drop what they have just made: then once more. */
  const createWith = async (...failing: readonly LightningNode[]): ReturnType<typeof createFactory> => {
    const clients = [...honest(), ...failing];
    for (;;) {
      await lspSees(cluster, clients);
      try {
        return await createFactory(cluster, { clients, capacity: CAPACITY, minClients: 2 });
      } catch (error) {
        if (!(error instanceof RpcError && error.code === ErrorCode.PeerNotConnected)) throw error;
      }
    }
  };

  /** Nothing comes to be when all were wanted, and it is said who and why. */
  const givenUp = async (culprit: LightningNode, reason: RegExp): Promise<void> => {
    const { lsp, bitcoind } = cluster;
    const funds = (await lsp.call('listfunds')).outputs;
    const { code, message, data } = await rpcError(createFactory(cluster, { clients: [...honest(), culprit], capacity: CAPACITY }));
    expect(code).toBe(3002);
    const { factory_id: id, excluded } = data as { factory_id: string; excluded: readonly { node_id: string; reason: string }[] };
    expect(excluded).toEqual([{ node_id: culprit.id, reason: expect.stringMatching(reason) }]);
    expect(message).toContain(culprit.id);
    expect(message).toContain(excluded[0]!.reason);
    expect(await factoryState(lsp, id)).toBe('aborted');
    await lsp.waitFor('its coins', async () => (await reservedCoins(lsp)) === 0);
    await clean();
    expect((await lsp.call('listfunds')).outputs).toEqual(funds);
    expect(await bitcoind.call('getrawmempool')).toEqual([]);
  };

  test('one that takes no invitations', async () => {
    await without(createWith(shy), [[shy, /^declined: this node does not take invitations/]]);
    await givenUp(shy, /^declined: /);
    expect((await shy.call('factory-list')).factories).toEqual([]);
  });

  test('one whose node refuses the channel', async () => {
    await without(createWith(picky), [[picky, /^its channel could not be opened: .*10000000/]]);
    await givenUp(picky, /^its channel could not be opened: /);
    await clean([picky]);
  });

  test.each(MISBEHAVIOURS)('one that %s', async (_, mischief, reason) => {
    hostile.set(rogue, mischief);
    await without(createWith(rogue), [[rogue, reason]]);
    expect(await openChannels(cluster.lsp, rogue)).toEqual([]);
  });

  test.each(MISBEHAVIOURS.filter(([what]) => /joins with a key|no points|signs badly|its leaf badly|does not like/.test(what)))('one that %s, when all were wanted', async (_, mischief, reason) => {
    hostile.set(rogue, mischief);
    await givenUp(rogue, reason);
  });

  test('one that says everything twice, to other factories and in other attempts', async () => {
    hostile.set(rogue, {
      send: (honestly) => {
        const { header, message } = honestly;
        return [
          { header: { ...header, attempt: header.attempt + 7 }, message },
          { header: { ...header, instanceId: header.instanceId.replace(/^../, (x) => (x === '00' ? '01' : '00')) as typeof header.instanceId }, message },
          GARBAGE,
          honestly,
          honestly,
          { header, message: { type: 'published', fundingTxid: 'ab'.repeat(32) as never } },
        ];
      },
    });
    const created = await createWith(rogue);
    expect(created.excluded).toBeUndefined();
    expect(created.channels).toHaveLength(3);
    alive.push(...created.channels.map((c) => c.channel_id));
    await cluster.confirm(created.funding_txid);
    for (const node of [cluster.lsp, ...honest()]) await node.waitFor('active', async () => (await factoryState(node, created.factory_id)) === 'active');
    await clean();
  });

  test('one that hangs up while its channel opens', async () => {
    const { lsp } = cluster;
    hostile.set(rogue, {
      send: async ({ message }, rpc) => {
        if (message.type === 'leaf_stored') await rpc.call('disconnect', { id: lsp.id, force: true });
        return undefined;
      },
    });
    await without(createWith(rogue), [[rogue, /^its channel (was not ready within 4 s|could not be opened)/]]);
    await rogue.connect(lsp);
  });

  const VANISHING: readonly (readonly [string, (id: string) => RegExp, RegExp])[] = [
    ['is invited', (id) => new RegExp(`-> ${id}: invite`), /^no answer to the invitation within 4 s$/],
    ['has joined', (id) => new RegExp(`<- ${id}: join`), /^no valid answer to (spec|aggregate_nonces) within 4 s$/],
    ['should sign', (id) => new RegExp(`-> ${id}: aggregate_nonces`), /^no valid answer to (aggregate_nonces|signatures) within 4 s$/],
    ['has signed', (id) => new RegExp(`-> ${id}: signatures`), /^(no valid answer to signatures within 4 s|its channel (was not ready within 4 s|could not be opened))/],
    ['opens its channel', (id) => new RegExp(`<- ${id}: open_ready`), /^its channel (was not ready within 4 s|could not be opened)/],
    ['signs its leaf', (id) => new RegExp(`-> ${id}: leaf_signature`), /^its channel (was not ready within 4 s|could not be opened)/],
    ['has stored its leaf', (id) => new RegExp(`<- ${id}: leaf_stored`), /^its channel (was not ready within 4 s|could not be opened)/],
  ];

  test.each(VANISHING)('one whose power fails when it %s', async (_, line, reason) => {
    const { lsp } = cluster;
    const victim = cluster.client(2);
    const moment = whenLogged(lsp, line(victim.id));
    const call = createWith(victim);
    await moment;
    await victim.kill();
    await without(call, [[victim, reason]]);
    await victim.resume();
    await victim.connect(lsp);
    await clean([lsp, victim]);
  });

  test('two at once, in two ways, at two steps', async () => {
    const { lsp } = cluster;
    const victim = cluster.client(2);
    await rogue.connect(lsp);
    hostile.set(rogue, instead('leaf_stored', () => undefined));
    const moment = whenLogged(lsp, new RegExp(`<- ${victim.id}: join`));
    const call = createWith(rogue, victim);
    await moment;
    await victim.kill();
    await without(call, [
      [victim, /^no valid answer to /],
      [rogue, /\(storing\)$/],
    ]);
    await victim.resume();
    await victim.connect(lsp);
    await clean([lsp, victim]);
  });

  test('after all that the wallet pays, and every factory is sound', async () => {
    const { lsp } = cluster;
    const sent = (await lsp.call('withdraw', { destination: (await lsp.call('newaddr', { addresstype: 'p2tr' })).p2tr, satoshi: 1_000_000 })) as { readonly txid: string };
    await cluster.confirm(sent.txid);
    for (const node of [lsp, ...cluster.clients]) expect(await node.call('factory-verify')).toMatchObject({ ok: true });
    await cluster.pay(lsp, cluster.client(0), 10_000_000);
    await cluster.settled();
  });
});
