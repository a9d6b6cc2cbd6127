/** Factories to test with: keys, plans and specs that add up, fixed or random. */
import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex, utf8ToBytes } from '@noble/hashes/utils.js';
import fc from 'fast-check';
import { chainHash, instanceId, sat, script, txid, type PubKey, type Script } from '../../../blip/brands.js';
import type { Invite, RosterEntry } from '../../../blip/messages.js';
import { publicKeyOf } from '../../keys.js';
import type { FactoryPlan, FactorySpec, Terms } from '../../model.js';
import { checkShape, planShape } from '../../shape.js';
import { fundingAmount } from '../../transactions.js';
import { DEFAULT_TERMS, type SpecExpectation } from '../../validate.js';

/** The same 32 bytes for the same words. */
export const digest = (words: string): Uint8Array => sha256(utf8ToBytes(words));

const publicKeys = new Map<string, PubKey>();
export const secretKey = (name: string): Uint8Array => digest(`secret key of ${name}`);
export const publicKey = (name: string): PubKey => {
  const known = publicKeys.get(name) ?? publicKeyOf(secretKey(name));
  publicKeys.set(name, known);
  return known;
};

export const COORDINATOR = 'coordinator';
export const client = (index: number): string => `client ${index}`;

const PAYOUT_PREFIXES = [
  ['0014', 40],
  ['0020', 64],
  ['5120', 64],
] as const;
/** A payout script of each allowed type in turn. */
export const payoutScript = (index: number): Script => {
  const [prefix, digits] = PAYOUT_PREFIXES[index % 3] ?? PAYOUT_PREFIXES[0];
  return script(prefix + bytesToHex(digest(`payout ${index}`)).slice(0, digits));
};
/** A 2-of-2 like CLN's: P2WSH of something. */
export const channelScript = (index: number): Script => script(`0020${bytesToHex(digest(`channel ${index}`))}`);

export const REGTEST = chainHash('06226e46111a0b59caaf126043eb5bbf28c34f3a5e332a1fc7b2b73cf188910f');
export const TERMS: Terms = { ...DEFAULT_TERMS, chainHash: REGTEST };

export interface ClientAmounts {
  readonly capacity: bigint;
  readonly stock: bigint;
}
export interface FactoryOptions {
  readonly clients: readonly ClientAmounts[];
  readonly fanouts?: readonly number[];
  readonly terms?: Partial<Terms>;
  readonly startHeight?: number;
}

const rosterEntry = ({ capacity, stock }: ClientAmounts, index: number): RosterEntry => ({
  key: publicKey(client(index)),
  payoutScript: payoutScript(index),
  capacity: sat(capacity),
  stock: sat(stock),
});

export const planFor = ({ clients, fanouts = planShape(clients.length), terms, startHeight = 800_000 }: FactoryOptions): FactoryPlan => {
  const all = { ...TERMS, ...terms };
  return {
    instanceId: instanceId(bytesToHex(digest('instance'))),
    terms: all,
    coordinatorKey: publicKey(COORDINATOR),
    roster: clients.map(rosterEntry),
    fanouts,
    startHeight,
    expiryHeight: startHeight + all.activeBlocks + all.dyingBlocks + all.settlingBlocks,
  };
};

/** A plan with a funding output that fits it. */
export const fund = (plan: FactoryPlan): FactorySpec => ({
  ...plan,
  funding: { txid: txid(bytesToHex(digest('funding'))), vout: 1 },
  fundingAmount: fundingAmount(plan),
});
export const specFor = (options: FactoryOptions): FactorySpec => fund(planFor(options));

/** As many clients, all with the same amounts. */
export const alike = (n: number, capacity = 1_000_000n, stock = 500_000n): readonly ClientAmounts[] =>
  Array.from({ length: n }, () => ({ capacity, stock }));

/** What the member of this spec at `memberIndex` agreed to and knows. */
export const expectationOf = (spec: FactorySpec, memberIndex: number): SpecExpectation => {
  const own = spec.roster[memberIndex];
  if (!own) throw new RangeError('no such member');
  const { key: ownKey, payoutScript: ownPayoutScript, capacity, stock } = own;
  const invite: Invite = { type: 'invite', ...spec.terms, capacity, stock, minClients: 2, maxClients: spec.roster.length };
  return { instanceId: spec.instanceId, invite, memberIndex, ownKey, ownPayoutScript, tipHeight: spec.startHeight };
};

const MAX_TEST_CLIENTS = 24;

/** Fan-outs that hold n clients: deep trees and flat ones, also with more room than they need. */
export const arbitraryFanouts = (n: number): fc.Arbitrary<readonly number[]> =>
  fc
    .constantFrom(2, 3, 5, 16)
    .chain((max) => fc.array(fc.integer({ min: 2, max }), { minLength: 9, maxLength: 9 }))
    .map((all) => {
      const enough = all.findIndex((_, level) => !checkShape(n, all.slice(0, level + 1)));
      return enough < 0 ? planShape(n) : all.slice(0, enough + 1);
    });

/** In sat; the largest channel and the largest stock of the factories below. */
const MAX_TEST_AMOUNT = 1_000_000_000n;

/** Any sound plan for a handful to two dozen clients. */
export const arbitraryPlan = ({ maxClients = MAX_TEST_CLIENTS, maxAmount = MAX_TEST_AMOUNT } = {}): fc.Arbitrary<FactoryPlan> => {
  const oneClient: fc.Arbitrary<ClientAmounts> = fc.record({
    capacity: fc.bigInt({ min: 10_000n, max: maxAmount }),
    stock: fc.oneof(fc.constant(0n), fc.bigInt({ min: 330n, max: maxAmount })),
  });
  const terms = fc.record({ treeFeerate: fc.integer({ min: 1_000, max: 1_000_000 }), stockCsv: fc.integer({ min: 18, max: 0xffff }) });
  return fc
    .array(oneClient, { minLength: 2, maxLength: maxClients })
    .chain((clients) => fc.record({ clients: fc.constant(clients), fanouts: arbitraryFanouts(clients.length), terms }))
    .map(planFor);
};

/** The same, funded. */
export const arbitrarySpec: fc.Arbitrary<FactorySpec> = arbitraryPlan().map(fund);
