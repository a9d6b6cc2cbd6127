/** What must hold for every message there is, and for every string of bytes. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { bytesToHex, Reader } from '../bytes.js';
import { decodeChannelInFactory } from '../channel-in-factory.js';
import { DecodeError } from '../errors.js';
import { decodeFactoryMessage, encodeFactoryMessage, SUB_MESSAGES } from '../factory-message.js';
import { decodeMessage, encodeMessage, messageNumber, MESSAGE_TYPES, PROTOCOL_VERSION } from '../protocol-codec.js';
import { decodeTlvStream } from '../tlv.js';
import { envelope, hexOf, subMessage } from './arbitraries.js';
import { attempt } from './refusal.js';

const u16 = (n: number): string => n.toString(16).padStart(4, '0');
const anyMessage = fc.oneof(...MESSAGE_TYPES.map(envelope));
const anySubMessage = fc.oneof(...SUB_MESSAGES.map((s) => subMessage(s.kind)));

interface Codec<T> {
  readonly encode: (value: T) => string;
  readonly decode: (hex: string) => unknown;
  readonly any: fc.Arbitrary<T>;
  /** Whether it ends with a field that it could do without. */
  readonly optional: (value: T) => boolean;
  /** Bytes that look like a message as far as the header goes. */
  readonly header: fc.Arbitrary<string>;
}

/** The properties of a codec, whichever it is. */
const laws = <T>({ encode, decode, any, optional, header }: Codec<T>): void => {
  test('random bytes are refused or read, and nothing else', () => {
    fc.assert(
      fc.property(hexOf(0, 300), header, fc.boolean(), (tail, head, headed) => {
        attempt(() => decode(headed ? head + tail : tail));
      }),
      { numRuns: 3_000 },
    );
  });

  test('text that is not hex is refused', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), header, (text, head) => {
        const answer = attempt(() => decode(head + text + 'x'));
        expect(answer).toBeInstanceOf(DecodeError);
        expect(['not_hex', 'too_long']).toContain((answer as DecodeError).code);
      }),
    );
  });

  test('a message cut short is refused, wherever the cut, unless only an optional field at its end is gone', () => {
    fc.assert(
      fc.property(any, fc.nat(), (value, at) => {
        const bytes = encode(value);
        const cut = bytes.slice(0, 2 * (at % (bytes.length / 2)));
        const answer = attempt(() => decode(cut));
        if (!(answer instanceof DecodeError)) expect([optional(value), encode(answer as T)]).toEqual([true, cut]);
      }),
      { numRuns: 500 },
    );
  });

  test('a message with more behind it is refused or the same', () => {
    fc.assert(
      fc.property(any, hexOf(1, 40), (value, more) => {
        const answer = attempt(() => decode(encode(value) + more));
        if (!(answer instanceof DecodeError)) expect(answer).toEqual(value);
      }),
      { numRuns: 500 },
    );
  });

  test('a message with one byte changed is refused, or is what it now says', () => {
    fc.assert(
      fc.property(any, fc.nat(), fc.integer({ min: 1, max: 255 }), (value, at, flip) => {
        const bytes = Uint8Array.from(Buffer.from(encode(value), 'hex'));
        const index = at % bytes.length;
        bytes[index] = bytes[index]! ^ flip;
        const changed = bytesToHex(bytes);
        const answer = attempt(() => decode(changed));
        if (answer instanceof DecodeError) return;
        if ((answer as { readonly kind?: string }).kind === 'unknown') return;
        expect(decode(encode(answer as T))).toEqual(answer);
      }),
      { numRuns: 1_500 },
    );
  });
};

describe('our messages', () => {
  test.each(MESSAGE_TYPES)('%s survives the round trip', (type) => {
    fc.assert(
      fc.property(envelope(type), (value) => {
        const bytes = encodeMessage(value);
        expect(decodeMessage(bytes)).toEqual(value);
        expect(encodeMessage(decodeMessage(bytes))).toBe(bytes); // one value, one encoding
      }),
    );
  });

  laws({
    encode: encodeMessage,
    decode: decodeMessage,
    any: anyMessage,
    optional: ({ message }) => message.type === 'purchase_quote' && message.refusal !== undefined,
    header: fc
      .tuple(fc.constantFrom(...MESSAGE_TYPES), hexOf(32), fc.integer({ min: 1, max: 0xffff }))
      .map(([type, id, n]) => `0${PROTOCOL_VERSION}${u16(messageNumber(type))}${id}${u16(n)}`),
  });
});

describe('sub-messages of bLIP-56', () => {
  test.each(SUB_MESSAGES.map((s) => s.kind))('%s survives the round trip', (kind) => {
    fc.assert(
      fc.property(subMessage(kind), (value) => {
        const bytes = encodeFactoryMessage(value);
        expect(decodeFactoryMessage(bytes)).toEqual(value);
        expect(bytes.startsWith('8020')).toBe(true);
      }),
    );
  });

  laws({
    encode: encodeFactoryMessage,
    decode: decodeFactoryMessage,
    any: anySubMessage,
    optional: () => false,
    header: fc.constantFrom(...SUB_MESSAGES).map((s) => `8020${u16(s.id)}`),
  });
});

describe('the layers below', () => {
  test('channel_in_factory: random bytes are refused or read', () => {
    fc.assert(
      fc.property(hexOf(0, 80), fc.constantFrom('', 'fe00010040', 'fe0001004042'), (tail, head) => {
        attempt(() => decodeChannelInFactory(head + tail));
      }),
      { numRuns: 1_000 },
    );
  });

  test('a TLV stream that is accepted has ascending types within its bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        const known = { has: (type: number) => type < 64 };
        const records = attempt(() => decodeTlvStream(bytes, known, 'x'));
        if (records instanceof DecodeError) return;
        const types = [...records.keys()];
        expect(types).toEqual([...types].sort((a, b) => a - b));
        const taken = [...records.values()].reduce((sum, value) => sum + value.length, 0);
        expect(taken + 2 * types.length).toBeLessThanOrEqual(bytes.length);
      }),
      { numRuns: 2_000 },
    );
  });

  test('a reader never hands out more than it has', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 20 }), fc.nat(40), (bytes, size) => {
        const reader = new Reader(bytes);
        const taken = attempt(() => reader.take(size, 'x'));
        expect(taken instanceof DecodeError).toBe(size > bytes.length);
        expect(reader.remaining).toBe(size > bytes.length ? bytes.length : bytes.length - size);
      }),
    );
  });
});
