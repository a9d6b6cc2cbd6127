/**
 * Our messages as bytes (`cln-factory-protocol.md`, "Messages"): u8 version, u16 message number, 32 bytes instance id,
 * u16 attempt, TLV stream. The table below is the one place that knows numbers, TLV types and senders; to add a
 * message or a field, add its type to `messages.ts` and its line here, and say so in the specification (a test compares).
 */
import type { Hex } from './brands.js';
import { bytesToHex, hexToBytes, Reader, Writer } from './bytes.js';
import { channelInFactoryField } from './channel-in-factory.js';
import { list, text, uint, type Codec } from './codec.js';
import { DecodeError } from './errors.js';
import {
  aggregateNonceField,
  chainHashField,
  channelIdField,
  clientsField,
  closeOutputsField,
  fanoutsField,
  heightField,
  instanceIdField,
  msatField,
  outpointField,
  partialField,
  paymentHashField,
  paymentSecretField,
  point,
  preimageField,
  publicNonceField,
  rosterField,
  satField,
  scriptField,
  secretKeyField,
  signatureField,
  txidField,
} from './field-codecs.js';
import { decodeFields, encodeFields, fieldTable, type Field, type Layout } from './fields.js';
import { MAX_PATH, MAX_PAYLOAD, MAX_PURCHASES, MAX_REASON, MAX_ROSTER } from './limits.js';
import type { FactoryEnvelope, FactoryMessage, FactoryMessageType } from './messages.js';

export const PROTOCOL_VERSION = 1;

export type Sender = 'coordinator' | 'member' | 'either';
type Body<T extends FactoryMessageType> = Omit<Extract<FactoryMessage, { readonly type: T }>, 'type'>;
type Table = { readonly [T in FactoryMessageType]: readonly [number: number, sender: Sender, fields: Layout<Body<T>>] };

/** One item per transaction the member signs. */
const perPath = <T>(item: Codec<T>): Codec<readonly T[]> => list(item, 1, MAX_PATH);
const reason = { code: [0, uint('u16')], reason: [2, text(MAX_REASON)] } as const;

const TABLE: Table = {
  // Ceremony.
  invite: [
    2,
    'coordinator',
    {
      chainHash: [0, chainHashField],
      capacity: [2, satField],
      stock: [4, satField],
      treeFeerate: [6, uint('tu32')],
      activeBlocks: [8, heightField],
      dyingBlocks: [10, heightField],
      settlingBlocks: [12, heightField],
      stockCsv: [14, uint('tu16')],
      minDepth: [16, uint('tu16')],
      minClients: [18, clientsField],
      maxClients: [20, clientsField],
    },
  ],
  join: [4, 'member', { key: [0, point], payoutScript: [2, scriptField] }],
  decline: [6, 'member', reason],
  spec: [
    8,
    'coordinator',
    {
      coordinatorKey: [0, point],
      memberIndex: [2, uint('tu16', MAX_ROSTER - 1)],
      roster: [4, rosterField],
      fanouts: [6, fanoutsField],
      startHeight: [8, heightField],
      expiryHeight: [10, heightField],
      funding: [12, outpointField],
      fundingAmount: [14, satField],
    },
  ],
  nonces: [10, 'member', { nonces: [0, perPath(publicNonceField)] }],
  aggregate_nonces: [12, 'coordinator', { nonces: [0, perPath(aggregateNonceField)] }],
  partials: [14, 'member', { partials: [0, perPath(partialField)] }],
  signatures: [16, 'coordinator', { signatures: [0, perPath(signatureField)] }],
  stored: [18, 'member', {}],
  // Channels.
  open_intent: [32, 'coordinator', { channelInFactory: [0, channelInFactoryField], fundingAmount: [2, satField] }],
  open_ready: [34, 'member', {}],
  leaf: [36, 'coordinator', { channelScript: [0, scriptField], nonce: [2, publicNonceField] }],
  leaf_partial: [38, 'member', { nonce: [0, publicNonceField], partial: [2, partialField] }],
  leaf_signature: [40, 'coordinator', { signature: [0, signatureField] }],
  leaf_stored: [42, 'member', {}],
  channel_opened: [44, 'coordinator', { channelId: [0, channelIdField] }],
  ready: [46, 'member', {}],
  published: [48, 'coordinator', { fundingTxid: [0, txidField] }],
  // Close.
  close_request: [64, 'coordinator', {}],
  close_ready: [66, 'member', { balance: [0, msatField] }],
  close_proposal: [68, 'coordinator', { outputs: [0, closeOutputsField] }],
  close_nonce: [70, 'member', { nonce: [0, publicNonceField] }],
  close_aggregate_nonce: [72, 'coordinator', { nonce: [0, aggregateNonceField] }],
  close_partial: [74, 'member', { partial: [0, partialField] }],
  close_signature: [76, 'coordinator', { signature: [0, signatureField] }],
  // Purchases.
  purchase_quote_request: [80, 'member', { amount: [0, satField] }],
  purchase_quote: [
    82,
    'coordinator',
    { amount: [0, satField], fee: [2, msatField], stockLeft: [4, satField], refusal: [5, text(MAX_REASON), 'optional'] },
  ],
  purchase_offer: [84, 'coordinator', { amount: [0, satField], fee: [2, msatField] }],
  purchase_request: [86, 'member', { amount: [0, satField], fee: [2, msatField], paymentHash: [4, paymentHashField] }],
  purchase_intent: [
    88,
    'coordinator',
    { channelInFactory: [0, channelInFactoryField], amount: [2, satField], index: [4, uint('tu16', MAX_PURCHASES - 1)] },
  ],
  purchase_ready: [90, 'member', {}],
  purchase_opened: [92, 'coordinator', { channelScript: [0, scriptField], channelId: [2, channelIdField], nonce: [4, publicNonceField] }],
  purchase_partial: [94, 'member', { coordinatorNonce: [0, publicNonceField], nonce: [2, publicNonceField], partial: [4, partialField] }],
  purchase_signature: [96, 'coordinator', { signature: [0, signatureField] }],
  purchase_stored: [98, 'member', { preimage: [0, preimageField] }],
  purchase_abort: [100, 'either', reason],
  // Rotation.
  migrate: [112, 'coordinator', { toInstance: [0, instanceIdField] }],
  migrating: [114, 'member', {}],
  migrated: [
    116,
    'member',
    { owed: [0, msatField], paymentHash: [2, paymentHashField], paymentSecret: [4, paymentSecretField], finalCltv: [6, uint('tu16')] },
  ],
  key_handover: [118, 'member', { secretKey: [0, secretKeyField] }],
  key_received: [120, 'coordinator', {}],
  leave: [122, 'member', { leaves: [0, uint('u8', 1)] }],
  leave_noted: [124, 'coordinator', { leaves: [0, uint('u8', 1)] }],
  // At any time.
  abort: [128, 'either', reason],
  // Waiting room: of no factory.
  waiting_join: [144, 'member', { chainHash: [0, chainHashField], capacity: [2, satField], stock: [4, satField] }],
  waiting_withdraw: [146, 'member', {}],
  waiting_accepted: [148, 'coordinator', {}],
  waiting_over: [150, 'coordinator', reason],
};

interface MessageKind {
  readonly type: FactoryMessageType;
  readonly number: number;
  readonly sender: Sender;
  readonly fields: readonly Field[];
}

const KINDS: ReadonlyMap<FactoryMessageType, MessageKind> = new Map(
  (Object.keys(TABLE) as FactoryMessageType[]).map((type) => {
    const [number, sender, layout] = TABLE[type];
    return [type, { type, number, sender, fields: fieldTable<object>(layout) }];
  }),
);
const BY_NUMBER: ReadonlyMap<number, MessageKind> = new Map([...KINDS.values()].map((kind) => [kind.number, kind]));

const kindOf = (type: FactoryMessageType): MessageKind => {
  const kind = KINDS.get(type);
  if (kind === undefined) throw new TypeError(`no such message: ${type}`); // not a FactoryMessageType: a bug of the caller
  return kind;
};

/** Every message there is, in the order of their numbers. */
export const MESSAGE_TYPES: readonly FactoryMessageType[] = [...KINDS.keys()];
/** The fields of a message, in the order of the wire. */
export const messageFields = (type: FactoryMessageType): readonly Field[] => kindOf(type).fields;
export const messageNumber = (type: FactoryMessageType): number => kindOf(type).number;
/** Who may send it. */
export const messageSender = (type: FactoryMessageType): Sender => kindOf(type).sender;

const header = { version: uint('u8'), number: uint('u16'), attempt: uint('u16', Infinity, 1) };

/**
 * A message as the payload of `factory_piggyback`.
 * @throws EncodeError for a value without an encoding, too_long for a message beyond MAX_PAYLOAD
 */
export const encodeMessage = ({ header: { instanceId, attempt }, message }: FactoryEnvelope): Hex => {
  const { number, fields } = kindOf(message.type);
  const writer = new Writer(MAX_PAYLOAD, message.type);
  header.version.write(writer, PROTOCOL_VERSION, 'version');
  header.number.write(writer, number, 'message_number');
  instanceIdField.write(writer, instanceId, `${message.type}.instance_id`);
  header.attempt.write(writer, attempt, `${message.type}.attempt`);
  encodeFields(writer, fields, message, MAX_PAYLOAD, message.type);
  return bytesToHex(writer.finish());
};

/**
 * A payload of `factory_piggyback` as a message.
 * @throws DecodeError and nothing else, whatever `payload` is. `unknown_odd_message` and `version` deserve a shrug, the
 *   others a log line: none of them may change any state.
 */
export const decodeMessage = (payload: string): FactoryEnvelope => {
  const reader = new Reader(hexToBytes(payload, MAX_PAYLOAD, 'payload'));
  const version = header.version.read(reader, 'version');
  if (version !== PROTOCOL_VERSION) throw new DecodeError('version', 'version', `${version}, we speak ${PROTOCOL_VERSION}`);
  const number = header.number.read(reader, 'message_number');
  const kind = BY_NUMBER.get(number);
  if (kind === undefined) {
    throw new DecodeError(number % 2 === 0 ? 'unknown_even_message' : 'unknown_odd_message', 'message_number', `${number} is unknown`);
  }
  const instanceId = instanceIdField.read(reader, `${kind.type}.instance_id`);
  const attempt = header.attempt.read(reader, `${kind.type}.attempt`);
  // The table's type guarantees that these fields make up this message.
  const message = { type: kind.type, ...decodeFields(reader, kind.fields, kind.type) } as unknown as FactoryMessage;
  return { header: { instanceId, attempt }, message };
};
