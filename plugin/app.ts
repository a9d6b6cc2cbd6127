/** The plugin put together: store, engine, effects, chain, and what the commands work with. */
import { randomFillSync } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { NodeId, Sat } from '../blip/brands.js';
import { defaultPolicy, HEIGHT_TOLERANCE } from '../factory-core/validate.js';
import { wishOf } from '../factory-core/waiting.js';
import { createFollower, type Follower } from './chain/follower.js';
import { networkForbidden, type Context } from './commands/context.js';
import { rotateByItself } from './commands/rotate.js';
import { mempoolOf } from './bitcoind/mempool.js';
import { connectBitcoind } from './bitcoind/rpc.js';
import { isNamed } from './engine/accepting.js';
import { Acquaintances } from './engine/acquaintances.js';
import { Broadcaster } from './engine/broadcaster.js';
import { BumpLedger } from './engine/bump-ledger.js';
import { Bumper } from './engine/bumper.js';
import { consume, Watch } from './engine/chain.js';
import { ChannelBook } from './engine/channel-book.js';
import { Engine } from './engine/engine.js';
import { liveOf, type FactoryState } from './engine/factory.js';
import { Events } from './engine/events.js';
import { Gate } from './engine/gate.js';
import { guard } from './engine/guardian.js';
import { happeningsIn } from './engine/happenings.js';
import { HeldFees } from './engine/held-fees.js';
import { Inbox } from './engine/inbox.js';
import { factorySigner, Joining } from './engine/joining.js';
import { Messenger } from './engine/messenger.js';
import { Outbox } from './engine/outbox.js';
import { Peers } from './engine/peers.js';
import { Performer } from './engine/performer.js';
import { turnOver } from './engine/turner.js';
import { Watchdog } from './engine/watchdog.js';
import { Rotator } from './engine/rotator.js';
import { Scheduler } from './engine/scheduler.js';
import type { Lightning, NodeInfo } from './lightning/lightning.js';
import { upgraded } from './engine/upgrade.js';
import { WaitingDesk } from './engine/waiting-desk.js';
import { settingsOf, type Options } from './options.js';
import { Mirror, rollbackProblem } from './rollback.js';
import type { Log } from './runtime/definition.js';
import { StoreError } from './store/errors.js';
import { openSqliteStore } from './store/sqlite-store.js';
import type { Store } from './store/store.js';

export interface App {
  readonly context: Context;
  readonly start: () => Promise<void>;
  readonly stop: () => Promise<void>;
  /** There may be a new block. */
  readonly poll: () => void;
  readonly book: ChannelBook;
  readonly watchdog: Watchdog;
  readonly heldFees: HeldFees;
  readonly log: Log;
  /** The node's `cltv-final`. */
  readonly cltvFinal: number;
}

/** CLN tells of blocks; this is for what it does not tell (a reorganisation to the same height). */
const POLL_MS = 30_000;

const DAY_MS = 86_400_000;
/** What was done stays for a week, for whoever looks into a question. */
const KEEP_OUTBOX_MS = 7 * DAY_MS;

/** What is left of lightningd's patience is for closing the database. */
const STOP_MS = 2_000;

const random = (bytes: number): Uint8Array => randomFillSync(new Uint8Array(bytes));

export const openPluginStore = (info: NodeInfo, options: Options): Store => openSqliteStore(options['factory-db'] ?? join(info.lightningDir, 'cln-factory.sqlite3'));

export const createApp = async (lightning: Lightning, info: NodeInfo, store: Store, options: () => Options, log: Log): Promise<App> => {
  const settings = settingsOf(options);
  const policy = defaultPolicy(info.chainHash);
  const messenger = new Messenger(lightning, log);
  /** While the plugin runs. */
  const later = (milliseconds: number, work: () => void): void => {
    setTimeout(() => {
      if (!stopped) work();
    }, milliseconds).unref();
  };
  const peers = new Peers({ announce: (peer) => messenger.announce(peer), later });
  const { cltvFinal, chainBackend } = await lightning.config();
  const ledger = new BumpLedger(store);
  const bumper = new Bumper({ lightning, mempool: mempoolOf(connectBitcoind(chainBackend, info.network)), ledger, budget: () => settings.budget, log });
  const broadcaster = new Broadcaster(lightning, bumper, log);
  let problem = await rollbackProblem(lightning, store);
  if (problem !== undefined) log('broken', problem);
  /** An old copy: nothing it has pending is performed and nothing is said to peers, since all of it may be long past. */
  const watchOnly = problem !== undefined;
  const mirror = new Mirror(lightning, store, (reason) => log('unusual', `the write counter was not mirrored: ${reason}`));

  // Engine, outbox and performer need each other; each is called only after all three are there.
  const engine: Engine = new Engine({
    store,
    log,
    policy: {
      bounds: policy,
      random,
      get pricing() {
        return settings.pricing;
      },
      get maxPurchaseFee() {
        return settings.maxPurchaseFee;
      },
    },
    performVolatile: (factory, effect) => {
      if (!watchOnly || effect.kind !== 'send') performer.volatile(factory, effect);
    },
    enqueue: (instanceId, id, effect) => {
      if (!watchOnly) outbox.enqueue(instanceId, id, effect);
    },
    cancel: (ids) => outbox.cancel(ids),
  });
  const performer: Performer = new Performer({
    lightning,
    messenger,
    broadcaster,
    log,
    random,
    height: () => engine.currentHeight(),
    factory: (id) => engine.get(id),
    dispatch: (id, event) => guarded(() => engine.dispatch(id, event)),
  });
  const outbox: Outbox = new Outbox({
    store,
    log,
    perform: (id, effect, signal) => performer.durable(id, effect, signal),
    result: (id, event, done) => engine.dispatch(id, event, done),
    now: () => Date.now(),
  });
  /** What cannot be stored has not happened; the engine has said so in the log. @returns whether it has */
  const guarded = (work: () => void): boolean => {
    try {
      work();
      return true;
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      return false;
    }
  };

  const events = new Events(log);
  const acquaintances: Acquaintances = new Acquaintances(engine, () => [settings.accept, settings.waiting], (peer) =>
    wishOf(waiting.wishes(), peer) ? 'known' : waiting.waitsHere(peer) ? 'guest' : 'stranger',
  );
  const gate: Gate = new Gate({ standing: (peer) => acquaintances.standing(peer), now: () => performance.now(), log });
  const waiting: WaitingDesk = new WaitingDesk({
    store,
    engine,
    messenger,
    gate,
    events,
    policy: () => {
      const { minCapacity, maxCapacity, maxStock } = settings.allocation;
      const { min, max } = policy.capacity;
      return { allows: (node) => isNamed(settings.waiting, node), chainHash: info.chainHash, minCapacity: larger(minCapacity, min), maxCapacity: smaller(maxCapacity, max), maxStock };
    },
  });
  const heldFees = new HeldFees(engine, (id, event) => guarded(() => engine.dispatch(id, event)), log);
  const joining = new Joining({
    gate,
    lightning,
    engine,
    messenger,
    log,
    random,
    context: (from: NodeId) => ({
      accept: problem === undefined ? settings.accept : { kind: 'none' },
      policy,
      forbiddenNetwork: networkForbidden({ self, settings }),
      pending: engine.all().filter(({ state }) => isPendingWith(state, from)).length,
    }),
  });
  const inbox = new Inbox({
    engine,
    peers,
    messenger,
    gate,
    log,
    invited: (from, envelope) => joining.invited(from, envelope),
    waiting,
    paused: () => problem,
    standing: (peer) => acquaintances.standing(peer),
    later,
  });
  const ending = new AbortController();
  const scheduler: Scheduler = new Scheduler({
    engine,
    events,
    log,
    auto: () => settings.autoRotate,
    paused: () => problem,
    isConnected: (node) => peers.speaksOurs(node),
    waiting: () => waiting.waiting(),
    rotate: (id) => rotateByItself(context, id, ending.signal),
  });
  const self = { nodeId: info.nodeId, network: info.network, chainHash: info.chainHash };
  const context: Context = {
    lightning,
    engine,
    store,
    peers,
    inbox,
    waiting,
    events,
    scheduler,
    broadcaster,
    bumper,
    ledger,
    settings,
    policy,
    random,
    self,
    watchOnly: () => problem,
  };

  const watchdog = new Watchdog({ engine, lightning, log, autoClose: () => settings.autoClose, paused: () => problem });
  const rotator = new Rotator({ engine, lightning, log });
  const watch = new Watch(engine);
  const follower: Follower = createFollower({
    source: {
      tip: async () => (await lightning.tip()).height,
      block: async (height) => {
        const block = await lightning.rawBlock(height);
        return block && { hash: block.hash, hex: block.raw };
      },
    },
    blocks: () => store.blocks(),
    watch: () => watch.set(),
    consume: async (event) => {
      consume(engine, watch, event);
      await Promise.resolve();
    },
    startHeight: () => earliest(engine.all().map(({ state }) => state)),
  });
  const follow = async (): Promise<void> => {
    const result = await follower.poll();
    // A backend that starts over knows nothing of our transactions: no decision is made by its height.
    if (result.status === 'backend_behind') log('unusual', `bitcoind is at block ${result.tip}, below all that was seen before: waiting for it`);
    if (result.status !== 'synced') return;
    engine.setHeight(result.height);
    heldFees.review();
    await guard({ engine, lightning, log });
    await watchdog.look();
    if (!watchOnly) await turnOver({ engine, lightning });
    broadcaster.settle(result.height);
    if (!watchOnly) {
      rotator.look();
      scheduler.look();
    }
  };
  const poll = (): void => {
    follow().catch((error: unknown) => {
      if (!stopped) log('unusual', `following the chain: ${error instanceof Error ? error.message : String(error)}`);
    });
  };
  const prune = (): void => {
    if (!stopped) guarded(() => store.pruneOutbox(Date.now() - KEEP_OUTBOX_MS));
  };
  const timers: NodeJS.Timeout[] = [];
  let stopped = false;

  return {
    context,
    poll,
    book: new ChannelBook(engine, lightning),
    watchdog,
    heldFees,
    log,
    cltvFinal,
    start: async () => {
      // After a restart CLN counts from some blocks below the tip. What this node has seen already, it need not see again.
      engine.setHeight(Math.max(info.height, store.blocks().at(-1)?.height ?? 0));
      for (const { instanceId, state: stored, revision } of store.factories().flatMap((f) => store.factory(f.instanceId) ?? [])) {
        // The store gives back what the engine gave it.
        const state = upgraded(stored as FactoryState);
        const coordinator = state.role === 'coordinator' ? info.nodeId : state.coordinator;
        engine.adopt({ instanceId, state, revision, signer: await factorySigner(lightning, coordinator, instanceId, random) });
      }
      waiting.start();
      engine.onChange((change) => {
        for (const event of happeningsIn(change)) events.emit(event);
      });
      if (!watchOnly) {
        engine.onChange(() => {
          mirror.update();
          rotator.look();
        });
        // A start that cannot be stored is none: the machines would wait for timers and nonces that are gone.
        engine.broadcast({ type: 'restarted' });
        outbox.resume();
        mirror.update();
      }
      poll();
      // Said at once, so that the operator knows before it matters.
      bumper.probe().catch((error: unknown) => log('broken', `asking bitcoind: ${error instanceof Error ? error.message : String(error)}`));
      timers.push(setInterval(poll, POLL_MS), setInterval(prune, DAY_MS));
      prune();
    },
    stop: async () => {
      stopped = true;
      timers.forEach(clearInterval);
      outbox.stop();
      rotator.stop();
      scheduler.stop();
      ending.abort();
      performer.stop();
      problem ??= 'the plugin is stopping';
      // The node may have stopped answering already; a block that is not stored now comes again.
      await Promise.race([follower.stop(), pause(STOP_MS, undefined, { ref: false })]);
      store.close();
    },
  };
};

const larger = (a: Sat, b: Sat): Sat => (a > b ? a : b);
const smaller = (a: Sat, b: Sat): Sat => (a < b ? a : b);

/** No block before the first factory's can matter; its funding transaction may be a little older than its start. */
const earliest = (states: readonly FactoryState[]): number | undefined => {
  const starts = states.flatMap((state) => liveOf(state)?.spec.startHeight ?? []);
  return starts.length === 0 ? undefined : Math.min(...starts) - HEIGHT_TOLERANCE;
};

const isPendingWith = (state: FactoryState, coordinator: NodeId): boolean =>
  state.role === 'member' && state.coordinator === coordinator && state.phase !== 'live' && state.phase !== 'aborted';
