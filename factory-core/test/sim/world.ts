/**
 * A coordinator, its clients, their nodes, a network and a chain, in one process and deterministic: everything that can
 * happen next is an action, and whoever drives the world (a fair scheduler, a test, a string of bytes) chooses.
 */
import { bytesToHex } from '@noble/hashes/utils.js';
import { instanceId, nodeId, sat, script, txid, type InstanceId, type NodeId, type Script, type Txid } from '../../../blip/brands.js';
import type { FactoryEnvelope, FactoryMessage } from '../../../blip/messages.js';
import { decodeMessage, encodeMessage } from '../../../blip/protocol-codec.js';
import type { ClientRequest, CoordinatorState, CreateRequest } from '../../coordinator/state.js';
import type { MemberState } from '../../member/state.js';
import { unsignedTurnovers } from '../../live/turnover.js';
import type { Terms } from '../../model.js';
import type { Event } from '../../protocol/effects.js';
import { client as clientName, COORDINATOR, digest, payoutScript, publicKey, secretKey, TERMS } from '../support/factory.js';
import { isUsable, mayCarry } from './carrying.js';
import { Chain } from './chain.js';
import { Cln, type SimChannel } from './cln.js';
import { Crash, Host, type Identity, type Job, type Outside, type Task } from './host.js';
import { Fees } from './fees.js';
import { Moving } from './moving.js';
import { Network, type Packet } from './network.js';
import { Oracle } from './oracle.js';
import { isWanted, passageFrom, perform, resultOf } from './performing.js';
import { StoreFailure } from './store.js';
import { Wallet } from './wallet.js';

export interface WorldOptions {
  readonly clients: readonly { readonly capacity: bigint; readonly stock: bigint; readonly name?: string }[];
  readonly minClients?: number;
  readonly fanouts?: readonly number[];
  readonly terms?: Partial<Terms>;
  /** The wallet's coins, in sat; plenty by default. */
  readonly coins?: readonly bigint[];
  /** See `Wallet`. */
  readonly sameChange?: boolean;
  /** Whose messages are not to be trusted. */
  readonly dishonest?: readonly string[];
  /** Whether messages travel as bytes; they do unless told otherwise. */
  readonly codec?: boolean;
  /** Another factory of the same coordinator: the same chain, wallet, processes and connections; keys and channels of its own. */
  readonly beside?: World;
}

/** Alters what a node sends: any number of messages in the place of one. */
export type Tamper = (from: Host, to: NodeId, envelope: FactoryEnvelope) => readonly FactoryEnvelope[];

/** What 150 blocks at once make of 12 clients that are asked with each, answer, and are answered, is an end. */
const ENOUGH = 10_000;

/** Stands for `supported_factory_protocols`, the first message of every connection. */
const HELLO = { hello: true } as const;
const BASE_HEIGHT = 800_000;
const MANY_BLOCKS = 20;
/** Ten times what the longest schedule takes. */
const MOST_ACTIONS = 60_000;
/** No reorganisation reaches further back than what a new factory has not been for so many blocks. */
const DEEPEST = 10;
/** More than one factory has. */
const PAYOUTS = 60;
/** sat per 1,000 vB. */
const TURNOVER_FEERATE = 2_500;
export interface Action {
  readonly label: string;
  readonly run: () => void;
}

export class World {
  /** The coordinator's factories, the first one first. */
  readonly worlds: readonly World[];
  readonly chain: Chain;
  readonly wallet: Wallet;
  readonly cln: Cln;
  readonly network: Network;
  readonly moving: Moving;
  readonly coordinator: Host;
  readonly members: readonly Host[];
  readonly hosts: readonly Host[];
  readonly instanceId: InstanceId;
  readonly request: CreateRequest;
  readonly oracle: Oracle;
  readonly fees: Fees;
  /** Of all factories: what goes on by itself besides what the factories do. */
  keeper: { readonly actions: () => readonly Action[] } | undefined;
  tamper: Tamper | undefined;
  /** The first one's, for all factories. */
  tampering: ((world: World) => Tamper) | undefined;
  /** Whether the coordinator's node and wallet now do something else than they say. */
  lies: () => boolean = () => false;
  /** Whether HTLCs settle by themselves, sooner or later. */
  htlcsSettle = true;
  /** Messages sent, by type, for tests. */
  readonly sent: { readonly from: string; readonly to: NodeId; readonly envelope: FactoryEnvelope }[] = [];
  readonly trace: string[];
  /** What a node was told to drop, by node and funding transaction. */
  readonly dropped = new Set<string>();
  private ownTamper: Tamper | undefined;
  private readonly gone: Set<NodeId>;
  /** By member, in msat, over all factories: what it was given, and has been paid or has paid since. */
  private readonly incomes: Map<NodeId, bigint>;
  /** The blocks above this one are followed. */
  private readonly base: number;
  private readonly others: World[];
  private randomness: number;

  constructor(readonly options: WorldOptions) {
    const { beside } = options;
    this.others = beside?.others ?? [];
    this.worlds = this.others;
    const number = this.others.push(this) - 1;
    this.chain = beside?.chain ?? new Chain(BASE_HEIGHT);
    this.base = Math.max(BASE_HEIGHT, this.chain.height - (beside ? DEEPEST : 0));
    this.instanceId = instanceId(bytesToHex(digest(number === 0 ? 'instance' : `instance ${String(number)}`)));
    this.trace = beside?.trace ?? [];
    this.gone = beside?.gone ?? new Set();
    this.incomes = beside?.incomes ?? new Map<NodeId, bigint>();
    this.randomness = number * 1_000_000;
    const identities = [COORDINATOR, ...options.clients.map(({ name }, i) => name ?? clientName(i))].map((name, i) => identityOf(name, i, number));
    const ids = identities.map((i) => i.id);
    const [lsp, ...clients] = ids;
    if (lsp === undefined) throw new Error('no coordinator');
    this.wallet = beside?.wallet ?? new Wallet(this.chain, options.coins ?? Array.from({ length: 12 }, () => 1_000_000_000n), options.sameChange ?? false);
    this.network = new Network(lsp, clients);
    this.cln = new Cln(lsp, (c) => this.network.isConnected(c), () => this.root.lies());
    this.moving = new Moving(this.cln, (to) => passageFrom(this, to), {
      isOpen: (channel) => isUsable(this, channel) && mayCarry(this, this.coordinator, channel),
      paysOut: (channel) => this.oracle.balanceChanges(channel),
    });
    const outside = this.outside();
    const hosts = identities.map((identity) => new Host(identity, lsp, outside));
    const [first, ...rest] = hosts;
    if (!first) throw new Error('no coordinator');
    this.hosts = hosts;
    this.coordinator = first;
    this.members = rest;
    for (const { id } of rest) if (this.worlds.some((w) => w.network.isConnected(id))) this.network.connect(id);
    this.request = {
      instanceId: this.instanceId,
      clients: options.clients.map(({ capacity, stock }, i): ClientRequest => ({ nodeId: clients[i] ?? lsp, capacity: sat(capacity), stock: sat(stock) })),
      minClients: options.minClients ?? options.clients.length,
      terms: { ...TERMS, ...options.terms },
      ...(options.fanouts ? { fanouts: options.fanouts } : {}),
      stepTimeout: 30,
      coordinatorKey: first.identity.key,
      payoutScript: first.identity.payoutScript,
    };
    this.oracle = new Oracle(this);
    this.fees = new Fees(this);
  }

  /** Node ids are not secrets: a client of the coordinator may be dishonest, or the coordinator itself. */
  isHonest(host: Host): boolean {
    return this.options.dishonest?.includes(host.name) !== true;
  }
  get root(): World {
    return this.worlds[0] ?? this;
  }
  /** The same node in each of its factories. */
  private inAll(host: Host): readonly { readonly world: World; readonly host: Host }[] {
    return this.worlds.flatMap((world) => world.hosts.filter((h) => h.id === host.id).map((h) => ({ world, host: h })));
  }
  host(id: NodeId): Host {
    const host = this.hosts.find((h) => h.id === id);
    if (!host) throw new Error(`no such node ${id}`);
    return host;
  }
  member(index: number): Host {
    const host = this.members[index];
    if (!host) throw new Error('no such member');
    return host;
  }
  get coordinatorState(): CoordinatorState | undefined {
    const { state } = this.coordinator;
    return state?.role === 'coordinator' ? state : undefined;
  }
  memberState(host: Host): MemberState | undefined {
    const { state } = host;
    return state?.role === 'member' ? state : undefined;
  }

  note(text: string): void {
    this.trace.push(text);
    if (this.trace.length > MOST_ACTIONS) throw new Error('no end to it');
  }

  private outside(): Outside {
    return {
      send: (from, to, attempt, message) => {
        this.send(from, to, { header: { instanceId: this.instanceId, attempt }, message });
      },
      broadcast: (from, { tx, why }) => {
        const { signable } = tx;
        this.oracle.publishing(from, tx);
        const result = this.chain.submit({
          txid: signable.txid,
          what: `${signable.purpose} (${why})`,
          inputs: [signable.tx.prevout.outpoint],
          outputs: signable.tx.outputs,
          lockTime: signable.tx.lockTime,
        });
        if (result !== 'known') this.note(`${from.name} publishes ${signable.purpose}: ${result}`);
      },
      closeChannel: (from, { channelId }) => {
        const channel = this.cln.find(from.id, channelId);
        if (!channel || !this.chain.isConfirmed(channel.funding.txid)) return;
        this.chain.submit({ txid: txid(bytesToHex(digest(`commitment ${channelId}`))), what: 'commitment', inputs: [channel.funding], outputs: [], lockTime: 0 });
      },
      sweep: (_, { stock, destination }) => {
        const id = txid(bytesToHex(digest(`sweep ${stock.outpoint.txid}`)));
        this.chain.submit({ txid: id, what: 'sweep', inputs: [stock.outpoint], outputs: [{ amount: stock.amount, script: destination }], lockTime: 0 });
      },
      thaw: (_, { channelIds }) => {
        for (const c of this.cln.channels) if (channelIds.includes(c.id)) c.frozen = false;
      },
      stored: (host, before, after) => this.oracle.stored(host, before, after),
      note: (text) => this.note(text),
      isReady: (host, effect) => !isWanted(this, host, effect) || this.moving.isReady(host.id, effect),
      tip: () => this.chain.height,
      random: (n) => {
        this.randomness += 1;
        const bytes = new Uint8Array(n);
        new DataView(bytes.buffer).setUint32(0, this.randomness);
        return bytes;
      },
    };
  }

  private send(from: Host, to: NodeId, envelope: FactoryEnvelope): void {
    const { tampering } = this.root;
    if (tampering) this.ownTamper ??= tampering(this);
    const tamper = tampering ? this.ownTamper : this.tamper;
    const all = tamper ? tamper(from, to, envelope) : [envelope];
    for (const e of all) {
      this.oracle.sending(from, e.message);
      this.sent.push({ from: from.name, to, envelope: e });
      this.transmit(from, to, e);
    }
  }
  private transmit(from: Host, to: NodeId, envelope: FactoryEnvelope): void {
    this.network.send(from.id, to, this.options.codec === false ? envelope : encodeMessage(envelope));
  }
  /** What no honest node would say. */
  inject(from: Host, to: NodeId, attempt: number, message: FactoryMessage): void {
    this.transmit(from, to, { header: { instanceId: this.instanceId, attempt }, message });
  }

  // What can happen.

  /** Runs an action of a node's process, which may end in it. */
  during(host: Host, work: () => void): void {
    try {
      work();
    } catch (error) {
      if (!(error instanceof Crash)) throw error;
      this.note(`${host.name} crashes`);
      this.crash(host);
    }
  }

  create(): void {
    this.during(this.coordinator, () => this.coordinator.create(this.request));
  }
  connect(host: Host): void {
    if (!this.canConnect(host)) return;
    for (const { world } of this.inAll(host)) {
      const { network, coordinator } = world;
      network.connect(host.id);
      world.cln.reconnected(host.id);
      network.send(host.id, coordinator.id, HELLO);
      network.send(coordinator.id, host.id, HELLO);
    }
  }
  private canConnect(host: Host): boolean {
    return !host.isCoordinator && !this.network.isConnected(host.id) && this.inAll(host).every((same) => same.host.up && same.world.coordinator.up);
  }
  disconnect(host: Host): void {
    for (const { world, host: same } of this.inAll(host)) {
      for (const m of same.isCoordinator ? world.members : [same]) {
        world.network.disconnect(m.id);
        world.cln.disconnected(m.id);
      }
    }
  }
  crash(host: Host): void {
    for (const same of this.inAll(host)) same.host.crash();
    this.disconnect(host);
  }
  restart(host: Host): void {
    for (const { world, host: same } of this.inAll(host)) if (!same.up) world.during(same, () => same.restart());
  }
  deliver(from: Host, to: Host): void {
    const packet = this.network.take(from.id, to.id);
    if (packet !== undefined && to.up) this.arrive(from, to, packet);
  }
  arrive(from: Host, to: Host, packet: Packet): void {
    this.during(to, () => {
      if (typeof packet === 'string') to.receive(from.id, decodeMessage(packet));
      else if ('hello' in packet) to.tell({ type: 'peer_connected', peer: from.id });
      else to.receive(from.id, packet);
    });
  }
  finish(host: Host, job: Job, half = false): void {
    this.during(host, () => host.finish(job, (effect) => perform(this, host, effect, half)));
  }
  endTask(host: Host, task: Task): void {
    this.during(host, () => host.endTask(task, resultOf(this, host, task)));
  }
  /** Whether a task that waits could end now. */
  canEnd(host: Host, task: Task): boolean {
    return task.kind === 'freeze' || task.channelIds.every((id) => this.cln.find(host.id, id)?.htlc === undefined);
  }
  command(host: Host, event: Event): void {
    this.during(host, () => host.tell(event));
  }
  /** One block further, or, when there are many, all the way. */
  follow(host: Host): void {
    const seen = host.seen.at(-1)?.height ?? this.base;
    this.during(host, () => {
      const step = (): boolean => {
        try {
          return host.follow((height) => this.chain.block(height), this.base);
        } catch (error) {
          if (!(error instanceof StoreFailure)) throw error;
          return false; // the follower tells it again
        }
      };
      if (!step() || this.chain.height - seen < MANY_BLOCKS) return;
      while (step());
    });
  }
  isBehind(host: Host): boolean {
    const top = host.seen.at(-1);
    if (top && this.chain.block(top.height) !== top) return true;
    return this.chain.height > (top?.height ?? this.base);
  }

  /** The coins reserved for a funding transaction are spent elsewhere, by another user of the wallet. */
  spendReserved(): void {
    const state = this.coordinatorState;
    if (state?.phase !== 'arming' && state?.phase !== 'opening' && state?.phase !== 'signing') return;
    const inputs = state.reserved.coins;
    if (this.chain.isKnown(state.spec.funding.txid)) return;
    this.chain.submit({ txid: txid(bytesToHex(digest(`elsewhere ${inputs.map((i) => i.txid).join()}`))), what: 'elsewhere', inputs, outputs: [], lockTime: 0 });
  }
  /** A dishonest coordinator does not wait for anybody. */
  publishEarly(): void {
    const state = this.coordinatorState;
    if (state && 'reserved' in state) this.wallet.send(state.reserved.psbt);
  }
  settleHtlc(channel: SimChannel): void {
    const { htlc } = channel;
    if (!htlc) return;
    this.oracle.balanceChanges(channel);
    const earned = htlc.from === channel.fundee ? -htlc.amount : htlc.amount;
    channel.balance += earned;
    this.earn(channel.fundee, earned);
    channel.htlc = undefined;
  }
  earn(member: NodeId, amount: bigint): void {
    this.incomes.set(member, this.earned(member) + amount);
  }
  earned(member: NodeId): bigint {
    return this.incomes.get(member) ?? 0n;
  }
  /** Never heard of again. */
  vanish(host: Host): void {
    if (this.inAll(host).some((same) => same.host.up)) this.crash(host);
    this.gone.add(host.id);
  }
  /** Back, after all. */
  returns(host: Host): void {
    this.gone.delete(host.id);
  }
  isAway(host: Host): boolean {
    return this.gone.has(host.id);
  }
  /** What a confirmed transaction pays to a script. */
  paidBy(id: Txid, to: Script): bigint {
    return this.chain.outputsOf(id).reduce((sum, o) => (o.script === to ? sum + o.amount : sum), 0n);
  }

  /** A channel that a node still has after it was told to drop it has been opened since. */
  isOpenedLate(host: Host, channel: SimChannel): boolean {
    return this.dropped.has(`${host.name} ${channel.funding.txid}`);
  }
  channelOf(host: Host): SimChannel | undefined {
    const branch = host.live?.branches[0];
    return branch && this.cln.find(host.id, branch.channelId);
  }

  /** What goes on by itself, nothing going wrong: at most one action per node and kind. */
  progress(): readonly Action[] {
    return [...this.steps()];
  }
  /** One after the other: who takes the first one does not pay for the rest. */
  private *steps(): Generator<Action, undefined> {
    for (const w of this.worlds) yield* w.ownSteps();
    yield* this.root.keeper?.actions() ?? [];
  }
  private get first(): Action | undefined {
    return this.steps().next().value;
  }
  private *ownSteps(): Generator<Action, undefined> {
    for (const host of this.hosts) {
      if (this.isAway(host)) continue;
      if (!host.up) {
        yield { label: `${host.name} restarts`, run: () => this.restart(host) };
        continue;
      }
      for (const job of host.runningJobs) yield { label: `${host.name} finishes ${job.effect.kind}`, run: () => this.finish(host, job) };
      for (const job of host.startable()) yield { label: `${host.name} begins ${job.effect.kind}`, run: () => (job.running = true) };
      for (const task of host.tasks) {
        if (this.canEnd(host, task)) yield { label: `${host.name} ends ${task.kind}`, run: () => this.endTask(host, task) };
      }
      if (this.isBehind(host)) {
        yield { label: `${host.name} follows the chain`, run: () => this.follow(host) };
      }
    }
    for (const m of this.members) {
      if (this.isAway(m) || this.isAway(this.coordinator)) continue;
      if (this.canConnect(m)) yield { label: `${m.name} connects`, run: () => this.connect(m) };
      for (const [from, to] of [
        [m, this.coordinator],
        [this.coordinator, m],
      ] as const) {
        if (this.network.waiting(from.id, to.id) > 0) yield { label: `${from.name} -> ${to.name}`, run: () => this.deliver(from, to) };
      }
    }
    const lsp = this.coordinatorState;
    if (this.coordinator.up && lsp?.phase === 'live' && unsignedTurnovers(lsp.live, lsp.request.payoutScript, TURNOVER_FEERATE).length > 0) {
      yield { label: 'the coordinator takes back what was handed over', run: () => this.command(this.coordinator, { type: 'turnover_requested', feerate: TURNOVER_FEERATE }) };
    }
    for (const c of this.cln.channels) {
      const fee = this.fees.next(c);
      if (fee) yield fee;
      if (this.htlcsSettle && c.htlc && c.htlc.fee === undefined && this.network.isConnected(c.fundee)) yield { label: 'an HTLC is settled', run: () => this.settleHtlc(c) };
    }
  }

  /** Does all that goes on by itself; timers do not run out. */
  settle(limit = ENOUGH): void {
    for (let i = 0; ; i += 1) {
      const next = this.first;
      if (!next) return;
      if (i === limit) throw new Error(`no end to it: ${this.trace.slice(-12).join("; ")}`);
      this.do(next);
    }
  }
  /** Goes on until something holds; false when all is quiet before that. */
  until(holds: () => boolean): boolean {
    for (let i = 0; i < ENOUGH; i += 1) {
      if (holds()) return true;
      const next = this.first ?? this.nextTimer();
      if (!next) return false;
      this.do(next);
    }
    throw new Error('no end to it');
  }
  do(action: Action): void {
    this.note(action.label);
    action.run();
    for (const { oracle } of this.worlds) oracle.check();
  }
  /** The timer that runs out first. */
  nextTimer(): Action | undefined {
    const all = this.worlds.flatMap((world) => world.hosts.flatMap((host) => host.timers.map((timer) => ({ world, host, timer }))));
    const first = all.reduce<(typeof all)[number] | undefined>((a, b) => (a && a.timer.seconds <= b.timer.seconds ? a : b), undefined);
    return first && { label: `${first.host.name} timer ${first.timer.name}`, run: () => first.world.during(first.host, () => first.host.fire(first.timer)) };
  }
  mine(blocks: number): void {
    for (let i = 0; i < blocks; i += 1) this.chain.mine();
    this.note(`${String(blocks)} blocks`);
  }
  /** As `settle`, and timers run out when nothing else is left. */
  quiet(): void {
    for (let i = 0; i < 1_000; i += 1) {
      this.settle();
      const timer = this.nextTimer();
      if (!timer) return;
      this.do(timer);
    }
    throw new Error('timers without end');
  }
}

const identityOf = (name: string, index: number, number: number): Identity => {
  const own = number === 0 ? name : `${name} in factory ${String(number)}`;
  return {
    name,
    id: nodeId(publicKey(`node of ${name}`)),
    secret: secretKey(own),
    key: publicKey(own),
    payoutScript: index === 0 ? script(`5120${bytesToHex(digest(`payout of the ${own}`))}`) : payoutScript(index - 1 + PAYOUTS * number),
  };
};
