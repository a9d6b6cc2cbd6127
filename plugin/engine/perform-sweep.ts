/** Takes back unsold stock whose relative lock has passed. */
import type { VolatileEffect } from '../../factory-core/protocol/effects.js';
import type { Signer } from '../../factory-core/musig/index.js';
import { buildStockSweep, signedSweepHex, TreeError } from '../../factory-core/transactions.js';
import type { Lightning } from '../lightning/lightning.js';
import type { Log } from '../runtime/definition.js';

type Sweep = Extract<VolatileEffect, { kind: 'sweep_stock' }>;

/** Asked for with every block until the stock is spent; what is in the mempool already stays as it is. */
export const sweepStock = async (ln: Lightning, signer: Signer, { spec, member, stock, destination }: Sweep, log: Log): Promise<void> => {
  // Spent by a transaction that is waiting in the mempool: nothing to do.
  if (!(await ln.utxo(stock.outpoint))) return;
  const { slow } = await ln.feerates();
  try {
    const sweep = buildStockSweep(spec, member, stock, destination, slow);
    const sent = await ln.broadcast(signedSweepHex(sweep, signer.signSweep(sweep)));
    if (sent.kind === 'accepted') log('info', `stock of client ${member} taken back: ${sweep.txid}, ${sweep.tx.outputs[0]?.amount ?? 0n} sat`);
  } catch (error) {
    // Not worth its fee at today's rates.
    if (!(error instanceof TreeError)) throw error;
    log('debug', `stock of client ${member}: ${error.message}`);
  }
};
