import { describe, expect, test } from '@jest/globals';
import { base64 } from '@scure/base';
import { bytesToHex, hexToBytes } from '@noble/hashes/utils.js';
import { p2tr, p2wpkh } from '@scure/btc-signer/payment.js';
import { Transaction } from '@scure/btc-signer/transaction.js';
import { pubSchnorr } from '@scure/btc-signer/utils.js';
import fc from 'fast-check';
import { sat, script, txid, type Script } from '../../blip/brands.js';
import { anchorOf, buildChild, canBump, ChildError, childVsize, COIN_INPUT, coinFor, coinPays, finishChild, type ChildErrorCode, type ChildRequest } from '../cpfp.js';
import type { Prevout, Signable } from '../model.js';
import { CPFP_CHILD_VSIZE } from '../sizes.js';
import { buildClose, buildPath } from '../transactions.js';
import { decodeTx } from './support/decode.js';
import { alike, payoutScript, publicKey, secretKey, specFor } from './support/factory.js';

const spec = specFor({ clients: alike(7) });
const path = buildPath(spec, 3);
const parent: Signable = path.splits[0]!;

const WALLET = 'wallet';
const taproot = p2tr(pubSchnorr(secretKey(WALLET)));
const coinOf = (type: Script, amount = 1_000_000n): Prevout => ({
  outpoint: { txid: txid('cd'.repeat(32)), vout: 4 },
  amount: sat(amount),
  script: type,
});
const P2TR_COIN = coinOf(script(bytesToHex(taproot.script)));
const P2WPKH_COIN = coinOf(script(bytesToHex(p2wpkh(hexToBytes(publicKey(WALLET))).script)));
const CHANGE = payoutScript(2);
const child = (request: Partial<ChildRequest> = {}) => buildChild({ parent, coin: P2TR_COIN, changeScript: CHANGE, fee: sat(4_000n), ...request });

/** As a wallet signs: only its own input, finalised or not, in either version of PSBT. */
const walletSigns = (psbt: string, { finalise = true, version = 0 } = {}): string => {
  const tx = Transaction.fromPSBT(base64.decode(psbt), { allowUnknownInputs: true, allowUnknownOutputs: true, disableScriptCheck: true });
  if (tx.getInput(COIN_INPUT).witnessUtxo?.script[0] === 0x51) tx.updateInput(COIN_INPUT, { tapInternalKey: pubSchnorr(secretKey(WALLET)) });
  tx.signIdx(secretKey(WALLET), COIN_INPUT);
  if (finalise) tx.finalizeIdx(COIN_INPUT);
  return base64.encode(tx.toPSBT(version));
};

const codeOf = (act: () => unknown): ChildErrorCode | undefined => {
  try {
    act();
    return undefined;
  } catch (error) {
    if (error instanceof ChildError) return error.code;
    throw error;
  }
};

describe('a child', () => {
  test('spends the anchor and the coin into one change output, replaceable, in the version of its parent', () => {
    const { psbt, change, fee } = child();
    const tx = Transaction.fromPSBT(base64.decode(psbt), { allowUnknownInputs: true });
    expect([tx.version, tx.lockTime]).toEqual([3, 0]);
    expect(bytesToHex(tx.getInput(0).txid!)).toBe(parent.txid);
    expect(tx.getInput(0)).toMatchObject({ index: parent.tx.outputs.length - 1, sequence: 0xfffffffd, witnessUtxo: { amount: 240n, script: hexToBytes('51024e73') } });
    expect(tx.getInput(1)).toMatchObject({ index: 4, sequence: 0xfffffffd, witnessUtxo: { amount: 1_000_000n } });
    expect([tx.outputsLength, tx.getOutput(0).amount]).toEqual([1, change]);
    expect(change + fee).toBe(1_000_240n);
    expect(Transaction.fromPSBT(base64.decode(child({ parent: path.distribution }).psbt), { allowUnknownInputs: true }).version).toBe(2);
  });

  test('is 153 vB with a P2TR coin, of the size that was reckoned with, and pays what was asked for', () => {
    expect(child().vsize).toBe(CPFP_CHILD_VSIZE);
    expect(childVsize(P2TR_COIN.script)).toBe(CPFP_CHILD_VSIZE);
    fc.assert(
      fc.property(fc.bigInt({ min: 153n, max: 900_000n }), fc.constantFrom(P2TR_COIN, P2WPKH_COIN), (fee, coin) => {
        const made = child({ fee: sat(fee), coin });
        expect([made.fee, made.vsize]).toEqual([fee, childVsize(coin.script)]);
        // BIP 431: a version-3 child of an unconfirmed parent.
        expect(made.vsize).toBeLessThanOrEqual(1_000);
        expect(made.change).toBe(coin.amount + 240n - fee);
      }),
    );
  });

  test('takes from its coin all but the least change', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 1_000_000n }), (amount) => {
        const most = coinPays(sat(amount));
        if (most > 0n) expect(child({ coin: coinOf(P2TR_COIN.script, amount), fee: most }).change).toBe(330n);
        expect(codeOf(() => child({ coin: coinOf(P2TR_COIN.script, amount), fee: sat(most + 1n) }))).toBe('coin_too_small');
        if (most > 0n) expect(coinFor(most)).toBe(amount);
      }),
    );
  });

  test.each([
    ['P2TR', P2TR_COIN],
    ['P2WPKH', P2WPKH_COIN],
  ])('is as large as it says when signed: %s', (_, coin) => {
    for (const changeScript of [payoutScript(0), payoutScript(1), payoutScript(2)]) {
      const made = child({ coin, changeScript });
      const { vsize } = decodeTx(finishChild(made, walletSigns(made.psbt)));
      // An ECDSA signature may be a byte or two shorter than the 72 reckoned with.
      expect(made.vsize - vsize).toBeGreaterThanOrEqual(0);
      expect(made.vsize - vsize).toBeLessThanOrEqual(1);
    }
  });

  test('finds the anchor by its role, wherever it is', () => {
    const outputs = [...parent.tx.outputs].reverse();
    expect(anchorOf({ ...parent, tx: { ...parent.tx, outputs } }).outpoint).toEqual({ txid: parent.txid, vout: 0 });
  });

  test('is refused without an anchor, for coins and change of other types, and when the coin is too small', () => {
    const close = buildClose(spec, [{ amount: sat(100_000n), script: payoutScript(0) }]);
    expect(codeOf(() => child({ parent: close }))).toBe('no_anchor');
    expect(codeOf(() => child({ coin: coinOf(script(`a914${'00'.repeat(20)}87`)) }))).toBe('coin_type');
    expect(codeOf(() => child({ coin: coinOf(payoutScript(1)) }))).toBe('coin_type');
    expect([P2TR_COIN, P2WPKH_COIN, coinOf(payoutScript(1))].map((coin) => canBump(coin.script))).toEqual([true, true, false]);
    expect(codeOf(() => child({ changeScript: script('6a') }))).toBe('change_type');
    const { fee } = child();
    expect(codeOf(() => child({ coin: { ...P2TR_COIN, amount: sat(fee - 240n + 330n) } }))).toBeUndefined();
    expect(codeOf(() => child({ coin: { ...P2TR_COIN, amount: sat(fee - 240n + 329n) } }))).toBe('coin_too_small');
  });
});

describe('the finished child', () => {
  test.each([
    ['P2TR', P2TR_COIN, 1],
    ['P2WPKH', P2WPKH_COIN, 2],
  ])('has an empty witness for the anchor and the wallet’s for the coin: %s', (_, coin, items) => {
    for (const options of [{}, { finalise: false }, { version: 2 }, { finalise: false, version: 2 }]) {
      const made = child({ coin });
      const { witnesses, inputs, version } = decodeTx(finishChild(made, walletSigns(made.psbt, options)));
      expect(version).toBe(3);
      expect(inputs).toHaveLength(2);
      expect(witnesses?.[0]).toEqual([]);
      expect(witnesses?.[1]).toHaveLength(items);
    }
  });

  test('is not made of something else', () => {
    const [made, other] = [child(), child({ fee: sat(9_000n) })];
    expect(codeOf(() => finishChild(made, walletSigns(other.psbt)))).toBe('psbt_mismatch');
    expect(codeOf(() => finishChild(made, made.psbt))).toBe('psbt_unsigned');
    expect(codeOf(() => finishChild(made, 'not base64!'))).toBe('psbt');
    expect(codeOf(() => finishChild(made, base64.encode(hexToBytes('00'))))).toBe('psbt');
  });
});
