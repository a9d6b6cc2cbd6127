/**
 * The schedules of `simulator.test.ts` with the real MuSig2, the real transactions, and messages as bytes: a share of them,
 * since one takes some fifty times as long. SIM_REAL_SCHEDULES sets how many (40 by default), SIM_SEED which.
 */
import { describe, expect, test } from '@jest/globals';
import { checkSchedules } from './sim/check.js';

const schedules = Number(process.env['SIM_REAL_SCHEDULES'] ?? 40);

describe('simulator, with real cryptography', () => {
  test(`${String(schedules)} schedules`, () => {
    const report = checkSchedules(schedules, true, process.env['SIM_SEED'], process.env['SIM_STAGES']);
    expect(report).toMatch(/schedules/);
    if (process.env['SIM_REAL_SCHEDULES'] !== undefined) process.stderr.write(`${report}\n`);
  }, 24 * 3_600_000);
});
