import { openSync, writeSync } from 'node:fs';

/** lightningd's names, least important first. */
const LEVELS = ['io', 'trace', 'debug', 'info', 'unusual', 'broken'] as const;
export type Level = (typeof LEVELS)[number];
const LABEL: Readonly<Record<Level, string>> = { io: 'IO', trace: 'TRACE', debug: 'DEBUG', info: 'INFO', unusual: 'UNUSUAL', broken: '**BROKEN**' };
const ALIASES: Readonly<Record<string, Level>> = { warn: 'unusual', error: 'broken' };

export const parseLevel = (name: string): Level | undefined => ALIASES[name] ?? LEVELS.find((level) => level === name);

/** Where lines go; shared by all prefixes. Written at once, so that a killed node has said what it did. */
export class LogSink {
  private readonly files: number[] = [];
  /** Unusual and broken lines become `warning` notifications. */
  onWarning: ((level: Level, source: string, line: string) => void) | undefined;
  private threshold: number = LEVELS.indexOf('info');

  open(paths: readonly string[], level: string): void {
    const parsed = parseLevel(level);
    if (parsed === undefined) throw new Error(`--log-level: '${level}' is no level`);
    this.threshold = LEVELS.indexOf(parsed);
    for (const path of paths) if (path !== '-') this.files.push(openSync(path, 'a', 0o640));
  }

  write(level: Level, source: string, line: string): void {
    if (LEVELS.indexOf(level) >= this.threshold) {
      const out = `${new Date().toISOString()} ${LABEL[level].padEnd(7)} ${source}: ${line}\n`;
      for (const fd of this.files.length > 0 ? this.files : [1]) writeSync(fd, out);
    }
    if (level === 'unusual' || level === 'broken') this.onWarning?.(level, source, line);
  }
}

/** Lines of one part of the node, in lightningd's format: time, level, source, text. */
export class Log {
  constructor(
    private readonly sink: LogSink,
    private readonly source: string,
  ) {}

  of(source: string): Log {
    return new Log(this.sink, source);
  }

  write(level: Level, message: string): void {
    for (const line of message.split('\n')) this.sink.write(level, this.source, line);
  }

  debug(message: string): void {
    this.write('debug', message);
  }

  info(message: string): void {
    this.write('info', message);
  }

  unusual(message: string): void {
    this.write('unusual', message);
  }

  broken(message: string): void {
    this.write('broken', message);
  }
}
