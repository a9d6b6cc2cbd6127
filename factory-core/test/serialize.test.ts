import { describe, expect, test } from '@jest/globals';
import { bytesToHex, hexToBytes } from '@noble/hashes/utils.js';
import { Transaction } from '@scure/btc-signer/transaction.js';
import fc from 'fast-check';
import { sat, schnorrSignature, script, txid } from '../../blip/brands.js';
import { prevoutOf, serialize, serializeWithWitness, sighashOf, txidOf, type PlainTx } from '../serialize.js';
import { keySpendVsize } from '../sizes.js';
import { bip341Message } from './support/bip341.js';
import { decodeTx } from './support/decode.js';
import { vectorJson } from '../../blip/test/published-vectors.js';

const hexOf = (bytes: number): fc.Arbitrary<string> => fc.uint8Array({ minLength: bytes, maxLength: bytes }).map(bytesToHex);
const anyScript = fc
  .oneof(
    hexOf(32).map((h) => `5120${h}`),
    hexOf(32).map((h) => `0020${h}`),
    hexOf(20).map((h) => `0014${h}`),
    fc.constant('51024e73'),
  )
  .map((h) => script(h));
const anyAmount = fc.bigInt({ min: 0n, max: 2_100_000_000_000_000n }).map((a) => sat(a));
const anyTx: fc.Arbitrary<PlainTx> = fc.record({
  version: fc.constantFrom(2 as const, 3 as const),
  lockTime: fc.nat(499_999_999),
  sequence: fc.nat(0xffffffff),
  prevout: fc.record({
    outpoint: fc.record({ txid: hexOf(32).map((h) => txid(h)), vout: fc.nat(0xffff) }),
    amount: anyAmount,
    script: hexOf(32).map((h) => script(`5120${h}`)),
  }),
  // Beyond 252 the count takes three bytes.
  outputs: fc.array(fc.record({ amount: anyAmount, script: anyScript }), { minLength: 1, maxLength: 300 }),
});
const anySignature = hexOf(64).map((h) => schnorrSignature(h));

const plain = (tx: PlainTx) => ({
  version: tx.version,
  lockTime: tx.lockTime,
  inputs: [{ ...tx.prevout.outpoint, sequence: tx.sequence }],
  outputs: tx.outputs,
});

interface Bip341Vectors {
  readonly keyPathSpending: readonly {
    readonly given: { readonly rawUnsignedTx: string; readonly utxosSpent: readonly { readonly scriptPubKey: string; readonly amountSats: number }[] };
    readonly inputSpending: readonly {
      readonly given: { readonly txinIndex: number; readonly hashType: number };
      readonly intermediary: { readonly sigHash: string };
    }[];
  }[];
}

describe('the BIP-341 message', () => {
  test('written down from the BIP agrees with its vectors (bip341/wallet-test-vectors.json)', () => {
    const { keyPathSpending } = vectorJson('bip341/wallet-test-vectors.json') as Bip341Vectors;
    let checked = 0;
    for (const { given, inputSpending } of keyPathSpending) {
      const signed = decodeTx(given.rawUnsignedTx);
      const spent = given.utxosSpent.map((u) => ({ amount: BigInt(u.amountSats), script: u.scriptPubKey }));
      for (const { given: input, intermediary } of inputSpending) {
        if (input.hashType !== 0) continue;
        expect(bip341Message(signed, spent, input.txinIndex)).toBe(intermediary.sigHash);
        checked += 1;
      }
    }
    expect(checked).toBeGreaterThan(0);
  });

  test('is what we sign, versions 2 and 3, key path and script path', () => {
    fc.assert(
      fc.property(anyTx, hexOf(40), (tx, leaf) => {
        expect(sighashOf(tx)).toBe(bip341Message(plain(tx), [tx.prevout], 0));
        const spentLeaf = { script: script(leaf), version: 0xc0 };
        expect(sighashOf(tx, spentLeaf)).toBe(bip341Message(plain(tx), [tx.prevout], 0, leaf));
      }),
      { numRuns: 50 },
    );
  });
});

describe('a transaction in bytes', () => {
  test('reads back as it is, as large as the size arithmetic says, its txid not depending on the witness', () => {
    fc.assert(
      fc.property(anyTx, anySignature, (tx, signature) => {
        for (const bytes of [serialize(tx), serialize(tx, signature)]) {
          const read = Transaction.fromRaw(hexToBytes(bytes), { allowUnknownInputs: true, allowUnknownOutputs: true, disableScriptCheck: true });
          expect(read.id).toBe(txidOf(tx));
        }
        const { vsize, ...read } = decodeTx(serialize(tx, signature));
        expect(read).toEqual({ ...plain(tx), witnesses: [[signature]] });
        expect(vsize).toBe(keySpendVsize(tx.outputs.map((o) => o.script)));
      }),
      { numRuns: 50 },
    );
  });

  test('without witness has the form without marker and flag', () => {
    const [tx] = fc.sample(anyTx, { numRuns: 1, seed: 1 });
    expect(tx && serializeWithWitness(tx, [])).toBe(tx && serialize(tx));
  });

  test('has no output beyond its last', () => {
    fc.assert(
      fc.property(anyTx, (tx) => {
        const { prevout, ...rest } = tx;
        const unsigned = { ...rest, prevout, outputs: tx.outputs.map((o) => ({ ...o, role: { kind: 'anchor' } as const })) };
        const last = tx.outputs.length - 1;
        expect(prevoutOf(txidOf(tx), unsigned, last)).toEqual({ outpoint: { txid: txidOf(tx), vout: last }, ...tx.outputs[last] });
        expect(() => prevoutOf(txidOf(tx), unsigned, last + 1)).toThrow(RangeError);
      }),
      { numRuns: 10 },
    );
  });
});
