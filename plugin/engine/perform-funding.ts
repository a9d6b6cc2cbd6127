/** Effects on the wallet: choosing coins, building, releasing and sending the funding transaction. */
import { outpointKey } from '../../factory-core/live/paths.js';
import type { DurableEffect, Event } from '../../factory-core/protocol/effects.js';
import { LightningError, type Lightning, type Psbt } from '../lightning/lightning.js';
import type { Outcome } from './outbox.js';

type Of<K extends DurableEffect['kind']> = Extract<DurableEffect, { kind: K }>;
const done = (event?: Event): Outcome => (event ? { kind: 'done', event } : { kind: 'done' });
const isFinal = (error: unknown): error is LightningError => error instanceof LightningError && error.code !== 'unavailable';

export const selectCoins = async (ln: Lightning, effect: Of<'select_coins'>): Promise<Outcome> => {
  const { attempt } = effect;
  try {
    const { normal } = await ln.feerates();
    const { coins } = await ln.selectCoins(effect.amount, normal);
    return done({ type: 'coins_selected', attempt, coins: coins.map((c) => c.outpoint) });
  } catch (error) {
    if (!isFinal(error)) throw error;
    return done({ type: 'funding_failed', attempt, reason: error.message });
  }
};

export const prepareFunding = async (ln: Lightning, effect: Of<'prepare_funding'>): Promise<Outcome> => {
  const { attempt, script, amount } = effect;
  const wanted = new Set(effect.coins.map(outpointKey));
  try {
    // A crash may have left them reserved by an earlier run of this very effect.
    await ln.releaseFunding({ coins: effect.coins });
    const coins = (await ln.coins()).filter((c) => wanted.has(outpointKey(c.outpoint)));
    if (coins.length < wanted.size) return done({ type: 'funding_failed', attempt, reason: 'a coin chosen for the funding is gone' });
    const { normal } = await ln.feerates();
    const prepared = await ln.prepareFunding({ script, amount, coins, feerate: normal });
    return done({
      type: 'funding_prepared',
      attempt,
      psbt: prepared.psbt,
      funding: { txid: prepared.txid, vout: prepared.vout },
    });
  } catch (error) {
    if (!isFinal(error)) throw error;
    return done({ type: 'funding_failed', attempt, reason: error.message });
  }
};

export const releaseFunding = async (ln: Lightning, effect: Of<'release_funding'>): Promise<Outcome> => {
  await ln.releaseFunding({ coins: effect.coins, ...(effect.psbt === undefined ? {} : { psbt: effect.psbt as Psbt }) });
  return done();
};

export const sendFunding = async (ln: Lightning, effect: Of<'send_funding'>): Promise<Outcome> => {
  // Sent before a crash: its inputs can no longer be signed, and need not be.
  if (await ln.utxo(effect.funding)) return done({ type: 'funding_sent' });
  try {
    await ln.broadcastFunding(await ln.signFunding(effect.psbt as Psbt));
    return done({ type: 'funding_sent' });
  } catch (error) {
    if (error instanceof LightningError && error.code === 'rejected') return done({ type: 'funding_rejected', reason: error.message });
    throw error;
  }
};
