/** How our vectors write values: names as in the specification, amounts as decimal text, bytes as hex. */
import { wireName } from '../codec.js';

export type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json };

export const toJson = (value: unknown): Json => {
  if (typeof value === 'bigint') return value.toString();
  if (Array.isArray(value)) return value.map(toJson);
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [wireName(key), toJson(inner)]));
  }
  if (typeof value === 'string' || typeof value === 'number') return value;
  throw new TypeError(`no vector holds a ${typeof value}`);
};

/** A message that must be read, and written, as these bytes. */
export interface MessageVector {
  readonly name: string;
  readonly header: Json;
  readonly message: Json;
  /** Payload of `factory_piggyback`. */
  readonly payload: string;
  /** The whole Lightning message around it. */
  readonly lightning_message: string;
}
/** Bytes that must be refused; `error` is what our decoder calls it. */
export interface InvalidVector {
  readonly name: string;
  readonly bytes: string;
  readonly error: { readonly code: string; readonly field: string };
}
export interface EnvelopeVector {
  readonly name: string;
  readonly message: Json;
  readonly bytes: string;
  /** Not to be written back as these bytes: something in them is ignored. */
  readonly decode_only?: true;
}
export interface VectorFile<T> {
  readonly about: string;
  readonly vectors: readonly T[];
}

export const VECTOR_FILES = {
  messages: 'messages.json',
  invalidMessages: 'invalid-messages.json',
  envelope: 'envelope.json',
  invalidEnvelope: 'invalid-envelope.json',
  channelInFactory: 'channel-in-factory.json',
  tree: 'tree.json',
} as const;
