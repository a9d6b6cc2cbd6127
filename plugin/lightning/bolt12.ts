/**
 * BOLT 12 invoices that can be paid over a factory channel. The offers plugin builds one with a blinded path and has
 * lightningd sign it (`createinvoice`); on its way there the path's CLTV delta is raised, as `raiseInvoiceCltv` does for BOLT 11.
 */
import { bech32 } from '@scure/base';
import { Reader } from '../../blip/bytes.js';
import { decodeTlvStream } from '../../blip/tlv.js';
import { invoiceCltv } from '../../factory-core/htlc-policy.js';
import type { JsonObject, JsonValue } from '../runtime/json.js';
import { isObject } from '../runtime/json.js';

const PREFIX = 'lni1';
/** BIP 173's characters; BOLT 12 leaves its checksum out. */
const CHARACTERS = 'qpzry9x8gf2tvdw0s3jn54khce6mua7l';
/** @throws Error for a character that is none of them, or bits that are no bytes */
const decode = (text: string): Uint8Array => Uint8Array.from(bech32.fromWords(Array.from(text, (character) => CHARACTERS.indexOf(character))));
const encode = (bytes: Uint8Array): string => bech32.toWords(bytes).map((word) => CHARACTERS.charAt(word)).join('');

/** BOLT 12 `invoice_blindedpay`: for each path fee_base, fee_proportional, cltv_expiry_delta, minimum, maximum, features. */
const BLINDED_PAY = 162;
const BEFORE_CLTV = 4 + 4;
const AFTER_CLTV = 8 + 8;
const MAX_CLTV = 0xffff;

/** Adds to every path's CLTV delta, in place. False when there is no path. */
const raisePaths = (payInfos: Uint8Array, blocks: number): boolean => {
  const reader = new Reader(payInfos);
  const found = reader.remaining > 0;
  while (reader.remaining > 0) {
    reader.take(BEFORE_CLTV, 'blindedpay');
    const delta = reader.take(2, 'blindedpay.cltv_expiry_delta');
    const view = new DataView(delta.buffer, delta.byteOffset, 2);
    view.setUint16(0, Math.min(MAX_CLTV, view.getUint16(0) + blocks));
    reader.take(AFTER_CLTV, 'blindedpay');
    reader.take(reader.u(2, 'blindedpay.flen'), 'blindedpay.features');
  }
  return found;
};

/** The same invoice with longer blinded paths; undefined when there is nothing to raise or it cannot be read. */
const raiseInvoice = (invoice: string, blocks: number): string | undefined => {
  try {
    const bytes = decode(invoice.slice(PREFIX.length));
    const payInfos = decodeTlvStream(bytes, { has: () => true }, 'invoice').get(BLINDED_PAY);
    return payInfos !== undefined && raisePaths(payInfos, blocks) ? PREFIX + encode(bytes) : undefined;
  } catch {
    return undefined; // lightningd will say what is wrong with it
  }
};

/**
 * A `createinvoice` call's parameters, its unsigned BOLT 12 invoice asking for what `decideHtlc` wants of the final hop;
 * undefined when it does already, or is no such invoice. The path's `max_cltv_expiry` leaves room: CLN adds 1,008 blocks to it.
 * @param defaultCltv the node's `cltv-final`, which the offers plugin has put in
 */
export const raiseBolt12Cltv = (
  params: JsonObject | readonly JsonValue[],
  earlyWarning: number,
  defaultCltv: number,
): JsonObject | readonly JsonValue[] | undefined => {
  const invoice = isObject(params) ? params['invstring'] : params[0];
  const blocks = invoiceCltv(earlyWarning, defaultCltv) - defaultCltv;
  if (typeof invoice !== 'string' || !invoice.startsWith(PREFIX) || blocks === 0) return undefined;
  const raised = raiseInvoice(invoice, blocks);
  if (raised === undefined) return undefined;
  return isObject(params) ? { ...params, invstring: raised } : [raised, ...params.slice(1)];
};
