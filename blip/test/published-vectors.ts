/** Test vectors published with the BOLTs: beside the project, never inside it. */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const beside = path.resolve(fileURLToPath(new URL('../..', import.meta.url)), '../shared/vectors');

/** The JSON of `name` (`bolt01/bigsize-decoding.json`), its integers as text: some do not fit a double. */
export const publishedVectors = (name: string): unknown => {
  const file = path.join(process.env['VECTORS_DIR'] ?? beside, name);
  if (!existsSync(file)) throw new Error(`published test vectors ${name} are missing: expected at ${file}, or set VECTORS_DIR`);
  return JSON.parse(readFileSync(file, 'utf8').replace(/("value":\s*)(-?\d+)/g, '$1"$2"'));
};
