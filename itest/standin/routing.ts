import { directionOf, forwardFee, spendable } from './channel.js';
import { command, type Command } from './commands.js';
import type { Layer } from './layers.js';
import type { Node } from './node.js';
import { any, arrayOf, COMMITMENT_PERKW, int, msat, nodeId, opt, req, str } from './params.js';
import { CODE, type JsonObject, RpcError } from './types.js';

interface Edge {
  readonly scid: string;
  readonly from: string;
  readonly to: string;
  readonly base: number;
  readonly ppm: number;
  readonly delay: number;
  capacity: number;
}

export interface RouteRequest {
  readonly source: string;
  readonly destination: string;
  readonly amount: number;
  readonly layers: readonly string[];
  readonly maxFee: number;
  readonly finalCltv: number;
  readonly maxDelay: number;
  readonly maxParts: number;
}

export interface Route {
  readonly amount: number;
  readonly finalCltv: number;
  readonly path: readonly { readonly edge: Edge; readonly amountIn: number; readonly amountOut: number; readonly cltvIn: number; readonly cltvOut: number }[];
}

/** An invoice's channels are unannounced: nobody knows what they can carry. */
const UNKNOWN_CAPACITY = 1_000_000_000_000;

const edgeId = ({ scid, from, to }: Pick<Edge, 'scid' | 'from' | 'to'>): string => `${scid}/${directionOf(from, to)}`;

/** Routes over announced channels, our own, and an invoice's hints: the cheapest that carries it all, else several. */
export class Routing {
  constructor(private readonly node: Node) {}

  /** @throws RpcError 205, 206 */
  find(request: RouteRequest): readonly Route[] {
    const edges = this.edges(request);
    const routes: Route[] = [];
    for (let left = request.amount; left > 0; ) {
      const path = cheapest(edges, request, left) ?? widest(edges, request);
      const capacity = path === undefined ? 0 : Math.min(...path.map((edge) => edge.capacity));
      const room = path === undefined || path.length === 0 ? 0 : largest(path, capacity);
      if (path === undefined || room <= 0 || routes.length >= request.maxParts) throw this.unreachable(edges, request);
      const route = fill(path, Math.min(left, room), request.finalCltv);
      for (const { edge, amountOut } of route.path) edge.capacity -= amountOut;
      left -= route.amount;
      routes.push(route);
    }
    const fee = routes.reduce((sum, route) => sum + (route.path[0]?.amountOut ?? 0) - route.amount, 0);
    if (fee > request.maxFee) throw new RpcError(CODE.payRouteTooExpensive, `Could not find route without excessive cost: ${fee}msat > ${request.maxFee}msat`);
    return routes;
  }

  private edges({ layers, source }: RouteRequest): readonly Edge[] {
    const us = this.node.keys.nodeId;
    const found = this.node.gossip
      .all()
      .filter((entry) => entry.active && entry.source !== us)
      .map((entry): Edge => ({ scid: entry.short_channel_id, from: entry.source, to: entry.destination, base: entry.base_fee_millisatoshi, ppm: entry.fee_per_millionth, delay: entry.delay, capacity: entry.amount_msat }));
    if (source === us || layers.includes('auto.localchans'))
      for (const channel of this.node.channels.all().filter((one) => this.node.channels.link.isLive(one) && one.state === 'CHANNELD_NORMAL'))
        found.push({ scid: channel.private ? channel.aliasLocal : (channel.scid ?? channel.aliasLocal), from: us, to: channel.peerId, base: channel.fees.base, ppm: channel.fees.ppm, delay: this.node.options.int('cltv-delta'), capacity: spendable(channel, COMMITMENT_PERKW) });
    return this.node.layers.named(layers).reduce((edges: readonly Edge[], layer) => withLayer(edges, layer), found);
  }

  private unreachable(edges: readonly Edge[], { source, destination, amount }: RouteRequest): RpcError {
    const words = 'We could not find a usable set of paths.';
    const shortest = reach(edges.map((edge) => ({ ...edge, capacity: Infinity })), source, destination, 0);
    if (shortest === undefined) return new RpcError(CODE.payRouteNotFound, `${words} There is no connection between source and destination at all`);
    const narrow = shortest.map(({ scid, from, to }) => edges.find((edge) => edge.scid === scid && edge.from === from && edge.to === to)).find((edge) => (edge?.capacity ?? 0) < amount);
    const detail = narrow === undefined ? '' : `, but ${edgeId(narrow)} says max is ${narrow.capacity}msat`;
    return new RpcError(CODE.payRouteNotFound, `${words} The shortest path is ${shortest.map(({ scid }) => scid).join('->')}${detail}`);
  }

  commands(): readonly Command[] {
    return [
      command(
        'getroutes',
        {
          source: req(nodeId), destination: req(nodeId), amount_msat: req(msat), layers: req(arrayOf(str)), maxfee_msat: req(msat), final_cltv: opt(int), maxdelay: opt(int), maxparts: opt(int),
        },
        ({ source, destination, amount_msat: amount, layers, maxfee_msat: maxFee, final_cltv: finalCltv = 18, maxdelay: maxDelay = 2016, maxparts: maxParts = 100 }) => ({
          probability_ppm: 1_000_000,
          routes: this.find({ source, destination, amount, layers, maxFee, finalCltv, maxDelay, maxParts }).map(routeJson),
        }),
      ),
      command('getroute', { id: req(any), amount_msat: opt(any), riskfactor: opt(any) }, () => {
        throw new RpcError(CODE.methodNotFound, 'Command "getroute" is deprecated');
      }),
    ];
  }
}

/** A layer's own channels on top of those there are, and then what it says of any of them. */
const withLayer = (edges: readonly Edge[], { hints, limits, updates }: Layer): readonly Edge[] =>
  [
    ...edges,
    ...hints.map(({ hop, to }): Edge => ({ scid: hop.scid, from: hop.pubkey, to, base: hop.base, ppm: hop.ppm, delay: hop.delta, capacity: UNKNOWN_CAPACITY })),
  ].flatMap((edge) => {
    const id = edgeId(edge);
    const { enabled, fee_base_msat: base, fee_proportional_millionths: ppm, cltv_expiry_delta: delay, htlc_maximum_msat: most } = updates[id] ?? {};
    if (enabled === false) return [];
    return [{ ...edge, base: base ?? edge.base, ppm: ppm ?? edge.ppm, delay: delay ?? edge.delay, capacity: Math.min(edge.capacity, most ?? Infinity, limits[id] ?? Infinity) }];
  });

const routeJson = ({ amount, finalCltv, path }: Route): JsonObject => ({
  probability_ppm: 1_000_000,
  amount_msat: amount,
  final_cltv: finalCltv,
  path: path.map(({ edge, amountIn, amountOut, cltvIn, cltvOut }) => ({
    short_channel_id_dir: edgeId(edge),
    node_id_in: edge.from,
    node_id_out: edge.to,
    amount_in_msat: amountIn,
    amount_out_msat: amountOut,
    cltv_in: cltvIn,
    cltv_out: cltvOut,
  })),
});

/** Dijkstra from the destination backwards: fees depend on what the next hop has to get. */
const reach = (edges: readonly Edge[], source: string, destination: string, amount: number): readonly Edge[] | undefined => {
  const best = new Map<string, { readonly amount: number; readonly path: readonly Edge[] }>([[destination, { amount, path: [] }]]);
  const done = new Set<string>();
  for (;;) {
    const [id, at] = [...best].filter(([node]) => !done.has(node)).sort(([, a], [, b]) => a.amount - b.amount || a.path.length - b.path.length)[0] ?? [];
    if (id === undefined || at === undefined) return undefined;
    if (id === source) return at.path;
    done.add(id);
    for (const edge of edges) {
      if (edge.to !== id || edge.capacity < at.amount || done.has(edge.from)) continue;
      // Nobody pays himself for the first hop.
      const needed = edge.from === source ? at.amount : at.amount + forwardFee(edge, at.amount);
      const known = best.get(edge.from);
      if (known === undefined || needed < known.amount || (needed === known.amount && at.path.length + 1 < known.path.length)) best.set(edge.from, { amount: needed, path: [edge, ...at.path] });
    }
  }
};

const cheapest = (edges: readonly Edge[], { source, destination }: RouteRequest, amount: number): readonly Edge[] | undefined => reach(edges, source, destination, amount);

/** The path that carries most, by trying every capacity there is. */
const widest = (edges: readonly Edge[], { source, destination }: RouteRequest): readonly Edge[] | undefined =>
  [...new Set(edges.map(({ capacity }) => capacity))]
    .sort((a, b) => b - a)
    .filter((capacity) => capacity > 0)
    .map((capacity) => reach(edges.filter((edge) => edge.capacity >= capacity), source, destination, 1))
    .find((path) => path !== undefined);

/** What can be delivered over a path none of whose channels may carry more than this. */
const largest = (path: readonly Edge[], capacity: number): number => {
  let amount = capacity;
  for (let i = 0; i < 3; i += 1) {
    const over = Math.max(...fill(path, amount, 0).path.map(({ edge, amountOut }) => amountOut - edge.capacity));
    if (over <= 0) return amount;
    amount -= over + 1;
  }
  return amount;
};

const fill = (path: readonly Edge[], amount: number, finalCltv: number): Route => {
  const hops: Route['path'][number][] = [];
  let [amountOut, cltvOut] = [amount, finalCltv];
  for (const edge of [...path].reverse()) {
    const [amountIn, cltvIn] = [amountOut + forwardFee(edge, amountOut), cltvOut + edge.delay];
    hops.unshift({ edge, amountIn, amountOut, cltvIn, cltvOut });
    [amountOut, cltvOut] = [amountIn, cltvIn];
  }
  return { amount, finalCltv, path: hops };
};
