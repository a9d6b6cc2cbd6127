/** Step 6: arm every channel, then publish the funding transaction (architecture 3.3, 5.6). */
import type { Event, Step } from '../protocol/effects.js';
import { step } from '../protocol/effects.js';
import { present, withAt } from '../protocol/present.js';
import { abort, base, memberIndex, sendTo } from './ceremony.js';
import { coordinatorLeaf } from './leaf.js';
import type { Arming, CoordinatorLive, CoordinatorState, Env, Opening, SignedLeaf } from './state.js';

export const beginArming = (from: Opening, leaves: readonly SignedLeaf[]): Step<Arming> => {
  const state: Arming = {
    ...base(from),
    phase: 'arming',
    members: from.members,
    spec: from.spec,
    reserved: from.reserved,
    signatures: from.signatures,
    leaves,
    armed: leaves.map(() => false),
  };
  return step(state, [
    ...leaves.map((leaf, member) => ({
      kind: 'arm' as const,
      member,
      leaf: coordinatorLeaf(state, member, leaf.channelScript),
      signature: leaf.signature,
    })),
    { kind: 'progress', text: 'arming channels', done: 0, total: leaves.length },
  ]);
};

export const onArming = (state: Arming, event: Event, env: Env): Step<CoordinatorState> => {
  switch (event.type) {
    case 'armed': {
      if (state.armed[event.member] !== false) return step(state);
      const next: Arming = { ...state, armed: withAt(state.armed, event.member, true) };
      if (!next.armed.every((x) => x)) return step(next);
      return step(next, [
        { kind: 'send_funding', psbt: state.reserved.psbt, funding: state.spec.funding },
        { kind: 'progress', text: 'publishing the funding transaction', done: 0, total: 0 },
      ]);
    }
    case 'arm_failed': {
      const { nodeId } = present(state.members[event.member]);
      return abort(state, `${nodeId}: its channel is gone (${event.reason})`, env);
    }
    case 'funding_sent':
      return goLive(state, env);
    case 'funding_rejected':
      return abort(state, `the funding transaction was rejected: ${event.reason}`, env);
    case 'message':
      // Nothing is public yet, so a client may still say no; once all are armed the transaction may be out (step 6).
      if (event.message.type === 'abort' && event.attempt === state.attempt && !state.armed.every((x) => x)) {
        const index = memberIndex(state.members, event.from);
        if (index >= 0) return abort(state, `${event.from}: aborted: ${event.message.reason}`, env);
      }
      return step(state);
    default:
      return step(state);
  }
};

const goLive = (state: Arming, env: Env): Step<CoordinatorState> => {
  const live: CoordinatorLive = {
    ...base(state),
    phase: 'live',
    members: state.members,
    closeAttempts: 0,
    live: {
      spec: state.spec,
      signatures: state.signatures,
      branches: state.members.map((m, member) => {
        const leaf = present(state.leaves[member]);
        return {
          member,
          peer: m.nodeId,
          channelId: leaf.channelId,
          channelScript: leaf.channelScript,
          leafSignature: leaf.signature,
        };
      }),
      chain: { tip: env.height, everFunded: false, spends: {} },
      exits: {},
      retired: false,
    },
  };
  const fundingTxid = state.spec.funding.txid;
  return step(live, [
    ...state.members.map((m) => sendTo(m.nodeId, state.attempt, { type: 'published', fundingTxid })),
    { kind: 'progress', text: 'published', done: 1, total: 1 },
  ]);
};
