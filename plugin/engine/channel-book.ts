/** Which of the node's channels are factory channels, for hooks that must answer in milliseconds: from memory. */
import type { ChannelId, Msat, NodeId, Sat } from '../../blip/brands.js';
import type { FactoryChannelFacts } from '../../factory-core/htlc-policy.js';
import { channelStatus, fundingStatus, mayCarryHtlcs } from '../../factory-core/live/custody.js';
import { channelsOf, earlyWarningOf, type BranchChannel } from '../../factory-core/live/paths.js';
import type { Branch } from '../../factory-core/live/state.js';
import { rotationOf } from '../../factory-core/rotation.js';
import type { Channel, Lightning } from '../lightning/lightning.js';
import type { Engine } from './engine.js';
import { isClosing, type FactoryState } from './factory.js';
import { isUnproven } from './unproven.js';

export interface FactoryChannel {
  readonly state: Extract<FactoryState, { phase: 'live' }>;
  readonly branch: Branch;
  readonly channel: BranchChannel;
}

/** Channels by their short ids and aliases. */
export interface Avoided {
  /** Nothing may go over them now, or their owners are on their way to another factory. */
  readonly left: readonly string[];
  /** The other end may not know yet that they can be used. */
  readonly unproven: readonly string[];
  /** Those other ends. */
  readonly peers: readonly NodeId[];
}

export class ChannelBook {
  /** By channel id, short channel id and alias, factory channels and others, as CLN last listed them. */
  private named = new Map<string, Channel>();
  private refreshing: Promise<void> = Promise.resolve();
  private following: Promise<void> | undefined;

  constructor(
    private readonly engine: Engine,
    private readonly lightning: Pick<Lightning, 'channels'>,
  ) {}

  byChannelId(id: ChannelId): FactoryChannel | undefined {
    for (const { state } of this.engine.all()) {
      if (state.phase !== 'live') continue;
      const found = factoryChannels(state).find(({ channel }) => channel.channelId === id);
      if (found) return found;
    }
    return undefined;
  }

  /** A name CLN has not listed before is looked up once more: the channel may be new, or its leaf just confirmed. */
  async byAlias(alias: string): Promise<FactoryChannel | undefined> {
    const channel = await this.channel(alias);
    return channel && this.byChannelId(channel.channelId);
  }

  private async channel(name: string): Promise<Channel | undefined> {
    if (!this.hasFactories()) return undefined;
    if (!this.named.has(name)) await this.refresh();
    return this.named.get(name);
  }

  /**
   * What decides whether this channel, named by its id or an alias, may carry an HTLC; undefined: it has nothing to do with
   * factories. One that may be a factory's and is not known as such is looked up once more: it may have confirmed, or become one.
   */
  async look(name: string): Promise<Looked | undefined> {
    const known = this.byChannelId(name as ChannelId);
    if (known) return this.seen(known);
    const looked = this.judge(await this.channel(name));
    if (looked?.facts !== UNAUDITED) return looked;
    await this.refresh();
    return this.judge(this.named.get(name));
  }
  /** At once: while lightningd is asked, what is being opened may become a factory's. */
  private judge(channel: Channel | undefined): Looked | undefined {
    if (!channel) return undefined;
    const known = this.byChannelId(channel.channelId);
    if (known) return this.seen(known);
    return this.isUnaudited(channel) ? { peer: channel.peer, channelId: channel.channelId, facts: UNAUDITED } : undefined;
  }
  private seen(known: FactoryChannel): Looked {
    return { peer: known.branch.peer, channelId: known.channel.channelId, facts: this.facts(known) };
  }

  /**
   * Whether a channel may have been opened as a factory's and has not become one: it is zero-conf because it was taken for
   * that, and until its leaf is signed, stored and audited on both sides (architecture 6) nothing stands behind it.
   */
  private isUnaudited(channel: Channel | undefined): boolean {
    if (!channel?.private || channel.shortChannelId !== undefined || this.byChannelId(channel.channelId)) return false;
    return channel.opener === 'remote' ? this.invitedBy(channel.peer, channel.total) : this.opensTo(channel.peer, channel.total);
  }
  private invitedBy(peer: NodeId, total: Msat): boolean {
    const promised = (state: FactoryState): readonly Sat[] => (state.role === 'member' ? [state.invite.capacity, ...(state.phase === 'live' ? (state.purchasing?.expected ?? []) : [])] : []);
    return this.engine.all().some(({ state }) => state.role === 'member' && state.coordinator === peer && promised(state).some((amount) => amount * 1000n === total));
  }
  private opensTo(peer: NodeId, total: Msat): boolean {
    return this.engine.all().some(({ state }) => state.role === 'coordinator' && openingTo(state).some((to) => to.peer === peer && to.amount * 1000n === total));
  }

  /** By channel id, short channel id or alias, as an operator may name it. */
  byAny(name: string): Promise<FactoryChannel | undefined> {
    const known = this.byChannelId(name as ChannelId);
    return known ? Promise.resolve(known) : this.byAlias(name);
  }

  /** `close` also takes a peer's id, if there is one channel with it: then every channel counts, not ours alone. */
  async byAnyOrPeer(name: string): Promise<FactoryChannel | undefined> {
    const named = await this.byAny(name);
    if (named) return named;
    const withPeer = (await this.lightning.channels()).filter((c) => c.peer === name && c.state === 'CHANNELD_NORMAL');
    const [only, another] = withPeer;
    return only && !another ? this.byChannelId(only.channelId) : undefined;
  }

  /** Channels to a peer, other than one of them, that have room for `amount`, the roomiest first. */
  async others(peer: NodeId, than: ChannelId | undefined, amount: Msat | undefined): Promise<readonly { readonly channelId: ChannelId; readonly channel?: FactoryChannelFacts }[]> {
    const channels = (await this.lightning.channels({ peer })).filter(
      (c) => c.channelId !== than && c.connected && c.state === 'CHANNELD_NORMAL' && c.spendable >= (amount ?? 0n),
    );
    return [...channels]
      .sort((a, b) => (b.spendable > a.spendable ? 1 : -1))
      .map((channel) => {
        const { channelId } = channel;
        const known = this.byChannelId(channelId);
        const facts = known ? this.facts(known) : this.isUnaudited(channel) ? UNAUDITED : undefined;
        return { channelId, ...(facts ? { channel: facts } : {}) };
      });
  }

  private facts(channel: FactoryChannel): FactoryChannelFacts {
    return factsIn(this.engine, channel);
  }

  hasFactories(): boolean {
    return this.engine.all().length > 0;
  }
  hasLive(): boolean {
    return this.engine.all().some(({ state }) => state.phase === 'live');
  }

  /** A list that was asked for earlier may lack what has come since: another one is asked for, once for all who wait. */
  private refresh(): Promise<void> {
    this.following ??= (async () => {
      await this.refreshing.catch(() => undefined);
      this.following = undefined;
      this.refreshing = this.load();
      await this.refreshing;
    })();
    return this.following;
  }
  private async load(): Promise<void> {
    const names = (c: Channel) => [c.channelId, c.shortChannelId, c.localAlias].filter((n) => n !== undefined).map((n) => [n, c] as const);
    this.named = new Map((await this.lightning.channels()).flatMap(names));
  }

  /** Of the factories this node is a member of, and can pay over: what a payment's first hop needs (bLIP-56). */
  earlyWarningOfOwn(): number | undefined {
    return largestEarlyWarning(this.usable().filter(({ state }) => state.role === 'member'));
  }

  private usable(): readonly FactoryChannel[] {
    return this.engine.all().flatMap(({ state }) => {
      if (state.phase !== 'live') return [];
      return factoryChannels(state).filter(isOpen);
    });
  }

  /** The largest early warning of the factories whose channels can be paid over now, and how an invoice names those channels. */
  async forInvoice(): Promise<{ readonly earlyWarning: number; readonly hints: readonly string[] } | undefined> {
    const all = this.usable();
    const staying = all.filter(({ state, branch }) => rotationOf(state, branch.member) === 'stays');
    const usable = staying.length > 0 ? staying : all.filter(({ state, branch }) => rotationOf(state, branch.member) === 'moving');
    const earlyWarning = largestEarlyWarning(usable);
    if (earlyWarning === undefined) return undefined;
    // The LSP is reached over its announced channels; a member only over the LSP.
    const mine = new Set(usable.filter(({ state }) => state.role === 'member').map(({ channel }) => channel.channelId));
    if (mine.size === 0) return { earlyWarning, hints: [] };
    const channels = await this.lightning.channels();
    const hints = channels.filter((c) => mine.has(c.channelId) && c.connected && c.state === 'CHANNELD_NORMAL').flatMap((c) => c.remoteAlias ?? c.shortChannelId ?? []);
    return { earlyWarning, hints };
  }

  /** What this node’s own payments should not take, and what they take when nothing else has room. */
  async avoided(): Promise<Avoided> {
    const opening = this.engine.all().some(({ state }) => isOpening(state));
    const before = this.shunned();
    if (before.length === 0 && !opening) return { left: [], unproven: [], peers: [] };
    if (opening || before.some(({ channel }) => !this.named.has(channel.channelId))) await this.refresh();
    // Again: what was being opened may have become a factory's meanwhile.
    const now = this.shunned();
    const those = (unproven: boolean) => new Set(now.filter((c) => c.unproven === unproven).map(({ channel }) => channel.channelId));
    const [left, unproven] = [those(false), those(true)];
    const channels = [...new Set(this.named.values())];
    return {
      left: namesOf(channels.filter((c) => left.has(c.channelId) || this.isUnaudited(c))),
      unproven: namesOf(channels.filter((c) => unproven.has(c.channelId))),
      peers: [...new Set(now.filter((c) => c.unproven).map(({ branch }) => branch.peer))],
    };
  }

  /** Whether the channels that are not avoided have room for a payment that might go over those that are unproven. */
  async canSpareUnproven({ left, unproven, peers }: Avoided, { destination, amount }: { readonly destination: string; readonly amount: Msat }): Promise<boolean> {
    const concerned = peers.filter((peer) => peer === destination);
    const avoided = new Set([...left, ...unproven]);
    const channels = (await this.lightning.channels()).filter((c) => c.connected && c.state === 'CHANNELD_NORMAL' && !namesOf([c]).some((name) => avoided.has(name)));
    const room = (peer: NodeId): bigint => channels.filter((c) => c.peer === peer).reduce((sum, c) => sum + c.spendable, 0n);
    return (concerned.length > 0 ? concerned : peers).every((peer) => room(peer) >= amount);
  }

  private shunned(): readonly (FactoryChannel & { readonly unproven: boolean })[] {
    return this.engine.all().flatMap(({ state }) => {
      if (state.phase !== 'live' || state.live.retired) return [];
      return factoryChannels(state)
        .filter((channel) => !isOver(channel))
        .flatMap((channel) => {
          const left = !isOpen(channel) || isLeft(channel);
          return left || isUnproven(this.engine, channel) ? [{ ...channel, unproven: !left }] : [];
        });
    });
  }

  /** The open we have told the coordinator to expect from it, if this is one (architecture 6). */
  expects(peer: NodeId, amount: Sat): boolean {
    return this.engine.all().some(({ state }) => state.role === 'member' && state.coordinator === peer && expectedAmount(state) === amount);
  }
}

const expectedAmount = (state: Extract<FactoryState, { role: 'member' }>): Sat | undefined => {
  if (state.phase === 'opening') return state.leaf.step === 'expecting' ? state.invite.capacity : undefined;
  const buying = state.phase === 'live' ? state.purchasing?.current : undefined;
  return buying?.progress.step === 'expecting' ? buying.amount : undefined;
};

/** The client may not have stored its channel, or has not paid for it: nothing of ours goes over it yet. */
const isUnpaid = ({ state, branch, channel }: FactoryChannel): boolean => {
  const sale = state.role === 'coordinator' ? state.selling?.[branch.member]?.sale : undefined;
  return sale !== undefined && 'channelId' in sale.progress && sale.progress.channelId === channel.channelId;
};

/** Whether a channel may have come to be that this node does not know as a factory's yet. */
const isOpening = (state: FactoryState): boolean =>
  state.role === 'coordinator' ? openingTo(state).length > 0 : state.phase === 'opening' || (state.phase === 'live' && state.purchasing?.current !== undefined);

/** Channels that are being opened: those of a new factory, and those that are sold. */
const openingTo = (state: Extract<FactoryState, { role: 'coordinator' }>): readonly { readonly peer: NodeId; readonly amount: Sat }[] => {
  if (state.phase === 'opening' || state.phase === 'arming') return state.members.map((m) => ({ peer: m.nodeId, amount: m.capacity }));
  if (state.phase !== 'live') return [];
  return state.members.flatMap((m, i) => {
    const sale = state.selling?.[i]?.sale;
    return sale ? [{ peer: m.nodeId, amount: sale.amount }] : [];
  });
};

export interface Looked {
  readonly peer: NodeId;
  readonly channelId: ChannelId;
  readonly facts: FactoryChannelFacts;
}

/** Closed on chain, or given up: lightningd pays over it no more, and once it has forgotten it, looking it up would never end. */
const isOver = ({ state: { live }, branch, channel }: FactoryChannel): boolean =>
  live.retiredMembers?.includes(branch.member) === true || channelStatus(live, branch, channel).kind === 'channel_closed';

const isOpen = (known: FactoryChannel): boolean => mayCarryHtlcs(known.state.live, known.branch, isClosing(known.state), known.channel) && !isUnpaid(known);

/** Of a channel without a factory: nothing may go over it. */
const UNAUDITED: FactoryChannelFacts = { earlyWarning: 0, active: false, frozen: false };

const factsIn = (engine: Pick<Engine, 'all'>, known: FactoryChannel): FactoryChannelFacts => {
  const { state, branch, channel } = known;
  const rotation = rotationOf(state, branch.member);
  return {
    earlyWarning: earlyWarningOf(state.live.spec, channel.depth),
    active: mayCarryHtlcs(state.live, branch, false, channel) && !isUnpaid(known),
    frozen: rotation === 'moved' || isClosing(state) || (state.live.close !== undefined && fundingStatus(state.live).kind === 'confirmed'),
    ...(isLeft(known) || isUnproven(engine, known) ? { avoid: true } : {}),
  };
};

/** A member needs its old channels to move; it is the coordinator who fills them no more. */
const isLeft = ({ state, branch }: FactoryChannel): boolean => {
  const rotation = rotationOf(state, branch.member);
  return rotation === 'moved' || (rotation === 'moving' && state.role === 'coordinator');
};

const namesOf = (channels: readonly Channel[]): readonly string[] => channels.flatMap((c) => [c.shortChannelId, c.localAlias].filter((name) => name !== undefined));

const factoryChannels = (state: FactoryChannel['state']): readonly FactoryChannel[] =>
  state.live.branches.flatMap((branch) => channelsOf(state.live, branch).map((channel) => ({ state, branch, channel })));

const largestEarlyWarning = (channels: readonly FactoryChannel[]): number | undefined =>
  channels.length === 0 ? undefined : Math.max(...channels.map(({ state, channel }) => earlyWarningOf(state.live.spec, channel.depth)));
