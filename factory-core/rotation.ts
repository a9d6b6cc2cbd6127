/** Where members are on their way from one factory to the next, as both roles see it. */
import type { CoordinatorLive } from './coordinator/state.js';
import type { MemberLive } from './member/state.js';

/**
 * `moving`: what the coordinator sends takes another channel if it can. `moved`: nothing goes over the channels of this branch
 * any more, from either side's point of view.
 */
export type Rotation = 'stays' | 'moving' | 'moved';

export const rotationOf = (state: CoordinatorLive | MemberLive, member: number): Rotation => {
  const step = state.role === 'member' ? state.migration?.step : state.migrations?.[member]?.step;
  switch (step) {
    case undefined:
    case 'asked':
    case 'waiting':
      return 'stays';
    case 'moving':
    case 'recounting':
      return 'moving';
    case 'refused':
    case 'paying':
    case 'paid':
    case 'done':
    case 'settling':
    case 'owed':
    case 'handing_over':
    case 'handed_over':
      return 'moved';
  }
};
