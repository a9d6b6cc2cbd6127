/** How the demo speaks: headings, commands as an operator would type them, tables. */

const say = (line = ''): void => {
  process.stdout.write(`${line}\n`);
};

export const heading = (text: string): void => {
  say(`\n== ${text}`);
};

/** What happened, in a sentence. */
export const told = (text: string): void => {
  say(`   ${text}`);
};

/** What is typed where: `lsp$ lightning-cli …`. */
export const typed = (where: string, command: string): void => {
  say(`${where}$ ${command}`);
};

/** Text of several lines, as it is. */
export const shown = (text: string): void => {
  for (const line of text.split('\n')) told(line);
};

/** 1,234,567. */
export const grouped = (n: bigint | number): string => n.toString().replace(/\B(?=(?:\d{3})+$)/g, ',');

export const satOf = (msat: bigint | number): bigint => BigInt(msat) / 1000n;

type Cell = string | number | bigint;

/** Numbers are grouped and stand to the right; columns are as wide as they must be. */
export const table = (head: readonly string[], rows: readonly (readonly Cell[])[]): void => {
  const text = (cell: Cell): string => (typeof cell === 'string' ? cell : grouped(cell));
  const cells = rows.map((row) => row.map(text));
  const right = head.map((_, i) => rows.length > 0 && rows.every((row) => typeof row[i] !== 'string' || row[i] === ''));
  const width = head.map((h, i) => Math.max(h.length, ...cells.map((row) => row[i]?.length ?? 0)));
  const line = (row: readonly string[]): string =>
    row.map((cell, i) => (right[i] === true ? cell.padStart(width[i] ?? 0) : cell.padEnd(width[i] ?? 0))).join('  ').trimEnd();
  told(line(head));
  told(width.map((w) => '-'.repeat(w)).join('  '));
  for (const row of cells) told(line(row));
};
