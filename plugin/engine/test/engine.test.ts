/** What leaves this node, and when: nothing before what it depends on is stored, and nothing at all if it cannot be (architecture 12.6, 12.8). */
import { beforeEach, describe, expect, test } from '@jest/globals';
import { msat, nodeId, sat } from '../../../blip/brands.js';
import { begin } from '../../../factory-core/coordinator/machine.js';
import type { CreateRequest } from '../../../factory-core/coordinator/state.js';
import { createSigner } from '../../../factory-core/musig/index.js';
import { client, COORDINATOR, digest, payoutScript, planFor, publicKey, alike, REGTEST, TERMS } from '../../../factory-core/test/support/factory.js';
import { defaultPolicy } from '../../../factory-core/validate.js';
import { StoreError } from '../../store/errors.js';
import { openMemoryStore } from '../../store/memory-store.js';
import type { Applied, Store, StoreTx } from '../../store/store.js';
import { Engine } from '../engine.js';

const { instanceId } = planFor({ clients: alike(2) });
const [ONE, TWO] = [nodeId(publicKey(client(0))), nodeId(publicKey(client(1)))];
const REQUEST: CreateRequest = {
  instanceId,
  clients: [ONE, TWO].map((node) => ({ nodeId: node, capacity: sat(1_000_000n), stock: sat(0n) })),
  minClients: 2,
  terms: TERMS,
  stepTimeout: 60,
  coordinatorKey: publicKey(COORDINATOR),
  payoutScript: payoutScript(0),
};
const FULL = new StoreError('io', 'a.sqlite3', 'the disk is full');

class Node {
  /** What happened, in order. */
  readonly told: string[] = [];
  failure: StoreError | undefined;
  readonly engine = new Engine({
    store: this.recording(),
    log: (level) => {
      if (level !== 'info') this.told.push(level);
    },
    policy: { bounds: defaultPolicy(REGTEST), random: (n) => new Uint8Array(n), pricing: { base: msat(0n), ppm: 0 }, maxPurchaseFee: msat(0n) },
    performVolatile: (_, effect) => void this.told.push(effect.kind === 'send' ? `sent ${effect.message.type}` : effect.kind),
    enqueue: (_, __, effect) => void this.told.push(`to do: ${effect.kind}`),
    cancel: () => undefined,
  });

  private recording(): Store {
    const store = openMemoryStore(() => 0);
    const stores = store.apply.bind(store);
    const apply = (tx: StoreTx): Applied => {
      if (this.failure) throw this.failure;
      const applied = stores(tx);
      this.told.push(`stored ${tx.journal.event}`);
      return applied;
    };
    return Object.assign(store, { apply });
  }
  begin(): void {
    const { state, effects } = begin(REQUEST);
    this.engine.begin(state, effects, createSigner(digest('secret'), (n) => digest(`random ${this.told.length}`).slice(0, n)));
  }
  givesUp(): void {
    this.engine.dispatch(instanceId, { type: 'abort_requested', reason: 'the operator says so' });
  }
  joins(from: typeof ONE, index: number): void {
    this.engine.dispatch(instanceId, { type: 'message', from, attempt: 1, message: { type: 'join', key: publicKey(client(index)), payoutScript: payoutScript(index) } });
  }
}

let node: Node;
beforeEach(() => {
  node = new Node();
});

test('what a state asks for leaves after that state is stored, what must survive a crash included', () => {
  node.begin();
  expect(node.told.slice(0, 3)).toEqual(['stored begin', 'sent invite', 'sent invite']);
  node.joins(ONE, 0);
  node.told.length = 0;
  node.joins(TWO, 1);
  expect(node.told.slice(0, 2)).toEqual(['stored message', 'to do: select_coins']);
  node.told.length = 0;
  node.givesUp();
  expect(node.told.slice(0, 3)).toEqual(['stored abort_requested', 'sent abort', 'sent abort']);
});

describe('when nothing can be stored', () => {
  test('a factory that was to begin has not, and nobody has been asked', () => {
    node.failure = FULL;
    expect(() => node.begin()).toThrow('the disk is full');
    expect(node.told).toEqual(['broken']);
    expect(node.engine.all()).toEqual([]);
  });
  test('an answer changes nothing, and what it asks for is neither done nor kept for later; once there is room, it is', () => {
    node.begin();
    node.joins(ONE, 0);
    const before = node.engine.get(instanceId);
    node.told.length = 0;
    node.failure = FULL;
    expect(() => node.joins(TWO, 1)).toThrow('the disk is full');
    expect(() => node.givesUp()).toThrow('the disk is full');
    expect(node.told).toEqual(['broken', 'broken']);
    expect(node.engine.get(instanceId)).toBe(before);
    node.failure = undefined;
    node.joins(TWO, 1);
    expect(node.told).toContain('to do: select_coins');
  });
  test('nor does a block, for any factory', () => {
    node.begin();
    const before = node.engine.get(instanceId);
    node.told.length = 0;
    node.failure = FULL;
    const event = { type: 'block_connected', height: 100, spends: [], confirmed: [] } as const;
    expect(() => node.engine.onBlock(new Map([[instanceId, event]]), { type: 'block_connected', block: { height: 100, hash: '00'.repeat(32) } } as unknown as Parameters<Engine['onBlock']>[1])).toThrow('the disk is full');
    expect(node.told).toEqual([]);
    expect(node.engine.get(instanceId)).toBe(before);
  });
});
