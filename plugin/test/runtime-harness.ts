/** lightningd's side of the pipes, in-process. */
import { PassThrough } from 'node:stream';
import { parseJson, stringifyJson, type JsonObject, type JsonValue } from '../runtime/json.js';
import { JsonScanner } from '../runtime/json-scanner.js';
import type { Ending, Plugin, Transport } from '../runtime/plugin.js';
import type { Rpc } from '../runtime/rpc-client.js';

export const CONFIGURATION = {
  'lightning-dir': '/nowhere/regtest',
  'rpc-file': 'lightning-rpc',
  startup: true,
  network: 'regtest',
  feature_set: { init: '80', node: '', channel: '', invoice: '' },
};

/** An RPC that answers nothing. */
export const silentRpc: Rpc = { call: () => new Promise<JsonObject>(() => undefined), close: () => undefined };

export class FakeNode {
  readonly toPlugin = new PassThrough();
  readonly fromPlugin: PassThrough;
  readonly notifications: JsonObject[] = [];
  readonly ending: Promise<Ending>;
  private readonly answers = new Map<JsonValue, (message: JsonObject) => void>();
  private nextId = 0;

  constructor(plugin: Pick<Plugin, 'run'>, transport: Partial<Transport> = {}, fromPlugin = new PassThrough()) {
    this.fromPlugin = fromPlugin;
    const scanner = new JsonScanner();
    fromPlugin.on('data', (chunk: Buffer) => {
      for (const item of scanner.push(chunk)) {
        if (typeof item !== 'string') throw item;
        const message = parseJson(item) as JsonObject;
        const { id } = message;
        if (id === undefined) this.notifications.push(message);
        else this.answers.get(id)?.(message);
      }
    });
    this.ending = plugin.run({ input: this.toPlugin, output: fromPlugin, connect: () => silentRpc, ...transport });
  }

  write(text: string): void {
    this.toPlugin.write(text);
  }

  /** The whole answer, with `result` or `error`. */
  ask(method: string, params: JsonValue = {}, id: JsonValue = `cln:${method}#${this.nextId++}`): Promise<JsonObject> {
    const answer = this.answer(id);
    this.write(`${stringifyJson({ jsonrpc: '2.0', id, method, params })}\n\n`);
    return answer;
  }

  answer(id: JsonValue): Promise<JsonObject> {
    return new Promise((resolve) => this.answers.set(id, resolve));
  }

  async start(options: JsonObject = {}): Promise<JsonObject> {
    await this.ask('getmanifest', { 'allow-deprecated-apis': false });
    return this.ask('init', { options, configuration: CONFIGURATION });
  }

  notify(method: string, params: JsonValue, extra: JsonObject = {}): void {
    this.write(`${stringifyJson({ jsonrpc: '2.0', method, ...extra, params })}\n\n`);
  }

  /** Log lines, as `level message`, without stack frames. */
  get logs(): readonly string[] {
    return this.notifications
      .filter((n) => n['method'] === 'log')
      .map((n) => n['params'] as { level: string; message: string })
      .map(({ level, message }) => `${level} ${message.split(' at ')[0] ?? ''}`);
  }
}

export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
