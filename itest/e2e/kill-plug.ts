/** Watches what a node's plugin and its lightningd say to each other, and kills at an exact place of it. */
import { setTimeout as pause } from 'node:timers/promises';
import type { Tap } from '../fixtures/tap.js';
import type { LightningNode } from '../harness/lightningd.js';
import { waitFor } from '../harness/wait.js';

/** The `nth` time that this passes between a node's plugin and its lightningd. */
export interface Point {
  readonly what: string;
  readonly nth: number;
}
export const nameOf = ({ what, nth }: Point): string => `${what}${nth > 1 ? ` (${nth})` : ''}`;

/** What passes at each node, and how often. */
export type Seen = ReadonlyMap<string, ReadonlyMap<string, number>>;

/** What is killed: the node with all its processes, as when the power fails, or its plugin alone, and the node goes down after it. */
export type Victim = 'node' | 'plugin';

export interface Cut {
  readonly victim: Victim;
  readonly node: LightningNode;
  readonly point: Point;
}

/** Nothing here takes so long, on whatever machine. */
export const PATIENCE_MS = 120_000;
/** What was asked for may be answered before the last of what it began is done. */
const AFTERMATH_MS = 10_000;

/** @throws when it does not end in time */
export const within = async <T>(what: string, milliseconds: number, work: Promise<T>): Promise<T> => {
  const over = new AbortController();
  try {
    return await Promise.race([
      work,
      pause(milliseconds, undefined, { signal: over.signal }).then(() => Promise.reject(new Error(`${what} does not end within ${milliseconds} ms`))),
    ]);
  } finally {
    over.abort();
  }
};

/** What was begun ended well, and did not come to the point this time: two nodes can do the same thing, and one is first. */
export class Missed extends Error {
  readonly code = 'missed';
}

const HOLD = new Promise<void>(() => undefined);
const none = (): undefined => undefined;

/** Effects that were begun somewhere, and of which nobody has said that they are done. */
const unfinished = (seen: Seen): readonly string[] =>
  [...seen].flatMap(([node, counts]) => [...counts.keys()].filter((what) => what.endsWith(' begun') && !counts.has(what.replace(/begun$/, 'done'))).map((what) => `${node}: ${what}`));

export class Plug {
  constructor(private readonly tap: Tap) {}

  /** @returns what has passed while the work was done, and until what it has begun was done, too */
  async observe(work: () => Promise<unknown>): Promise<Seen> {
    const seen = new Map<string, Map<string, number>>();
    this.tap.onPassing = ({ node, what }) => {
      const counts = seen.get(node) ?? new Map<string, number>();
      seen.set(node, counts.set(what, (counts.get(what) ?? 0) + 1));
      return undefined;
    };
    try {
      await work();
      await waitFor('the end of all that was begun', () => {
        const left = unfinished(seen);
        return left.length === 0 || Promise.reject(new Error(left.join(', ')));
      });
    } finally {
      this.tap.onPassing = none;
    }
    return seen;
  }

  /** Begins something, and kills at the point. What was begun is returned as it then ends. @throws when it fails before; Missed when it just ends */
  async pull<T>({ victim, node, point }: Cut, begin: () => Promise<T>): Promise<{ readonly outcome: Promise<T> }> {
    let count = 0;
    const reached = new Promise<'reached'>((resolve) => {
      this.tap.onPassing = (passing) => {
        if (passing.node !== node.name || passing.what !== point.what) return undefined;
        count += 1;
        if (count !== point.nth) return undefined;
        resolve('reached');
        return HOLD;
      };
    });
    const outcome = begin();
    const over = outcome.then(
      () => pause(AFTERMATH_MS, 'ended', { ref: false }),
      (error: unknown) => `failed with: ${String(error)}`,
    );
    try {
      const first = await within(`what should come to ${nameOf(point)}`, PATIENCE_MS, Promise.race([reached, over]));
      if (first === 'ended') throw new Missed(`${node.name} did not come to: ${nameOf(point)}`);
      if (first !== 'reached') throw new Error(`${node.name} never came to: ${nameOf(point)}; it ${first}`);
      await (victim === 'node' ? node.kill() : node.killPlugin());
    } finally {
      this.tap.onPassing = none;
    }
    return { outcome };
  }
}
