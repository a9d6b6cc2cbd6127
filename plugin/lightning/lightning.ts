/**
 * All the engine knows of Core Lightning. One interface, four themes; `cln.ts` implements it over the node's RPC, tests
 * implement it in memory. Every method's failure is a `LightningError`.
 */
import type {
  Brand,
  ChainHash,
  ChannelId,
  Hex,
  Msat,
  NodeId,
  Outpoint,
  Sat,
  Script,
  Txid,
} from '../../blip/brands.js';
import type { Signable } from '../../factory-core/model.js';
import type { PaymentApi } from './payments-api.js';

/** A PSBT as the RPC takes and gives it: base64. */
export type Psbt = Brand<string, 'Psbt'>;

export type LightningErrorCode =
  /** The peer is unknown or not connected (now). */
  | 'not_connected'
  /** The wallet cannot pay this; `missing` says how much it lacks where that is known. */
  | 'insufficient_funds'
  /** CLN or the peer refuses this request as it stands: trying again changes nothing. */
  | 'rejected'
  /** Node, plugin or chain backend does not answer, still synchronises, or is busy with an earlier request: try later. */
  | 'unavailable'
  /** No such channel, coin, datastore entry or command. */
  | 'not_found'
  /** Something else holds this: a coin reserved by another, a datastore entry of another generation. */
  | 'conflict'
  /** An input whose signature would change the txid (P2SH-wrapped). */
  | 'unsafe_input'
  /** The node's own wallet database cannot be read (Postgres, missing file, no such channel yet). */
  | 'wallet_unreadable'
  /** An answer that does not have the documented form. */
  | 'protocol';

/** What went wrong with the node. `culprit` names the RPC method, peer, coin or field; `rpcCode` is CLN's own code. */
export class LightningError extends Error {
  constructor(
    readonly code: LightningErrorCode,
    message: string,
    readonly culprit: string,
    readonly details: { readonly rpcCode?: number; readonly missing?: Sat; readonly cause?: unknown } = {},
  ) {
    super(message, details.cause === undefined ? {} : { cause: details.cause });
    this.name = 'LightningError';
  }
}

// --- node -----------------------------------------------------------------------------------------------------------

export interface NodeInfo {
  readonly nodeId: NodeId;
  /** `bitcoin`, `testnet`, `testnet4`, `signet` or `regtest`. */
  readonly network: string;
  readonly chainHash: ChainHash;
  /** The block lightningd has processed. */
  readonly height: number;
  /** The node's directory for this network, where `lightningd.sqlite3` lies. */
  readonly lightningDir: string;
  /** Neither bitcoind nor lightningd is behind. */
  readonly synced: boolean;
  readonly version: string;
}

export interface Peer {
  readonly id: NodeId;
  readonly connected: boolean;
  /** Feature bits of its `init`; empty while it is not connected. */
  readonly features: Hex;
  /** Feature bit 270 or 271 (bLIP-56). */
  readonly supportsFactories: boolean;
}

export interface DatastoreEntry {
  readonly value: Hex;
  readonly generation: number;
}

/** How to reach bitcoind directly (for `submitpackage`), as far as lightningd's configuration tells. */
export interface ChainBackendConfig {
  readonly host: string;
  readonly port: number;
  readonly user?: string;
  readonly password?: string;
  readonly dataDir?: string;
}

export interface NodeConfig {
  readonly chainBackend: ChainBackendConfig;
  /** `cltv-final`: the final CLTV delta CLN asks for in an invoice when nobody says otherwise. */
  readonly cltvFinal: number;
  /** `cltv-delta`: what this node adds per hop when it forwards. */
  readonly cltvDelta: number;
  /** `min-emergency-msat`, rounded up: what CLN keeps back as soon as the node has an anchor channel. */
  readonly emergencyReserve: Sat;
  readonly developer: boolean;
  /** `wallet` when the operator set one: `sqlite3://…` or `postgres://…`. */
  readonly wallet?: string;
}

export interface NodeApi {
  info(): Promise<NodeInfo>;
  config(): Promise<NodeConfig>;
  peers(): Promise<readonly Peer[]>;
  /** undefined: a peer CLN does not know. */
  peer(id: NodeId): Promise<Peer | undefined>;
  /** `message` includes its two type bytes. Resolves when CLN has queued it, not when the peer has read it. `not_connected` otherwise. */
  sendMessage(to: NodeId, message: Hex): Promise<void>;
  /** 32 bytes derived from the node's seed and the label; the same at every call (`makesecret`). */
  secret(label: string): Promise<Uint8Array>;
  datastoreGet(key: readonly string[]): Promise<DatastoreEntry | undefined>;
  /**
   * Writes and returns the new generation. With `expect`, only if the entry still has that generation (`conflict` if not);
   * `expect: 'absent'`: only if there is none.
   */
  datastoreSet(key: readonly string[], value: Hex, expect?: number | 'absent'): Promise<number>;
}

// --- wallet ---------------------------------------------------------------------------------------------------------

export interface Payout {
  readonly address: string;
  readonly script: Script;
}

/** A coin of the node's wallet. */
export interface Coin {
  readonly outpoint: Outpoint;
  readonly amount: Sat;
  readonly script: Script;
  readonly height: number;
}

export interface CoinSelection {
  readonly coins: readonly Coin[];
  readonly total: Sat;
  /** Estimated fee of a transaction with these inputs, the target output and a change output. */
  readonly fee: Sat;
}

export interface FundingRequest {
  readonly script: Script;
  readonly amount: Sat;
  readonly coins: readonly Coin[];
  /** sat per 1,000 vB. */
  readonly feerate: number;
}

/** An unsigned transaction of the wallet whose coins are reserved and whose txid is final. */
export interface PreparedFunding {
  readonly psbt: Psbt;
  readonly txid: Txid;
  /** Which output pays the requested script. */
  readonly vout: number;
  /** Unsigned. */
  readonly rawTx: Hex;
  readonly coins: readonly Outpoint[];
}

export interface SignedBump {
  readonly rawTx: Hex;
  readonly txid: Txid;
}

export interface WalletApi {
  /** A fresh P2TR address of the wallet, for a payout. */
  newPayout(): Promise<Payout>;
  /** Confirmed, unreserved, mature, not P2SH-wrapped. Largest first. */
  coins(): Promise<readonly Coin[]>;
  /**
   * Largest first, until target, fee and (where the node keeps one) the emergency reserve are covered. Reserves nothing.
   * `insufficient_funds` with `details.missing`.
   */
  selectCoins(target: Sat, feerate: number): Promise<CoinSelection>;
  /**
   * Reserves the coins and builds the transaction (`txprepare`). `conflict` when one is reserved already, `insufficient_funds`,
   * `unsafe_input`. On any failure nothing stays reserved.
   */
  prepareFunding(request: FundingRequest): Promise<PreparedFunding>;
  /** Gives the coins back. Idempotent, also after a restart of the node; does nothing for coins that are spent. */
  releaseFunding(funding: Pick<PreparedFunding, 'coins'> & { readonly txid?: Txid; readonly psbt?: Psbt }): Promise<void>;
  /** All our inputs signed; the psbt is what `broadcastFunding` takes. */
  signFunding(psbt: Psbt): Promise<Psbt>;
  /**
   * Sends the signed transaction (`sendpsbt`). Idempotent: already in the mempool or in a block is success.
   * `rejected` when bitcoind refuses it, `unavailable` when it cannot be asked.
   */
  broadcastFunding(psbt: Psbt): Promise<Txid>;
  /**
   * Keeps a coin from other uses for 72 blocks. `conflict` when it is reserved already, unless it was ours (`again`): then for
   * 72 blocks more.
   */
  reserveCoin(coin: Coin, again?: boolean): Promise<void>;
  /** Gives back coins reserved by `reserveCoin`. Idempotent. */
  releaseCoins(coins: readonly Outpoint[]): Promise<void>;
  /**
   * Signs the inputs at `indexes` (coins of the wallet) and puts the raw transaction together; every other input gets an
   * empty witness, as a pay-to-anchor output wants.
   */
  signBump(psbt: Psbt, indexes: readonly number[]): Promise<SignedBump>;
}

// --- channels -------------------------------------------------------------------------------------------------------

/** CLN's channel states, as `listpeerchannels` spells them. */
export const CHANNEL_STATES = [
  'OPENINGD',
  'CHANNELD_AWAITING_LOCKIN',
  'CHANNELD_NORMAL',
  'CHANNELD_SHUTTING_DOWN',
  'CLOSINGD_SIGEXCHANGE',
  'CLOSINGD_COMPLETE',
  'AWAITING_UNILATERAL',
  'FUNDING_SPEND_SEEN',
  'ONCHAIN',
  'DUALOPEND_OPEN_INIT',
  'DUALOPEND_OPEN_COMMIT_READY',
  'DUALOPEND_OPEN_COMMITTED',
  'DUALOPEND_AWAITING_LOCKIN',
  'CHANNELD_AWAITING_SPLICE',
  'CLOSED',
] as const;
/** `UNKNOWN`: a state that a later CLN has invented. */
export type ChannelState = (typeof CHANNEL_STATES)[number] | 'UNKNOWN';

export interface Htlc {
  readonly direction: 'in' | 'out';
  readonly id: bigint;
  readonly amount: Msat;
  /** Absolute block height. */
  readonly expiry: number;
  readonly paymentHash: Hex;
  readonly state: string;
}

export interface Channel {
  readonly peer: NodeId;
  readonly connected: boolean;
  readonly channelId: ChannelId;
  readonly funding: Outpoint;
  readonly state: ChannelState;
  readonly opener: 'local' | 'remote';
  readonly private: boolean;
  /** We opened it and have not yet told CLN its funding transaction (only the opener's side is ever withheld). */
  readonly withheld: boolean;
  readonly toUs: Msat;
  readonly total: Msat;
  /** What we, and what the peer, must keep unspent. */
  readonly ourReserve: Msat;
  readonly theirReserve: Msat;
  readonly spendable: Msat;
  readonly receivable: Msat;
  /** What has gone from us to the peer over it, in all. */
  readonly sentInAll: Msat;
  /** Short channel ids as text, `1x2x3`. `localAlias` is how our own commands name this channel, `remoteAlias` how the peer's do. */
  readonly shortChannelId?: string;
  readonly localAlias?: string;
  readonly remoteAlias?: string;
  readonly htlcs: readonly Htlc[];
  /** Our conditions for what we forward into this channel (our channel_update). */
  readonly localUpdate?: ChannelUpdate;
  /** The peer's, for what it forwards to us. */
  readonly remoteUpdate?: ChannelUpdate;
}

export interface ChannelUpdate {
  readonly feeBase: Msat;
  readonly feePpm: number;
  readonly cltvDelta: number;
  readonly htlcMin: Msat;
  readonly htlcMax: Msat;
}

export interface ChannelFilter {
  readonly peer?: NodeId;
  readonly channelId?: ChannelId;
  readonly fundingTxid?: Txid;
}

export interface OpenStartRequest {
  readonly peer: NodeId;
  readonly amount: Sat;
}

export interface CloseRequest {
  readonly channelId: ChannelId;
  /** Seconds after which CLN closes unilaterally; 0: never (the default here; CLN's own is two days). */
  readonly unilateralTimeout?: number;
  readonly destination?: string;
}

export interface CloseResult {
  readonly kind: 'mutual' | 'unilateral' | 'unopened';
  readonly txids: readonly Txid[];
}

export interface ChannelApi {
  /**
   * Zero-conf, unannounced, no push; answers the channel output's script. Then `openComplete` or `openCancel`. The reserve asked
   * for is 0, which CLN raises to its dust limit: 546 sat on either side. `unavailable`: another opening with this peer is under way.
   */
  openStart(request: OpenStartRequest): Promise<{ readonly script: Script }>;
  /**
   * Ends an opening that `openStart` began. Idempotent: nothing of ours to cancel is success. Openings do not survive a restart of
   * the node or a disconnection.
   */
  openCancel(peer: NodeId): Promise<void>;
  /**
   * `funding_created`, withheld: CLN takes the transaction for unpublished until `arm`. `fundingTx` is passed unsigned on
   * purpose (`sendpsbt` skips a channel whose PSBT is final already). The channel output is found by script and amount. The
   * channel may be in CHANNELD_AWAITING_LOCKIN for a moment after this.
   */
  openComplete(request: { readonly peer: NodeId; readonly fundingTx: Signable }): Promise<{ readonly channelId: ChannelId }>;
  /**
   * Tells CLN that the funding transaction is signed: from here on the channel's money survives a peer's error or a force
   * close. The broadcast fails by design; success is that no channel with that funding is withheld any more. Idempotent. `not_found`: no channel has this funding transaction.
   */
  arm(fundingTx: Signable): Promise<void>;
  /** Open and closing channels; those CLN has forgotten are not here. */
  channels(filter?: ChannelFilter): Promise<readonly Channel[]>;
  /** Resolves when the close is negotiated or forced; `unavailable` when that takes longer than a minute: CLN then goes on by itself. */
  closeChannel(request: CloseRequest): Promise<CloseResult>;
  /**
   * Drops a withheld channel: by agreement, or when the peer is away or silent, without (seconds later; the peer's side then ends as
   * AWAITING_UNILATERAL instead of CLOSINGD_COMPLETE). Idempotent: a channel that is gone is success; one that is armed is `rejected`.
   */
  forgetWithheld(channelId: ChannelId): Promise<void>;
  /**
   * Quiescence (`stfu_channels`): no HTLC moves until `thaw`. All of them or an error. It ends with the connection, silently:
   * after a reconnection the channel is thawed on both sides. An HTLC offered meanwhile waits and fails back at the thaw.
   */
  freeze(channels: readonly ChannelId[]): Promise<void>;
  /** Idempotent. */
  thaw(channels: readonly ChannelId[]): Promise<void>;
  /**
   * The 2-of-2 P2WSH of the channel funded by this outpoint, rebuilt from the two funding keys in CLN's wallet database
   * (architecture 6, script audit). `wallet_unreadable` when it cannot be read; `not_found` while the channel is not in it.
   */
  auditFundingKeys(funding: Outpoint): Promise<{ readonly script: Script; readonly keys: readonly [Hex, Hex] }>;
}

// --- chain ----------------------------------------------------------------------------------------------------------

export type BroadcastResult =
  | { readonly kind: 'accepted' }
  /** In the mempool or in a block already. */
  | { readonly kind: 'known' }
  /** An input is unknown or spent: publish the parent first, or somebody else spent it. */
  | { readonly kind: 'missing_inputs'; readonly reason: string }
  /** It pays less than the mempool wants now, or less than what is in its place there. */
  | { readonly kind: 'low_fee'; readonly reason: string }
  | { readonly kind: 'rejected'; readonly reason: string };

export interface Tip {
  readonly height: number;
  /** Headers bitcoind knows of; higher than `height` while it catches up. */
  readonly headers: number;
  readonly initialBlockDownload: boolean;
}

export interface Block {
  readonly height: number;
  readonly hash: Hex;
  readonly raw: Hex;
}

/** sat per 1,000 vB. Where bitcoind has no estimate (yet), the floor stands in and `estimated` is false. */
export interface Feerates {
  readonly floor: number;
  readonly slow: number;
  readonly normal: number;
  readonly urgent: number;
  readonly estimated: boolean;
}

export interface ChainApi {
  /** Never throws for what bitcoind thinks of the transaction; `unavailable` when it cannot be asked. */
  broadcast(rawTx: Hex): Promise<BroadcastResult>;
  /** undefined: spent, or never there. Knows confirmed outputs and those of the mempool. */
  utxo(outpoint: Outpoint): Promise<{ readonly amount: Sat; readonly script: Script } | undefined>;
  tip(): Promise<Tip>;
  /** undefined: no such block (yet). */
  rawBlock(height: number): Promise<Block | undefined>;
  feerates(): Promise<Feerates>;
}

export interface Lightning extends NodeApi, WalletApi, ChannelApi, ChainApi, PaymentApi {}
