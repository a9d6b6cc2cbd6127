/**
 * Which lightningd the end-to-end tests run on. `LIGHTNINGD` names one, or says `standin`; else the one in PATH; else the
 * stand-in, which speaks lightningd's plugin protocol and RPC but proves nothing about it.
 */
import { execFileSync } from 'node:child_process';
import { accessSync, constants, existsSync } from 'node:fs';
import path from 'node:path';
import { REPOSITORY } from './workspace.js';

export interface Host {
  readonly kind: 'real' | 'standin';
  /** What to start, and the arguments that come before lightningd's own. */
  readonly command: string;
  readonly prefix: readonly string[];
  readonly version: string;
}

const inPath = (program: string): string | undefined =>
  (process.env['PATH'] ?? '')
    .split(path.delimiter)
    .map((dir) => path.join(dir, program))
    .find((candidate) => {
      try {
        accessSync(candidate, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });

const standin = (): Host => {
  const main = path.join(REPOSITORY, 'dist/itest/standin/main.js');
  if (!existsSync(main)) throw new Error(`${main} is not there: run npm run build`);
  return { kind: 'standin', command: process.execPath, prefix: [main], version: 'stand-in' };
};

const find = (): Host => {
  const wanted = process.env['LIGHTNINGD'];
  if (wanted === 'standin') return standin();
  const lightningd = wanted ?? inPath('lightningd');
  if (lightningd === undefined) return standin();
  const version = execFileSync(lightningd, ['--version'], { encoding: 'utf8' }).trim();
  return { kind: 'real', command: lightningd, prefix: [], version };
};

let known: Host | undefined;
export const host = (): Host => (known ??= find());
