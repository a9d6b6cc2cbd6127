/** BIP-327's vectors for sessions, every case: sign_verify, tweak, sig_agg, det_sign. */
import { describe, expect, test } from '@jest/globals';
import { xBytes } from '../../secp256k1.js';
import type { KeyAggContext } from '../key-agg.js';
import { nonceAgg, nonceGen, SecretNonce } from '../nonce.js';
import { verifySchnorr } from '../schnorr.js';
import { keyPair, partialAgg, partialSign, partialVerify, sessionValues } from '../session.js';
import { bytes, contextOf, expectedError, pick, refusal, type TweakCase, upper, type VectorError, vectors } from './bip327.js';

/** PartialSigVerify of the BIP: with the aggregate of these nonces. */
const verify = (partial: Uint8Array, nonces: readonly Uint8Array[], keys: readonly Uint8Array[], context: KeyAggContext, message: Uint8Array, signer: number): boolean =>
  partialVerify(partial, nonces[signer]!, keys[signer]!, context, sessionValues(context, nonceAgg(nonces), message));

describe('sign_verify_vectors', () => {
  const file = vectors('sign_verify') as {
    readonly sk: string;
    readonly pubkeys: readonly string[];
    readonly secnonces: readonly string[];
    readonly pnonces: readonly string[];
    readonly aggnonces: readonly string[];
    readonly msgs: readonly string[];
    readonly valid_test_cases: readonly {
      readonly key_indices: readonly number[];
      readonly nonce_indices: readonly number[];
      readonly aggnonce_index: number;
      readonly msg_index: number;
      readonly signer_index: number;
      readonly expected: string;
    }[];
    readonly sign_error_test_cases: readonly {
      readonly key_indices: readonly number[];
      readonly aggnonce_index: number;
      readonly msg_index: number;
      readonly secnonce_index: number;
      readonly error: VectorError;
      readonly comment: string;
    }[];
    readonly verify_fail_test_cases: readonly {
      readonly sig: string;
      readonly key_indices: readonly number[];
      readonly nonce_indices: readonly number[];
      readonly msg_index: number;
      readonly signer_index: number;
      readonly comment: string;
    }[];
    readonly verify_error_test_cases: readonly {
      readonly sig: string;
      readonly key_indices: readonly number[];
      readonly nonce_indices: readonly number[];
      readonly msg_index: number;
      readonly signer_index: number;
      readonly error: VectorError;
      readonly comment: string;
    }[];
  };
  const pair = keyPair(bytes(file.sk));

  test.each(file.valid_test_cases)('signs: keys $key_indices, message $msg_index', (v) => {
    const keys = pick(file.pubkeys, v.key_indices);
    const nonces = pick(file.pnonces, v.nonce_indices);
    const message = bytes(file.msgs[v.msg_index]!);
    const context = contextOf(keys);
    expect(upper(nonceAgg(nonces))).toBe(file.aggnonces[v.aggnonce_index]);
    const values = sessionValues(context, bytes(file.aggnonces[v.aggnonce_index]!), message);
    const partial = partialSign(new SecretNonce(bytes(file.secnonces[0]!)), pair, context, values);
    expect(upper(partial)).toBe(v.expected);
    expect(verify(partial, nonces, keys, context, message, v.signer_index)).toBe(true);
  });

  test.each(file.sign_error_test_cases)('does not sign: $comment', (v) => {
    const sign = (): Uint8Array => {
      const context = contextOf(pick(file.pubkeys, v.key_indices));
      const values = sessionValues(context, bytes(file.aggnonces[v.aggnonce_index]!), bytes(file.msgs[v.msg_index]!));
      return partialSign(new SecretNonce(bytes(file.secnonces[v.secnonce_index]!)), pair, context, values);
    };
    expect(refusal(sign)).toMatchObject(expectedError(v.error));
  });

  test.each(file.verify_fail_test_cases)('does not verify: $comment', (v) => {
    const keys = pick(file.pubkeys, v.key_indices);
    const message = bytes(file.msgs[v.msg_index]!);
    expect(verify(bytes(v.sig), pick(file.pnonces, v.nonce_indices), keys, contextOf(keys), message, v.signer_index)).toBe(false);
  });

  test.each(file.verify_error_test_cases)('refuses to verify: $comment', (v) => {
    const keys = pick(file.pubkeys, v.key_indices);
    const nonces = pick(file.pnonces, v.nonce_indices);
    const message = bytes(file.msgs[v.msg_index]!);
    expect(refusal(() => verify(bytes(v.sig), nonces, keys, contextOf(keys), message, v.signer_index))).toMatchObject(expectedError(v.error));
  });
});

describe('partial verification of what is malformed', () => {
  const pair = keyPair(new Uint8Array(32).fill(1));
  const context = contextOf([pair.publicKey]);
  const { secret, publicNonce } = nonceGen(new Uint8Array(32).fill(2), pair);
  const values = sessionValues(context, publicNonce, new Uint8Array(32));
  const partial = partialSign(secret, pair, context, values);
  const notOnCurve = bytes(`02${'05'.padStart(64, '0')}`);

  test('is false, never an error', () => {
    const { publicKey } = pair;
    expect(partialVerify(partial, publicNonce, publicKey, context, values)).toBe(true);
    for (const bad of [new Uint8Array(0), publicNonce.slice(1), Uint8Array.of(...publicNonce, 0), Uint8Array.of(...notOnCurve, ...notOnCurve), new Uint8Array(66)]) {
      expect(partialVerify(partial, bad, publicKey, context, values)).toBe(false);
    }
    for (const bad of [new Uint8Array(0), notOnCurve, keyPair(new Uint8Array(32).fill(3)).publicKey]) {
      expect(partialVerify(partial, publicNonce, bad, context, values)).toBe(false);
    }
    for (const bad of [new Uint8Array(0), partial.slice(1), Uint8Array.of(0, ...partial)]) {
      expect(partialVerify(bad, publicNonce, publicKey, context, values)).toBe(false);
    }
  });
});

describe('tweak_vectors', () => {
  interface Case extends TweakCase {
    readonly key_indices: readonly number[];
    readonly nonce_indices: readonly number[];
    readonly tweak_indices: readonly number[];
    readonly is_xonly: readonly boolean[];
    readonly signer_index: number;
    readonly comment: string;
  }
  const file = vectors('tweak') as {
    readonly sk: string;
    readonly pubkeys: readonly string[];
    readonly secnonce: string;
    readonly pnonces: readonly string[];
    readonly aggnonce: string;
    readonly tweaks: readonly string[];
    readonly msg: string;
    readonly valid_test_cases: readonly (Case & { readonly expected: string })[];
    readonly error_test_cases: readonly (Case & { readonly error: VectorError })[];
  };
  const message = bytes(file.msg);

  test.each(file.valid_test_cases)('$comment', (v) => {
    const keys = pick(file.pubkeys, v.key_indices);
    const context = contextOf(keys, pick(file.tweaks, v.tweak_indices), v.is_xonly);
    const values = sessionValues(context, bytes(file.aggnonce), message);
    const partial = partialSign(new SecretNonce(bytes(file.secnonce)), keyPair(bytes(file.sk)), context, values);
    expect(upper(partial)).toBe(v.expected);
    expect(verify(partial, pick(file.pnonces, v.nonce_indices), keys, context, message, v.signer_index)).toBe(true);
  });

  test.each(file.error_test_cases)('refuses: $comment', (v) => {
    expect(refusal(() => contextOf(pick(file.pubkeys, v.key_indices), pick(file.tweaks, v.tweak_indices), v.is_xonly))).toMatchObject(
      expectedError(v.error),
    );
  });
});

describe('sig_agg_vectors', () => {
  interface Case {
    readonly aggnonce: string;
    readonly nonce_indices: readonly number[];
    readonly key_indices: readonly number[];
    readonly tweak_indices: readonly number[];
    readonly is_xonly: readonly boolean[];
    readonly psig_indices: readonly number[];
  }
  const file = vectors('sig_agg') as {
    readonly pubkeys: readonly string[];
    readonly pnonces: readonly string[];
    readonly tweaks: readonly string[];
    readonly psigs: readonly string[];
    readonly msg: string;
    readonly valid_test_cases: readonly (Case & { readonly expected: string })[];
    readonly error_test_cases: readonly (Case & { readonly error: VectorError; readonly comment: string })[];
  };
  const message = bytes(file.msg);
  const sessionOf = (v: Case): { readonly context: KeyAggContext; readonly partials: readonly Uint8Array[] } => ({
    context: contextOf(pick(file.pubkeys, v.key_indices), pick(file.tweaks, v.tweak_indices), v.is_xonly),
    partials: pick(file.psigs, v.psig_indices),
  });

  test.each(file.valid_test_cases)('aggregates partials $psig_indices', (v) => {
    const { context, partials } = sessionOf(v);
    expect(upper(nonceAgg(pick(file.pnonces, v.nonce_indices)))).toBe(v.aggnonce);
    const signature = partialAgg(partials, context, sessionValues(context, bytes(v.aggnonce), message));
    expect(upper(signature)).toBe(v.expected);
    expect(verifySchnorr(signature, message, xBytes(context.point))).toBe(true);
  });

  test.each(file.error_test_cases)('refuses: $comment', (v) => {
    const { context, partials } = sessionOf(v);
    expect(refusal(() => partialAgg(partials, context, sessionValues(context, bytes(v.aggnonce), message)))).toMatchObject(
      expectedError(v.error),
    );
  });
});

// DeterministicSign itself is not implemented (see musig/index.ts). What it is made of is: the nonce and the partial
// signature that the vectors expect from the deterministic signer must verify in a session with the other signers' aggregate
// nonce, and each input that it must refuse is refused by the part of ours that reads this input.
describe('det_sign_vectors, but for the derivation of the nonce', () => {
  interface Case {
    readonly aggothernonce: string;
    readonly key_indices: readonly number[];
    readonly tweaks: readonly string[];
    readonly is_xonly: readonly boolean[];
    readonly msg_index: number;
    readonly signer_index: number;
    readonly comment?: string;
  }
  const file = vectors('det_sign') as {
    readonly sk: string;
    readonly pubkeys: readonly string[];
    readonly msgs: readonly string[];
    readonly valid_test_cases: readonly (Case & { readonly expected: readonly [string, string] })[];
    readonly error_test_cases: readonly (Case & { readonly error: VectorError })[];
  };
  const pair = keyPair(bytes(file.sk));

  test.each(file.valid_test_cases)('signer $signer_index of keys $key_indices', (v) => {
    const [nonce, partial] = v.expected.map(bytes);
    const context = contextOf(pick(file.pubkeys, v.key_indices), v.tweaks.map(bytes), v.is_xonly);
    const values = sessionValues(context, nonceAgg([nonce!, bytes(v.aggothernonce)]), bytes(file.msgs[v.msg_index]!));
    expect(partialVerify(partial!, nonce!, pair.publicKey, context, values)).toBe(true);
  });

  test.each(file.error_test_cases)('refuses: $comment', (v) => {
    const run = (): unknown => {
      const context = contextOf(pick(file.pubkeys, v.key_indices), v.tweaks.map(bytes), v.is_xonly);
      context.coefficient(pair.publicKey);
      return nonceAgg([bytes(v.aggothernonce)]);
    };
    // The vectors name no signer for aggothernonce: it is not one signer's. In a list of one, ours has the index 0.
    const { code, index } = expectedError(v.error);
    expect(refusal(run)).toMatchObject({ code, index: v.error.contrib === 'aggothernonce' ? 0 : index });
  });
});
