/** Parameters our commands have in common. */
import { FormatError, instanceId, nodeId, sat, type InstanceId, type NodeId, type Sat } from '../../blip/brands.js';
import type { JsonValue } from '../runtime/json.js';
import { invalidParam, param, type Param } from '../runtime/params.js';

const UNITS: Readonly<Record<string, bigint>> = { msat: 1n, sat: 1_000n, btc: 100_000_000_000n };
const AMOUNT = /^(\d{1,18})(?:\.(\d{1,11}))?(msat|sat|btc)?$/;

/** lightning-cli hands numbers over as numbers. Anything that is neither is nothing. */
const textOf = (value: JsonValue): string => (typeof value === 'string' ? value : typeof value === 'number' || typeof value === 'bigint' ? value.toString() : '');

const readSat = (value: JsonValue): Sat => {
  const match = AMOUNT.exec(textOf(value).trim().toLowerCase());
  const unit = match?.[3] ?? 'sat';
  const fraction = match?.[2] ?? '';
  // A fraction makes sense for bitcoin only.
  if (!match?.[1] || (fraction !== '' && unit !== 'btc')) throw new Error('expected an amount: satoshis, or like "100000sat", "0.001btc"');
  const msat = BigInt(match[1]) * (UNITS[unit] ?? 1n) + (fraction === '' ? 0n : BigInt(fraction.padEnd(11, '0')));
  if (msat % 1_000n !== 0n) throw new Error('expected whole satoshis');
  return sat(msat / 1_000n);
};

/** An amount as `fundchannel` reads it: a bare number is satoshis; `sat`, `msat` (whole satoshis) and `btc` may be said. */
export const satAmount: Param<Sat> = param.custom(readSat);

/** Hex in capitals will do. */
const branded = <T>(read: (text: string) => T): Param<T> => ({
  parse: (value, field) => {
    try {
      return read(typeof value === 'string' ? value.toLowerCase() : '');
    } catch (error) {
      throw error instanceof FormatError ? invalidParam(field, error.expected, value) : error;
    }
  },
});
export const nodeIdParam: Param<NodeId> = branded(nodeId);
export const factoryIdParam: Param<InstanceId> = branded(instanceId);

/** sat per 1,000 vB, as CLN's feerates are: `2000perkb`, `500perkw`, or a bare number of sat/kvB. */
export const feerateParam: Param<number> = param.custom((value) => {
  const match = /^(\d{1,9})(perkb|perkw)?$/.exec(textOf(value));
  if (!match?.[1]) throw new Error('expected a feerate: sat per 1,000 vB, or like "2000perkb", "500perkw"');
  return match[2] === 'perkw' ? Number(match[1]) * 4 : Number(match[1]);
});

/** `5x5x6`, or `[5,5,6]`. */
export const shapeParam: Param<readonly number[]> = param.custom((value) => {
  const parts = Array.isArray(value) ? (value as readonly JsonValue[]).map(textOf) : textOf(value).split('x');
  if (parts.length < 1 || parts.length > 9 || !parts.every((p) => /^\d{1,3}$/.test(p))) throw new Error('expected fan-outs, root first, like "5x5x6"');
  return parts.map(Number);
});
