/** The fee of a purchase: sent once, and again when lightningd has lost it. */
import { describe, expect, test } from '@jest/globals';
import { msat, nodeId, paymentHash, type PaymentHash } from '../../../blip/brands.js';
import { LightningError, type Channel, type Lightning } from '../../lightning/lightning.js';
import type { HtlcRequest, PaymentTry } from '../../lightning/payments-api.js';
import { payFee } from '../perform-purchase.js';

const PEER = nodeId(`02${'11'.repeat(32)}`);
const HASH = paymentHash('22'.repeat(32));
const effect = { kind: 'pay_fee', attempt: 1, peer: PEER, amount: msat(1_000n), paymentHash: HASH, blocks: 500 } as const;
const DONE = { kind: 'done', event: { type: 'fee_sent', attempt: 1 } };

class Node {
  tries: readonly PaymentTry[] = [];
  htlcs: readonly { readonly direction: 'in' | 'out'; readonly paymentHash: string }[] = [];
  spendable = 5_000n;
  refusal: Error | undefined;
  /** What happens once lightningd has answered. */
  onAnswer: () => void = () => undefined;
  readonly sent: HtlcRequest[] = [];
  readonly sentHere = new Set<PaymentHash>();

  pay(closing = false): ReturnType<typeof payFee> {
    const channel = (): Channel => ({ peer: PEER, connected: true, state: 'CHANNELD_NORMAL', spendable: msat(this.spendable), localAlias: '1x2x3', htlcs: this.htlcs }) as unknown as Channel;
    const answer = <T>(value: T): Promise<T> => {
      this.onAnswer();
      return Promise.resolve(value);
    };
    const lightning = {
      paymentTries: () => answer(this.tries),
      channels: () => answer([channel()]),
      sendHtlc: (request: HtlcRequest) => {
        if (this.refusal) return Promise.reject(this.refusal);
        this.sent.push(request);
        return Promise.resolve();
      },
    } as unknown as Lightning;
    return payFee(lightning, this.sentHere, effect, () => closing);
  }
}

describe('a fee', () => {
  test('is sent once; while it is pending, or when it is paid, no more', async () => {
    const node = new Node();
    expect(await node.pay()).toEqual(DONE);
    expect(node.sent).toMatchObject([{ peer: PEER, channel: '1x2x3', amount: 1_000n, paymentHash: HASH, group: 1, part: 1 }]);
    // Before the HTLC is in a commitment, no channel shows it.
    node.tries = [{ group: 1, part: 1, status: 'pending' }];
    expect(await node.pay()).toEqual(DONE);
    node.tries = [{ group: 1, part: 1, status: 'complete' }];
    expect(await node.pay()).toEqual(DONE);
    expect(node.sent).toHaveLength(1);
  });

  test('that is in a channel is not sent again by another process', async () => {
    const node = new Node();
    node.tries = [{ group: 1, part: 1, status: 'pending' }];
    node.htlcs = [{ direction: 'out', paymentHash: HASH }];
    expect(await node.pay()).toEqual(DONE);
    expect(node.sent).toEqual([]);
  });

  test('that is pending, but in no channel, is one that lightningd has lost in a power failure: another part goes out', async () => {
    const node = new Node();
    node.tries = [{ group: 3, part: 1, status: 'pending' }, { group: 2, part: 7, status: 'failed' }];
    node.htlcs = [{ direction: 'in', paymentHash: HASH }, { direction: 'out', paymentHash: '33'.repeat(32) }];
    expect(await node.pay()).toEqual(DONE);
    expect(node.sent).toMatchObject([{ group: 3, part: 2 }]);
  });

  test('whose HTLC ends just now is paid, and not lost', async () => {
    const node = new Node();
    node.tries = [{ group: 1, part: 1, status: 'pending' }];
    node.htlcs = [{ direction: 'out', paymentHash: HASH }];
    node.onAnswer = () => {
      node.tries = [{ group: 1, part: 1, status: 'complete' }];
      node.htlcs = [];
    };
    expect(await node.pay()).toEqual(DONE);
    expect(node.sent).toEqual([]);
  });

  test('that failed is sent in a new group', async () => {
    const node = new Node();
    node.tries = [{ group: 1, part: 1, status: 'failed' }, { group: 2, part: 1, status: 'failed' }];
    expect(await node.pay()).toEqual(DONE);
    expect(node.sent).toMatchObject([{ group: 3, part: 1 }]);
  });

  test('is not sent while a close is agreed, nor over a channel that cannot carry it', async () => {
    const node = new Node();
    expect(await node.pay(true)).toMatchObject({ event: { type: 'fee_failed', reason: 'the factory is being closed' } });
    node.spendable = 999n;
    expect(await node.pay()).toMatchObject({ event: { type: 'fee_failed' } });
    expect(node.sent).toEqual([]);
    node.spendable = 1_000n;
    node.refusal = new LightningError('rejected', 'no room', 'channel');
    expect(await node.pay()).toMatchObject({ event: { type: 'fee_failed', reason: 'no room' } });
  });
});
