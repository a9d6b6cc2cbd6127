import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { schnorr, secp256k1 } from '@noble/curves/secp256k1.js';
import { hmac } from '@noble/hashes/hmac.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex, hexToBytes, utf8ToBytes } from '@noble/hashes/utils.js';

export interface KeyPair {
  readonly secret: Uint8Array;
  /** 33 bytes, hex. */
  readonly pub: string;
}

/** Everything the node signs with comes from one seed, kept in `hsm_secret`: the file is enough to bring the keys back. */
export class Keys {
  private readonly seed: Uint8Array;
  readonly node: KeyPair;

  constructor(file: string) {
    if (!existsSync(file)) writeFileSync(file, randomBytes(32), { mode: 0o400 });
    this.seed = readFileSync(file);
    this.node = this.pair('node', 0);
  }

  get nodeId(): string {
    return this.node.pub;
  }

  /** Key of the wallet's address with this index; its P2WPKH and its P2TR (BIP-341, no scripts) are both ours. */
  wallet(index: number): KeyPair {
    return this.pair('wallet', index);
  }

  /** The keys of the channel with this database id. */
  channel(id: number): { readonly funding: KeyPair; readonly payment: KeyPair; readonly delayed: KeyPair } {
    return { funding: this.pair('funding', id), payment: this.pair('payment', id), delayed: this.pair('delayed', id) };
  }

  /** `makesecret`: the same 32 bytes for the same info, on every call. */
  secret(info: Uint8Array): string {
    return bytesToHex(this.derive('secret', info));
  }

  /** A preimage or other number that must not repeat but need not be secret from the seed's owner. */
  random(): string {
    return randomBytes(32).toString('hex');
  }

  private pair(label: string, index: number): KeyPair {
    const secret = this.derive(label, utf8ToBytes(String(index)));
    return { secret, pub: bytesToHex(secp256k1.getPublicKey(secret, true)) };
  }

  private derive(label: string, info: Uint8Array): Uint8Array {
    return hmac(sha256, this.seed, Uint8Array.from([...utf8ToBytes(label), 0, ...info]));
  }
}

/** Signs a 32-byte hash: compact ECDSA, low S, RFC 6979. */
export const signHash = (hash: Uint8Array, key: KeyPair): string => bytesToHex(secp256k1.sign(hash, key.secret, { prehash: false }));

export const verifyHash = (signature: string, hash: Uint8Array, pub: string): boolean => {
  try {
    return secp256k1.verify(hexToBytes(signature), hash, hexToBytes(pub), { prehash: false });
  } catch {
    return false;
  }
};

/** A compact ECDSA signature as bitcoin scripts want it: DER and SIGHASH_ALL. */
export const derWithAll = (signature: string): Uint8Array =>
  Uint8Array.from([...secp256k1.Signature.fromBytes(hexToBytes(signature), 'compact').toBytes('der'), 1]);

export const xOnly = (key: KeyPair): Uint8Array => schnorr.getPublicKey(key.secret);
