/** The messages of rotation: a member's way from one factory to the next (`cln-factory-protocol.md`, "Rotation"). */
import type { InstanceId, Msat, PaymentHash, PaymentSecret, SecretKey } from './brands.js';

/** coordinator → member, in the factory to be left: move what is yours to this other factory of mine. */
export interface Migrate {
  readonly type: 'migrate';
  readonly toInstance: InstanceId;
}
/** member → coordinator: the other factory is active here, too, and I have begun. */
export interface Migrating {
  readonly type: 'migrating';
}
/** member → coordinator: all but this is in the other factory, and nothing goes over the old channels any more; pay me the rest. */
export interface Migrated {
  readonly type: 'migrated';
  /** What its channel reserve kept back, and what the coordinator's forwarding fees took. */
  readonly owed: Msat;
  readonly paymentHash: PaymentHash;
  readonly paymentSecret: PaymentSecret;
  /** Blocks the HTLC must have left when it arrives. */
  readonly finalCltv: number;
}
/** member → coordinator: nothing in this factory is mine any more. */
export interface KeyHandover {
  readonly type: 'key_handover';
  /** Of the member's key in the roster. */
  readonly secretKey: SecretKey;
}
/** coordinator → member: checked, and on disk. */
export interface KeyReceived {
  readonly type: 'key_received';
}

/** member → coordinator: whether the next rotation is to leave me out; then I take part in the close that ends this factory. */
export interface Leave {
  readonly type: 'leave';
  /** 1: I leave; 0: I have changed my mind. */
  readonly leaves: number;
}
/** coordinator → member: what is on record of that. */
export interface LeaveNoted {
  readonly type: 'leave_noted';
  readonly leaves: number;
}

export type RotationMessage = Migrate | Migrating | Migrated | KeyHandover | KeyReceived | Leave | LeaveNoted;
