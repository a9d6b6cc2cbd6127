/** Between the arming of the channels and the answer to the sending of the funding transaction: what the chain says counts. */
import { describe, expect, test } from '@jest/globals';
import { txid } from '../../blip/brands.js';
import { coordinatorStep } from '../coordinator/machine.js';
import type { Arming, CoordinatorState } from '../coordinator/state.js';
import { fundingStatus } from '../live/custody.js';
import { rootOf } from '../live/paths.js';
import { createSigner } from '../musig/index.js';
import type { Event, Spend, ConfirmedTx, Step } from '../protocol/effects.js';
import { fundingPrevout } from '../transactions.js';
import { PRICING } from './sim/host.js';
import { World } from './sim/world.js';

const arming = (): Arming => {
  const world = new World({ clients: [{ capacity: 1_000_000n, stock: 0n }, { capacity: 500_000n, stock: 0n }] });
  world.create();
  world.until(() => world.coordinatorState?.phase === 'arming');
  const state = world.coordinatorState;
  if (state?.phase !== 'arming') throw new Error('not arming');
  return state;
};

const env = { signer: createSigner(new Uint8Array(32).fill(7), (n) => new Uint8Array(n).fill(1)), height: 0, pricing: PRICING };
const block = (state: Arming, spends: readonly Spend[], confirmed: readonly ConfirmedTx[], blocks = 1): Event => ({ type: 'block_connected', height: state.live.chain.tip + blocks, spends, confirmed });

const fundingTx = ({ live: { spec } }: Arming): ConfirmedTx => {
  const { amount, script } = fundingPrevout(spec);
  return { txid: spec.funding.txid, inputs: [], outputs: Array.from({ length: spec.funding.vout + 1 }, () => ({ amount, script })) };
};

describe('a coordinator that was away while its funding transaction was sent', () => {
  test('goes on when it sees it in a block, though a client has left meanwhile and spent its output', () => {
    const state = arming();
    const root = rootOf(state.live).signable;
    const next = coordinatorStep(state, block(state, [{ outpoint: root.tx.prevout.outpoint, by: root.txid }], [fundingTx(state)]), env);
    expect(next.state.phase).toBe('live');
    // It is sent already: signing and sending it again could only fail, for ever.
    expect(next.cancelPending).toBe(true);
    expect(next.state.phase === 'live' && fundingStatus(next.state.live)).toMatchObject({ kind: 'spent', by: 'tree' });
    expect(next.effects.filter((e) => e.kind === 'send').map((e) => e.message.type)).toEqual(['published', 'published']);
  });

  test('waits for as long as nothing is in a block, and gives up once its coins are gone to something else for good', () => {
    const first = arming();
    const [coin] = first.live.chain.fundingInputs ?? [];
    const rival = txid('ab'.repeat(32));
    let next: Step<CoordinatorState> = coordinatorStep(first, block(first, [{ outpoint: coin!, by: rival }], []), env);
    for (let depth = 2; depth <= 6; depth += 1) {
      expect(next.state.phase).toBe('arming');
      next = coordinatorStep(next.state, block(first, [], [], depth), env);
    }
    expect(next.state).toMatchObject({ phase: 'aborted', reason: expect.stringContaining(rival) });
    expect(next.effects.map((e) => e.kind)).toEqual(expect.arrayContaining(['discard_channels', 'release_funding']));
  });
});
