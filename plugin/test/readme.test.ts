/** README.md, held against options and commands. */
import { expect, test } from '@jest/globals';
import { readFileSync } from 'node:fs';
import { commands } from '../commands/commands.js';
import { OPTIONS } from '../options.js';

const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');
const rows = readme.split('\n').filter((line) => line.startsWith('| '));

test.each(Object.entries(OPTIONS))('option %s: a row with its default and what it says of itself', (name, { description, default: value }) => {
  expect(rows).toContain(`| \`${name}\` | ${value === undefined ? '' : String(value)} | ${description} |`);
});

const methods = commands(() => {
  throw new Error('no command runs here');
});

test('there is no row of an option that is gone', () => {
  const documented = rows.flatMap((row) => /^\| `(factory-[a-z-]+)` \|/.exec(row)?.[1] ?? []).filter((name) => !(name in methods));
  expect(documented.sort()).toEqual(Object.keys(OPTIONS).sort());
});

test.each(Object.entries(methods))('command %s: a row with its usage', (name, { usage }) => {
  expect(rows.filter((row) => row.startsWith(`| \`${`${name} ${usage}`.trim()}\` |`))).toHaveLength(1);
});
