/**
 * bLIP-56's one Lightning message, type 32800, with its sub-messages. The numbers are the draft's. We send and act on
 * `supported_factory_protocols` and `factory_piggyback`; the `factory_change_*` ones need support in the node itself and
 * are here so that we understand what a peer says.
 */
import { MAX_MONEY, hex, type ChannelId, type Hex, type ProtocolId, type PubKey, type Txid } from './brands.js';
import { bytesToHex, hexToBytes, Reader, Writer } from './bytes.js';
import { list, restBytes, s64, struct, uint } from './codec.js';
import { DecodeError } from './errors.js';
import { channelIdField, point, protocolIdField, txidField } from './field-codecs.js';
import { decodeFields, encodeFields, fieldTable, type Field, type Layout } from './fields.js';
import { MAX_LIGHTNING_MESSAGE, MAX_PAYLOAD } from './limits.js';

/** `factory_message_id`: 0x8020. */
export const FACTORY_MESSAGE_TYPE = 32_800;

export interface FactoryChange {
  readonly channelId: ChannelId;
  /** What the sender adds to its side of the channel; satoshis, may be negative. */
  readonly fundingContribution: bigint;
  readonly fundingPubkey: PubKey;
}
export interface FactoryFunding {
  readonly channelId: ChannelId;
  readonly fundingTxid: Txid;
  readonly fundingOutputIndex: number;
}
export interface FactoryLocked {
  readonly channelId: ChannelId;
  readonly lockedFundingTxid: Txid;
}

/** The sub-messages of the draft. */
export type KnownSubMessage =
  | { readonly kind: 'supported_factory_protocols'; readonly protocolIds: readonly ProtocolId[] }
  | { readonly kind: 'factory_piggyback'; readonly protocolId: ProtocolId; readonly payload: Hex }
  | { readonly kind: 'factory_change_init'; readonly payload?: Hex; readonly change: FactoryChange }
  | { readonly kind: 'factory_change_ack'; readonly payload?: Hex; readonly change: FactoryChange }
  | { readonly kind: 'factory_change_funding'; readonly funding: FactoryFunding }
  | { readonly kind: 'factory_change_continue'; readonly funding: FactoryFunding }
  | { readonly kind: 'factory_change_locked'; readonly locked: FactoryLocked };

/** A sub-message of bLIP-56; `unknown` ones have odd ids, and may be ignored. */
export type BlipMessage = KnownSubMessage | { readonly kind: 'unknown'; readonly id: number };

type Body<K extends KnownSubMessage['kind']> = Omit<Extract<KnownSubMessage, { readonly kind: K }>, 'kind'>;
type Table = { readonly [K in KnownSubMessage['kind']]: readonly [id: number, fields: Layout<Body<K>>] };

const payload = restBytes('...*byte', 0, MAX_PAYLOAD, hex);
const change = struct<FactoryChange>('factory_change', {
  channelId: channelIdField,
  fundingContribution: s64(MAX_MONEY),
  fundingPubkey: point,
});
const funding = struct<FactoryFunding>('factory_change_funding', {
  channelId: channelIdField,
  fundingTxid: txidField,
  fundingOutputIndex: uint('u16'),
});
const locked = struct<FactoryLocked>('factory_change_locked', { channelId: channelIdField, lockedFundingTxid: txidField });

const TABLE: Table = {
  supported_factory_protocols: [2, { protocolIds: [512, list(protocolIdField, 0, Math.floor(MAX_LIGHTNING_MESSAGE / 32))] }],
  factory_piggyback: [4, { protocolId: [0, protocolIdField], payload: [1024, payload] }],
  factory_change_init: [6, { payload: [1024, payload, 'optional'], change: [1536, change] }],
  factory_change_ack: [8, { payload: [1024, payload, 'optional'], change: [1536, change] }],
  factory_change_funding: [10, { funding: [2560, funding] }],
  factory_change_continue: [12, { funding: [3072, funding] }],
  factory_change_locked: [14, { locked: [3584, locked] }],
};

interface SubMessage {
  readonly kind: KnownSubMessage['kind'];
  readonly id: number;
  readonly fields: readonly Field[];
}

/** The sub-messages with their fields, so that tests can enumerate them. */
export const SUB_MESSAGES: readonly SubMessage[] = (Object.keys(TABLE) as KnownSubMessage['kind'][]).map((kind) => {
  const [id, layout] = TABLE[kind];
  return { kind, id, fields: fieldTable<object>(layout) };
});

/**
 * The whole Lightning message, its type first: what CLN's `sendcustommsg` takes.
 * @throws EncodeError
 */
export const encodeFactoryMessage = (message: KnownSubMessage): Hex => {
  const found = SUB_MESSAGES.find((s) => s.kind === message.kind);
  if (found === undefined) throw new TypeError(`no such sub-message: ${message.kind}`); // a bug of the caller
  const writer = new Writer(MAX_LIGHTNING_MESSAGE, message.kind).uint(FACTORY_MESSAGE_TYPE, 2).uint(found.id, 2);
  encodeFields(writer, found.fields, message, MAX_LIGHTNING_MESSAGE, message.kind);
  return bytesToHex(writer.finish());
};

/**
 * A Lightning message of type 32800, its type first: what CLN's `custommsg` delivers.
 * @throws DecodeError and nothing else. The draft asks for a warning and a closed connection; stock CLN leaves us the
 *   warning, see the specification.
 */
export const decodeFactoryMessage = (message: string): BlipMessage => {
  const reader = new Reader(hexToBytes(message, MAX_LIGHTNING_MESSAGE, 'factory_message'));
  const type = reader.u(2, 'factory_message.type');
  if (type !== FACTORY_MESSAGE_TYPE) {
    throw new DecodeError('wrong_type', 'factory_message.type', `${type}, expected ${FACTORY_MESSAGE_TYPE}`);
  }
  const id = reader.u(2, 'factory_submessage_id');
  const found = SUB_MESSAGES.find((s) => s.id === id);
  if (found !== undefined) {
    // The table's type guarantees that these fields make up this sub-message.
    return { kind: found.kind, ...decodeFields(reader, found.fields, found.kind) } as unknown as KnownSubMessage;
  }
  if (id % 2 === 0) throw new DecodeError('unknown_even_message', 'factory_submessage_id', `${id} is unknown`);
  return { kind: 'unknown', id };
};
