/** BIP-341's wallet vectors: leaf hashes, Merkle roots, tweaks, scripts, control blocks, key-path signatures. */
import { describe, expect, test } from '@jest/globals';
import { bytesToHex, hexToBytes } from '@noble/hashes/utils.js';
import fc from 'fast-check';
import { FormatError, hex, type Hex, pubKey, script } from '../../blip/brands.js';
import { verifySchnorr } from '../musig/schnorr.js';
import { taggedHash } from '../secp256k1.js';
import {
  controlBlock,
  leafPaths,
  merkleRoot,
  P2A_SCRIPT,
  p2trScript,
  tapBranchHash,
  tapLeafHash,
  taprootOutput,
  tapTweak,
  type TapTree,
  xOnly,
} from '../taproot.js';
import { vectorJson } from '../../blip/test/published-vectors.js';

interface VectorLeaf {
  readonly script: string;
  readonly leafVersion: number;
}
type VectorTree = VectorLeaf | readonly [VectorTree, VectorTree];
const file = vectorJson('bip341/wallet-test-vectors.json') as {
  readonly scriptPubKey: readonly {
    readonly given: { readonly internalPubkey: string; readonly scriptTree: VectorTree | null };
    readonly intermediary: {
      readonly leafHashes?: readonly string[];
      readonly merkleRoot: string | null;
      readonly tweak: string;
      readonly tweakedPubkey: string;
    };
    readonly expected: { readonly scriptPubKey: string; readonly scriptPathControlBlocks?: readonly string[] };
  }[];
  readonly keyPathSpending: readonly {
    readonly given: { readonly utxosSpent: readonly { readonly scriptPubKey: string }[] };
    readonly inputSpending: readonly {
      readonly given: { readonly txinIndex: number; readonly merkleRoot: string | null };
      readonly intermediary: {
        readonly internalPubkey: string;
        readonly tweak: string;
        readonly sigMsg: string;
        readonly sigHash: string;
      };
      readonly expected: { readonly witness: readonly [string] };
    }[];
  }[];
};

const isLeaf = (tree: VectorTree): tree is VectorLeaf => !Array.isArray(tree);
const treeOf = (tree: VectorTree): TapTree =>
  isLeaf(tree) ? { script: script(tree.script), version: tree.leafVersion } : [treeOf(tree[0]), treeOf(tree[1])];
const optional = (root: string | null): Hex | undefined => (root === null ? undefined : hex(root));
const refusal = (call: () => unknown): unknown => {
  try {
    return call();
  } catch (error) {
    return error;
  }
};

describe('wallet vectors: scriptPubKey', () => {
  test('the file is whole', () => expect(file.scriptPubKey).toHaveLength(7));

  test.each(file.scriptPubKey)('$expected.scriptPubKey', ({ given, intermediary, expected }) => {
    const internalKey = hex(given.internalPubkey);
    const tree = given.scriptTree === null ? undefined : treeOf(given.scriptTree);
    const root = tree === undefined ? undefined : merkleRoot(tree);
    const leaves = tree === undefined ? [] : leafPaths(tree);
    expect(root ?? null).toBe(intermediary.merkleRoot);
    expect(leaves.map(({ leaf }) => tapLeafHash(leaf))).toEqual(intermediary.leafHashes ?? []);
    expect(bytesToHex(tapTweak(hexToBytes(internalKey), root))).toBe(intermediary.tweak);
    const output = taprootOutput(internalKey, root);
    expect(output).toMatchObject({ outputKey: intermediary.tweakedPubkey, script: expected.scriptPubKey });
    expect(leaves.map((leaf) => controlBlock(internalKey, output.parity, leaf))).toEqual(expected.scriptPathControlBlocks ?? []);
  });
});

describe('wallet vectors: keyPathSpending', () => {
  const [vector] = file.keyPathSpending;
  test.each(vector!.inputSpending)('input $given.txinIndex', ({ given, intermediary, expected }) => {
    const spent = vector!.given.utxosSpent[given.txinIndex]!.scriptPubKey;
    expect(taprootOutput(hex(intermediary.internalPubkey), optional(given.merkleRoot)).script).toBe(spent);
    expect(bytesToHex(tapTweak(hexToBytes(intermediary.internalPubkey), optional(given.merkleRoot)))).toBe(intermediary.tweak);
    expect(bytesToHex(taggedHash('TapSighash', hexToBytes(intermediary.sigMsg)))).toBe(intermediary.sigHash);
    const signature = hexToBytes(expected.witness[0]).slice(0, 64);
    expect(verifySchnorr(signature, hexToBytes(intermediary.sigHash), hexToBytes(spent.slice(4)))).toBe(true);
  });
});

describe('scripts and hashes', () => {
  test('pay-to-anchor', () => expect(P2A_SCRIPT).toBe('51024e73'));

  test('x-only drops the parity', () => {
    const x = '79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798';
    expect(xOnly(pubKey(`02${x}`))).toBe(x);
    expect(xOnly(pubKey(`03${x}`))).toBe(x);
  });

  test('a branch does not know left from right', () => {
    const hash = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => hex(bytesToHex(bytes)));
    fc.assert(fc.property(hash, hash, (a, b) => expect(tapBranchHash(a, b)).toBe(tapBranchHash(b, a))));
  });

  test('a script of 253 bytes or more has its length in three', () => {
    const bytes = new Uint8Array(300).fill(0x51);
    const hash = taggedHash('TapLeaf', Uint8Array.of(0xc0, 0xfd, 300 & 0xff, 300 >> 8), bytes);
    expect(tapLeafHash({ script: script(bytesToHex(bytes)) })).toBe(bytesToHex(hash));
  });

  test('what is not 32 bytes, or not the x of a point, is refused by name', () => {
    const short = hex('00'.repeat(31));
    const g = hex('79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798');
    for (const [call, field] of [
      [() => p2trScript(short), 'output_key'],
      [() => taprootOutput(short), 'internal_key'],
      [() => taprootOutput(hex('05'.padStart(64, '0'))), 'internal_key'],
      [() => taprootOutput(hex('ff'.repeat(32))), 'internal_key'],
      [() => taprootOutput(g, short), 'merkle_root'],
      [() => tapBranchHash(short, g), 'branch'],
      [() => controlBlock(g, 0, { leaf: { script: script('51') }, path: [short] }), 'path'],
    ] as const) {
      const error = refusal(call);
      expect(error).toBeInstanceOf(FormatError);
      expect(error).toMatchObject({ field });
    }
  });
});
