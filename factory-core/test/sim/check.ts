/** Runs schedules until one breaks a rule, and shrinks that one to a short trace. */
import fc from 'fast-check';
import { simulate, STAGES, type Schedule } from './simulate.js';

const MAX_BYTES = 160;

const schedule = (codec: boolean): fc.Arbitrary<Schedule> => fc.record({
  codec: fc.constant(codec),
  clients: fc.oneof({ weight: 8, arbitrary: fc.integer({ min: 2, max: 4 }) }, { weight: 1, arbitrary: fc.integer({ min: 5, max: 12 }) }),
  spare: fc.integer({ min: 0, max: 2 }),
  deep: fc.boolean(),
  short: fc.boolean(),
  stage: fc.constantFrom(...STAGES),
  liar: fc.constantFrom('nobody', 'nobody', 'coordinator', 'client'),
  vanishes: fc.boolean(),
  wallet: fc.constantFrom('plenty', 'plenty', 'plenty', 'one coin', 'same change', 'empty'),
  bytes: fc.uint8Array({ maxLength: MAX_BYTES, size: 'max' }),
});

/** @returns how the schedules ended */
export const checkSchedules = (runs: number, codec: boolean, seed?: string): string => {
  const endings = new Map<string, number>();
  let actions = 0;
  const began = Date.now();
  fc.assert(
    fc.property(schedule(codec), (s) => {
      const ending = simulate(s);
      endings.set(ending.phase, (endings.get(ending.phase) ?? 0) + 1);
      actions += ending.actions;
    }),
    { numRuns: runs, ...(seed === undefined ? {} : { seed: Number(seed) }), endOnFailure: false },
  );
  const seconds = (Date.now() - began) / 1000;
  const ended = [...endings].sort(([, a], [, b]) => b - a).map(([phase, n]) => `${phase} ${String(n)}`);
  return `${String(runs)} schedules, ${String(actions)} actions, ${seconds.toFixed(1)} s (${String(Math.round((runs * 60) / seconds))} a minute): ${ended.join(', ')}`;
};
