/** BOLT 4 failure messages: two bytes of code and, where there is any, data. All in hex. */
const NAMES: Readonly<Record<number, string>> = {
  0x2002: 'WIRE_TEMPORARY_NODE_FAILURE',
  0x6002: 'WIRE_PERMANENT_NODE_FAILURE',
  0x6003: 'WIRE_REQUIRED_NODE_FEATURE_MISSING',
  0x1007: 'WIRE_TEMPORARY_CHANNEL_FAILURE',
  0x4008: 'WIRE_PERMANENT_CHANNEL_FAILURE',
  0x4009: 'WIRE_REQUIRED_CHANNEL_FEATURE_MISSING',
  0x400a: 'WIRE_UNKNOWN_NEXT_PEER',
  0x100b: 'WIRE_AMOUNT_BELOW_MINIMUM',
  0x100c: 'WIRE_FEE_INSUFFICIENT',
  0x100d: 'WIRE_INCORRECT_CLTV_EXPIRY',
  0x100e: 'WIRE_EXPIRY_TOO_SOON',
  0x400f: 'WIRE_INCORRECT_OR_UNKNOWN_PAYMENT_DETAILS',
  18: 'WIRE_FINAL_INCORRECT_CLTV_EXPIRY',
  19: 'WIRE_FINAL_INCORRECT_HTLC_AMOUNT',
  0x1014: 'WIRE_CHANNEL_DISABLED',
  21: 'WIRE_EXPIRY_TOO_FAR',
  0x4016: 'WIRE_INVALID_ONION_PAYLOAD',
  23: 'WIRE_MPP_TIMEOUT',
};

export const TEMPORARY_NODE_FAILURE = '2002';
export const TEMPORARY_CHANNEL_FAILURE = '1007';
export const PERMANENT_CHANNEL_FAILURE = '4008';
export const UNKNOWN_NEXT_PEER = '400a';
export const FEE_INSUFFICIENT = '100c';
export const INCORRECT_CLTV_EXPIRY = '100d';
export const EXPIRY_TOO_SOON = '100e';
export const EXPIRY_TOO_FAR = '0015';
export const FINAL_INCORRECT_CLTV_EXPIRY = '0012';
export const FINAL_INCORRECT_HTLC_AMOUNT = '0013';
export const INVALID_ONION_PAYLOAD = '4016';
export const MPP_TIMEOUT = '0017';

/** The amount in millisatoshis and the height go with it. */
export const unknownPaymentDetails = (amount: number, height: number): string => `400f${amount.toString(16).padStart(16, '0')}${height.toString(16).padStart(8, '0')}`;

export const failureCode = (message: string): number => Number.parseInt(message.slice(0, 4), 16);
export const failureName = (code: number): string => NAMES[code] ?? `WIRE_UNKNOWN_${code}`;
/** Bit PERM (BOLT 4): trying again changes nothing. */
export const isPermanent = (code: number): boolean => (code & 0x4000) !== 0;
