/** The operator's options, all `factory-…` (architecture 13). */
import { msat, nodeId, sat } from '../blip/brands.js';
import { DEFAULT_TERMS, DEFAULT_TERMS_BOUNDS } from '../factory-core/validate.js';
import type { Settings } from './commands/context.js';
import type { Accept } from './engine/accepting.js';
import { option } from './runtime/plugin.js';
import type { OptionsOf } from './runtime/options.js';

const accept = (name: string) => (value: string): Accept => {
  const words = value.split(/[\s,]+/).filter((w) => w !== '');
  if (words.length === 1 && (words[0] === 'none' || words[0] === 'any')) return { kind: words[0] };
  return { kind: 'nodes', nodes: new Set(words.map((w) => nodeId(w.toLowerCase(), name))) };
};

const within = (bounds: { readonly min: number; readonly max: number }) => (value: number): number => {
  if (value < bounds.min || value > bounds.max) throw new Error(`must be from ${bounds.min} to ${bounds.max}`);
  return value;
};
const bounds = DEFAULT_TERMS_BOUNDS;
/** In satoshis: up to one bitcoin. */
const MONEY = { min: 0, max: 100_000_000 };
/** Satoshis. */
const AMOUNT = { min: 0, max: 2_100_000_000_000_000 };

export const OPTIONS = {
  'factory-accept': option.string({
    dynamic: true,
    description: 'Whose invitations to a channel factory this node takes: node ids (with commas), `none` or `any`',
    default: 'none',
    convert: accept('factory-accept'),
  }),
  'factory-waiting': option.string({
    dynamic: true,
    description: 'Who may wait for this node’s next factory (factory-join): node ids (with commas), `none` or `any`',
    default: 'none',
    convert: accept('factory-waiting'),
  }),
  'factory-db': option.string({ description: 'The plugin’s database file; by default cln-factory.sqlite3 in the node’s directory' }),
  'factory-mainnet': option.bool({ description: 'Allow factories on the main network', default: false }),
  'factory-feerate': option.int({
    dynamic: true,
    description: 'Feerate of the transaction tree, in sat per 1,000 vB',
    default: DEFAULT_TERMS.treeFeerate,
    convert: within(bounds.treeFeerate),
  }),
  'factory-active-blocks': option.int({ dynamic: true, description: 'Blocks a new factory is active', default: DEFAULT_TERMS.activeBlocks, convert: within(bounds.activeBlocks) }),
  'factory-dying-blocks': option.int({
    dynamic: true,
    description: 'Blocks after that in which members move to the next factory',
    default: DEFAULT_TERMS.dyingBlocks,
    convert: within(bounds.dyingBlocks),
  }),
  'factory-settling-blocks': option.int({
    dynamic: true,
    description: 'Blocks after that, before expiry, in which the coordinator ends it',
    default: DEFAULT_TERMS.settlingBlocks,
    convert: within(bounds.settlingBlocks),
  }),
  'factory-stock-csv': option.int({
    dynamic: true,
    description: 'Blocks after which the coordinator alone can take back unsold stock, once it is on chain',
    default: DEFAULT_TERMS.stockCsv,
    convert: within(bounds.stockCsv),
  }),
  'factory-min-depth': option.int({
    dynamic: true,
    description: 'Confirmations of the funding transaction before a new factory is active',
    default: DEFAULT_TERMS.minDepth,
    convert: within(bounds.minDepth),
  }),
  'factory-step-timeout': option.int({
    dynamic: true,
    description: 'Seconds a client has for each answer in a ceremony before it goes on without it',
    default: 60,
    convert: within({ min: 1, max: 3_600 }),
  }),
  'factory-auto-close': option.bool({
    dynamic: true,
    description: 'Close a factory that is settling by itself, as soon as all its clients are connected',
    default: true,
  }),
  'factory-auto-rotate': option.bool({
    dynamic: true,
    description: 'Move the clients of a factory that is dying to a new one by itself, with what factory-rotate proposes',
    default: true,
  }),
  'factory-bump-budget': option.int({
    dynamic: true,
    description: 'Satoshis that raising the fees of one way out (or of one other transaction) may cost in all',
    default: 100_000,
    convert: within(MONEY),
  }),
  'factory-bump-daily-budget': option.int({
    dynamic: true,
    description: 'Satoshis that raising fees may cost within 144 blocks, everything together',
    default: 500_000,
    convert: within(MONEY),
  }),
  'factory-wallet-reserve': option.int({
    dynamic: true,
    description: 'Satoshis of the wallet that raising fees never touches: lightningd needs them to raise those of its own closes',
    default: 25_000,
    convert: within(MONEY),
  }),
  'factory-purchase-base': option.int({
    dynamic: true,
    description: 'Price of a channel out of a client’s stock: millisatoshis for each, besides factory-purchase-ppm',
    default: 1_000,
    convert: within({ min: 0, max: 1_000_000_000 }),
  }),
  'factory-purchase-ppm': option.int({
    dynamic: true,
    description: 'Price of a channel out of a client’s stock: millionths of its capacity, besides factory-purchase-base',
    default: 1_000,
    convert: within({ min: 0, max: 1_000_000 }),
  }),
  'factory-max-purchase-fee': option.int({
    dynamic: true,
    description: 'Millisatoshis this node pays at most for a channel that the LSP offers (factory-sell)',
    default: 0,
    convert: within({ min: 0, max: 1_000_000_000 }),
  }),
  'factory-min-capacity': option.int({
    dynamic: true,
    description: 'Satoshis of capacity a rotation proposes for a client at least',
    default: 50_000,
    convert: within(AMOUNT),
  }),
  'factory-max-capacity': option.int({
    dynamic: true,
    description: 'Satoshis of capacity a rotation proposes for a client at most; a balance that needs more gets more',
    default: 16_777_215,
    convert: within(AMOUNT),
  }),
  'factory-max-stock': option.int({ dynamic: true, description: 'Satoshis of stock a rotation proposes for a client at most', default: 16_777_215, convert: within(AMOUNT) }),
} as const;

export type Options = OptionsOf<typeof OPTIONS>;

/** As they are when they are asked for: most can be changed while the node runs (`setconfig`). */
export const settingsOf = (options: () => Options): Settings => ({
  get accept() {
    return options()['factory-accept'];
  },
  get waiting() {
    return options()['factory-waiting'];
  },
  get mainnetAllowed() {
    return options()['factory-mainnet'];
  },
  get stepTimeout() {
    return options()['factory-step-timeout'];
  },
  get autoClose() {
    return options()['factory-auto-close'];
  },
  get autoRotate() {
    return options()['factory-auto-rotate'];
  },
  get pricing() {
    return { base: msat(BigInt(options()['factory-purchase-base'])), ppm: options()['factory-purchase-ppm'] };
  },
  get maxPurchaseFee() {
    return msat(BigInt(options()['factory-max-purchase-fee']));
  },
  get budget() {
    const now = options();
    return {
      perExit: sat(BigInt(now['factory-bump-budget'])),
      perDay: sat(BigInt(now['factory-bump-daily-budget'])),
      reserve: sat(BigInt(now['factory-wallet-reserve'])),
    };
  },
  get allocation() {
    const now = options();
    return {
      minCapacity: sat(BigInt(now['factory-min-capacity'])),
      maxCapacity: sat(BigInt(now['factory-max-capacity'])),
      maxStock: sat(BigInt(now['factory-max-stock'])),
    };
  },
  get terms() {
    const now = options();
    return {
      treeFeerate: now['factory-feerate'],
      activeBlocks: now['factory-active-blocks'],
      dyingBlocks: now['factory-dying-blocks'],
      settlingBlocks: now['factory-settling-blocks'],
      stockCsv: now['factory-stock-csv'],
      minDepth: now['factory-min-depth'],
    };
  },
});
