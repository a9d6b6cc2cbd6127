/** Every transaction of a factory, from one place. The files behind it: tree, leaf, purchase, close, turnover, serialisation, sizes. */
export { buildClose } from './close.js';
export { buildLeaf, buildStockSweep, signedSweepHex, stockOutput, type StockOutput, type StockSweep } from './leaf.js';
export { buildPurchase, largestPurchase, MAX_PURCHASES, stockAfter } from './purchase.js';
export { prevoutOf, serialize, signedHex, txidOf, type PlainOutput, type PlainTx } from './serialize.js';
export { ANCHOR_AMOUNT, DUST_LIMIT, feeFor, keySpendVsize, leafVsize, LEAF_VSIZE, splitVsize } from './sizes.js';
export { buildPath, buildTree, fundingAmount, fundingPrevout, fundingRequirement, pathOf, slotAmount, TreeError, type Tree } from './tree.js';
export { buildTurnover, turnoverVsize, turnoverYield } from './turnover.js';
