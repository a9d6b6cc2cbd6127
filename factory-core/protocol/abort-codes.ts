/** Codes of `abort` and `decline` on the wire (blip/cln-factory-protocol.md). The reason's text is for people. */
export const AbortCode = {
  /** The sender gave the whole thing up. */
  Cancelled: 1,
  /** You are out; the others go on. */
  Evicted: 2,
  /** The sender restarted and has lost its secret nonces: start a fresh attempt. */
  LostNonces: 3,
  /** What you sent does not hold; the reason names the field. */
  Invalid: 4,
  /** Not on these terms, or not with you. */
  NotAccepted: 5,
  /** The sender knows nothing of this factory (any more). */
  UnknownFactory: 6,
  /** Busy: HTLCs did not drain, or a channel is not in a state for this. */
  Busy: 7,
  /** This attempt to close is over, the factory goes on. From the coordinator; attempts of creations have the same numbers. */
  CloseGivenUp: 8,
} as const;
