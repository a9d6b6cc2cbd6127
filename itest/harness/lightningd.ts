import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import type { Bitcoind } from './bitcoind.js';
import { host } from './host.js';
import type { LightningResults, PeerChannel } from './lightning-results.js';
import { type Params, unixCall } from './rpc.js';
import { checkCall } from './schemas.js';
import { waitFor, type WaitOptions } from './wait.js';
import { type Daemon, freePort, groupMembers, REPOSITORY, type Workspace } from './workspace.js';

type OptionValue = string | number | boolean;
/** lightningd or plugin options: `{ 'factory-accept': id }` is `--factory-accept=id`, `true` a bare flag, a list one flag each. */
export type Options = Readonly<Record<string, OptionValue | readonly OptionValue[]>>;

type LoadedAs = 'plugin' | 'important-plugin';

export interface NodeOptions {
  /** Also the folder's name: keep it short, a Unix socket's path has at most 107 bytes. */
  readonly name: string;
  readonly bitcoind: Bitcoind;
  readonly workspace: Workspace;
  /** The plugin's options; false starts the node without it. */
  readonly plugin?: Options | false;
  /** What lightningd starts as the plugin (PLUGIN). */
  readonly executable?: string;
  /** What it is to lightningd (`plugin`): one that ends ends the node, too, if it is important. */
  readonly loadedAs?: LoadedAs;
  /** More lightningd options. */
  readonly options?: Options;
  /** `**BROKEN**` log lines, and ends of the plugin, that this test provokes on purpose. */
  readonly allowBroken?: RegExp;
}

export const PLUGIN = path.join(REPOSITORY, 'plugin/cln-factory');

/**
 * What an innocent lightningd calls broken. It forgets, when it restarts between a forwarded HTLC's fulfilment and its
 * removal, what its bookkeeping wants to know of it; no money is concerned (v26.06, lightningd/peer_htlcs.c).
 */
const LIGHTNINGD_NOISE = /Unable to calculate fees collected/;

const flags = (options: Options): readonly string[] =>
  Object.entries(options).flatMap(([name, value]) =>
    (Array.isArray(value) ? (value as readonly OptionValue[]) : [value as OptionValue])
      .filter((one) => one !== false)
      .map((one) => (one === true ? `--${name}` : `--${name}=${one}`)),
  );

/** Core Lightning's own plugins that no test here needs; without them a node starts faster and takes half the memory. */
const UNUSED_PLUGINS = ['bookkeeper', 'cln-renepay', 'cln-bip353', 'clnrest', 'cln-grpc', 'commando', 'funder', 'recklessrpc', 'wss-proxy'];

/** Speed only. What tests prove must not depend on developer mode. */
const speedFlags = (): readonly string[] => [
  '--developer',
  '--dev-bitcoind-poll=1',
  '--dev-fast-gossip',
  ...(host().kind === 'real' ? ['--dev-fast-reconnect', '--disable-dns', ...UNUSED_PLUGINS.map((name) => `--disable-plugin=${name}`)] : []),
];

/** One Core Lightning node, real or stand-in (see host.ts), with or without the plugin. */
export class LightningNode {
  readonly dir: string;
  readonly logFile: string;
  private readonly socket: string;
  private nodeId = '';
  private daemon: Daemon | undefined;
  private started = false;
  /** Found when a node was stopped or had died; stop() and problems() report them. */
  private readonly found: string[] = [];
  /** The log up to here has been looked at. */
  private checked = 0;

  private constructor(
    private readonly setup: NodeOptions,
    readonly port: number,
  ) {
    this.dir = path.join(setup.workspace.dir, setup.name);
    this.logFile = path.join(this.dir, 'log');
    this.socket = path.join(this.dir, 'regtest/lightning-rpc');
  }

  /** Starts a new node; returns when it answers and has seen the chain's tip. */
  static async start(setup: NodeOptions): Promise<LightningNode> {
    const node = new LightningNode(setup, await freePort());
    await mkdir(node.dir, { recursive: true });
    await node.resume();
    return node;
  }

  get name(): string {
    return this.setup.name;
  }

  get id(): string {
    return this.nodeId;
  }

  /** lightningd's process id. @throws when it is stopped */
  get pid(): number {
    if (this.daemon === undefined) throw new Error(`${this.name} is not running`);
    return this.daemon.pid;
  }

  get running(): boolean {
    return this.daemon !== undefined && this.daemon.ended === undefined;
  }

  /** lightningd answers while it starts, and is not to be asked for everything then (README, known issues). */
  get starting(): boolean {
    return this.running && !this.started;
  }

  /** Starts it (again) on its data, with other plugin options if given; `as` says what the plugin is to lightningd. */
  async resume(plugin: Options | false = this.setup.plugin ?? {}, as: LoadedAs = this.setup.loadedAs ?? 'plugin'): Promise<void> {
    const { bitcoind, workspace, options = {}, executable = PLUGIN } = this.setup;
    if (plugin !== false && !existsSync(path.join(REPOSITORY, 'dist/plugin/main.js'))) throw new Error('dist/plugin/main.js is not there: run npm run build');
    const daemon = workspace.spawn(this.name, host().command, [
      ...host().prefix,
      `--lightning-dir=${this.dir}`,
      '--network=regtest',
      `--alias=${this.name}`,
      `--addr=127.0.0.1:${this.port}`,
      `--bitcoin-cli=${bitcoind.cli}`,
      `--bitcoin-rpcport=${bitcoind.rpcPort}`,
      `--bitcoin-rpcuser=${bitcoind.user}`,
      `--bitcoin-rpcpassword=${bitcoind.password}`,
      `--log-file=${this.logFile}`,
      '--log-level=debug',
      ...speedFlags(),
      ...flags(options),
      ...(plugin === false ? [] : [`--${as}=${executable}`, ...flags(plugin)]),
    ]);
    this.daemon = daemon;
    this.started = false;
    await waitFor(`${this.name} to start`, async () => {
      if (daemon.ended !== undefined) return true;
      // It answers before its plugins are ready, which need its answers to become so.
      const { plugins } = (await this.call('plugin', { subcommand: 'list' })) as { readonly plugins: readonly { readonly active: boolean }[] };
      return plugins.every(({ active }) => active);
    });
    if (daemon.ended !== undefined) throw new Error(`${this.name} did not start: ${daemon.ended}\n${this.lastWords()}`);
    this.nodeId = (await this.call('getinfo')).id;
    await this.waitForHeight(await bitcoind.height());
    this.started = true;
  }

  call<M extends keyof LightningResults>(method: M, params?: Params): Promise<LightningResults[M]>;
  call(method: string, params?: Params): Promise<unknown>;
  async call(method: string, params: Params = {}): Promise<unknown> {
    const result = await unixCall(this.socket, method, params);
    if (method.startsWith('factory-')) checkCall(method, params, result);
    return result;
  }

  /** Asks until the answer is neither undefined nor false. */
  waitFor<T>(what: string, probe: (node: this) => T | undefined | false | Promise<T | undefined | false>, options?: WaitOptions): Promise<T> {
    return waitFor(
      `${this.name}: ${what}`,
      () => {
        if (!this.running) throw new Error(`${this.name} is not running`);
        return probe(this);
      },
      options,
    );
  }

  async waitForHeight(height: number): Promise<void> {
    await this.waitFor(`block ${height}`, async () => (await this.call('getinfo')).blockheight >= height);
  }

  /** Connects; returns when the peer has noticed, too. */
  async connect(peer: LightningNode): Promise<void> {
    await this.call('connect', { id: peer.id, host: '127.0.0.1', port: peer.port });
    await peer.waitForPeer(this);
  }

  async waitForPeer(peer: LightningNode): Promise<void> {
    await this.waitFor(`${peer.name} to be connected`, async () => (await this.call('listpeers')).peers.some(({ id, connected }) => id === peer.id && connected));
  }

  /** Channels, with one peer if given. */
  async channels(peer?: LightningNode): Promise<readonly PeerChannel[]> {
    return (await this.call('listpeerchannels', peer === undefined ? {} : { id: peer.id })).channels;
  }

  // Log

  /** The end of the log: what is logged from now on comes after it. */
  logMark(): number {
    return existsSync(this.logFile) ? statSync(this.logFile).size : 0;
  }

  /** The log from a mark on (all of it), as lines. */
  log(from = 0): readonly string[] {
    return existsSync(this.logFile) ? readFileSync(this.logFile).subarray(from).toString().split('\n') : [];
  }

  /** Waits for a log line that matches, after a mark (anywhere). @returns the line */
  waitForLog(pattern: RegExp, from = 0, options?: WaitOptions): Promise<string> {
    return waitFor(`${this.name} to log ${String(pattern)}`, () => this.log(from).find((line) => pattern.test(line)), options);
  }

  // Ends

  /** Stops it as an operator does. @throws when it, or the plugin, did something wrong since the last stop */
  async stop(): Promise<void> {
    await this.end();
    this.report();
  }

  /** Stop and start again, with other plugin options if given. */
  async restart(plugin?: Options | false): Promise<void> {
    await this.stop();
    await this.resume(plugin);
  }

  /** SIGKILL to lightningd, its daemons and plugins at once: a power failure. */
  async kill(): Promise<void> {
    this.inspect();
    await this.daemon?.kill();
    this.daemon = undefined;
    this.checked = this.logMark();
  }

  /** SIGKILL to the plugin alone, which lightningd was told is important: the node goes down in good order. */
  async killPlugin(): Promise<void> {
    const { daemon } = this;
    const pid = this.pluginPid();
    if (daemon === undefined || pid === undefined) throw new Error(`${this.name} runs no plugin`);
    this.inspect();
    process.kill(pid, 'SIGKILL');
    const late = await daemon.end();
    if (late !== undefined) this.found.push(late);
    this.daemon = undefined;
    this.checked = this.logMark();
  }

  /** The process id of our plugin, while the node runs. */
  pluginPid(): number | undefined {
    if (this.daemon === undefined) return undefined;
    const members = groupMembers(this.daemon.pid);
    const running = members.find((entry) => entry.command.includes('dist/plugin/main.js'));
    return (running ?? members.find((entry) => entry.command.includes(PLUGIN)))?.pid;
  }

  /** Stops it if it runs, without an opinion. */
  async end(): Promise<void> {
    const { daemon } = this;
    if (daemon === undefined) return;
    this.inspect();
    if (this.running) await this.call('stop').catch(() => daemon.terminate());
    const late = await daemon.end();
    if (late !== undefined) this.found.push(late);
    this.inspect();
    this.daemon = undefined;
  }

  /** What went wrong so far and nobody asked for. */
  problems(): readonly string[] {
    this.inspect();
    return this.found.map((problem) => `${this.name}: ${problem}`);
  }

  /** @throws when there are problems; each is reported once */
  report(): void {
    const problems = this.problems();
    this.found.length = 0;
    if (problems.length > 0) throw new NodeProblems(problems);
  }

  private inspect(): void {
    const { allowBroken } = this.setup;
    const lines = this.log(this.checked);
    this.checked = this.logMark();
    const allowed = (line: string): boolean => LIGHTNINGD_NOISE.test(line) || allowBroken?.test(line) === true;
    this.found.push(...lines.filter((line) => line.includes('**BROKEN**') && !allowed(line)));
    // At shutdown lightningd logs the plugins' ends as DEBUG, after `plugin stop` with other words.
    this.found.push(...lines.filter((line) => /(?:INFO|UNUSUAL)\s+plugin-cln-factory: Killing plugin: (?!stopped by)/.test(line) && !allowed(line)));
    for (const dir of [this.dir, path.join(this.dir, 'regtest')]) {
      const crashes = existsSync(dir) ? readdirSync(dir).filter((file) => file.startsWith('crash.log')) : [];
      this.found.push(...crashes.map((file) => `left ${file}`).filter((crash) => !this.found.includes(crash)));
    }
    const ended = this.daemon?.ended ?? 'exit code 0'; // what it says when it was asked to stop
    if (ended !== 'exit code 0') this.found.push(`lightningd ended: ${ended}\n${this.lastWords()}`);
  }

  private lastWords(): string {
    const { daemon } = this;
    const output = daemon === undefined ? '' : readFileSync(daemon.output, 'utf8').trim();
    return [...this.log().slice(-15), output.split('\n').slice(-15).join('\n')].join('\n');
  }
}

/** What nodes did wrong while a test looked elsewhere. */
export class NodeProblems extends Error {
  readonly code = 'node_problems';
  constructor(readonly problems: readonly string[]) {
    super(problems.join('\n'));
    this.name = 'NodeProblems';
  }
}
