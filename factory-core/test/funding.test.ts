/** The funding transaction, as the chain shows it (architecture 12, rules 2 and 11). */
import { describe, expect, test } from '@jest/globals';
import { sat, txid } from '../../blip/brands.js';
import { fundingStatus, liveState, onChain } from '../live/custody.js';
import type { Live } from '../live/state.js';
import type { ConfirmedTx } from '../protocol/effects.js';
import { fundingPrevout } from '../transactions.js';
import { alike, payoutScript, specFor } from './support/factory.js';

const spec = specFor({ clients: alike(3) });
const { amount, script } = fundingPrevout(spec);
const height = spec.startHeight + 1;
const other = { amount: sat(1n), script: payoutScript(0) };

const fresh: Live = { spec, signatures: {}, branches: [], chain: { tip: spec.startHeight, everFunded: false, spends: {} }, exits: {}, retired: false };
const mined = (live: Live, at: number, confirmed: readonly ConfirmedTx[] = []): Live =>
  onChain(live, { type: 'block_connected', height: at, spends: [], confirmed });
/** In a block, and three deep, with these outputs. */
const fundedWith = (outputs: ConfirmedTx['outputs']): Live =>
  mined(mined(mined(fresh, height, [{ txid: spec.funding.txid, outputs }]), height + 1), height + 2);

describe('the funding output on chain', () => {
  test('pays what the tree needs to all members: active at min_depth', () => {
    const live = fundedWith([other, { amount, script }]);
    expect(fundingStatus(live)).toEqual({ kind: 'confirmed', depth: 3 });
    expect(liveState(live, false)).toBe('active');
    expect(live.chain).toMatchObject({ everFunded: true });
  });

  test.each([
    ['pays to another script', [other, { amount, script: payoutScript(1) }], /does not pay to all members/],
    ['holds a satoshi less', [other, { amount: sat(amount - 1n), script }], /another amount/],
    ['holds a satoshi more', [other, { amount: sat(amount + 1n), script }], /another amount/],
    ['is another output than it was said to be', [{ amount, script }, other], /does not pay to all members/],
    ['is not there', [other], /does not pay to all members/],
  ])('%s: never active, and it says so', (_, outputs, problem) => {
    const live = fundedWith(outputs);
    expect(fundingStatus(live)).toEqual({ kind: 'unconfirmed' });
    expect(liveState(live, false)).toBe('funding');
    expect(live.chain).toMatchObject({ everFunded: false, badFunding: expect.stringMatching(problem) });
  });

  test('of another transaction is none', () => {
    const live = mined(fresh, height, [{ txid: txid('ab'.repeat(32)), outputs: [other, { amount, script }] }]);
    expect(fundingStatus(live)).toEqual({ kind: 'unconfirmed' });
  });

  test('is unconfirmed again after a reorganisation', () => {
    const live = onChain(fundedWith([other, { amount, script }]), { type: 'block_disconnected', height });
    expect(fundingStatus(live)).toEqual({ kind: 'unconfirmed' });
    expect(live.chain.everFunded).toBe(true);
  });
});
