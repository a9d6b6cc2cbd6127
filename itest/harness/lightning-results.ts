/** What the methods tests use answer, as far as tests look at it: lightningd's own, then the plugin's (architecture 13). */
export interface LightningResults {
  getinfo: { readonly id: string; readonly alias: string; readonly version: string; readonly blockheight: number };
  connect: { readonly id: string };
  disconnect: Readonly<Record<string, never>>;
  newaddr: { readonly bech32?: string; readonly p2tr?: string };
  listfunds: { readonly outputs: readonly WalletOutput[]; readonly channels: readonly unknown[] };
  listpeers: { readonly peers: readonly { readonly id: string; readonly connected: boolean }[] };
  listpeerchannels: { readonly channels: readonly PeerChannel[] };
  listchannels: { readonly channels: readonly { readonly source: string; readonly destination: string; readonly active: boolean }[] };
  fundchannel: { readonly txid: string; readonly outnum: number; readonly channel_id: string };
  close: { readonly type: string; readonly txids?: readonly string[] };
  invoice: { readonly bolt11: string; readonly payment_hash: string };
  xpay: { readonly payment_preimage: string; readonly amount_msat: number; readonly amount_sent_msat: number; readonly successful_parts: number };
  'factory-create': Factory & {
    readonly channels: readonly { readonly node_id: string; readonly channel_id: string; readonly capacity_msat: number }[];
    readonly excluded?: readonly Excluded[];
  };
  'factory-rotate': { readonly factory_id: string; readonly to: LightningResults['factory-create']; readonly away?: readonly string[] };
  'factory-list': { readonly factories: readonly (Factory & { readonly role: 'coordinator' | 'member'; readonly member_count: number })[] };
  'factory-status': FactoryStatus;
  'factory-buy': Bought;
  'factory-sell': Bought;
}

export interface WalletOutput {
  readonly txid: string;
  readonly output: number;
  readonly amount_msat: number;
  readonly status: 'unconfirmed' | 'confirmed' | 'spent' | 'immature';
  readonly reserved: boolean;
}

export interface PeerChannel {
  readonly peer_id: string;
  readonly peer_connected: boolean;
  readonly state: string;
  readonly channel_id: string;
  readonly short_channel_id?: string;
  readonly alias?: { readonly local?: string; readonly remote?: string };
  readonly opener: 'local' | 'remote';
  readonly private: boolean;
  readonly funding_txid: string;
  readonly funding_outnum: number;
  readonly funding?: { readonly withheld?: boolean };
  readonly to_us_msat: number;
  readonly total_msat: number;
  readonly spendable_msat: number;
  readonly receivable_msat: number;
  readonly updates?: { readonly local?: unknown; readonly remote?: unknown };
  readonly htlcs: readonly unknown[];
  readonly status: readonly string[];
}

/** A client that a factory was created without. */
export interface Excluded {
  readonly node_id: string;
  readonly reason: string;
}

export interface Factory {
  readonly factory_id: string;
  readonly state: string;
  readonly funding_txid: string;
  readonly expiry_height: number;
}

export interface FactoryStatus extends Factory {
  readonly early_warning_time: number;
  readonly height: number;
  readonly members: readonly {
    readonly node_id: string;
    readonly connected: boolean;
    readonly state: string;
    readonly path: { readonly transactions: number; readonly confirmed: number };
    readonly channels: readonly { readonly channel_id: string; readonly to_us_msat: number; readonly total_msat: number }[];
    readonly migration?: { readonly to: string; readonly step: string; readonly owed_msat?: number; readonly problem?: string };
  }[];
  readonly rotation?: { readonly to: string; readonly moved: number; readonly members: number; readonly problem?: string };
  readonly exit: { readonly transactions: number; readonly vbytes: number; readonly blocks: number; readonly cost_msat: number };
}

/** A channel out of a client's stock. */
export interface Bought {
  readonly channel_id: string;
  readonly amount_msat: number;
  readonly fee_msat: number;
  readonly stock_left_msat: number;
  readonly txid: string;
  readonly purchases: number;
  readonly early_warning_time: number;
  readonly fee_settled?: boolean;
}
