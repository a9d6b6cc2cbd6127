/**
 * Our side of lightningd's plugin protocol (architecture 3.12): manifest, init, commands, checks, hooks, notifications,
 * options, shutdown. The transport is handed in, so that tests run it in-process; `run.ts` connects it to a real process.
 */
import { resolve } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { CannotStart } from './cannot-start.js';
import { CommandError, INTERNAL_ERROR, INVALID_PARAMS, METHOD_NOT_FOUND } from './command-error.js';
import {
  manifestOf,
  type CommandContext,
  type Configuration,
  type Log,
  type LogLevel,
  type NotificationContext,
  type PluginDefinition,
} from './definition.js';
import { answerHook, describe, fallbackAnswer, type Hook, type HookName, type HookReport } from './hooks.js';
import { isObject, parseJson, type JsonObject, type JsonValue } from './json.js';
import { reply } from './json-read.js';
import { JsonScanner, ScanError, type ScannerLimits } from './json-scanner.js';
import { MessageWriter } from './message-writer.js';
import { OptionError, readOptions, type OptionSchema, type OptionsOf } from './options.js';
import { RpcClient, type Rpc } from './rpc-client.js';

export { method } from './definition.js';
export { option } from './options.js';
export { param } from './params.js';
export { CommandError } from './command-error.js';

export interface Transport {
  readonly input: Readable;
  readonly output: Writable;
  /** In place of a connection to the node's socket. */
  readonly connect?: (rpcPath: string) => Rpc;
  readonly limits?: ScannerLimits;
}

/** Why the plugin has ended. `code` is for the process: 0, or 1 after a fatal error. */
export interface Ending {
  readonly code: 0 | 1;
  readonly reason: 'shutdown' | 'input_ended' | 'output_closed' | 'signal' | 'fatal';
}

/** How long `onShutdown` may take, of the 30 s lightningd gives; and how long the last words may. */
const SHUTDOWN_MS = 20_000;
const FLUSH_MS = 2_000;
const MAX_LOG_LENGTH = 16_384;

type Id = string | number | bigint;
const isId = (value: unknown): value is Id => typeof value === 'string' || typeof value === 'number' || typeof value === 'bigint';

export const createPlugin = <O extends OptionSchema = Readonly<Record<string, never>>>(definition: PluginDefinition<O>): Plugin<O> =>
  new Plugin(definition);

export class Plugin<O extends OptionSchema = OptionSchema> {
  private writer: MessageWriter | undefined;
  private transport: Transport | undefined;
  private readonly aborter = new AbortController();
  private currentOptions: OptionsOf<O> | undefined;
  private currentConfiguration: Configuration | undefined;
  private currentRpc: Rpc | undefined;
  private ending: Ending | undefined;
  private ended: ((ending: Ending) => void) | undefined;

  constructor(private readonly definition: PluginDefinition<O>) {}

  /** The options' present values. Throws before `init`. */
  get options(): OptionsOf<O> {
    return afterInit(this.currentOptions);
  }
  get configuration(): Configuration {
    return afterInit(this.currentConfiguration);
  }
  get rpc(): Rpc {
    return afterInit(this.currentRpc);
  }
  /** Aborted when the plugin stops. */
  get signal(): AbortSignal {
    return this.aborter.signal;
  }

  readonly log: Log = (level, message) => {
    const text = message.length > MAX_LOG_LENGTH ? `${message.slice(0, MAX_LOG_LENGTH)}…` : message;
    this.writer?.sendLog(notification('log', { level, message: text }));
  };

  /** Sends a notification on one of the declared topics. Throws for another: lightningd would drop it. */
  notify(topic: string, payload: Readonly<Record<string, unknown>>): void {
    if (this.definition.notifications?.includes(topic) !== true) throw new Error(`the topic ${topic} is not in the manifest`);
    this.writer?.send(notification(topic, payload));
  }

  /** Serves lightningd until it stops us or goes away. Call once. */
  run(transport: Transport): Promise<Ending> {
    const { input, output } = transport;
    this.transport = transport;
    const scanner = new JsonScanner(transport.limits);
    const writer = new MessageWriter(output, {
      onDrain: () => {
        const dropped = writer.takeDropped();
        if (dropped > 0) this.log('unusual', `${dropped} log lines were dropped while lightningd did not read`);
        input.resume();
      },
      onClosed: () => void this.end({ code: 0, reason: 'output_closed' }),
    });
    this.writer = writer;
    input.on('data', (chunk: Buffer) => {
      for (const item of scanner.push(chunk)) this.received(item);
      if (writer.full) input.pause();
    });
    const inputEnded = (): void => {
      const cut = scanner.end();
      if (cut !== undefined) this.log('unusual', cut.message);
      void this.end({ code: 0, reason: 'input_ended' });
    };
    for (const event of ['end', 'close', 'error']) input.on(event, inputEnded);
    return new Promise((resolve) => (this.ended = resolve));
  }

  /** Something is wrong that nobody foresaw: says so in the log and ends with code 1. */
  fatal(error: unknown): void {
    this.log('broken', `fatal: ${describe(error)}`);
    void this.end({ code: 1, reason: 'fatal' });
  }

  /** Ends in good order, as lightningd's `shutdown` would have it. */
  stop(): void {
    void this.end({ code: 0, reason: 'signal' });
  }

  private async end(ending: Ending): Promise<void> {
    if (this.ending !== undefined) return;
    this.ending = ending;
    this.aborter.abort();
    // After a fatal error nothing is certain, least of all that tidying up is safe.
    if (ending.code === 0 && this.definition.onShutdown !== undefined) await this.tidy(this.definition.onShutdown);
    this.currentRpc?.close();
    this.transport?.input.destroy();
    await this.writer?.flush(FLUSH_MS);
    this.ended?.(ending);
  }

  private async tidy(onShutdown: () => void | Promise<void>): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<string>((resolve) => (timer = setTimeout(() => resolve(`not done after ${SHUTDOWN_MS} ms`), SHUTDOWN_MS)));
    try {
      const problem = await Promise.race([(async () => onShutdown())(), late]);
      if (typeof problem === 'string') this.log('broken', `shutdown: ${problem}`);
    } catch (error) {
      this.log('broken', `shutdown: ${describe(error)}`);
    } finally {
      clearTimeout(timer);
    }
  }

  private received(item: string | ScanError): void {
    if (item instanceof ScanError) {
      this.unreadable(item.head, item.message);
      return;
    }
    let message: JsonValue;
    try {
      message = parseJson(item);
    } catch (error) {
      this.unreadable(item, String(error));
      return;
    }
    const { id, method, params, origin } = isObject(message) ? message : {};
    if (typeof method !== 'string') this.log('unusual', `ignored: ${item.slice(0, 200)}`);
    else if (isId(id)) void this.request(id, method, params);
    else this.notified(method, isObject(params) ? params : {}, origin);
  }

  /**
   * lightningd sent what we cannot read: too large, or no JSON after all (it passes on as typed what an operator typed: 0x10 for
   * an int option, 007 for a parameter). Its id and method come before anything nested, so the question can still be
   * answered; one without an answer would hang for ever.
   */
  private unreadable(text: string, detail: string): void {
    const head = text.slice(0, 1_024);
    const id = /^\{[^{[]*?"id"\s*:\s*"([^"\\]*)"/.exec(head)?.[1];
    const method = /^\{[^{[]*?"method"\s*:\s*"([^"\\]*)"/.exec(head)?.[1] ?? '';
    const hook = this.hook(method);
    if (hook === undefined || id === undefined) this.log('unusual', `unreadable ${method === '' ? 'message' : method}: ${detail}`);
    if (id === undefined) return;
    if (method === 'init') this.fatal(`the configuration is unreadable (${detail})`);
    else if (hook !== undefined) this.answer(id, fallbackAnswer(hook.name, hook.hook, {}, 'unreadable', detail, this.reporter(method)));
    else this.refuse(id, new CommandError(INVALID_PARAMS, `unreadable request: ${detail}`));
  }

  /** Never rejects: whatever goes wrong is answered. */
  private async request(id: Id, name: string, params: JsonValue | undefined): Promise<void> {
    const hook = this.hook(name);
    if (hook !== undefined) {
      const given = isObject(params) ? params : {};
      this.answer(id, await answerHook(hook.name, hook.hook, given, id.toString(), this.reporter(name)));
      return;
    }
    try {
      this.answer(id, await this.execute(id, name, params));
    } catch (error) {
      if (error instanceof CommandError) this.refuse(id, error);
      else {
        this.log('broken', `${name}: ${describe(error)}`);
        this.refuse(id, new CommandError(INTERNAL_ERROR, `internal error: ${error instanceof Error ? error.message : String(error)}`));
      }
    }
  }

  private async execute(id: Id, name: string, params: JsonValue | undefined): Promise<object> {
    switch (name) {
      case 'getmanifest':
        return manifestOf(this.definition);
      case 'init':
        return this.init(isObject(params) ? params : {});
      case 'setconfig':
        return this.setConfig(isObject(params) ? params : {}, false);
      case 'check':
        return this.check(id, params);
      default:
        return this.method(name).run(params, this.context(id, false));
    }
  }

  private method(name: string): NonNullable<PluginDefinition<O>['methods']>[string] {
    const { methods = {} } = this.definition;
    const found = Object.hasOwn(methods, name) ? methods[name] : undefined;
    if (found === undefined) throw new CommandError(METHOD_NOT_FOUND, `Unknown command '${name}'`);
    return found;
  }

  /** lightningd passes a user's `check` on as it came: the command's name is the first parameter, the others follow. */
  private async check(id: Id, params: JsonValue | undefined): Promise<object> {
    const positional = Array.isArray(params) ? (params as readonly JsonValue[]) : undefined;
    const { command_to_check: named, ...others } = isObject(params) ? params : {};
    const name = positional === undefined ? named : positional[0];
    if (typeof name !== 'string') throw new CommandError(INVALID_PARAMS, 'missing required parameter: command_to_check');
    if (name === 'setconfig') await this.setConfig(others, true);
    else await this.method(name).check(positional?.slice(1) ?? others, this.context(id, true));
    return { command_to_check: name };
  }

  private context(id: Id, check: boolean): CommandContext {
    const tell = (kind: string, params: JsonObject): void => this.writer?.send(notification(kind, { id, ...params }));
    return {
      id: id.toString(),
      check,
      signal: this.aborter.signal,
      progress: (num, total, stage) => {
        // lightning-cli draws its bar with (total - 1) below the line and num unchecked: a crash of the operator's terminal.
        if (total < 2) return;
        const shown = stage === undefined || stage.total < 1 ? {} : { stage: { num: step(stage.num, stage.total), total: stage.total } };
        tell('progress', { num: step(num, total), total, ...shown });
      },
      message: (level: LogLevel, text: string) => tell('message', { level, message: text }),
    };
  }

  private async init(params: JsonObject): Promise<object> {
    try {
      const schema = this.definition.options;
      const options = (schema === undefined ? {} : readOptions(schema, params['options'])) as OptionsOf<O>;
      const configuration = readConfiguration(params);
      const rpc = this.transport?.connect?.(configuration.rpcPath) ?? new RpcClient({ path: configuration.rpcPath, name: this.definition.name });
      this.currentOptions = options;
      this.currentConfiguration = configuration;
      this.currentRpc = rpc;
      const refused = await this.definition.onInit?.({ options, configuration, rpc });
      if (refused === undefined) return {};
      // lightningd says so at level debug only; an operator must see it.
      this.log('broken', `disabled: ${refused.disable}`);
      return { disable: refused.disable };
    } catch (error) {
      this.fatal(error instanceof OptionError || error instanceof CannotStart ? error.message : error);
      return new Promise(() => undefined);
    }
  }

  /** `val` is a string, an array of strings, or absent for a flag. */
  private async setConfig(params: JsonObject, checkOnly: boolean): Promise<object> {
    const { config, val = true } = params;
    const schema = this.definition.options;
    const spec = typeof config === 'string' && schema !== undefined && Object.hasOwn(schema, config) ? schema[config] : undefined;
    if (typeof config !== 'string' || spec?.dynamic !== true) throw new CommandError(INVALID_PARAMS, 'config: no dynamic option of this plugin');
    let value: unknown;
    try {
      value = spec.read(val, config);
    } catch (error) {
      throw error instanceof OptionError ? new CommandError(INVALID_PARAMS, error.message, { field: config }) : error;
    }
    if (checkOnly) return {};
    this.currentOptions = { ...this.options, [config]: value };
    await this.definition.onOptionChanged?.(config);
    return {};
  }

  private notified(topic: string, params: JsonObject, origin: JsonValue | undefined): void {
    if (topic === 'shutdown') void this.end({ code: 0, reason: 'shutdown' });
    const subscriptions = this.definition.subscriptions ?? {};
    const { payload, sender } = unwrap(topic, params, origin);
    const ctx: NotificationContext = sender === undefined ? { topic } : { topic, origin: sender };
    for (const name of [topic, '*']) {
      const handler = Object.hasOwn(subscriptions, name) ? subscriptions[name] : undefined;
      if (handler === undefined) continue;
      (async () => handler(payload, ctx))().catch((error: unknown) => this.log('broken', `notification ${topic}: ${describe(error)}`));
    }
  }

  private hook(name: string): { readonly name: HookName; readonly hook: Hook<HookName> } | undefined {
    const hooks = this.definition.hooks ?? {};
    if (!Object.hasOwn(hooks, name)) return undefined;
    // Each hook's answers were checked where it was declared; here they are just answers.
    const hook = hooks[name as HookName] as unknown as Hook<HookName> | undefined;
    return hook === undefined ? undefined : { name: name as HookName, hook };
  }

  private reporter(name: string): HookReport {
    return (cause, detail) => this.log(cause === 'unreadable' ? 'unusual' : 'broken', `hook ${name}: ${cause}: ${detail}`);
  }

  private answer(id: Id, result: object): void {
    try {
      this.writer?.send({ jsonrpc: '2.0', id, result });
    } catch (error) {
      this.log('broken', `an answer has no JSON form: ${describe(error)}`);
      this.refuse(id, new CommandError(INTERNAL_ERROR, 'internal error: the result has no JSON form'));
    }
  }

  private refuse(id: Id, { code, message, data }: CommandError): void {
    this.writer?.send({ jsonrpc: '2.0', id, error: { code, message, data } });
  }
}

const notification = (method: string, params: object): object => ({ jsonrpc: '2.0', method, params });

const step = (num: number, total: number): number => Math.max(0, Math.min(Math.trunc(num), total - 1));

const afterInit = <T>(value: T | undefined): T => {
  if (value === undefined) throw new Error('not before init');
  return value;
};

const readConfiguration = (params: JsonObject): Configuration => {
  const configuration = reply('init', params).obj('configuration');
  const lightningDir = configuration.str('lightning-dir');
  const features = configuration.optObj('feature_set')?.json ?? {};
  return {
    lightningDir,
    rpcPath: resolve(lightningDir, configuration.str('rpc-file')),
    network: configuration.str('network'),
    startup: configuration.optBool('startup') ?? true,
    features: Object.fromEntries(Object.entries(features).filter((e): e is [string, string] => typeof e[1] === 'string')),
  };
};

/**
 * A topic's payload, without the wrapping that differs by sender: lightningd's own are under the topic's name, another
 * plugin's have `origin` beside `params` (v26.06) or `origin` and `payload` within.
 */
const unwrap = (topic: string, params: JsonObject, origin: JsonValue | undefined): { payload: JsonObject; sender: string | undefined } => {
  if (typeof origin === 'string') return { payload: params, sender: origin };
  const { origin: inner, payload } = params;
  if (typeof inner === 'string' && isObject(payload)) return { payload, sender: inner };
  const own = params[topic];
  return { payload: isObject(own) ? own : params, sender: undefined };
};
