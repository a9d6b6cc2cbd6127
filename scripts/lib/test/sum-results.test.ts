import { describe, expect, test } from '@jest/globals';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const script = path.join(path.dirname(fileURLToPath(import.meta.url)), '../sum-results.js');

/** What Jest writes for one run, as far as the sum reads it. */
const run = (passed: number, failed: number, pending = 0, brokenFiles = 0): object => ({
  numPassedTests: passed,
  numFailedTests: failed,
  numPendingTests: pending,
  numTodoTests: 0,
  testResults: [
    { status: failed > 0 ? 'failed' : 'passed', assertionResults: failed > 0 ? [{ status: 'failed' }] : [{ status: 'passed' }] },
    ...Array.from({ length: brokenFiles }, () => ({ status: 'failed', assertionResults: [] })),
  ],
});

const sum = (checks: number, runs: readonly (object | undefined)[]): { readonly line: string; readonly code: number | null } => {
  const dir = mkdtempSync(path.join(tmpdir(), 'sum-'));
  try {
    const files = runs.map((content, index) => {
      const file = path.join(dir, `${index}.json`);
      if (content !== undefined) writeFileSync(file, JSON.stringify(content));
      return file;
    });
    const done = spawnSync(process.execPath, [script, String(checks), ...files], { encoding: 'utf8' });
    return { line: done.stdout, code: done.status };
  } finally {
    rmSync(dir, { recursive: true });
  }
};

describe('the last line of scripts/test', () => {
  test('adds up all runs', () => expect(sum(0, [run(3, 0), run(4, 0)])).toEqual({ line: '7 passed, 0 failed\n', code: 0 }));
  test('fails for a failed test', () => expect(sum(0, [run(3, 1), run(4, 0)])).toEqual({ line: '7 passed, 1 failed\n', code: 1 }));
  test('names skipped tests', () => expect(sum(0, [run(3, 0, 2)])).toEqual({ line: '3 passed, 0 failed, 2 skipped\n', code: 0 }));
  test('fails for a file that did not load', () => expect(sum(0, [run(3, 0, 0, 1)])).toEqual({ line: '3 passed, 1 failed\n', code: 1 }));
  test('fails for a run that wrote nothing', () => expect(sum(0, [run(3, 0), undefined])).toEqual({ line: '3 passed, 1 failed\n', code: 1 }));
  test('fails for a failed check', () => expect(sum(1, [run(3, 0)])).toEqual({ line: '3 passed, 1 failed\n', code: 1 }));
  test('fails when nothing ran', () => expect(sum(0, [run(0, 0)])).toEqual({ line: '0 passed, 0 failed\n', code: 1 }));
});
