/** Whom this node knows: asked for every message, so it is kept, and made anew only when a factory has changed. */
import type { NodeId } from '../../blip/brands.js';
import type { Accept } from './accepting.js';
import type { Engine } from './engine.js';
import type { FactoryState } from './factory.js';

/**
 * `known`: named by the operator (`factory-accept`, `factory-waiting`, or in a command), or it runs a factory we live in. `guest`: its invitation
 * has been taken, and the factory is not there yet, or it waits for one of ours; an invitation alone makes no acquaintance.
 */
export type Standing = 'known' | 'guest' | 'stranger';

export class Acquaintances {
  private parties: ReadonlyMap<NodeId, Standing> | undefined;
  /** How many factories there were: those of the store come without a change. */
  private factories = 0;

  /** @param named by the operator: whose invitations are taken, who may wait @param also whom this node knows besides its factories */
  constructor(
    private readonly engine: Pick<Engine, 'all' | 'onChange'>,
    private readonly named: () => readonly Accept[],
    private readonly also: (peer: NodeId) => Standing = () => 'stranger',
  ) {
    engine.onChange(({ before, after }) => {
      if (before?.phase !== after.phase) this.parties = undefined;
    });
  }

  standing(peer: NodeId): Standing {
    if (this.named().some((accept) => accept.kind === 'nodes' && accept.nodes.has(peer))) return 'known';
    const all = this.engine.all();
    if (all.length !== this.factories) this.parties = undefined;
    this.factories = all.length;
    this.parties ??= partiesOf(all.map(({ state }) => state));
    return this.parties.get(peer) ?? this.also(peer);
  }
}

const partiesOf = (states: readonly FactoryState[]): ReadonlyMap<NodeId, Standing> => {
  const parties = new Map<NodeId, Standing>();
  for (const state of states) {
    if (state.phase === 'aborted') continue;
    if (state.role === 'coordinator') for (const { nodeId } of state.request.clients) parties.set(nodeId, 'known');
    else if (state.phase === 'live') parties.set(state.coordinator, 'known');
    else if (!parties.has(state.coordinator)) parties.set(state.coordinator, 'guest');
  }
  return parties;
};
