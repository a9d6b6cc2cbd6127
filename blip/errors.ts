/**
 * What goes wrong on the wire, typed. `code` is for programs, `field` names the culprit as the specification names it
 * (`spec.roster[3].payout_script`), the text is for people. Decoding throws `DecodeError` and nothing else, whatever
 * the bytes are (architecture 12.13).
 */
export type CodecErrorCode =
  /** The text is not lowercase hex of even length. */
  | 'not_hex'
  /** Longer than this kind of thing may be. */
  | 'too_long'
  /** The bytes end inside a field. */
  | 'truncated'
  /** Bytes are left where the field or message should have ended. */
  | 'trailing'
  /** A BigSize or truncated integer with more bytes than it needs (BOLT 1). */
  | 'not_minimal'
  /** TLV types not strictly ascending: out of order or twice (BOLT 1). */
  | 'order'
  /** An even TLV type this message does not have (BOLT 1). */
  | 'unknown_even_field'
  /** A message or sub-message number that is unknown and even: its sender needs it understood. */
  | 'unknown_even_message'
  /** A message number that is unknown and odd: it is fine to ignore it. */
  | 'unknown_odd_message'
  /** A TLV that must be there is not. */
  | 'missing_field'
  /** Too many or too few entries in a list. */
  | 'count'
  /** The right size, but not a value this field may have. */
  | 'bad_value'
  /** A Lightning message of another type than bLIP-56's. */
  | 'wrong_type'
  /** A version of our protocol that we do not speak. */
  | 'version';

class CodecError extends Error {
  constructor(
    readonly code: CodecErrorCode,
    readonly field: string,
    problem: string,
  ) {
    super(`${field}: ${problem}`);
  }
}

/** Bytes from outside that are not what they should be. */
export class DecodeError extends CodecError {
  override readonly name = 'DecodeError';
}

/** A value of ours that has no encoding: out of range, too long, too many. */
export class EncodeError extends CodecError {
  override readonly name = 'EncodeError';
}
