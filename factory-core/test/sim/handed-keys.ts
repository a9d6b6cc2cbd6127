/** What becomes of keys that were handed over (architecture 8): whose they were, when they may go, and what they may sign. */
import { hexToBytes } from '@noble/hashes/utils.js';
import type { PubKey, SecretKey } from '../../../blip/brands.js';
import { publicKeyOf } from '../../keys.js';
import { channelsOf } from '../../live/paths.js';
import type { Branch, Live } from '../../live/state.js';
import type { Signable } from '../../model.js';
import { P2A_SCRIPT } from '../../taproot.js';
import type { Host } from './host.js';
import type { FactoryState } from './store.js';
import type { World } from './world.js';

export class HandedKeys {
  /** So many uses of the coordinator's have been looked at. */
  private seen = 0;
  private readonly keys = new Map<SecretKey, PubKey>();

  /** @param expect throws with this text when something does not hold */
  constructor(
    private readonly world: World,
    private readonly expect: (holds: boolean, text: string) => void,
  ) {}

  /** A key leaves: everything its owner had is elsewhere, this node knows that for good, and nothing is pending. */
  handingOver(from: Host): void {
    const { state } = from.disk.load();
    const live = state?.phase === 'live' ? state.live : undefined;
    this.expect(live?.handedOver === true, `${from.name} hands its key over, and would not know after a crash`);
    const left = this.world.cln.channels.filter((c) => c.fundee === from.id && live?.branches.some((b) => channelsOf(live, b).some(({ channelId }) => channelId === c.id)));
    const { fees, repaid } = this.world.moving.account(from.id);
    this.expect(left.reduce((sum, c) => sum + c.balance, fees) <= repaid, `${from.name} hands its key over, and has a balance here`);
    this.expect(left.every((c) => !c.htlc), `${from.name} hands its key over while an HTLC is pending`);
    const to = state?.role === 'member' && state.phase === 'live' ? state.migration?.to : undefined;
    const next = this.world.worlds.find((w) => w.instanceId === to);
    if (!next) return;
    const there = next.members.find((m) => m.id === from.id)?.live;
    this.expect(there?.chain.everFunded === true, `${from.name} hands its key over, and is in no other factory`);
  }

  /** Whose key is gone signs nothing any more. */
  signing(from: Host): void {
    this.expect(from.live?.handedOver !== true, `${from.name} signs after it has handed its key over`);
  }

  stored(host: Host, after: FactoryState): void {
    if (after.phase !== 'live') return;
    if (after.role === 'member') {
      this.expect(after.leaving?.leaves !== true || after.migration === undefined, `${host.name} leaves, and moves to another factory`);
      return;
    }
    for (const { member, heldKey } of after.live.branches) {
      this.expect(heldKey === undefined || after.leaving?.[member]?.leaves !== true, `client ${String(member)} leaves, and its key was taken`);
    }
  }

  /** What the coordinator has of a branch's key is the key. */
  held({ spec }: Live, { member, heldKey }: Branch): void {
    if (heldKey === undefined) return;
    const key = this.keys.get(heldKey) ?? publicKeyOf(hexToBytes(heldKey));
    this.keys.set(heldKey, key);
    this.expect(spec.roster[member]?.key === key, `the key of client ${String(member)} that was taken is not its own`);
  }

  /** What the coordinator has signed with them since the last look. */
  check(): void {
    const { held } = this.world.coordinator.record;
    for (; this.seen < held.length; this.seen += 1) {
      const use = held[this.seen];
      if (use) this.used(use.key, use.signable);
    }
  }

  private used(key: PubKey, { purpose, tx }: Signable): void {
    const { coordinator, members } = this.world;
    const owner = members.find((m) => m.identity.key === key);
    this.expect(purpose === 'close' || purpose === 'turnover', `a key that was handed over signs a ${purpose}`);
    this.expect(owner === undefined || !this.world.isHonest(owner) || this.isGone(owner), `${owner?.name ?? key} has not handed over the key that is used`);
    const branches = coordinator.live?.branches ?? [];
    const others = members.filter((m) => branches.some((b) => b.peer === m.id && b.heldKey === undefined));
    const payees = [coordinator, ...(purpose === 'close' ? others : [])].map((h) => h.identity.payoutScript);
    const stray = tx.outputs.find((o) => o.script !== P2A_SCRIPT && !payees.includes(o.script));
    this.expect(stray === undefined || !members.every((m) => this.world.isHonest(m)), `a key that was handed over pays somebody else: ${String(stray?.script)}`);
  }
  /** On its own disk. */
  isGone(owner: Host): boolean {
    const { state } = owner.disk.load();
    return state?.phase === 'live' && state.live.handedOver === true;
  }
}
