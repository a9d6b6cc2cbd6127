import type { RouteHop } from './bolt11.js';
import { command, type Command } from './commands.js';
import type { Node } from './node.js';
import { badParam, bool, def, int, msat, opt, type Parser, req, str } from './params.js';
import type { Collection } from './store.js';
import { CODE, type JsonObject, RpcError } from './types.js';

/** What a layer says of one direction of a channel; what is absent stays as gossip has it. Amounts in millisatoshis. */
interface ChannelUpdate extends JsonObject {
  readonly enabled?: boolean;
  readonly htlc_minimum_msat?: number;
  readonly htlc_maximum_msat?: number;
  readonly fee_base_msat?: number;
  readonly fee_proportional_millionths?: number;
  readonly cltv_expiry_delta?: number;
}

/** Knowledge for some payments beyond gossip. Directions of channels are written `scid/0` or `scid/1`. */
export interface Layer {
  readonly name: string;
  /** Outlives the node. */
  readonly persistent: boolean;
  /** An invoice's channels. */
  readonly hints: readonly { readonly hop: RouteHop; readonly to: string }[];
  /** What a direction can carry at most, in millisatoshis. */
  readonly limits: Readonly<Record<string, number>>;
  readonly updates: Readonly<Record<string, ChannelUpdate>>;
}

/** askrene's layers, as far as we use them: channels switched off or changed, an invoice's hints, what payments have learnt. */
export class Layers {
  private readonly layers: Map<string, Layer>;
  private readonly stored: Collection<Layer>;

  constructor(node: Node) {
    this.stored = node.store.collection('layer');
    this.layers = new Map(this.stored.values().map((layer) => [layer.name, layer]));
  }

  /** In the order of `names`; lightningd's own (`auto.…`) are not among them. @throws RpcError */
  named(names: readonly string[]): readonly Layer[] {
    return names.flatMap((name) => {
      if (AUTOMATIC.includes(name)) return [];
      const layer = this.layers.get(name);
      if (layer === undefined) throw badParam('layers', 'unknown layer', name);
      return [layer];
    });
  }

  add(name: string, hints: Layer['hints'] = [], persistent = false): Layer {
    return this.put({ name, persistent, hints, limits: {}, updates: {} });
  }

  remove(name: string): void {
    this.layers.delete(name);
    this.stored.delete(name);
  }

  /** Can carry so much at most, by what has just been tried. */
  limit(name: string, direction: string, most: number): void {
    const layer = this.layers.get(name);
    if (layer !== undefined) this.put({ ...layer, limits: { ...layer.limits, [direction]: Math.min(layer.limits[direction] ?? Infinity, most) } });
  }

  commands(): readonly Command[] {
    return [
      command('askrene-create-layer', { layer: req(str), persistent: def(bool, false) }, ({ layer: name, persistent }) => {
        if (name.startsWith('auto.')) throw new RpcError(CODE.invalidParams, 'Cannot create auto layer');
        const known = this.layers.get(name);
        if (known !== undefined && !persistent) throw new RpcError(CODE.invalidParams, 'Layer already exists');
        return { layers: [layerJson(known ?? this.add(name, [], persistent))] };
      }),
      command('askrene-remove-layer', { layer: req(this.known) }, ({ layer }) => {
        this.remove(layer.name);
        return {};
      }),
      command('askrene-listlayers', { layer: opt(this.known) }, ({ layer }) => ({ layers: (layer === undefined ? [...this.layers.values()] : [layer]).map(layerJson) })),
      command(
        'askrene-update-channel',
        {
          layer: req(this.known), short_channel_id_dir: req(direction), enabled: opt(bool), htlc_minimum_msat: opt(msat), htlc_maximum_msat: opt(msat), fee_base_msat: opt(msat),
          fee_proportional_millionths: opt(int), cltv_expiry_delta: opt(int),
        },
        ({ layer, short_channel_id_dir: side, ...given }) => {
          const said = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
          this.put({ ...layer, updates: { ...layer.updates, [side]: { ...layer.updates[side], ...said } } });
          return {};
        },
      ),
      command('askrene-remove-channel-update', { layer: req(this.known), short_channel_id_dir: req(direction) }, ({ layer, short_channel_id_dir: side }) => {
        this.put({ ...layer, updates: Object.fromEntries(Object.entries(layer.updates).filter(([known]) => known !== side)) });
        return {};
      }),
    ];
  }

  private readonly known: Parser<Layer> = (value, name) => {
    const layer = this.layers.get(str(value, name));
    if (layer === undefined) throw badParam(name, 'Unknown layer', value);
    return layer;
  };

  private put(layer: Layer): Layer {
    this.layers.set(layer.name, layer);
    if (layer.persistent) this.stored.put(layer.name, layer);
    return layer;
  }
}

const AUTOMATIC: readonly string[] = ['auto.localchans', 'auto.sourcefree', 'auto.include_fees', 'auto.no_mpp_support'];

const layerJson = ({ name, persistent, updates }: Layer): JsonObject => ({
  layer: name,
  persistent,
  disabled_nodes: [],
  created_channels: [],
  channel_updates: Object.entries(updates).map(([side, said]) => ({ short_channel_id_dir: side, ...said })),
  constraints: [],
  biases: [],
  node_biases: [],
});

const direction: Parser<string> = (value, name) => {
  if (typeof value !== 'string' || !/^\d+x\d+x\d+\/[01]$/.test(value)) throw badParam(name, 'should be a short_channel_id_dir of form NxNxN/N', value);
  return value;
};
