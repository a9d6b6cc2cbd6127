/**
 * Below the tree: the leaf that spends a slot into the client's channel and its stock, and the LSP's way back to the
 * stock it did not sell (architecture 4). Only the two, client and LSP, sign here.
 */
import { Script as ScriptCoder } from '@scure/btc-signer/script.js';
import { hex, sat, script, type Hex, type PubKey, type Sat, type SchnorrSignature, type Script, type Txid } from '../blip/brands.js';
import type { FactoryPlan, FactorySpec, Prevout, Signable, TxOutput } from './model.js';
import { aggregateKeys } from './musig/index.js';
import { bytesOf, hexOf, serializeWithWitness, sighashOf, txidOf, type PlainTx } from './serialize.js';
import { compactSizeLength, DUST_LIMIT, feeFor, keySpendVsize } from './sizes.js';
import { controlBlock, merkleRoot, TAPSCRIPT, xOnly } from './taproot.js';
import { anchorOutput, rosterEntry, SEQUENCE, signable, signersOf, slotAmount, TreeError } from './tree.js';

const SIGNATURE_BYTES = 64;

/** The output that holds the LSP's unsold liquidity for one client, and all it takes to spend it by its script. */
export interface StockOutput {
  readonly amount: Sat;
  /** P2TR of client and LSP, tweaked by the one script below. */
  readonly script: Script;
  readonly merkleRoot: Hex;
  /** `<stockCsv> CHECKSEQUENCEVERIFY DROP <LSP> CHECKSIG` */
  readonly leafScript: Script;
  readonly controlBlock: Hex;
}

const pair = (plan: FactoryPlan, member: number): readonly PubKey[] => {
  rosterEntry(plan, member);
  return signersOf(plan, { from: member, to: member + 1 });
};

/** The stock of one client; `amount` is the roster's unless purchases have made it smaller. */
export const stockOutput = (plan: FactoryPlan, member: number, amount = rosterEntry(plan, member).stock): StockOutput => {
  const lsp = bytesOf(xOnly(plan.coordinatorKey));
  const leafScript = script(hexOf(ScriptCoder.encode([plan.terms.stockCsv, 'CHECKSEQUENCEVERIFY', 'DROP', lsp, 'CHECKSIG'])));
  const leaf = { script: leafScript };
  const root = merkleRoot(leaf);
  const { script: output, internalKey, parity } = aggregateKeys(pair(plan, member), root);
  return { amount, script: output, merkleRoot: root, leafScript, controlBlock: controlBlock(internalKey, parity, { leaf, path: [] }) };
};

/**
 * The leaf: channel output, stock output if there is stock, anchor. `slot` is the member's slot output, from the path.
 * @throws TreeError `slot` when it is not this member's: another script, or not the amount the leaf needs
 */
export const buildLeaf = (spec: FactorySpec, member: number, slot: Prevout, channelScript: Script): Signable => {
  const { capacity, stock } = rosterEntry(spec, member);
  const signers = pair(spec, member);
  if (slot.script !== aggregateKeys(signers).script) throw new TreeError('slot', `its script is not that of member ${member} and the LSP`);
  if (slot.amount !== slotAmount(spec, member)) throw new TreeError('slot', `holds ${slot.amount} sat, not ${slotAmount(spec, member)}`);
  const outputs: TxOutput[] = [{ amount: capacity, script: channelScript, role: { kind: 'channel', member } }];
  if (stock > 0n) outputs.push({ amount: stock, script: stockOutput(spec, member).script, role: { kind: 'stock', member } });
  const leaf = signable('leaf', { version: 3, lockTime: 0, sequence: SEQUENCE, prevout: slot, outputs: [...outputs, anchorOutput] }, signers);
  const fee = feeFor(leaf.vsize, spec.terms.treeFeerate);
  // A channel script longer than P2WSH would underpay.
  if (leaf.fee < fee) throw new TreeError('channelScript', `the leaf needs a fee of ${fee} sat and has ${leaf.fee}`);
  return leaf;
};

/** The LSP's spend of a stock by its script, `stockCsv` blocks after the leaf; signed by the LSP's key alone (BIP 340). */
export interface StockSweep {
  readonly tx: PlainTx;
  readonly txid: Txid;
  /** BIP-342 message of the script path, SIGHASH_DEFAULT. */
  readonly sighash: Hex;
  readonly stock: StockOutput;
  readonly vsize: number;
  readonly fee: Sat;
}

/**
 * Sweeps a stock to `destination`. It must be in a block at least `stockCsv` above the leaf's.
 * @param stock the leaf's stock output
 * @param feerate sat per 1,000 vB
 * @throws TreeError `stock` when it is not this member's stock or too small to be worth a transaction
 */
export const buildStockSweep = (plan: FactoryPlan, member: number, stock: Prevout, destination: Script, feerate: number): StockSweep => {
  const spent = stockOutput(plan, member, stock.amount);
  if (stock.script !== spent.script) throw new TreeError('stock', `its script is not that of member ${member} and the LSP`);
  const vsize = sweepVsize(destination, spent);
  const fee = feeFor(vsize, feerate);
  const amount = stock.amount - fee;
  if (amount < DUST_LIMIT) throw new TreeError('stock', `${stock.amount} sat are not worth a fee of ${fee}`);
  const outputs = [{ amount: sat(amount), script: destination }];
  // BIP 68: the sequence is the relative lock in blocks; it needs version 2 or more.
  const tx: PlainTx = { version: 2, lockTime: 0, sequence: plan.terms.stockCsv, prevout: stock, outputs };
  return { tx, txid: txidOf(tx), sighash: sighashOf(tx, { script: spent.leafScript, version: TAPSCRIPT }), stock: spent, vsize, fee };
};

const sweepVsize = (destination: Script, stock: StockOutput): number => {
  const items = [stock.leafScript, stock.controlBlock].map((item) => item.length / 2);
  return keySpendVsize([destination], items.reduce((sum, bytes) => sum + compactSizeLength(bytes) + bytes, 0));
};

/** The sweep in hex, with the LSP's signature. */
export const signedSweepHex = (sweep: StockSweep, signature: SchnorrSignature): Hex => {
  if (signature.length !== SIGNATURE_BYTES * 2) throw new TreeError('signature', 'must be 64 bytes (SIGHASH_DEFAULT)');
  return serializeWithWitness(sweep.tx, [hex(signature), hex(sweep.stock.leafScript), sweep.stock.controlBlock]);
};
