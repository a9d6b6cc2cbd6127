import { describe, expect, test } from '@jest/globals';
import { schnorr } from '@noble/curves/secp256k1.js';
import { bytesToHex, hexToBytes } from '@noble/hashes/utils.js';
import { p2tr } from '@scure/btc-signer/payment.js';
import { TaprootControlBlock } from '@scure/btc-signer/psbt.js';
import fc from 'fast-check';
import { sat, schnorrSignature, script } from '../../blip/brands.js';
import type { FactorySpec, Prevout, Signable } from '../model.js';
import { aggregateKeys } from '../musig/index.js';
import {
  buildClose,
  buildLeaf,
  buildPath,
  buildStockSweep,
  feeFor,
  prevoutOf,
  signedSweepHex,
  stockOutput,
  TreeError,
} from '../transactions.js';
import { bip341Message } from './support/bip341.js';
import { decodeTx } from './support/decode.js';
import { alike, arbitrarySpec, channelScript, COORDINATOR, payoutScript, secretKey, specFor } from './support/factory.js';

const withStock = specFor({ clients: alike(3) });
const withoutStock = specFor({ clients: alike(3, 1_000_000n, 0n) });
const leafOf = (spec: FactorySpec, member = 1): Signable => buildLeaf(spec, member, buildPath(spec, member).slot, channelScript(member));

describe('a leaf', () => {
  test('has the published size: 167 vB, 124 without stock', () => {
    expect(leafOf(withStock).vsize).toBe(167);
    expect(leafOf(withoutStock).vsize).toBe(124);
  });

  test('spends the slot into channel, stock and anchor, in this order, and leaves exactly its fee', () => {
    fc.assert(
      fc.property(arbitrarySpec, fc.nat(), (spec, some) => {
        const member = some % spec.roster.length;
        const { slot } = buildPath(spec, member);
        const leaf = buildLeaf(spec, member, slot, channelScript(member));
        const { capacity, stock, key } = spec.roster[member]!;
        expect(leaf.tx).toMatchObject({ version: 3, lockTime: 0, sequence: 0xfffffffe, prevout: slot });
        expect(leaf.signers).toEqual([spec.coordinatorKey, key]);
        expect(leaf.tx.outputs).toEqual([
          { amount: capacity, script: channelScript(member), role: { kind: 'channel', member } },
          ...(stock > 0n ? [{ amount: stock, script: stockOutput(spec, member).script, role: { kind: 'stock', member } }] : []),
          { amount: 240n, script: '51024e73', role: { kind: 'anchor' } },
        ]);
        expect(leaf.fee).toBe(feeFor(leaf.vsize, spec.terms.treeFeerate));
        expect(slot.amount).toBe(leaf.tx.outputs.reduce<bigint>((sum, o) => sum + o.amount, leaf.fee));
      }),
      { numRuns: 30 },
    );
  });

  test("is not built on another member's slot, nor on one of another amount", () => {
    const mine = buildPath(withStock, 1).slot;
    const build = (slot: Prevout) => () => buildLeaf(withStock, 1, slot, channelScript(1));
    expect(build(buildPath(withStock, 2).slot)).toThrow(TreeError);
    for (const off of [-1n, 1n]) expect(build({ ...mine, amount: sat(mine.amount + off) })).toThrow(TreeError);
  });

  test('is not built for a script it cannot afford, nor for nobody', () => {
    const { slot } = buildPath(withStock, 1);
    expect(() => buildLeaf(withStock, 1, slot, script('51'.repeat(60)))).toThrow(TreeError);
    expect(() => buildLeaf(withStock, 3, slot, channelScript(3))).toThrow(TreeError);
  });
});

describe('a stock', () => {
  test('pays to client and LSP, or by its script to the LSP after the delay: the library derives the same output', () => {
    const lsp = hexToBytes(withStock.coordinatorKey.slice(2));
    const stock = stockOutput(withStock, 1);
    const { internalKey } = aggregateKeys([withStock.coordinatorKey, withStock.roster[1]!.key]);
    const expected = p2tr(hexToBytes(internalKey), { script: hexToBytes(stock.leafScript) }, undefined, true);
    expect(stock.leafScript).toBe(`029000b27520${bytesToHex(lsp)}ac`);
    expect(stock.script).toBe(bytesToHex(expected.script));
    expect(stock.merkleRoot).toBe(bytesToHex(expected.tapMerkleRoot));
    expect(stock.controlBlock).toBe(bytesToHex(TaprootControlBlock.encode(expected.tapLeafScript![0]![0])));
  });

  test('is swept by the LSP alone, with the delay as sequence and the size it says', () => {
    const leaf = leafOf(withStock);
    const stock = prevoutOf(leaf.txid, leaf.tx, 1);
    const sweep = buildStockSweep(withStock, 1, stock, payoutScript(9), 3_000);
    expect(sweep.tx).toMatchObject({ version: 2, lockTime: 0, sequence: 144, prevout: stock });
    expect(sweep.tx.outputs).toEqual([{ amount: stock.amount - sweep.fee, script: payoutScript(9) }]);
    expect(sweep.fee).toBe(feeFor(sweep.vsize, 3_000));

    const { outpoint } = stock;
    const inputs = [{ ...outpoint, sequence: 144 }];
    const message = bip341Message({ version: 2, lockTime: 0, inputs, outputs: sweep.tx.outputs }, [stock], 0, sweep.stock.leafScript);
    expect(sweep.sighash).toBe(message);

    const signature = schnorrSignature(bytesToHex(schnorr.sign(hexToBytes(sweep.sighash), secretKey(COORDINATOR))));
    const { witnesses, vsize } = decodeTx(signedSweepHex(sweep, signature));
    expect(witnesses).toEqual([[signature, sweep.stock.leafScript, sweep.stock.controlBlock]]);
    expect(sweep.vsize).toBe(vsize);
  });

  test("is not swept when it is dust after the fee, or somebody else's", () => {
    const leaf = leafOf(withStock);
    const stock = prevoutOf(leaf.txid, leaf.tx, 1);
    const { fee } = buildStockSweep(withStock, 1, stock, payoutScript(9), 3_000);
    const holding = (amount: bigint) => () => buildStockSweep(withStock, 1, { ...stock, amount: sat(amount) }, payoutScript(9), 3_000);
    expect(holding(fee + 330n)).not.toThrow();
    expect(holding(fee + 329n)).toThrow(TreeError);
    expect(() => buildStockSweep(withStock, 2, stock, payoutScript(9), 3_000)).toThrow(TreeError);
    const sweep = buildStockSweep(withStock, 1, stock, payoutScript(9), 3_000);
    expect(() => signedSweepHex(sweep, '00' as ReturnType<typeof schnorrSignature>)).toThrow(TreeError);
  });
});

describe('a close', () => {
  test('pays exactly the outputs given, in their order; all sign', () => {
    fc.assert(
      fc.property(arbitrarySpec, (spec) => {
        const outputs = spec.roster.map(({ capacity, payoutScript: to }) => ({ amount: capacity, script: to }));
        const close = buildClose(spec, outputs);
        expect(close.tx).toMatchObject({ version: 2, lockTime: 0, sequence: 0xfffffffe });
        expect(close.tx.prevout).toEqual(buildPath(spec, 0).distribution.tx.prevout);
        expect(close.tx.outputs).toEqual(outputs.map((output, index) => ({ ...output, role: { kind: 'close', index } })));
        expect(close.signers).toEqual([spec.coordinatorKey, ...spec.roster.map((entry) => entry.key)]);
        expect(close.fee).toBe(spec.fundingAmount - outputs.reduce((sum, o) => sum + o.amount, 0n));
      }),
      { numRuns: 10 },
    );
  });

  test('does not pay nobody, more than there is, or dust', () => {
    const output = { amount: sat(1_000n), script: payoutScript(0) };
    expect(() => buildClose(withStock, [])).toThrow(TreeError);
    expect(buildClose(withStock, [{ ...output, amount: withStock.fundingAmount }]).fee).toBe(0n);
    expect(() => buildClose(withStock, [output, { ...output, amount: withStock.fundingAmount }])).toThrow(TreeError);
    expect(() => buildClose(withStock, [output, { ...output, amount: sat(329n) }])).toThrow(TreeError);
  });
});
