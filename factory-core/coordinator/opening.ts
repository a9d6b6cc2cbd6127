/** Step 5: each client's leaf and channel, side by side, each without the others (architecture 5.5). */
import type { ChannelId, Script, SchnorrSignature, Txid } from '../../blip/brands.js';
import { encodeChannelInFactory } from '../../blip/channel-in-factory.js';
import type { FactoryMessage } from '../../blip/messages.js';
import { FACTORY_PROTOCOL_ID } from '../../blip/protocol-id.js';
import { AbortCode } from '../protocol/abort-codes.js';
import type { Effect, Event, Step } from '../protocol/effects.js';
import { signOnceOf, step } from '../protocol/effects.js';
import { present, withAt } from '../protocol/present.js';
import { factoryEarlyWarningTime } from '../exit-plan.js';
import { aggregateNonces, aggregatePartials, isOwnNonceLost, MusigError, verifyFinal } from '../musig/index.js';
import { base, evict, leafKey, memberIndex, retry, sendTo } from './ceremony.js';
import { coordinatorLeaf } from './leaf.js';
import { beginArming } from './arming.js';
import type { CoordinatorState, Env, LeafProgress, Opening, Signing } from './state.js';

export const beginOpening = (from: Signing, signatures: Readonly<Record<Txid, SchnorrSignature>>): Step<Opening> => {
  const state: Opening = {
    ...base(from),
    phase: 'opening',
    members: from.members,
    spec: from.spec,
    reserved: from.reserved,
    signatures,
    leaves: from.members.map(() => ({ step: 'intent' })),
  };
  return step(state, [
    ...state.members.flatMap((_, i) => moved(state, i)),
    { kind: 'progress', text: 'opening channels', done: 0, total: state.members.length },
  ]);
};

const timerName = (state: Opening, index: number): string =>
  `${String(state.attempt)}/leaf/${String(index)}/${present(state.leaves[index]).step}`;

/** What client `index` is to be told in its present step; nothing while CLN works. */
const outstanding = (state: Opening, index: number): FactoryMessage | undefined => {
  const leaf = present(state.leaves[index]);
  switch (leaf.step) {
    case 'intent':
      return { type: 'open_intent', channelInFactory: channelInFactory(state), fundingAmount: present(state.spec.roster[index]).capacity };
    case 'signing':
      return { type: 'leaf', channelScript: leaf.channelScript, nonce: leaf.nonce };
    case 'storing':
      return { type: 'leaf_signature', signature: leaf.signature };
    case 'auditing':
      return { type: 'channel_opened', channelId: leaf.channelId };
    case 'starting':
    case 'completing':
    case 'ready':
      return undefined;
  }
};

const channelInFactory = (state: Opening) =>
  encodeChannelInFactory({
    protocolId: FACTORY_PROTOCOL_ID,
    instanceId: state.spec.instanceId,
    earlyWarningTime: factoryEarlyWarningTime(state.spec),
  });

/** The effects of having entered a step: the message, if any, and a deadline. */
const moved = (state: Opening, index: number): Effect[] => {
  const message = outstanding(state, index);
  const { nodeId } = present(state.members[index]);
  return [
    ...(message ? [sendTo(nodeId, state.attempt, message)] : []),
    { kind: 'timer', name: timerName(state, index), seconds: state.request.stepTimeout },
  ];
};

const at = (state: Opening, index: number, leaf: LeafProgress): Opening => ({ ...state, leaves: withAt(state.leaves, index, leaf) });

export const onOpening = (state: Opening, event: Event, env: Env): Step<CoordinatorState> => {
  switch (event.type) {
    case 'message': {
      const index = memberIndex(state.members, event.from);
      if (index < 0 || event.attempt !== state.attempt) return step(state);
      return onMessage(state, index, event.message, env);
    }
    case 'open_started':
      return event.attempt === state.attempt ? onStarted(state, event.member, event.script, env) : step(state);
    case 'open_completed':
      return event.attempt === state.attempt ? onCompleted(state, event.member, event.channelId) : step(state);
    case 'open_failed': {
      const member = state.members[event.member];
      if (event.attempt !== state.attempt || !member) return step(state);
      return evict(state, [{ nodeId: member.nodeId, reason: `its channel could not be opened: ${event.reason}` }], env);
    }
    case 'peer_connected': {
      const index = memberIndex(state.members, event.peer);
      const message = index < 0 ? undefined : outstanding(state, index);
      return step(state, message ? [sendTo(event.peer, state.attempt, message)] : []);
    }
    case 'timeout': {
      const index = state.members.findIndex((_, i) => timerName(state, i) === event.name);
      const member = state.members[index];
      if (!member || state.leaves[index]?.step === 'ready') return step(state);
      const reason = `its channel was not ready within ${String(state.request.stepTimeout)} s (${present(state.leaves[index]).step})`;
      return evict(state, [{ nodeId: member.nodeId, reason }], env);
    }
    default:
      return step(state);
  }
};

const onMessage = (state: Opening, index: number, message: FactoryMessage, env: Env): Step<CoordinatorState> => {
  const leaf = present(state.leaves[index]);
  const { nodeId, capacity } = present(state.members[index]);
  if (message.type === 'abort') {
    if (message.code === AbortCode.LostNonces) return retry(state, `${nodeId}: ${message.reason}`, env);
    return evict(state, [{ nodeId, reason: `aborted: ${message.reason}` }], env);
  }
  if (leaf.step === 'intent' && message.type === 'open_ready') {
    const next = at(state, index, { step: 'starting' });
    return step(next, [
      { kind: 'open_start', attempt: state.attempt, member: index, peer: nodeId, amount: capacity },
      ...moved(next, index),
    ]);
  }
  if (leaf.step === 'signing' && message.type === 'leaf_partial') return onPartial(state, index, leaf, message, env);
  if (leaf.step === 'storing' && message.type === 'leaf_stored') {
    const next = at(state, index, { ...leaf, step: 'completing' });
    return step(next, [
      {
        kind: 'open_complete',
        attempt: state.attempt,
        member: index,
        peer: nodeId,
        leaf: coordinatorLeaf(state, index, leaf.channelScript),
      },
      ...moved(next, index),
    ]);
  }
  if (leaf.step === 'auditing' && message.type === 'ready') {
    return onReady(at(state, index, { ...leaf, step: 'ready' }), env);
  }
  return step(state);
};

const onStarted = (state: Opening, index: number, script: Script, env: Env): Step<CoordinatorState> => {
  if (state.leaves[index]?.step !== 'starting') return step(state);
  const nonce = env.signer.nonce(leafKey(state, index), coordinatorLeaf(state, index, script));
  const next = at(state, index, { step: 'signing', channelScript: script, nonce });
  return step(next, moved(next, index));
};

/** The leaf's two signers: this node and the client. It sent nonce and partial signature at once. */
const onPartial = (
  state: Opening,
  index: number,
  { channelScript, nonce }: Extract<LeafProgress, { step: 'signing' }>,
  message: Extract<FactoryMessage, { type: 'leaf_partial' }>,
  env: Env,
): Step<CoordinatorState> => {
  const leaf = coordinatorLeaf(state, index, channelScript);
  const key = leafKey(state, index);
  const { nodeId } = present(state.members[index]);
  let signature: SchnorrSignature;
  try {
    if (env.signer.nonce(key, leaf) !== nonce) throw new MusigError('nonce_absent', 'the nonce that was sent is gone');
    const aggregate = aggregateNonces([nonce, message.nonce]);
    signature = aggregatePartials(leaf, aggregate, [env.signer.sign(key, leaf, aggregate), message.partial]);
  } catch (error) {
    if (!(error instanceof MusigError) || isOwnNonceLost(error)) throw error;
    return evict(state, [{ nodeId, reason: `sent an invalid nonce or partial signature for its leaf` }], env);
  }
  // With two signers, one of them us, a signature that does not verify has one possible culprit.
  if (!verifyFinal(leaf, signature)) return evict(state, [{ nodeId, reason: 'sent a bad partial signature for its leaf' }], env);
  const next = at(state, index, { step: 'storing', channelScript, signature });
  return step(next, moved(next, index), { signOnce: [signOnceOf(leaf)] });
};

const onCompleted = (state: Opening, index: number, channelId: ChannelId): Step<CoordinatorState> => {
  const leaf = state.leaves[index];
  if (leaf?.step !== 'completing') return step(state);
  const next = at(state, index, { ...leaf, step: 'auditing', channelId });
  return step(next, moved(next, index));
};

const onReady = (state: Opening, env: Env): Step<CoordinatorState> => {
  const ready = state.leaves.flatMap((leaf) => (leaf.step === 'ready' ? [leaf] : []));
  if (ready.length < state.leaves.length) {
    return step(state, [{ kind: 'progress', text: 'channels', done: ready.length, total: state.leaves.length }]);
  }
  return beginArming(state, ready, env);
};
