/** R2 to R4: nonces, partial signatures, final signatures of the tree and the distribution (architecture 5.2–5.4). */
import type { AggregateNonce, NodeId, PartialSignature, PublicNonce, SchnorrSignature, Txid } from '../../blip/brands.js';
import type { AggregateNonces, FactoryMessage, Signatures, Spec } from '../../blip/messages.js';
import { AbortCode } from '../protocol/abort-codes.js';
import type { Effect, Event, Step } from '../protocol/effects.js';
import { signOnceOf, step } from '../protocol/effects.js';
import { present, withAt } from '../protocol/present.js';
import { aggregateNonces, findCulprits, MusigError, verifyFinal } from '../musig/index.js';
import type { Signable } from '../model.js';
import { treeOf } from '../tree-of.js';
import { pathOf } from '../transactions.js';
import { attemptKey, evict, memberIndex, retry, sendTo, tryAggregate, type Culprit } from './ceremony.js';
import { beginOpening } from './opening.js';
import type { CoordinatorState, Env, Signing } from './state.js';

type At<S extends Signing['progress']['step']> = Signing & { readonly progress: Extract<Signing['progress'], { step: S }> };

/** Everything member `index` signs, in the order of the messages: its splits from the root, then the distribution. */
export const signablesOf = (state: Pick<Signing, 'spec'>, index: number): readonly Signable[] => {
  const path = pathOf(treeOf(state.spec), index);
  return [...path.splits, path.distribution];
};

/** All transactions of the tree, and the distribution. */
const allSignables = (state: Pick<Signing, 'spec'>): readonly Signable[] => {
  const tree = treeOf(state.spec);
  return [...tree.splits, tree.distribution];
};

const timer = (state: Signing): Effect => ({
  kind: 'timer',
  name: timerName(state),
  seconds: state.request.stepTimeout,
});
const timerName = (state: Signing): string => `${String(state.attempt)}/${state.progress.step}`;

const specFor = (state: Signing, index: number): Spec => ({
  type: 'spec',
  coordinatorKey: state.spec.coordinatorKey,
  memberIndex: index,
  roster: state.spec.roster,
  fanouts: state.spec.fanouts,
  startHeight: state.spec.startHeight,
  expiryHeight: state.spec.expiryHeight,
  funding: state.spec.funding,
  fundingAmount: state.spec.fundingAmount,
});

/** What member `index` still owes an answer to, if anything: sent at first, and again when it reconnects. */
const outstanding = (state: Signing, index: number): FactoryMessage | undefined => {
  const { progress } = state;
  switch (progress.step) {
    case 'nonces':
      return progress.nonces[index] ? undefined : specFor(state, index);
    case 'partials':
      return progress.partials[index] ? undefined : aggregatesFor(state, progress.aggregates, index);
    case 'storing':
      return progress.stored[index] ? undefined : signaturesFor(state, progress.signatures, index);
  }
};
const aggregatesFor = (state: Signing, all: Readonly<Record<Txid, AggregateNonce>>, index: number): AggregateNonces => ({
  type: 'aggregate_nonces',
  nonces: signablesOf(state, index).map((s) => present(all[s.txid])),
});
const signaturesFor = (state: Signing, all: Readonly<Record<Txid, SchnorrSignature>>, index: number): Signatures => ({
  type: 'signatures',
  signatures: signablesOf(state, index).map((s) => present(all[s.txid])),
});

const ask = (state: Signing): Effect[] => [
  ...state.members.flatMap((m, i) => {
    const message = outstanding(state, i);
    return message ? [sendTo(m.nodeId, state.attempt, message)] : [];
  }),
  timer(state),
  { kind: 'progress', text: state.progress.step, done: 0, total: state.members.length },
];

export const beginSigning = (state: Signing): Step<Signing> => step(state, ask(state));

export const onSigning = (state: Signing, event: Event, env: Env): Step<CoordinatorState> => {
  switch (event.type) {
    case 'message': {
      const index = memberIndex(state.members, event.from);
      if (index < 0 || event.attempt !== state.attempt) return step(state);
      return onMessage(state, index, event.message, env);
    }
    case 'peer_connected': {
      const index = memberIndex(state.members, event.peer);
      const message = index < 0 ? undefined : outstanding(state, index);
      return step(state, message ? [sendTo(event.peer, state.attempt, message)] : []);
    }
    case 'timeout': {
      if (event.name !== timerName(state)) return step(state);
      const reason = `no valid answer to ${outstandingName(state)} within ${String(state.request.stepTimeout)} s`;
      return evict(state, state.members.flatMap((m, i) => (outstanding(state, i) ? [{ nodeId: m.nodeId, reason }] : [])), env);
    }
    default:
      return step(state);
  }
};

const outstandingName = (state: Signing): string =>
  ({ nonces: 'spec', partials: 'aggregate_nonces', storing: 'signatures' })[state.progress.step];

const onMessage = (state: Signing, index: number, message: FactoryMessage, env: Env): Step<CoordinatorState> => {
  const nodeId = present(state.members[index]).nodeId;
  if (message.type === 'abort') {
    if (message.code === AbortCode.LostNonces) return retry(state, `${nodeId}: ${message.reason}`, env);
    return evict(state, [{ nodeId, reason: `aborted: ${message.reason}` }], env);
  }
  const { progress } = state;
  if (progress.step === 'nonces' && message.type === 'nonces') return onNonces({ ...state, progress }, index, message.nonces, env);
  if (progress.step === 'partials' && message.type === 'partials') return onPartials({ ...state, progress }, index, message.partials, env);
  if (progress.step === 'storing' && message.type === 'stored') return onStored({ ...state, progress }, index, env);
  return step(state); // late or early: ignored
};

const wrongCount = (nodeId: NodeId, what: string, got: number, want: number): Culprit => ({
  nodeId,
  reason: `sent ${String(got)} ${what}, expected ${String(want)}`,
});

const onNonces = (state: At<'nonces'>, index: number, nonces: readonly PublicNonce[], env: Env): Step<CoordinatorState> => {
  if (state.progress.nonces[index]) return step(state); // first write wins
  const want = signablesOf(state, index).length;
  const { nodeId } = present(state.members[index]);
  if (nonces.length !== want) return evict(state, [wrongCount(nodeId, 'nonces', nonces.length, want)], env);
  const all = withAt(state.progress.nonces, index, nonces);
  const complete = all.filter((n) => n !== null);
  if (complete.length < all.length) {
    return step({ ...state, progress: { step: 'nonces', nonces: all } }, [
      { kind: 'progress', text: 'nonces', done: complete.length, total: all.length },
    ]);
  }
  return askPartials(state, complete, env);
};

const askPartials = (state: Signing, nonces: readonly (readonly PublicNonce[])[], env: Env): Step<CoordinatorState> => {
  const aggregates: Record<Txid, AggregateNonce> = {};
  for (const s of allSignables(state)) {
    const own = env.signer.nonce(attemptKey(state), s);
    const members = signersAmong(state, s);
    try {
      aggregates[s.txid] = aggregateNonces([own, ...members.map((i) => nonceOf(state, nonces, i, s))]);
    } catch (error) {
      // BIP-327 NonceAgg names whose nonce is not a point. Index 0 is ours.
      const culprit = error instanceof MusigError && error.index ? members[error.index - 1] : undefined;
      if (culprit === undefined) throw error;
      return evict(state, [{ nodeId: present(state.members[culprit]).nodeId, reason: 'sent an invalid nonce' }], env);
    }
  }
  const next: Signing = { ...state, progress: { step: 'partials', nonces, aggregates, partials: state.members.map(() => null) } };
  return step(next, ask(next));
};

/** Roster indexes of the clients that sign `s`, in signing order. */
const signersAmong = (state: Pick<Signing, 'spec'>, s: Signable): readonly number[] => {
  const byKey = new Map(state.spec.roster.map((r, i) => [r.key, i]));
  return s.signers.slice(1).map((key) => present(byKey.get(key)));
};

const positionOf = (state: Pick<Signing, 'spec'>, index: number, s: Signable): number =>
  signablesOf(state, index).findIndex((x) => x.txid === s.txid);
const nonceOf = (state: Signing, nonces: readonly (readonly PublicNonce[])[], index: number, s: Signable): PublicNonce =>
  present(nonces[index]?.[positionOf(state, index, s)]);

const onPartials = (state: At<'partials'>, index: number, partials: readonly PartialSignature[], env: Env): Step<CoordinatorState> => {
  if (state.progress.partials[index]) return step(state); // first write wins
  const want = signablesOf(state, index).length;
  const { nodeId } = present(state.members[index]);
  if (partials.length !== want) return evict(state, [wrongCount(nodeId, 'partial signatures', partials.length, want)], env);
  const all = withAt(state.progress.partials, index, partials);
  const complete = all.filter((p) => p !== null);
  if (complete.length < all.length) {
    return step({ ...state, progress: { ...state.progress, partials: all } }, [
      { kind: 'progress', text: 'partial signatures', done: complete.length, total: all.length },
    ]);
  }
  return combine(state, complete, env);
};

/**
 * Signs last, aggregates, and verifies every final signature (architecture 12.7). Only when one does not hold are the
 * partial ones checked, to find who sent a bad one (12.14).
 */
const combine = (state: At<'partials'>, partials: readonly (readonly PartialSignature[])[], env: Env): Step<CoordinatorState> => {
  const { aggregates, nonces } = state.progress;
  const signatures: Record<Txid, SchnorrSignature> = {};
  const signables = allSignables(state);
  for (const s of signables) {
    const aggregate = present(aggregates[s.txid]);
    const members = signersAmong(state, s);
    const ownNonce = env.signer.nonce(attemptKey(state), s);
    const own = env.signer.sign(attemptKey(state), s, aggregate);
    const theirs = members.map((i) => present(partials[i]?.[positionOf(state, i, s)]));
    const signature = tryAggregate(s, aggregate, [own, ...theirs]);
    if (signature !== undefined && verifyFinal(s, signature)) {
      signatures[s.txid] = signature;
      continue;
    }
    const publicNonces = [ownNonce, ...members.map((i) => nonceOf(state, nonces, i, s))];
    const culprits = findCulprits(s, aggregate, publicNonces, [own, ...theirs]).filter((at) => at > 0);
    const named = culprits.map((at) => ({
      nodeId: present(state.members[present(members[at - 1])]).nodeId,
      reason: `sent a bad partial signature for ${s.txid}`,
    }));
    if (named.length > 0) return evict(state, named, env);
    return retry(state, `the signature for ${s.txid} does not verify and no partial signature is to blame`, env);
  }
  const next: Signing = { ...state, progress: { step: 'storing', signatures, stored: state.members.map(() => false) } };
  return step(next, ask(next), { signOnce: signables.map(signOnceOf) });
};

const onStored = (state: At<'storing'>, index: number, env: Env): Step<CoordinatorState> => {
  const stored = withAt(state.progress.stored, index, true);
  const { signatures } = state.progress;
  const next: Signing = { ...state, progress: { step: 'storing', signatures, stored } };
  if (!stored.every((x) => x)) return step(next);
  env.signer.drop(attemptKey(state));
  return beginOpening(next, signatures);
};
