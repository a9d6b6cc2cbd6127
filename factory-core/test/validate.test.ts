import { isDeepStrictEqual } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { MAX_MONEY, pubKey, sat, script, type PubKey } from '../../blip/brands.js';
import type { Invite, Join, RosterEntry } from '../../blip/messages.js';
import type { FactorySpec } from '../model.js';
import { shapeNodes } from '../shape.js';
import { buildTree, fundingAmount } from '../transactions.js';
import {
  DEFAULT_TERMS_BOUNDS,
  defaultPolicy,
  HEIGHT_TOLERANCE,
  validateJoin,
  validatePayoutScript,
  validatePlan,
  validateSpec,
  validateTerms,
  type SpecExpectation,
  type Validation,
} from '../validate.js';
import { alike, arbitrarySpec, client, expectationOf, fund, payoutScript, planFor, publicKey, REGTEST, specFor } from './support/factory.js';
import { leaves, mutationsOf } from './support/mutations.js';

const policy = defaultPolicy(REGTEST);
const OWN = 2;
const spec = specFor({ clients: alike(5), fanouts: [2, 3] });
const expected = expectationOf(spec, OWN);
const validate = (s: FactorySpec, e: SpecExpectation = expected): Validation => validateSpec(s, e, policy);

/** Every txid there is: what differs in none of them binds nobody. */
const txids = (s: FactorySpec): string => {
  const { splits, distribution } = buildTree(s);
  return [...splits, distribution].map((t) => t.txid).join();
};

describe('a sound spec', () => {
  test('is accepted by every member', () => {
    fc.assert(
      fc.property(arbitrarySpec, (s) => {
        for (const member of s.roster.keys()) expect(validate(s, expectationOf(s, member))).toBeUndefined();
        expect(validatePlan(s, policy)).toBeUndefined();
      }),
      { numRuns: 20 },
    );
  });

  test('is accepted a few blocks off, and no more', () => {
    const at = (tipHeight: number): Validation => validate(spec, { ...expected, tipHeight });
    for (const off of [-HEIGHT_TOLERANCE, HEIGHT_TOLERANCE]) expect(at(spec.startHeight + off)).toBeUndefined();
    for (const off of [-HEIGHT_TOLERANCE - 1, HEIGHT_TOLERANCE + 1]) expect(at(spec.startHeight + off)?.field).toBe('startHeight');
  });
});

describe('every field of a spec, altered', () => {
  const all = mutationsOf(spec);
  /** What the coordinator may choose as it likes: another choice gives other transactions, which is all that can be asked. */
  const isFree = (path: string): boolean =>
    path === 'coordinatorKey' || path.startsWith('funding.') || path.startsWith('fanouts') || (/^roster\[\d\]\.(key|payoutScript)$/.test(path) && !path.startsWith(`roster[${OWN}]`));
  /** What else may be named for it: the sum it is part of. */
  const sumOf = (path: string): readonly string[] => {
    if (/^roster\[\d\]\.(capacity|stock)$/.test(path) || path.startsWith('fanouts')) return ['fundingAmount', 'fanouts'];
    return path === 'startHeight' ? ['expiryHeight'] : [];
  };

  test('covers all of it', () => {
    const paths = new Set(leaves(spec).map((leaf) => leaf.path.replace(/\[\d+\]/g, '[]').replace(/^(funding|terms)\..*/, '$1')));
    expect([...paths].sort()).toEqual(
      [...Object.keys(spec).filter((key) => key !== 'roster' && key !== 'fanouts'), 'fanouts[]', 'roster[].capacity', 'roster[].key', 'roster[].payoutScript', 'roster[].stock'].sort(),
    );
  });

  test.each(all.filter((m) => !m.plausible).map((m) => [m.path, m.what, m] as const))('%s: %s is refused, by name', (path, _, { value }) => {
    const found = validate(value);
    expect([path, ...sumOf(path)]).toContain(found?.field);
    expect(found?.reason).not.toBe('');
  });

  test.each(all.filter((m) => m.plausible).map((m) => [m.path, m.what, m] as const))('%s: %s is refused, or gives other transactions', (path, _, { value }) => {
    const found = validate(value);
    if (found === undefined) {
      expect(isFree(path)).toBe(true);
      // Room that no client takes up makes no difference to the tree.
      const sameTree = path.startsWith('fanouts') && isDeepStrictEqual(shapeNodes(5, value.fanouts), shapeNodes(5, spec.fanouts));
      expect(txids(value) === txids(spec)).toBe(sameTree);
    } else {
      expect([path, ...sumOf(path)]).toContain(found.field);
    }
  });
});

describe('a roster', () => {
  const withRoster = (roster: readonly RosterEntry[]): FactorySpec => fund({ ...spec, roster });
  const replaced = (index: number, change: Partial<RosterEntry>): FactorySpec =>
    withRoster(spec.roster.map((entry, i) => (i === index ? { ...entry, ...change } : entry)));
  const own = spec.roster[OWN]!;
  const mirrored = pubKey((own.key.startsWith('02') ? '03' : '02') + own.key.slice(2));

  test.each([
    ['our key under another client', replaced(4, { key: own.key }), 'roster[4].key'],
    ['our key negated', replaced(4, { key: mirrored }), 'roster[4].key'],
    ['a key twice', replaced(4, { key: publicKey(client(0)) }), 'roster[4].key'],
    ["the coordinator's key as a client's", replaced(4, { key: spec.coordinatorKey }), 'roster[4].key'],
    ['a key off the curve', replaced(4, { key: `02${'00'.repeat(31)}05` as PubKey }), 'roster[4].key'],
    ['a coordinator off the curve', { ...spec, coordinatorKey: `02${'00'.repeat(31)}05` as PubKey }, 'coordinatorKey'],
    ['our key as the coordinator', { ...spec, coordinatorKey: own.key }, 'roster[2].key'],
    ['somebody else in our place', replaced(OWN, { key: publicKey('somebody') }), 'roster[2].key'],
    ['our payout to somebody else', replaced(OWN, { payoutScript: payoutScript(77) }), 'roster[2].payoutScript'],
    ['less capacity for us', replaced(OWN, { capacity: sat(999_999n) }), 'roster[2].capacity'],
    ['less stock for us', replaced(OWN, { stock: sat(499_999n) }), 'roster[2].stock'],
    ['a dust stock for another', replaced(0, { stock: sat(329n) }), 'roster[0].stock'],
    ['nobody', { ...spec, roster: [] }, 'roster.length'],
    ['only us', { ...spec, roster: [own] }, 'roster.length'],
    ['one client more than agreed', withRoster([...spec.roster, { ...own, key: publicKey('sixth') }]), 'roster.length'],
    ['us at another index', withRoster([...spec.roster].reverse().slice(1)), 'roster[2].key'],
  ])('with %s is refused', (_, changed, field) => {
    expect(validate(changed)?.field).toBe(field);
  });

  test('in which we are beyond the end is refused', () => {
    for (const memberIndex of [5, -1, 0.5, NaN]) expect(validate(spec, { ...expected, memberIndex })?.field).toBe('memberIndex');
  });

  test.each([
    [MAX_MONEY, /^roster\[\d\]$/],
    [MAX_MONEY / 2n, /^fundingAmount$/],
  ])('that promises more than all money is refused, not counted: %s each', (each, field) => {
    const capacity = sat(each);
    const rich = { ...spec, roster: spec.roster.map((entry) => ({ ...entry, capacity })), fundingAmount: sat(MAX_MONEY) };
    expect(validate(rich, { ...expected, invite: { ...expected.invite, capacity } })?.field).toMatch(field);
  });

  test('pays to P2WPKH, P2WSH and P2TR only', () => {
    for (const index of [0, 1, 2]) expect(validatePayoutScript(payoutScript(index))).toBeUndefined();
    const others = ['', '51024e73', '6a', `76a914${'00'.repeat(20)}88ac`, `a914${'00'.repeat(20)}87`, `5121${'00'.repeat(33)}`, `5220${'00'.repeat(32)}`, `5120${'00'.repeat(31)}`];
    for (const other of others) {
      expect(validatePayoutScript(script(other))?.field).toBe('payoutScript');
      expect(validate(replaced(0, { payoutScript: script(other) }))?.field).toBe('roster[0].payoutScript');
    }
  });

  test('may pay a stranger to a key off the curve: his loss, and the transactions are built all the same', () => {
    const strange = replaced(0, { payoutScript: script(`5120${'00'.repeat(31)}05`) });
    expect(validate(strange)).toBeUndefined();
    expect(buildTree(strange).distribution.tx.outputs[0]?.script).toBe(`5120${'00'.repeat(31)}05`);
  });
});

describe('a plan, before it is funded', () => {
  const plan = planFor({ clients: alike(5), fanouts: [2, 3] });
  // Its chain and its choice of everything are the coordinator's own: what is left is whether it is sound.
  const unsound = mutationsOf(plan).filter((m) => !m.plausible && m.path !== 'terms.chainHash');

  test.each(unsound.map((m) => [m.path, m.what, m] as const))('%s: %s is refused, by name', (path, _what, { value }) => {
    expect([path, ...(path === 'startHeight' ? ['expiryHeight'] : [])]).toContain(validatePlan(value, policy)?.field);
  });

  test.each(Object.keys(DEFAULT_TERMS_BOUNDS))('terms.%s is bounded', (name) => {
    const terms = { ...plan.terms, [name]: 10_000_000 };
    expect(validatePlan({ ...plan, terms }, policy)?.field).toBe(`terms.${name}`);
  });

  test('has heights, not times', () => {
    const until = (expiryHeight: number) => ({ ...plan, startHeight: expiryHeight - 4_320 - 432 - 432, expiryHeight });
    expect(validatePlan(until(499_999_999), policy)).toBeUndefined();
    expect(validatePlan(until(500_000_000), policy)?.field).toBe('expiryHeight');
  });

  test('may have the least amounts there are', () => {
    const roster = plan.roster.map((entry) => ({ ...entry, capacity: policy.capacity.min, stock: sat(330n) }));
    expect(validatePlan({ ...plan, roster }, policy)).toBeUndefined();
  });

  test('with a key off the curve is refused', () => {
    const roster = plan.roster.map((entry, i) => (i === 3 ? { ...entry, key: `02${'00'.repeat(31)}05` as PubKey } : entry));
    expect(validatePlan({ ...plan, roster }, policy)?.field).toBe('roster[3].key');
  });
});

describe('bounds come before work', () => {
  /** An array that says how long it is and must not be looked into. */
  const untouchable = (length: number): readonly never[] =>
    new Proxy<never[]>([], {
      get: (_, property) => {
        if (property === 'length') return length;
        throw new Error(`read ${String(property)}`);
      },
      ownKeys: () => {
        throw new Error('enumerated');
      },
    });

  test('a roster of a million is refused unread', () => {
    expect(validate({ ...spec, roster: untouchable(1_000_000) })?.field).toBe('roster.length');
  });

  test('a million levels are refused unread', () => {
    expect(validate({ ...spec, fanouts: untouchable(1_000_000) })?.field).toBe('fanouts');
  });

  test('a plan for nobody, or for more than a factory holds', () => {
    expect(validatePlan({ ...spec, roster: [] }, policy)?.field).toBe('roster.length');
    expect(validatePlan({ ...spec, roster: untouchable(513) }, policy)?.field).toBe('roster.length');
  });

  test('fan-outs that leave a client out', () => {
    expect(validate({ ...spec, fanouts: [2, 2] })?.field).toBe('fanouts');
  });
});

describe('terms', () => {
  const { invite } = expected;

  test('within the policy are accepted', () => {
    expect(validateTerms(invite, policy)).toBeUndefined();
    expect(validateTerms({ ...invite, stock: sat(0n) }, policy)).toBeUndefined();
  });

  test.each(mutationsOf(invite).filter((m) => !m.plausible && m.path !== 'type').map((m) => [m.path, m.what, m] as const))(
    '%s: %s is refused, by name',
    (path, _, { value }) => {
      expect(validateTerms(value, policy)?.field).toBe(path);
    },
  );

  test.each(Object.entries(DEFAULT_TERMS_BOUNDS))('%s has a least and a greatest value', (name, { min, max }: { min: number; max: number }) => {
    const at = (value: number): Validation => validateTerms({ ...invite, [name]: value }, policy);
    for (const value of [min, max]) expect(at(value)).toBeUndefined();
    for (const value of [min - 1, max + 1]) expect(at(value)?.field).toBe(name);
  });

  test('of another chain are refused', () => {
    expect(validateTerms(invite, { ...policy, chainHash: '0'.repeat(64) as typeof REGTEST })?.field).toBe('chainHash');
  });

  test('for fewer clients at most than at least are refused', () => {
    expect(validateTerms({ ...invite, minClients: 5, maxClients: 4 }, policy)?.field).toBe('maxClients');
  });

  test('a spec may not differ from them in anything', () => {
    const fields = Object.keys(spec.terms) as (keyof typeof spec.terms)[];
    for (const name of fields) {
      const changed: Invite = { ...invite, [name]: typeof invite[name] === 'number' ? invite[name] + 1 : 'other' };
      expect(validate(spec, { ...expected, invite: changed })?.field).toBe(`terms.${name}`);
    }
  });
});

describe('an answer to an invitation', () => {
  const join: Join = { type: 'join', key: publicKey(client(0)), payoutScript: payoutScript(0) };

  test('with a key on the curve and a payout script is accepted', () => {
    expect(validateJoin(join)).toBeUndefined();
  });

  test.each(mutationsOf(join).filter((m) => !m.plausible && m.path !== 'type').map((m) => [m.path, m.what, m] as const))(
    '%s: %s is refused, by name',
    (path, _, { value }) => {
      expect(validateJoin(value)?.field).toBe(path);
    },
  );

  test('with a key off the curve is refused', () => {
    expect(validateJoin({ ...join, key: `02${'00'.repeat(31)}05` as PubKey })?.field).toBe('key');
  });
});

describe('the funding amount', () => {
  test('is that of the tree to the satoshi', () => {
    expect(spec.fundingAmount).toBe(fundingAmount(spec));
    for (const off of [-1n, 1n]) {
      expect(validate({ ...spec, fundingAmount: sat(spec.fundingAmount + off) })).toEqual({
        field: 'fundingAmount',
        reason: `must be ${spec.fundingAmount}, is ${spec.fundingAmount + off}`,
      });
    }
  });
});
