/**
 * SIGKILL at the LSP and at a client, to the whole node or to its plugin alone: before and after every effect of the outbox,
 * every command to lightningd that changes something and every message, in a creation, in its clean-up, in a purchase, in one that
 * is given up, in a rotation, in a close and in an exit. After the restart the operation completes, or is as if it had never been asked for, and
 * everybody has what is due.
 *
 * Where it may happen is what passes in a run without failures. A few of these places are tried each time, others each day.
 * KILL=<pattern> tries all those whose name matches, such as KILL='node: close: lsp: after'; KILL=. is all there is (a few
 * hours), KILL_SHOW=1 prints their names.
 */
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { Tap } from '../fixtures/tap.js';
import { Cluster } from '../harness/cluster.js';
import type { LightningNode } from '../harness/lightningd.js';
import { nameOf, Plug, within, type Point, type Seen, type Victim } from './kill-plug.js';
import { Life, type Operation } from './life.js';
import { STORIES, WHERE } from './stories.js';

const WANTED = process.env['KILL'];
jest.setTimeout(WANTED === undefined ? 600_000 : 4 * 3_600_000);

/** Which of several passings are different places: for one client and for the other, for each transaction, and at the end. What is repeated with time does not count. */
const numbers = (what: string, count: number): readonly number[] => {
  if (what.endsWith('datastore') || count === 1) return [1];
  if (what.endsWith('sendrawtransaction')) return [1, 2, 3].slice(0, count);
  return what.endsWith('sendpsbt') ? [1, count] : [1, 2];
};
/** How many places are tried each day when not all are. */
const SAMPLE = 12;

/** What lightningd itself says of a peer that is gone at once, when it is slow to notice. */
const HASTE = /Subd did not close, forcing close/;

const settings = (tap: Tap) =>
  ({ clients: 2, outsider: false, lspCoins: [30_000_000n, 30_000_000n], executable: tap.executable, loadedAs: 'important-plugin', allowBroken: HASTE, plugin: { lsp: { 'factory-min-depth': 1, 'factory-step-timeout': 20 }, client: {} } }) as const;

/** The longest that one of them takes, on whatever machine. */
const PLACE_MS = 240_000;

const NODES = ['lsp', 'c1'] as const;
const VICTIMS: readonly Victim[] = ['node', 'plugin'];

interface Place extends Point {
  readonly victim: Victim;
  readonly operation: Operation;
  readonly node: string;
}
const titleOf = (place: Place): string => `${place.victim}: ${place.operation}: ${place.node}: ${nameOf(place)}`;

/** To be followed while it runs, when it takes hours. */
const say = (line: string): void => {
  if (WANTED !== undefined || process.env['KILL_SHOW']) process.stderr.write(`${line}\n`);
};

describe('SIGKILL', () => {
  const tap = new Tap();
  const plug = new Plug(tap);
  let cluster: Cluster;
  let life: Life;
  const seen = new Map<Operation, Seen>();

  const setUp = async (): Promise<void> => {
    cluster = await Cluster.start(settings(tap));
    life = new Life(cluster, plug);
  };

  beforeAll(async () => {
    await tap.start();
    await setUp();
  }, 240_000);
  afterAll(async () => {
    try {
      await cluster.stop();
    } finally {
      await tap.stop();
    }
  }, 240_000);

  test('none: where it may happen', async () => {
    for (const [operation, story] of Object.entries(STORIES)) {
      if (seen.has(operation as Operation)) continue;
      for (const [part, passed] of await life.watch(story)) if (!seen.has(part)) seen.set(part, passed);
    }
    const forgotten = Object.entries(WHERE).flatMap(([kind, operations]) =>
      operations.flatMap((operation) => {
        const nodes = [...(seen.get(operation)?.values() ?? [])];
        return ['begun', 'done'].filter((stage) => !nodes.some((counts) => counts.has(`${kind} ${stage}`))).map((stage) => `${operation}: ${kind} ${stage}`);
      }),
    );
    expect(forgotten).toEqual([]);
  });

  const places = (): readonly Place[] =>
    VICTIMS.flatMap((victim) =>
      [...seen].flatMap(([operation, nodes]) =>
        NODES.flatMap((node) =>
          [...(nodes.get(node) ?? new Map<string, number>())].flatMap(([what, count]) => numbers(what, count).map((nth): Place => ({ victim, operation, node, what, nth }))),
        ),
      ),
    );

  if (process.env['KILL_SHOW']) afterAll(() => console.log(places().map(titleOf).join('\n')));
  const chosen = (): readonly Place[] => {
    const all = places();
    if (WANTED !== undefined) return all.filter((place) => new RegExp(WANTED).test(titleOf(place)));
    // All groups take turns, and so do the victims and the places of each.
    const groups = [...seen.keys()].flatMap((operation) => NODES.map((node) => all.filter((place) => place.operation === operation && place.node === node)));
    const day = Math.floor(Date.now() / 86_400_000);
    return Array.from({ length: SAMPLE }, (_, i) => {
      const turn = day * SAMPLE + i;
      const round = Math.floor(turn / groups.length);
      const g = turn % groups.length;
      const group = (groups[g] ?? []).filter(({ victim }) => victim === VICTIMS[(round + g) % VICTIMS.length]);
      // The stride has no factor in common with most lengths: neighbours are not tried together.
      return group[(Math.floor(round / VICTIMS.length) * 7) % group.length] ?? [];
    }).flat();
  };

  test('at some of these places', async () => {
    const failed: string[] = [];
    const missed: string[] = [];
    const all = chosen();
    for (const [i, place] of all.entries()) {
      const node: LightningNode = place.node === 'lsp' ? cluster.lsp : cluster.client(1);
      const started = performance.now();
      say(`${i + 1}/${all.length} ${titleOf(place)}`);
      try {
        const came = await within('all of it', PLACE_MS, life.interrupt(STORIES[place.operation], place.operation, { victim: place.victim, node, point: place }));
        cluster.nodes.forEach((one) => one.report());
        if (!came) missed.push(titleOf(place));
        say(`  ${Math.round(performance.now() - started)} ms${came ? '' : ', did not come to it'}`);
      } catch (error) {
        failed.push(`${titleOf(place)}: ${error instanceof Error ? error.message : String(error)}`);
        if (WANTED === undefined) break;
        say(`  FAILED ${error instanceof Error ? error.stack : String(error)}`);
        await cluster.stop().catch(() => undefined);
        await setUp();
      }
      // Old factories make a node slow to start.
      if (i % 10 === 9) {
        await cluster.stop();
        await setUp();
      }
    }
    expect(failed).toEqual([]);
    // Which of two nodes is first can differ from run to run, at very few places.
    expect(missed.slice(Math.ceil(all.length / 10))).toEqual([]);
    expect(all.length).toBeGreaterThan(0);
  });
});
