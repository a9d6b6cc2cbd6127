/** BIP-341: scripts, hashes and tweaks of Taproot outputs. Ids and scripts are hex, as everywhere; BIP-86 is the case without a script. */
import { bytesToHex, concatBytes, hexToBytes } from '@noble/hashes/utils.js';
import { FormatError, type Hex, hex, type PubKey, type Script, script } from '../blip/brands.js';
import { hasEvenY, INFINITY, liftX, mulBasePublic, normalizedPoint, scalarFromBytes, taggedHash, xBytes } from './secp256k1.js';

/** Pay-to-anchor: `OP_1 <4e73>`, spent with an empty witness (TRUC and P2A, architecture 3.7). */
export const P2A_SCRIPT: Script = script('51024e73');

/** The leaf version of tapscript (BIP-342). */
export const TAPSCRIPT = 0xc0;

export interface TapLeaf {
  readonly script: Script;
  /** Even, TAPSCRIPT by default. */
  readonly version?: number;
}
/** A script tree: a leaf, or two trees. */
export type TapTree = TapLeaf | readonly [TapTree, TapTree];

/** The x coordinate, 32 bytes, of a key: BIP-340's form of it. */
export const xOnly = (key: PubKey): Hex => hex(key.slice(2));

/** @throws FormatError unless the value is 32 bytes */
const bytes32 = (value: Hex, field: string): Uint8Array => {
  if (value.length !== 64) throw new FormatError(field, '32 bytes');
  return hexToBytes(value);
};

/** `CompactSize` of a script's length; our scripts stay far below 64 KiB, and `script()` bounds them at 10,000 bytes. */
const compactSize = (length: number): Uint8Array =>
  length < 0xfd ? Uint8Array.of(length) : Uint8Array.of(0xfd, length & 0xff, length >> 8);

/** `hash_TapLeaf(version ‖ compact_size(script) ‖ script)`. */
export const tapLeafHash = (leaf: TapLeaf): Hex => {
  const bytes = hexToBytes(leaf.script);
  return toHex(taggedHash('TapLeaf', Uint8Array.of(leaf.version ?? TAPSCRIPT), compactSize(bytes.length), bytes));
};

/** `hash_TapBranch` of two nodes, the smaller hash first. */
export const tapBranchHash = (a: Hex, b: Hex): Hex => {
  const [low, high] = a < b ? [a, b] : [b, a];
  return toHex(taggedHash('TapBranch', bytes32(low, 'branch'), bytes32(high, 'branch')));
};

const isLeaf = (tree: TapTree): tree is TapLeaf => !Array.isArray(tree);

/** The Merkle root of a script tree. */
export const merkleRoot = (tree: TapTree): Hex =>
  isLeaf(tree) ? tapLeafHash(tree) : tapBranchHash(merkleRoot(tree[0]), merkleRoot(tree[1]));

/** A leaf and the hashes on its way to the root, lowest first. */
export interface TapLeafPath {
  readonly leaf: TapLeaf;
  readonly path: readonly Hex[];
}

/** All leaves of a tree from left to right, each with its path. */
export const leafPaths = (tree: TapTree): readonly TapLeafPath[] => {
  if (isLeaf(tree)) return [{ leaf: tree, path: [] }];
  const [left, right] = tree;
  const below = (side: TapTree, sibling: TapTree): readonly TapLeafPath[] => {
    const hash = merkleRoot(sibling);
    return leafPaths(side).map(({ leaf, path }) => ({ leaf, path: [...path, hash] }));
  };
  return [...below(left, right), ...below(right, left)];
};

/**
 * `hash_TapTweak(internal key ‖ root)`, 32 bytes; without a root the key commits to having no script (BIP-341, 86).
 * @param internalKey x-only, 32 bytes
 */
export const tapTweak = (internalKey: Uint8Array, root?: Hex): Uint8Array =>
  root === undefined ? taggedHash('TapTweak', internalKey) : taggedHash('TapTweak', internalKey, bytes32(root, 'merkle_root'));

/** `OP_1 <x-only output key>`. */
export const p2trScript = (outputKey: Hex): Script => script(`5120${toHex(bytes32(outputKey, 'output_key'))}`);

export interface TaprootOutput {
  /** x-only, 32 bytes. */
  readonly outputKey: Hex;
  /** Whether the output key's y is odd: goes into the control block. */
  readonly parity: 0 | 1;
  readonly script: Script;
}

/**
 * The output for an x-only internal key, and a script tree's root if there is one.
 * @throws FormatError when the internal key is not the x of a point
 */
export const taprootOutput = (internalKey: Hex, root?: Hex): TaprootOutput => {
  const bytes = bytes32(internalKey, 'internal_key');
  const point = attempt(() => liftX(bytes), 'internal_key', 'the x coordinate of a point');
  const t = scalarFromBytes(tapTweak(bytes, root));
  const sum = t === undefined ? INFINITY : point.add(mulBasePublic(t));
  // BIP-341 fails on t ≥ n and on infinity. Nobody has ever seen either: they take a preimage of a hash.
  if (sum.is0()) throw new FormatError('internal_key', 'a key that can be tweaked');
  const tweaked = normalizedPoint(sum);
  const outputKey = toHex(xBytes(tweaked));
  return { outputKey, parity: hasEvenY(tweaked) ? 0 : 1, script: p2trScript(outputKey) };
};

/** What a script-path spend shows last: leaf version and parity, internal key, path (BIP-341). */
export const controlBlock = (internalKey: Hex, parity: 0 | 1, { leaf, path }: TapLeafPath): Hex =>
  toHex(
    concatBytes(
      Uint8Array.of((leaf.version ?? TAPSCRIPT) | parity),
      bytes32(internalKey, 'internal_key'),
      ...path.map((hash) => bytes32(hash, 'path')),
    ),
  );

function toHex(bytes: Uint8Array): Hex {
  return hex(bytesToHex(bytes));
}

function attempt<T>(compute: () => T, field: string, expected: string): T {
  try {
    return compute();
  } catch {
    throw new FormatError(field, expected);
  }
}
