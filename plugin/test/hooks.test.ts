/** Over which of a member's channels the coordinator forwards: lightningd's choice, the one that is named, or another. */
import { describe, expect, test } from '@jest/globals';
import { channelId, nodeId, type ChannelId } from '../../blip/brands.js';
import type { FactoryChannelFacts } from '../../factory-core/htlc-policy.js';
import type { App } from '../app.js';
import { hooks } from '../hooks.js';

const MEMBER = nodeId(`02${'aa'.repeat(32)}`);
const SOMEBODY = nodeId(`02${'bb'.repeat(32)}`);
const [OLD, NEXT, THIRD] = ['11', '22', '33'].map((byte) => channelId(byte.repeat(32))) as [ChannelId, ChannelId, ChannelId];
const HEIGHT = 800_000;
const healthy: FactoryChannelFacts = { earlyWarning: 42, active: true, frozen: false };
const avoided: FactoryChannelFacts = { ...healthy, avoid: true };

/** The member's channels, by alias; the next factory's is so new that nothing is forwarded over it unasked. */
const ALIASES: Readonly<Record<string, { readonly channelId: ChannelId; readonly facts: FactoryChannelFacts }>> = {
  '1x1x1': { channelId: OLD, facts: avoided },
  '2x2x2': { channelId: NEXT, facts: avoided },
  '3x3x3': { channelId: THIRD, facts: healthy },
};
const channels = Object.values(ALIASES);

const app = {
  book: {
    hasFactories: () => true,
    look: (name: string) => {
      const found = ALIASES[name] ?? channels.find((c) => c.channelId === name);
      return Promise.resolve(found && { peer: MEMBER, ...found });
    },
    others: (_: unknown, than: ChannelId | undefined) => Promise.resolve(channels.filter((c) => c.channelId !== than).map((c) => ({ channelId: c.channelId, channel: c.facts }))),
  },
  heldFees: { answer: () => undefined },
  context: { engine: { currentHeight: () => HEIGHT } },
  log: () => undefined,
} as unknown as App;

/** Where an HTLC goes that comes over one channel and names another, when lightningd has chosen a third. */
const goes = async (from: string, named: string, chosen: ChannelId): Promise<unknown> => {
  const expiry = HEIGHT + 500;
  const answer = await hooks(() => app).htlc_accepted?.handle(
    {
      peer_id: from === '9x9x9' ? SOMEBODY : MEMBER,
      onion: { short_channel_id: named, forward_msat: 1_000, outgoing_cltv_value: expiry - 50 },
      htlc: { short_channel_id: from, id: 0, amount_msat: 1_001, cltv_expiry: expiry, cltv_expiry_relative: 500, payment_hash: '00'.repeat(32) },
      forward_to: chosen,
    },
    { id: '1', signal: new AbortController().signal },
  );
  return answer;
};

describe('a member that pays itself over its next channel', () => {
  test.each([OLD, THIRD])('gets it there, when lightningd has chosen %s', async (chosen) => {
    expect(await goes('1x1x1', '2x2x2', chosen)).toEqual({ result: 'continue', forward_to: NEXT });
  });
  test('and when lightningd has chosen that', async () => {
    expect(await goes('1x1x1', '2x2x2', NEXT)).toEqual({ result: 'continue' });
  });
});

test('what somebody else sends to a channel that may not be known there yet takes another', async () => {
  expect(await goes('9x9x9', '2x2x2', NEXT)).toEqual({ result: 'continue', forward_to: THIRD });
  expect(await goes('9x9x9', '2x2x2', THIRD)).toEqual({ result: 'continue' });
});
