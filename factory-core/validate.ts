/**
 * What a node accepts before it makes its first nonce (safety rules 1 to 4, architecture 12): against a coordinator
 * that wants the money, and, for the coordinator, against members who would break the ceremony.
 *
 * Bounds come before anything that costs time; keys are looked at last. A problem names the field as it is called in
 * the message it came in.
 */
import { FormatError, MAX_MONEY, instanceId, pubKey, sat, txid, type ChainHash, type InstanceId, type PubKey, type Sat, type Script } from '../blip/brands.js';
import type { Invite, Join, RosterEntry } from '../blip/messages.js';
import { isValidPoint } from './keys.js';
import type { FactoryPlan, FactorySpec, Terms } from './model.js';
import { aggregateKeys, MusigError } from './musig/index.js';
import { checkShape, MAX_CLIENTS, MIN_CLIENTS } from './shape.js';
import { DUST_LIMIT } from './sizes.js';
import { fundingAmount, signersOf } from './tree.js';

/** A reason to refuse; `field` as in `roster[3].key`. */
export interface ValidationProblem {
  readonly field: string;
  readonly reason: string;
}
export type Validation = ValidationProblem | undefined;

export interface Bounds<T> {
  readonly min: T;
  readonly max: T;
}

/** The numbers of the terms, with what they may be. */
export interface TermsBounds {
  /** sat per 1,000 vB. */
  readonly treeFeerate: Bounds<number>;
  readonly activeBlocks: Bounds<number>;
  readonly dyingBlocks: Bounds<number>;
  readonly settlingBlocks: Bounds<number>;
  readonly stockCsv: Bounds<number>;
  readonly minDepth: Bounds<number>;
}

/** What this node takes part in. */
export interface TermsPolicy {
  readonly chainHash: ChainHash;
  readonly terms: TermsBounds;
  /** Of one client, in sat. */
  readonly capacity: Bounds<Sat>;
  readonly clients: Bounds<number>;
}

/** What a coordinator proposes if its operator says nothing (architecture 10). */
export const DEFAULT_TERMS: Omit<Terms, 'chainHash'> = {
  treeFeerate: 2_000,
  activeBlocks: 4_320,
  dyingBlocks: 432,
  settlingBlocks: 432,
  stockCsv: 144,
  minDepth: 3,
};

/** A year of blocks. */
const YEAR = 52_560;
export const DEFAULT_TERMS_BOUNDS: TermsBounds = {
  // Below 1 sat/vB nothing relays; above 1,000 sat/vB somebody is burning money.
  treeFeerate: { min: 1_000, max: 1_000_000 },
  activeBlocks: { min: 1, max: YEAR },
  dyingBlocks: { min: 1, max: YEAR },
  settlingBlocks: { min: 1, max: YEAR },
  // Within it a client publishes its purchases after its leaf: three times what a confirmation is given. BIP 68 has 16 bits.
  stockCsv: { min: 18, max: 0xffff },
  // An unconfirmed funding transaction is a promise; beyond 100 nobody waits.
  minDepth: { min: 1, max: 100 },
};
/** By default whatever CLN takes as a channel: its `min-capacity-sat` is 10,000. */
export const defaultPolicy = (chainHash: ChainHash): TermsPolicy => ({
  chainHash,
  terms: DEFAULT_TERMS_BOUNDS,
  capacity: { min: sat(10_000n), max: sat(MAX_MONEY) },
  clients: { min: MIN_CLIENTS, max: MAX_CLIENTS },
});

/** How far the coordinator's chain may be from ours, in blocks: enough for slow nodes, too little to shift heights to advantage. */
export const HEIGHT_TOLERANCE = 12;
/** Lock times from here on are times, not heights (BIP 65). */
const LOCKTIME_THRESHOLD = 500_000_000;
/** No funding transaction of ours has more outputs than that. */
const MAX_FUNDING_VOUT = 0xffff;
const P2WPKH_P2WSH_P2TR = /^(?:0014[0-9a-f]{40}|0020[0-9a-f]{64}|5120[0-9a-f]{64})$/;

const problem = (field: string, reason: string): ValidationProblem => ({ field, reason });

/** The first problem of several checks; those after it are not run. */
const first = (...checks: readonly (() => Validation)[]): Validation => {
  for (const check of checks) {
    const found = check();
    if (found) return found;
  }
  return undefined;
};

const eachOf = <T>(items: readonly T[], check: (item: T, index: number) => Validation): Validation =>
  first(...items.map((item, index) => () => check(item, index)));

const whole = (field: string, value: number, { min, max }: Bounds<number>): Validation =>
  Number.isSafeInteger(value) && value >= min && value <= max ? undefined : problem(field, `must be a whole number from ${min} to ${max}`);

const amount = (field: string, value: Sat, { min, max }: Bounds<bigint>): Validation =>
  value >= min && value <= max ? undefined : problem(field, `must be ${min} to ${max} sat`);

const same = <T extends string | number | bigint>(field: string, value: T, expected: T): Validation =>
  value === expected ? undefined : problem(field, `must be ${expected}, is ${value}`);

/** The form that a branded value promises; a cast could have broken the promise. */
const wellFormed = (check: () => unknown): Validation => {
  try {
    check();
    return undefined;
  } catch (error) {
    if (error instanceof FormatError) return problem(error.field, `must be ${error.expected}`);
    throw error;
  }
};

const checkStock = (field: string, stock: Sat, max: bigint): Validation =>
  stock === 0n ? undefined : amount(field, stock, { min: DUST_LIMIT, max });

const TERMS_NUMBERS = Object.keys(DEFAULT_TERMS_BOUNDS) as readonly (keyof TermsBounds)[];

const checkTermsNumbers = (terms: Pick<Terms, keyof TermsBounds>, bounds: TermsBounds, prefix = ''): Validation =>
  eachOf(TERMS_NUMBERS, (name) => whole(`${prefix}${name}`, terms[name], bounds[name]));

/** Whether to join on these terms: the right chain, and every number within this node's policy. */
export const validateTerms = (invite: Invite, policy: TermsPolicy): Validation =>
  first(
    () => same('chainHash', invite.chainHash, policy.chainHash),
    () => checkTermsNumbers(invite, policy.terms),
    () => whole('minClients', invite.minClients, policy.clients),
    () => whole('maxClients', invite.maxClients, { min: invite.minClients, max: policy.clients.max }),
    () => amount('capacity', invite.capacity, policy.capacity),
    () => checkStock('stock', invite.stock, policy.capacity.max),
  );

/** A payout goes to a script that relays and that a signature can spend: P2WPKH, P2WSH or P2TR. */
export const validatePayoutScript = (value: Script, field = 'payoutScript'): Validation =>
  P2WPKH_P2WSH_P2TR.test(value) ? undefined : problem(field, 'must be P2WPKH, P2WSH or P2TR');

/** What a member answered to an invitation: the coordinator checks it before it goes into a roster. */
export const validateJoin = (join: Join): Validation =>
  first(
    () => wellFormed(() => pubKey(join.key)),
    () => (isValidPoint(join.key) ? undefined : problem('key', 'must be a point on the curve')),
    () => validatePayoutScript(join.payoutScript),
  );

/** The bounds of a plan: the part of its validation that does not depend on who looks at it. */
export interface PlanBounds {
  readonly terms: TermsBounds;
  readonly capacity: Bounds<Sat>;
  readonly clients: Bounds<number>;
}

const checkEntry = (entry: RosterEntry, index: number, capacity: Bounds<Sat>): Validation => {
  const field = `roster[${index}]`;
  return first(
    () => validatePayoutScript(entry.payoutScript, `${field}.payoutScript`),
    () => amount(`${field}.capacity`, entry.capacity, capacity),
    () => checkStock(`${field}.stock`, entry.stock, capacity.max),
  );
};

/** No key twice, the coordinator's included (rule 4). Keys that differ in sign only are one secret: refused too. */
const checkDistinct = (plan: FactoryPlan): Validation => {
  const seen = new Set([plan.coordinatorKey.slice(2)]);
  return eachOf(plan.roster, ({ key }, index) => {
    const x = key.slice(2);
    if (seen.has(x)) return problem(`roster[${index}].key`, 'is in the factory already');
    seen.add(x);
    return undefined;
  });
};

/** All keys have the form of keys, are points and have an aggregate (rule 4). The aggregate is what the funding script needs anyway. */
const checkPoints = (plan: FactoryPlan): Validation => {
  try {
    aggregateKeys(signersOf(plan, { from: 0, to: plan.roster.length }));
    return undefined;
  } catch (error) {
    if (!(error instanceof MusigError)) throw error;
    const field = error.index === undefined ? 'roster' : error.index === 0 ? 'coordinatorKey' : `roster[${error.index - 1}].key`;
    return problem(field, error.message);
  }
};

const checkHeights = (plan: FactoryPlan): Validation => {
  const { activeBlocks, dyingBlocks, settlingBlocks } = plan.terms;
  return first(
    () => whole('startHeight', plan.startHeight, { min: 0, max: LOCKTIME_THRESHOLD - 1 }),
    () => whole('expiryHeight', plan.expiryHeight, { min: 0, max: LOCKTIME_THRESHOLD - 1 }),
    () => same('expiryHeight', plan.expiryHeight, plan.startHeight + activeBlocks + dyingBlocks + settlingBlocks),
  );
};

/** The tree's amounts add up to something that exists. Each of them has been bounded; their sum may still be too much. */
const checkMoney = (plan: FactoryPlan): Validation => wellFormed(() => fundingAmount(plan));

/** A plan in itself, but for whether its keys are points: that costs time. */
const checkPlan = (plan: FactoryPlan, bounds: PlanBounds): Validation =>
  first(
    // The count first: everything after it grows with it.
    () => whole('roster.length', plan.roster.length, bounds.clients),
    () => wellFormed(() => instanceId(plan.instanceId, 'instanceId')),
    () => checkTermsNumbers(plan.terms, bounds.terms, 'terms.'),
    () => checkShape(plan.roster.length, plan.fanouts),
    () => checkHeights(plan),
    () => eachOf(plan.roster, (entry, index) => checkEntry(entry, index, bounds.capacity)),
    () => checkDistinct(plan),
    () => checkMoney(plan),
  );

/** A plan in itself: bounds, shape, heights, money, keys. For the coordinator, before it prepares the funding. */
export const validatePlan = (plan: FactoryPlan, bounds: PlanBounds): Validation =>
  first(
    () => checkPlan(plan, bounds),
    () => checkPoints(plan),
  );

/** What a member knows itself, and holds a spec against. */
export interface SpecExpectation {
  /** Of the invitation that was accepted. */
  readonly instanceId: InstanceId;
  readonly invite: Invite;
  /** As the message says; checked against the two below. */
  readonly memberIndex: number;
  readonly ownKey: PubKey;
  readonly ownPayoutScript: Script;
  /** Height of the best block this node knows. */
  readonly tipHeight: number;
}

const TERMS_FIELDS = ['chainHash', ...TERMS_NUMBERS] as const satisfies readonly (keyof Terms)[];

const checkOwnEntry = (spec: FactorySpec, expected: SpecExpectation): Validation => {
  const index = expected.memberIndex;
  const own = spec.roster[index];
  if (!own) return problem('memberIndex', 'is not in the roster');
  const field = `roster[${index}]`;
  return first(
    () => same(`${field}.key`, own.key, expected.ownKey),
    () => same(`${field}.payoutScript`, own.payoutScript, expected.ownPayoutScript),
    () => same(`${field}.capacity`, own.capacity, expected.invite.capacity),
    () => same(`${field}.stock`, own.stock, expected.invite.stock),
  );
};

const checkFunding = ({ funding }: FactorySpec): Validation =>
  first(
    () => wellFormed(() => txid(funding.txid, 'funding.txid')),
    () => whole('funding.vout', funding.vout, { min: 0, max: MAX_FUNDING_VOUT }),
  );

/**
 * Whether a member may sign for this spec: it is what was agreed, it is sound in itself, and the member's own entry is
 * right, where it should be, and there once (rules 1 to 4). What is left to the coordinator's choice (the other entries,
 * the shape, the funding outpoint) is bounded here and bound by every signature.
 */
export const validateSpec = (spec: FactorySpec, expected: SpecExpectation, bounds: PlanBounds): Validation =>
  first(
    () => whole('roster.length', spec.roster.length, { min: expected.invite.minClients, max: expected.invite.maxClients }),
    () => same('instanceId', spec.instanceId, expected.instanceId),
    () => eachOf(TERMS_FIELDS, (name) => same(`terms.${name}`, spec.terms[name], expected.invite[name])),
    () => whole('startHeight', spec.startHeight, { min: expected.tipHeight - HEIGHT_TOLERANCE, max: expected.tipHeight + HEIGHT_TOLERANCE }),
    () => checkOwnEntry(spec, expected),
    () => checkFunding(spec),
    () => checkPlan(spec, bounds),
    () => same('fundingAmount', spec.fundingAmount, fundingAmount(spec)),
    // Everything up to here costs next to nothing.
    () => checkPoints(spec),
  );
