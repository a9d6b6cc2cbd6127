/**
 * One schedule: a world, a string of bytes that chooses what happens next (progress, lost connections, crashes, failed
 * writes, reorganisations, an empty wallet, lies), then calm: a fair network in which everything must come to an end.
 */
import { liveState } from '../../live/custody.js';
import { byzantine } from './byzantine.js';
import { Choices } from './bytes.js';
import { calm } from './calm.js';
import { turn } from './faults.js';
import { advanceTo, worldOf, type Schedule } from './stages.js';
import type { World } from './world.js';

/** How a schedule ended, for the statistics. */
export interface Ending {
  /** Factories begun. */
  readonly factories: number;
  readonly phase: string;
  readonly actions: number;
  readonly attempts: number;
}

export const simulate = (schedule: Schedule): Ending => {
  const world = worldOf(schedule);
  try {
    run(world, schedule);
  } catch (error) {
    const tail = world.trace.slice(-60).join('\n  ');
    if (error instanceof Error) error.message = `${error.message}\n(${describe(schedule)})\n  ${tail}`;
    throw error;
  }
  const state = world.coordinatorState;
  const phase = state?.phase === 'live' ? liveState(state.live, false) : (state?.phase ?? 'none');
  return { factories: world.worlds.length, phase, actions: world.trace.length, attempts: state?.attempt ?? 0 };
};

const describe = ({ bytes, ...rest }: Schedule): string => `${JSON.stringify(rest)}, bytes ${Buffer.from(bytes).toString('hex')}`;

const run = (world: World, schedule: Schedule): void => {
  const choices = new Choices(schedule.bytes);
  advanceTo(world, schedule);
  world.tampering = (w) => byzantine(w, choices);
  world.lies = () => !world.isHonest(world.coordinator) && choices.left > 0 && choices.next() > 200;
  world.note('— chaos —');
  while (choices.left > 0) turn(world, choices);
  world.note('— calm —');
  calm(world, schedule);
};

