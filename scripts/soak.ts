/**
 * Everyday life at speed, on real processes: payments in all directions, nodes that restart or lose their power, lost
 * connections, blocks, and factories that are created, sold from, rotated, closed and left. One seed decides who does what when; the machine
 * decides what meets what. At the end everything is settled, and the books are checked to the millisatoshi.
 *
 * Arguments: --minutes M (10), --clients N (4), --seed S (1). KEEP=1 keeps the nodes' folders.
 */
import { parseArgs } from 'node:util';
import { Cluster } from '../itest/harness/cluster.js';
import { host } from '../itest/harness/host.js';
import { Ledger, type Line } from './lib/ledger.js';
import { table } from './lib/print.js';
import { audit, settle } from './lib/soak/audit.js';
import { Factories } from './lib/soak/factories.js';
import { clock, say, Tally } from './lib/soak/tally.js';
import { Traffic } from './lib/soak/traffic.js';
import { pluginsPayments } from './lib/soak/transfers.js';
import { makeTrouble, mine } from './lib/soak/trouble.js';
import { World } from './lib/soak/world.js';

/** Depth and stock's lock are short so that a factory's end does not take hundreds of blocks. */
const QUICK = { 'factory-min-depth': 1, 'factory-stock-csv': 18 };
/**
 * The LSP's cltv-delta must not be below the factory's early warning time; and half of a node's cltv-delta must be below its
 * cltv-final: CLN wants the preimage's HTLC gone that long before its end, and else a block at the wrong moment closes the
 * channel. A flat routing fee keeps balances in whole satoshis.
 */
const OPTIONS = { 'cltv-delta': 40, 'cltv-final': 26, 'fee-base': 1_000, 'fee-per-satoshi': 0 };
const PAYERS = 5;
/** What askrene, not our plugin, says about a payment that found no route while several shared the channel: an explanation it lacks. */
const ASKRENE_NOISE = /plugin-cln-askrene: .*I'm not sure why we didn't find the obvious route/;

const main = async (): Promise<boolean> => {
  const { values } = parseArgs({ options: { minutes: { type: 'string' }, clients: { type: 'string' }, seed: { type: 'string' } } });
  const [minutes, clients, seed] = [Number(values.minutes ?? 10), Number(values.clients ?? 4), Number(values.seed ?? 1)];
  if (!(minutes > 0 && Number.isInteger(clients) && clients >= 2 && Number.isInteger(seed))) throw new Error('--minutes, --clients (2 or more) and --seed are numbers');
  say(`${host().kind === 'real' ? `lightningd ${host().version}` : 'the stand-in for lightningd'}; ${clients} clients, ${minutes} minutes, seed ${seed}`);
  const lspCoins = Array.from({ length: 8 }, () => 100_000_000n);
  const tally = new Tally();
  const cluster = await Cluster.start({ clients, plugin: { lsp: QUICK }, options: OPTIONS, lspCoins, allowBroken: ASKRENE_NOISE });
  try {
    const lines = await soak(new World(cluster, tally, seed, performance.now() + minutes * 60_000));
    summary(tally, lines);
  } finally {
    await cluster.stop().catch((error: unknown) => tally.error(error instanceof Error ? error.message : String(error)));
  }
  for (const error of tally.errors) process.stdout.write(`ERROR ${error}\n`);
  say(tally.errors.length === 0 ? 'no errors' : `${tally.errors.length} errors`);
  return tally.errors.length === 0;
};

const soak = async (world: World): Promise<readonly Line[]> => {
  const { cluster, tally } = world;
  const ledger = await Ledger.open(cluster);
  const traffic = new Traffic(world);
  const factories = new Factories(world, traffic);
  let done = false;
  const minutely = setInterval(() => say(tally.line()), 60_000);
  const blocks = mine(world, () => done);
  try {
    await Promise.all([
      ...Array.from({ length: PAYERS }, (_, i) => traffic.run(world.random(`payer ${i}`))),
      makeTrouble(world),
      factories.run().catch((error: unknown) => {
        tally.error(error instanceof Error ? error.message : String(error));
        world.end();
      }),
    ]);
  } finally {
    done = true;
    await blocks;
    clearInterval(minutely);
  }
  say('time is up: everything is settled');
  await settle(world, ledger);
  const { payments, late, abandoned } = await traffic.outcome();
  ledger.payments.push(...payments, ...(await pluginsPayments(cluster)));
  if (late > 0) say(`${late} payments arrived although their payer had given them up`);
  if (abandoned > 0) say(`${abandoned} payments are recorded as pending by a payer that was killed before it made their HTLC`);
  tally.add('arrived', payments.length);
  return audit(world, ledger);
};

const summary = (tally: Tally, lines: readonly Line[]): void => {
  const n = tally.get.bind(tally);
  const unexplained = lines.reduce((sum, l) => sum + (l.unexplained < 0n ? -l.unexplained : l.unexplained), 0n);
  process.stdout.write('\n');
  table(
    ['what', 'how many'],
    [
      ['payments attempted', n('attempted')],
      ['  succeeded, as the books have them', n('arrived')],
      ['  succeeded at once', n('succeeded')],
      ['  failed', n('failed')],
      ['  answer lost with a node', n('unknown')],
      ['restarts', n('restarts')],
      ['kills', n('kills')],
      ['disconnects', n('disconnects')],
      ['factories created', n('creates')],
      ['channels bought and sold', n('purchases')],
      ['rotations', n('rotations')],
      ['factories closed by agreement', n('closes')],
      ['clients left by factory-exit', n('exits')],
      ['blocks', n('blocks')],
      ['errors', tally.errors.length],
      ['msat unexplained', unexplained],
    ],
  );
  process.stdout.write('\n');
  const reasons = [...tally.reasons].sort(([, a], [, b]) => b.count - a.count);
  table(['what failed, and why', 'times', 'in calm'], reasons.map(([reason, { count, calm }]) => [reason, count, calm]));
  process.stdout.write('\n');
  table(
    ['who', 'began with', 'Lightning', 'chain fees', 'anchors', 'ended with', 'unexplained msat'],
    lines.map((l) => [l.node.name, l.before, l.lightning, -l.fees, -l.left, l.after, l.unexplained]),
  );
  process.stdout.write(`\n   after ${clock()} minutes\n`);
};

try {
  if (!(await main())) process.exitCode = 1;
} catch (error) {
  process.stderr.write(`\nscripts/soak: FAILED: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  process.exitCode = 1;
}
