/** Step 6: arm every channel, then publish the funding transaction (architecture 3.3, 5.6). */
import type { FactoryMessage } from '../../blip/messages.js';
import { onChain, voidReason } from '../live/custody.js';
import { leafOf } from '../live/paths.js';
import type { Live } from '../live/state.js';
import type { Event, Step } from '../protocol/effects.js';
import { step } from '../protocol/effects.js';
import { present, withAt } from '../protocol/present.js';
import { abort, base, forget, memberIndex, sendTo } from './ceremony.js';
import type { Arming, CoordinatorLive, CoordinatorState, Env, Opening, SignedLeaf } from './state.js';

export const beginArming = (from: Opening, leaves: readonly SignedLeaf[], env: Env): Step<Arming> => {
  const { members, spec, reserved, signatures } = from;
  const live: Live = {
    spec,
    signatures,
    branches: members.map(({ nodeId }, member) => {
      const { channelId, channelScript, signature } = present(leaves[member]);
      return { member, peer: nodeId, channelId, channelScript, leafSignature: signature, purchases: [] };
    }),
    chain: { tip: env.height, everFunded: false, fundingInputs: reserved.coins, spends: {} },
    exits: {},
    retired: false,
  };
  forget(from, env);
  const state: Arming = { ...base(from), phase: 'arming', members, spec, reserved, live, armed: members.map(() => false) };
  return step(state, [
    ...live.branches.map((branch) => {
      const { signable, signature } = leafOf(live, branch);
      return { kind: 'arm' as const, member: branch.member, leaf: signable, signature };
    }),
    { kind: 'progress', text: 'arming channels', done: 0, total: members.length },
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
      return goLive(state);
    case 'funding_rejected':
      return abort(state, `the funding transaction was rejected: ${event.reason}`, env);
    case 'block_connected': {
      const next: Arming = { ...state, live: onChain(state.live, event) };
      // The chain knows better than the outbox whether it was sent: by the time this node is back after a crash its output
      // may be spent, by somebody's exit, and then nothing else tells.
      if (next.live.chain.fundingHeight !== undefined) return { ...goLive(next), cancelPending: true };
      const never = voidReason(next.live);
      return never === undefined ? step(next) : abort(next, never, env);
    }
    case 'block_disconnected':
      return step({ ...state, live: onChain(state.live, event) });
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

const goLive = (state: Arming): Step<CoordinatorState> => {
  const { members, live, attempt } = state;
  const next: CoordinatorLive = { ...base(state), phase: 'live', members, closeAttempts: 0, live };
  const published: FactoryMessage = { type: 'published', fundingTxid: live.spec.funding.txid };
  return step(next, [
    ...members.map((m) => sendTo(m.nodeId, attempt, published)),
    { kind: 'progress', text: 'published', done: 1, total: 1 },
  ]);
};
