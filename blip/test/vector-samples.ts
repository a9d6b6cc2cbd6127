/** The messages our vectors are made of: one factory's life with three clients, keys on the curve. */
import { secp256k1 } from '@noble/curves/secp256k1.js';
import { createHash } from 'node:crypto';
import {
  FACTORY_PROTOCOL_ID,
  NO_INSTANCE,
  aggregateNonce,
  chainHash,
  channelId,
  encodeChannelInFactory,
  instanceId,
  msat,
  partialSignature,
  paymentHash,
  preimage,
  paymentSecret,
  pubKey,
  publicNonce,
  sat,
  schnorrSignature,
  script,
  secretKey,
  txid,
  type AggregateNonce,
  type FactoryMessage,
  type InstanceId,
  type PubKey,
  type PublicNonce,
} from '../index.js';

const sha = (label: string): string => createHash('sha256').update(label).digest('hex');
/** n·G */
const point = (n: number): PubKey => pubKey(secp256k1.Point.BASE.multiply(BigInt(n)).toHex(true));
const nonce = (n: number): PublicNonce => publicNonce(point(n) + point(n + 1));
const aggregate = (n: number): AggregateNonce => aggregateNonce(nonce(n));
const partial = (n: number) => partialSignature(sha(`partial ${n}`));
const signature = (n: number) => schnorrSignature(sha(`r ${n}`) + sha(`s ${n}`));
const p2wpkh = (n: number) => script(`0014${sha(`wpkh ${n}`).slice(0, 40)}`);
const p2wsh = (n: number) => script(`0020${sha(`wsh ${n}`)}`);
const p2tr = (n: number) => script(`5120${point(n).slice(2)}`);

export const INSTANCE = instanceId(sha('instance'));
/** Regtest's genesis block, in internal byte order (BOLT 0). */
const REGTEST = chainHash('06226e46111a0b59caaf126043eb5bbf28c34f3a5e332a1fc7b2b73cf188910f');
const PREIMAGE = preimage(sha('preimage'));
const reason = 'capacity below our minimum: 20 000 sat — “no”';

interface Sample {
  readonly name: string;
  /** `INSTANCE` if absent. */
  readonly instance?: InstanceId;
  readonly attempt: number;
  readonly message: FactoryMessage;
}
export const samples: readonly Sample[] = [
  {
    name: 'invite with the default terms',
    attempt: 1,
    message: {
      type: 'invite',
      chainHash: REGTEST,
      capacity: sat(200_000n),
      stock: sat(50_000n),
      treeFeerate: 2_000,
      activeBlocks: 4_320,
      dyingBlocks: 432,
      settlingBlocks: 432,
      stockCsv: 144,
      minDepth: 3,
      minClients: 2,
      maxClients: 3,
    },
  },
  {
    name: 'invite without stock: its integer has no bytes',
    attempt: 1,
    message: {
      type: 'invite',
      chainHash: REGTEST,
      capacity: sat(2_100_000_000_000_000n),
      stock: sat(0n),
      treeFeerate: 4_294_967_295,
      activeBlocks: 499_999_999,
      dyingBlocks: 0,
      settlingBlocks: 256,
      stockCsv: 65_535,
      minDepth: 1,
      minClients: 2,
      maxClients: 1_000,
    },
  },
  { name: 'join', attempt: 1, message: { type: 'join', key: point(3), payoutScript: p2wpkh(1) } },
  { name: 'decline with a reason beyond ASCII', attempt: 1, message: { type: 'decline', code: 5, reason } },
  {
    // With the terms of the first invite, the amount is what the tree needs (specification, "Amounts").
    name: 'spec with each kind of payout script',
    attempt: 2,
    message: {
      type: 'spec',
      coordinatorKey: point(2),
      memberIndex: 1,
      roster: [
        { key: point(3), payoutScript: p2wpkh(1), capacity: sat(200_000n), stock: sat(50_000n) },
        { key: point(4), payoutScript: p2wsh(2), capacity: sat(100_000n), stock: sat(0n) },
        { key: point(5), payoutScript: p2tr(6), capacity: sat(4_294_967_296n), stock: sat(100_000n) },
      ],
      fanouts: [2, 2],
      startHeight: 101,
      expiryHeight: 5_285,
      funding: { txid: txid(sha('funding')), vout: 1 },
      fundingAmount: sat(4_295_420_080n),
    },
  },
  { name: 'nonces for two splits and the distribution', attempt: 2, message: { type: 'nonces', nonces: [nonce(10), nonce(20), nonce(30)] } },
  {
    name: 'aggregate nonces, one half at infinity',
    attempt: 2,
    message: { type: 'aggregate_nonces', nonces: [aggregate(40), aggregateNonce(point(50) + '00'.repeat(33)), aggregate(60)] },
  },
  { name: 'partials', attempt: 2, message: { type: 'partials', partials: [partial(1), partial(2), partial(3)] } },
  { name: 'signatures', attempt: 2, message: { type: 'signatures', signatures: [signature(1), signature(2), signature(3)] } },
  { name: 'stored', attempt: 2, message: { type: 'stored' } },
  {
    name: 'open_intent',
    attempt: 2,
    message: {
      type: 'open_intent',
      channelInFactory: encodeChannelInFactory({ protocolId: FACTORY_PROTOCOL_ID, instanceId: INSTANCE, earlyWarningTime: 36 }),
      fundingAmount: sat(100_000n),
    },
  },
  { name: 'open_ready', attempt: 2, message: { type: 'open_ready' } },
  { name: 'leaf', attempt: 2, message: { type: 'leaf', channelScript: p2wsh(7), nonce: nonce(70) } },
  { name: 'leaf_partial', attempt: 2, message: { type: 'leaf_partial', nonce: nonce(80), partial: partial(4) } },
  { name: 'leaf_signature', attempt: 2, message: { type: 'leaf_signature', signature: signature(4) } },
  { name: 'leaf_stored', attempt: 2, message: { type: 'leaf_stored' } },
  { name: 'channel_opened', attempt: 2, message: { type: 'channel_opened', channelId: channelId(sha('channel')) } },
  { name: 'ready', attempt: 65_535, message: { type: 'ready' } },
  { name: 'published', attempt: 2, message: { type: 'published', fundingTxid: txid(sha('funding')) } },
  { name: 'close_request', attempt: 1, message: { type: 'close_request' } },
  { name: 'close_ready', attempt: 1, message: { type: 'close_ready', balance: msat(12_345_678n) } },
  { name: 'close_ready with the largest balance', attempt: 1, message: { type: 'close_ready', balance: msat(2_100_000_000_000_000_000n) } },
  {
    name: 'close_proposal',
    attempt: 1,
    message: {
      type: 'close_proposal',
      outputs: [
        { amount: sat(12_345n), script: p2wpkh(1) },
        { amount: sat(4_295_000_000n), script: p2tr(9) },
      ],
    },
  },
  { name: 'close_nonce', attempt: 1, message: { type: 'close_nonce', nonce: nonce(90) } },
  { name: 'close_aggregate_nonce', attempt: 1, message: { type: 'close_aggregate_nonce', nonce: aggregate(100) } },
  { name: 'close_partial', attempt: 1, message: { type: 'close_partial', partial: partial(5) } },
  { name: 'close_signature', attempt: 1, message: { type: 'close_signature', signature: signature(5) } },
  { name: 'migrate', attempt: 1, message: { type: 'migrate', toInstance: instanceId(sha('next instance')) } },
  { name: 'migrating', attempt: 1, message: { type: 'migrating' } },
  {
    name: 'migrated',
    attempt: 1,
    message: { type: 'migrated', owed: msat(548_017n), paymentHash: paymentHash(sha('payment')), paymentSecret: paymentSecret(sha('payment secret')), finalCltv: 55 },
  },
  { name: 'key_handover: the key of the spec’s second member', attempt: 1, message: { type: 'key_handover', secretKey: secretKey('04'.padStart(64, '0')) } },
  { name: 'key_received', attempt: 1, message: { type: 'key_received' } },
  { name: 'abort without words', attempt: 3, message: { type: 'abort', code: 1, reason: '' } },
  { name: 'abort with 512 bytes of words', attempt: 3, message: { type: 'abort', code: 2, reason: 'é'.repeat(256) } },
  { name: 'abort without words', attempt: 3, message: { type: 'abort', code: 1, reason: '' } },
  { name: 'abort with 512 bytes of words', attempt: 3, message: { type: 'abort', code: 2, reason: 'é'.repeat(256) } },
  { name: 'purchase_quote_request', attempt: 7, message: { type: 'purchase_quote_request', amount: sat(20_000n) } },
  { name: 'purchase_quote', attempt: 7, message: { type: 'purchase_quote', amount: sat(20_000n), fee: msat(21_000n), stockLeft: sat(29_426n) } },
  {
    name: 'purchase_quote that says no',
    attempt: 8,
    message: { type: 'purchase_quote', amount: sat(60_000n), fee: msat(61_000n), stockLeft: sat(50_000n), refusal: 'the stock has room for 49,752 sat' },
  },
  { name: 'purchase_offer for nothing: its fee has no bytes', attempt: 9, message: { type: 'purchase_offer', amount: sat(20_000n), fee: msat(0n) } },
  {
    name: 'purchase_request',
    attempt: 10,
    message: { type: 'purchase_request', amount: sat(20_000n), fee: msat(21_000n), paymentHash: paymentHash(createHash('sha256').update(Buffer.from(PREIMAGE, 'hex')).digest('hex')) },
  },
  {
    name: 'purchase_intent: the second purchase of its stock',
    attempt: 10,
    message: {
      type: 'purchase_intent',
      channelInFactory: encodeChannelInFactory({ protocolId: FACTORY_PROTOCOL_ID, instanceId: INSTANCE, earlyWarningTime: 48 }),
      amount: sat(20_000n),
      index: 1,
    },
  },
  { name: 'purchase_ready', attempt: 10, message: { type: 'purchase_ready' } },
  { name: 'purchase_opened', attempt: 10, message: { type: 'purchase_opened', channelScript: p2wsh(8), channelId: channelId(sha('purchase')), nonce: nonce(110) } },
  { name: 'purchase_partial', attempt: 10, message: { type: 'purchase_partial', coordinatorNonce: nonce(110), nonce: nonce(120), partial: partial(6) } },
  { name: 'purchase_signature', attempt: 10, message: { type: 'purchase_signature', signature: signature(6) } },
  { name: 'purchase_stored', attempt: 10, message: { type: 'purchase_stored', preimage: PREIMAGE } },
  { name: 'purchase_abort', attempt: 65_535, message: { type: 'purchase_abort', code: 7, reason } },
  { name: 'leave', attempt: 1, message: { type: 'leave', leaves: 1 } },
  { name: 'leave, withdrawn', attempt: 2, message: { type: 'leave', leaves: 0 } },
  { name: 'leave_noted', attempt: 1, message: { type: 'leave_noted', leaves: 1 } },
  { name: 'waiting_join', attempt: 1, instance: NO_INSTANCE, message: { type: 'waiting_join', chainHash: REGTEST, capacity: sat(1_000_000n), stock: sat(100_000n) } },
  { name: 'waiting_withdraw', attempt: 1, instance: NO_INSTANCE, message: { type: 'waiting_withdraw' } },
  { name: 'waiting_accepted', attempt: 2, instance: NO_INSTANCE, message: { type: 'waiting_accepted' } },
  { name: 'waiting_over', attempt: 3, instance: NO_INSTANCE, message: { type: 'waiting_over', code: 5, reason } },
];
