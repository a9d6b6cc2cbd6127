/**
 * Cuts a byte stream into JSON texts. lightningd promises no framing beyond JSON itself (lightningd-facts): several
 * values come in one chunk, one value in many, split inside multi-byte characters and escapes, with blank lines anywhere.
 *
 * Every byte is looked at once and copied at most a constant number of times, whatever the chunk sizes. Values are
 * objects or arrays, as in JSON-RPC. What is returned is balanced, not yet parsed.
 */
import { MAX_DEPTH } from './json.js';

/** CLN hands whole blocks over as hex: 4 MB of block are 8 MB of text. */
export const DEFAULT_MAX_BYTES = 64 * 1024 * 1024;

export type ScanErrorCode =
  /** Longer than `maxBytes`. The rest of the value is skipped, the next one is read. */
  | 'too_large'
  /** Nested deeper than `maxDepth`. Skipped up to the next line feed. */
  | 'too_deep'
  /** A byte that cannot be there. Skipped up to the next line feed, at which lightningd ends every message. */
  | 'malformed'
  /** The stream ended inside a value. */
  | 'truncated';

export class ScanError extends Error {
  constructor(
    readonly code: ScanErrorCode,
    /** The first bytes of the value, to recognise it by. */
    readonly head: string,
  ) {
    super(`${code.replace('_', ' ')} JSON in the stream, beginning with ${JSON.stringify(head.slice(0, 80))}`);
    this.name = 'ScanError';
  }
}

export interface ScannerLimits {
  readonly maxBytes?: number;
  readonly maxDepth?: number;
}

const HEAD_BYTES = 1024;
const INITIAL_CAPACITY = 4096;
const LINE_FEED = 0x0a;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const isSpace = (byte: number): boolean => byte === 0x20 || byte === LINE_FEED || byte === 0x0d || byte === 0x09;

/** `skip_value`: inside a value that is too large, kept track of but not kept. `skip_line`: until the next line feed. */
type Mode = 'between' | 'value' | 'skip_value' | 'skip_line';

export class JsonScanner {
  private readonly maxBytes: number;
  /** The closing bracket each open one wants. */
  private readonly closers: Uint8Array;
  private readonly decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  private mode: Mode = 'between';
  private depth = 0;
  private inString = false;
  private escaped = false;
  /** The part of the value that came with earlier chunks. */
  private kept = new Uint8Array(INITIAL_CAPACITY);
  private keptLength = 0;

  constructor(limits: ScannerLimits = {}) {
    this.maxBytes = limits.maxBytes ?? DEFAULT_MAX_BYTES;
    this.closers = new Uint8Array(limits.maxDepth ?? MAX_DEPTH);
  }

  /** The texts completed by this chunk, and what was wrong, in order. The chunk is not kept. */
  push(chunk: Uint8Array): (string | ScanError)[] {
    const found: (string | ScanError)[] = [];
    let start = 0;
    for (let i = 0; i < chunk.length; i++) {
      const byte = chunk[i] ?? 0;
      if (this.mode === 'skip_line') {
        if (byte === LINE_FEED) this.reset();
        continue;
      }
      if (this.mode === 'between') {
        if (isSpace(byte)) continue;
        start = i;
        if (byte !== 0x7b && byte !== 0x5b) {
          found.push(this.fail('malformed', chunk.subarray(start, i + 1)));
          continue;
        }
        this.mode = 'value';
      }
      const wrong = this.step(byte);
      if (wrong !== undefined) found.push(this.fail(wrong, chunk.subarray(start, i + 1)));
      else if (this.depth === 0) {
        if (this.mode === 'value') found.push(this.finish(chunk.subarray(start, i + 1)));
        this.reset();
      }
    }
    if (this.mode === 'value') {
      this.keep(chunk.subarray(start));
      if (this.keptLength > this.maxBytes) found.push(this.tooLarge(chunk));
    }
    return found;
  }

  /** The stream has ended. An error if that was inside a value. */
  end(): ScanError | undefined {
    const error = this.mode === 'value' ? this.fail('truncated', new Uint8Array()) : undefined;
    this.reset();
    return error;
  }

  /** One byte inside a value. */
  private step(byte: number): ScanErrorCode | undefined {
    if (this.inString) {
      if (this.escaped) this.escaped = false;
      else if (byte === BACKSLASH) this.escaped = true;
      else if (byte === QUOTE) this.inString = false;
      return undefined;
    }
    switch (byte) {
      case QUOTE:
        this.inString = true;
        return undefined;
      case 0x7b: // {
      case 0x5b: // [
        if (this.depth === this.closers.length) return 'too_deep';
        this.closers[this.depth++] = byte + 2;
        return undefined;
      case 0x7d: // }
      case 0x5d: // ]
        return this.closers[--this.depth] === byte ? undefined : 'malformed';
      default:
        return undefined;
    }
  }

  private finish(last: Uint8Array): string | ScanError {
    if (this.keptLength + last.length > this.maxBytes) return this.tooLarge(last);
    if (this.keptLength === 0) return this.decoder.decode(last);
    this.keep(last);
    return this.decoder.decode(this.kept.subarray(0, this.keptLength));
  }

  private keep(part: Uint8Array): void {
    // Never more than the limit and one chunk; doubling keeps the copying linear.
    const needed = this.keptLength + part.length;
    if (needed > this.kept.length) {
      const grown = new Uint8Array(Math.max(needed, this.kept.length * 2));
      grown.set(this.kept.subarray(0, this.keptLength));
      this.kept = grown;
    }
    this.kept.set(part, this.keptLength);
    this.keptLength = needed;
  }

  private tooLarge(seen: Uint8Array): ScanError {
    const error = new ScanError('too_large', this.head(seen));
    this.mode = 'skip_value';
    this.forget();
    return error;
  }

  private fail(code: ScanErrorCode, seen: Uint8Array): ScanError {
    const error = new ScanError(code, this.head(seen));
    this.reset();
    this.mode = seen.at(-1) === LINE_FEED ? 'between' : 'skip_line';
    return error;
  }

  private head(seen: Uint8Array): string {
    const head = this.keptLength > 0 ? this.kept.subarray(0, Math.min(this.keptLength, HEAD_BYTES)) : seen.subarray(0, HEAD_BYTES);
    return this.decoder.decode(head);
  }

  private reset(): void {
    this.mode = 'between';
    this.depth = 0;
    this.inString = false;
    this.escaped = false;
    this.forget();
  }

  private forget(): void {
    this.keptLength = 0;
    // A rare giant must not hold its memory for ever.
    if (this.kept.length > 1024 * 1024) this.kept = new Uint8Array(INITIAL_CAPACITY);
  }
}
