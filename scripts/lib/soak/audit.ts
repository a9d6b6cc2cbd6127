/** The last look: everybody up, everything settled, every millisatoshi explained. */
import type { LightningNode } from '../../../itest/harness/lightningd.js';
import type { Ledger, Line } from '../ledger.js';
import { drained } from './traffic.js';
import { reasonOf, say } from './tally.js';
import type { World } from './world.js';

const ENDED = ['closed', 'aborted', 'distributed'];
/** Blocks within which all money must be in somebody's wallet: locks, deadlines of HTLCs, CLN's own delays. */
const BLOCKS = 150;

/** Up, connected, without an HTLC, and on chain nothing but anchors outside of wallets. */
export const settle = async (world: World, ledger: Ledger): Promise<void> => {
  const { cluster } = world;
  const { lsp, clients, outsider, bitcoind } = cluster;
  for (const node of cluster.nodes) if (!node.running) await node.resume();
  await Promise.all([...clients, outsider].map((node) => node.connect(lsp)));
  await drained(cluster.nodes, 120_000).catch((error: unknown) => world.tally.error(reasonOf(error)));
  // A closed factory's channels are retired once the close is confirmed, by both sides together: that takes a moment.
  for (const node of [lsp, ...clients]) {
    const retired = async (): Promise<boolean> => (await node.channels()).every((c) => !c.private || c.state !== 'CHANNELD_NORMAL');
    await node.waitFor('its factories’ channels to be retired', retired, { interval: 500 }).catch((error: unknown) => world.tally.error(reasonOf(error)));
  }
  for (let blocks = 0; blocks < BLOCKS; blocks += 1) {
    const mempool = await bitcoind.call('getrawmempool');
    // Reading the whole chain and all wallets takes its time: not after every block.
    if (blocks % 4 === 0 && mempool.length === 0 && (await ledger.leftovers()).every(({ anchor }) => anchor)) return;
    await cluster.mine();
    world.tally.add('blocks');
    await pluginsSee(world, await bitcoind.height());
  }
  for (const { outpoint, amount } of (await ledger.leftovers()).filter(({ anchor }) => !anchor)) {
    world.tally.error(`${amount} sat at ${outpoint} are in nobody’s wallet`);
  }
};

/** Gives every plugin the chance to answer this block. */
const pluginsSee = async ({ cluster }: World, height: number): Promise<void> => {
  for (const node of [cluster.lsp, ...cluster.clients]) {
    await node.waitFor(`its plugin to see block ${height}`, async () => {
      const status = (await node.call('factory-status')) as unknown as { readonly node: { readonly height: number } };
      return status.node.height >= height;
    });
  }
};

/** @returns the books; everything that is not as it should be is an error */
export const audit = async (world: World, ledger: Ledger): Promise<readonly Line[]> => {
  const { cluster, tally } = world;
  for (const node of cluster.nodes) await auditNode(node, node !== cluster.outsider, (text) => tally.error(`${node.name}: ${text}`));
  const lines = await ledger.close();
  for (const { node, unexplained } of lines) if (unexplained !== 0n) tally.error(`${node.name}: ${unexplained} msat are unexplained`);
  say('the books are closed');
  return lines;
};

const auditNode = async (node: LightningNode, plugin: boolean, wrong: (text: string) => void): Promise<void> => {
  const [{ outputs }, channels] = await Promise.all([node.call('listfunds'), node.channels()]);
  const reserved = outputs.filter((o) => o.reserved);
  if (reserved.length > 0) wrong(`${reserved.length} coins are reserved: ${reserved.map((o) => `${o.txid}:${o.output}`).join(', ')}`);
  for (const c of channels.filter((c) => c.funding?.withheld === true)) wrong(`channel ${c.channel_id} is withheld (${c.state})`);
  if (!plugin) {
    // Its one channel is announced and not the factory's: nothing here should have closed it.
    if (!channels.some((c) => c.state === 'CHANNELD_NORMAL')) wrong('its channel with the LSP is gone');
    return;
  }
  for (const c of channels.filter((c) => c.private && c.state === 'CHANNELD_NORMAL')) wrong(`channel ${c.channel_id} of an ended factory still works`);
  const { factories } = await node.call('factory-list');
  for (const f of factories.filter((f) => !ENDED.includes(f.state))) {
    // A member knows of its own branch alone: for it, a factory it has left goes on.
    const { members } = await node.call('factory-status', { factory_id: f.factory_id });
    const left = f.role === 'member' && f.state === 'exiting' && members.every((m) => m.state === 'left');
    if (!left) wrong(`factory ${f.factory_id} is ${f.state}; its members: ${members.map((m) => m.state).join(', ')}`);
  }
  const verdict = (await node.call('factory-verify')) as { readonly ok: boolean };
  if (!verdict.ok) wrong(`factory-verify: ${JSON.stringify(verdict)}`);
};
