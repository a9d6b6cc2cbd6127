/**
 * What the plugin does by itself about the coordinator's factories: the scheduler begins rotations, the rotator drives them and closes
 * what is left, the watchdog closes in time (`plugin/engine`). The decisions are the product's; here they are actions like all others.
 */
import type { InstanceId } from '../../../blip/brands.js';
import { awayFrom, canClose } from '../../../plugin/engine/watchdog.js';
import { isEmptied, nextForRotation, shouldClose } from '../../coordinator/rotating.js';
import { scheduled, stragglers } from '../../coordinator/schedule.js';
import type { CoordinatorLive, CoordinatorState } from '../../coordinator/state.js';
import { closeDelay, closeDue, type CloseAttempts } from '../../live/deadlines.js';
import { MIN_CLIENTS } from '../../shape.js';
import type { Terms } from '../../model.js';
import { World, type Action } from './world.js';

/** sat per 1,000 vB. */
const FEERATE = 2_000;
/** Of one coordinator. */
const MOST_FACTORIES = 4;
/** Room for all that a member may have in the factory before. */
const CAPACITY = 150_000n;

export interface KeeperOptions {
  /** Whether rotations begin by themselves. */
  readonly auto: boolean;
  /** Of the factories that follow. */
  readonly terms: Partial<Terms>;
  /** A client that waits for the next factory. */
  readonly newcomers: readonly string[];
}

/** What a process remembers of one factory. */
interface Memory {
  looked: number;
  /** The rotator's, and the watchdog's. */
  readonly closes: { rotator: CloseAttempts; watchdog: CloseAttempts };
}

export class Keeper {
  private memory = new Map<World, Memory>();
  private process = 0;

  constructor(
    private readonly root: World,
    private readonly options: KeeperOptions,
  ) {}

  actions(): readonly Action[] {
    const { coordinator } = this.root;
    if (!coordinator.up) return [];
    if (this.process !== coordinator.starts) {
      this.process = coordinator.starts;
      this.memory = new Map();
    }
    return this.root.worlds.flatMap((world) => this.next(world) ?? []);
  }

  private find(id: InstanceId): CoordinatorState | undefined {
    return this.root.worlds.find((w) => w.instanceId === id)?.coordinatorState;
  }
  private of(world: World): Memory {
    const memory = this.memory.get(world) ?? { looked: 0, closes: { rotator: { made: 0 }, watchdog: { made: 0 } } };
    this.memory.set(world, memory);
    return memory;
  }

  private next(world: World): Action | undefined {
    const state = world.coordinatorState;
    if (!world.coordinator.up || state?.phase !== 'live') return undefined;
    const event = nextForRotation(state, (id) => this.find(id));
    if (event) return { label: `the rotation goes on: ${event.type}`, run: () => world.command(world.coordinator, event) };
    const memory = this.of(world);
    const { tip } = state.live.chain;
    const { rotator } = memory.closes;
    const wait = isEmptied(state) ? 1 : Math.max(1, closeDelay(rotator.made));
    if (shouldClose(state) && tip >= (rotator.last ?? -1) + wait && this.allThere(world, state)) {
      return {
        label: 'nobody is left who stays: close',
        run: () => {
          memory.closes.rotator = { made: rotator.made + 1, last: tip };
          this.close(world);
        },
      };
    }
    if (memory.looked === tip) return undefined;
    return {
      label: `the schedule looks at factory ${String(this.root.worlds.indexOf(world))}`,
      run: () => {
        memory.looked = tip;
        this.look(world, state, memory);
      },
    };
  }

  private allThere(world: World, state: CoordinatorLive): boolean {
    const connected = new Set(world.members.filter((m) => world.network.isConnected(m.id)).map((m) => m.id));
    return awayFrom(state, connected).length === 0;
  }
  private close(world: World): void {
    world.command(world.coordinator, { type: 'close_requested', feerate: FEERATE });
  }

  private look(world: World, state: CoordinatorLive, memory: Memory): void {
    const { live } = state;
    const { watchdog } = memory.closes;
    if (closeDue(live.spec, live.chain.tip, watchdog, live.close !== undefined) && canClose(state) && this.allThere(world, state)) {
      memory.closes.watchdog = { made: watchdog.made + 1, last: live.chain.tip };
      this.close(world);
    }
    const { members, network } = world;
    const connected = new Set(members.filter((m) => network.isConnected(m.id)).map((m) => m.id));
    const newcomers = this.options.newcomers.filter((name) => !this.isTaken(name));
    const decision = scheduled(state, { connected, newcomers: newcomers.length, find: (id) => this.find(id) });
    if (decision.step === 'rotate') this.begin(world, state, newcomers);
  }
  /** In a factory that is there, or may come to be. */
  private isTaken(name: string): boolean {
    return this.root.worlds.some((w) => w.hosts.some((h) => h.name === name) && w.coordinatorState?.phase !== 'aborted');
  }

  private begin(world: World, state: CoordinatorLive, newcomers: readonly string[]): void {
    const { worlds } = this.root;
    // The wallet's coins are for one ceremony (architecture 12.17).
    const busy = worlds.some((w) => w.coordinatorState !== undefined && w.coordinatorState.phase !== 'live' && w.coordinatorState.phase !== 'aborted');
    if (!this.options.auto || busy || worlds.length >= MOST_FACTORIES) return;
    const going = stragglers(state, (id) => this.find(id)).filter((b) => world.network.isConnected(b.peer));
    const names = [...going.map((b) => world.host(b.peer).name), ...newcomers];
    const next = new World({ ...world.options, clients: names.map((name) => ({ name, capacity: CAPACITY, stock: 0n })), minClients: MIN_CLIENTS, terms: this.options.terms, beside: this.root });
    next.create();
    if (!world.coordinator.up) return;
    if (next.coordinatorState) world.command(world.coordinator, { type: 'rotation_begun', to: next.instanceId });
    else world.command(world.coordinator, { type: 'rotation_postponed', reason: 'it could not be stored' });
  }
}
