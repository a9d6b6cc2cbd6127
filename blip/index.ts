/** bLIP-56 and our factory protocol, on the wire. `cln-factory-protocol.md` says what the bytes mean. */
export * from './brands.js';
export * from './channel-in-factory.js';
export { DecodeError, EncodeError, type CodecErrorCode } from './errors.js';
export * from './factory-message.js';
export * from './features.js';
export type { Field } from './fields.js';
export * from './limits.js';
export * from './messages.js';
export * from './protocol-codec.js';
export * from './protocol-id.js';
export type * from './purchase-messages.js';
export type * from './rotation-messages.js';
export * from './waiting-messages.js';
