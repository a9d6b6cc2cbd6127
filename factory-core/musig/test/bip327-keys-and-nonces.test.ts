/** BIP-327's vectors for keys and nonces, every case: key_sort, key_agg, nonce_gen, nonce_agg. */
import { describe, expect, test } from '@jest/globals';
import { xBytes } from '../../secp256k1.js';
import { sortKeys } from '../key-agg.js';
import { nonceAgg, nonceGen } from '../nonce.js';
import { bytes, contextOf, expectedError, pick, refusal, type TweakCase, upper, type VectorError, vectors } from './bip327.js';

describe('key_sort_vectors', () => {
  const file = vectors('key_sort') as { readonly pubkeys: readonly string[]; readonly sorted_pubkeys: readonly string[] };

  test('sorts, and leaves its input alone', () => {
    const keys = file.pubkeys.map(bytes);
    expect(sortKeys(keys).map(upper)).toEqual(file.sorted_pubkeys);
    expect(keys.map(upper)).toEqual(file.pubkeys);
  });
});

describe('key_agg_vectors', () => {
  const file = vectors('key_agg') as {
    readonly pubkeys: readonly string[];
    readonly tweaks: readonly string[];
    readonly valid_test_cases: readonly { readonly key_indices: readonly number[]; readonly expected: string }[];
    readonly error_test_cases: readonly (TweakCase & {
      readonly key_indices: readonly number[];
      readonly error: VectorError;
      readonly comment: string;
    })[];
  };

  test.each(file.valid_test_cases)('aggregates keys $key_indices', ({ key_indices, expected }) => {
    expect(upper(xBytes(contextOf(pick(file.pubkeys, key_indices)).point))).toBe(expected);
  });

  test.each(file.error_test_cases)('refuses: $comment', ({ key_indices, tweak_indices, is_xonly, error }) => {
    expect(refusal(() => contextOf(pick(file.pubkeys, key_indices), pick(file.tweaks, tweak_indices ?? []), is_xonly))).toMatchObject(
      expectedError(error),
    );
  });
});

describe('nonce_gen_vectors', () => {
  const file = vectors('nonce_gen') as {
    readonly test_cases: readonly {
      readonly rand_: string;
      readonly sk: string | null;
      readonly pk: string;
      readonly aggpk: string | null;
      readonly msg: string | null;
      readonly extra_in: string | null;
      readonly expected_secnonce: string;
      readonly expected_pubnonce: string;
    }[];
  };

  test.each(file.test_cases)('message $msg, secret key $sk', (v) => {
    const { secret, publicNonce } = nonceGen(bytes(v.rand_), {
      publicKey: bytes(v.pk),
      ...(v.sk === null ? {} : { secretKey: bytes(v.sk) }),
      ...(v.aggpk === null ? {} : { aggregateKey: bytes(v.aggpk) }),
      ...(v.msg === null ? {} : { message: bytes(v.msg) }),
      ...(v.extra_in === null ? {} : { extra: bytes(v.extra_in) }),
    });
    expect(upper(secret.take())).toBe(v.expected_secnonce);
    expect(upper(publicNonce)).toBe(v.expected_pubnonce);
  });
});

describe('nonce_agg_vectors', () => {
  const file = vectors('nonce_agg') as {
    readonly pnonces: readonly string[];
    readonly valid_test_cases: readonly { readonly pnonce_indices: readonly number[]; readonly expected: string }[];
    readonly error_test_cases: readonly {
      readonly pnonce_indices: readonly number[];
      readonly error: VectorError;
      readonly comment: string;
    }[];
  };

  test.each(file.valid_test_cases)('adds nonces $pnonce_indices', ({ pnonce_indices, expected }) => {
    expect(upper(nonceAgg(pick(file.pnonces, pnonce_indices)))).toBe(expected);
  });

  test.each(file.error_test_cases)('refuses: $comment', ({ pnonce_indices, error }) => {
    expect(refusal(() => nonceAgg(pick(file.pnonces, pnonce_indices)))).toMatchObject(expectedError(error));
  });
});
