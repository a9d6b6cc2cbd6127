/**
 * Every step twice: each node's plugin performs every effect of its outbox, sends every message and publishes every
 * transaction two times in a row. Nobody may notice: the factories work, and the books are right to the satoshi.
 */
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { DURABLE_KINDS, type DurableEffect } from '../../factory-core/protocol/effects.js';
import { Tap } from '../fixtures/tap.js';
import { Twice } from '../fixtures/twice.js';
import { Cluster } from '../harness/cluster.js';
import { Plug } from './kill-plug.js';
import { Life, type Operation } from './life.js';
import { STORIES, WHERE } from './stories.js';

jest.setTimeout(240_000);

/** The second run makes anew what the first has made, since nothing depends on it yet: a choice, an address, an opening. */
const MADE_ANEW: readonly DurableEffect['kind'][] = ['select_coins', 'prepare_funding', 'open_start'];
const made = (kind: string): boolean => MADE_ANEW.some((one) => one === kind);

describe('everything done twice', () => {
  const twice = new Twice();
  const tap = new Tap(twice.executable);
  let cluster: Cluster;
  let life: Life;

  beforeAll(async () => {
    twice.start();
    await tap.start();
    cluster = await Cluster.start({
      clients: 2,
      outsider: false,
      lspCoins: [30_000_000n, 30_000_000n],
      executable: tap.executable,
      plugin: { lsp: { 'factory-min-depth': 1, 'factory-step-timeout': 20 }, client: {} },
    });
    life = new Life(cluster, new Plug(tap));
  }, 240_000);
  afterAll(async () => {
    try {
      await cluster.stop();
    } finally {
      await tap.stop();
      twice.stop();
    }
  }, 240_000);

  const operations = Object.keys(STORIES) as readonly Operation[];
  const stories = [...new Set(Object.values(STORIES))].map((story) => ({ shows: operations.filter((one) => STORIES[one] === story).join(', '), story }));
  test.each(stories)('$shows', ({ story }) => story(life));

  test('that was all there is, and came to the same each time', () => {
    const repeated = twice.repeated();
    expect(DURABLE_KINDS.filter((kind) => WHERE[kind].length > 0 && repeated.every((one) => one.kind !== kind))).toEqual([]);
    expect(repeated.filter(({ kind, first, second }) => first !== second && !made(kind))).toEqual([]);
    const result = (outcome: string): string | undefined => /type: '(\w+)'/.exec(outcome)?.[1];
    expect(repeated.filter(({ first, second }) => result(first) !== result(second))).toEqual([]);
  });
});
