import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, test } from '@jest/globals';
import { channelIdOf, type Side } from '../channel.js';
import { fundingScript, type Funded, signTheirs, verifyOurs } from '../commitment.js';
import { Keys } from '../keys.js';

const dir = mkdtempSync(path.join(tmpdir(), 'standin-keys-'));
afterAll(() => {
  rmSync(dir, { recursive: true });
});
const alice = new Keys(path.join(dir, 'alice'));
const bob = new Keys(path.join(dir, 'bob'));
const [a, b] = [alice.channel(1), bob.channel(7)];
const CAPACITY = 1_000_000;
const side = (id: number, opener: Side, keys: typeof a): Funded => ({
  id,
  fundingTxid: '11'.repeat(32),
  fundingVout: 1,
  capacity: CAPACITY,
  opener,
  keys: { funding: keys.funding.pub, payment: keys.payment.pub, delayed: keys.delayed.pub },
});
const [ofAlice, ofBob] = [side(1, 'local', b), side(7, 'remote', a)];

describe('commitments', () => {
  test('keys come back from the file', () => {
    expect(new Keys(path.join(dir, 'alice')).nodeId).toBe(alice.nodeId);
    expect(alice.nodeId).not.toBe(bob.nodeId);
  });

  test('each side’s signature fits the other’s transaction, for every balance', () => {
    for (const [number, toAlice] of [[0, CAPACITY * 1000], [1, 400_000_123], [2, 3_000_000]] as const) {
      const toBob = CAPACITY * 1000 - toAlice;
      expect(verifyOurs(ofBob, bob, { number, toUs: toBob }, signTheirs(ofAlice, alice, { number, toUs: toAlice }))).toBe(true);
      expect(verifyOurs(ofAlice, alice, { number, toUs: toAlice }, signTheirs(ofBob, bob, { number, toUs: toBob }))).toBe(true);
    }
  });

  test('a signature fits no other state', () => {
    const signature = signTheirs(ofAlice, alice, { number: 3, toUs: 500_000_000 });
    expect(verifyOurs(ofBob, bob, { number: 3, toUs: 500_000_000 }, signature)).toBe(true);
    expect(verifyOurs(ofBob, bob, { number: 4, toUs: 500_000_000 }, signature)).toBe(false);
    expect(verifyOurs(ofBob, bob, { number: 3, toUs: 500_001_000 }, signature)).toBe(false);
    expect(verifyOurs(ofBob, bob, { number: 3, toUs: 500_000_000 }, '00'.repeat(64))).toBe(false);
  });

  test('the funding script does not depend on who looks', () => {
    expect(fundingScript(a.funding.pub, b.funding.pub)).toBe(fundingScript(b.funding.pub, a.funding.pub));
  });

  test('the channel id is the txid of lightningd’s record', () => {
    expect(channelIdOf('2840e3b23b627880aa9e84d8f28e5ab21ce249127ae3227869e1f443eb9b09f9', 0)).toBe('f9099beb43f4e1697822e37a1249e21cb25a8ef2d8849eaa8078623bb2e34028');
    expect(channelIdOf('2840e3b23b627880aa9e84d8f28e5ab21ce249127ae3227869e1f443eb9b09f9', 1)).toMatch(/4029$/);
  });
});
