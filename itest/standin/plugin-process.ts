import { type ChildProcessByStdio, spawn } from 'node:child_process';
import path from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { parseJson, stringifyJson } from '../../plugin/runtime/json.js';
import { JsonScanner, ScanError } from '../../plugin/runtime/json-scanner.js';
import { CODE, isObject, type Json, type JsonObject, messageOf, RpcError, show } from './types.js';

interface Pending {
  readonly resolve: (result: Json) => void;
  readonly reject: (error: RpcError) => void;
  readonly notify: ((method: string, params: JsonObject) => void) | undefined;
}

/** What a plugin says without being asked. */
export interface PluginEvents {
  notification(method: string, params: Json): void;
  /** It has ended, or spoke nonsense and was killed. */
  ended(reason: string): void;
}

/** A plugin's process and the JSON-RPC over its standard streams. */
export class PluginProcess {
  readonly name: string;
  private readonly child: ChildProcessByStdio<Writable, Readable, null>;
  private readonly pending = new Map<string, Pending>();
  private over = false;

  constructor(
    readonly file: string,
    version: string,
    private readonly events: PluginEvents,
  ) {
    this.name = path.basename(file);
    this.child = spawn(file, [], { stdio: ['pipe', 'pipe', 'inherit'], env: { ...process.env, LIGHTNINGD_PLUGIN: '1', LIGHTNINGD_VERSION: version } });
    const scanner = new JsonScanner();
    this.child.stdout.on('data', (chunk: Buffer) => {
      for (const found of scanner.push(chunk)) {
        if (found instanceof ScanError) this.kill(`JSON-RPC message does not parse: ${found.message}`);
        else this.read(found);
      }
    });
    this.child.stdin.on('error', () => undefined);
    this.child.on('error', (error) => {
      this.finish(`cannot be started: ${error.message}`);
    });
    this.child.on('exit', (code, signal) => {
      this.finish(signal === null ? `exited with code ${code ?? 0}` : `died of ${signal}`);
    });
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  get running(): boolean {
    return !this.over;
  }

  /** @throws RpcError what the plugin answers, or that it has ended */
  request(id: string, method: string, params: Json, notify?: Pending['notify']): Promise<Json> {
    return new Promise((resolve, reject) => {
      if (this.over) {
        reject(terminated());
        return;
      }
      this.pending.set(id, { resolve, reject, notify });
      this.write({ jsonrpc: '2.0', id, method, params });
    });
  }

  write(message: JsonObject): void {
    if (!this.over) this.child.stdin.write(`${stringifyJson(message)}\n\n`);
  }

  kill(reason: string): void {
    this.child.kill('SIGKILL');
    this.finish(reason);
  }

  private read(text: string): void {
    let message: Json;
    try {
      message = parseJson(text);
    } catch (error) {
      this.kill(`JSON-RPC message does not parse: ${messageOf(error)}`);
      return;
    }
    if (!isObject(message)) return;
    const { id, method, params = null } = message;
    if (id === undefined) {
      if (typeof method === 'string') this.notification(method, params);
      else this.kill('Malformed JSON-RPC notification missing "method" or "params"');
      return;
    }
    const waiting = this.pending.get(show(id));
    if (waiting === undefined) return;
    this.pending.delete(show(id));
    const { result, error } = message;
    if (result !== undefined) waiting.resolve(result);
    else waiting.reject(rpcError(error));
  }

  private notification(method: string, params: Json): void {
    if (method !== 'message' && method !== 'progress') {
      this.events.notification(method, params);
      return;
    }
    const { id, ...rest } = isObject(params) ? params : {};
    if (id === undefined) this.kill('JSON-RPC notify "id"-field is not present');
    else this.pending.get(show(id))?.notify?.(method, rest);
  }

  private finish(reason: string): void {
    if (this.over) return;
    this.over = true;
    const waiting = [...this.pending.values()];
    this.pending.clear();
    for (const { reject } of waiting) reject(terminated());
    this.events.ended(reason);
  }
}

const terminated = (): RpcError => new RpcError(CODE.pluginTerminated, 'Plugin terminated before replying to RPC call.');

const rpcError = (error: Json | undefined): RpcError => {
  const { code, message, data } = isObject(error) ? error : {};
  return new RpcError(typeof code === 'number' ? code : -3, typeof message === 'string' ? message : stringifyJson(error ?? null), data);
};
