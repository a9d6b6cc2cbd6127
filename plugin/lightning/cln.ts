/** `Lightning` over Core Lightning's RPC (v26.06 or later). */
import type { Rpc } from '../runtime/rpc-client.js';
import { chainApi } from './chain.js';
import { channelApi } from './channels.js';
import { guarded } from './errors.js';
import { readWallet, type WalletReader } from './funding-keys.js';
import type { Lightning } from './lightning.js';
import { nodeApi } from './node.js';
import { paymentApi } from './payments.js';
import { walletApi } from './wallet.js';

/** @param read how CLN's wallet database is read; tests replace it. */
export const createLightning = (rpc: Rpc, read: WalletReader = readWallet): Lightning =>
  guarded({ ...nodeApi(rpc), ...walletApi(rpc), ...channelApi(rpc, read), ...chainApi(rpc), ...paymentApi(rpc) });
