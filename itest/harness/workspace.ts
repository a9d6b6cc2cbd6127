/**
 * A temporary folder and the processes that live in it. Whatever happens to the test, nothing is left behind: a reaper
 * process outside the test kills the daemons and removes the folder when the test process dies without closing it.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, existsSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { waitFor } from './wait.js';

/** The checkout's folder, from its sources as well as from dist/. */
export const REPOSITORY = ((): string => {
  let dir = path.dirname(fileURLToPath(import.meta.url));
  while (!existsSync(path.join(dir, 'package.json'))) dir = path.dirname(dir);
  return dir;
})();

/** With KEEP set, folders survive (logs, databases, chain) and their paths are printed. */
const keep = Boolean(process.env['KEEP']);

// Reads one process group a line. 'closed' ends it quietly; the end of input without it means the test has died.
const REAPER = `
groups=
while read -r line; do
  [ "$line" = closed ] && exit 0
  groups="$groups -$line"
done
[ -z "$groups" ] || kill -9 $groups 2>/dev/null
[ -n "$2" ] || rm -rf "$1"`;

const handedOut = new Set<number>();

/** A TCP port that is free on 127.0.0.1. Below the range the kernel uses for outgoing connections, which could take it. */
export const freePort = async (): Promise<number> => {
  for (;;) {
    const port = 18_000 + Math.floor(Math.random() * 14_000);
    if (handedOut.has(port)) continue;
    const free = await new Promise<boolean>((resolve) => {
      const server = createServer()
        .once('error', () => resolve(false))
        .listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
    });
    if (free) {
      handedOut.add(port);
      return port;
    }
  }
};

/** A running process as /proc shows it (Linux). */
interface ProcessEntry {
  readonly pid: number;
  readonly parent: number;
  readonly group: number;
  readonly command: string;
}

/** All processes of a process group; zombies, which wait for a parent to reap them, do not count. */
export const groupMembers = (group: number): readonly ProcessEntry[] =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        // pid (name) state ppid pgrp …: the name may hold spaces and parentheses.
        const stat = readFileSync(`/proc/${name}/stat`, 'utf8');
        const [state, parent, pgrp] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
        if (Number(pgrp) !== group || state === 'Z' || state === 'X') return [];
        const command = readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
        return [{ pid: Number(name), parent: Number(parent), group, command }];
      } catch {
        return []; // it ended while we looked
      }
    });

/** A child process and everything it starts, as one process group. */
export class Daemon {
  /** Exit code or signal name, once the process is gone. */
  ended: string | undefined;
  private readonly gone: Promise<void>;
  /** The process and its children are gone for sure. */
  private over = false;

  constructor(
    readonly name: string,
    /** Where its stdout and stderr go. */
    readonly output: string,
    private readonly child: ChildProcess,
  ) {
    this.gone = new Promise((resolve) => {
      const end = (how: string): void => {
        this.ended ??= how;
        resolve();
      };
      child.once('exit', (code, signal) => end(signal ?? `exit code ${code ?? '?'}`));
      child.once('error', (error) => end(error.message));
    });
  }

  /** @throws when the program could not be started; never a number that kill(2) takes for everybody. */
  get pid(): number {
    if (this.child.pid === undefined) throw new Error(`${this.name} did not start: ${this.ended ?? 'no process'}`);
    return this.child.pid;
  }

  /** SIGKILL to the process and all its children at once, as when the power fails. */
  async kill(): Promise<void> {
    // Once the group is empty its number can come to mean another one.
    if (this.child.pid !== undefined && !this.over) {
      try {
        process.kill(-this.child.pid, 'SIGKILL');
      } catch {
        // ESRCH: the whole group is gone already.
      }
    }
    await this.gone;
    this.over = true;
  }

  /** SIGTERM to the process alone. */
  terminate(): void {
    this.child.kill('SIGTERM');
  }

  /**
   * Waits until the process, which was asked to end, and then its children are gone; kills them after `grace` milliseconds.
   * @returns what had to be killed, undefined when all went by itself
   */
  async end(grace = 40_000): Promise<string | undefined> {
    const within = (timeout: number, condition: () => boolean): Promise<boolean> =>
      waitFor(this.name, condition, { timeout, interval: 20 }).catch(() => false);
    const ended = await within(grace, () => this.ended !== undefined);
    const alone = ended && (await within(10_000, () => groupMembers(this.pid).length === 0));
    const left = alone ? [] : groupMembers(this.pid).map((entry) => entry.command);
    await this.kill();
    if (!ended) return `${this.name} did not stop within ${grace} ms`;
    return alone ? undefined : `${this.name} left processes behind: ${left.join('; ')}`;
  }
}

export class Workspace {
  private readonly daemons: Daemon[] = [];

  private constructor(
    readonly dir: string,
    private readonly reaper: ChildProcess,
  ) {}

  static create(): Workspace {
    // A Unix socket's path has at most 107 bytes: a long TMPDIR will not do.
    const base = tmpdir().length <= 40 ? tmpdir() : '/tmp';
    const dir = mkdtempSync(path.join(base, 'clnf-'));
    if (keep) console.log(`kept: ${dir}`);
    const reaper = spawn('sh', ['-c', REAPER, 'reaper', dir, keep ? 'keep' : ''], {
      stdio: ['pipe', 'ignore', 'ignore'],
      detached: true,
    });
    return new Workspace(dir, reaper);
  }

  /** Starts a program in its own process group; its output goes to `<name>.out` in the folder. */
  spawn(name: string, command: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): Daemon {
    const output = path.join(this.dir, `${name}.out`);
    const out = openSync(output, 'a');
    const child = spawn(command, args, {
      cwd: this.dir,
      detached: true,
      stdio: ['ignore', out, out],
      // Jest's NODE_OPTIONS are not the plugin's.
      env: { ...process.env, NODE_OPTIONS: undefined, ...env },
    });
    closeSync(out);
    const daemon = new Daemon(name, output, child);
    if (child.pid !== undefined) this.reaper.stdin?.write(`${child.pid}\n`);
    this.daemons.push(daemon);
    return daemon;
  }

  /** Kills what still runs and removes the folder. Safe to call twice. */
  async close(): Promise<void> {
    await Promise.all(this.daemons.map((daemon) => daemon.kill()));
    this.reaper.stdin?.end('closed\n');
    if (!keep) rmSync(this.dir, { recursive: true, force: true, maxRetries: 5 });
  }
}
