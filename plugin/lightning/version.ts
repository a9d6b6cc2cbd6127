/** Which Core Lightning the plugin runs on. */

/**
 * The oldest release the plugin is tested on. v25.12 was tried and does not do: it keeps splicing, by whose quiescence channels are
 * frozen for a close, behind an option (v26.04 made it the default), and loses sight of what a unilateral close has swept into the
 * wallet (its issue 9092).
 */
const OLDEST = { year: 26, month: 6 } as const;

/**
 * Why the plugin cannot run on this lightningd, or nothing. Releases are `v26.06.6`, builds from a checkout `v26.06-12-gabc1234`; a
 * version that says nothing of a release (a packager's own) passes: its packager knows best.
 */
export const versionProblem = (version: string): string | undefined => {
  const [, year, month] = /^v?(\d{1,2})\.(\d{1,2})/.exec(version) ?? [];
  if (year === undefined || month === undefined) return undefined;
  const age = Number(year) * 12 + Number(month);
  if (age >= OLDEST.year * 12 + OLDEST.month) return undefined;
  return `needs Core Lightning v${OLDEST.year}.${String(OLDEST.month).padStart(2, '0')} or later; this is ${version}`;
};
