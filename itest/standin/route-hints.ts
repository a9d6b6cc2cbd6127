import { type Channel, isNormal, nameOf, receivable } from './channel.js';
import { SCID_ALIAS } from './features.js';
import type { RouteHop } from './bolt11.js';
import type { Node } from './node.js';
import { COMMITMENT_PERKW } from './params.js';
import { CODE, type JsonObject, RpcError } from './types.js';

/** `exposeprivatechannels`: undefined lets lightningd decide, a list means only those. */
export type Exposure = boolean | readonly string[] | undefined;

interface Candidate {
  readonly channel: Channel;
  readonly hint: RouteHop;
  readonly capacity: number;
}

/** What the peer's other announced channels can carry to it: 0 makes it a dead end. */
const incomingCapacity = (node: Node, channel: Channel): number =>
  node.gossip.all().filter(({ destination, source, active }) => destination === channel.peerId && source !== node.keys.nodeId && active).reduce((sum, { amount_msat }) => sum + amount_msat, 0);

/** The name under which the peer knows the channel: never the real one where option_scid_alias is set (BOLT 2). */
const hintScid = (channel: Channel): string | undefined =>
  channel.type.includes(SCID_ALIAS) || channel.private || channel.scid === undefined ? channel.aliasRemote : channel.scid;

const hintOf = (channel: Channel): RouteHop | undefined => {
  const scid = hintScid(channel);
  const update = channel.remoteUpdate;
  if (scid === undefined || update === undefined) return undefined;
  return { pubkey: channel.peerId, scid, base: Number(update['fee_base_msat']), ppm: Number(update['fee_proportional_millionths']), delta: Number(update['cltv_expiry_delta']) };
};

/** Which channels an invoice names, and lightningd's warnings about it. */
export class RouteHints {
  /** Channels named lately come last. */
  private readonly used = new Map<number, number>();
  private counter = 0;

  constructor(private readonly node: Node) {}

  choose(amount: number | undefined, exposure: Exposure): { readonly routes: readonly (readonly RouteHop[])[]; readonly warnings: JsonObject } {
    const needed = amount ?? 1;
    const listed = Array.isArray(exposure) ? (exposure as readonly string[]) : undefined;
    const open = this.node.channels.all().filter((channel) => isNormal(channel) && channel.remoteUpdate !== undefined);
    const published = open.some((channel) => !channel.private);
    const sums = { deadends: 0, offline: 0, private: 0 };
    const [shown, hidden]: [Candidate[], Candidate[]] = [[], []];
    for (const channel of open) {
      const capacity = Math.min(receivable(channel, COMMITMENT_PERKW), Number(channel.remoteUpdate?.['htlc_maximum_msat'] ?? 0));
      const hint = hintOf(channel);
      const wanted = listed === undefined || listed.includes(nameOf(channel)) || listed.includes(channel.aliasLocal) || (channel.aliasRemote !== undefined && listed.includes(channel.aliasRemote));
      if (hint === undefined || !wanted) continue;
      if (listed === undefined && incomingCapacity(this.node, channel) === 0) sums.deadends += capacity;
      else if (!this.node.channels.link.isLive(channel)) sums.offline += capacity;
      else (!channel.private || listed !== undefined || exposure === true ? shown : hidden).push({ channel, hint, capacity });
    }
    const fallback = exposure === undefined && shown.length === 0 && !published;
    const candidates = fallback ? hidden : shown;
    if (!fallback) sums.private = total(hidden);
    if (listed !== undefined && listed.length > 0 && candidates.length === 0) throw new RpcError(CODE.invoiceNoRoutes, 'None of those hints were suitable local channels');
    const single = published ? this.order(candidates.filter(({ capacity }) => capacity >= needed)).slice(0, 1) : [];
    const chosen = single.length > 0 ? single : this.gather(candidates, needed);
    return { routes: chosen.map(({ hint }) => [hint]), warnings: this.warnings(needed, total(candidates), sums, chosen.length) };
  }

  /** As many as it takes, those first that were not named lately. */
  private gather(candidates: readonly Candidate[], needed: number): readonly Candidate[] {
    const chosen: Candidate[] = [];
    for (const candidate of this.order(candidates)) {
      if (total(chosen) >= needed) break;
      chosen.push(candidate);
      this.counter += 1;
      this.used.set(candidate.channel.id, this.counter);
    }
    return chosen;
  }

  private order(candidates: readonly Candidate[]): readonly Candidate[] {
    return [...candidates].sort((a, b) => (this.used.get(a.channel.id) ?? 0) - (this.used.get(b.channel.id) ?? 0));
  }

  private warnings(needed: number, available: number, sums: { deadends: number; offline: number; private: number }, count: number): JsonObject {
    const mpp = count > 1 ? { warning_mpp: 'The invoice is only payable by MPP-capable payers.' } : {};
    const { deadends, offline } = sums;
    if (needed >= available + deadends + offline + sums.private) return { ...mpp, warning_capacity: 'Insufficient incoming channel capacity to pay invoice' };
    if (needed <= available) return mpp;
    if (available + offline >= needed) return { ...mpp, warning_offline: 'Insufficient incoming capacity, once offline peers were excluded' };
    if (available + offline + deadends >= needed) return { ...mpp, warning_deadends: 'Insufficient incoming capacity, once dead-end peers were excluded' };
    return { ...mpp, warning_private_unused: 'Insufficient incoming capacity, once private channels were excluded (try exposeprivatechannels=true?)' };
  }
}

const total = (candidates: readonly Candidate[]): number => candidates.reduce((sum, { capacity }) => sum + capacity, 0);
