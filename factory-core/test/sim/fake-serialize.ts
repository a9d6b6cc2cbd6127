/**
 * Transaction ids and messages for simulations: a hash of all that the real ones commit to, without the serialisation, which
 * would take most of a schedule's time. For what depends on the bytes there are other tests.
 */
import { createHash } from 'node:crypto';
import { hex, txid, type Hex, type Txid } from '../../../blip/brands.js';
import type { PlainTx, SpentLeaf } from '../../serialize.js';

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');
const textOf = ({ version, lockTime, sequence, prevout, outputs }: PlainTx): string =>
  `${version} ${lockTime} ${sequence} ${prevout.outpoint.txid}:${prevout.outpoint.vout} ${outputs.map((o) => `${o.amount}:${o.script}`).join()}`;

export const txidOf = (tx: PlainTx): Txid => txid(sha256(textOf(tx)));
export const sighashOf = (tx: PlainTx, leaf?: SpentLeaf): Hex =>
  hex(sha256(`sighash ${textOf(tx)} ${tx.prevout.amount} ${tx.prevout.script} ${leaf?.script ?? ''}`));
