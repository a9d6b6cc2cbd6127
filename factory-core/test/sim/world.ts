/**
 * A coordinator, its clients, their nodes, a network and a chain, in one process and deterministic: everything that can
 * happen next is an action, and whoever drives the world (a fair scheduler, a test, a string of bytes) chooses.
 */
import { bytesToHex } from '@noble/hashes/utils.js';
import { instanceId, nodeId, sat, script, txid, type InstanceId, type NodeId, type PaymentHash, type Script, type Txid } from '../../../blip/brands.js';
import type { FactoryEnvelope, FactoryMessage } from '../../../blip/messages.js';
import { decodeMessage, encodeMessage } from '../../../blip/protocol-codec.js';
import type { ClientRequest, CoordinatorState, CreateRequest } from '../../coordinator/state.js';
import type { MemberState } from '../../member/state.js';
import { unsignedTurnovers } from '../../live/turnover.js';
import type { Terms } from '../../model.js';
import { verifyFinal } from '../../musig/index.js';
import type { DurableEffect, Event } from '../../protocol/effects.js';
import { client as clientName, COORDINATOR, digest, payoutScript, publicKey, secretKey, TERMS } from '../support/factory.js';
import { Chain } from './chain.js';
import { Cln, type SimChannel } from './cln.js';
import { Crash, Host, type Identity, type Job, type Outside, type Task } from './host.js';
import { Fees } from './fees.js';
import { Moving } from './moving.js';
import { Network, type Packet } from './network.js';
import { Oracle } from './oracle.js';
import { StoreFailure } from './store.js';
import { Wallet } from './wallet.js';

export interface WorldOptions {
  readonly clients: readonly { readonly capacity: bigint; readonly stock: bigint }[];
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
}

/** Alters what a node sends: any number of messages in the place of one. */
export type Tamper = (from: Host, to: NodeId, envelope: FactoryEnvelope) => readonly FactoryEnvelope[];

/** Stands for `supported_factory_protocols`, the first message of every connection. */
const HELLO = { hello: true } as const;
const BASE_HEIGHT = 800_000;
const MANY_BLOCKS = 20;
/** sat per 1,000 vB. */
const TURNOVER_FEERATE = 2_500;
/** Where the funding goes if the coordinator cheats. */
const NOBODYS_SCRIPT = script(`5120${'ee'.repeat(32)}`);

export interface Action {
  readonly label: string;
  readonly run: () => void;
}

export class World {
  readonly chain = new Chain(BASE_HEIGHT);
  readonly wallet: Wallet;
  readonly cln: Cln;
  readonly network: Network;
  readonly moving: Moving;
  readonly coordinator: Host;
  readonly members: readonly Host[];
  readonly hosts: readonly Host[];
  readonly instanceId: InstanceId = instanceId(bytesToHex(digest('instance')));
  readonly request: CreateRequest;
  readonly oracle: Oracle;
  readonly fees: Fees;
  tamper: Tamper | undefined;
  /** Whether the coordinator's node and wallet now do something else than they say. */
  lies: () => boolean = () => false;
  /** Whether HTLCs settle by themselves, sooner or later. */
  htlcsSettle = true;
  /** Messages sent, by type, for tests. */
  readonly sent: { readonly from: string; readonly to: NodeId; readonly envelope: FactoryEnvelope }[] = [];
  readonly trace: string[] = [];
  /** What a node was told to drop, by node and funding transaction. */
  private readonly dropped = new Set<string>();
  private readonly gone = new Set<Host>();
  private randomness = 0;

  constructor(readonly options: WorldOptions) {
    const identities = [COORDINATOR, ...options.clients.map((_, i) => clientName(i))].map(identityOf);
    const ids = identities.map((i) => i.id);
    const [lsp, ...clients] = ids;
    if (lsp === undefined) throw new Error('no coordinator');
    this.wallet = new Wallet(this.chain, options.coins ?? Array.from({ length: 12 }, () => 1_000_000_000n), options.sameChange ?? false);
    this.network = new Network(lsp, clients);
    this.cln = new Cln(lsp, (c) => this.network.isConnected(c), () => this.lies());
    this.moving = new Moving(this.cln);
    const outside = this.outside();
    const hosts = identities.map((identity) => new Host(identity, lsp, outside));
    const [first, ...rest] = hosts;
    if (!first) throw new Error('no coordinator');
    this.hosts = hosts;
    this.coordinator = first;
    this.members = rest;
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
      isReady: (host, effect) => (effect.kind === 'await_owed' && !this.awaits(host, effect.paymentHash)) || this.moving.isReady(host.id, effect),
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
    const all = this.tamper ? this.tamper(from, to, envelope) : [envelope];
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
    if (host.isCoordinator || !host.up || !this.coordinator.up || this.network.isConnected(host.id)) return;
    this.network.connect(host.id);
    this.cln.reconnected(host.id);
    this.network.send(host.id, this.coordinator.id, HELLO);
    this.network.send(this.coordinator.id, host.id, HELLO);
  }
  disconnect(host: Host): void {
    for (const m of host.isCoordinator ? this.members : [host]) {
      this.network.disconnect(m.id);
      this.cln.disconnected(m.id);
    }
  }
  crash(host: Host): void {
    host.crash();
    this.disconnect(host);
  }
  restart(host: Host): void {
    this.during(host, () => host.restart());
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
    this.during(host, () => host.finish(job, (effect) => this.perform(host, effect, half)));
  }
  endTask(host: Host, task: Task): void {
    this.during(host, () => host.endTask(task, this.resultOf(host, task)));
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
    const seen = host.seen.at(-1)?.height ?? BASE_HEIGHT;
    this.during(host, () => {
      const step = (): boolean => {
        try {
          return host.follow((height) => this.chain.block(height), BASE_HEIGHT);
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
    return this.chain.height > (top?.height ?? BASE_HEIGHT);
  }

  private resultOf(host: Host, task: Task): Event | undefined {
    const channels = task.channelIds.flatMap((id) => this.cln.find(host.id, id) ?? []);
    if (task.kind === 'drain') return { type: 'drained', attempt: task.attempt, channels: channels.map((c) => this.cln.factsAt(host.id, c)) };
    const ready = channels.length === task.channelIds.length && channels.every((c) => this.network.isConnected(c.fundee) && !c.htlc);
    if (!ready) return { type: 'freeze_failed', attempt: task.attempt, reason: 'a channel is not ready' };
    for (const c of channels) c.frozen = true;
    return { type: 'frozen', attempt: task.attempt };
  }

  private perform(host: Host, effect: DurableEffect, half: boolean): Event | undefined {
    switch (effect.kind) {
      case 'select_coins': {
        const { attempt } = effect;
        const coins = this.wallet.select(effect.amount);
        return coins ? { type: 'coins_selected', attempt, coins } : { type: 'funding_failed', attempt, reason: 'not enough coins' };
      }
      case 'prepare_funding': {
        const { attempt } = effect;
        const prepared = this.wallet.prepare(effect.coins, this.lies() ? NOBODYS_SCRIPT : effect.script, effect.amount);
        return prepared ? { type: 'funding_prepared', attempt, ...prepared } : { type: 'funding_failed', attempt, reason: 'a coin is gone' };
      }
      case 'release_funding':
        this.wallet.release(effect.coins);
        return undefined;
      case 'send_funding': {
        if (this.chain.isKnown(effect.funding.txid)) return { type: 'funding_sent' };
        const sent = this.wallet.send(effect.psbt);
        // What nobody takes does no harm: it was under way when its coins were found spent, and the ceremony given up.
        if (sent === 'accepted') this.oracle.funding(effect.funding);
        return sent === 'accepted' || sent === 'known' ? { type: 'funding_sent' } : { type: 'funding_rejected', reason: sent };
      }
      case 'open_start': {
        const { attempt, member, peer, amount } = effect;
        this.cln.cancel(peer);
        const started = this.cln.start(peer, this.expects(peer, amount));
        if (!started.ok) return { type: 'open_failed', attempt, member, reason: started.reason };
        return { type: 'open_started', attempt, member, script: started.value };
      }
      case 'open_complete': {
        const { attempt, member, peer, leaf } = effect;
        const completed = this.cln.complete(peer, leaf, half);
        if (half) this.disconnect(this.host(peer));
        if (!completed.ok) return { type: 'open_failed', attempt, member, reason: completed.reason };
        return { type: 'open_completed', attempt, member, channelId: completed.value };
      }
      case 'discard_channels':
        for (const peer of effect.peers) if (host.isCoordinator) this.cln.cancel(peer);
        this.cln.drop(host.id, effect.fundingTxids);
        for (const fundingTxid of effect.fundingTxids) this.dropped.add(`${host.name} ${fundingTxid}`);
        return undefined;
      case 'audit': {
        const { attempt, funding } = effect;
        const channel = this.cln.at(host.id).find((c) => c.funding.txid === funding.txid);
        if (!channel) return { type: 'audited', attempt, result: { ok: false, reason: 'the channel did not appear' } };
        return { type: 'audited', attempt, result: { ok: true, script: channel.script, channel: this.cln.factsAt(host.id, channel) } };
      }
      case 'arm': {
        const { member } = effect;
        if (effect.signature !== undefined && !verifyFinal(effect.leaf, effect.signature)) this.oracle.violated('a leaf is armed whose signature does not verify');
        return this.cln.arm(effect.leaf) ? { type: 'armed', member } : { type: 'arm_failed', member, reason: 'no such channel' };
      }
      case 'retire_channel':
        this.cln.close(host.id, effect.channelId);
        return undefined;
      case 'pay_fee': {
        const { attempt } = effect;
        const reason = this.fees.pay(host, effect);
        return reason === undefined ? { type: 'fee_sent', attempt } : { type: 'fee_failed', attempt, reason };
      }
      case 'drop_purchase':
        if (host.isCoordinator) this.cln.cancel(effect.peer);
        if (effect.fundingTxid !== undefined) this.cln.drop(host.id, [effect.fundingTxid]);
        return undefined;
      case 'await_next':
        return this.moves(host, effect.attempt, 'waiting') ? { type: 'next_active', attempt: effect.attempt } : undefined;
      case 'move_balance':
        return this.moves(host, effect.attempt, 'moving') ? this.moving.moved(host.id, effect) : undefined;
      case 'settle_balance':
        return this.moves(host, effect.attempt, 'settling') ? this.moving.settled(host.id, effect) : undefined;
      case 'await_owed':
        return this.awaits(host, effect.paymentHash) ? { type: 'owed_received', paymentHash: effect.paymentHash } : undefined;
      case 'pay_owed':
        return this.moving.pay(effect);
    }
  }

  /** Whether this is still what the member does. */
  private moves(host: Host, attempt: number, step: 'waiting' | 'moving' | 'settling'): boolean {
    const state = this.memberState(host);
    return state?.phase === 'live' && state.migration?.step === step && state.migration.attempt === attempt;
  }

  private awaits(host: Host, hash: PaymentHash): boolean {
    const state = this.memberState(host);
    return state?.phase === 'live' && state.migration?.step === 'owed' && state.migration.paymentHash === hash;
  }

  /** The `openchannel` hook: a channel that was announced, of the amount announced. */
  private expects(client: NodeId, amount: bigint): boolean {
    const state = this.memberState(this.host(client));
    if (state?.phase === 'opening') return state.leaf.step === 'expecting' && state.invite.capacity === amount;
    const buying = state?.phase === 'live' ? state.purchasing?.current : undefined;
    return buying?.progress.step === 'expecting' && buying.amount === amount;
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
    channel.balance += htlc.from === channel.fundee ? -htlc.amount : htlc.amount;
    channel.htlc = undefined;
  }
  /** Never heard of again. */
  vanish(host: Host): void {
    if (host.up) this.crash(host);
    this.gone.add(host);
  }
  /** Back, after all. */
  returns(host: Host): void {
    this.gone.delete(host);
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
    const actions: Action[] = [];
    for (const host of this.hosts) {
      if (this.gone.has(host)) continue;
      if (!host.up) {
        actions.push({ label: `${host.name} restarts`, run: () => this.restart(host) });
        continue;
      }
      for (const job of host.runningJobs) actions.push({ label: `${host.name} finishes ${job.effect.kind}`, run: () => this.finish(host, job) });
      for (const job of host.startable()) actions.push({ label: `${host.name} begins ${job.effect.kind}`, run: () => (job.running = true) });
      for (const task of host.tasks) {
        if (this.canEnd(host, task)) actions.push({ label: `${host.name} ends ${task.kind}`, run: () => this.endTask(host, task) });
      }
      if (this.isBehind(host)) {
        actions.push({ label: `${host.name} follows the chain`, run: () => this.follow(host) });
      }
    }
    for (const m of this.members) {
      if (this.gone.has(m) || this.gone.has(this.coordinator)) continue;
      if (!this.network.isConnected(m.id) && m.up && this.coordinator.up) actions.push({ label: `${m.name} connects`, run: () => this.connect(m) });
      for (const [from, to] of [
        [m, this.coordinator],
        [this.coordinator, m],
      ] as const) {
        if (this.network.waiting(from.id, to.id) > 0) actions.push({ label: `${from.name} -> ${to.name}`, run: () => this.deliver(from, to) });
      }
    }
    const lsp = this.coordinatorState;
    if (this.coordinator.up && lsp?.phase === 'live' && unsignedTurnovers(lsp.live, lsp.request.payoutScript, TURNOVER_FEERATE).length > 0) {
      actions.push({ label: 'the coordinator takes back what was handed over', run: () => this.command(this.coordinator, { type: 'turnover_requested', feerate: TURNOVER_FEERATE }) });
    }
    for (const c of this.cln.channels) {
      const fee = this.fees.next(c);
      if (fee) actions.push(fee);
      if (this.htlcsSettle && c.htlc && c.htlc.fee === undefined && this.network.isConnected(c.fundee)) actions.push({ label: 'an HTLC is settled', run: () => this.settleHtlc(c) });
    }
    return actions;
  }

  /** Does all that goes on by itself; timers do not run out. */
  settle(limit = 3_000): void {
    for (let i = 0; ; i += 1) {
      const [next] = this.progress();
      if (!next) return;
      if (i === limit) throw new Error(`no end to it: ${this.trace.slice(-12).join("; ")}`);
      this.do(next);
    }
  }
  /** Goes on until something holds; false when all is quiet before that. */
  until(holds: () => boolean): boolean {
    for (let i = 0; i < 3_000; i += 1) {
      if (holds()) return true;
      const next = this.progress()[0] ?? this.nextTimer();
      if (!next) return false;
      this.do(next);
    }
    throw new Error('no end to it');
  }
  do(action: Action): void {
    this.note(action.label);
    action.run();
    this.oracle.check();
  }
  /** The timer that runs out first. */
  nextTimer(): Action | undefined {
    const all = this.hosts.flatMap((host) => host.timers.map((timer) => ({ host, timer })));
    const first = all.reduce<(typeof all)[number] | undefined>((a, b) => (a && a.timer.seconds <= b.timer.seconds ? a : b), undefined);
    return first && { label: `${first.host.name} timer ${first.timer.name}`, run: () => this.during(first.host, () => first.host.fire(first.timer)) };
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

const identityOf = (name: string, index: number): Identity => ({
  name,
  id: nodeId(publicKey(`node of ${name}`)),
  secret: secretKey(name),
  key: publicKey(name),
  payoutScript: index === 0 ? script(`5120${bytesToHex(digest('payout of the coordinator'))}`) : payoutScript(index - 1),
});
