/** BOLT 1's own vectors, all of them: BigSize, signed integers, TLV streams with their two namespaces. */
import { describe, expect, test } from '@jest/globals';
import { pubKey, type PubKey } from '../brands.js';
import { readBigSize, writeBigSize } from '../bigsize.js';
import { bytesToHex, hexToBytes, maxUint, Reader, Writer } from '../bytes.js';
import { amount, fixedBytes, struct, uint } from '../codec.js';
import { decodeFields, encodeFields, fieldTable, type Field } from '../fields.js';
import { vectorJsonOfTexts } from './published-vectors.js';
import { refusal } from './refusal.js';

const bytes = (hex: string): Uint8Array => hexToBytes(hex, 65_535, 'vector');

interface Integer {
  readonly name: string;
  readonly value: string;
  readonly bytes: string;
  readonly exp_error?: string;
}

describe('BigSize', () => {
  test.each(vectorJsonOfTexts('bolt01/bigsize-encoding.json') as Integer[])('encodes: $name', (v) => {
    expect(bytesToHex(writeBigSize(new Writer(9, 'x'), BigInt(v.value)).finish())).toBe(v.bytes);
  });

  test.each(vectorJsonOfTexts('bolt01/bigsize-decoding.json') as Integer[])('decodes: $name', (v) => {
    const reader = new Reader(bytes(v.bytes));
    if (v.exp_error === undefined) {
      expect(readBigSize(reader, 'x')).toBe(BigInt(v.value));
      expect(reader.remaining).toBe(0);
    } else {
      const code = v.exp_error.includes('canonical') ? 'not_minimal' : 'truncated';
      expect(refusal(() => readBigSize(reader, 'x'))).toMatchObject({ code, field: 'x' });
    }
  });
});

describe('signed integers', () => {
  test.each(vectorJsonOfTexts('bolt01/signed-integers.json') as Integer[])('$value', ({ value, bytes: hex }) => {
    const size = hex.length / 2;
    expect(new Reader(bytes(hex)).int(size, 'x')).toBe(BigInt(value));
    expect(bytesToHex(new Writer(size, 'x').int(BigInt(value), size).finish())).toBe(hex);
  });
});

const whole = (value: bigint): bigint => value;
const u64 = amount('u64', maxUint(8), whole);
interface Tlv3 {
  readonly node_id: PubKey;
  readonly amount_msat_1: bigint;
  readonly amount_msat_2: bigint;
}
const tlv3 = struct<Tlv3>('tlv3', {
  node_id: fixedBytes('point', 33, pubKey, { point: true }),
  amount_msat_1: u64,
  amount_msat_2: u64,
});
interface N1 {
  readonly tlv1?: bigint;
  readonly tlv2?: bigint;
  readonly tlv3?: Tlv3;
  readonly tlv4?: number;
}
interface N2 {
  readonly tlv1?: bigint;
  readonly tlv2?: number;
}
const namespaces: Readonly<Record<string, readonly Field[]>> = {
  n1: fieldTable<N1>({
    tlv1: [1, amount('tu64', maxUint(8), whole), 'optional'],
    tlv2: [2, u64, 'optional'],
    tlv3: [3, tlv3, 'optional'],
    tlv4: [254, uint('u16'), 'optional'],
  }),
  n2: fieldTable<N2>({
    tlv1: [0, amount('tu64', maxUint(8), whole), 'optional'],
    tlv2: [11, uint('tu32'), 'optional'],
  }),
};

/** As the vectors write what a stream of n1 says. */
const inWords = ({ tlv1, tlv2, tlv3, tlv4 }: N1): string => {
  if (tlv1 !== undefined) return `tlv1 amount_msat=${tlv1.toString()}`;
  if (tlv2 !== undefined) return `tlv2 scid=${(tlv2 >> 40n).toString()}x${((tlv2 >> 16n) & 0xffffffn).toString()}x${(tlv2 & 0xffffn).toString()}`;
  if (tlv3 !== undefined) {
    const [one, two] = [tlv3.amount_msat_1, tlv3.amount_msat_2].map(String);
    return `tlv3 node_id=${tlv3.node_id} amount_msat_1=${one ?? ''} amount_msat_2=${two ?? ''}`;
  }
  return tlv4 === undefined ? '' : `tlv4 cltv_delta=${tlv4}`;
};

interface Stream {
  readonly namespace: string;
  readonly valid: boolean;
  readonly stream: string;
  readonly reason?: string;
  readonly explanation?: string;
  readonly values?: string;
}

/** What our decoder says for each reason the vectors give. */
const CODES: readonly (readonly [RegExp, string])[] = [
  [/not minimal/, 'not_minimal'],
  [/truncated|missing|less than/, 'truncated'],
  [/greater than encoding length for n1s tlv1\./, 'too_long'],
  [/greater than/, 'trailing'],
  [/unknown even/, 'unknown_even_field'],
  [/not a valid point/, 'bad_value'],
  [/ordering|duplicate/, 'order'],
];

describe('TLV streams', () => {
  const { vectors } = vectorJsonOfTexts('bolt01/tlv-streams.json') as { readonly vectors: readonly Stream[] };
  const cases = vectors.flatMap((v) => (v.namespace === 'any' ? [{ ...v, namespace: 'n1' }, { ...v, namespace: 'n2' }] : [v]));

  test.each(cases.filter((v) => !v.valid))('$namespace refuses $stream: $reason', ({ namespace, stream, reason }) => {
    const error = refusal(() => decodeFields(new Reader(bytes(stream)), namespaces[namespace]!, namespace));
    expect(error.code).toBe(CODES.find(([words]) => words.test(reason!))![1]);
    expect(error.field).toMatch(new RegExp(`^${namespace}[ .]tlv`));
  });

  test.each(cases.filter((v) => v.valid))('$namespace accepts $stream', ({ namespace, stream, values }) => {
    const fields = namespaces[namespace]!;
    const decoded = decodeFields(new Reader(bytes(stream)), fields, namespace);
    expect(inWords(decoded)).toBe(values ?? '');
    const writer = new Writer(65_535, namespace);
    encodeFields(writer, fields, decoded, 65_535, namespace);
    expect(bytesToHex(writer.finish())).toBe(values === undefined ? '' : stream); // unknown odd ones are not kept
  });
});
