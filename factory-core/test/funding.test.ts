/** The funding transaction, as the chain shows it (architecture 12, rules 2 and 11). */
import { describe, expect, test } from '@jest/globals';
import { sat, txid } from '../../blip/brands.js';
import { fundingStatus, liveState, mayCarryHtlcs, onChain, RIVAL_DEPTH, voidReason, watched } from '../live/custody.js';
import { plan, retire } from '../live/plan.js';
import type { Live } from '../live/state.js';
import type { ConfirmedTx } from '../protocol/effects.js';
import { fundingPrevout } from '../transactions.js';
import { alike, payoutScript, specFor } from './support/factory.js';
import { liveFactory } from './support/live.js';

const spec = specFor({ clients: alike(3) });
const { amount, script } = fundingPrevout(spec);
const height = spec.startHeight + 1;
const other = { amount: sat(1n), script: payoutScript(0) };

const fresh: Live = { spec, signatures: {}, branches: [], chain: { tip: spec.startHeight, everFunded: false, spends: {} }, exits: {}, retired: false };
const mined = (live: Live, at: number, confirmed: readonly ConfirmedTx[] = []): Live =>
  onChain(live, { type: 'block_connected', height: at, spends: [], confirmed });
/** In a block, and three deep, with these outputs. */
const fundedWith = (outputs: ConfirmedTx['outputs']): Live =>
  mined(mined(mined(fresh, height, [{ txid: spec.funding.txid, inputs: [], outputs }]), height + 1), height + 2);

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
  ])('%s: there is no factory, and it says so', (_, outputs, problem) => {
    const live = fundedWith(outputs);
    expect(fundingStatus(live)).toEqual({ kind: 'unconfirmed' });
    expect(liveState(live, false)).toBe('aborted');
    expect(voidReason(live)).toMatch(problem);
    expect(live.chain.everFunded).toBe(false);
  });

  test('of another transaction is none', () => {
    const live = mined(fresh, height, [{ txid: txid('ab'.repeat(32)), inputs: [], outputs: [other, { amount, script }] }]);
    expect(fundingStatus(live)).toEqual({ kind: 'unconfirmed' });
  });

  test('is unconfirmed again after a reorganisation', () => {
    const live = onChain(fundedWith([other, { amount, script }]), { type: 'block_disconnected', height });
    expect(fundingStatus(live)).toEqual({ kind: 'unconfirmed' });
    expect(live.chain.everFunded).toBe(true);
  });
});

describe('another transaction spends what the funding transaction needs', () => {
  const coin = { txid: txid('cd'.repeat(32)), vout: 1 };
  const rival = txid('ef'.repeat(32));
  const good = { txid: spec.funding.txid, inputs: [coin], outputs: [other, { amount, script }] };
  const blocks = (live: Live, count: number): Live => Array.from({ length: count }).reduce<Live>((l) => mined(l, l.chain.tip + 1), live);

  const full = liveFactory('coordinator', { clients: alike(3) });
  /** Confirmed, reorganised away, and the coin spent elsewhere in the block that comes instead; so many blocks deep. */
  const replaced = (depth: number): Live => {
    const confirmed = mined({ ...full, chain: { tip: spec.startHeight, everFunded: false, spends: {} } }, height, [good]);
    const gone = onChain(confirmed, { type: 'block_disconnected', height });
    return blocks(onChain(gone, { type: 'block_connected', height, spends: [{ outpoint: coin, by: rival }], confirmed: [] }), depth - 1);
  };

  test('its inputs are learnt from its block, and watched from then on', () => {
    const live = mined(fresh, height, [good]);
    expect(live.chain.fundingInputs).toEqual([coin]);
    expect(watched(live).outpoints).toContainEqual(coin);
  });

  test('its own spend of them is no rival, nor is one that is reorganised away', () => {
    const own = onChain(fresh, { type: 'block_connected', height, spends: [{ outpoint: coin, by: spec.funding.txid }], confirmed: [good] });
    expect(fundingStatus(own)).toEqual({ kind: 'confirmed', depth: 1 });
    const undone = onChain(replaced(RIVAL_DEPTH), { type: 'block_disconnected', height });
    expect(fundingStatus(undone)).toEqual({ kind: 'unconfirmed' });
    expect(voidReason(undone)).toBeUndefined();
  });

  test('until that is deep it is still being funded, and carries nothing', () => {
    const live = replaced(RIVAL_DEPTH - 1);
    expect(fundingStatus(live)).toEqual({ kind: 'unconfirmed', rival: { txid: rival, depth: RIVAL_DEPTH - 1 } });
    expect(liveState(live, false)).toBe('funding');
    expect(live.branches.some((b) => mayCarryHtlcs(live, b, false))).toBe(false);
    expect(retire(live).effects).toEqual([]);
  });

  test('then there is no factory: nothing is published, every channel is retired, once', () => {
    const live = replaced(RIVAL_DEPTH);
    expect(liveState(live, false)).toBe('aborted');
    expect(voidReason(live)).toContain(rival);
    expect(plan({ ...live, exits: { 0: { since: height } } }, 'coordinator')).toEqual([]);
    const first = retire(live);
    expect(first.effects.map((e) => e.kind)).toEqual(['retire_channel', 'retire_channel', 'retire_channel']);
    expect(retire(first.live).effects).toEqual([]);
  });
});
