import { setTimeout as pause } from 'node:timers/promises';

/** A condition that did not come true in time. `what` names it; `cause` is the probe's last error, if it threw. */
export class WaitTimeout extends Error {
  readonly code = 'wait_timeout';
  constructor(
    readonly what: string,
    milliseconds: number,
    lastError: unknown,
  ) {
    const why = lastError instanceof Error ? `; last error: ${lastError.message}` : '';
    super(`gave up after ${milliseconds} ms waiting for ${what}${why}`, { cause: lastError });
    this.name = 'WaitTimeout';
  }
}

export interface WaitOptions {
  /** How long to try, in milliseconds (60,000). */
  readonly timeout?: number;
  /** Pause between two probes, in milliseconds (50). */
  readonly interval?: number;
}

/**
 * Asks `probe` until it answers something other than undefined or false, and returns that. A probe that throws is asked
 * again: a node that starts or restarts refuses connections for a while.
 */
export const waitFor = async <T>(
  what: string,
  probe: () => T | undefined | false | Promise<T | undefined | false>,
  { timeout = 60_000, interval = 50 }: WaitOptions = {},
): Promise<T> => {
  const deadline = performance.now() + timeout;
  let lastError: unknown;
  for (;;) {
    try {
      const answer = await probe();
      if (answer !== undefined && answer !== false) return answer;
      lastError = undefined;
    } catch (error) {
      lastError = error;
    }
    if (performance.now() > deadline) throw new WaitTimeout(what, timeout, lastError);
    await pause(interval);
  }
};
