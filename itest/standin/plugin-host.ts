import { accessSync, constants, realpathSync } from 'node:fs';
import { stringifyJson } from '../../plugin/runtime/json.js';
import { type Call, command, type Command, type Request } from './commands.js';
import { BASE_FEATURES, type FeaturePlace, uniteFeatures } from './features.js';
import { type Log, parseLevel } from './log.js';
import type { Node } from './node.js';
import { OptionError } from './options.js';
import { bool, def, opt, oneOf, req, str } from './params.js';
import { type Manifest, ManifestError, parseManifest } from './plugin-manifest.js';
import { PluginProcess } from './plugin-process.js';
import { CODE, FatalError, field, isObject, type Json, type JsonObject, messageOf, RpcError, text } from './types.js';

interface Plugin {
  readonly process: PluginProcess;
  readonly log: Log;
  readonly important: boolean;
  manifest: Manifest | undefined;
  ready: boolean;
  stopping: boolean;
  /** By its own wish, when it was to start: nobody's failure. */
  disabled?: boolean;
}

type Verdict = { readonly kind: 'continue' } | { readonly kind: 'return'; readonly result: Json } | { readonly kind: 'replace'; readonly request: Request };

/** Starts the plugins and lets them take part: options, methods, hooks, notifications. Order is that of registration, unless a hook wants another. */
export class PluginHost {
  private readonly plugins: Plugin[] = [];
  private readonly ended = new Map<PluginProcess, () => void>();
  private requests = 0;
  private shuttingDown = false;

  constructor(
    private readonly node: Node,
    private readonly log: Log,
  ) {}

  /** Starts all and reads their manifests. */
  async start(): Promise<void> {
    const { options } = this.node;
    for (const [name, important] of [['plugin', false], ['important-plugin', true]] as const)
      for (const file of options.strings(name)) this.spawn(file, important, `--${name}=${file}`);
    await Promise.all([...this.plugins].map((plugin) => this.getManifest(plugin)));
  }

  /** Sends each its options and the node's configuration. */
  async configure(): Promise<void> {
    await Promise.all([...this.plugins].map((plugin) => this.init(plugin)));
  }

  get features(): Readonly<Record<FeaturePlace, string>> {
    const united: Record<FeaturePlace, string> = { ...BASE_FEATURES };
    for (const { manifest } of this.plugins)
      for (const [place, bits] of Object.entries(manifest?.features ?? {}) as [FeaturePlace, string][]) united[place] = uniteFeatures(united[place], bits);
    return united;
  }

  /** Even message types that peers may send us. */
  customMessages(): readonly number[] {
    return this.plugins.flatMap(({ manifest }) => manifest?.customMessages ?? []);
  }

  // Notifications

  notify(topic: string, payload: JsonObject): void {
    this.broadcast(topic, { method: topic, params: { [topic]: payload } });
  }

  private broadcast(topic: string, message: JsonObject): void {
    for (const { process, manifest, ready } of this.plugins)
      if (ready && manifest?.subscriptions.some((name) => name === topic || name === '*') === true)
        this.node.store.whenStored(() => {
          process.write({ jsonrpc: '2.0', ...message });
        });
  }

  // Hooks

  /**
   * Asks the plugins in order until one says something other than `continue`. What a `continue` adds (mindepth, reserve,
   * payload) is kept, the first plugin's word counts. @throws FatalError when a plugin answers with an error
   */
  async hook(name: string, payload: JsonObject, filter?: string | number): Promise<JsonObject> {
    let answer: JsonObject = { result: 'continue' };
    for (const plugin of this.inOrder(name)) {
      const response = await this.ask(plugin, name, payload, filter);
      if (response === undefined) continue;
      answer = { ...response, ...answer, result: response['result'] };
      if (response['result'] !== 'continue') return answer;
    }
    return answer;
  }

  async rpcCommandHook(request: Request): Promise<Verdict> {
    const payload = { rpc_command: { jsonrpc: '2.0', id: request.id, method: request.method, params: request.params } };
    let verdict: Verdict = { kind: 'continue' };
    for (const plugin of this.inOrder('rpc_command')) {
      const response = await this.ask(plugin, 'rpc_command', payload, request.method, request.id);
      if (response === undefined || response['result'] === 'continue') continue;
      if (verdict.kind !== 'continue') {
        this.log.unusual(`rpc_command hook '${request.method}' already modified, ignoring.`);
        return verdict;
      }
      verdict = this.verdict(request, response);
    }
    return verdict;
  }

  private verdict(request: Request, response: JsonObject): Verdict {
    const replace = response['replace'];
    if (isObject(replace)) return { kind: 'replace', request: { id: request.id, method: text(replace, 'method') ?? request.method, params: replace['params'] ?? {} } };
    const result = field(response['return'], 'result');
    if (result !== undefined) return { kind: 'return', result };
    const error = field(response['return'], 'error');
    const [code, message] = [field(error, 'code'), text(error, 'message')];
    if (typeof code === 'number' && message !== undefined) throw new RpcError(code, message, field(error, 'data'));
    this.log.broken("Bad response to 'rpc_command' hook.");
    return { kind: 'continue' };
  }

  /** As their manifests ask: `before` and `after` name plugins. */
  private inOrder(name: string): readonly Plugin[] {
    const of = (plugin: Plugin, key: 'before' | 'after'): readonly string[] => plugin.manifest?.hooks.find((hook) => hook.name === name)?.[key] ?? [];
    const waits = (plugin: Plugin, other: Plugin): boolean => of(plugin, 'after').includes(other.process.name) || of(other, 'before').includes(plugin.process.name);
    const left = [...this.plugins];
    const ordered: Plugin[] = [];
    while (left.length > 0) {
      const next = left.findIndex((plugin) => !left.some((other) => waits(plugin, other)));
      ordered.push(...left.splice(Math.max(0, next), 1));
    }
    return ordered;
  }

  private async ask(plugin: Plugin, name: string, payload: JsonObject, filter?: string | number, cause?: Json): Promise<JsonObject | undefined> {
    const registered = plugin.manifest?.hooks.find((hook) => hook.name === name);
    if (!plugin.ready || registered === undefined) return undefined;
    if (registered.filters !== undefined && (filter === undefined || !registered.filters.includes(filter))) return undefined;
    try {
      const response = await plugin.process.request(this.requestId(name, cause), name, payload);
      if (isObject(response)) return response;
      throw new FatalError(`Plugin ${plugin.process.name} for ${name} returned non-result response ${stringifyJson(response)}`);
    } catch (error) {
      if (!(error instanceof RpcError)) throw error;
      if (error.code === CODE.pluginTerminated) {
        this.log.debug(`Plugin died from ${name} hook call`);
        return undefined;
      }
      // Core Lightning survives no error here (lightningd-facts).
      throw new FatalError(`Plugin ${plugin.process.name} for ${name} returned non-result response ${stringifyJson({ error: error.toJson() })}`);
    }
  }

  // Lives of plugins

  private spawn(file: string, important: boolean, shown: string): void {
    try {
      accessSync(file, constants.X_OK);
    } catch (error) {
      throw new OptionError(`${shown}: Failed to register ${file}: ${messageOf(error)}`);
    }
    const resolved = realpathSync(file);
    if (this.plugins.some(({ process }) => process.file === resolved)) return;
    const log = this.log.of(`plugin-${resolved.split('/').at(-1) ?? ''}`);
    const process = new PluginProcess(resolved, this.node.version, {
      notification: (method, params) => {
        this.spoke(plugin, method, params);
      },
      ended: (reason) => {
        this.died(plugin, reason);
      },
    });
    const plugin: Plugin = { process, log, important, manifest: undefined, ready: false, stopping: false };
    this.plugins.push(plugin);
  }

  private async getManifest(plugin: Plugin): Promise<void> {
    const { process } = plugin;
    try {
      const answer = await process.request(this.requestId('getmanifest'), 'getmanifest', { 'allow-deprecated-apis': false });
      const manifest = parseManifest(process.file, answer);
      if (manifest.disable !== undefined) {
        plugin.stopping = true;
        process.kill(`disabled itself: ${manifest.disable}`);
        return;
      }
      for (const { name } of manifest.methods)
        if (this.node.commands.has(name)) throw new ManifestError(`Could not register method "${name}", a method with that name is already registered`);
      for (const option of manifest.options) this.node.options.register(option);
      for (const topic of manifest.subscriptions) if (!this.isTopic(topic, manifest)) plugin.log.unusual(`topic '${topic}' is not a known notification topic`);
      this.node.commands.add(manifest.methods.map(({ name, usage }) => this.method(plugin, name, usage)));
      plugin.manifest = manifest;
    } catch (error) {
      if (error instanceof OptionError) throw new FatalError(error.message);
      process.kill(error instanceof RpcError && error.code === CODE.pluginTerminated ? 'exited before replying to getmanifest' : messageOf(error));
    }
  }

  private async init(plugin: Plugin): Promise<void> {
    const { options } = this.node;
    try {
      const answer = await plugin.process.request(this.requestId('init'), 'init', {
        options: options.forPlugin(plugin.process.file),
        configuration: {
          'lightning-dir': options.networkDir,
          'rpc-file': options.string('rpc-file'),
          startup: true,
          network: options.network,
          feature_set: this.features,
        },
      });
      const disable = text(answer, 'disable');
      if (disable !== undefined) {
        plugin.stopping = true;
        plugin.disabled = true;
        plugin.process.kill(`disabled itself at init: ${disable}`);
        return;
      }
      plugin.ready = true;
      this.notify('plugin_started', { plugin_name: plugin.process.name, plugin_path: plugin.process.file, methods: plugin.manifest?.methods.map(({ name }) => name) ?? [] });
    } catch (error) {
      if (plugin.process.running) plugin.process.kill(`init: ${messageOf(error)}`);
    }
  }

  private died(plugin: Plugin, reason: string): void {
    const { process, log, manifest } = plugin;
    this.plugins.splice(this.plugins.indexOf(plugin), 1);
    for (const { name } of manifest?.methods ?? []) this.node.commands.remove(name);
    this.ended.get(process)?.();
    if (this.shuttingDown || this.node.stopped || plugin.disabled === true) {
      log.debug(`Killing plugin: ${reason}`);
      return;
    }
    log.info(`Killing plugin: ${reason}`);
    this.notify('plugin_stopped', { plugin_name: process.name, plugin_path: process.file, methods: manifest?.methods.map(({ name }) => name) ?? [] });
    if (plugin.important && !plugin.stopping) {
      log.broken('Plugin marked as important, shutting down lightningd!');
      void this.node.exit(1);
    }
  }

  private spoke(plugin: Plugin, method: string, params: Json): void {
    if (method === 'log') {
      const level = parseLevel(text(params, 'level') ?? 'info');
      const message = text(params, 'message');
      if (message === undefined || level === undefined) plugin.process.kill('Log notification from plugin doesn\'t have a string "message" field or a known level');
      else plugin.log.write(level, message);
    } else if (plugin.manifest?.topics.includes(method) !== true) {
      plugin.log.unusual(`Plugin attempted to send a notification to topic "${method}" it hasn't declared in its manifest, not forwarding to subscribers.`);
    } else this.broadcast(method, { method, origin: plugin.process.name, params });
  }

  /** Asks those that care to end, kills the others, and the former, too, after 30 seconds. */
  async shutdown(): Promise<void> {
    this.shuttingDown = true;
    await Promise.all([...this.plugins].map((plugin) => this.stop(plugin, 'lightningd is shutting down')));
  }

  private async stop(plugin: Plugin, reason: string): Promise<void> {
    plugin.stopping = true;
    const over = new Promise<void>((resolve) => this.ended.set(plugin.process, resolve));
    if (plugin.ready && plugin.manifest?.subscriptions.includes('shutdown') === true) {
      plugin.process.write({ jsonrpc: '2.0', method: 'shutdown', params: { shutdown: {} } });
      const timer = setTimeout(() => {
        plugin.process.kill(`failed to self-terminate in time, killing.`);
      }, 30_000);
      await over;
      clearTimeout(timer);
    } else plugin.process.kill(reason);
  }

  // Commands

  /** Options of plugins; lightningd's own do not change here. What is not transient is forgotten at the end all the same. */
  private async setConfig(name: string, value: string | undefined, transient: boolean, call: Call): Promise<Json> {
    const { options } = this.node;
    const plugin = this.plugins.find(({ process }) => process.file === options.dynamic(name));
    if (plugin === undefined) throw new RpcError(CODE.invalidParams, `config: Not a dynamic config option: invalid token '"${name}"'`);
    await this.forward(plugin, 'setconfig', { config: name, ...(value === undefined ? {} : { val: value }) }, call);
    return call.checkOnly ? {} : { config: options.change(name, value, transient) };
  }

  private method(plugin: Plugin, name: string, usage: string): Command {
    return { name, usage, run: (params, call) => this.forward(plugin, name, params, call) };
  }
  private forward(plugin: Plugin, name: string, params: Json | undefined, call: Call): Promise<Json> {
    const notify = (kind: string, body: JsonObject): void => {
      call.notify(kind as 'message' | 'progress', body);
    };
    if (!call.checkOnly) return plugin.process.request(this.requestId(name, call.id), name, params ?? {}, notify);
    if (plugin.manifest?.canCheck !== true) return Promise.resolve({ command_to_check: name });
    const whole = Array.isArray(params) ? [name, ...(params as readonly Json[])] : { command_to_check: name, ...(params as JsonObject | undefined) };
    return plugin.process.request(this.requestId('check', call.id), 'check', whole, notify);
  }

  commands(): readonly Command[] {
    return [
      command('plugin', { subcommand: req(oneOf('list', 'stop', 'start', 'startdir', 'rescan')), plugin: opt(str) }, async ({ subcommand, plugin }) => {
        if (subcommand === 'list') return this.list();
        if (subcommand !== 'stop') throw new RpcError(CODE.invalidParams, `the stand-in has no plugin ${subcommand}: give the plugin to it at the start`);
        const found = this.plugins.find(({ process }) => process.file === plugin || process.name === plugin);
        if (found === undefined) throw new RpcError(CODE.invalidParams, `Could not find plugin ${plugin ?? ''}`);
        if (found.manifest?.dynamic !== true) throw new RpcError(CODE.invalidParams, `${plugin ?? ''} cannot be managed when lightningd is up`);
        await this.stop(found, 'stopped by lightningd via RPC');
        return { command: 'stop', result: `Successfully stopped ${found.process.name}.` };
      }),
      command('setconfig', { config: req(str), val: opt(str), transient: def(bool, false) }, ({ config, val, transient }, call) => this.setConfig(config, val, transient, call)),
    ];
  }

  private list(): JsonObject {
    const shown = this.plugins.map(({ process, ready, manifest }) => ({ name: process.file, active: ready, dynamic: manifest?.dynamic ?? false }));
    return { command: 'list', plugins: shown };
  }

  private requestId(method: string, cause?: Json): string {
    this.requests += 1;
    const own = `cln:${method}#${this.requests}`;
    return typeof cause === 'string' ? `${cause}/${own}` : own;
  }

  private isTopic(topic: string, { topics }: Manifest): boolean {
    return topic === '*' || TOPICS.includes(topic) || topics.includes(topic) || this.plugins.some(({ manifest }) => manifest?.topics.includes(topic) === true);
  }
}

const TOPICS: readonly string[] = [
  'balance_snapshot', 'block_added', 'channel_open_failed', 'channel_opened', 'channel_state_changed', 'coin_movement', 'connect', 'custommsg',
  'deprecated_oneshot', 'disconnect', 'forward_event', 'invoice_creation', 'invoice_payment', 'log', 'onionmessage_forward_fail',
  'openchannel_peer_sigs', 'pay_failure', 'pay_success', 'plugin_started', 'plugin_stopped', 'sendpay_failure', 'sendpay_success', 'shutdown',
  'warning', 'xpay_pay_part_end', 'xpay_pay_part_start',
];
