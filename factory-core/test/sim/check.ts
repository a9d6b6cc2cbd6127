/** Runs schedules until one breaks a rule, and shrinks that one to a short trace. */
import fc from 'fast-check';
import { simulate } from './simulate.js';
import { STAGES, type Schedule } from './stages.js';

const MAX_BYTES = 160;

type Stage = Schedule['stage'];

/** These take three times as long as the others. */
const LONG: ReadonlySet<Stage> = new Set(['ladder', 'moving']);

const schedule = (codec: boolean, stages: readonly Stage[]): fc.Arbitrary<Schedule> => fc.record({
  codec: fc.constant(codec),
  clients: fc.oneof({ weight: 8, arbitrary: fc.integer({ min: 2, max: 4 }) }, { weight: 1, arbitrary: fc.integer({ min: 5, max: 12 }) }),
  spare: fc.integer({ min: 0, max: 2 }),
  deep: fc.boolean(),
  short: fc.boolean(),
  stage: fc.constantFrom(...stages, ...stages.filter((s) => !LONG.has(s))),
  liar: fc.constantFrom('nobody', 'nobody', 'coordinator', 'client'),
  absence: fc.constantFrom(0, 1, 2, 3),
  vanishes: fc.boolean(),
  wallet: fc.constantFrom('plenty', 'plenty', 'plenty', 'one coin', 'same change', 'empty'),
  bytes: fc.uint8Array({ maxLength: MAX_BYTES, size: 'max' }),
});

interface Count {
  schedules: number;
  actions: number;
  factories: number;
}

/**
 * @param only names of stages, with commas; all by default
 * @returns how the schedules ended, and how many there were of each stage
 */
export const checkSchedules = (runs: number, codec: boolean, seed?: string, only?: string): string => {
  const wanted = only?.split(',');
  const stages = STAGES.filter((s) => wanted?.includes(s) ?? true);
  const endings = new Map<string, number>();
  const counts = new Map(stages.map((s): [Stage, Count] => [s, { schedules: 0, actions: 0, factories: 0 }]));
  const began = Date.now();
  fc.assert(
    fc.property(schedule(codec, stages), (s) => {
      const ending = simulate(s);
      endings.set(ending.phase, (endings.get(ending.phase) ?? 0) + 1);
      const count = counts.get(s.stage);
      if (!count) return;
      count.schedules += 1;
      count.actions += ending.actions;
      count.factories += ending.factories;
    }),
    { numRuns: runs, ...(seed === undefined ? {} : { seed: Number(seed) }), endOnFailure: false },
  );
  const seconds = (Date.now() - began) / 1000;
  const actions = [...counts.values()].reduce((sum, c) => sum + c.actions, 0);
  const ended = [...endings].sort(([, a], [, b]) => b - a).map(([phase, n]) => `${phase} ${String(n)}`);
  const byStage = [...counts].map(([stage, c]) => `${stage} ${String(c.schedules)}/${String(c.actions)}/${String(c.factories)}`);
  const speed = `${seconds.toFixed(1)} s (${String(Math.round((runs * 60) / seconds))} a minute)`;
  return `${String(runs)} schedules, ${String(actions)} actions, ${speed}: ${ended.join(', ')}; schedules/actions/factories: ${byStage.join(', ')}`;
};
