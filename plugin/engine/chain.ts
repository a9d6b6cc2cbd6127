/** Blocks, from the follower to the factories. */
import type { InstanceId, Outpoint, Txid } from '../../blip/brands.js';
import { watched } from '../../factory-core/live/custody.js';
import { outpointKey } from '../../factory-core/live/paths.js';
import type { Live } from '../../factory-core/live/state.js';
import type { ChainEvent as CoreEvent } from '../../factory-core/protocol/effects.js';
import type { ChainEvent, WatchSet } from '../chain/events.js';
import type { Engine } from './engine.js';
import { liveOf } from './factory.js';

/** What of the chain concerns us, kept as one object while nothing changes (the follower relies on it). */
export class Watch {
  private readonly perLive = new WeakMap<Live['branches'], { readonly inputs: Live['chain']['fundingInputs']; readonly watched: ReturnType<typeof watched> }>();
  private last: { readonly key: readonly unknown[]; readonly set: WatchSet } = { key: [], set: { outpoints: [], txids: [], scripts: [] } };

  constructor(private readonly engine: Engine) {}

  set(): WatchSet {
    const lives = this.engine.all().flatMap(({ state }) => liveOf(state) ?? []);
    const key = lives.flatMap(({ branches, chain }) => [branches, chain.fundingInputs]);
    const same = key.length === this.last.key.length && key.every((k, i) => k === this.last.key[i]);
    if (!same) {
      const all = lives.map((live) => this.of(live));
      this.last = {
        key,
        set: { outpoints: all.flatMap((w) => w.outpoints), txids: all.flatMap((w) => w.txids), scripts: [] },
      };
    }
    return this.last.set;
  }

  of(live: Live): ReturnType<typeof watched> {
    // What it depends on: purchases, and what a member learns its funding transaction spends.
    const { branches, chain } = live;
    const known = this.perLive.get(branches);
    if (known && known.inputs === chain.fundingInputs) return known.watched;
    const fresh = watched(live);
    this.perLive.set(branches, { inputs: chain.fundingInputs, watched: fresh });
    return fresh;
  }
}

/** One block's meaning for every factory, stored together with the position in the chain. */
export const consume = (engine: Engine, watch: Watch, event: ChainEvent): void => {
  const events = new Map<InstanceId, CoreEvent>();
  if (event.type === 'block_connected') engine.setHeight(event.height);
  if (event.type === 'block_disconnected') engine.setHeight(event.height - 1);
  if (event.type === 'rescan') engine.setHeight(event.fromHeight - 1);
  for (const { instanceId, state } of engine.all()) {
    const live = liveOf(state);
    events.set(instanceId, toCore(event, live && watch.of(live)));
  }
  engine.onBlock(events, event.step);
};

const toCore = (event: ChainEvent, mine: ReturnType<typeof watched> | undefined): CoreEvent => {
  if (event.type === 'block_disconnected') return { type: 'block_disconnected', height: event.height };
  if (event.type === 'rescan') return { type: 'block_disconnected', height: event.fromHeight };
  const outpoints = new Set(mine?.outpoints.map(outpointKey));
  const txids = new Set<Txid>(mine?.txids);
  const spends = event.txs.flatMap((tx) =>
    tx.inputs.filter((o: Outpoint) => outpoints.has(outpointKey(o))).map((outpoint) => ({ outpoint, by: tx.txid })),
  );
  return { type: 'block_connected', height: event.height, spends, confirmed: event.txs.filter((tx) => txids.has(tx.txid)) };
};
