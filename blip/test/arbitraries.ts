/** Made-up messages, from the same table that encodes and decodes them: a new field is tested the day it is added. */
import fc from 'fast-check';
import { instanceId, protocolId } from '../brands.js';
import { bytesToHex } from '../bytes.js';
import { encodeChannelInFactory } from '../channel-in-factory.js';
import type { Shape } from '../codec.js';
import { SUB_MESSAGES, type KnownSubMessage } from '../factory-message.js';
import type { Field } from '../fields.js';
import type { FactoryEnvelope, FactoryMessageType } from '../messages.js';
import { messageFields } from '../protocol-codec.js';

/** Lists and byte strings are drawn up to this size; the limits themselves have tests of their own. */
const LIST = 12;
const BYTES = 80;

export const hexOf = (minBytes: number, maxBytes = minBytes): fc.Arbitrary<string> =>
  fc.uint8Array({ minLength: minBytes, maxLength: maxBytes }).map(bytesToHex);
const id = hexOf(32);

const channelInFactory = fc
  .record({ protocolId: id, instanceId: id, earlyWarningTime: fc.nat(0xffff) })
  .map((c) => encodeChannelInFactory({ ...c, protocolId: protocolId(c.protocolId), instanceId: instanceId(c.instanceId) }));

const ofShape = (shape: Shape): fc.Arbitrary<unknown> => {
  switch (shape.kind) {
    case 'uint':
      return fc.bigInt(shape).map((v) => (shape.type === 'number' ? Number(v) : v));
    case 'int':
      return fc.bigInt(shape);
    case 'bytes':
      return hexOf(shape.min, Math.min(shape.max, Math.max(shape.min, BYTES)));
    case 'point':
      return fc.tuple(fc.constantFrom('02', '03'), id).map(([sign, x]) => sign + x);
    case 'channel_in_factory':
      return channelInFactory;
    case 'text':
      // Any code point but lone surrogates; four bytes each at the most.
      return fc.string({ unit: 'binary', maxLength: Math.min(BYTES, shape.maxBytes / 4) });
    case 'list':
      return fc.array(ofShape(shape.item), { minLength: shape.min, maxLength: Math.min(shape.max, LIST) });
    case 'struct':
      return record(Object.fromEntries(Object.entries(shape.fields).map(([name, inner]) => [name, ofShape(inner)])));
  }
};

const record = (model: Record<string, fc.Arbitrary<unknown>>, requiredKeys = Object.keys(model)): fc.Arbitrary<object> =>
  fc.record(model, { requiredKeys, noNullPrototype: true });

const body = (fields: readonly Field[]): fc.Arbitrary<object> =>
  record(
    Object.fromEntries(fields.map((f) => [f.name, ofShape(f.codec.shape)])),
    fields.filter((f) => !f.optional).map((f) => f.name),
  );

/** Any message of this type, with its header. */
export const envelope = (type: FactoryMessageType): fc.Arbitrary<FactoryEnvelope> =>
  fc
    .record({ instanceId: id, attempt: fc.integer({ min: 1, max: 0xffff }), fields: body(messageFields(type)) })
    .map(({ instanceId: instance, attempt, fields }) => ({
      header: { instanceId: instanceId(instance), attempt },
      // Of the right shape by construction: the fields are the table's.
      message: { type, ...fields } as unknown as FactoryEnvelope['message'],
    }));

/** Any sub-message of bLIP-56 of this kind. */
export const subMessage = (kind: KnownSubMessage['kind']): fc.Arbitrary<KnownSubMessage> =>
  body(SUB_MESSAGES.find((s) => s.kind === kind)!.fields).map((fields) => ({ kind, ...fields }) as unknown as KnownSubMessage);
