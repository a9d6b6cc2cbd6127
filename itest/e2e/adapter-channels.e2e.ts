/** The adapter's channel methods, hooks and HTLC policy on either host: virtual channels on hand-made leaves. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { channelId, sat, type ChannelId, type Sat, type Script } from '../../blip/brands.js';
import type { SignedTx } from '../../factory-core/model.js';
import { signedHex } from '../../factory-core/transactions.js';
import { buildChild, COIN_INPUT } from '../../factory-core/cpfp.js';
import { minCltvExpiry } from '../../factory-core/htlc-policy.js';
import { LightningError, type Channel, type Lightning, type LightningErrorCode, type PreparedFunding, type Psbt } from '../../plugin/lightning/lightning.js';
import { AdapterLab, handMadeLeaf, idOf, OUR_SCRIPT, slotOf, type ToyState } from '../fixtures/adapter-lab.js';
import type { LightningNode } from '../harness/lightningd.js';
import { host } from '../harness/host.js';
import { clusterForSuite } from '../harness/suite.js';

const failure = async (promise: Promise<unknown>): Promise<LightningErrorCode | 'no failure'> => {
  try {
    await promise;
    return 'no failure';
  } catch (error) {
    if (error instanceof LightningError) return error.code;
    throw error;
  }
};

/** The stand-in knows nothing of BOLT 12. */
const withOffers = host().kind === 'real' ? test : test.skip;

describe('the adapter: virtual channels', () => {
  const lab = new AdapterLab();
  beforeAll(() => lab.start());
  const cluster = clusterForSuite({ clients: 1, plugin: false, options: { plugin: lab.executable } });
  afterAll(() => lab.stop());

  const AMOUNT = sat(5_000_000n);
  const EARLY_WARNING = 42;
  let lspNode: LightningNode;
  let clientNode: LightningNode;
  let lsp: Lightning;
  let client: Lightning;
  let lspToy: ToyState;
  let clientToy: ToyState;
  beforeAll(() => {
    lspNode = cluster().lsp;
    clientNode = cluster().client(0);
    [lsp, client] = [lab.lightning(lspNode), lab.lightning(clientNode)];
    [lspToy, clientToy] = [lab.toy(lspNode), lab.toy(clientNode)];
    clientToy.zeroConfFrom.add(idOf(lspNode));
  });

  /** Opens a withheld channel on a leaf of an output that nobody has published. */
  const open = async (prepared: PreparedFunding, amount: Sat = AMOUNT): Promise<{ leaf: SignedTx; channelScript: Script; id: ChannelId }> => {
    const peer = idOf(clientNode);
    const { script: channelScript } = await lsp.openStart({ peer, amount });
    const leaf = handMadeLeaf({ txid: prepared.txid, vout: prepared.vout }, amount, channelScript);
    const { channelId: id } = await lsp.openComplete({ peer, fundingTx: leaf.signable });
    return { leaf, channelScript, id };
  };
  const prepare = async (amount: Sat = AMOUNT): Promise<PreparedFunding> => {
    const { coins } = await lsp.selectCoins(slotOf(amount), 2_000);
    return lsp.prepareFunding({ script: OUR_SCRIPT, amount: slotOf(amount), coins, feerate: 2_000 });
  };
  const channel = async (of: Lightning, id: ChannelId): Promise<Channel> => {
    const [found] = await of.channels({ channelId: id });
    if (found === undefined) throw new Error(`no channel ${id}`);
    return found;
  };
  /** lightningd reconnects by itself, too: the two attempts may get into each other's way. */
  const reconnected = (node: LightningNode): Promise<boolean> =>
    lspNode.waitFor(`a connection to ${node.name}`, async () => {
      await lspNode.connect(node);
      return (await lsp.peer(idOf(node)))?.connected;
    });
  /** The script CLN's database holds for a channel; it may need a moment until it does. */
  const audited = (side: Lightning, { funding: outpoint }: Channel): Promise<Script> =>
    clientNode.waitFor('the channel in the database', async () => {
      try {
        return (await side.auditFundingKeys(outpoint)).script;
      } catch (error) {
        if (error instanceof LightningError && error.code === 'not_found') return undefined;
        throw error;
      }
    });

  let funding: PreparedFunding;
  let leaf: SignedTx;
  let id: ChannelId;

  test('an opening can be cancelled, more than once, and only our own is', async () => {
    const peer = idOf(clientNode);
    await lsp.openCancel(peer);
    await lsp.openStart({ peer, amount: AMOUNT });
    expect(clientToy.opens.at(-1)).toMatchObject({ peer: idOf(lspNode), amount: AMOUNT, pushed: 0n, channelType: [12, 22, 46, 50], private: true });
    expect(await failure(lsp.openStart({ peer, amount: AMOUNT }))).toBe('unavailable');
    expect(await lsp.channels({ peer })).toEqual([]);
    await lsp.openCancel(peer);
    await lsp.openCancel(peer);
    await lsp.openStart({ peer, amount: AMOUNT });
    await lsp.openCancel(peer);
    expect(await failure(lsp.openStart({ peer: idOf(cluster().outsider), amount: sat(1_000n) }))).toBe('rejected');
  });

  test('a fundee that does not trust the open refuses it or waits for confirmations', async () => {
    clientToy.zeroConfFrom.clear();
    expect(await failure(lsp.openStart({ peer: idOf(clientNode), amount: AMOUNT }))).toBe('rejected');
    clientToy.zeroConfFrom.add(idOf(lspNode));
  });

  test('a withheld channel opens on an unpublished leaf; both sides’ databases hold the script we were given', async () => {
    funding = await prepare();
    const opened = await open(funding);
    ({ leaf, id } = opened);
    // Both sides have it at once, in CHANNELD_AWAITING_LOCKIN for a moment: until the peers' channel_ready are through.
    await cluster().usable(lspNode, id);
    const ours = await channel(lsp, id);
    expect(ours).toMatchObject({ state: 'CHANNELD_NORMAL', withheld: true, opener: 'local', private: true, connected: true });
    expect(ours).toMatchObject({ toUs: AMOUNT * 1000n, total: AMOUNT * 1000n, ourReserve: 546_000n, theirReserve: 546_000n, htlcs: [] });
    expect(ours.funding).toEqual({ txid: leaf.signable.txid, vout: 0 });
    await cluster().usable(clientNode, id);
    const theirs = await channel(client, id);
    expect(theirs).toMatchObject({ withheld: false, opener: 'remote', toUs: 0n, localAlias: ours.remoteAlias, remoteAlias: ours.localAlias });
    for (const side of [lsp, client]) expect(await audited(side, ours)).toBe(opened.channelScript);
    expect(await failure(client.auditFundingKeys({ txid: leaf.signable.txid, vout: 1 }))).toBe('not_found');
  });

  test('a withheld channel is forgotten on demand, with its peer or without', async () => {
    const second = await prepare();
    const first = await open(second);
    await lsp.forgetWithheld(first.id);
    await lsp.forgetWithheld(first.id);
    expect(await lsp.channels({ channelId: first.id })).toEqual([]);
    expect(await failure(lsp.arm(first.leaf.signable))).toBe('not_found');
    const again = await open(second);
    await clientNode.stop();
    await lspNode.waitFor('the client to be gone', async () => (await lsp.peer(idOf(clientNode)))?.connected !== true);
    await lsp.forgetWithheld(again.id);
    expect(await lsp.channels({ channelId: again.id })).toEqual([]);
    expect(await failure(lsp.openStart({ peer: idOf(clientNode), amount: AMOUNT }))).toBe('not_connected');
    expect(await failure(lsp.freeze([id]))).toBe('not_connected');
    await lsp.thaw([id]);
    await clientNode.resume();
    await reconnected(clientNode);
    await lsp.releaseFunding(second);
    await cluster().usable(lspNode, id);
    await cluster().usable(clientNode, id);
  });

  test('arming clears the flag although the leaf cannot be broadcast, and survives a restart', async () => {
    await lsp.arm(leaf.signable);
    await lsp.arm(leaf.signable);
    expect((await channel(lsp, id)).withheld).toBe(false);
    expect(await failure(lsp.forgetWithheld(id))).toBe('rejected');
    await lspNode.restart();
    await reconnected(clientNode);
    await reconnected(cluster().outsider);
    expect((await channel(lsp, id)).withheld).toBe(false);
    await cluster().usable(cluster().outsider, (await cluster().outsider.channels())[0]!.channel_id);
    await cluster().usable(lspNode, id);
    await cluster().usable(clientNode, id);
  });

  test('an outsider pays the client’s invoice; its final CLTV delta is raised by name and by place', async () => {
    const { remoteAlias, localAlias } = await channel(client, id);
    clientToy.factoryChannels.set(localAlias!, { earlyWarning: EARLY_WARNING, active: true, frozen: false });
    lspToy.factoryChannels.set(id, { earlyWarning: EARLY_WARNING, active: true, frozen: false });
    // Nobody raises it: the LSP refuses to forward what the client would refuse, too.
    await expect(cluster().pay(cluster().outsider, clientNode, 1_000_000)).rejects.toThrow();
    expect(lspToy.failures.at(-1)).toMatch(/outgoing HTLC: it expires at \d+, before \d+/);
    const refused = lspToy.htlcs.at(-1)!;
    expect(refused.forward).toMatchObject({ channelId: id, shortChannelId: (await channel(lsp, id)).localAlias });
    expect(refused.forward!.cltvExpiry).toBeLessThan(minCltvExpiry(refused.height, EARLY_WARNING));

    clientToy.invoices = { earlyWarning: EARLY_WARNING, aliases: [remoteAlias!] };
    await cluster().pay(cluster().outsider, clientNode, 1_000_000_000);
    const arrived = clientToy.htlcs.at(-1)!;
    expect(arrived.incoming.shortChannelId).toBe(localAlias);
    expect(arrived.forward).toBeUndefined();
    expect(arrived.cltvExpiry).toBeGreaterThanOrEqual(minCltvExpiry(arrived.height, EARLY_WARNING));
    const byPlace = (await clientNode.call('invoice', [1000, 'by place', 'x'] as const)) as { bolt11: string };
    const decoded = (await clientNode.call('decode', { string: byPlace.bolt11 })) as { min_final_cltv_expiry: number; routes: { short_channel_id: string }[][] };
    expect(decoded.min_final_cltv_expiry).toBe(EARLY_WARNING + 13);
    expect(decoded.routes[0]![0]!.short_channel_id).toBe(remoteAlias);
    await cluster().pay(clientNode, cluster().outsider, 200_000_000);
  });

  test('an invoice names our channel once, whether CLN would have named it by itself or not', async () => {
    const hints = async (label: string): Promise<readonly string[]> => {
      const { bolt11 } = (await clientNode.call('invoice', [1000, label, 'x'])) as { bolt11: string };
      const { routes = [] } = (await clientNode.call('decode', { string: bolt11 })) as { routes?: { short_channel_id: string }[][] };
      return routes.map((route) => route[0]!.short_channel_id);
    };
    const { invoices } = clientToy;
    const { remoteAlias, localAlias } = await channel(client, id);
    clientToy.invoices = undefined;
    expect(await hints('by itself')).toEqual([remoteAlias]); // since the LSP has a public channel
    clientToy.invoices = { earlyWarning: EARLY_WARNING, aliases: [remoteAlias!, '1x1x1'] };
    expect(await hints('exposed')).toEqual([remoteAlias]);
    clientToy.invoices = { earlyWarning: EARLY_WARNING, aliases: [localAlias!] };
    expect(await hints('by our own alias')).toEqual([remoteAlias]);
    clientToy.invoices = invoices;
  });

  withOffers('an outsider pays the client’s BOLT 12 offer, whose blinded path is raised as well', async () => {
    const { bolt12 } = (await clientNode.call('offer', { amount: 3_000_000, description: 'an offer' })) as { bolt12: string };
    const { invoices } = clientToy;
    clientToy.invoices = undefined;
    await expect(cluster().outsider.call('xpay', { invstring: bolt12, retry_for: 5 })).rejects.toThrow();
    expect(lspToy.htlcs.at(-1)!.forward).toMatchObject({ channelId: id, nextNode: clientNode.id });
    clientToy.invoices = invoices;
    const offer = (await clientNode.call('offer', { amount: 3_000_000, description: 'another offer' })) as { bolt12: string };
    await cluster().outsider.call('xpay', { invstring: offer.bolt12 });
    const arrived = clientToy.htlcs.at(-1)!;
    expect(arrived).toMatchObject({ amount: 3_000_000n });
    expect(arrived.cltvExpiry).toBeGreaterThanOrEqual(minCltvExpiry(arrived.height, EARLY_WARNING));
  });

  test('policy failures reach the payer as ordinary, temporary ones', async () => {
    const facts = { earlyWarning: EARLY_WARNING, active: true, frozen: false };
    lspToy.factoryChannels.set(id, { ...facts, frozen: true });
    await expect(cluster().pay(cluster().outsider, clientNode, 1_000_000, { retry_for: 5 })).rejects.toThrow(/temporary_channel_failure|usable|Failed/);
    expect(lspToy.failures.at(-1)).toMatch(/frozen/);
    lspToy.factoryChannels.set(id, facts);
    const { localAlias } = await channel(client, id);
    clientToy.factoryChannels.set(localAlias!, { ...facts, active: false });
    await expect(cluster().pay(cluster().outsider, clientNode, 1_000_000, { retry_for: 5 })).rejects.toThrow();
    expect(clientToy.failures.at(-1)).toMatch(/not active/);
    clientToy.factoryChannels.set(localAlias!, facts);
    await cluster().pay(cluster().outsider, clientNode, 1_000_000);
  });

  test('a frozen channel carries nothing until it is thawed', async () => {
    await cluster().settled();
    await lsp.freeze([id]);
    await lsp.freeze([id]);
    await client.freeze([id]);
    const before = (await channel(client, id)).toUs;
    const late = cluster().pay(cluster().outsider, clientNode, 5_000_000);
    const ended = late.then(
      () => 'paid',
      () => 'failed',
    );
    await lspNode.waitFor('the payment to reach the LSP', () => lspToy.htlcs.at(-1)!.amount > 5_000_000n);
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect((await channel(client, id)).toUs).toBe(before);
    await lsp.thaw([id]);
    await lsp.thaw([id]);
    // What was offered meanwhile never left the LSP: it fails back at the thaw, and the payer has no second way.
    expect(await ended).toBe('failed');
    await cluster().settled();
    expect((await channel(client, id)).toUs).toBe(before);
    // All or none.
    expect(await failure(lsp.freeze([id, channelId('00'.repeat(32))]))).toBe('not_found');
    await cluster().pay(cluster().outsider, clientNode, 1_000_000);
    // Quiescence ends with the connection, and nobody is told.
    await lsp.freeze([id]);
    await lspNode.call('disconnect', { id: clientNode.id, force: true });
    await reconnected(clientNode);
    await cluster().usable(lspNode, id);
    await cluster().usable(clientNode, id);
    await cluster().pay(cluster().outsider, clientNode, 1_000_000);
  });

  test('two channels with one peer: one is frozen, payments take the other', async () => {
    await cluster().settled();
    const second = await prepare(sat(1_000_000n));
    const opened = await open(second, sat(1_000_000n));
    await cluster().usable(clientNode, opened.id);
    await cluster().usable(lspNode, opened.id);
    const { localAlias } = await channel(lsp, opened.id);
    const facts = lspToy.factoryChannels.get(id)!;
    const { invoices } = clientToy;
    clientToy.invoices = { earlyWarning: EARLY_WARNING, aliases: [localAlias!, (await channel(client, opened.id)).remoteAlias!] };
    await lsp.freeze([id]);
    lspToy.factoryChannels.set(id, { ...facts, frozen: true });
    // lightningd prefers the channel with more in it, whichever the sender names.
    await expect(cluster().pay(cluster().outsider, clientNode, 1_000_000)).rejects.toThrow(/temporary_channel_failure/);
    expect(lspToy.htlcs.at(-1)!.forward).toMatchObject({ channelId: id, shortChannelId: localAlias });
    lspToy.others = [{ channelId: opened.id }];
    await cluster().pay(cluster().outsider, clientNode, 1_000_000);
    await lsp.thaw([id]);
    lspToy.factoryChannels.set(id, facts);
    clientToy.invoices = invoices;
    await cluster().settled();
    expect((await channel(client, opened.id)).toUs).toBe(1_000_000n);
    await lsp.arm(opened.leaf.signable);
    const closed = await lsp.closeChannel({ channelId: opened.id });
    expect(closed.kind).toBe('mutual');
    expect((await channel(lsp, opened.id)).state).toBe('CLOSINGD_COMPLETE');
    await lsp.releaseFunding(second);
  });

  test('published, the leaf confirms with a bumped fee, the channel gets its short channel id and pays on', async () => {
    await lsp.broadcastFunding(await lsp.signFunding(funding.psbt));
    await cluster().confirm(funding.txid);
    expect((await lsp.broadcast(signedHex(leaf))).kind).toBe('accepted');

    const coin = (await lsp.coins())[0]!;
    await lsp.reserveCoin(coin);
    await expect(lsp.reserveCoin(coin)).rejects.toMatchObject({ code: 'conflict' });
    await lsp.reserveCoin(coin, true);
    expect((await lsp.coins()).map((c) => c.outpoint)).not.toContainEqual(coin.outpoint);
    const { script: changeScript } = await lsp.newPayout();
    const child = buildChild({ parent: leaf.signable, coin, changeScript, fee: sat(6_000n) });
    const signed = await lsp.signBump(child.psbt as Psbt, [COIN_INPUT]);
    expect(signed.txid).toBe(child.txid);
    expect((await lsp.broadcast(signed.rawTx)).kind).toBe('accepted');
    const { fees } = await cluster().bitcoind.call('getmempoolentry', [leaf.signable.txid]);
    expect(fees.descendant).toBeGreaterThan(fees.base);
    await cluster().confirm(child.txid);
    await cluster().mine(5);

    for (const [node, side] of [[lspNode, lsp], [clientNode, client]] as const)
      await node.waitFor('the short channel id', async () => (await channel(side, id)).shortChannelId !== undefined);
    expect((await channel(lsp, id)).state).toBe('CHANNELD_NORMAL');
    const { shortChannelId } = await channel(client, id);
    clientToy.factoryChannels.set(shortChannelId!, { earlyWarning: EARLY_WARNING, active: true, frozen: false });
    await cluster().pay(cluster().outsider, clientNode, 2_000_000);
    // From here on the hook shows the real one.
    expect(clientToy.htlcs.at(-1)!.incoming.shortChannelId).toBe(shortChannelId);
  });

  test('closes by agreement on the chain', async () => {
    await cluster().settled();
    const closed = await client.closeChannel({ channelId: id });
    expect(closed.kind).toBe('mutual');
    await cluster().confirm(closed.txids[0]);
    await lspNode.waitFor('the close on chain', async () => (await channel(lsp, id)).state === 'ONCHAIN');
    expect(clientToy.changes.filter((change) => change.channelId === id).map((change) => change.to)).toEqual(
      expect.arrayContaining(['CHANNELD_NORMAL', 'CHANNELD_SHUTTING_DOWN', 'CLOSINGD_COMPLETE', 'ONCHAIN']),
    );
  });
});
