/**
 * Branded types for everything that must not be mixed up. Ids, keys, scripts and signatures are lowercase hex strings
 * (they compare with `===` and store as text); amounts are `bigint`. Each has one constructor, and it validates.
 */
declare const brand: unique symbol;
export type Brand<T, B extends string> = T & { readonly [brand]: B };

/** Any bytes, as lowercase hex of even length. */
export type Hex = Brand<string, 'Hex'>;
/** A node's public key, 33 bytes compressed (BOLT 1). */
export type NodeId = Brand<string, 'NodeId'>;
/** A compressed secp256k1 point, 33 bytes. The shape is checked here, that it is on the curve where it is used. */
export type PubKey = Brand<string, 'PubKey'>;
/** A transaction id in display order (reversed hash), 32 bytes, as every RPC shows it. */
export type Txid = Brand<string, 'Txid'>;
/** A channel id, 32 bytes (BOLT 2). */
export type ChannelId = Brand<string, 'ChannelId'>;
/** `factory_instance_id` of bLIP-56, 32 bytes. */
export type InstanceId = Brand<string, 'InstanceId'>;
/** `factory_protocol_id` of bLIP-56, 32 bytes. */
export type ProtocolId = Brand<string, 'ProtocolId'>;
/** A chain hash: the genesis block's hash in internal byte order, 32 bytes (BOLT 0). */
export type ChainHash = Brand<string, 'ChainHash'>;
/** A scriptPubKey. */
export type Script = Brand<string, 'Script'>;
/** A BIP-327 public nonce, 66 bytes. */
export type PublicNonce = Brand<string, 'PublicNonce'>;
/** A BIP-327 aggregate nonce, 66 bytes (each half may be the point at infinity: 33 zero bytes). */
export type AggregateNonce = Brand<string, 'AggregateNonce'>;
/** A BIP-327 partial signature, 32 bytes. */
export type PartialSignature = Brand<string, 'PartialSignature'>;
/** A BIP-340 signature, 64 bytes. */
export type SchnorrSignature = Brand<string, 'SchnorrSignature'>;
/** SHA-256 of a preimage, 32 bytes (BOLT 4). */
export type PaymentHash = Brand<string, 'PaymentHash'>;
/** What settles an HTLC, 32 bytes. A secret until then. */
export type Preimage = Brand<string, 'Preimage'>;
/** A secret key, 32 bytes. It travels in one message only: a key that is good for nothing any more, handed over. */
export type SecretKey = Brand<string, 'SecretKey'>;
/** What the final node of a payment wants to see (BOLT 4), 32 bytes. */
export type PaymentSecret = Brand<string, 'PaymentSecret'>;
/** Satoshis. */
export type Sat = Brand<bigint, 'Sat'>;
/** Millisatoshis. */
export type Msat = Brand<bigint, 'Msat'>;

/** All the money there can be, in satoshis: the bound of every amount we read. */
export const MAX_MONEY = 2_100_000_000_000_000n;

/** A value that does not have the form its type asks for. `field` names the culprit. */
export class FormatError extends Error {
  readonly code = 'format';
  constructor(
    readonly field: string,
    readonly expected: string,
  ) {
    super(`${field}: expected ${expected}`);
    this.name = 'FormatError';
  }
}

const HEX = /^(?:[0-9a-f]{2})*$/;

const fixed =
  <T extends string>(bytes: number) =>
  (value: string, field: string): Brand<string, T> => {
    if (value.length !== bytes * 2 || !HEX.test(value)) throw new FormatError(field, `${bytes} bytes of lowercase hex`);
    return value as Brand<string, T>;
  };

export const hex = (value: string, field = 'hex'): Hex => {
  if (!HEX.test(value)) throw new FormatError(field, 'lowercase hex of even length');
  return value as Hex;
};
const point =
  <T extends string>() =>
  (value: string, field: string): Brand<string, T> => {
    const ok = fixed<T>(33)(value, field);
    if (!value.startsWith('02') && !value.startsWith('03')) throw new FormatError(field, 'a compressed point (02… or 03…)');
    return ok;
  };

export const nodeId = (v: string, field = 'node_id'): NodeId => point<'NodeId'>()(v, field);
export const pubKey = (v: string, field = 'key'): PubKey => point<'PubKey'>()(v, field);
export const txid = (v: string, field = 'txid'): Txid => fixed<'Txid'>(32)(v, field);
export const channelId = (v: string, field = 'channel_id'): ChannelId => fixed<'ChannelId'>(32)(v, field);
export const instanceId = (v: string, field = 'factory_id'): InstanceId => fixed<'InstanceId'>(32)(v, field);
export const protocolId = (v: string, field = 'factory_protocol_id'): ProtocolId => fixed<'ProtocolId'>(32)(v, field);
export const chainHash = (v: string, field = 'chain_hash'): ChainHash => fixed<'ChainHash'>(32)(v, field);
export const publicNonce = (v: string, field = 'nonce'): PublicNonce => fixed<'PublicNonce'>(66)(v, field);
export const aggregateNonce = (v: string, field = 'aggregate_nonce'): AggregateNonce => fixed<'AggregateNonce'>(66)(v, field);
export const partialSignature = (v: string, field = 'partial'): PartialSignature => fixed<'PartialSignature'>(32)(v, field);
export const schnorrSignature = (v: string, field = 'signature'): SchnorrSignature => fixed<'SchnorrSignature'>(64)(v, field);
export const paymentHash = (v: string, field = 'payment_hash'): PaymentHash => fixed<'PaymentHash'>(32)(v, field);
export const preimage = (v: string, field = 'preimage'): Preimage => fixed<'Preimage'>(32)(v, field);
export const secretKey = (v: string, field = 'secret_key'): SecretKey => fixed<'SecretKey'>(32)(v, field);
export const paymentSecret = (v: string, field = 'payment_secret'): PaymentSecret => fixed<'PaymentSecret'>(32)(v, field);

/** A scriptPubKey of at most 10,000 bytes (consensus); what a protocol accepts is narrower, see the validators. */
export const script = (v: string, field = 'script'): Script => {
  if (!HEX.test(v) || v.length > 20_000) throw new FormatError(field, 'a script in lowercase hex, at most 10000 bytes');
  return v as Script;
};
export const sat = (v: bigint, field = 'amount'): Sat => {
  if (v < 0n || v > MAX_MONEY) throw new FormatError(field, `an amount from 0 to ${MAX_MONEY.toString()} sat`);
  return v as Sat;
};
export const msat = (v: bigint, field = 'amount'): Msat => {
  if (v < 0n || v > MAX_MONEY * 1000n) throw new FormatError(field, 'an amount from 0 to 21 million bitcoin in msat');
  return v as Msat;
};

/** An output of a transaction. */
export interface Outpoint {
  readonly txid: Txid;
  readonly vout: number;
}
