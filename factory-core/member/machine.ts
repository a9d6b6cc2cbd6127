/** The member as a pure function of state and event. It never signs what it has not derived (architecture 5). */
import type { FactoryMessage } from '../../blip/messages.js';
import { AbortCode } from '../protocol/abort-codes.js';
import type { Effect, Event, Step } from '../protocol/effects.js';
import { andThen, step } from '../protocol/effects.js';
import type { Txid } from '../../blip/brands.js';
import { leafOf } from '../live/paths.js';
import { present } from '../protocol/present.js';
import { fundingStatus, onChain } from '../live/custody.js';
import { isPurchaseMessage } from '../live/purchasing.js';
import { exitFrom, plan, retire } from '../live/plan.js';
import { onClosing } from './closing.js';
import { onLeaving } from './leaving.js';
import { onMigrating, stayed } from './migrating.js';
import { commonOf, createKey, joinMessage, LOST_NONCES, onSpec, refuse, reply } from './joining.js';
import { memberLeaf, onAudited, onOpeningMessage, openingAnswer } from './opening.js';
import { onPurchase } from './purchase.js';
import { onSigning } from './signing.js';
import type { Joined, MemberAborted, MemberEnv, MemberLive, MemberState, Opening, Signing } from './state.js';

export { join } from './joining.js';

/** An invitation that leads nowhere is forgotten after so many blocks. */
const STALE_BLOCKS = 144;
/** BOLT 2's patience with a funding transaction that does not appear. */
const FUNDING_PATIENCE = 2016;

/**
 * @param event what happened; a message is from this factory's coordinator (the shell checks), of any attempt
 * @throws never for anything a peer can cause
 */
export const memberStep = (state: MemberState, event: Event, env: MemberEnv): Step<MemberState> => {
  if (event.type === 'message' && event.from !== state.coordinator) return step(state);
  switch (state.phase) {
    case 'aborted':
      return onAborted(state, event, env);
    case 'live':
      return onLive(state, event, env);
    case 'joined':
    case 'signing':
    case 'opening':
      return onCreating(state, event, env);
  }
};

/**
 * After lost nonces the coordinator may ask us again, with a later attempt. For the rest, what it asks shows that it has
 * missed that we are out: it is told again, rather than left waiting.
 */
const onAborted = (state: MemberAborted, event: Event, env: MemberEnv): Step<MemberState> => {
  if (event.type !== 'message' || !ASKS.has(event.message.type) || event.attempt < state.attempt) return step(state);
  const lost = state.reason === LOST_NONCES;
  if (lost && event.message.type === 'spec' && event.attempt > state.attempt) return onSpec(state, event.attempt, event.message, env);
  const code = lost ? AbortCode.LostNonces : AbortCode.Cancelled;
  return step(state, [reply({ ...state, attempt: event.attempt }, { type: 'abort', code, reason: lost ? LOST_NONCES : 'this node is not in it any more' })]);
};
/** What the coordinator waits for an answer to, while it creates the factory. */
const ASKS: ReadonlySet<FactoryMessage['type']> = new Set(['invite', 'spec', 'aggregate_nonces', 'signatures', 'open_intent', 'leaf', 'leaf_signature', 'channel_opened']);

type Creating = Joined | Signing | Opening;

const onCreating = (state: Creating, event: Event, env: MemberEnv): Step<MemberState> => {
  switch (event.type) {
    case 'message':
      return cleared(state, onCreatingMessage(state, event.attempt, event.message, env), env);
    case 'audited':
      return state.phase === 'opening' ? cleared(state, onAudited(state, event, env), env) : step(state);
    case 'peer_connected':
      return step(state, event.peer === state.coordinator ? lastAnswer(state) : []);
    case 'restarted':
      return cleared(state, onRestart(state), env);
    case 'abort_requested':
      return cleared(state, refuse(commonOf(state), event.reason, AbortCode.Cancelled), env);
    case 'block_connected': {
      const start = state.phase === 'joined' ? state.since : state.spec.startHeight;
      return event.height > start + STALE_BLOCKS ? cleared(state, giveUp(state, 'the coordinator did not go on'), env) : step(state);
    }
    default:
      return step(state);
  }
};

/** Said again after a reconnection: it may have been lost, and an answer tells us if the coordinator has gone on without us. */
const lastAnswer = (state: Creating): Effect[] => {
  switch (state.phase) {
    case 'joined':
      return [joinMessage(state)];
    case 'signing':
      return [reply(state, state.partials ? { type: 'partials', partials: state.partials } : { type: 'nonces', nonces: state.nonces })];
    case 'opening':
      return [reply(state, openingAnswer(state.leaf))];
  }
};

/** Whatever ends or replaces an attempt, its nonces and its channel go. */
const cleared = (state: Creating, next: Step<MemberState>, env: MemberEnv): Step<MemberState> => {
  if (next.state.phase !== 'aborted' && next.state.attempt === state.attempt) return next;
  forget(state, env);
  return { ...next, effects: [...discard(state), ...next.effects] };
};

const onCreatingMessage = (state: Creating, attempt: number, message: FactoryMessage, env: MemberEnv): Step<MemberState> => {
  if (message.type === 'abort') {
    return attempt >= state.attempt ? giveUp(state, `the coordinator: ${message.reason}`) : step(state);
  }
  // A later attempt replaces this one, with fresh nonces; whatever the old one signed can never be published.
  if (message.type === 'spec' && (attempt > state.attempt || (state.phase === 'joined' && attempt === state.attempt))) {
    return onSpec(state, attempt, message, env);
  }
  if (attempt !== state.attempt) return step(state);
  switch (state.phase) {
    case 'joined':
      return step(state, message.type === 'invite' ? [joinMessage(state)] : []);
    case 'signing':
      return onSigning(state, message, env);
    case 'opening':
      return onOpeningMessage(state, message, env);
  }
};

const forget = (state: Creating, env: MemberEnv): void => {
  env.signer.drop(createKey(state));
  env.signer.drop(`${createKey(state)}/leaf`);
};

/** The channel CLN may have for the leaf of an attempt that is over. */
const discard = (state: Creating): Effect[] => {
  if (state.phase !== 'opening' || !('channelScript' in state.leaf)) return [];
  const { txid } = memberLeaf(state.spec, state.member, state.leaf.channelScript);
  return [{ kind: 'discard_channels', peers: [state.coordinator], fundingTxids: [txid] }];
};

/** Nothing of ours is in the factory before it is live: giving up costs nothing. */
const giveUp = (state: Creating, reason: string): Step<MemberState> =>
  step({ ...commonOf(state), phase: 'aborted', reason }, [{ kind: 'log', level: 'info', text: `aborted: ${reason}` }], { cancelPending: true });

const onRestart = (state: Creating): Step<MemberState> => {
  if (state.phase === 'joined') return step(state);
  // Once the leaf is signed there is no secret nonce to lose: go on from what is stored.
  if (state.phase === 'opening' && (state.leaf.step === 'complete' || state.leaf.step === 'auditing')) return step(state);
  return refuse(commonOf(state), LOST_NONCES, AbortCode.LostNonces);
};

/** The factory itself first; then, if there still is one, what is being bought out of it. */
const onLive = (state: MemberLive, event: Event, env: MemberEnv): Step<MemberState> => {
  if (event.type === 'message' && isPurchaseMessage(event.message)) return onPurchase(state, event, env);
  return andThen(onFactory(state, event, env), (s) => (event.type === 'message' || s.phase !== 'live' ? step(s) : onPurchase(s, event, env)));
};

const onFactory = (state: MemberLive, event: Event, env: MemberEnv): Step<MemberState> => {
  const { chain, spec } = state.live;
  switch (event.type) {
    case 'block_connected':
    case 'block_disconnected': {
      const { live, effects } = retire(onChain(state.live, event));
      if (live.chain.badFunding !== undefined && chain.badFunding === undefined) {
        effects.push({ kind: 'log', level: 'broken', text: `${live.chain.badFunding}: the coordinator cheats; nothing goes over this channel` });
      }
      if (!live.chain.everFunded && live.chain.tip > spec.startHeight + FUNDING_PATIENCE) {
        const aborted: MemberAborted = { ...commonOf(state), phase: 'aborted', reason: 'the funding transaction never appeared' };
        return step(aborted, [{ kind: 'discard_channels', peers: [], fundingTxids: [leafTxid(state)] }]);
      }
      // With its factory it ends, or comes to the chain; what has not been moved by now goes that way.
      const kept = fundingStatus(live).kind === 'spent' ? stayed(state) : state;
      return step({ ...kept, live }, [...plan(live, 'member'), ...effects]);
    }
    case 'exit_requested': {
      if (state.live.handedOver) return step(state);
      const exits = { ...state.live.exits, [state.member]: exitFrom(state.live.exits[state.member], chain.tip, event.by) };
      const live = { ...state.live, exits };
      return step({ ...stayed(state), live }, plan(live, 'member'));
    }
    case 'restarted': {
      const next = onClosing(state, event, env);
      return { ...next, effects: [...next.effects, ...plan(next.state.live, 'member')] };
    }
    case 'next_active':
    case 'balance_moved':
    case 'balance_settled':
    case 'owed_received':
      return onMigrating(state, event, env);
    case 'leave_requested':
      return onLeaving(state, event);
    case 'peer_connected':
      if (state.migration) return onMigrating(state, event, env);
      if (state.leaving) return onLeaving(state, event);
      // The coordinator may have missed that we are ready.
      if (event.peer !== state.coordinator || chain.fundingHeight !== undefined) return step(state);
      return step(state, [{ kind: 'send', to: state.coordinator, attempt: state.attempt, message: { type: 'ready' } }]);
    case 'message':
      return onLiveMessage(state, event.attempt, event.message, env);
    default:
      return onClosing(state, event, env);
  }
};

/**
 * Before the funding transaction is seen, the coordinator may still call it off, or start anew without somebody else
 * (architecture 5.6). Nothing can be in the channel by then: HTLCs are refused until it is active.
 */
const onLiveMessage = (state: MemberLive, attempt: number, message: FactoryMessage, env: MemberEnv): Step<MemberState> => {
  const unpublished = !state.live.chain.everFunded;
  if (unpublished && message.type === 'channel_opened' && attempt === state.attempt) {
    return step(state, [{ kind: 'send', to: state.coordinator, attempt, message: { type: 'ready' } }]);
  }
  if (unpublished && message.type === 'abort' && message.code !== AbortCode.CloseGivenUp && attempt >= state.attempt && !state.closing) {
    const aborted: MemberAborted = { ...commonOf(state), phase: 'aborted', reason: `the coordinator: ${message.reason}` };
    return step(aborted, [{ kind: 'discard_channels', peers: [], fundingTxids: [leafTxid(state)] }], { cancelPending: true });
  }
  if (unpublished && message.type === 'spec' && attempt > state.attempt) {
    const next = onSpec(state, attempt, message, env);
    return { ...next, effects: [{ kind: 'discard_channels', peers: [], fundingTxids: [leafTxid(state)] }, ...next.effects] };
  }
  const event = { type: 'message', from: state.coordinator, attempt, message } as const;
  if (message.type === 'leave_noted') return onLeaving(state, event);
  if (message.type === 'migrate' || message.type === 'key_received') return onMigrating(state, event, env);
  return onClosing(state, event, env);
};

const leafTxid = (state: MemberLive): Txid => leafOf(state.live, present(state.live.branches[0])).signable.txid;
