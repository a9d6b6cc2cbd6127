/** States that an earlier version of this plugin has stored, in today's form. */
import type { Branch } from '../../factory-core/live/state.js';
import type { FactoryState } from './factory.js';

/** Before purchases, a branch had no list of them. */
export const upgraded = (state: FactoryState): FactoryState => {
  switch (state.phase) {
    case 'arming':
    case 'live':
      return { ...state, live: { ...state.live, branches: state.live.branches.map(withPurchases) } };
    default:
      return state;
  }
};

const withPurchases = (branch: Omit<Branch, 'purchases'> & Partial<Pick<Branch, 'purchases'>>): Branch => ({ ...branch, purchases: branch.purchases ?? [] });
