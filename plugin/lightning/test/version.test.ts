import { expect, test } from '@jest/globals';
import { versionProblem } from '../version.js';

test.each(['v26.06', 'v26.06.6', '26.06rc1-modded', 'v26.06-12-gabc1234', 'v26.09', 'v27.03.1', 'v26.06.6-standin', 'nightly', '', 'basis-1'])('%s will do', (version) => {
  expect(versionProblem(version)).toBeUndefined();
});

test.each(['v26.04.2', 'v25.12', 'v24.11.1-3-gabc1234-modded', '0.12.1'])('%s is too old', (version) => {
  expect(versionProblem(version)).toBe(`needs Core Lightning v26.06 or later; this is ${version}`);
});
