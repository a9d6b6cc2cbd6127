/** The signed transactions that a state holds, for the store: what a way out consists of, readable without this plugin. */
import type { InstanceId } from '../../blip/brands.js';
import { closeOf, distributionOf, exitPath, purchasePath } from '../../factory-core/live/paths.js';
import type { Live } from '../../factory-core/live/state.js';
import { turnoverTx } from '../../factory-core/live/turnover.js';
import type { SignedTx } from '../../factory-core/model.js';
import { signedHex } from '../../factory-core/transactions.js';
import type { StoredTransaction } from '../store/store.js';

export const storedTransactions = (instanceId: InstanceId, live: Live): readonly StoredTransaction[] => {
  const all = new Map<string, StoredTransaction>();
  const add = (tx: SignedTx, member?: number): void => {
    const { txid, purpose } = tx.signable;
    if (all.has(txid)) return;
    all.set(txid, { instanceId, txid, kind: purpose, raw: signedHex(tx), ...(member === undefined ? {} : { member }) });
  };
  for (const branch of live.branches) {
    for (const tx of exitPath(live, branch)) add(tx, tx.signable.purpose === 'leaf' ? branch.member : undefined);
    for (const tx of purchasePath(live, branch)) add(tx, branch.member);
  }
  add(distributionOf(live));
  return [...all.values()];
};

/** What was bought between two states. */
export const storedPurchases = (instanceId: InstanceId, before: Live, after: Live): readonly StoredTransaction[] =>
  after.branches.flatMap((branch, i) => {
    const had = before.branches[i]?.purchases.length ?? 0;
    return purchasePath(after, branch)
      .slice(had)
      .map((tx) => ({ instanceId, txid: tx.signable.txid, kind: tx.signable.purpose, raw: signedHex(tx), member: branch.member }));
  });

/** The agreed close, once it is signed. */
export const storedClose = (instanceId: InstanceId, live: Live): readonly StoredTransaction[] => {
  const close = closeOf(live);
  if (!close || live.close?.signature === undefined) return [];
  return [{ instanceId, txid: close.txid, kind: 'close', raw: signedHex({ signable: close, signature: live.close.signature }) }];
};

/** What was signed between two states to take back a subtree. */
export const storedTurnovers = (instanceId: InstanceId, before: Live, after: Live): readonly StoredTransaction[] =>
  (after.turnovers ?? []).slice(before.turnovers?.length ?? 0).map((turnover) => {
    const tx = turnoverTx(after, turnover);
    return { instanceId, txid: tx.signable.txid, kind: tx.signable.purpose, raw: signedHex(tx) };
  });
