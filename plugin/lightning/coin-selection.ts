/** Which coins pay for a factory: pure. */
import { sat, type Sat, type Script } from '../../blip/brands.js';
import { LightningError, type Coin, type CoinSelection } from './lightning.js';

/** vB of everything but the inputs: version, counts, lock time, marker and flag, a P2TR output and a P2TR change output. */
const BASE_VBYTES = 10.5 + 43 + 43;
/** Below this CLN makes no change output and leaves the rest to the fee. */
const CHANGE_DUST = 546n;

/** vB of an input with its signature, by what it spends (P2WSH: what an anchor channel's close left to us). */
const inputVbytes = (script: Script): number => {
  if (script.startsWith('5120')) return 57.5;
  return script.startsWith('0014') ? 68 : 70;
};

const feeOf = (coins: readonly Coin[], feerate: number): Sat => {
  const vbytes = Math.ceil(coins.reduce((sum, coin) => sum + inputVbytes(coin.script), BASE_VBYTES));
  return sat(BigInt(Math.ceil((vbytes * feerate) / 1000)));
};

/**
 * Takes coins in the order given until they pay `target` and the fee, and until change and the coins not taken still hold
 * `reserve`: CLN refuses what would leave less (`min-emergency-msat`).
 * @param feerate sat per 1,000 vB
 * @throws LightningError `insufficient_funds`, `details.missing` being what the wallet lacks in all
 */
export const select = (coins: readonly Coin[], target: Sat, feerate: number, reserve: Sat): CoinSelection => {
  const wallet = coins.reduce((sum, coin) => sum + coin.amount, 0n);
  let total = 0n;
  for (let count = 1; count <= coins.length; count++) {
    const taken = coins.slice(0, count);
    total += taken[count - 1]?.amount ?? 0n;
    const fee = feeOf(taken, feerate);
    const rest = total - target - fee;
    const change = rest < CHANGE_DUST ? 0n : rest;
    if (rest >= 0n && change + (wallet - total) >= reserve) return { coins: taken, total: sat(total), fee };
  }
  const lacking = target + feeOf(coins, feerate) + reserve - wallet;
  // A few satoshis of change that would be dust are as good as missing.
  const missing = sat(lacking > 0n ? lacking : CHANGE_DUST);
  const what = `${target} sat, fees and the reserve of ${reserve} sat need ${missing} sat more than the wallet's ${wallet}`;
  throw new LightningError('insufficient_funds', what, 'wallet', { missing });
};
