import { describe, expect, test } from '@jest/globals';
import { base64 } from '@scure/base';
import { bytesToHex, hexToBytes } from '@noble/hashes/utils.js';
import { Transaction } from '@scure/btc-signer/transaction.js';
import fc from 'fast-check';
import { schnorrSignature } from '../../blip/brands.js';
import { armingPsbt, leafPsbt } from '../psbt.js';
import { verifyFinal } from '../musig/index.js';
import { buildLeaf, buildPath, signedHex } from '../transactions.js';
import { arbitrarySpec, channelScript } from './support/factory.js';

const nobodys = schnorrSignature('00'.repeat(64));

describe("a leaf's PSBT", () => {
  test('version 0, with witness_utxo; final only for arming, and then valid for nobody; the transaction is the leaf', () => {
    fc.assert(
      fc.property(arbitrarySpec, (spec) => {
        const { slot } = buildPath(spec, 0);
        const leaf = buildLeaf(spec, 0, slot, channelScript(0));
        const [unsigned, arming] = [leafPsbt(leaf), armingPsbt(leaf)].map((psbt) => {
          // BIP 174: magic, then the global unsigned transaction; version 2 would have no such key.
          expect(bytesToHex(base64.decode(psbt).slice(0, 7))).toMatch(/^70736274ff0100/);
          return Transaction.fromPSBT(base64.decode(psbt), { allowUnknownInputs: true });
        });
        for (const tx of [unsigned!, arming!]) {
          expect([tx.id, tx.version]).toEqual([leaf.txid, 3]);
          expect(tx.getInput(0).witnessUtxo).toEqual({ amount: slot.amount, script: hexToBytes(slot.script) });
        }
        expect(unsigned?.getInput(0)).not.toHaveProperty('finalScriptWitness');
        expect(arming?.hex).toBe(signedHex({ signable: leaf, signature: nobodys }));
        expect(verifyFinal(leaf, nobodys)).toBe(false);
      }),
      { numRuns: 10 },
    );
  });
});
