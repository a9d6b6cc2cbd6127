import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { channelId, msat } from '../../blip/brands.js';
import { decideHtlc, INVOICE_MARGIN, invoiceCltv, minCltvExpiry, type FactoryChannelFacts, type HtlcFacts } from '../htlc-policy.js';

const HEIGHT = 800_000;
const EARLY = 42;
/** The first height at which an HTLC may expire: architecture 6. */
const LEAST = HEIGHT + EARLY + 1;
const healthy: FactoryChannelFacts = { earlyWarning: EARLY, active: true, frozen: false };
const AMOUNT = msat(0x0102030405n);
const base: HtlcFacts = { height: HEIGHT, amount: AMOUNT, cltvExpiry: LEAST };
/** BOLT 4. */
const EXPIRY_TOO_SOON = '100e0000';
const TEMPORARY_CHANNEL_FAILURE = '10070000';
const TEMPORARY_NODE_FAILURE = '2002';
const UNKNOWN_DETAILS = '400f' + '0000000102030405' + '000c3500';

describe('an HTLC that ends here', () => {
  test.each([
    [LEAST - 1, UNKNOWN_DETAILS],
    [LEAST, undefined],
    [LEAST + 1, undefined],
  ])('over a factory channel, expiring at %i', (cltvExpiry, failure) => {
    const decision = decideHtlc({ ...base, cltvExpiry, incoming: healthy });
    expect(decision).toEqual(failure === undefined ? { result: 'continue' } : { result: 'fail', failure, why: `incoming HTLC: it expires at ${LEAST - 1}, before ${LEAST}` });
  });

  test('is refused while the factory is not active or the channel frozen, as a condition of the node', () => {
    for (const incoming of [{ ...healthy, active: false }, { ...healthy, frozen: true }])
      expect(decideHtlc({ ...base, cltvExpiry: LEAST + 1_000, incoming })).toMatchObject({ result: 'fail', failure: TEMPORARY_NODE_FAILURE });
  });

  test('over an ordinary channel is nobody’s business', () => {
    expect(decideHtlc({ ...base, cltvExpiry: HEIGHT + 1 })).toEqual({ result: 'continue' });
  });
});

describe('an HTLC that is forwarded', () => {
  const far = LEAST + 1_000;

  test.each([
    [LEAST - 1, false],
    [LEAST, true],
    [LEAST + 1, true],
  ])('out over a factory channel, expiring there at %i', (cltvExpiry, taken) => {
    const decision = decideHtlc({ ...base, cltvExpiry: far, forward: { cltvExpiry, channel: healthy } });
    expect(decision).toMatchObject(taken ? { result: 'continue' } : { result: 'fail', failure: EXPIRY_TOO_SOON, why: expect.stringMatching(/^outgoing/) });
  });

  test.each([
    [LEAST - 1, false],
    [LEAST, true],
  ])('in over a factory channel and out to the world, expiring here at %i', (cltvExpiry, taken) => {
    const decision = decideHtlc({ ...base, cltvExpiry, incoming: healthy, forward: { cltvExpiry: cltvExpiry - 34 } });
    expect(decision).toMatchObject(taken ? { result: 'continue' } : { result: 'fail', failure: EXPIRY_TOO_SOON, why: expect.stringMatching(/^incoming/) });
  });

  test('between two factories must suit both', () => {
    const slow = { ...healthy, earlyWarning: EARLY + 10 };
    const decide = (cltvExpiry: number, out: number) => decideHtlc({ ...base, cltvExpiry, incoming: slow, forward: { cltvExpiry: out, channel: healthy } }).result;
    expect(decide(LEAST + 10, LEAST)).toBe('continue');
    expect(decide(LEAST + 9, LEAST)).toBe('fail');
    expect(decide(LEAST + 10, LEAST - 1)).toBe('fail');
  });

  test('is refused for a channel that is not usable, as a condition of the channel, on either side', () => {
    for (const bad of [{ ...healthy, active: false }, { ...healthy, frozen: true }]) {
      const refused = { result: 'fail', failure: TEMPORARY_CHANNEL_FAILURE };
      expect(decideHtlc({ ...base, cltvExpiry: far, incoming: bad, forward: { cltvExpiry: far } })).toMatchObject(refused);
      expect(decideHtlc({ ...base, cltvExpiry: far, forward: { cltvExpiry: far, channel: bad } })).toMatchObject(refused);
    }
  });

  test('is refused when the onion does not say when it would expire', () => {
    expect(decideHtlc({ ...base, cltvExpiry: far, forward: { channel: healthy } })).toMatchObject({ result: 'fail', failure: EXPIRY_TOO_SOON });
    expect(decideHtlc({ ...base, cltvExpiry: far, forward: {} })).toEqual({ result: 'continue' });
  });

  test('takes the first other channel to that peer that can carry it, and only if CLN’s choice cannot', () => {
    const ids = ['11', '22', '33'].map((byte) => channelId(byte.repeat(32)));
    const others = [{ channelId: ids[0]!, channel: { ...healthy, active: false } }, { channelId: ids[1]!, channel: healthy }, { channelId: ids[2]! }];
    const frozen = { ...healthy, frozen: true };
    expect(decideHtlc({ ...base, cltvExpiry: far, forward: { cltvExpiry: LEAST, channel: frozen, others } })).toEqual({ result: 'continue', forwardTo: ids[1] });
    expect(decideHtlc({ ...base, cltvExpiry: far, forward: { cltvExpiry: LEAST - 1, channel: frozen, others } })).toEqual({ result: 'continue', forwardTo: ids[2] });
    expect(decideHtlc({ ...base, cltvExpiry: far, forward: { cltvExpiry: far, channel: healthy, others } })).toEqual({ result: 'continue' });
    expect(decideHtlc({ ...base, cltvExpiry: far, forward: { cltvExpiry: far, channel: frozen, others: [others[0]!] } })).toMatchObject({ result: 'fail' });
  });

  test('keeps to the channel that is named, if that can carry it; else CLN’s choice stands', () => {
    const [named, another] = [channelId('11'.repeat(32)), channelId('22'.repeat(32))];
    const decide = (facts: FactoryChannelFacts, chosen: FactoryChannelFacts | null = healthy) =>
      decideHtlc({ ...base, cltvExpiry: far, forward: { cltvExpiry: far, ...(chosen ? { channel: chosen } : {}), others: [{ channelId: another, channel: healthy }, { channelId: named, channel: facts }], named } });
    expect(decide(healthy)).toEqual({ result: 'continue', forwardTo: named });
    expect(decide(healthy, null)).toEqual({ result: 'continue', forwardTo: named });
    for (const bad of [{ active: false }, { frozen: true }, { avoid: true }, { earlyWarning: 2_000 }]) {
      expect(decide({ ...healthy, ...bad })).toEqual({ result: 'continue' });
      expect(decide({ ...healthy, ...bad }, { ...healthy, avoid: true })).toEqual({ result: 'continue', forwardTo: another });
    }
    // It has no room, and is not among the others.
    expect(decideHtlc({ ...base, cltvExpiry: far, forward: { cltvExpiry: far, channel: healthy, others: [{ channelId: another }], named } })).toEqual({ result: 'continue' });
  });
});

test('nothing that passes expires before the channel’s owner can be on chain, whatever the numbers', () => {
  const facts = fc.record({ earlyWarning: fc.nat(2_016), active: fc.boolean(), frozen: fc.boolean() });
  fc.assert(
    fc.property(fc.nat(1_000_000), fc.integer({ min: -50, max: 3_000 }), fc.integer({ min: -50, max: 3_000 }), fc.option(facts), fc.option(facts), fc.boolean(), (height, inDelta, outDelta, incoming, outgoing, forwards) => {
      const decision = decideHtlc({
        height,
        amount: AMOUNT,
        cltvExpiry: height + inDelta,
        ...(incoming && { incoming }),
        ...(forwards && { forward: { cltvExpiry: height + outDelta, ...(outgoing && { channel: outgoing }) } }),
      });
      const fits = (channel: FactoryChannelFacts | null, delta: number): boolean => channel === null || (channel.active && !channel.frozen && delta >= channel.earlyWarning + 1);
      expect(decision.result === 'continue').toBe(fits(incoming, inDelta) && (!forwards || fits(outgoing, outDelta)));
      if (decision.result === 'fail') expect(decision.failure).toMatch(forwards ? /^100[7e]0000$/ : /^(2002|400f[0-9a-f]{24})$/);
    }),
  );
});

test('an invoice asks for what the policy wants, and some blocks more; never for less than it was told', () => {
  expect(minCltvExpiry(HEIGHT, EARLY)).toBe(LEAST);
  expect(invoiceCltv(EARLY, 18)).toBe(EARLY + 1 + INVOICE_MARGIN);
  expect(invoiceCltv(EARLY, 500)).toBe(500);
  // A payer this many blocks behind still gets through.
  const payerHeight = HEIGHT - INVOICE_MARGIN;
  expect(decideHtlc({ ...base, cltvExpiry: payerHeight + invoiceCltv(EARLY, 0), incoming: healthy })).toEqual({ result: 'continue' });
  expect(decideHtlc({ ...base, cltvExpiry: payerHeight - 1 + invoiceCltv(EARLY, 0), incoming: healthy })).toMatchObject({ result: 'fail' });
});
