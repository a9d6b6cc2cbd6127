import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { Bitcoind } from './bitcoind.js';
import { Blocks } from './blocks.js';
import { channelCommands } from './channel-commands.js';
import { Channels } from './channels.js';
import { Commands } from './commands.js';
import { datastoreCommands } from './datastore.js';
import { Forwards } from './forwards.js';
import { Gossip } from './gossip.js';
import { Invoices } from './invoices.js';
import { Keys } from './keys.js';
import { Layers } from './layers.js';
import { Log, LogSink } from './log.js';
import { nodeCommands } from './node-commands.js';
import type { Options } from './options.js';
import { paymentCommands } from './payment-commands.js';
import { Payments } from './payments.js';
import { CustomMessages, peerCommands } from './peer-commands.js';
import { policyCommands } from './policy-commands.js';
import { Peers } from './peers.js';
import { PluginHost } from './plugin-host.js';
import { psbtCommands } from './psbt-commands.js';
import { Routing } from './routing.js';
import { RpcServer, sessionCommands } from './rpc-server.js';
import { Store } from './store.js';
import { type FatalError, messageOf } from './types.js';
import { Wallet } from './wallet.js';
import { walletCommands } from './wallet-commands.js';
import { Xpay } from './xpay.js';

const DEFAULT_POLL_MS = 1_000;

/** The whole node: its parts, wired together, and their order at start and end, which is lightningd's. */
export class Node {
  readonly version = 'v26.06.6-standin';
  readonly log: Log;
  readonly store: Store;
  readonly keys: Keys;
  readonly bitcoind: Bitcoind;
  readonly commands: Commands;
  readonly plugins: PluginHost;
  readonly blocks: Blocks;
  readonly wallet: Wallet;
  readonly gossip: Gossip;
  readonly forwards: Forwards;
  readonly invoices: Invoices;
  readonly payments: Payments;
  readonly layers: Layers;
  readonly routing: Routing;
  readonly channels: Channels;
  readonly peers: Peers;
  readonly customMessages: CustomMessages;
  private ended = false;
  private readonly rpc: RpcServer;
  private readonly timers = new Set<NodeJS.Timeout>();
  private readonly pidFile: string;

  constructor(readonly options: Options) {
    mkdirSync(options.networkDir, { recursive: true, mode: 0o700 });
    process.chdir(options.networkDir);
    const sink = new LogSink();
    sink.open(options.strings('log-file'), options.string('log-level') ?? 'info');
    this.log = new Log(sink, 'lightningd');
    this.log.info(this.version);
    this.pidFile = path.join(options.baseDir, `lightningd-${options.network}.pid`);
    writeFileSync(this.pidFile, String(process.pid));
    this.store = new Store('lightningd.sqlite3');
    this.keys = new Keys('hsm_secret');
    this.bitcoind = new Bitcoind(options);
    this.commands = new Commands(this);
    this.plugins = new PluginHost(this, this.log);
    this.blocks = new Blocks(this, this.bitcoind);
    this.wallet = new Wallet(this);
    this.gossip = new Gossip(this);
    this.forwards = new Forwards(this);
    this.invoices = new Invoices(this);
    this.payments = new Payments(this);
    this.layers = new Layers(this);
    this.routing = new Routing(this);
    this.channels = new Channels(this, this.log);
    this.peers = new Peers(this, this.log);
    this.customMessages = new CustomMessages(this);
    this.rpc = new RpcServer(this.commands, this.log, (error) => {
      this.fatal(error);
    });
    this.blocks.listen(this.wallet);
    this.blocks.listen(this.channels);
    for (const commands of [nodeCommands, datastoreCommands, walletCommands, psbtCommands, peerCommands, channelCommands, policyCommands, paymentCommands]) this.commands.add(commands(this));
    for (const part of [this.plugins, this.gossip, this.invoices, this.layers, this.routing, new Xpay(this)]) this.commands.add(part.commands());
    this.commands.add(sessionCommands);
    sink.onWarning = (level, source, line) => {
      const now = Date.now() / 1000;
      this.plugins.notify('warning', { level: level === 'broken' ? 'error' : 'warn', time: now.toFixed(9), timestamp: new Date().toISOString(), source, log: line });
    };
  }

  /** On its way out: nothing new is begun. */
  get stopped(): boolean {
    return this.ended;
  }

  get alias(): string {
    return this.options.string('alias') ?? `STANDIN-${this.keys.nodeId.slice(0, 8)}`;
  }

  get color(): string {
    return this.keys.nodeId.slice(0, 6);
  }

  async start(): Promise<void> {
    await this.plugins.start();
    if (this.stopped) return;
    this.options.check();
    await this.bitcoind.height();
    await this.rpc.listen(this.options.string('rpc-file') ?? 'lightning-rpc');
    await this.plugins.configure();
    if (this.ended) return;
    // Not before (lightningd's connectd_activate): a plugin that is not ready would miss what peers say at once.
    await this.peers.listen();
    this.log.info(`Server started with public key ${this.keys.nodeId}, alias ${this.alias} (color #${this.color}) and lightningd ${this.version}`);
    await this.blocks.start();
    this.payments.start();
    this.channels.start();
    this.peers.start();
    const seconds = this.options.string('dev-bitcoind-poll');
    this.blocks.poll(seconds === undefined ? DEFAULT_POLL_MS : Math.min(DEFAULT_POLL_MS, Number(seconds) * 250));
  }

  /** Like lightningd's `fatal()`: says why, and ends with code 1. */
  fatal(error: FatalError): void {
    if (this.stopped) return;
    this.log.broken(`FATAL SIGNAL or plugin error: ${messageOf(error)}`);
    process.stderr.write(`lightningd: ${messageOf(error)}\n`);
    process.exitCode = 1;
    this.ended = true;
    rmSync(this.pidFile, { force: true });
    process.exit(1);
  }

  /** Ends in order: no new work, then the plugins, then the rest; the answer to `stop` comes last. */
  async exit(code: number): Promise<void> {
    if (this.stopped) return;
    this.ended = true;
    this.rpc.stopListening();
    this.channels.chain.stop();
    this.peers.stop();
    await this.blocks.stop();
    await this.plugins.shutdown();
    for (const timer of this.timers) clearTimeout(timer);
    this.store.close();
    this.bitcoind.close();
    rmSync(this.pidFile, { force: true });
    this.rpc.close();
    process.exitCode = code;
    // What is left are answers on their way out.
    setTimeout(() => process.exit(code), 200).unref();
  }

  sleep(milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        this.timers.delete(timer);
        resolve();
      }, milliseconds);
      this.timers.add(timer);
    });
  }
}
