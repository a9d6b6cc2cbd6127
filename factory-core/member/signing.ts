/** Partial signatures for what this member has derived itself, then the final ones (architecture 5.3, 5.4). */
import type { AggregateNonce, SchnorrSignature, Txid } from '../../blip/brands.js';
import type { FactoryMessage } from '../../blip/messages.js';
import type { Step } from '../protocol/effects.js';
import { signOnceOf, step } from '../protocol/effects.js';
import { present } from '../protocol/present.js';
import { isOwnNonceLost, MusigError, verifyFinal } from '../musig/index.js';
import { AbortCode } from '../protocol/abort-codes.js';
import { commonOf, createKey, LOST_NONCES, refuse, reply, signablesOf } from './joining.js';
import type { MemberEnv, MemberState, Opening, Signing } from './state.js';

export const onSigning = (state: Signing, message: FactoryMessage, env: MemberEnv): Step<MemberState> => {
  switch (message.type) {
    case 'spec':
      // Asked again after a reconnection: the same nonces, which sign once whatever is asked.
      return step(state, state.partials ? [] : [reply(state, { type: 'nonces', nonces: state.nonces })]);
    case 'aggregate_nonces':
      return onAggregates(state, message.nonces, env);
    case 'signatures':
      return onSignatures(state, message.signatures, env);
    default:
      return step(state);
  }
};

const onAggregates = (state: Signing, aggregates: readonly AggregateNonce[], env: MemberEnv): Step<MemberState> => {
  // First write wins: a second set of aggregates gets the first answer, never a second signature.
  if (state.partials) return step(state, [reply(state, { type: 'partials', partials: state.partials })]);
  const signables = signablesOf(state.spec, state.member);
  if (aggregates.length !== signables.length) {
    return refuse(commonOf(state), `aggregate_nonces: ${String(aggregates.length)} of them, expected ${String(signables.length)}`);
  }
  const key = createKey(state);
  try {
    const partials = signables.map((s, i) => env.signer.sign(key, s, present(aggregates[i])));
    const next: Signing = { ...state, partials };
    // The sign-once record is stored with this state, before the answer leaves (architecture 12.6).
    return step(next, [reply(next, { type: 'partials', partials })], { signOnce: signables.map(signOnceOf) });
  } catch (error) {
    if (!(error instanceof MusigError)) throw error;
    env.signer.drop(key);
    if (isOwnNonceLost(error)) return refuse(commonOf(state), LOST_NONCES, AbortCode.LostNonces);
    return refuse(commonOf(state), `aggregate_nonces: ${error.message}`);
  }
};

const onSignatures = (state: Signing, signatures: readonly SchnorrSignature[], env: MemberEnv): Step<MemberState> => {
  if (!state.partials) return step(state);
  const signables = signablesOf(state.spec, state.member);
  const bad = signables.findIndex((s, i) => {
    const signature = signatures[i];
    return signature === undefined || !verifyFinal(s, signature);
  });
  if (bad >= 0 || signatures.length !== signables.length) {
    return refuse(commonOf(state), `signatures: number ${String(bad < 0 ? signables.length : bad)} does not verify`);
  }
  env.signer.drop(createKey(state));
  const byTxid: Record<Txid, SchnorrSignature> = Object.fromEntries(signables.map((s, i) => [s.txid, present(signatures[i])]));
  const next: Opening = {
    ...commonOf(state),
    phase: 'opening',
    spec: state.spec,
    member: state.member,
    signatures: byTxid,
    leaf: { step: 'stored' },
  };
  return step(next, [reply(next, { type: 'stored' })]);
};
