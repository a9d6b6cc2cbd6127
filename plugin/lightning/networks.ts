/** What differs between Bitcoin's networks, by lightningd's name for them. */
import { Address, OutScript } from '@scure/btc-signer/payment.js';
import { hex as hexCoder } from '@scure/base';
import { chainHash, script, type ChainHash, type Script } from '../../blip/brands.js';
import { LightningError } from './lightning.js';

interface Network {
  readonly chainHash: ChainHash;
  /** Human-readable part of segwit addresses (BIP 173). */
  readonly bech32: string;
  /** bitcoind's default RPC port. */
  readonly rpcPort: number;
}

const network = (genesis: string, bech32: string, rpcPort: number): Network => ({ chainHash: chainHash(genesis), bech32, rpcPort });

const NETWORKS: ReadonlyMap<string, Network> = new Map([
  ['bitcoin', network('6fe28c0ab6f1b372c1a6a246ae63f74f931e8365e15a089c68d6190000000000', 'bc', 8332)],
  ['testnet', network('43497fd7f826957108f4a30fd9cec3aeba79972084e90ead01ea330900000000', 'tb', 18332)],
  ['testnet4', network('43f08bdab050e35b567c864b91f47f50ae725ae2de53bcfbbaf284da00000000', 'tb', 48332)],
  ['signet', network('f61eee3b63a380a477a063af32b2bbc97c9ff9f01f2c4225e973988108000000', 'tb', 38332)],
  ['regtest', network('06226e46111a0b59caaf126043eb5bbf28c34f3a5e332a1fc7b2b73cf188910f', 'bcrt', 18443)],
]);

/** @throws LightningError `protocol`: a network we do not know */
export const networkOf = (name: string): Network => {
  const found = NETWORKS.get(name);
  if (found === undefined) throw new LightningError('protocol', `unknown network ${name}`, 'network');
  return found;
};

/** Only segwit addresses are made or read here: the Base58 versions do not matter. */
const coderOf = (name: string) => Address({ bech32: networkOf(name).bech32, pubKeyHash: 0, scriptHash: 5, wif: 0x80 });

/** The segwit address of a script. @throws LightningError `rejected`: a script without one */
export const addressOf = (name: string, scriptPubKey: Script): string => {
  try {
    const decoded = OutScript.decode(hexCoder.decode(scriptPubKey));
    if (decoded.type === 'wpkh' || decoded.type === 'wsh' || decoded.type === 'tr') return coderOf(name).encode(decoded);
  } catch (cause) {
    throw new LightningError('rejected', 'a script without an address', 'script', { cause });
  }
  throw new LightningError('rejected', 'a script without a segwit address', 'script');
};

/** The script of a segwit address. @throws LightningError `protocol` */
export const scriptOf = (name: string, address: string): Script => {
  try {
    return script(hexCoder.encode(OutScript.encode(coderOf(name).decode(address))), 'address');
  } catch (cause) {
    throw new LightningError('protocol', `not an address of ${name}: ${address}`, 'address', { cause });
  }
};
