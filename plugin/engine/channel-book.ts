/** Which of the node's channels are factory channels, for hooks that must answer in milliseconds: from memory. */
import type { ChannelId, Msat, NodeId, Sat } from '../../blip/brands.js';
import type { FactoryChannelFacts } from '../../factory-core/htlc-policy.js';
import { fundingStatus, mayCarryHtlcs } from '../../factory-core/live/custody.js';
import { channelsOf, earlyWarningOf, type BranchChannel } from '../../factory-core/live/paths.js';
import type { Branch } from '../../factory-core/live/state.js';
import type { Channel, Lightning } from '../lightning/lightning.js';
import type { Engine } from './engine.js';
import { isClosing, type FactoryState } from './factory.js';

export interface FactoryChannel {
  readonly state: Extract<FactoryState, { phase: 'live' }>;
  readonly branch: Branch;
  readonly channel: BranchChannel;
}

export class ChannelBook {
  /** By short channel id and alias, factory channels and others, as CLN last listed them. */
  private named = new Map<string, Channel>();
  private refreshing: Promise<void> | undefined;

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
   * Whether a channel may have been opened to us as a factory's and has not become one: it is zero-conf because we took it
   * for that, and until its leaf is signed, stored and audited (architecture 6) nothing stands behind it.
   */
  async isUnaudited(alias: string): Promise<boolean> {
    const looksSo = (channel: Channel | undefined): boolean =>
      channel?.opener === 'remote' && channel.private && channel.shortChannelId === undefined && !this.byChannelId(channel.channelId) && this.invitedBy(channel.peer, channel.total);
    if (!looksSo(await this.channel(alias))) return false;
    // It may have confirmed since CLN was asked.
    await this.refresh();
    return looksSo(this.named.get(alias));
  }
  private invitedBy(peer: NodeId, total: Msat): boolean {
    const promised = (state: FactoryState): readonly Sat[] => (state.role === 'member' ? [state.invite.capacity, ...(state.phase === 'live' ? (state.purchasing?.expected ?? []) : [])] : []);
    return this.engine.all().some(({ state }) => state.role === 'member' && state.coordinator === peer && promised(state).some((amount) => amount * 1000n === total));
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

  /** Other channels to a channel's peer that have room for `amount`, the roomiest first. */
  async others(than: Pick<BranchChannel, 'peer' | 'channelId'>, amount: Msat | undefined): Promise<readonly { readonly channelId: ChannelId; readonly channel?: FactoryChannelFacts }[]> {
    const channels = (await this.lightning.channels({ peer: than.peer })).filter(
      (c) => c.channelId !== than.channelId && c.connected && c.state === 'CHANNELD_NORMAL' && c.spendable >= (amount ?? 0n),
    );
    return [...channels]
      .sort((a, b) => (b.spendable > a.spendable ? 1 : -1))
      .map(({ channelId }) => {
        const known = this.byChannelId(channelId);
        return { channelId, ...(known ? { channel: factsOf(known) } : {}) };
      });
  }

  hasFactories(): boolean {
    return this.engine.all().length > 0;
  }
  hasLive(): boolean {
    return this.engine.all().some(({ state }) => state.phase === 'live');
  }

  private refresh(): Promise<void> {
    this.refreshing ??= this.load().finally(() => {
      this.refreshing = undefined;
    });
    return this.refreshing;
  }
  private async load(): Promise<void> {
    const names = (c: Channel) => [c.shortChannelId, c.localAlias].filter((n) => n !== undefined).map((n) => [n, c] as const);
    this.named = new Map((await this.lightning.channels()).flatMap(names));
  }

  /** Of the factories this node is a member of, and can pay over: what a payment's first hop needs (bLIP-56). */
  earlyWarningOfOwn(): number | undefined {
    return largestEarlyWarning(this.usable().filter(({ state }) => state.role === 'member'));
  }

  private usable(): readonly FactoryChannel[] {
    return this.engine.all().flatMap(({ state }) => {
      if (state.phase !== 'live') return [];
      return factoryChannels(state).filter(({ branch, channel }) => mayCarryHtlcs(state.live, branch, isClosing(state), channel));
    });
  }

  /** The largest early warning of the factories whose channels can be paid over now, and how an invoice names those channels. */
  async forInvoice(): Promise<{ readonly earlyWarning: number; readonly hints: readonly string[] } | undefined> {
    const usable = this.usable();
    const earlyWarning = largestEarlyWarning(usable);
    if (earlyWarning === undefined) return undefined;
    // The LSP is reached over its announced channels; a member only over the LSP.
    const mine = new Set(usable.filter(({ state }) => state.role === 'member').map(({ channel }) => channel.channelId));
    if (mine.size === 0) return { earlyWarning, hints: [] };
    const channels = await this.lightning.channels();
    const hints = channels.filter((c) => mine.has(c.channelId) && c.connected && c.state === 'CHANNELD_NORMAL').flatMap((c) => c.remoteAlias ?? c.shortChannelId ?? []);
    return { earlyWarning, hints };
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

/** Of a channel without a factory: nothing may go over it. */
export const UNAUDITED: FactoryChannelFacts = { earlyWarning: 0, active: false, frozen: false };

export const factsOf = (known: FactoryChannel): FactoryChannelFacts => {
  const { state, branch, channel } = known;
  return {
    earlyWarning: earlyWarningOf(state.live.spec, channel.depth),
    active: mayCarryHtlcs(state.live, branch, false, channel) && !isUnpaid(known),
    frozen: isClosing(state) || (state.live.close !== undefined && fundingStatus(state.live).kind === 'confirmed'),
  };
};

const factoryChannels = (state: FactoryChannel['state']): readonly FactoryChannel[] =>
  state.live.branches.flatMap((branch) => channelsOf(state.live, branch).map((channel) => ({ state, branch, channel })));

const largestEarlyWarning = (channels: readonly FactoryChannel[]): number | undefined =>
  channels.length === 0 ? undefined : Math.max(...channels.map(({ state, channel }) => earlyWarningOf(state.live.spec, channel.depth)));
