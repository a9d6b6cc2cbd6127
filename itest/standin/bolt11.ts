/** BOLT 11 invoices: real encoding and signature. */
import { secp256k1 } from '@noble/curves/secp256k1.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex, concatBytes, hexToBytes, utf8ToBytes } from '@noble/hashes/utils.js';
import { bech32 } from '@scure/base';
import type { KeyPair } from './keys.js';
import { scidFromHex, scidToHex } from './onion.js';
import { CODE, type JsonObject, RpcError } from './types.js';

export interface RouteHop {
  readonly pubkey: string;
  readonly scid: string;
  readonly base: number;
  readonly ppm: number;
  readonly delta: number;
}

export interface Bolt11 {
  /** Millisatoshis; absent: any amount. */
  readonly amount?: number;
  /** Seconds since 1970. */
  readonly timestamp: number;
  readonly hash: string;
  readonly secret: string;
  readonly description: string;
  /** Seconds. */
  readonly expiry: number;
  readonly finalCltv: number;
  readonly features: string;
  readonly routes: readonly (readonly RouteHop[])[];
  readonly payee: string;
  readonly signature: string;
}

const PREFIX = 'lnbcrt';
const DEFAULT_EXPIRY = 3600;
const DEFAULT_CLTV = 18;
/** Millisatoshis per unit, largest first; `p` is a tenth of a millisatoshi. */
const MULTIPLIERS: readonly (readonly [string, number])[] = [['', 1e11], ['m', 1e8], ['u', 1e5], ['n', 100], ['p', 0.1]];

const amountText = (msat: number | undefined): string => {
  if (msat === undefined) return '';
  const [letter, unit] = MULTIPLIERS.find(([, size]) => Number.isInteger(msat / size)) ?? ['p', 0.1];
  return `${Math.round(msat / unit)}${letter}`;
};

const words = (value: number, count: number): number[] => Array.from({ length: count }, (_, i) => Math.floor(value / 32 ** (count - 1 - i)) % 32);
const numberOf = (list: readonly number[]): number => list.reduce((sum, word) => sum * 32 + word, 0);
const minimalWords = (value: number): number[] => words(value, Math.max(1, Math.ceil(Math.log2(value + 1) / 5)));
const field = (letter: string, data: readonly number[]): number[] => ['qpzry9x8gf2tvdw0s3jn54khce6mua7l'.indexOf(letter), ...words(data.length, 2), ...data];
const bytesField = (letter: string, bytes: Uint8Array): number[] => field(letter, bech32.toWords(bytes));

const hopBytes = ({ pubkey, scid, base, ppm, delta }: RouteHop): Uint8Array =>
  hexToBytes(pubkey + scidToHex(scid) + base.toString(16).padStart(8, '0') + ppm.toString(16).padStart(8, '0') + delta.toString(16).padStart(4, '0'));

/** Features are a bit field, padded on the left to whole words. */
const featureWords = (hex: string): number[] => {
  let value = BigInt(`0x0${hex}`);
  const list: number[] = [];
  for (; value > 0n; value >>= 5n) list.unshift(Number(value & 31n));
  return list;
};

const signedHash = (prefix: string, data: readonly number[]): Uint8Array => {
  const bits = data.length * 5;
  const padded = [...data, ...(bits % 8 === 0 ? [] : [0, 0])];
  const bytes = Uint8Array.from({ length: Math.ceil(bits / 8) }, (_, i) => {
    let byte = 0;
    for (let bit = i * 8; bit < i * 8 + 8; bit += 1) byte = byte * 2 + (((padded[Math.floor(bit / 5)] ?? 0) >> (4 - (bit % 5))) & 1);
    return byte;
  });
  return sha256(concatBytes(utf8ToBytes(prefix), bytes));
};

export const encodeBolt11 = (invoice: Omit<Bolt11, 'payee' | 'signature'>, key: KeyPair): string => {
  const prefix = PREFIX + amountText(invoice.amount);
  const data = [
    ...words(invoice.timestamp, 7),
    ...bytesField('s', hexToBytes(invoice.secret)),
    ...bytesField('p', hexToBytes(invoice.hash)),
    ...bytesField('d', utf8ToBytes(invoice.description)),
    ...field('x', minimalWords(invoice.expiry)),
    ...field('c', minimalWords(invoice.finalCltv)),
    ...invoice.routes.flatMap((hops) => bytesField('r', concatBytes(...hops.map(hopBytes)))),
    ...field('9', featureWords(invoice.features)),
  ];
  const recovered = secp256k1.sign(signedHash(prefix, data), key.secret, { prehash: false, format: 'recovered' });
  const signature = Uint8Array.from([...recovered.subarray(1), recovered[0] ?? 0]);
  return bech32.encode(prefix, [...data, ...bech32.toWords(signature)], false);
};

const readHops = (bytes: Uint8Array): readonly RouteHop[] =>
  Array.from({ length: Math.floor(bytes.length / 51) }, (_, i) => {
    const hex = bytesToHex(bytes.subarray(i * 51, i * 51 + 51));
    const int = (from: number, to: number): number => Number.parseInt(hex.slice(from, to), 16);
    return { pubkey: hex.slice(0, 66), scid: scidFromHex(hex.slice(66, 82)), base: int(82, 90), ppm: int(90, 98), delta: int(98, 102) };
  });

const bytesOf = (data: readonly number[]): Uint8Array => {
  const whole = Math.floor((data.length * 5) / 8);
  return Uint8Array.from({ length: whole }, (_, i) => {
    let byte = 0;
    for (let bit = i * 8; bit < i * 8 + 8; bit += 1) byte = byte * 2 + (((data[Math.floor(bit / 5)] ?? 0) >> (4 - (bit % 5))) & 1);
    return byte;
  });
};

/** @throws RpcError -32602 when it is not a regtest invoice, or its signature is wrong */
export const decodeBolt11 = (text: string): Bolt11 => {
  const bad = (why: string): RpcError => new RpcError(CODE.invalidParams, `Invalid bolt11: ${why}`);
  const { prefix, words: all } = bech32.decodeUnsafe(text.toLowerCase().replace(/^lightning:/, ''), false) ?? { prefix: '', words: [] };
  const match = /^lnbcrt(?:(\d+)([munp]?))?$/.exec(prefix);
  if (match === null || all.length < 104 + 7) throw bad('bad bech32 string or wrong network');
  const data = all.slice(0, -104);
  const signature = bytesOf(all.slice(-104));
  const fields = new Map<string, number[][]>();
  for (let at = 7; at + 3 <= data.length; ) {
    const length = numberOf(data.slice(at + 1, at + 3));
    const letter = 'qpzry9x8gf2tvdw0s3jn54khce6mua7l'[data[at] ?? 0] ?? '';
    fields.set(letter, [...(fields.get(letter) ?? []), data.slice(at + 3, at + 3 + length)]);
    at += 3 + length;
  }
  const hash = signedHash(prefix, data);
  const recovered = Uint8Array.from([signature[64] ?? 0, ...signature.subarray(0, 64)]);
  let payee: string;
  try {
    payee = bytesToHex(secp256k1.Signature.fromBytes(recovered, 'recovered').recoverPublicKey(hash).toBytes(true));
  } catch {
    throw bad('signature does not recover to a key');
  }
  const one = (letter: string): number[] | undefined => fields.get(letter)?.[0];
  const bytes = (letter: string): string => bytesToHex(bytesOf(one(letter) ?? []));
  const unit = MULTIPLIERS.find(([letter]) => letter === (match[2] ?? ''))?.[1] ?? 1e11;
  const [expiry, cltv, features = []] = [one('x'), one('c'), one('9')];
  return {
    ...(match[1] === undefined ? {} : { amount: Math.round(Number(match[1]) * unit) }),
    timestamp: numberOf(data.slice(0, 7)),
    hash: bytes('p'),
    secret: bytes('s'),
    description: new TextDecoder().decode(bytesOf(one('d') ?? [])),
    expiry: expiry === undefined ? DEFAULT_EXPIRY : numberOf(expiry),
    finalCltv: cltv === undefined ? DEFAULT_CLTV : numberOf(cltv),
    features: features.reduce((sum, word) => sum * 32n + BigInt(word), 0n).toString(16).padStart(Math.ceil((features.length * 5) / 8) * 2, '0'),
    routes: (fields.get('r') ?? []).map((hint) => readHops(bytesOf(hint))),
    payee,
    signature: bytesToHex(secp256k1.Signature.fromBytes(signature.subarray(0, 64), 'compact').toBytes('der')),
  };
};

/** `decode` of an invoice. */
export const bolt11Json = (invoice: Bolt11): JsonObject => ({
  type: 'bolt11 invoice',
  currency: 'bcrt',
  created_at: invoice.timestamp,
  expiry: invoice.expiry,
  payee: invoice.payee,
  amount_msat: invoice.amount,
  description: invoice.description,
  min_final_cltv_expiry: invoice.finalCltv,
  payment_secret: invoice.secret,
  features: invoice.features,
  ...(invoice.routes.length === 0
    ? {}
    : {
        routes: invoice.routes.map((hops) =>
          hops.map(({ pubkey, scid, base, ppm, delta }) => ({ pubkey, short_channel_id: scid, fee_base_msat: base, fee_proportional_millionths: ppm, cltv_expiry_delta: delta })),
        ),
      }),
  payment_hash: invoice.hash,
  signature: invoice.signature,
  valid: true,
});
