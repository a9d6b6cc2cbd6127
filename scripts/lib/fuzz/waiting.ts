/** The waiting room under messages that mean harm: the coordinator's list, and a client's own wishes. */
import { hexToBytes } from '@noble/hashes/utils.js';
import { encodeMessage, nodeId, sat, type ChainHash, type NodeId } from '../../../blip/index.js';
import { isWaitingMessage, NO_INSTANCE, type WaitingMessage } from '../../../blip/waiting-messages.js';
import { createSigner } from '../../../factory-core/musig/index.js';
import { answered, enter, MAX_WAITING, unanswered, unwished, wished, wishOf, withdraw, type WaitingPolicy, type WaitingRoom, type Wishes } from '../../../factory-core/waiting.js';
import { decoded } from './decoded.js';

const PEERS = 160;
const REFUSED = 20;
const LIFE = 2_000;
const MIN = 20_000n;
const MAX = 16_777_215n;

const fail = (what: string): never => {
  throw new Error(what);
};

/** @param below a number below n, drawn */
export const waitingTarget = (chainHash: ChainHash, random: (bytes: number) => Uint8Array, below: (n: number) => number): { readonly corpus: readonly Uint8Array[]; readonly run: (bytes: Uint8Array) => void } => {
  const peers: readonly NodeId[] = Array.from({ length: PEERS }, () => nodeId(createSigner(random(32), random).publicKey));
  const coordinator = peers[0] ?? fail('no peers');
  const allowed = new Set(peers.slice(REFUSED));
  const policy: WaitingPolicy = { allows: (node) => allowed.has(node), chainHash, minCapacity: sat(MIN), maxCapacity: sat(MAX), maxStock: sat(MAX) };
  const messages: readonly WaitingMessage[] = [
    { type: 'waiting_join', chainHash, capacity: sat(1_000_000n), stock: sat(0n) },
    { type: 'waiting_join', chainHash, capacity: sat(MAX), stock: sat(MAX) },
    { type: 'waiting_withdraw' },
    { type: 'waiting_accepted' },
    { type: 'waiting_over', code: 3, reason: 'no' },
  ];
  let room: WaitingRoom = [];
  let wishes: Wishes = [];
  let height = 800_000;
  let age = 0;

  const check = (): void => {
    if (room.length > MAX_WAITING) fail('too many wait');
    if (new Set(room.map((w) => w.nodeId)).size < room.length) fail('somebody waits twice');
    for (const { nodeId: node, capacity, stock } of room) {
      if (!allowed.has(node)) fail('somebody waits who may not');
      if (capacity < MIN || capacity > MAX || stock > MAX) fail('somebody waits for what there is not');
    }
    const wish = wishOf(wishes, coordinator);
    if (wish && (wish.capacity < MIN || wish.wish < 1 || wish.wish > 0xffff)) fail('a wish that was never made');
  };

  return {
    corpus: [1, 2, 3].flatMap((attempt) => messages.map((message) => hexToBytes(encodeMessage({ header: { instanceId: NO_INSTANCE, attempt }, message })))),
    run: (bytes) => {
      age += 1;
      if (age % LIFE === 0) {
        room = [];
        wishes = [];
      }
      const envelope = decoded(bytes);
      if (!envelope) return;
      const { header, message } = envelope;
      if (!isWaitingMessage(message)) return;
      height += below(40);
      const from = peers[below(PEERS)] ?? coordinator;
      const before = room;
      if (message.type === 'waiting_join') room = enter(room, from, header.attempt, message, policy, height).next;
      else if (message.type === 'waiting_withdraw') room = withdraw(room, from).next;
      if (room.length > before.length + 1) fail('one message, two who wait');
      if (below(3) === 0) wishes = below(3) === 0 ? unwished(wishes, coordinator) : wished(wishes, coordinator, sat(MIN), sat(0n), height);
      wishes = answered(wishes, coordinator, header.attempt, message);
      unanswered(wishes, coordinator, chainHash);
      check();
    },
  };
};
