/** This member's leaf and channel (architecture 5.5, 6). */
import type { ChannelId, PublicNonce, Sat, SchnorrSignature, Script } from '../../blip/brands.js';
import { decodeChannelInFactory } from '../../blip/channel-in-factory.js';
import { DecodeError } from '../../blip/errors.js';
import type { FactoryMessage, OpenIntent } from '../../blip/messages.js';
import { FACTORY_PROTOCOL_ID } from '../../blip/protocol-id.js';
import { factoryEarlyWarningTime } from '../exit-plan.js';
import type { FactorySpec, Signable } from '../model.js';
import { aggregateNonces, MusigError, verifyFinal } from '../musig/index.js';
import type { Event, Step } from '../protocol/effects.js';
import { signOnceOf, step } from '../protocol/effects.js';
import { present } from '../protocol/present.js';
import { buildLeaf, buildPath } from '../transactions.js';
import { commonOf, createKey, refuse, reply } from './joining.js';
import type { LeafStep, MemberEnv, MemberLive, MemberState, Opening } from './state.js';

export const memberLeaf = (spec: FactorySpec, member: number, channelScript: Script): Signable =>
  buildLeaf(spec, member, buildPath(spec, member).slot, channelScript);

const leafKey = (state: Opening): string => `${createKey(state)}/leaf`;

export const onOpeningMessage = (state: Opening, message: FactoryMessage, env: MemberEnv): Step<MemberState> => {
  const { leaf } = state;
  switch (message.type) {
    case 'signatures':
      return step(state, leaf.step === 'stored' ? [reply(state, { type: 'stored' })] : []);
    case 'open_intent':
      return onIntent(state, message);
    case 'leaf':
      return onLeaf(state, message.channelScript, message.nonce, env);
    case 'leaf_signature':
      return onLeafSignature(state, message.signature, env);
    case 'channel_opened': {
      if (leaf.step !== 'complete' && leaf.step !== 'auditing') return step(state);
      const { channelScript, signature } = leaf;
      const next: Opening = { ...state, leaf: { step: 'auditing', channelScript, signature, channelId: message.channelId } };
      const { txid } = memberLeaf(state.spec, state.member, channelScript);
      return step(next, [{ kind: 'audit', attempt: state.attempt, peer: state.coordinator, funding: { txid, vout: 0 } }]);
    }
    default:
      return step(state);
  }
};

/** What the coordinator has heard from us last, if all went well. */
export const openingAnswer = (leaf: LeafStep): FactoryMessage => {
  switch (leaf.step) {
    case 'stored':
      return { type: 'stored' };
    case 'expecting':
      return { type: 'open_ready' };
    case 'signed':
      return { type: 'leaf_partial', nonce: leaf.nonce, partial: leaf.partial };
    case 'complete':
    case 'auditing':
      return { type: 'leaf_stored' };
  }
};

/** bLIP-56 `channel_in_factory`: it must be this factory, with the early warning that its shape demands. */
const onIntent = (state: Opening, message: OpenIntent): Step<MemberState> => {
  if (state.leaf.step !== 'stored' && state.leaf.step !== 'expecting') return step(state);
  const wrong = intentProblem(state, message);
  if (wrong !== undefined) return refuse(commonOf(state), `open_intent.${wrong}`);
  const next: Opening = { ...state, leaf: { step: 'expecting' } };
  return step(next, [reply(next, { type: 'open_ready' })]);
};

const intentProblem = (state: Opening, message: OpenIntent): string | undefined => {
  if (message.fundingAmount !== state.invite.capacity) return 'funding_amount: not the capacity of the invitation';
  try {
    const tlv = decodeChannelInFactory(message.channelInFactory);
    if (tlv.protocolId !== FACTORY_PROTOCOL_ID) return 'channel_in_factory: another protocol';
    if (tlv.instanceId !== state.instanceId) return 'channel_in_factory: another factory';
    if (tlv.earlyWarningTime !== factoryEarlyWarningTime(state.spec)) return 'channel_in_factory: early warning time';
    return undefined;
  } catch (error) {
    if (error instanceof DecodeError) return `channel_in_factory: ${error.message}`;
    throw error;
  }
};

/**
 * Signs the leaf for the channel script CLN gave the coordinator. Whether our own CLN agrees on that script is audited
 * before anything of ours is in the channel (architecture 6): until then the money in the leaf is the LSP's alone.
 */
const onLeaf = (state: Opening, channelScript: Script, theirs: PublicNonce, env: MemberEnv): Step<MemberState> => {
  const { leaf: now } = state;
  if (now.step === 'signed') {
    const same = now.channelScript === channelScript;
    return step(state, same ? [reply(state, { type: 'leaf_partial', nonce: now.nonce, partial: now.partial })] : []);
  }
  if (now.step !== 'expecting') return step(state);
  // A channel output is P2WSH (BOLT 3).
  if (!/^0020[0-9a-f]{64}$/.test(channelScript)) return refuse(commonOf(state), 'leaf.channel_script: not P2WSH');
  const leaf = memberLeaf(state.spec, state.member, channelScript);
  const key = leafKey(state);
  try {
    const nonce = env.signer.nonce(key, leaf);
    const partial = env.signer.sign(key, leaf, aggregateNonces([theirs, nonce]));
    env.signer.drop(key);
    const next: Opening = { ...state, leaf: { step: 'signed', channelScript, nonce, partial } };
    return step(next, [reply(next, { type: 'leaf_partial', nonce, partial })], { signOnce: [signOnceOf(leaf)] });
  } catch (error) {
    if (!(error instanceof MusigError)) throw error;
    env.signer.drop(key);
    return refuse(commonOf(state), `leaf.nonce: ${error.message}`);
  }
};

const onLeafSignature = (state: Opening, signature: SchnorrSignature, env: MemberEnv): Step<MemberState> => {
  const { leaf } = state;
  if (leaf.step === 'complete' || leaf.step === 'auditing') return step(state, [reply(state, { type: 'leaf_stored' })]);
  if (leaf.step !== 'signed') return step(state);
  const { channelScript } = leaf;
  if (!verifyFinal(memberLeaf(state.spec, state.member, channelScript), signature)) {
    return refuse(commonOf(state), 'leaf_signature: does not verify');
  }
  env.signer.drop(leafKey(state));
  const next: Opening = { ...state, leaf: { step: 'complete', channelScript, signature } };
  return step(next, [reply(next, { type: 'leaf_stored' })]);
};

type Audited = Extract<Event, { type: 'audited' }>;

/** The script audit: the channel CLN has is the channel the leaf pays, and it holds what was promised. */
export const onAudited = (state: Opening, event: Audited, env: MemberEnv): Step<MemberState> => {
  const { leaf } = state;
  if (leaf.step !== 'auditing' || event.attempt !== state.attempt) return step(state);
  const { capacity } = present(state.spec.roster[state.member]);
  const wrong = auditProblem(capacity, leaf.channelScript, leaf.channelId, event.result);
  if (wrong !== undefined) return refuse(commonOf(state), `audit: ${wrong}`);
  const next: MemberLive = {
    ...commonOf(state),
    phase: 'live',
    member: state.member,
    live: {
      spec: state.spec,
      signatures: state.signatures,
      branches: [
        {
          member: state.member,
          peer: state.coordinator,
          channelId: leaf.channelId,
          channelScript: leaf.channelScript,
          leafSignature: leaf.signature,
          purchases: [],
        },
      ],
      chain: { tip: env.height, everFunded: false, spends: {} },
      exits: {},
      retired: false,
    },
  };
  return step(next, [reply(next, { type: 'ready' })]);
};

/** Why a channel is not the one that was signed for, or does not hold what was promised, in sat. */
export const auditProblem = (capacity: Sat, script: Script, channelId: ChannelId, result: Audited['result']): string | undefined => {
  if (!result.ok) return result.reason;
  if (result.script !== script) return 'the channel’s funding script is not the one that was signed for';
  if (result.channel.channelId !== channelId) return 'another channel id';
  if (result.channel.total !== capacity * 1000n) return 'the channel’s capacity is not what was agreed';
  if (result.channel.toUs !== 0n) return 'the channel was opened with a push (architecture 3.2)';
  return undefined;
};
