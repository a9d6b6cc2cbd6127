/** How commands wait for what their factory becomes. */
import type { Change, Engine } from '../engine/engine.js';
import { stopping } from './errors.js';

/**
 * The first answer of `look`, which is asked after every change of any factory. An error it throws ends the waiting.
 * @throws CommandError PLUGIN_TERMINATED when the plugin stops before
 */
export const untilChange = <T>(engine: Engine, signal: AbortSignal, look: (change: Change) => T | undefined): Promise<T> =>
  new Promise((resolve, reject) => {
    const end = (): void => {
      stop();
      signal.removeEventListener('abort', stopped);
    };
    const stopped = (): void => {
      end();
      reject(stopping());
    };
    const stop = engine.onChange((change) => {
      try {
        const answer = look(change);
        if (answer === undefined) return;
        end();
        resolve(answer);
      } catch (error) {
        end();
        reject(error instanceof Error ? error : new Error(String(error)));
      }
    });
    signal.addEventListener('abort', stopped);
  });

/**
 * The same for so many seconds at most.
 * @returns undefined when it took longer
 */
export const within = async <T>(engine: Engine, signal: AbortSignal, seconds: number, look: () => T | undefined): Promise<T | undefined> => {
  const ended = new AbortController();
  const timer = setTimeout(() => {
    ended.abort();
  }, seconds * 1_000);
  try {
    return look() ?? (await untilChange(engine, AbortSignal.any([signal, ended.signal]), look));
  } catch (error) {
    if (ended.signal.aborted && !signal.aborted) return undefined;
    throw error;
  } finally {
    clearTimeout(timer);
  }
};
