/** Test vectors published with the BIPs and BOLTs: beside the project, never inside it. */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const beside = path.resolve(fileURLToPath(new URL('../..', import.meta.url)), '../shared/vectors');

/** The text of `name`, e.g. `bip340/test-vectors.csv`. */
export const vectorText = (name: string): string => {
  const file = path.join(process.env['VECTORS_DIR'] ?? beside, name);
  if (!existsSync(file)) throw new Error(`published test vectors ${name} are missing: expected at ${file}, or set VECTORS_DIR`);
  return readFileSync(file, 'utf8');
};

/** The JSON of `name`; the caller says what it looks like. */
export const vectorJson = (name: string): unknown => JSON.parse(vectorText(name));

/** The same (`bolt01/bigsize-decoding.json`), its integers as text: some do not fit a double. */
export const vectorJsonOfTexts = (name: string): unknown => JSON.parse(vectorText(name).replace(/("value":\s*)(-?\d+)/g, '$1"$2"'));
