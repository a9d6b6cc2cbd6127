/** The two machines of a purchase against each other: crashes at every step, lost and repeated messages, two at once, sign-once. */
import { describe, expect, test } from '@jest/globals';
import { msat, sat } from '../../blip/brands.js';
import type { FactoryMessageType } from '../../blip/messages.js';
import { MESSAGE_TYPES } from '../../blip/protocol-codec.js';
import type { PurchasePartial } from '../../blip/purchase-messages.js';
import { sellingOf } from '../coordinator/selling.js';
import { liveState } from '../live/custody.js';
import { channelsOf, earlyWarningOf } from '../live/paths.js';
import { hashOf, mayHold } from '../live/purchasing.js';
import { purchasingOf } from '../member/purchase.js';
import { activeWorld, AMOUNT, branchAt, branchOf, buy, coordinatorLive, memberLive, paid, PRICE, reasons, sell, standing } from './support/purchases.js';
import type { Host } from './sim/host.js';
import type { World } from './sim/world.js';

const BOUGHT = '1 idle / 1 idle';
const NOTHING = '0 idle / 0 idle';
const typesSince = (world: World, from: number): readonly FactoryMessageType[] => world.sent.slice(from).map((s) => s.envelope.message.type);

/** So many actions later. */
const after = (world: World, actions: number): void => {
  const from = world.trace.length;
  world.until(() => world.trace.length >= from + actions);
};

describe('a purchase', () => {
  test('of a client: quote, request, channel, fee, signature', () => {
    const world = activeWorld();
    const from = world.sent.length;
    world.command(world.member(0), { type: 'quote_requested', amount: AMOUNT });
    world.quiet();
    expect(purchasingOf(memberLive(world.member(0))).quote).toEqual({ attempt: 1, amount: AMOUNT, fee: PRICE, stockLeft: 500_000n - 100_000n - 240n - 334n });
    buy(world);
    world.quiet();
    expect(standing(world)).toBe(BOUGHT);
    expect(typesSince(world, from)).toEqual([
      'purchase_quote_request', 'purchase_quote', 'purchase_request', 'purchase_intent', 'purchase_ready',
      'purchase_opened', 'purchase_partial', 'purchase_signature', 'purchase_stored',
    ]);
    expect(paid(world)).toBe(PRICE);
    const live = memberLive(world.member(0)).live;
    expect(channelsOf(live, live.branches[0]!).map((c) => [c.capacity, earlyWarningOf(live.spec, c.depth)])).toEqual([[1_000_000n, 30], [100_000n, 36]]);
    expect(branchOf(world.member(0)).purchases).toEqual(branchAt(world, 0).purchases);
    world.oracle.concluded();
  });

  test('that the LSP offers: for nothing, or for what the client’s operator allows', () => {
    const world = activeWorld();
    sell(world);
    world.quiet();
    expect(standing(world)).toBe(BOUGHT);
    expect(paid(world)).toBe(0n);
    sell(world, 0, AMOUNT, msat(5_000n));
    world.quiet();
    expect(standing(world)).toBe('2 idle / 2 idle');
    expect(paid(world)).toBe(5_000n);
    sell(world, 0, AMOUNT, msat(5_001n));
    world.quiet();
    expect(standing(world)).toBe('2 idle / 2 idle');
    expect(reasons(world)[1]).toMatch(/this node pays 5000 msat at most/);
    world.oracle.concluded();
  });

  test('again and again, up to the stock, and up to the chain limit', () => {
    const world = activeWorld();
    for (let i = 0; i < 3; i += 1) {
      buy(world, 1, sat(90_000n), msat(91_000n));
      world.quiet();
    }
    expect(standing(world, 1)).toBe('3 idle / 3 idle');
    // What the member finds out itself it does not even ask for; the coordinator is asked by one that does not look.
    world.command(world.member(1), { type: 'quote_requested', amount: sat(90_000n) });
    world.quiet();
    expect(purchasingOf(memberLive(world.member(1))).quote?.refusal).toMatch(/the stock has room for a channel of \d+ sat at most/);
    for (let i = 0; i < 9; i += 1) {
      buy(world, 0, sat(10_000n), msat(11_000n));
      world.quiet();
    }
    expect(standing(world, 0)).toBe('8 idle / 8 idle');
    world.command(world.member(0), { type: 'quote_requested', amount: sat(10_000n) });
    world.quiet();
    expect(purchasingOf(memberLive(world.member(0))).quote?.refusal).toMatch(/there are 8 purchases of this stock already/);
    world.oracle.concluded();
  });

  test('below the price is refused; one that the client cannot pay for ends before it signs', () => {
    const world = activeWorld();
    buy(world, 0, AMOUNT, msat(PRICE - 1n));
    world.quiet();
    expect(standing(world)).toBe(NOTHING);
    expect(reasons(world)[0]).toBe(`the coordinator: the price is ${PRICE.toString()} msat`);
    world.channelOf(world.member(0))!.balance = PRICE - 1n;
    buy(world);
    world.quiet();
    expect(standing(world)).toBe(NOTHING);
    expect(reasons(world)[0]).toMatch(/^the fee could not be paid/);
    expect(world.member(0).record.parts.size).toBe(memberSignatures(activeWorld().member(0)));
    world.channelOf(world.member(0))!.balance = PRICE;
    buy(world);
    world.quiet();
    expect(standing(world)).toBe(BOUGHT);
    world.oracle.concluded();
  });
  const memberSignatures = (host: Host): number => host.record.parts.size;

  test('is not begun while the factory closes, once it is about to end, or by a client that leaves', () => {
    const world = activeWorld();
    world.htlcsSettle = false;
    world.channelOf(world.member(2))!.htlc = { from: world.member(2).id, amount: 1_000n };
    world.command(world.coordinator, { type: 'close_requested', feerate: 2_000 });
    world.settle();
    buy(world);
    sell(world);
    world.settle();
    expect(standing(world)).toBe(NOTHING);
    const leaving = activeWorld();
    leaving.command(leaving.member(0), { type: 'exit_requested', members: [0] });
    buy(leaving);
    leaving.quiet();
    expect(standing(leaving)).toBe(NOTHING);
    const old = activeWorld({ terms: { activeBlocks: 10, dyingBlocks: 10, settlingBlocks: 100 } });
    old.mine(20);
    old.quiet();
    expect(liveState(memberLive(old.member(0)).live, false)).toBe('settling');
    buy(old);
    sell(old);
    old.quiet();
    expect(standing(old)).toBe(NOTHING);
  });

  test('a close that begins in the middle of it', () => {
    for (let at = 0; at < 24; at += 1) {
      const world = activeWorld();
      buy(world);
      after(world, at);
      world.command(world.coordinator, { type: 'close_requested', feerate: 2_000 });
      world.quiet();
      world.mine(4);
      world.quiet();
      expect(['closed', 'active']).toContain(liveState(coordinatorLive(world).live, false));
      world.oracle.concluded();
    }
  });
});

describe('two at once', () => {
  test('of one client: the second is not begun', () => {
    const world = activeWorld();
    buy(world);
    buy(world);
    sell(world);
    world.quiet();
    expect(standing(world)).toBe(BOUGHT);
    expect(paid(world)).toBe(PRICE);
    world.oracle.concluded();
  });
  test('of one client, when its node asks twice all the same: the second is refused as busy', () => {
    const world = activeWorld({ dishonest: ['client 0'] });
    buy(world);
    world.until(() => sellingOf(coordinatorLive(world), 0).sale !== undefined);
    world.inject(world.member(0), world.coordinator.id, 3, { type: 'purchase_request', amount: AMOUNT, fee: PRICE, paymentHash: hashOf('ab'.repeat(32) as Parameters<typeof hashOf>[0]) });
    const from = world.sent.length;
    world.quiet();
    expect(world.sent.slice(from).map((s) => s.envelope)).toContainEqual(expect.objectContaining({ header: expect.objectContaining({ attempt: 3 }), message: { type: 'purchase_abort', code: 7, reason: 'another purchase is under way' } }));
    expect(standing(world)).toBe(BOUGHT);
  });
  test('a buy and a sale of the same client cross', () => {
    for (let at = 0; at < 12; at += 1) {
      const world = activeWorld();
      buy(world);
      after(world, at);
      sell(world, 0, sat(50_000n));
      world.quiet();
      expect(['1 idle / 1 idle', '2 idle / 2 idle']).toContain(standing(world));
      world.oracle.concluded();
    }
  });
  test('of two clients: side by side', () => {
    const world = activeWorld();
    buy(world, 0);
    buy(world, 1);
    world.quiet();
    expect([standing(world, 0), standing(world, 1)]).toEqual([BOUGHT, BOUGHT]);
    expect([paid(world, 0), paid(world, 1)]).toEqual([PRICE, PRICE]);
    world.oracle.concluded();
  });
});

/** Both have it, paid for once; or neither, and nothing was paid. Once the client has signed, it is the former. */
const decided = (world: World, signedBefore: boolean): void => {
  expect([BOUGHT, NOTHING]).toContain(standing(world));
  if (signedBefore) expect(standing(world)).toBe(BOUGHT);
  expect(paid(world)).toBe(standing(world) === BOUGHT ? PRICE : 0n);
  world.oracle.concluded();
};
const hasSigned = (world: World): boolean => ['signed', 'stored'].includes(purchasingOf(memberLive(world.member(0))).current?.progress.step ?? '');
const STEPS = 40;
const sides: readonly (readonly [string, (world: World) => Host])[] = [
  ['client', (world) => world.member(0)],
  ['LSP', (world) => world.coordinator],
];

describe('trouble', () => {
  test.each(sides)('the %s crashes after every action', (_, host) => {
    for (let at = 0; at < STEPS; at += 1) {
      const world = activeWorld();
      buy(world);
      after(world, at);
      const signed = hasSigned(world);
      world.crash(host(world));
      world.quiet();
      decided(world, signed);
      // And it goes on: another one can be bought.
      buy(world, 0, sat(20_000n), msat(21_000n));
      world.quiet();
      expect(standing(world)).toMatch(/^(\d) idle \/ \1 idle$/);
      expect(branchOf(world.member(0)).purchases.at(-1)?.amount).toBe(20_000n);
    }
  });
  test.each(sides)('the %s crashes within every step, between writing and doing', (_, host) => {
    for (let fuse = 0; fuse < STEPS; fuse += 1) {
      const world = activeWorld();
      host(world).fuse = fuse;
      buy(world);
      world.quiet();
      host(world).fuse = undefined;
      decided(world, false);
    }
  });
  test.each(sides)('the %s crashes twice', (_, host) => {
    for (let at = 0; at < 30; at += 3) {
      for (let then = 1; then < 20; then += 4) {
        const world = activeWorld();
        buy(world);
        for (const wait of [at, then]) {
          after(world, wait);
          world.crash(host(world));
        }
        world.quiet();
        decided(world, false);
      }
    }
  });
  test('the connection breaks after every action', () => {
    for (let at = 0; at < STEPS; at += 1) {
      const world = activeWorld();
      buy(world);
      after(world, at);
      const signed = hasSigned(world);
      world.disconnect(world.member(0));
      world.quiet();
      decided(world, signed);
    }
  });
  test('whatever happens while a price is asked for, it comes; and is asked for no more then', () => {
    const troubles = [(world: World) => world.crash(world.coordinator), (world: World) => world.disconnect(world.member(0)), (world: World) => world.crash(world.member(0))];
    for (const trouble of troubles) {
      for (let at = 0; at < 3; at += 1) {
        const world = activeWorld();
        world.command(world.member(0), { type: 'quote_requested', amount: AMOUNT });
        after(world, at);
        trouble(world);
        world.quiet();
        expect(purchasingOf(memberLive(world.member(0))).quote).toMatchObject({ attempt: 1, amount: AMOUNT, fee: PRICE });
        const from = world.sent.length;
        world.disconnect(world.member(0));
        world.quiet();
        expect(typesSince(world, from)).not.toContain('purchase_quote_request');
      }
    }
  });
  test.each(MESSAGE_TYPES.filter((t) => t.startsWith('purchase_')))('every %s comes twice, and once more later', (type) => {
    const world = activeWorld();
    world.tamper = (_host, _to, envelope) => (envelope.message.type === type ? [envelope, envelope] : [envelope]);
    buy(world);
    world.quiet();
    sell(world, 0, sat(20_000n));
    world.quiet();
    for (const { from, to, envelope } of world.sent.filter((s) => s.envelope.message.type.startsWith('purchase_'))) {
      world.inject(world.hosts.find((h) => h.name === from)!, to, envelope.header.attempt, envelope.message);
      world.quiet();
    }
    expect(standing(world)).toBe('2 idle / 2 idle');
    expect(paid(world)).toBe(PRICE);
    world.oracle.concluded();
  });
  test.each(MESSAGE_TYPES.filter((t) => t.startsWith('purchase_')))('the first %s is lost; blocks come in', (type) => {
    const world = activeWorld();
    let lost = false;
    world.tamper = (_host, _to, envelope) => {
      if (lost || envelope.message.type !== type) return [envelope];
      lost = true;
      return [];
    };
    buy(world);
    for (let i = 0; i < 3; i += 1) {
      world.settle();
      world.mine(1);
    }
    world.quiet();
    decided(world, false);
  });
  test('the LSP’s disk fails at every write', () => {
    for (let nth = 1; nth < 14; nth += 1) {
      const world = activeWorld();
      buy(world);
      for (let writes = 0; writes < nth; writes += 1) {
        const before = coordinatorLive(world);
        world.until(() => world.coordinatorState !== before);
      }
      world.coordinator.failing = 1;
      world.quiet();
      world.disconnect(world.member(0));
      world.quiet();
      decided(world, false);
    }
  });
  test('the HTLC of the fee is lost while the client is away, and comes again', () => {
    const world = activeWorld();
    // The preimage is out, and nobody is there to settle with it.
    world.tamper = (_host, _to, envelope) => (envelope.message.type === 'purchase_stored' ? [] : [envelope]);
    buy(world);
    world.settle();
    expect(standing(world)).toBe('1 idle / 1 storing');
    const channel = world.channelOf(world.member(0))!;
    expect(channel.htlc?.fee).toBeDefined();
    channel.htlc = undefined;
    world.command(world.coordinator, { type: 'fee_lost', paymentHash: sellingOf(coordinatorLive(world), 0).sale!.paymentHash });
    world.coordinator.heldFees.clear();
    world.tamper = undefined;
    world.disconnect(world.member(0));
    world.quiet();
    expect(standing(world)).toBe(BOUGHT);
    expect(paid(world)).toBe(PRICE);
    world.oracle.concluded();
  });
  test('… also when it was just being taken back as the LSP asked for it: it asks once more, without a block', () => {
    for (const restarted of [false, true]) {
      const world = activeWorld();
      world.tamper = (_host, _to, envelope) => (envelope.message.type === 'purchase_stored' ? [] : [envelope]);
      buy(world);
      world.settle();
      world.channelOf(world.member(0))!.htlc = undefined;
      world.command(world.coordinator, { type: 'fee_lost', paymentHash: sellingOf(coordinatorLive(world), 0).sale!.paymentHash });
      world.coordinator.heldFees.clear();
      // All that it asks for now comes to nothing: the client takes its HTLC for under way.
      world.tamper = (_host, _to, envelope) => (envelope.message.type === 'purchase_signature' ? [] : [envelope]);
      world.disconnect(world.member(0));
      world.settle();
      expect(standing(world)).toBe('1 idle / 1 settling');
      if (restarted) world.crash(world.coordinator);
      world.settle();
      expect(standing(world)).toBe('1 idle / 1 settling');
      world.tamper = undefined;
      world.quiet();
      expect(standing(world)).toBe(BOUGHT);
      expect(paid(world)).toBe(PRICE);
      world.oracle.concluded();
    }
  });
  test('a fee that cannot be sent when it is asked for again is tried once more, without a block', () => {
    const world = activeWorld();
    world.tamper = (_host, _to, envelope) => (envelope.message.type === 'purchase_partial' ? [] : [envelope]);
    buy(world);
    world.settle();
    expect(standing(world)).toBe('0 signed / 0 signing');
    const channel = world.channelOf(world.member(0))!;
    channel.htlc = undefined;
    channel.balance = 0n;
    world.command(world.coordinator, { type: 'fee_lost', paymentHash: sellingOf(coordinatorLive(world), 0).sale!.paymentHash });
    world.coordinator.heldFees.clear();
    world.tamper = undefined;
    world.disconnect(world.member(0));
    world.settle();
    expect(standing(world)).toBe('0 signed / 0 signing');
    channel.balance = 50_000_000n;
    world.quiet();
    expect(standing(world)).toBe(BOUGHT);
    expect(paid(world)).toBe(PRICE);
  });
  test('an HTLC is held only while there is time', () => {
    expect(mayHold(1_000, 969, 30)).toBe(true);
    expect(mayHold(1_000, 970, 30)).toBe(false);
  });
});

describe('sign-once', () => {
  /** The client has signed, and its signature is lost. */
  const signed = (): World => {
    const world = activeWorld({ dishonest: ['coordinator'] });
    world.tamper = (_host, _to, envelope) => (envelope.message.type === 'purchase_partial' ? [] : [envelope]);
    buy(world);
    world.settle();
    expect(standing(world)).toBe('0 signed / 0 signing');
    return world;
  };
  const answers = (world: World, from: number): readonly FactoryMessageType[] =>
    world.sent.slice(from).flatMap((s) => (s.from === 'client 0' ? [s.envelope.message.type] : []));

  test('the client signs the same transaction again for another nonce, with a fresh one of its own', () => {
    const world = signed();
    const partials: PurchasePartial[] = [];
    world.tamper = (_host, _to, envelope) => {
      if (envelope.message.type !== 'purchase_partial') return [envelope];
      partials.push(envelope.message);
      return [];
    };
    for (let i = 0; i < 2; i += 1) {
      world.crash(world.coordinator);
      world.settle();
    }
    const [first, last] = [partials[0]!, partials.at(-1)!];
    expect(last.coordinatorNonce).not.toBe(first.coordinatorNonce);
    expect(last.nonce).not.toBe(first.nonce);
    expect(new Set(partials.map((p) => world.member(0).record.parts.get(p.partial)?.signable.txid)).size).toBe(1);
    world.tamper = undefined;
    world.crash(world.coordinator);
    world.quiet();
    expect(standing(world)).toBe(BOUGHT);
  });

  test('… not for another channel, another purchase, nor after the coordinator has given it up', () => {
    const world = signed();
    const { sale } = sellingOf(coordinatorLive(world), 0);
    if (sale?.progress.step !== 'signing') throw new Error('not signing');
    const { channelId, nonce } = sale.progress;
    const client = world.member(0);
    const signatures = client.record.parts.size;
    const from = world.sent.length;
    world.inject(world.coordinator, client.id, 1, { type: 'purchase_opened', channelScript: `0020${'ab'.repeat(32)}` as typeof sale.progress.channelScript, channelId, nonce });
    world.inject(world.coordinator, client.id, 1, { type: 'purchase_abort', code: 1, reason: 'never mind' });
    world.settle();
    world.inject(world.coordinator, client.id, 2, { type: 'purchase_offer', amount: sat(20_000n), fee: msat(0n) });
    world.settle();
    buy(world, 0, sat(20_000n), msat(21_000n));
    world.settle();
    expect(answers(world, from)).toEqual(['purchase_abort']);
    expect(client.record.parts.size).toBe(signatures);
    expect(reasons(world)[0]).toMatch(/given up a purchase that was signed/);
    // The way out is what it was.
    world.command(client, { type: 'exit_requested', members: [0] });
    for (let i = 0; i < 6; i += 1) {
      world.mine(1);
      world.quiet();
    }
    expect(liveState(memberLive(client).live, false)).toBe('exiting');
  });

  test('a bad partial signature ends the purchase, and the coordinator can sell the stock again', () => {
    const world = activeWorld({ dishonest: ['client 0'] });
    world.tamper = (host, _to, envelope) => {
      const { message } = envelope;
      if (host.name !== 'client 0' || message.type !== 'purchase_partial') return [envelope];
      return [{ ...envelope, message: { ...message, partial: `${message.partial.slice(0, -1)}${message.partial.endsWith('0') ? '1' : '0'}` as typeof message.partial } }];
    };
    buy(world);
    world.quiet();
    expect(reasons(world)[1]).toMatch(/purchase_partial: does not verify/);
    expect(branchAt(world, 0).purchases).toEqual([]);
    expect(paid(world)).toBe(0n);
  });
});
