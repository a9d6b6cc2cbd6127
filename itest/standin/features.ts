/** Feature bits, as hex with the highest bit first. What this version of lightningd sets (v26.06.6, seen). */
export const BASE_FEATURES = {
  init: '800898880a8a59a1',
  node: '808898880a8a59a1',
  channel: '',
  invoice: '02000002024100',
  bolt12_offer: '',
  bolt12_invreq: '',
  bolt12_invoice: '020000',
  channel_type: '08800000800000',
} as const;
export type FeaturePlace = keyof typeof BASE_FEATURES;

/** All bits that either has. */
export const uniteFeatures = (a: string, b: string): string => {
  const length = Math.max(a.length, b.length);
  const united = BigInt(`0x0${a}`) | BigInt(`0x0${b}`);
  return length === 0 ? '' : united.toString(16).padStart(length, '0');
};

const CHANNEL_TYPE_NAMES: Readonly<Record<number, string>> = { 12: 'static_remotekey/even', 22: 'anchors/even', 46: 'scid_alias/even', 50: 'zeroconf/even' };
export const SCID_ALIAS = 46;
export const ZEROCONF = 50;
export const DEFAULT_CHANNEL_TYPE = [12, 22] as const;

export const isChannelType = (bits: readonly number[]): boolean => bits.includes(12) && bits.includes(22) && bits.every((bit) => bit in CHANNEL_TYPE_NAMES);

export const channelTypeJson = (bits: readonly number[]): { readonly bits: readonly number[]; readonly names: readonly string[] } => ({
  bits,
  names: bits.map((bit) => CHANNEL_TYPE_NAMES[bit] ?? 'unknown'),
});

const FEATURE_NAMES: readonly (readonly [number, string])[] = [
  [12, 'option_static_remotekey'],
  [22, 'option_anchors'],
  [ZEROCONF, 'option_zeroconf'],
  [SCID_ALIAS, 'option_scid_alias'],
];
/** `features` of listpeerchannels. */
export const channelFeatureNames = (bits: readonly number[]): readonly string[] => FEATURE_NAMES.filter(([bit]) => bits.includes(bit)).map(([, name]) => name);
