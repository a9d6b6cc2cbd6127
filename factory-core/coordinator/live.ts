/** The coordinator's factory once its funding transaction is out. */
import { AbortCode } from '../protocol/abort-codes.js';
import type { Effect, Event, Step } from '../protocol/effects.js';
import { andThen, step } from '../protocol/effects.js';
import { onChain, voidReason } from '../live/custody.js';
import { exitFrom, plan, retire, sweeps } from '../live/plan.js';
import { beginClose, onClosing } from './closing.js';
import { onLeave } from './leaving.js';
import { onMigrationBlock, onMigrating } from './migrating.js';
import { onRotating } from './rotating.js';
import { memberIndex, sendTo } from './ceremony.js';
import { isPurchaseMessage } from '../live/purchasing.js';
import { onPurchase } from './purchase.js';
import type { CoordinatorLive, CoordinatorState, Env } from './state.js';
import { onTurnover } from './turnover.js';

/** The factory itself first; then, if there still is one, what is being sold out of it. */
export const onLive = (state: CoordinatorLive, event: Event, env: Env): Step<CoordinatorState> => {
  if (event.type === 'message' && isPurchaseMessage(event.message)) return onPurchase(state, event, env);
  return andThen(onFactory(state, event, env), (s) => (event.type === 'message' ? step(s) : onPurchase(s, event, env)));
};

const onFactory = (state: CoordinatorLive, event: Event, env: Env): Step<CoordinatorLive> => {
  switch (event.type) {
    case 'block_connected':
    case 'block_disconnected': {
      const { live, effects } = retire(onChain(state.live, event));
      const moving = event.type === 'block_connected' ? onMigrationBlock({ ...state, live }) : step({ ...state, live });
      return step(moving.state, [
        ...plan(live, 'coordinator'),
        ...sweeps(live, state.request.payoutScript),
        ...effects,
        ...moving.effects,
        ...(voidReason(state.live) === undefined ? callOff(state, voidReason(live)) : []),
      ]);
    }
    case 'exit_requested': {
      const since = state.live.chain.tip;
      const added = event.members.filter((m) => state.live.branches[m]).map((m) => [m, exitFrom(state.live.exits[m], since, event.by)] as const);
      const live = { ...state.live, exits: { ...state.live.exits, ...Object.fromEntries(added) } };
      return step({ ...state, live }, plan(live, 'coordinator'));
    }
    case 'close_requested':
      return beginClose(state, event.feerate, env);
    case 'turnover_requested':
      return onTurnover(state, event.feerate, env);
    case 'restarted': {
      const next = onClosing(state, event, env);
      return { ...next, effects: [...next.effects, ...plan(next.state.live, 'coordinator')] };
    }
    case 'peer_connected': {
      // A member may have missed that it is published: nothing is lost by saying so again.
      const index = memberIndex(state.members, event.peer);
      const closing = onClosing(state, event, env);
      const next = { ...closing, effects: [...closing.effects, ...onMigrating(closing.state, event).effects] };
      if (index < 0 || state.live.chain.fundingHeight !== undefined) return next;
      const published = { type: 'published', fundingTxid: state.live.spec.funding.txid } as const;
      return { ...next, effects: [...next.effects, sendTo(event.peer, state.attempt, published)] };
    }
    case 'message': {
      // A member that begins the creation anew is behind; it may leave by what it has stored.
      if (event.message.type === 'abort' && event.message.code === AbortCode.LostNonces && !state.closing) return step(state);
      if (event.message.type === 'migrating' || event.message.type === 'migrated' || event.message.type === 'key_handover') return onMigrating(state, event);
      if (event.message.type === 'leave') return onLeave(state, event);
      return onClosing(state, event, env);
    }
    case 'rotation_begun':
    case 'rotation_ended':
    case 'rotation_postponed':
      return onRotating(state, event);
    case 'migrate_requested':
    case 'owed_paid':
    case 'owed_refused':
      return onMigrating(state, event);
    default:
      return onClosing(state, event, env);
  }
};

/** A member that has never seen the funding transaction cannot know that it will not come. */
const callOff = (state: CoordinatorLive, reason: string | undefined): Effect[] => {
  if (reason === undefined) return [];
  const message = { type: 'abort', code: AbortCode.Cancelled, reason } as const;
  return [...state.members.map((m) => sendTo(m.nodeId, state.attempt, message)), { kind: 'log', level: 'unusual', text: `aborted: ${reason}` }];
};
