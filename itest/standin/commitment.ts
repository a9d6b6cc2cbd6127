/**
 * Funding outputs and the transactions that spend them, after BOLT 3 with anchors. Two things are left out: HTLC outputs (the
 * amounts of HTLCs in flight stay with who offered them) and revocation (the delayed output has no penalty path, its keys do
 * not change, so an old state can be published with impunity).
 */
import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex, hexToBytes } from '@noble/hashes/utils.js';
import { Transaction } from '@scure/btc-signer';
import { ANCHOR, type Channel, COMMITMENT_WEIGHT, DUST, type Side } from './channel.js';
import { derWithAll, type Keys, signHash, verifyHash } from './keys.js';
import { COMMITMENT_PERKW } from './params.js';
import { encodeTx, feeFor, type Raw, txidOf, unsignedRaw } from './tx.js';

/** Blocks before the publisher's own output can be spent. */
export const DELAY = 6;

const p2wsh = (witnessScript: Uint8Array): string => `0020${bytesToHex(sha256(witnessScript))}`;

/** The 2-of-2 of two keys in lexical order. */
export const fundingWitnessScript = (a: string, b: string): Uint8Array => {
  const [first, second] = a < b ? [a, b] : [b, a];
  return hexToBytes(`5221${first}21${second}52ae`);
};
export const fundingScript = (a: string, b: string): string => p2wsh(fundingWitnessScript(a, b));

/** `<delay> CSV DROP <key> CHECKSIG` */
export const delayedWitnessScript = (key: string): Uint8Array => hexToBytes(`${(0x50 + DELAY).toString(16)}b27521${key}ac`);
/** `<key> CHECKSIGVERIFY 1 CSV` */
export const toRemoteWitnessScript = (key: string): Uint8Array => hexToBytes(`21${key}ad51b2`);
/** `<key> CHECKSIG IFDUP NOTIF 16 CSV ENDIF` */
const anchorWitnessScript = (fundingKey: string): Uint8Array => hexToBytes(`21${fundingKey}ac736460b268`);
export const delayedScript = (key: string): string => p2wsh(delayedWitnessScript(key));
export const toRemoteScript = (key: string): string => p2wsh(toRemoteWitnessScript(key));

/** A state of the channel: its number and what belongs to us in it (millisatoshis). */
export interface ChannelView {
  readonly number: number;
  readonly toUs: number;
}

export type Funded = Pick<Channel, 'id' | 'fundingTxid' | 'fundingVout' | 'capacity' | 'opener' | 'keys'>;

const spendFunding = (channel: Funded, keys: Keys, lockTime: number, sequence: number, outputs: readonly { readonly script: string; readonly amount: number }[]): Transaction => {
  const tx = new Transaction({ version: 2, lockTime, allowUnknownOutputs: true, allowUnknownInputs: true, disableScriptCheck: true });
  const script = hexToBytes(fundingScript(keys.channel(channel.id).funding.pub, channel.keys.funding));
  tx.addInput({ txid: channel.fundingTxid, index: channel.fundingVout, sequence, witnessUtxo: { amount: BigInt(channel.capacity), script } });
  // BIP 69: smallest first, then by script.
  const sorted = [...outputs].sort((a, b) => a.amount - b.amount || (a.script < b.script ? -1 : 1));
  for (const { script: output, amount } of sorted) tx.addOutput({ script: hexToBytes(output), amount: BigInt(amount) });
  return tx;
};

/** The commitment transaction that `owner` may publish. The opener pays the fee and the anchors. */
const commitment = (channel: Funded, keys: Keys, owner: Side, { number, toUs }: ChannelView): Transaction => {
  const ours = keys.channel(channel.id);
  const cost = feeFor(COMMITMENT_PERKW, COMMITMENT_WEIGHT) + 2 * ANCHOR;
  const amount = (side: Side): number =>
    Math.floor((side === 'local' ? toUs : channel.capacity * 1000 - toUs) / 1000) - (channel.opener === side ? cost : 0);
  const key = (side: Side): { readonly payment: string; readonly delayed: string } =>
    side === 'local' ? { payment: ours.payment.pub, delayed: ours.delayed.pub } : { payment: channel.keys.payment, delayed: channel.keys.delayed };
  const other: Side = owner === 'local' ? 'remote' : 'local';
  const outputs = [
    { script: delayedScript(key(owner).delayed), amount: amount(owner) },
    { script: toRemoteScript(key(other).payment), amount: amount(other) },
  ].filter((output) => output.amount >= DUST);
  const anchors = [ours.funding.pub, channel.keys.funding].map((funding) => ({ script: p2wsh(anchorWitnessScript(funding)), amount: ANCHOR }));
  // The number makes every state's transaction another one, where BOLT 3 has it obscured.
  return spendFunding(channel, keys, 0x20000000 + (number & 0xffffff), (0x80000000 | (number >>> 24)) >>> 0, [...outputs, ...anchors]);
};

const sighash = (channel: Funded, keys: Keys, tx: Transaction): Uint8Array =>
  tx.preimageWitnessV0(0, fundingWitnessScript(keys.channel(channel.id).funding.pub, channel.keys.funding), 1, BigInt(channel.capacity));

/** Our signature on the peer's commitment transaction. */
export const signTheirs = (channel: Funded, keys: Keys, view: ChannelView): string =>
  signHash(sighash(channel, keys, commitment(channel, keys, 'remote', view)), keys.channel(channel.id).funding);

/** Does the peer's signature fit our commitment transaction? */
export const verifyOurs = (channel: Funded, keys: Keys, view: ChannelView, signature: string): boolean =>
  verifyHash(signature, sighash(channel, keys, commitment(channel, keys, 'local', view)), channel.keys.funding);

/** With both signatures, ready for the chain. */
const complete = (channel: Funded, keys: Keys, tx: Transaction, theirSignature: string): Raw => {
  const ours = keys.channel(channel.id).funding;
  const mine = derWithAll(signHash(sighash(channel, keys, tx), ours));
  const theirs = derWithAll(theirSignature);
  const script = fundingWitnessScript(ours.pub, channel.keys.funding);
  const signatures = ours.pub < channel.keys.funding ? [mine, theirs] : [theirs, mine];
  return { ...unsignedRaw(tx), segwitFlag: true, witnesses: [[new Uint8Array(), ...signatures, script]] };
};

export const ourCommitment = (channel: Channel, keys: Keys): { readonly txid: string; readonly hex: string } => {
  const raw = complete(channel, keys, commitment(channel, keys, 'local', { number: channel.commitNumber, toUs: channel.toUs }), channel.commitSignature);
  return { txid: txidOf(raw), hex: encodeTx(raw) };
};

export const commitmentFee = feeFor(COMMITMENT_PERKW, COMMITMENT_WEIGHT);

// Mutual close

/** Satoshis, from the opener's side. */
export const CLOSING_FEE = 200;

const closing = (channel: Channel, keys: Keys): Transaction => {
  const amount = (side: Side): number =>
    Math.floor((side === 'local' ? channel.toUs : channel.capacity * 1000 - channel.toUs) / 1000) - (channel.opener === side ? CLOSING_FEE : 0);
  const outputs = [
    { script: channel.shutdown.local, amount: amount('local') },
    { script: channel.shutdown.remote ?? '', amount: amount('remote') },
  ].filter((output) => output.amount >= DUST);
  return spendFunding(channel, keys, 0, 0xffffffff, outputs);
};

export const signClosing = (channel: Channel, keys: Keys): string => signHash(sighash(channel, keys, closing(channel, keys)), keys.channel(channel.id).funding);

/** undefined when the peer's signature is not one. */
export const closingTx = (channel: Channel, keys: Keys, theirSignature: string): { readonly txid: string; readonly hex: string } | undefined => {
  const tx = closing(channel, keys);
  if (!verifyHash(theirSignature, sighash(channel, keys, tx), channel.keys.funding)) return undefined;
  const raw = complete(channel, keys, tx, theirSignature);
  return { txid: txidOf(raw), hex: encodeTx(raw) };
};

/** Spends our delayed output to a script of the wallet. */
export const sweepDelayed = (channel: Channel, keys: Keys, txid: string, output: { readonly vout: number; readonly amount: number }, destination: string): string => {
  const key = keys.channel(channel.id).delayed;
  const witnessScript = delayedWitnessScript(key.pub);
  const tx = new Transaction({ version: 2, allowUnknownOutputs: true, allowUnknownInputs: true, disableScriptCheck: true });
  tx.addInput({ txid, index: output.vout, sequence: DELAY, witnessUtxo: { amount: BigInt(output.amount), script: hexToBytes(p2wsh(witnessScript)) } });
  tx.addOutput({ script: hexToBytes(destination), amount: BigInt(output.amount - feeFor(COMMITMENT_PERKW, 500)) });
  const signature = derWithAll(signHash(tx.preimageWitnessV0(0, witnessScript, 1, BigInt(output.amount)), key));
  return encodeTx({ ...unsignedRaw(tx), segwitFlag: true, witnesses: [[signature, witnessScript]] });
};
