/**
 * Every field of every message a member gets from the coordinator, altered in turn: the member refuses, names the reason and
 * signs nothing; or the alteration is listed below, with what becomes of it and why nothing is lost. Messages and fields are
 * those of the codec's table, so a new one cannot be forgotten. The coordinator that lied goes on as if nothing had happened,
 * whatever the member answers: what refuses is the member, and no second thought of the other side.
 */
import { describe, expect, test } from '@jest/globals';
import type { FactoryMessageType } from '../../blip/messages.js';
import { MESSAGE_TYPES, messageSender } from '../../blip/protocol-codec.js';
import { branchStatus, liveState } from '../live/custody.js';
import { alterationsOf, assertComplete, endingOf, live, undisturbed, type AlteredField, type Life, type Scenario } from './support/altered.js';
import { calledOff, closeGivenUp, createdAndClosed, left, rotated, theClient, theCoordinator, worldWith } from './support/lives.js';

const PARTIALS: ReadonlySet<string> = new Set(['partials', 'leaf_partial', 'close_partial']);

/**
 * `refused`: the member is out in the end, without an exit. `same`: as undisturbed. `open`: its exit is there, the close is not.
 * `stays`: it has not moved, its key is its own, and so is its exit.
 */
type Outcome = 'refused' | 'same' | 'open' | 'stays';
/** What a member cannot tell at once, or need not. */
interface Harmless {
  readonly field: RegExp;
  readonly outcome: Outcome;
  readonly why: string;
  /** For `refused`: what the member finds, in the end. */
  readonly found?: RegExp;
}
const HARMLESS: readonly Harmless[] = [
  { field: /^invite\.(minDepth|minClients|maxClients)$/, outcome: 'same', why: 'it waits longer, or takes less or more company: its own choice' },
  { field: /^invite\.(capacity|stock)$/, outcome: 'refused', why: 'an offer is an offer; the specification is held against it', found: /^spec\.roster\[1\]\.(capacity|stock): must be/ },
  { field: /^invite\.(treeFeerate|stockCsv)$/, outcome: 'refused', why: 'the tree is built with the terms it took: other amounts, or other scripts', found: /^(spec\.fundingAmount: |leaf_signature: does not verify)/ },
  { field: /^invite\.(active|dying|settling)Blocks$/, outcome: 'refused', why: 'the heights must add up', found: /^spec\.expiryHeight: / },
  { field: /^spec\.fanouts/, outcome: 'same', why: 'room for more children than there are makes the same tree' },
  { field: /^spec\.(coordinatorKey|roster|roster\[[02]\]\.(key|payoutScript)|funding\.(txid|vout))$/, outcome: 'refused', why: 'the coordinator’s choice, which every signature commits to: none fits both', found: /^signatures: number \d does not verify/ },
  { field: /^aggregate_nonces\.nonces/, outcome: 'refused', why: 'a partial signature under another aggregate adds up to no signature, and its nonce is used up; what is checked is the signature', found: /^audit: the channel did not appear/ },
  { field: /^leaf\.nonce$/, outcome: 'refused', why: 'the same, for the leaf', found: /^audit: the channel did not appear/ },
  { field: /^leaf\.channelScript$/, outcome: 'refused', why: 'all in the leaf is the coordinator’s until the audit, which holds it against the node’s own channel', found: /^leaf_signature: does not verify/ },
  { field: /^published\.fundingTxid$/, outcome: 'same', why: 'news, not evidence: the member looks at its own chain' },
  { field: /^close_proposal\.outputs\[[0-3]\]\.amount$/, outcome: 'open', why: 'enough for this client; what others get is theirs to check, and what one alone has signed closes nothing' },
  { field: /^close_proposal\.outputs\[3\]\.script$/, outcome: 'open', why: 'the coordinator’s own' },
  { field: /^close_proposal\.outputs$/, outcome: 'open', why: 'a client that is left out refuses, unless it has nothing; the coordinator’s part is the coordinator’s' },
  { field: /^close_aggregate_nonce\.nonce$/, outcome: 'open', why: 'as for the tree; the exit, with the same balance, is still there' },
  { field: /^close_signature\.signature$/, outcome: 'same', why: 'ignored unless it verifies; the chain shows the close' },
  { field: /^migrate\.toInstance$/, outcome: 'stays', why: 'it waits for a factory of the coordinator’s that it has seen to be active' },
  { field: /^leave_noted\.leaves$/, outcome: 'same', why: 'it knows that it is not left out, tells its operator, and has its way out' },
  { field: /^abort\./, outcome: 'same', why: 'an attempt is over whatever the reason; a factory on chain is never aborted by words' },
];

/** Where the member names another field than the one altered: what does not fit any more, or what it is called on the wire. */
const NAMED: readonly (readonly [field: RegExp, reason: RegExp])[] = [
  [/^invite\.(.*)$/, /^$1: /],
  [/^spec\.memberIndex$/, /^spec\.roster\[[02]\]\.key: /],
  [/^spec\.startHeight$/, /^spec\.expiryHeight: /],
  [/^spec\.roster\[[02]\]\.(capacity|stock)$/, /^spec\.fundingAmount: /],
  [/^spec\.roster$/, /^spec\.(roster\.length|roster\[1\]\.key|fundingAmount): /],
  [/^aggregate_nonces\.nonces/, /^aggregate_nonces: /],
  [/^signatures\.signatures/, /^signatures: number \d does not verify/],
  [/^leaf_signature\.signature$/, /^leaf_signature: does not verify/],
  [/^open_intent\.channelInFactory$/, /^open_intent\.channel_in_factory: /],
  [/^open_intent\.fundingAmount$/, /^open_intent\.funding_amount: /],
  [/^leaf\.channelScript$/, /^leaf\.channel_script: /],
  [/^channel_opened\.channelId$/, /^audit: another channel id/],
  [/^close_proposal\.outputs(\[1\]\.(amount|script))?$/, /^close_proposal\.outputs(\[[01]\]\.script)?: /],
];
const names = (field: string, reason: string): boolean =>
  reason.startsWith(`${field}: `) ||
  NAMED.some(([f, r]) => f.test(field) && new RegExp(r.source.replace('$1', f.exec(field)?.[1] ?? '')).test(reason));

const scenario = (name: string, drive: Scenario['drive']): Scenario => ({
  name,
  drive,
  world: worldWith('coordinator'),
  liar: theCoordinator,
  victim: theClient,
});
const ROTATION: ReadonlySet<FactoryMessageType> = new Set(['migrate', 'key_received']);
const LIVES = [
  undisturbed(scenario('a creation and a close', createdAndClosed), (type) => type !== 'abort' && !ROTATION.has(type)),
  undisturbed(scenario('a creation that is called off', calledOff(theCoordinator)), (type) => type === 'abort'),
  undisturbed(scenario('a close that is given up', closeGivenUp), (type) => type === 'abort'),
  undisturbed(scenario('a rotation', rotated), (type) => ROTATION.has(type)),
  undisturbed(scenario('a client that leaves', left), (type) => type === 'leave_noted'),
];

// Those of purchases are in purchase-mutations.test.ts, the waiting room's, of no factory, in waiting.test.ts.
test('there is a life for every message a member can get, and every field of it is altered', () => {
  expect(LIVES.map((l) => l.ending)).toEqual(['closed', 'aborted', 'active', 'active', 'active']);
  assertComplete(LIVES, MESSAGE_TYPES.filter((type) => messageSender(type) !== 'member' && !/^(purchase|waiting)_/.test(type)));
});

const used = new Set<Harmless>();

describe.each(LIVES)('$scenario.name', ({ scenario: played, ending, received, originals }) => {
  const altered = originals.flatMap((o) => alterationsOf(o).map((a) => [`${o.message.type}.${a.path}`, a.what, a] as const));
  test.each(altered)('%s: %s', (field, _what, alteration) => {
    const rest = received.slice(received.findIndex((e) => e === alteration.original) + 1);
    const lived = live(played, alteration, rest.filter((e) => e.message.type !== 'abort'));
    const { answers, victim } = lived;
    const [first] = answers;
    if (first?.type === 'abort' || first?.type === 'decline') {
      // Refused at once, with the reason.
      expect(names(field, first.reason) || first.reason).toBe(true);
      expect(answers.filter((m) => PARTIALS.has(m.type))).toEqual([]);
      expect(['aborted', 'nothing', 'active']).toContain(endingOf(victim));
      return;
    }
    const listed = HARMLESS.find((h) => h.field.test(field));
    if (!listed) throw new Error(`the member goes on with another ${field}: make it refuse, or list why that is harmless`);
    used.add(listed);
    settled(listed, lived, ending, alteration);
  });
});

/** The oracle has looked at every exit the member has had: signed, its own, to a channel its node has. */
const settled = ({ outcome, found }: Harmless, { world, victim }: Life, ending: string, { original }: AlteredField): void => {
  const type: FactoryMessageType = original.message.type;
  switch (outcome) {
    case 'refused':
      expect(world.memberState(victim)).toMatchObject({ phase: 'aborted', reason: expect.stringMatching(found ?? type) });
      return;
    case 'same':
      expect(endingOf(victim)).toBe(ending);
      return;
    case 'open':
      expect(liveState(victim.live!, false)).toBe('closing');
      expect(victim.live!.close?.signature).toBeUndefined();
      leavesAlone(world, victim);
      return;
    case 'stays':
      expect(victim.live!.handedOver).toBeUndefined();
      expect(world.coordinator.live!.branches.map((b) => b.heldKey !== undefined)).toEqual([true, false, true]);
      leavesAlone(world, victim);
  }
};

const leavesAlone = (world: Life['world'], victim: Life['victim']): void => {
  world.command(victim, { type: 'exit_requested', members: [1] });
  for (let i = 0; i < 6; i += 1) {
    world.mine(1);
    world.quiet();
  }
  expect(branchStatus(victim.live!, victim.live!.branches[0]!).kind).toBe('channel_closed');
};

test('nothing is listed that the member refuses by now', () => {
  expect(HARMLESS.filter((h) => !used.has(h)).map((h) => h.field.source)).toEqual([]);
});
