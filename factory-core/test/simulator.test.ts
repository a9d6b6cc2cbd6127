/**
 * Thousands of schedules of crashes, losses, reorganisations and lies over the real state machines. MuSig2 and transaction
 * ids are the cheap stand-ins of `sim/fake-musig.ts` and `sim/fake-serialize.ts` here; `simulator-real.test.ts` runs the same
 * with the real ones. SIM_SCHEDULES sets how
 * many (2,000 by default), SIM_SEED which, SIM_STAGES where they begin (names, with commas).
 */
import { describe, expect, jest, test } from '@jest/globals';
import * as serialize from '../serialize.js';
import * as fakeMusig from './sim/fake-musig.js';
import * as fakeSerialize from './sim/fake-serialize.js';

jest.unstable_mockModule('../musig/index.js', () => fakeMusig);
jest.unstable_mockModule('../serialize.js', () => ({ ...serialize, ...fakeSerialize }));
const { checkSchedules } = await import('./sim/check.js');

const schedules = Number(process.env['SIM_SCHEDULES'] ?? 2_000);

describe('simulator', () => {
  test(`${String(schedules)} schedules`, () => {
    const report = checkSchedules(schedules, false, process.env['SIM_SEED'], process.env['SIM_STAGES']);
    expect(report).toMatch(/schedules/);
    if (process.env['SIM_SCHEDULES'] !== undefined) process.stderr.write(`${report}\n`);
  }, 24 * 3_600_000);
});
