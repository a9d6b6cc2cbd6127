/** A factory whose every key is in the test's hands, funded on a real chain: to put its transactions to bitcoind. */
import { randomBytes } from 'node:crypto';
import { schnorr } from '@noble/curves/secp256k1.js';
import { bytesToHex, hexToBytes } from '@noble/hashes/utils.js';
import { Address } from '@scure/btc-signer/payment.js';
import { schnorrSignature, script, txid, type Hex, type Outpoint, type Sat, type SchnorrSignature, type Script, type Txid } from '../../blip/brands.js';
import type { ChainView, ExitPath } from '../../factory-core/exit-plan.js';
import type { FactoryPlan, FactorySpec, Prevout, Signable, SignedTx } from '../../factory-core/model.js';
import { aggregateNonces, aggregatePartials, createSigner, verifyFinal, type Signer } from '../../factory-core/musig/index.js';
import { client, COORDINATOR, publicKey, secretKey } from '../../factory-core/test/support/factory.js';
import { buildLeaf, buildPurchase, buildTree, fundingRequirement, pathOf, signedHex, type Tree } from '../../factory-core/transactions.js';
import { type Bitcoind, toSat } from '../harness/bitcoind.js';
import { RpcError } from '../harness/rpc.js';

const REGTEST = { bech32: 'bcrt', pubKeyHash: 0x6f, scriptHash: 0xc4, wif: 0xef };
/** The address that bitcoind's wallet pays to for a P2TR script. */
const addressOf = (p2tr: Script): string => Address(REGTEST).encode({ type: 'tr', pubkey: hexToBytes(p2tr.slice(4)) });

export class OnChainFactory implements ChainView {
  readonly tree: Tree;
  height = 0;
  private readonly signers: ReadonlyMap<string, Signer>;
  private readonly signatures = new Map<Txid, SchnorrSignature>();
  private readonly spends = new Map<string, { readonly txid: Txid; readonly height: number }>();

  private constructor(
    readonly bitcoind: Bitcoind,
    readonly spec: FactorySpec,
  ) {
    this.tree = buildTree(spec);
    const names = [COORDINATOR, ...spec.roster.map((_, index) => client(index))];
    this.signers = new Map(names.map((name) => [publicKey(name), createSigner(secretKey(name), (n) => randomBytes(n))]));
  }

  /** Moves a plan's heights to the chain's tip, funds it and confirms the funding. */
  static async fund(bitcoind: Bitcoind, drawn: FactoryPlan): Promise<OnChainFactory> {
    const startHeight = await bitcoind.height();
    const { activeBlocks, dyingBlocks, settlingBlocks } = drawn.terms;
    const plan = { ...drawn, startHeight, expiryHeight: startHeight + activeBlocks + dyingBlocks + settlingBlocks };
    const { amount, script: funding } = fundingRequirement(plan);
    const id = await bitcoind.send(addressOf(funding), amount);
    const { vout } = await bitcoind.transaction(id);
    await bitcoind.mine();
    const output = vout.find(({ scriptPubKey, value }) => scriptPubKey.hex === funding && toSat(value) === amount);
    if (!output) throw new Error('the funding transaction does not pay what the plan requires');
    const factory = new OnChainFactory(bitcoind, { ...plan, funding: { txid: txid(id), vout: output.n }, fundingAmount: amount });
    await factory.look();
    return factory;
  }

  readonly spenderOf: ChainView['spenderOf'] = ({ txid: id, vout }: Outpoint) => this.spends.get(`${id}:${vout}`);

  /** Signed by everybody who has to, once: MuSig2 as in the ceremony. */
  sign(signable: Signable): SignedTx {
    const known = this.signatures.get(signable.txid);
    if (known) return { signable, signature: known };
    const parties = signable.signers.map((key) => {
      const party = this.signers.get(key);
      if (!party) throw new Error(`nobody has the key ${key}`);
      return party;
    });
    const attempt = 'e2e';
    const aggregate = aggregateNonces(parties.map((party) => party.nonce(attempt, signable)));
    const signature = aggregatePartials(signable, aggregate, parties.map((party) => party.sign(attempt, signable, aggregate)));
    if (!verifyFinal(signable, signature)) throw new Error(`the signature of ${signable.txid} does not verify`);
    this.signatures.set(signable.txid, signature);
    return { signable, signature };
  }

  /** By the LSP's key alone. */
  signAsLsp(sighash: Hex): SchnorrSignature {
    return schnorrSignature(bytesToHex(schnorr.sign(hexToBytes(sighash), secretKey(COORDINATOR))));
  }

  leaf(member: number, channel: Script): Signable {
    return buildLeaf(this.spec, member, this.slot(member), channel);
  }

  /** What a member would have stored, its leaf paying to this channel script. */
  exitPath(member: number, channel = script(`0020${bytesToHex(randomBytes(32))}`)): ExitPath {
    const { splits, distribution } = pathOf(this.tree, member);
    const leaf = this.sign(this.leaf(member, channel));
    return { member, splits: splits.map((split) => this.sign(split)), leaf, distribution: this.sign(distribution) };
  }

  /** A purchase out of this member's last stock. */
  purchase(member: number, stock: Prevout, amount: Sat): SignedTx {
    return this.sign(buildPurchase(this.spec, member, stock, amount, script(`0020${bytesToHex(randomBytes(32))}`)));
  }

  /** Publishes a transaction and confirms it, alone in its block. */
  async confirm(signed: SignedTx): Promise<void> {
    await this.bitcoind.call('sendrawtransaction', [signedHex(signed)]);
    await this.bitcoind.mine();
    await this.noteConfirmed(signed.signable);
  }

  /** A transaction of this factory is in the tip's block now. */
  async noteConfirmed({ txid: id, tx }: Signable): Promise<void> {
    await this.look();
    if ((await this.bitcoind.confirmations(id)) !== 1) throw new Error(`${id} was not confirmed`);
    const { outpoint } = tx.prevout;
    this.spends.set(`${outpoint.txid}:${outpoint.vout}`, { txid: id, height: this.height });
  }

  async look(): Promise<void> {
    this.height = await this.bitcoind.height();
  }

  private slot(member: number): Prevout {
    const slot = this.tree.slots[member];
    if (!slot) throw new Error(`there is no slot ${member}`);
    return slot;
  }
}

/** Why bitcoind will not have a transaction; undefined when it will. */
export const refusal = async (bitcoind: Bitcoind, hex: Hex): Promise<string | undefined> => {
  try {
    const [result] = await bitcoind.call('testmempoolaccept', [[hex]]);
    return result?.allowed === true ? undefined : (result?.['reject-reason'] ?? 'unknown');
  } catch (error) {
    if (error instanceof RpcError) return error.message;
    throw error;
  }
};
