/** bLIP-56's feature bit `pluggable_channel_factories`. */
import { bytesToHex } from './bytes.js';

/** The bit by which a node offers factories; the even one before it would demand them of its peers (BOLT 9). */
export const FACTORY_FEATURE_BIT = 271;
const REQUIRED_BIT = FACTORY_FEATURE_BIT - 1;

/** For the plugin manifest's `featurebits`: bit 271 and nothing else. */
export const FACTORY_FEATURE_BITS = bytesToHex(Uint8Array.from({ length: 34 }, (_, i) => (i === 0 ? 0x80 : 0)));

/**
 * Whether a peer speaks bLIP-56, by either bit.
 * @param features its feature bits as CLN shows them: big-endian hex, bit 0 last. Anything else has no features.
 */
export const hasFactoryFeature = (features: string): boolean =>
  [REQUIRED_BIT, FACTORY_FEATURE_BIT].some((bit) => {
    const digit = Number.parseInt(features.charAt(features.length - 1 - Math.floor(bit / 4)), 16);
    return /^[0-9a-f]*$/.test(features) && ((digit >> (bit % 4)) & 1) === 1;
  });
