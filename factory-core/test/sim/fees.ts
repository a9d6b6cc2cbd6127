/** HTLCs that pay for purchases: sent by a client's node, held and decided on by the coordinator's hook (`plugin/engine/held-fees.ts`). */
import { msat, type NodeId, type PaymentHash } from '../../../blip/brands.js';
import { feeVerdict } from '../../coordinator/fee.js';
import type { DurableEffect } from '../../protocol/effects.js';
import type { SimChannel } from './cln.js';
import type { Host } from './host.js';
import type { Action, World } from './world.js';

type Pay = Extract<DurableEffect, { kind: 'pay_fee' }>;

export class Fees {
  /** What the clients' nodes know of hashes they have paid. */
  readonly settled = new Set<PaymentHash>();

  constructor(private readonly world: World) {}

  /** @returns why not; undefined when it is on its way, or settled */
  pay(host: Host, { amount, paymentHash }: Pay): string | undefined {
    const { cln, network } = this.world;
    if (host.state?.phase === 'live' && host.state.closing) return 'the factory is being closed';
    const mine = cln.at(host.id);
    if (this.settled.has(paymentHash) || mine.some((c) => c.htlc?.fee === paymentHash)) return undefined;
    const channel = mine.find((c) => !c.htlc && !c.frozen && c.balance >= amount && [...c.open.values()].every((x) => x) && !this.world.chain.spenderOf(c.funding));
    if (!channel || !network.isConnected(host.id)) return 'no channel can send so much';
    channel.htlc = { from: host.id, amount, fee: paymentHash };
    return undefined;
  }

  /** What the coordinator's hook does about this channel's HTLC now, if anything. */
  next(channel: SimChannel): Action | undefined {
    const { coordinator } = this.world;
    const { htlc } = channel;
    const fee = htlc?.fee;
    if (!htlc || fee === undefined || !coordinator.up || !this.world.network.isConnected(channel.fundee)) return undefined;
    // What comes anew while the factory closes is refused, whatever it is for (architecture 12.10).
    const frozen = coordinator.state?.phase === 'live' && coordinator.state.closing !== undefined && !coordinator.heldFees.has(fee);
    const verdict = frozen ? undefined : this.verdict(htlc.from, htlc.amount, fee);
    if (verdict?.kind === 'hold') {
      // Once per process; again, if it could not be stored.
      if (coordinator.heldFees.has(fee) && this.isKnown(fee)) return undefined;
      return this.action('a fee is held', () => {
        coordinator.heldFees.add(fee);
        coordinator.tell({ type: 'fee_held', paymentHash: fee });
      });
    }
    if (verdict?.kind === 'settle') {
      return this.action('a fee is settled', () => {
        this.world.oracle.feeSettles(channel, fee);
        this.settled.add(fee);
        this.world.settleHtlc(channel);
      });
    }
    return this.action('a fee is failed back', () => {
      channel.htlc = undefined;
      coordinator.heldFees.delete(fee);
      coordinator.tell({ type: 'fee_lost', paymentHash: fee });
    });
  }

  private isKnown(fee: PaymentHash): boolean {
    const state = this.world.coordinatorState;
    const sales = state?.phase === 'live' ? Object.values(state.selling ?? {}) : [];
    return sales.some(({ sale }) => sale?.paymentHash === fee && sale.held);
  }

  private action(label: string, work: () => void): Action {
    return { label, run: () => this.world.during(this.world.coordinator, work) };
  }

  private verdict(from: NodeId, amount: bigint, paymentHash: PaymentHash) {
    const state = this.world.coordinatorState;
    if (state?.phase !== 'live') return undefined;
    const htlc = { paymentHash, amount: msat(amount), cltvExpiry: Number.MAX_SAFE_INTEGER, from, earlyWarning: 0 };
    return feeVerdict(state, htlc, this.world.coordinator.height);
  }
}
