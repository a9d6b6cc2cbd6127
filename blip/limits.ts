/** The bounds of everything that is read. They hold both ways, and are in `cln-factory-protocol.md` under "Limits". */

/** A Lightning message, its 2-byte type included (BOLT 8). */
export const MAX_LIGHTNING_MESSAGE = 65_535;
/** One message of our protocol: what fits a `factory_piggyback` with room for the envelope. */
export const MAX_PAYLOAD = 65_000;
/** Clients in one factory. A `spec` of that many may still be longer than MAX_PAYLOAD; see the specification. */
export const MAX_ROSTER = 1_000;
/** Transactions a member signs in the ceremony: its splits and the distribution. */
export const MAX_PATH = 16;
/** Levels of splits: a path without its distribution. */
export const MAX_LEVELS = MAX_PATH - 1;
/** Outputs of a close: one per client and the coordinator's. */
export const MAX_CLOSE_OUTPUTS = MAX_ROSTER + 1;
/** UTF-8 bytes of a reason. */
export const MAX_REASON = 512;
/** The longest witness program's scriptPubKey (BIP 141): nothing longer is ever paid to. */
export const MAX_SCRIPT = 42;
/** Block heights end where nLockTime begins to mean seconds (BIP 65). */
export const MAX_HEIGHT = 499_999_999;
/** Purchases of one stock: each makes the way out one transaction longer. */
export const MAX_PURCHASES = 8;
