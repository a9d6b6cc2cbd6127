/** The way out: messages to lightningd over our standard output, never torn, never throwing. */
import type { Writable } from 'node:stream';
import { stringifyJson } from './json.js';

/** Beyond this many bytes unread by lightningd, log lines are dropped and counted. */
const LOG_BACKLOG_BYTES = 16 * 1024 * 1024;

export class MessageWriter {
  private open = true;
  private dropped = 0;

  constructor(
    private readonly output: Writable,
    private readonly handlers: { readonly onDrain: () => void; readonly onClosed: () => void },
  ) {
    // EPIPE and its like: lightningd has gone away. Without a listener the process would crash instead.
    output.on('error', () => this.closed());
    output.on('close', () => this.closed());
    output.on('drain', handlers.onDrain);
  }

  /** lightningd reads slower than we write: take no new work until `onDrain`. */
  get full(): boolean {
    return this.open && this.output.writableNeedDrain;
  }

  /** Throws `JsonError` for what has no JSON form, before anything is written. */
  send(message: object): void {
    const text = stringifyJson(message);
    // lightningd ends every message with two line feeds; so do we.
    if (this.open) this.output.write(`${text}\n\n`);
  }

  /** As `send`, for what may be lost when lightningd does not keep up. */
  sendLog(message: object): void {
    if (this.output.writableLength > LOG_BACKLOG_BYTES) this.dropped++;
    else this.send(message);
  }

  /** How many log lines were dropped since the last call. */
  takeDropped(): number {
    const dropped = this.dropped;
    this.dropped = 0;
    return dropped;
  }

  /** Resolves when all is written or cannot be any more. */
  flush(timeoutMs: number): Promise<void> {
    if (!this.open || this.output.writableLength === 0) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, timeoutMs);
      const done = (): void => {
        clearTimeout(timer);
        resolve();
      };
      this.output.once('close', done);
      this.output.write('', done);
    });
  }

  private closed(): void {
    if (!this.open) return;
    this.open = false;
    this.handlers.onClosed();
  }
}
