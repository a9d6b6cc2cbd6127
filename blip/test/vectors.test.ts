/** Our own vectors, frozen in blip/vectors: other implementations are held to them, so ours is too. */
import { describe, expect, test } from '@jest/globals';
import { readFileSync } from 'node:fs';
import {
  FACTORY_PROTOCOL_ID,
  MESSAGE_TYPES,
  SUB_MESSAGES,
  decodeChannelInFactory,
  decodeFactoryMessage,
  decodeMessage,
  encodeChannelInFactory,
  encodeFactoryMessage,
  encodeMessage,
  type KnownSubMessage,
} from '../index.js';
import { refusal } from './refusal.js';
import { treeVector } from './tree-vector.js';
import { VECTOR_FILES, toJson, type EnvelopeVector, type InvalidVector, type MessageVector, type VectorFile } from './vector-json.js';
import { samples } from './vector-samples.js';

const read = (file: string): unknown => JSON.parse(readFileSync(new URL(`../vectors/${file}`, import.meta.url), 'utf8'));
const load = (file: string): readonly unknown[] => (read(file) as VectorFile<unknown>).vectors;

describe('messages', () => {
  const vectors = load(VECTOR_FILES.messages) as readonly MessageVector[];

  test.each(vectors)('$name', ({ header, message, payload, lightning_message }) => {
    const envelope = decodeMessage(payload);
    expect(toJson(envelope)).toEqual({ header, message });
    expect(encodeMessage(envelope)).toBe(payload);
    const piggyback = decodeFactoryMessage(lightning_message);
    expect(piggyback).toEqual({ kind: 'factory_piggyback', protocolId: FACTORY_PROTOCOL_ID, payload });
    expect(encodeFactoryMessage(piggyback as KnownSubMessage)).toBe(lightning_message);
  });

  test('there is one for every message', () => {
    const seen = new Set(vectors.map((v) => (v.message as { readonly type: string }).type));
    expect([...seen].sort()).toEqual([...MESSAGE_TYPES].sort());
    expect(vectors.map((v) => v.message)).toEqual(samples.map((s) => toJson(s.message)));
  });

  test.each(load(VECTOR_FILES.invalidMessages) as readonly InvalidVector[])('refused: $name', ({ bytes, error }) => {
    expect(refusal(() => decodeMessage(bytes))).toMatchObject({ name: 'DecodeError', ...error });
  });
});

describe('envelope', () => {
  const vectors = load(VECTOR_FILES.envelope) as readonly EnvelopeVector[];

  test.each(vectors)('$name', ({ message, bytes, decode_only }) => {
    const decoded = decodeFactoryMessage(bytes);
    expect(toJson(decoded)).toEqual(message);
    if (!decode_only) expect(encodeFactoryMessage(decoded as KnownSubMessage)).toBe(bytes);
  });

  test('there is one for every sub-message', () => {
    const seen = new Set(vectors.map((v) => (v.message as { readonly kind: string }).kind));
    expect([...seen].sort()).toEqual([...SUB_MESSAGES.map((s) => s.kind), 'unknown'].sort());
  });

  test.each(load(VECTOR_FILES.invalidEnvelope) as readonly InvalidVector[])('refused: $name', ({ bytes, error }) => {
    expect(refusal(() => decodeFactoryMessage(bytes))).toMatchObject({ name: 'DecodeError', ...error });
  });
});

test.each(load(VECTOR_FILES.channelInFactory) as readonly EnvelopeVector[])('channel_in_factory: $name', ({ message, bytes }) => {
  const decoded = decodeChannelInFactory(bytes);
  expect(toJson(decoded)).toEqual(message);
  expect(encodeChannelInFactory(decoded)).toBe(bytes);
});

test('the tree of the example is what the specification says it is', () => expect(treeVector()).toEqual(read(VECTOR_FILES.tree)));
