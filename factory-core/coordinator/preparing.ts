/** The funding transaction is built before anything is signed, so that its txid is known (architecture 5.2). */
import type { Event, Step } from '../protocol/effects.js';
import { step } from '../protocol/effects.js';
import { fundingRequirement } from '../transactions.js';
import type { FactorySpec } from '../model.js';
import { abort, base, evict, memberIndex } from './ceremony.js';
import { beginSigning } from './signing.js';
import type { CoordinatorState, Env, Preparing } from './state.js';

export const onPreparing = (state: Preparing, event: Event, env: Env): Step<CoordinatorState> => {
  switch (event.type) {
    case 'coins_selected': {
      if (event.attempt !== state.attempt) return step(state);
      // The coins are on disk before they are reserved, so that a crash in between can release them (12.17).
      return step({ ...state, coins: event.coins }, [
        { kind: 'prepare_funding', attempt: state.attempt, coins: event.coins, ...fundingRequirement(state.plan) },
      ]);
    }
    case 'funding_prepared': {
      if (event.attempt !== state.attempt || !state.coins) return step(state);
      const spec: FactorySpec = { ...state.plan, funding: event.funding, fundingAmount: fundingRequirement(state.plan).amount };
      return beginSigning({
        ...base(state),
        phase: 'signing',
        members: state.members,
        spec,
        reserved: { coins: state.coins, psbt: event.psbt },
        progress: { step: 'nonces', nonces: state.members.map(() => null) },
      });
    }
    case 'funding_failed':
      return event.attempt === state.attempt ? abort(state, event.reason, env) : step(state);
    case 'message': {
      const index = memberIndex(state.members, event.from);
      if (event.message.type !== 'abort' || event.attempt !== state.attempt || index < 0) return step(state);
      return evict(state, [{ nodeId: event.from, reason: `aborted: ${event.message.reason}` }], env);
    }
    default:
      return step(state);
  }
};
