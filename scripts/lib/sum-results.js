// Sums Jest's JSON results: node sum-results.js <failed checks> <file>… The last line says it all; the exit code agrees.
import { existsSync, readFileSync } from 'node:fs';

const [, , checks, ...files] = process.argv;
const sum = { passed: 0, failed: Number(checks), skipped: 0 };
for (const file of files) {
  if (!existsSync(file)) {
    sum.failed += 1; // Jest did not get as far as to write it
    continue;
  }
  const run = JSON.parse(readFileSync(file, 'utf8'));
  sum.passed += run.numPassedTests;
  sum.failed += run.numFailedTests;
  sum.skipped += run.numPendingTests + run.numTodoTests;
  // A file that does not load, or whose clean-up fails, fails without a failed test in it.
  sum.failed += run.testResults.filter(
    (suite) => suite.status === 'failed' && !suite.assertionResults.some((result) => result.status === 'failed'),
  ).length;
}
const skipped = sum.skipped > 0 ? `, ${sum.skipped} skipped` : '';
console.log(`${sum.passed} passed, ${sum.failed} failed${skipped}`);
process.exitCode = sum.failed > 0 || sum.passed === 0 ? 1 : 0;
