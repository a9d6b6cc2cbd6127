/**
 * A factory that is active, from both sides, under messages that mean harm: state machines that go on from what the last message made
 * of them, with honest results of their effects in between. What must hold whatever a peer says is checked after every step.
 */
import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex, hexToBytes, utf8ToBytes } from '@noble/hashes/utils.js';
import {
  chainHash,
  channelId,
  encodeMessage,
  instanceId,
  msat,
  paymentHash,
  paymentSecret,
  nodeId,
  sat,
  schnorrSignature,
  script,
  txid,
  type FactoryMessage,
  type NodeId,
  type SecretKey,
} from '../../../blip/index.js';
import { coordinatorStep } from '../../../factory-core/coordinator/machine.js';
import { nextForRotation, shouldClose } from '../../../factory-core/coordinator/rotating.js';
import { scheduled } from '../../../factory-core/coordinator/schedule.js';
import type { CoordinatorLive, CoordinatorState } from '../../../factory-core/coordinator/state.js';
import { isHandedOverKey } from '../../../factory-core/keys.js';
import { onChain } from '../../../factory-core/live/custody.js';
import { calendarOf } from '../../../factory-core/live/deadlines.js';
import type { Live } from '../../../factory-core/live/state.js';
import { memberStep } from '../../../factory-core/member/machine.js';
import type { MemberState } from '../../../factory-core/member/state.js';
import type { FactoryPlan, FactorySpec } from '../../../factory-core/model.js';
import { createSigner } from '../../../factory-core/musig/index.js';
import type { Effect, Event, Step } from '../../../factory-core/protocol/effects.js';
import { planShape } from '../../../factory-core/shape.js';
import { fundingPrevout, fundingRequirement, pathOf } from '../../../factory-core/transactions.js';
import { treeOf } from '../../../factory-core/tree-of.js';
import { DEFAULT_TERMS, defaultPolicy } from '../../../factory-core/validate.js';
import { decoded } from './decoded.js';

const digest = (words: string): Uint8Array => sha256(utf8ToBytes(words));
const digestHex = (words: string): string => bytesToHex(digest(words));
const NOBODYS = schnorrSignature('00'.repeat(64));
const CLIENTS = 3;
const HEIGHT = 800_000;
const TERMS = { ...DEFAULT_TERMS, chainHash: chainHash('06226e46111a0b59caaf126043eb5bbf28c34f3a5e332a1fc7b2b73cf188910f') };

type Draw = (bytes: number) => Uint8Array;
interface Party {
  readonly node: NodeId;
  readonly signer: ReturnType<typeof createSigner>;
}
const party = (name: string, random: Draw): Party => ({
  node: nodeId(createSigner(digest(`node ${name}`), random).publicKey),
  signer: createSigner(digest(name), random),
});

const NEXT = instanceId(digestHex('next'));
const ANOTHER = instanceId(digestHex('another'));

/** Both sides' view of it, the funding transaction six blocks deep. */
const factory = (coordinator: Party, clients: readonly Party[]): { readonly spec: FactorySpec; readonly view: (member?: number) => Live } => {
  const plan: FactoryPlan = {
    instanceId: instanceId(digestHex('old')),
    terms: TERMS,
    coordinatorKey: coordinator.signer.publicKey,
    roster: clients.map(({ signer }, i) => ({ key: signer.publicKey, payoutScript: script(`5120${digestHex(`payout ${i}`)}`), capacity: sat(1_000_000n), stock: sat(500_000n) })),
    fanouts: planShape(clients.length),
    startHeight: HEIGHT,
    expiryHeight: HEIGHT + TERMS.activeBlocks + TERMS.dyingBlocks + TERMS.settlingBlocks,
  };
  const spec: FactorySpec = { ...plan, funding: { txid: txid(digestHex('funding')), vout: 0 }, fundingAmount: fundingRequirement(plan).amount };
  const tree = treeOf(spec);
  const view = (member?: number): Live => {
    const members = member === undefined ? clients.map((_, i) => i) : [member];
    const live: Live = {
      spec,
      signatures: Object.fromEntries([...members.flatMap((m) => pathOf(tree, m).splits), tree.distribution].map((s) => [s.txid, NOBODYS])),
      branches: members.map((m) => ({
        member: m,
        peer: member === undefined ? (clients[m]?.node ?? coordinator.node) : coordinator.node,
        channelId: channelId(digestHex(`channel ${m}`)),
        channelScript: script(`0020${digestHex(`script ${m}`)}`),
        leafSignature: NOBODYS,
        purchases: [],
      })),
      chain: { tip: HEIGHT, everFunded: false, spends: {} },
      exits: {},
      retired: false,
    };
    const outputs = [fundingPrevout(spec)];
    const funded = onChain(live, { type: 'block_connected', height: HEIGHT + 1, spends: [], confirmed: [{ txid: spec.funding.txid, inputs: [], outputs }] });
    return { ...funded, chain: { ...funded.chain, tip: HEIGHT + 6 } };
  };
  return { spec, view };
};

/** What a peer should say at some time, right and nearly right, to be altered. */
const said = (spec: FactorySpec, secrets: readonly SecretKey[]): readonly Uint8Array[] => {
  const hash = (n: number) => ({ paymentHash: paymentHash(digestHex(`hash ${n}`)), paymentSecret: paymentSecret(digestHex(`secret ${n}`)) });
  const messages: readonly FactoryMessage[] = [
    { type: 'migrate', toInstance: NEXT },
    { type: 'migrate', toInstance: ANOTHER },
    { type: 'migrating' },
    { type: 'migrated', owed: msat(10_000_000n), ...hash(1), finalCltv: 43 },
    { type: 'migrated', owed: msat(10_000_001n), ...hash(2), finalCltv: 1_001 },
    ...secrets.map((secretKey) => ({ type: 'key_handover', secretKey }) as const),
    { type: 'key_received' },
    { type: 'leave', leaves: 1 },
    { type: 'leave', leaves: 0 },
    { type: 'leave_noted', leaves: 1 },
    { type: 'leave_noted', leaves: 0 },
    { type: 'close_request' },
    { type: 'close_ready', balance: msat(5_000_000n) },
  ];
  return [1, 2, 3].flatMap((attempt) => messages.map((message) => hexToBytes(encodeMessage({ header: { instanceId: spec.instanceId, attempt }, message }))));
};

/** A machine that lives on, for so many messages. */
const LIFE = 60;

/** Sends a message that only an honest result of its own could bring about. */
const isKey = (effect: Effect): boolean => effect.kind === 'send' && effect.message.type === 'key_handover';
const fail = (what: string): never => {
  throw new Error(what);
};

/** What the plugin asks about it with every block and change: no answer fails, whatever peers have said. */
const look = (state: CoordinatorLive): void => {
  const around = { connected: new Set(state.members.map((m) => m.nodeId)), newcomers: 1, find: () => undefined };
  const { tip } = state.live.chain;
  const { dying, settling, guard } = calendarOf(state.live.spec);
  const { step } = scheduled(state, around);
  if (step === 'rotate' && (tip < dying || tip >= settling)) fail('a rotation begins when it is not its time');
  if (tip >= guard && step !== 'publish_root') fail(`after the last call for a close: ${step}`);
  const due = shouldClose(state);
  if (due && state.live.branches.some((b) => b.heldKey === undefined && state.leaving?.[b.member]?.leaves !== true)) fail('it closes while somebody is in it who stays');
  nextForRotation(state, around.find);
};

/** @param below a number below n, drawn */
export const liveTargets = (random: Draw, below: (n: number) => number): { readonly corpus: readonly Uint8Array[]; readonly member: (bytes: Uint8Array) => void; readonly coordinator: (bytes: Uint8Array) => void } => {
  const lsp = party('coordinator', random);
  const clients = Array.from({ length: CLIENTS }, (_, i) => party(`client ${i}`, random));
  const { spec, view } = factory(lsp, clients);
  const bounds = defaultPolicy(TERMS.chainHash);
  const height = HEIGHT + 6;
  const { signer } = clients[0] ?? lsp;

  const firstMember = (): MemberState => ({
    role: 'member',
    phase: 'live',
    instanceId: spec.instanceId,
    coordinator: lsp.node,
    invite: { type: 'invite', ...TERMS, capacity: sat(1_000_000n), stock: sat(500_000n), minClients: 2, maxClients: CLIENTS },
    key: signer.publicKey,
    payoutScript: script(`5120${digestHex('payout 0')}`),
    attempt: 1,
    member: 0,
    live: view(0),
  });
  const firstCoordinator = (): CoordinatorState => ({
    role: 'coordinator',
    phase: 'live',
    attempt: 1,
    excluded: [],
    request: {
      instanceId: spec.instanceId,
      clients: clients.map(({ node }) => ({ nodeId: node, capacity: sat(1_000_000n), stock: sat(500_000n) })),
      minClients: 2,
      terms: TERMS,
      stepTimeout: 60,
      coordinatorKey: lsp.signer.publicKey,
      payoutScript: script(`5120${digestHex('payout')}`),
    },
    members: clients.map(({ node, signer: { publicKey: key } }, i) => ({ nodeId: node, key, payoutScript: script(`5120${digestHex(`payout ${i}`)}`), capacity: sat(1_000_000n), stock: sat(500_000n) })),
    live: view(),
    closeAttempts: 0,
  });

  let member = firstMember();
  let memberAge = 0;
  const memberEnv = { signer, height, bounds, maxPurchaseFee: msat(0n), random };
  /** What its effects come to. */
  const memberResult = (effect: Effect): Event | undefined => {
    switch (effect.kind) {
      case 'await_next':
        return { type: 'next_active', attempt: effect.attempt };
      case 'move_balance':
        return { type: 'balance_moved', attempt: effect.attempt };
      case 'settle_balance':
        return { type: 'balance_settled', attempt: effect.attempt, invoice: { owed: msat(10_000_000n), paymentHash: paymentHash(bytesToHex(random(32))), paymentSecret: paymentSecret(bytesToHex(random(32))), finalCltv: 43 } };
      case 'await_owed':
        return { type: 'owed_received', paymentHash: effect.paymentHash };
      default:
        return undefined;
    }
  };
  let memberWork: Event[] = [];
  const stepMember = (event: Event): void => {
    const before = member;
    const next: Step<MemberState> = memberStep(before, event, memberEnv);
    const out = before.phase === 'live' && before.live.handedOver === true;
    if (event.type === 'message') {
      if (!out && next.effects.some(isKey)) fail('a message made it part with its key');
      if (out && next.signOnce) fail('it signs after it has parted with its key');
      if (before.phase === 'live' && next.state.phase === 'live' && next.state.live.branches !== before.live.branches && out) fail('it changes what it has left');
    }
    memberWork.push(...next.effects.flatMap((e) => memberResult(e) ?? []));
    const { state } = next;
    if (state.phase === 'live' && state.leaving?.leaves === true && state.migration) fail('it leaves, and moves');
    member = state;
  };

  let coordinator = firstCoordinator();
  let coordinatorAge = 0;
  const coordinatorEnv = { signer: lsp.signer, height, pricing: { base: msat(1_000n), ppm: 1_000 } };
  /** Payments that are being made, by member. */
  let paying = new Set<number>();
  const stepCoordinator = (event: Event): void => {
    const { state, effects } = coordinatorStep(coordinator, event, coordinatorEnv);
    if (state.phase !== 'live') return fail(`a live factory is ${state.phase}`);
    look(state);
    for (const b of state.live.branches) {
      const key = spec.roster[b.member]?.key;
      if (b.heldKey !== undefined && state.leaving?.[b.member]?.leaves === true) fail('it counts on one that leaves, whose key is here');
      if (b.heldKey !== undefined && (key === undefined || !isHandedOverKey(b.heldKey, key))) fail('it holds a key that is none');
    }
    for (const effect of effects) {
      if (effect.kind !== 'pay_owed') continue;
      if (paying.has(effect.member)) fail('it pays twice');
      paying.add(effect.member);
    }
    coordinator = state;
  };
  const settle = (): void => {
    for (const one of [...paying]) {
      if (below(3) === 0) continue;
      paying.delete(one);
      stepCoordinator(below(2) === 0 ? { type: 'owed_paid', member: one } : { type: 'owed_refused', member: one, reason: 'so' });
    }
  };
  let tip = HEIGHT + 6;

  return {
    corpus: said(spec, clients.map((c) => c.signer.reveal())),
    member: (bytes) => {
      memberAge += 1;
      if (memberAge % LIFE === 0) {
        member = firstMember();
        memberWork = [];
      }
      const envelope = decoded(bytes);
      if (!envelope) return;
      stepMember({ type: 'message', from: lsp.node, attempt: envelope.header.attempt, message: envelope.message });
      if (below(3) === 0) memberWork.splice(0).forEach(stepMember);
      if (below(12) === 0) stepMember({ type: 'leave_requested', leaves: below(3) > 0 });
    },
    coordinator: (bytes) => {
      coordinatorAge += 1;
      if (coordinatorAge % LIFE === 1) {
        coordinator = firstCoordinator();
        paying = new Set();
        tip = height;
        stepCoordinator({ type: 'migrate_requested', to: NEXT, members: [0, 1, 2] });
      }
      const envelope = decoded(bytes);
      if (!envelope) return;
      const from = clients[below(CLIENTS)]?.node ?? lsp.node;
      stepCoordinator({ type: 'message', from, attempt: envelope.header.attempt, message: envelope.message });
      if (below(4) === 0) settle();
      if (below(8) === 0) {
        // Most of it in the dying window and after, where there is something to decide.
        tip += below(6) === 0 ? 1 + below(TERMS.activeBlocks) : 1;
        stepCoordinator({ type: 'block_connected', height: tip, spends: [], confirmed: [] });
      }
    },
  };
};
