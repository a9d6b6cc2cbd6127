import { createHash, randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import { parseJson, stringifyJson } from '../../plugin/runtime/json.js';
import { type Keys, signHash, verifyHash } from './keys.js';
import { isObject, type Json, type JsonObject, text } from './types.js';

/**
 * The wire between stand-ins: a length (4 bytes) and JSON, on loopback TCP. It takes BOLT 8's place: each side proves its node
 * key by signing the other's nonce; nothing is encrypted.
 */
export class Wire {
  onClose: (() => void) | undefined;
  private listener: ((message: JsonObject) => void) | undefined;
  /** Messages that came while nobody listened. */
  private readonly waiting: JsonObject[] = [];
  private received = Buffer.alloc(0);
  private closed = false;

  constructor(readonly socket: Socket) {
    socket.setNoDelay(true);
    socket.on('data', (chunk) => {
      this.received = Buffer.concat([this.received, chunk]);
      this.read();
    });
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      this.closed = true;
      this.onClose?.();
    });
  }

  /** Whoever listens gets what has come meanwhile first. */
  listen(listener: ((message: JsonObject) => void) | undefined): void {
    this.listener = listener;
    while (this.listener !== undefined) {
      const message = this.waiting.shift();
      if (message === undefined) return;
      this.listener(message);
    }
  }

  get open(): boolean {
    return !this.closed;
  }

  send(message: JsonObject): void {
    if (this.closed) return;
    const body = Buffer.from(stringifyJson(message));
    const length = Buffer.alloc(4);
    length.writeUInt32BE(body.length);
    this.socket.write(Buffer.concat([length, body]));
  }

  /** Hangs up after what was sent. */
  close(): void {
    this.socket.end();
    setTimeout(() => this.socket.destroy(), 500).unref();
  }

  private read(): void {
    while (this.received.length >= 4) {
      const length = this.received.readUInt32BE(0);
      if (this.received.length < 4 + length) return;
      const body = this.received.subarray(4, 4 + length).toString();
      this.received = this.received.subarray(4 + length);
      let message: Json;
      try {
        message = parseJson(body);
      } catch {
        this.socket.destroy();
        return;
      }
      if (!isObject(message)) continue;
      if (this.listener === undefined) this.waiting.push(message);
      else this.listener(message);
    }
  }
}

export interface Hello {
  readonly id: string;
  readonly features: string;
}

const challenge = (id: string, nonce: string): Uint8Array => createHash('sha256').update(`standin ${id} ${nonce}`).digest();

/** Who is on the other side, proven. @throws when it cannot prove it, hangs up or takes too long */
export const handshake = (wire: Wire, keys: Keys, features: string): Promise<Hello> =>
  new Promise((resolve, reject) => {
    const nonce = randomBytes(16).toString('hex');
    let peer: Hello | undefined;
    const timer = setTimeout(() => {
      fail('handshake timed out');
    }, 10_000);
    const fail = (reason: string): void => {
      clearTimeout(timer);
      wire.listen(undefined);
      wire.close();
      reject(new Error(reason));
    };
    wire.onClose = () => {
      fail('connection closed during handshake');
    };
    wire.listen((message) => {
      const id = text(message, 'id');
      const theirs = text(message, 'nonce');
      const signature = text(message, 'signature');
      if (peer === undefined && id !== undefined && theirs !== undefined) {
        peer = { id, features: text(message, 'features') ?? '' };
        wire.send({ t: 'auth', signature: signHash(challenge(keys.nodeId, theirs), keys.node) });
      } else if (peer !== undefined && signature !== undefined && verifyHash(signature, challenge(peer.id, nonce), peer.id)) {
        clearTimeout(timer);
        wire.listen(undefined);
        wire.onClose = undefined;
        resolve(peer);
      } else fail('handshake failed');
    });
    wire.send({ t: 'hello', id: keys.nodeId, features, nonce });
  });
