/** What bLIP-56 knows our protocol by. */
import { protocolId } from './brands.js';

/** Name and major version: what peers must have in common. */
export const PROTOCOL_NAME = 'cln-factory/1';
/** SHA-256 of the name and major version, as bLIP-56 recommends. */
export const FACTORY_PROTOCOL_ID = protocolId('300766b1dc133dd7e352b06d186e85bd2d5f33274ca93dcc7c4333e222ff7c3b');
