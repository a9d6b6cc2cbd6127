/** What is paid to a member that says it has moved, and when a member parts with its key: on a node that is played here. */
import { describe, expect, jest, test } from '@jest/globals';
import { channelId, instanceId, msat, nodeId, paymentHash, paymentSecret, txid, type InstanceId, type PaymentHash } from '../../blip/brands.js';
import type { Event } from '../../factory-core/protocol/effects.js';
import { alike } from '../../factory-core/test/support/factory.js';
import { channelIdOf, liveFactory } from '../../factory-core/test/support/live.js';
import type { Factory } from '../engine/factory.js';
import { awaitOwed, moveBalance, payOwed, type MigrationParts } from '../engine/perform-migration.js';
import type { Channel, Htlc, Lightning } from '../lightning/lightning.js';
import type { Payment, PaymentResult, PaymentStatus, SendRequest } from '../lightning/payments-api.js';

jest.setTimeout(20_000);

const OLD = instanceId('0a'.repeat(32));
const NEW = instanceId('0b'.repeat(32));
const OLD_CHANNEL = channelId('aa'.repeat(32));
const NEW_CHANNEL = channelIdOf(0);
const THIRD_CHANNEL = channelId('bb'.repeat(32));
const HASH = paymentHash('cc'.repeat(32));
const UPDATE = { feeBase: msat(1n), feePpm: 10, cltvDelta: 34, htlcMin: msat(0n), htlcMax: msat(990_000_000n) };
const RESERVE = 10_000_000n;
const TOTAL = 1_000_000_000n;

type Role = 'coordinator' | 'member';

/** Two factories of three, the second active; member 0 and the coordinator, and what lightningd says to one of them. */
class Node {
  old: Channel;
  next: Channel;
  /** Of another factory with the same peer. */
  third: Channel;
  status: PaymentStatus = 'none';
  fees = 0n;
  paid = false;
  /** The invoice it has sent. */
  asked = HASH;
  completed: readonly Payment[] = [];
  result: PaymentResult = { kind: 'complete' };
  readonly sent: SendRequest[] = [];
  /** What this process has sent. */
  readonly known = new Set<PaymentHash>();
  readonly invoices: bigint[] = [];
  /** Which invoice is not wanted any more. */
  unlike: PaymentHash | undefined;
  /** Called instead of waiting for the world: what changes after so many looks at the channels. */
  onLook: (looks: number) => void = () => undefined;
  onSend: () => void = () => undefined;
  /** What happens once lightningd has answered this. */
  afterwards: (what: string) => void = () => undefined;
  private looks = 0;
  private readonly live;
  constructor(
    readonly role: Role,
    readonly step: 'moving' | 'settling' | 'owed' = 'settling',
  ) {
    this.live = liveFactory(role, { clients: alike(3) });
    const peer = this.live.branches[0]!.peer;
    this.old = channel(OLD_CHANNEL, '1x1x1', peer);
    this.next = channel(NEW_CHANNEL, '2x2x2', peer);
    this.third = channel(THIRD_CHANNEL, '3x3x3', peer);
  }

  get peer() {
    return this.old.peer;
  }
  parts(): MigrationParts {
    const lightning: Partial<Lightning> = {
      info: () => Promise.resolve({ nodeId: nodeId('03'.padEnd(66, '9')) } as Awaited<ReturnType<Lightning['info']>>),
      channels: () => {
        this.looks += 1;
        this.onLook(this.looks);
        return this.told('channels', [this.old, this.next, this.third]);
      },
      paymentStatus: () => this.told('paymentStatus', this.status),
      sendAlong: (request) => {
        this.sent.push(request);
        this.onSend();
        return Promise.resolve();
      },
      waitForPayment: () => {
        if (this.result.kind === 'complete') this.status = 'complete';
        return Promise.resolve(this.result);
      },
      forwardFees: () => Promise.resolve(msat(this.fees)),
      isPaid: () => Promise.resolve(this.paid),
      completedPayments: () => Promise.resolve(this.completed),
      ownInvoice: (request) => {
        const { amount } = request;
        this.invoices.push(amount);
        this.unlike = request.unlike;
        return Promise.resolve({ paymentHash: HASH, paymentSecret: paymentSecret('dd'.repeat(32)), finalCltv: 40, amount, status: 'unpaid' });
      },
    };
    return {
      lightning: lightning as Lightning,
      log: () => undefined,
      random: (n) => new Uint8Array(n),
      sent: this.known,
      factory: (id) => this.factory(id),
    };
  }
  private told<T>(what: string, answer: T): Promise<T> {
    this.afterwards(what);
    return Promise.resolve(answer);
  }
  private factory(instance: InstanceId): Factory {
    // As much of the states as is looked at.
    const migration = { step: this.step, attempt: 1, to: NEW, ...(this.step === 'owed' ? { paymentHash: this.asked } : {}) };
    const state = { role: this.role, phase: 'live', coordinator: this.peer, live: this.live, ...(instance === OLD && this.role === 'member' ? { migration } : {}) };
    return { instanceId: instance, state } as unknown as Factory;
  }
}

const channel = (id: Channel['channelId'], alias: string, peer: Channel['peer']): Channel => ({
  peer,
  connected: true,
  channelId: id,
  funding: { txid: txid('00'.repeat(32)), vout: 0 },
  state: 'CHANNELD_NORMAL',
  opener: 'local',
  private: true,
  withheld: false,
  toUs: msat(TOTAL - RESERVE),
  total: msat(TOTAL),
  ourReserve: msat(RESERVE),
  theirReserve: msat(RESERVE),
  spendable: msat(500_000_000n),
  receivable: msat(500_000_000n),
  sentInAll: msat(0n),
  localAlias: alias,
  remoteAlias: `${alias}7`,
  htlcs: [],
  localUpdate: UPDATE,
  remoteUpdate: UPDATE,
});
const htlc = (hash: string): Htlc => ({ direction: 'in', id: 0n, amount: msat(5n), expiry: 900, paymentHash: hash as Htlc['paymentHash'], state: 'RCVD_ADD_ACK_REVOCATION' });

const eventOf = (outcome: Awaited<ReturnType<typeof payOwed>>): Event | undefined => (outcome.kind === 'done' ? outcome.event : undefined);

describe('the coordinator pays what a member could not move', () => {
  const pay = async (node: Node, owed: bigint, finalCltv = 40): Promise<Event | undefined> => {
    const invoice = { owed: msat(owed), paymentHash: HASH, paymentSecret: paymentSecret('dd'.repeat(32)), finalCltv };
    const effect = { kind: 'pay_owed', member: 0, peer: node.peer, from: [OLD_CHANNEL], to: NEW, invoice } as const;
    return eventOf(await payOwed(node.parts(), effect, new AbortController().signal));
  };

  test('reserve and fees, once, directly, over the new channel, with time to come in', async () => {
    const node = new Node('coordinator');
    node.fees = 4_321n;
    expect(await pay(node, RESERVE + 4_321n)).toEqual({ type: 'owed_paid', member: 0 });
    expect(node.sent.map((s) => s.route)).toEqual([[{ peer: node.peer, channel: '2x2x2', amount: RESERVE + 4_321n, delay: 43 }]]);
    expect(await pay(node, RESERVE + 4_321n)).toEqual({ type: 'owed_paid', member: 0 });
    expect(node.sent).toHaveLength(1);
  });
  test('not a millisatoshi more than it sees', async () => {
    const node = new Node('coordinator');
    expect(await pay(node, RESERVE + 1n)).toMatchObject({ type: 'owed_refused', reason: `it asks for ${RESERVE + 1n} msat, this node sees ${RESERVE}` });
    expect(node.sent).toEqual([]);
  });
  test('nothing at all to who has more left than cannot be moved: the key is not here, and it could take that twice', async () => {
    const node = new Node('coordinator');
    node.old = { ...node.old, toUs: msat(TOTAL - 400_000_000n) };
    expect(await pay(node, 400_000_000n)).toMatchObject({ type: 'owed_refused', reason: expect.stringMatching(/^400000000 msat are left in its old channel/) });
    expect(await pay(node, 5n)).toMatchObject({ type: 'owed_refused' });
    expect(node.sent).toEqual([]);
  });
  test('not for a time that suits the member only', async () => {
    const node = new Node('coordinator');
    expect(await pay(node, RESERVE, 1_001)).toMatchObject({ type: 'owed_refused', reason: 'its final_cltv is 1001' });
  });
  test('waits for HTLCs of the old channel, and compares then', async () => {
    const node = new Node('coordinator');
    node.old = { ...node.old, htlcs: [htlc('ee'.repeat(32))] };
    node.onLook = (looks) => {
      if (looks > 4) node.old = { ...node.old, htlcs: [], toUs: msat(TOTAL - RESERVE + 1n) };
    };
    expect(await pay(node, RESERVE)).toMatchObject({ type: 'owed_refused', reason: expect.stringMatching(/this node sees 9999999$/) });
  });
  test('a payment that was under way when the node stopped is awaited, not repeated', async () => {
    const node = new Node('coordinator');
    node.status = 'pending';
    node.next = { ...node.next, htlcs: [{ ...htlc(HASH), direction: 'out' }] };
    expect(await pay(node, RESERVE)).toEqual({ type: 'owed_paid', member: 0 });
    expect(node.sent).toEqual([]);
  });
  test('one of which lightningd has lost the HTLC in a power failure is pending for ever: refused, so that another invoice comes', async () => {
    const node = new Node('coordinator');
    node.status = 'pending';
    node.old = { ...node.old, htlcs: [htlc(HASH)] };
    node.next = { ...node.next, htlcs: [{ ...htlc('ee'.repeat(32)), direction: 'out' }] };
    expect(await pay(node, RESERVE)).toMatchObject({ type: 'owed_refused', member: 0, reason: expect.stringMatching(/lost the payment/) });
    expect(node.sent).toEqual([]);
  });
  test('one that this process has sent may be on its way to a commitment, and is awaited', async () => {
    const node = new Node('coordinator');
    node.status = 'pending';
    node.known.add(HASH);
    expect(await pay(node, RESERVE)).toEqual({ type: 'owed_paid', member: 0 });
    expect(node.sent).toEqual([]);
  });
  test('one whose HTLC ends just now is paid, and not lost', async () => {
    const node = new Node('coordinator');
    node.status = 'pending';
    node.next = { ...node.next, htlcs: [{ ...htlc(HASH), direction: 'out' }] };
    // Between any two looks at the world.
    const end = (): void => {
      node.next = { ...node.next, htlcs: [] };
      node.status = 'complete';
    };
    for (const first of ['channels', 'paymentStatus'] as const) {
      node.afterwards = (what) => {
        if (what === first) end();
      };
      expect(await pay(node, RESERVE)).toEqual({ type: 'owed_paid', member: 0 });
    }
    expect(node.sent).toEqual([]);
  });
  test('one that fails is tried again, but not for ever: the invoice may have expired', async () => {
    const node = new Node('coordinator');
    node.result = { kind: 'failed', reason: 'WIRE_INCORRECT_OR_UNKNOWN_PAYMENT_DETAILS' };
    expect(await pay(node, RESERVE)).toMatchObject({ type: 'owed_refused', reason: 'it cannot be paid: WIRE_INCORRECT_OR_UNKNOWN_PAYMENT_DETAILS' });
    expect(node.sent).toHaveLength(5);
    // Unless one of them is under way after all.
    node.sent.length = 0;
    node.onSend = () => {
      if (node.sent.length === 5) node.status = 'complete';
    };
    expect(await pay(node, RESERVE)).toEqual({ type: 'owed_paid', member: 0 });
  });
  test('nothing to who has taken its old channel to the chain', async () => {
    const node = new Node('coordinator');
    node.old = { ...node.old, state: 'ONCHAIN' };
    expect(await pay(node, RESERVE)).toMatchObject({ type: 'owed_refused', reason: 'one of its old channels is gone' });
    expect(node.sent).toEqual([]);
  });
  test('a channel that is gone is no reason to pay', async () => {
    const node = new Node('coordinator');
    node.old = { ...node.old, channelId: channelId('ab'.repeat(32)) };
    expect(await pay(node, RESERVE)).toMatchObject({ type: 'owed_refused', reason: 'one of its old channels is gone' });
  });
});

describe('the member', () => {
  const settle = async (node: Node): Promise<Event | undefined> => {
    const effect = { kind: 'settle_balance', attempt: 1, from: [OLD_CHANNEL], to: NEW } as const;
    return eventOf(await moveBalance(node.parts(), OLD, effect, new AbortController().signal));
  };
  const emptied = (node: Node): Node => {
    node.old = { ...node.old, toUs: msat(RESERVE), spendable: msat(0n) };
    return node;
  };

  test('asks for what the reserve keeps and what moving has cost', async () => {
    const node = emptied(new Node('member'));
    node.completed = [{ paymentHash: paymentHash('ef'.repeat(32)), status: 'complete', amount: msat(1_000_000n), sent: msat(1_000_011n) }];
    expect(await settle(node)).toMatchObject({ type: 'balance_settled', invoice: { owed: RESERVE + 11n, paymentHash: HASH, finalCltv: 40 } });
    expect(node.invoices).toEqual([RESERVE + 11n]);
  });
  test('is not through before the HTLCs of its old channel, and its own on any other, are', async () => {
    for (const where of ['old', 'next', 'third'] as const) {
      const node = emptied(new Node('member'));
      node.completed = [{ paymentHash: paymentHash('ef'.repeat(32)), status: 'complete', amount: msat(1_000n), sent: msat(1_001n) }];
      node[where] = { ...node[where], htlcs: [htlc('ef'.repeat(32))] };
      node.onLook = (looks) => {
        if (looks < 7) expect(node.invoices).toEqual([]);
        else node[where] = { ...node[where], htlcs: [] };
      };
      expect(await settle(node)).toMatchObject({ type: 'balance_settled' });
    }
  });
  test('moves through the coordinator, out over the old, in over the new channel', async () => {
    const node = new Node('member', 'moving');
    node.onLook = () => {
      if (node.sent.length > 0) emptied(node);
    };
    const effect = { kind: 'move_balance', attempt: 1, from: [OLD_CHANNEL], to: NEW } as const;
    expect(eventOf(await moveBalance(node.parts(), OLD, effect, new AbortController().signal))).toEqual({ type: 'balance_moved', attempt: 1 });
    const [first, second] = node.sent[0]!.route;
    expect(first).toMatchObject({ peer: node.peer, channel: '1x1x1', delay: 77 });
    expect(second).toMatchObject({ channel: '2x2x27', delay: 43, amount: node.sent[0]!.amount });
    expect(first!.amount - second!.amount).toBe(1n + (second!.amount * 10n) / 1_000_000n);
  });

  test('hands over only when the rest is paid and settled, the new channel all right', async () => {
    const node = emptied(new Node('member', 'owed'));
    const seen: string[] = [];
    const changes: Readonly<Record<number, () => void>> = {
      1: () => (node.next = { ...node.next, htlcs: [htlc(HASH)] }),
      3: () => (node.next = { ...node.next, connected: false, htlcs: [] }),
      5: () => (node.next = { ...node.next, connected: true, state: 'AWAITING_UNILATERAL' }),
      7: () => (node.next = { ...node.next, state: 'CHANNELD_NORMAL' }),
    };
    node.paid = true;
    node.onLook = (looks) => {
      changes[looks]?.();
      seen.push(`${node.next.state} ${String(node.next.connected)} ${String(node.next.htlcs.length)}`);
    };
    const effect = { kind: 'await_owed', to: NEW, paymentHash: HASH } as const;
    expect(eventOf(await awaitOwed(node.parts(), OLD, effect, new AbortController().signal))).toEqual({ type: 'owed_received', paymentHash: HASH });
    expect(new Set(seen)).toEqual(new Set(['CHANNELD_NORMAL true 1', 'CHANNELD_NORMAL false 0', 'AWAITING_UNILATERAL true 0', 'CHANNELD_NORMAL true 0']));
    expect(seen).toHaveLength(7);
  });
  test('asks anew with another invoice, if the coordinator does not pay the first', async () => {
    const node = emptied(new Node('member'));
    const effect = { kind: 'settle_balance', attempt: 1, from: [OLD_CHANNEL], to: NEW, unpaid: HASH } as const;
    expect(eventOf(await moveBalance(node.parts(), OLD, effect, new AbortController().signal))).toMatchObject({ type: 'balance_settled' });
    expect(node.unlike).toBe(HASH);
  });
  test('does not wait for an invoice that has given way to another', async () => {
    const node = emptied(new Node('member', 'owed'));
    node.asked = paymentHash('ab'.repeat(32));
    node.paid = true;
    const effect = { kind: 'await_owed', to: NEW, paymentHash: HASH } as const;
    expect(await awaitOwed(node.parts(), OLD, effect, new AbortController().signal)).toEqual({ kind: 'done' });
  });
  test('a piece never goes out with the hash of another: what lightningd has lost of one does not matter', async () => {
    const node = new Node('member', 'moving');
    const labels: string[] = [];
    const parts = node.parts();
    const { lightning } = node.parts();
    parts.lightning.ownInvoice = (request) => {
      labels.push(request.label);
      if (labels.length === 3) emptied(node);
      return lightning.ownInvoice(request);
    };
    let drawn = 0;
    const effect = { kind: 'move_balance', attempt: 1, from: [OLD_CHANNEL], to: NEW } as const;
    await moveBalance({ ...parts, random: (n) => new Uint8Array(n).fill((drawn += 1)) }, OLD, effect, new AbortController().signal);
    expect(new Set(labels).size).toBe(3);
  });
  test('does not hand over unpaid, however long', async () => {
    const node = emptied(new Node('member', 'owed'));
    const abort = new AbortController();
    let waited = 0;
    const parts = node.parts();
    parts.lightning.isPaid = () => {
      waited += 1;
      if (waited === 8) abort.abort();
      return Promise.resolve(false);
    };
    const effect = { kind: 'await_owed', to: NEW, paymentHash: HASH } as const;
    expect(eventOf(await awaitOwed(parts, OLD, effect, abort.signal))).toBeUndefined();
  });
});
