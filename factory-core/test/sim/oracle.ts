/** What must always hold, whoever crashes or lies (architecture 12): checked while the world runs. */
import type { NodeId, Outpoint, PaymentHash, Txid } from '../../../blip/brands.js';
import type { FactoryMessage } from '../../../blip/messages.js';
import { fundingStatus } from '../../live/custody.js';
import { channelsOf, distributionOf, exitPath, purchasePath, stockOf } from '../../live/paths.js';
import { hashOf, nextPurchase } from '../../live/purchasing.js';
import type { Branch, Live } from '../../live/state.js';
import type { Signable, SignedTx } from '../../model.js';
import { verifyFinal } from '../../musig/index.js';
import { present } from '../../protocol/present.js';
import { buildLeaf, fundingRequirement, pathOf, slotAmount } from '../../transactions.js';
import { treeOf } from '../../tree-of.js';
import { outpointText } from './chain.js';
import type { SimChannel } from './cln.js';
import { HandedKeys } from './handed-keys.js';
import type { Host } from './host.js';
import type { FactoryState } from './store.js';
import type { World } from './world.js';

export class Violation extends Error {
  constructor(text: string) {
    super(text);
    this.name = 'Violation';
  }
}

export class Oracle {
  /** What a node has let out: outpoint and purpose → sighash. */
  private readonly released = new Map<string, string>();
  /** Of purchases that some member has stored. */
  private readonly bought = new Set<PaymentHash>();
  private readonly knownLive = new WeakMap<Host, Live['branches']>();

  private readonly handedKeys: HandedKeys;

  constructor(private readonly world: World) {
    this.handedKeys = new HandedKeys(world, (holds, text) => this.expect(holds, text));
  }

  violated(text: string): never {
    throw new Violation(text);
  }
  private expect(holds: boolean, text: string): void {
    if (!holds) this.violated(text);
  }

  /** A message is about to leave a node. */
  sending(from: Host, message: FactoryMessage): void {
    if (!this.world.isHonest(from)) return;
    switch (message.type) {
      case 'partials':
        for (const partial of message.partials) this.releasing(from, from.record.parts.get(partial)?.signable);
        return;
      case 'leaf_partial':
      case 'purchase_partial':
      case 'close_partial':
        this.releasing(from, from.record.parts.get(message.partial)?.signable);
        this.handedKeys.signing(from);
        return;
      case 'key_handover':
        this.handedKeys.handingOver(from);
        return;
      case 'signatures':
      case 'leaf_signature':
      case 'purchase_signature':
      case 'close_signature':
        for (const s of coordinatorSignables(from.state)) this.releasing(from, s);
        return;
      default:
        return;
    }
  }
  /** Architecture 12.6: on record before it leaves, and never another one. */
  private releasing(from: Host, s: Signable | undefined): void {
    if (!s) return this.violated(`${from.name} sends a partial signature it never made`);
    const key = `${from.name} ${outpointText(s.tx.prevout.outpoint)} ${s.purpose}`;
    this.expect((this.released.get(key) ?? s.sighash) === s.sighash, `${key}: signed twice, for two messages`);
    this.expect(from.disk.signedOnce({ outpoint: s.tx.prevout.outpoint, purpose: s.purpose }) === s.sighash, `${key}: not on record before it left`);
    this.released.set(key, s.sighash);
  }

  stored(host: Host, _before: FactoryState | undefined, after: FactoryState): void {
    if (!this.world.isHonest(host) || after.phase !== 'live') return;
    this.handedKeys.stored(host, after);
    const bought = after.role === 'member' ? after.purchasing?.current : undefined;
    if (bought?.progress.step === 'stored') this.bought.add(hashOf(bought.preimage));
    if (this.knownLive.get(host) === after.live.branches) return;
    this.knownLive.set(host, after.live.branches);
    for (const branch of after.live.branches) {
      this.checkExit(host, after.live, branch);
      this.handedKeys.held(after.live, branch);
      this.checkPurchases(host, after.live, branch);
    }
  }

  /** Each purchase is signed, spends the stock before it, and pays a channel that this node has and nothing can take away. */
  private checkPurchases(host: Host, live: Live, branch: Branch): void {
    const who = `${host.name}, purchase of ${String(branch.member)}`;
    let stock = stockOf(present(exitPath(live, branch).at(-1)).signable);
    for (const [i, tx] of purchasePath(live, branch).entries()) {
      const { prevout, outputs } = tx.signable.tx;
      this.expect(stock !== undefined && outpointText(stock.outpoint) === outpointText(prevout.outpoint) && stock.amount === prevout.amount, `${who}: spends another stock`);
      this.checkSigned(who, tx);
      stock = stockOf(tx.signable);
      const channel = this.world.cln.channels.find((c) => c.funding.txid === tx.signable.txid && c.open.has(host.id));
      const [output] = outputs;
      this.expect(channel !== undefined, `${who}: its node never had such a channel`);
      this.expect(output?.script === channel?.script && output?.amount === channel?.capacity, `${who}: does not pay its channel`);
      this.expect(channel?.id === branch.purchases[i]?.channelId, `${who}: another channel id`);
      this.expect(!host.isCoordinator || channel?.withheld === false, `${who}: signed before the channel is armed`);
    }
  }

  /** The fee of a purchase is the coordinator's when the client holds the signature, and not before. */
  feeSettles(channel: SimChannel, fee: PaymentHash): void {
    const member = this.world.host(channel.fundee);
    this.expect(!this.world.isHonest(member) || this.bought.has(fee), `${member.name} pays for a purchase that it does not have`);
  }

  /** A complete, valid way out for all that is owned, to a channel its node has (architecture 12.2, 3, 7). */
  private checkExit(host: Host, live: Live, branch: Branch): void {
    const who = `${host.name}, exit of ${String(branch.member)}`;
    const { spec } = live;
    const required = fundingRequirement(spec);
    this.expect(spec.fundingAmount === required.amount, `${who}: the funding amount is not what the tree needs`);
    const path = exitPath(live, branch);
    let expected: { readonly outpoint: Outpoint; readonly amount: bigint; readonly script: string }[] = [{ outpoint: spec.funding, ...required }];
    for (const tx of path) {
      const { prevout } = tx.signable.tx;
      const spent = expected.find((e) => outpointText(e.outpoint) === outpointText(prevout.outpoint));
      this.expect(spent?.amount === prevout.amount && spent.script === prevout.script, `${who}: a ${tx.signable.purpose} spends what is not there`);
      this.checkSigned(who, tx);
      expected = tx.signable.tx.outputs.map((o, vout) => ({ ...o, outpoint: { txid: tx.signable.txid, vout } }));
    }
    const leaf = present(path.at(-1)).signable;
    // It may be closing by now: the audit saw it open.
    const channel = this.world.cln.channels.find((c) => c.funding.txid === leaf.txid && c.open.has(host.id));
    const [output] = leaf.tx.outputs;
    this.expect(channel !== undefined, `${who}: its node never had such a channel`);
    this.expect(output?.script === channel?.script && output?.amount === channel?.capacity, `${who}: the leaf does not pay its channel`);
    this.expect(channel?.id === branch.channelId, `${who}: another channel id`);
    const distribution = distributionOf(live);
    this.checkSigned(who, distribution);
    const entry = present(spec.roster[branch.member]);
    const paid = distribution.signable.tx.outputs.find((o) => o.script === entry.payoutScript);
    this.expect(paid?.amount === slotAmount(spec, branch.member), `${who}: the distribution does not pay its slot`);
    if (!host.isCoordinator) {
      this.expect(entry.key === host.identity.key && entry.payoutScript === host.identity.payoutScript, `${who}: not its own branch`);
    }
  }
  private checkSigned(who: string, { signable, signature }: SignedTx): void {
    const { prevout, outputs } = signable.tx;
    const paid = outputs.reduce<bigint>((sum, o) => sum + o.amount, signable.fee);
    this.expect(paid === prevout.amount, `${who}: a ${signable.purpose} does not conserve value`);
    this.expect(verifyFinal(signable, signature), `${who}: the signature of a ${signable.purpose} does not verify`);
  }

  /** What an honest node publishes is signed, spends what is there, and keeps all of it. */
  publishing(from: Host, tx: SignedTx): void {
    if (!this.world.isHonest(from)) return;
    this.checkSigned(`${from.name} publishes`, tx);
    const { outpoint, amount, script } = tx.signable.tx.prevout;
    const { purpose } = tx.signable;
    // Signed by one node for several, in part or in all: it is on record like what goes over the wire.
    if (purpose === 'turnover' || purpose === 'close') this.releasing(from, tx.signable);
    if (purpose === 'turnover') this.takingBack(from, tx.signable);
    const spent = this.world.chain.output(outpoint);
    this.expect(!spent || (spent.amount === amount && spent.script === script), `${from.name} publishes a ${tx.signable.purpose} of another output`);
  }
  /** By nobody who has anything below it: whoever has not parted with its key, on its own disk, is not there. */
  private takingBack(from: Host, s: Signable): void {
    for (const member of this.world.members) {
      if (!this.world.isHonest(member) || !s.signers.includes(member.identity.key)) continue;
      this.expect(this.handedKeys.isGone(member), `${from.name} takes what is ${member.name}’s`);
    }
  }

  /** HTLCs only over a factory that is on chain, as it should be (architecture 5, 12.2). */
  carrying(host: Host, live: Live): void {
    const required = fundingRequirement(live.spec);
    const output = this.world.chain.output(live.spec.funding);
    // A node may be behind with a reorganisation; the output is then where it was.
    this.expect(!output || (output.script === required.script && output.amount === required.amount), `${host.name} takes HTLCs in a factory that is none`);
  }
  /** A balance that has been told or signed for stays, as long as the close may confirm. */
  balanceChanges(channel: SimChannel): void {
    for (const id of [channel.opener, channel.fundee]) {
      const host = this.world.host(id);
      const { state } = host;
      if (!this.world.isHonest(host) || state?.phase !== 'live') continue;
      const { live } = state;
      const branch = live.branches.find((b) => channelsOf(live, b).some(({ channelId }) => channelId === channel.id));
      const gone = state.role === 'member' ? state.live.handedOver === true : branch?.heldKey !== undefined;
      this.expect(!gone, `a balance changes that ${host.name} has given away`);
      const step = state.closing?.progress.step;
      this.expect(step === undefined || step === 'draining', `the balance of ${host.name} changes while it is ${String(step)}`);
      const over = fundingStatus(state.live).kind === 'spent';
      this.expect(!state.live.close || over, `the balance of ${host.name} changes after a close was agreed`);
    }
  }

  /** The coordinator is about to publish the funding transaction (architecture 5.6). */
  funding(funding: Outpoint): void {
    const { coordinator } = this.world;
    if (!this.world.isHonest(coordinator)) return;
    const leaves = coordinatorLeaves(coordinator.state);
    this.expect(leaves !== undefined, 'the funding transaction is published without leaves');
    for (const { nodeId, leafTxid } of leaves ?? []) {
      const member = this.world.host(nodeId);
      if (this.world.isHonest(member)) {
        const live = member.live;
        this.expect(live !== undefined && outpointText(live.spec.funding) === outpointText(funding), `published before ${member.name} is ready`);
      }
      const channel = this.world.cln.at(coordinator.id).find((c) => c.funding.txid === leafTxid);
      this.expect(channel?.withheld === false, `published before the channel of ${member.name} is armed`);
    }
  }

  /** After every action. */
  check(): void {
    for (const host of this.world.hosts) {
      const [violation] = host.record.violations;
      if (violation !== undefined) this.violated(violation);
    }
    this.handedKeys.check();
  }

  /** When all is quiet and the network was fair: live everywhere, or aborted everywhere with a reason; nothing left behind. */
  concluded(): void {
    const { world } = this;
    const honestCoordinator = world.isHonest(world.coordinator);
    if (honestCoordinator) {
      const state = world.coordinatorState;
      this.expect(state === undefined || state.phase === 'live' || state.phase === 'aborted', `the coordinator is still ${String(state?.phase)}`);
      if (state?.phase === 'aborted') this.expect(state.reason.length > 0, 'aborted without a reason');
      for (const { nodeId, reason } of state?.excluded ?? []) {
        // Architecture 12.14.
        const blamed = /bad partial|invalid nonce|expected \d/.test(reason);
        this.expect(!blamed || !world.isHonest(world.host(nodeId)), `${world.host(nodeId).name} is blamed: ${reason}`);
      }
      this.expect(world.wallet.reservedCount === 0, `${String(world.wallet.reservedCount)} coins are still reserved`);
    }
    const lives = new Set<Txid>();
    const coordinatorLive = world.coordinator.live;
    for (const host of world.hosts) for (const id of channelTxids(host.state)) if (host.isCoordinator || !honestCoordinator) lives.add(id);
    for (const member of world.members.filter((m) => world.isHonest(m))) {
      const state = world.memberState(member);
      if (!state) continue;
      this.expect(state.phase === 'live' || state.phase === 'aborted', `${member.name} is still ${state.phase}`);
      if (state.phase === 'aborted') this.expect(state.reason.length > 0, `${member.name} aborted without a reason`);
      if (!honestCoordinator) continue;
      const isIn = coordinatorLive?.branches.some((b) => b.peer === member.id) === true;
      this.expect((state.phase === 'live') === isIn, `${member.name} is ${state.phase}, the coordinator ${coordinatorLive ? 'live' : 'not live'} with${isIn ? '' : 'out'} it`);
      if (state.phase === 'live' && coordinatorLive) {
        this.expect(outpointText(state.live.spec.funding) === outpointText(coordinatorLive.spec.funding), `${member.name} lives in another factory`);
      }
    }
    for (const host of world.hosts.filter((h) => world.isHonest(h))) {
      if (host.isCoordinator && !honestCoordinator) continue;
      const ended = host.live?.retired === true;
      for (const c of ended ? [] : world.cln.at(host.id)) {
        // A coordinator that goes on after its client is out gives it a channel of no use to anybody: no HTLC passes (`isUnaudited`).
        // So does one that is gone before it says what a purchase's channel is.
        const { state } = host;
        const unnamed = state?.role === 'member' && state.phase === 'live' && state.purchasing?.expected.includes(c.capacity) === true && c.balance === c.pushed;
        const itsDoing = !honestCoordinator && (unnamed || world.isOpenedLate(host, c));
        this.expect(itsDoing || lives.has(c.funding.txid), `${host.name} still has a channel of a dead attempt`);
      }
    }
  }
}

/** What a node's channels may be funded by: leaves, purchases, and one that is being made. */
const channelTxids = (state: FactoryState | undefined): readonly Txid[] => {
  if (state?.phase !== 'live') return [];
  const { live } = state;
  const stored = live.branches.flatMap((b) => [present(exitPath(live, b).at(-1)), ...purchasePath(live, b)].map((t) => t.signable.txid));
  const deals = state.role === 'member' ? [state.purchasing?.current] : live.branches.map((b) => state.selling?.[b.member]?.sale);
  const making = deals.flatMap((deal, i) => {
    const branch = live.branches[i];
    return branch && deal && 'channelScript' in deal.progress ? [nextPurchase(live, branch, deal.amount, deal.progress.channelScript).txid] : [];
  });
  return [...stored, ...making];
};

/** What the coordinator has signed by now, all of which must be on record. */
const coordinatorSignables = (state: FactoryState | undefined): readonly Signable[] => {
  if (state?.role !== 'coordinator') return [];
  if (state.phase === 'signing') return [...treeOf(state.spec).splits, treeOf(state.spec).distribution];
  if (state.phase === 'opening') {
    return state.leaves.flatMap((leaf, member) => {
      if (!('signature' in leaf)) return [];
      return [buildLeaf(state.spec, member, pathOf(treeOf(state.spec), member).slot, leaf.channelScript)];
    });
  }
  if (state.phase === 'live') return state.live.branches.flatMap((b) => purchasePath(state.live, b).map((t) => t.signable));
  return [];
};

const coordinatorLeaves = (state: FactoryState | undefined): readonly { readonly nodeId: NodeId; readonly leafTxid: Txid }[] | undefined => {
  if (state?.role !== 'coordinator') return undefined;
  if (state.phase === 'arming' || state.phase === 'live') {
    return state.live.branches.map((b) => ({ nodeId: b.peer, leafTxid: present(exitPath(state.live, b).at(-1)).signable.txid }));
  }
  return undefined;
};
