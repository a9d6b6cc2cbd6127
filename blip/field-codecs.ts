/** The kinds of values our messages are made of. */
import {
  aggregateNonce,
  chainHash,
  channelId,
  instanceId,
  MAX_MONEY,
  msat,
  partialSignature,
  paymentHash,
  preimage,
  paymentSecret,
  protocolId,
  pubKey,
  publicNonce,
  sat,
  schnorrSignature,
  script as toScript,
  secretKey,
  txid as toTxid,
  type Outpoint,
  type Script,
} from './brands.js';
import { amount, fixedBytes, lengthPrefixed, list, restBytes, struct, uint, type Codec } from './codec.js';
import { MAX_CLOSE_OUTPUTS, MAX_HEIGHT, MAX_LEVELS, MAX_ROSTER, MAX_SCRIPT } from './limits.js';
import type { CloseOutput, RosterEntry } from './messages.js';

export const point = fixedBytes('point', 33, pubKey, { point: true });
export const channelIdField = fixedBytes('channel_id', 32, channelId);
export const chainHashField = fixedBytes('chain_hash', 32, chainHash);
export const protocolIdField = fixedBytes('32*u8', 32, protocolId);
export const instanceIdField = fixedBytes('32*u8', 32, instanceId);
export const publicNonceField = fixedBytes('public_nonce', 66, publicNonce);
export const aggregateNonceField = fixedBytes('aggregate_nonce', 66, aggregateNonce);
export const partialField = fixedBytes('partial_signature', 32, partialSignature);
export const paymentHashField = fixedBytes('32*u8', 32, paymentHash);
export const preimageField = fixedBytes('32*u8', 32, preimage);
export const signatureField = fixedBytes('bip340sig', 64, schnorrSignature);
export const secretKeyField = fixedBytes('32*u8', 32, secretKey);
export const paymentSecretField = fixedBytes('32*u8', 32, paymentSecret);

/** Amounts alone in a TLV are truncated; in a list they have their full size. */
export const satField = amount('tu64', MAX_MONEY, sat);
export const msatField = amount('tu64', MAX_MONEY * 1000n, msat);
const satItem = amount('u64', MAX_MONEY, sat);

/** A block height, or a number of blocks added to one. */
export const heightField = uint('tu32', MAX_HEIGHT);
/** A number of clients. */
export const clientsField = uint('tu16', MAX_ROSTER);

/** Ids are shown reversed, and travel as they are in transactions (BOLT 2: `funding_txid`). */
export const txidField = fixedBytes('txid', 32, toTxid, { reversed: true });
export const outpointField = struct<Outpoint>('outpoint', { txid: txidField, vout: uint('u16') });

export const scriptField: Codec<Script> = restBytes('script', 1, MAX_SCRIPT, toScript);
const scriptItem = lengthPrefixed(scriptField);

export const rosterField = list(
  struct<RosterEntry>('roster_entry', { key: point, payoutScript: scriptItem, capacity: satItem, stock: satItem }),
  1,
  MAX_ROSTER,
);
export const closeOutputsField = list(
  struct<CloseOutput>('close_output', { amount: satItem, script: scriptItem }),
  1,
  MAX_CLOSE_OUTPUTS,
);
export const fanoutsField = list(uint('u8'), 1, MAX_LEVELS);
