/**
 * Partial turnover (architecture 8), the coordinator's side: signs, alone, for everybody below an output whose keys are all here.
 * What is signed is published by the plan, at every block, until the chain shows it.
 */
import { present } from '../protocol/present.js';
import type { Step } from '../protocol/effects.js';
import { signOnceOf, step } from '../protocol/effects.js';
import type { Signable } from '../model.js';
import type { SchnorrSignature } from '../../blip/brands.js';
import { buildTurnover } from '../transactions.js';
import { aggregateNonces, aggregatePartials, MusigError, verifyFinal, type Signer } from '../musig/index.js';
import { plan } from '../live/plan.js';
import type { Turnover } from '../live/state.js';
import { unsignedTurnovers, type HeldSubtree } from '../live/turnover.js';
import type { CoordinatorLive, Env } from './state.js';

/**
 * Once for each output, at the feerate of the day; a child raises it later. Another one for the same output is never signed
 * (architecture 12.6), so a fall of the feerates is not waited for.
 * @param feerate sat per 1,000 vB
 */
export const onTurnover = (state: CoordinatorLive, feerate: number, env: Env): Step<CoordinatorLive> => {
  const { payoutScript: destination } = state.request;
  const signed = unsignedTurnovers(state.live, destination, feerate).map((subtree) => signTurnover(state, subtree, feerate, env));
  if (signed.length === 0) return step(state);
  const live = { ...state.live, turnovers: [...(state.live.turnovers ?? []), ...signed.map((s) => s.turnover)] };
  const text = signed.map(({ turnover: { from, to } }) => `${from} to ${to - 1}`).join(', ');
  return step({ ...state, live }, [{ kind: 'log', level: 'info', text: `taking back what clients ${text} have left` }, ...plan(live, 'coordinator')], {
    signOnce: signed.map((s) => signOnceOf(s.signable)),
  });
};

const signTurnover = (state: CoordinatorLive, subtree: HeldSubtree, feerate: number, env: Env): { readonly turnover: Turnover; readonly signable: Signable } => {
  const { from, to, output } = subtree;
  const { payoutScript: destination } = state.request;
  const signable = buildTurnover(state.live.spec, subtree, output, destination, feerate);
  const held = state.live.branches.slice(from, to).map((b) => env.signer.held(present(b.heldKey)));
  const signature = signAlone(signable, [env.signer, ...held], `${state.request.instanceId}/turnover/${signable.txid}`);
  return { turnover: { from, to, destination, feerate, signature }, signable };
};

/**
 * A MuSig2 session of signers that are all here.
 * @param signers in the order of the signable's
 * @throws MusigError when the result does not verify: then one of them is not who it should be
 */
const signAlone = (s: Signable, signers: readonly Signer[], attempt: string): SchnorrSignature => {
  try {
    const aggregate = aggregateNonces(signers.map((signer) => signer.nonce(attempt, s)));
    const signature = aggregatePartials(s, aggregate, signers.map((signer) => signer.sign(attempt, s, aggregate)));
    if (!verifyFinal(s, signature)) throw new MusigError('bad_partial', 'what this node has signed alone does not verify');
    return signature;
  } finally {
    for (const signer of signers) signer.drop(attempt);
  }
};
