/**
 * The main job, told on real processes: a factory of four clients, payments around it, one client that leaves alone while the
 * LSP is away, the rest brought to the chain by the LSP; then a second factory, closed by agreement in one transaction. Ends
 * with everybody's money accounted for. Any step that does not hold throws, and the demo fails.
 */
import { Cluster } from '../itest/harness/cluster.js';
import { host } from '../itest/harness/host.js';
import { Ledger, minedSince } from './lib/ledger.js';
import { grouped, heading, satOf, table, told } from './lib/print.js';
import { NAMES, Stage } from './lib/stage.js';
import { totalOf } from './lib/ways-out.js';

/** An operator's are 3 and 144; shorter here so that nobody waits. */
const QUICK = { 'factory-min-depth': 1, 'factory-stock-csv': 18 };
/** The LSP's cltv-delta should not be below the factory's early warning time. A flat routing fee keeps the books in whole satoshis. */
const OPTIONS = { 'cltv-delta': 40, 'fee-base': 1_000, 'fee-per-satoshi': 0 };

const started = performance.now();
/** Whatever hangs, hangs no longer than that, in milliseconds; the harness's reaper then ends the processes. */
const LIMIT = 300_000;

const main = async (): Promise<void> => {
  heading('A chain, an LSP, four clients, and a node that stands for the rest of the network');
  const { kind, version } = host();
  told(`lightningd: ${kind === 'real' ? version : 'none found, so the stand-in; it proves nothing about Core Lightning itself'}`);
  const cluster = await Cluster.start({ clients: NAMES.length, plugin: { lsp: QUICK }, options: OPTIONS });
  try {
    const { subversion } = (await cluster.bitcoind.call('getnetworkinfo')) as { readonly subversion: string };
    told(`bitcoind: ${subversion}, regtest`);
    told('The clients have neither coins nor channels. The outsider has an ordinary, announced channel with the LSP.');
    const stage = new Stage(cluster, await Ledger.open(cluster));
    const alone = await firstFactory(stage);
    const together = await secondFactory(stage);
    heading('What it took on chain, funding transaction included');
    table(['factory', 'ended', 'transactions', 'vB', 'fees sat'], [
      ['first', 'each channel on its own', alone.count, alone.vsize, alone.fee],
      ['second', 'by agreement', together.count, together.vsize, together.fee],
    ]);
    await books(stage);
  } finally {
    await cluster.stop();
  }
  heading(`Done in ${((performance.now() - started) / 1000).toFixed(0)} s. Every process is stopped, every file removed.`);
};

type Total = ReturnType<typeof totalOf>;

const firstFactory = async (stage: Stage): Promise<Total> => {
  const { cluster } = stage;
  const [alice, bob, carol, dave] = [cluster.client(0), cluster.client(1), cluster.client(2), cluster.client(3)];
  const begin = await cluster.bitcoind.height();

  heading('The LSP creates a factory: one output on chain, a channel for each of the four');
  const { factory_id: id } = await stage.create();

  heading('Payments around it');
  await stage.pay([
    [cluster.lsp, alice, 300_000],
    [cluster.lsp, bob, 200_000],
    [cluster.lsp, carol, 150_000],
    [alice, bob, 50_000],
    [bob, carol, 25_000],
    [cluster.outsider, dave, 400_000],
    [dave, alice, 20_000],
    [carol, cluster.outsider, 75_000],
  ]);

  heading('Status and tree');
  await stage.status(id);
  await stage.tree(id);

  heading('Alice leaves alone while the LSP is offline');
  const { channelMsat: had } = await cluster.balances(alice);
  stage.prompt(cluster.lsp, 'stop');
  await cluster.lsp.stop();
  const before = await cluster.bitcoind.height();
  await stage.exit(alice, id);
  await cluster.bitcoind.waitForMempool(1);
  await stage.mineUntil('Alice has her money', async () => (await cluster.balances(alice)).walletMsat > 0);
  stage.transactions(await minedSince(cluster.bitcoind, before));
  const { walletMsat: has } = await cluster.balances(alice);
  told(`Alice had ${grouped(satOf(had))} sat in the channel and has ${grouped(satOf(has))} sat in her wallet. She needed no coin and nobody’s help.`);

  heading('The LSP comes back. The other channels go on, under a tree that is partly on chain');
  await cluster.lsp.resume();
  for (const client of [bob, carol, dave]) {
    await client.connect(cluster.lsp);
    for (const { channel_id: channel } of await client.channels(cluster.lsp)) {
      await Promise.all([cluster.usable(client, channel), cluster.usable(cluster.lsp, channel)]);
    }
  }
  await stage.pay([[bob, dave, 10_000]]);
  await stage.status(id);
  await stage.tree(id);

  heading('The factory’s output is spent, so it cannot be closed together any more: the LSP brings the rest to the chain');
  const rest = await cluster.bitcoind.height();
  await cluster.bitcoind.waitForMempool(await stage.exit(cluster.lsp, id));
  await stage.settledOnChain();
  stage.transactions(await minedSince(cluster.bitcoind, rest));
  told('Once its leaf is confirmed, a channel is closed by both sides if the client is there, by a commitment if not.');
  await cluster.lsp.waitFor('its factory to have ended', async (lsp) => (await lsp.call('factory-status', { factory_id: id })).state === 'closed');
  await stage.status(id);
  return totalOf(await minedSince(cluster.bitcoind, begin));
};

const secondFactory = async (stage: Stage): Promise<Total> => {
  const { cluster } = stage;
  const [alice, bob, carol, dave] = [cluster.client(0), cluster.client(1), cluster.client(2), cluster.client(3)];
  const begin = await cluster.bitcoind.height();

  heading('A second factory with the same four, which ends as it should: by agreement');
  // Nodes reconnect by themselves only while they have a channel.
  stage.prompt(alice, 'connect LSP_ID $HOST $PORT');
  await alice.connect(cluster.lsp);
  const { factory_id: id } = await stage.create();
  await stage.pay([
    [cluster.lsp, alice, 100_000],
    [alice, carol, 40_000],
    [cluster.outsider, bob, 250_000],
    [bob, dave, 60_000],
  ]);
  stage.prompt(cluster.lsp, 'factory-close $FACTORY');
  const { txid } = (await cluster.lsp.call('factory-close', { factory_id: id })) as { readonly txid: string };
  const before = await cluster.bitcoind.height();
  await cluster.confirm(txid);
  await stage.reaches(id, 'closed');
  await stage.retired();
  const mined = await minedSince(cluster.bitcoind, before);
  table(
    ['what', 'txid', 'vB', 'fee sat', 'outputs'],
    mined.map((tx) => [tx.txid === txid ? 'close' : 'other', tx.txid, tx.vsize, tx.fee, tx.outputs.size]),
  );
  await stage.settledOnChain();
  return totalOf(await minedSince(cluster.bitcoind, begin));
};

/** @throws when a satoshi is missing, or is where it should not be */
const books = async (stage: Stage): Promise<void> => {
  const { ledger } = stage;
  heading('The books, in satoshis');
  const lines = await ledger.close();
  const row = (who: string, pick: readonly bigint[]): readonly (string | bigint)[] => [who, ...pick.map((msat) => msat / 1000n)];
  const sum = (of: (line: (typeof lines)[number]) => bigint): bigint => lines.reduce((total, line) => total + of(line), 0n);
  table(
    ['who', 'began with', 'Lightning', 'chain fees', 'anchors', 'ended with', 'unexplained'],
    [
      ...lines.map((l) => row(stage.name(l.node), [l.before, l.lightning, -l.fees, -l.left, l.after, l.unexplained])),
      row('all', [sum((l) => l.before), sum((l) => l.lightning), -sum((l) => l.fees), -sum((l) => l.left), sum((l) => l.after), sum((l) => l.unexplained)]),
    ],
  );
  const leftovers = await ledger.leftovers();
  told(`${leftovers.length} anchors are left for whoever wants them: 240 sat on each of the tree’s transactions, 330 sat on each side of a commitment.`);
  const wrong = lines.filter((l) => l.unexplained !== 0n || l.before + l.lightning - l.fees - l.left !== l.after);
  if (wrong.length > 0) throw new Error(`the books do not balance: ${wrong.map((l) => `${stage.name(l.node)} ${l.unexplained} msat`).join(', ')}`);
  if (leftovers.some(({ anchor }) => !anchor)) throw new Error('money is in nobody’s wallet');
  told('Every satoshi is accounted for.');
};

const deadline = setTimeout(() => {
  process.stderr.write(`\nscripts/demo: FAILED: not done after ${LIMIT / 1000} s\n`);
  process.exit(1);
}, LIMIT);
try {
  await main();
} catch (error) {
  process.stderr.write(`\nscripts/demo: FAILED: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  process.exitCode = 1;
}
clearTimeout(deadline);
