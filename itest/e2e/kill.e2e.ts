/**
 * SIGKILL at the LSP and at a client, to the whole node or to its plugin alone: before and after every effect of the outbox,
 * every command to lightningd that changes something and every message, in a creation, in its clean-up, in a close and in an
 * exit. After the restart the operation completes, or is as if it had never been asked for, and everybody has what is due.
 *
 * Where it may happen is what passes in a run without failures. A few of these places are tried each time, others each day.
 * KILL=<pattern> tries all those whose name matches, such as KILL='node: close: lsp: after'; KILL=. is all there is (a few
 * hours), KILL_SHOW=1 prints their names.
 */
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { Tap } from '../fixtures/tap.js';
import { Cluster } from '../harness/cluster.js';
import type { LightningNode } from '../harness/lightningd.js';
import { Life, nameOf, Plug, WHERE, within, type Cut, type Operation, type Point, type Seen, type Victim } from './kill-helpers.js';

const WANTED = process.env['KILL'];
jest.setTimeout(WANTED === undefined ? 600_000 : 4 * 3_600_000);

/** Which of several passings are different places: for one client and for the other, and at the end. What is repeated with time does not count. */
const numbers = (what: string, count: number): readonly number[] => {
  if (what.endsWith('datastore') || count === 1) return [1];
  return what.endsWith('sendpsbt') ? [1, count] : [1, 2];
};
/** Cuts per operation and node when not all are tried. */
const SHARE: Readonly<Record<Operation, number>> = { creation: 2, 'clean-up': 1, close: 1, 'exit of the client': 1, 'exit by the LSP': 1 };

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

  const whole = async (cut?: Cut) => {
    const created = await life.create(cut);
    // A cut may have undone it; the operator then asks for another one.
    return created ?? (await life.create()) ?? Promise.reject(new Error('a creation without any failure came to nothing'));
  };

  const run = async (operation: Operation, cut?: Cut): Promise<void> => {
    switch (operation) {
      case 'creation':
        await life.close(await whole(cut));
        return;
      case 'clean-up':
        await life.abandon((cleaning) => life.under(cut, cleaning));
        return;
      case 'close':
        await life.close(await whole(), cut);
        return;
      case 'exit of the client':
        await life.exit(await whole(), cluster.client(1), cut);
        return;
      case 'exit by the LSP':
        await life.exit(await whole(), cluster.lsp, cut);
    }
  };

  test('none: where it may happen', async () => {
    const created = await (async () => {
      let made: Awaited<ReturnType<Life['create']>>;
      seen.set('creation', await plug.observe(async () => (made = await life.create())));
      return made!;
    })();
    seen.set('close', await plug.observe(() => life.close(created)));
    const another = await whole();
    seen.set('exit of the client', await plug.observe(() => life.exit(another, cluster.client(1))));
    await life.abandon(async (cleaning) => void seen.set('clean-up', await plug.observe(cleaning)));
    const third = await whole();
    seen.set('exit by the LSP', await plug.observe(() => life.exit(third, cluster.lsp)));
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
    const day = Math.floor(Date.now() / 86_400_000);
    return [...seen.keys()].flatMap((operation) =>
      NODES.flatMap((node, n) =>
        Array.from({ length: SHARE[operation] }, (_, i) => {
          const turn = day * SHARE[operation] + i;
          const victim = VICTIMS[(turn + n) % 2];
          const group = all.filter((place) => place.victim === victim && place.operation === operation && place.node === node);
          // The stride has no factor in common with most lengths: neighbours are not tried together.
          return group[(Math.floor(turn / 2) * 7 + (turn % 2) * (group.length >> 1)) % group.length] ?? [];
        }).flat(),
      ),
    );
  };

  test('at some of these places', async () => {
    const failed: string[] = [];
    const all = chosen();
    for (const [i, place] of all.entries()) {
      const node: LightningNode = place.node === 'lsp' ? cluster.lsp : cluster.client(1);
      const started = performance.now();
      say(`${i + 1}/${all.length} ${titleOf(place)}`);
      try {
        await within('all of it', PLACE_MS, run(place.operation, { victim: place.victim, node, point: place }));
        cluster.nodes.forEach((one) => one.report());
        say(`  ${Math.round(performance.now() - started)} ms`);
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
    expect(all.length).toBeGreaterThan(0);
  });
});
