/** What people hear of a factory that changes. */
import { describe, expect, test } from '@jest/globals';
import { instanceId } from '../../blip/brands.js';
import { alike } from '../../factory-core/test/support/factory.js';
import { liveFactory } from '../../factory-core/test/support/live.js';
import { happeningsIn } from '../engine/happenings.js';
import type { FactoryState } from '../engine/factory.js';

const live = liveFactory('coordinator', { clients: alike(2) });
const to = instanceId('5a'.repeat(32));
// As much of a state as is looked at.
const lsp = (change: object = {}): FactoryState => ({ role: 'coordinator', phase: 'live', live, ...change }) as unknown as FactoryState;
const client = (change: object = {}): FactoryState => ({ role: 'member', phase: 'live', live, ...change }) as unknown as FactoryState;
const heard = (before: FactoryState, after: FactoryState): readonly string[] => happeningsIn({ instanceId: live.spec.instanceId, before, after }).map((e) => e.event);
const rotation = { to, attempts: 1, since: 1 };

describe('as the LSP', () => {
  test.each<readonly [string, object, object]>([
    ['rotation_begun', {}, { rotation }],
    ['rotation_failed', { rotation }, { rotation: { ...rotation, failure: 'why' }, schedule: { tries: 1, last: 1, problem: 'why' } }],
    ['rotation_postponed', {}, { schedule: { tries: 1, last: 1, problem: 'why' } }],
    ['close_begun', {}, { closing: { attempt: 1 } }],
    ['close_failed', { closing: { attempt: 1 } }, { closeFailure: 'why' }],
    ['close_signed', {}, { live: { ...live, close: { outputs: [], signature: '00' } } }],
    ['member_leaves', {}, { leaving: { 1: { attempt: 1, leaves: true } } }],
    ['member_stays', { leaving: { 1: { attempt: 1, leaves: true } } }, { leaving: { 1: { attempt: 2, leaves: false } } }],
    ['member_moved', { migrations: { 0: { step: 'paid', to } } }, { migrations: { 0: { step: 'done', to } } }],
  ])('%s, once', (event, before, after) => {
    expect(heard(lsp(before), lsp(after))).toEqual([event]);
    expect(heard(lsp(after), lsp(after))).toEqual([]);
  });
});
test('as a client: that it has moved', () => {
  expect(heard(client({ migration: { step: 'owed', to } }), client({ migration: { step: 'handing_over', to } }))).toEqual(['moved']);
  expect(heard(client({ migration: { step: 'handing_over', to } }), client({ migration: { step: 'handed_over', to } }))).toEqual([]);
});
