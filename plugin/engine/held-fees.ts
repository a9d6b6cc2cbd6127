/**
 * HTLCs that pay for a purchase (architecture 7): held in the hook until the client has its channel, and shows so by the
 * preimage; failed when nothing comes of the purchase, or when holding on would bring the channel to the chain. lightningd asks
 * about a held HTLC again after its restart, and fails it when this plugin alone ends; then the client offers it again.
 */
import type { InstanceId, PaymentHash } from '../../blip/brands.js';
import { feeVerdict, type FeeHtlc, type FeeVerdict } from '../../factory-core/coordinator/fee.js';
import type { Event } from '../../factory-core/protocol/effects.js';
import type { HtlcEvent } from '../lightning/hooks.js';
import type { HookAnswers } from '../runtime/hooks.js';
import type { Log } from '../runtime/definition.js';
import type { Engine } from './engine.js';

type Answer = HookAnswers['htlc_accepted'];

/** Blocks that an HTLC over an ordinary channel of the two must leave. */
const ORDINARY = 24;
/** BOLT 4 `incorrect_or_unknown_payment_details`, with amount and height. */
const unknownPayment = ({ amount, height }: HtlcEvent): Answer => ({
  result: 'fail',
  failure_message: `400f${amount.toString(16).padStart(16, '0')}${height.toString(16).padStart(8, '0')}`,
});

interface Held {
  readonly event: HtlcEvent;
  readonly htlc: FeeHtlc;
  readonly settle: (answer: Answer) => void;
}

export class HeldFees {
  private readonly held = new Map<PaymentHash, Held>();

  /** @param dispatch as the engine's, but for what cannot be stored: then nothing has happened */
  constructor(
    private readonly engine: Pick<Engine, 'all' | 'currentHeight' | 'onChange'>,
    private readonly dispatch: (instanceId: InstanceId, event: Event) => void,
    private readonly log: Log,
  ) {
    // What follows from a change is seen to when that is stored and done.
    engine.onChange(() => {
      queueMicrotask(() => this.review());
    });
  }

  /**
   * Undefined: not the fee of a purchase. Otherwise the answer, some time.
   * @param earlyWarning of the channel it came over, if it is a factory's
   */
  answer(event: HtlcEvent, earlyWarning: number | undefined): Promise<Answer> | undefined {
    const { paymentHash, amount, cltvExpiry, incoming } = event;
    const htlc: FeeHtlc = { paymentHash, amount, cltvExpiry, from: incoming.peer, earlyWarning: earlyWarning ?? ORDINARY };
    const found = event.forward ? undefined : this.verdict(htlc, event.height);
    if (!found) return undefined;
    const { verdict, instanceId } = found;
    if (verdict.kind === 'hold' && !this.held.has(paymentHash)) {
      return new Promise((settle) => {
        this.held.set(paymentHash, { event, htlc, settle });
        this.dispatch(instanceId, { type: 'fee_held', paymentHash });
      });
    }
    return Promise.resolve(this.final(event, verdict.kind === 'hold' ? { kind: 'fail', why: 'another HTLC pays for it already' } : verdict));
  }

  /** After every change of a factory, and every block. */
  review(): void {
    for (const [hash, { event, htlc, settle }] of this.held) {
      const found = this.verdict(htlc, event.height);
      const verdict = found?.verdict ?? { kind: 'fail', why: 'the purchase was given up' };
      if (verdict.kind === 'hold') {
        // Nothing new, unless it could not be stored the first time.
        if (found) this.dispatch(found.instanceId, { type: 'fee_held', paymentHash: hash });
        continue;
      }
      this.held.delete(hash);
      settle(this.final(event, verdict));
      if (found && verdict.kind === 'fail') this.dispatch(found.instanceId, { type: 'fee_lost', paymentHash: hash });
    }
  }

  private final(event: HtlcEvent, verdict: Exclude<FeeVerdict, { kind: 'hold' }>): Answer {
    if (verdict.kind === 'settle') return { result: 'resolve', payment_key: verdict.preimage };
    this.log('info', `the fee of a purchase, ${event.paymentHash.slice(0, 16)}…, is failed back: ${verdict.why}`);
    return unknownPayment(event);
  }

  private verdict(htlc: FeeHtlc, height: number): { readonly instanceId: InstanceId; readonly verdict: FeeVerdict } | undefined {
    for (const { instanceId, state } of this.engine.all()) {
      if (state.role !== 'coordinator' || state.phase !== 'live') continue;
      const verdict = feeVerdict(state, htlc, Math.max(height, this.engine.currentHeight()));
      if (verdict) return { instanceId, verdict };
    }
    return undefined;
  }
}
