/** The options of lightningd and its bcli plugin that tests and plugins meet, with their defaults on regtest. */
export type OptionKind = 'flag' | 'string' | 'int' | 'bool' | 'msat';

export interface OptionSpec {
  readonly name: string;
  readonly kind: OptionKind;
  readonly multi?: boolean;
  readonly default?: string | number | boolean;
  /** The plugin that registered it. */
  readonly plugin?: string;
  readonly dynamic?: boolean;
}

const flag = (name: string): OptionSpec => ({ name, kind: 'flag', default: false });
const text = (name: string, value?: string): OptionSpec => ({ name, kind: 'string', ...(value === undefined ? {} : { default: value }) });
const texts = (name: string): OptionSpec => ({ name, kind: 'string', multi: true });
const int = (name: string, value: number): OptionSpec => ({ name, kind: 'int', default: value });
const bool = (name: string, value: boolean): OptionSpec => ({ name, kind: 'bool', default: value });
const msat = (name: string, value: number): OptionSpec => ({ name, kind: 'msat', default: value });
const bcli = (spec: OptionSpec): OptionSpec => ({ ...spec, plugin: 'bcli' });

export const OPTIONS: readonly OptionSpec[] = [
  flag('developer'),
  text('conf'),
  text('lightning-dir'),
  text('network', 'regtest'),
  ...['testnet', 'testnet4', 'signet', 'mainnet', 'regtest'].map(flag),
  text('rpc-file', 'lightning-rpc'),
  text('rpc-file-mode', '0600'),
  bool('allow-deprecated-apis', false),
  ...['plugin', 'plugin-dir', 'disable-plugin', 'important-plugin'].map(texts),
  flag('clear-plugins'),
  text('wallet'),
  flag('daemon'),
  text('pid-file'),
  text('alias'),
  text('rgb'),
  ...['experimental-dual-fund', 'experimental-splicing', 'experimental-shutdown-wrong-funding', 'experimental-offers'].map(flag),
  bool('ignore-fee-limits', true),
  int('watchtime-blocks', 6),
  int('funding-confirms', 1),
  bool('require-confirmed-inputs', false),
  int('cltv-delta', 6),
  int('cltv-final', 10),
  int('commit-time', 10),
  int('fee-base', 1),
  int('fee-per-satoshi', 10),
  int('rescan', 30),
  msat('htlc-minimum-msat', 0),
  int('max-concurrent-htlcs', 483),
  { ...int('min-capacity-sat', 10_000), dynamic: true },
  ...['addr', 'bind-addr', 'announce-addr'].map(texts),
  text('announce-addr-discovered', 'auto'),
  flag('offline'),
  bool('autolisten', false),
  flag('disable-dns'),
  int('commit-fee', 100),
  msat('min-emergency-msat', 25_000_000),
  flag('large-channels'),
  text('log-level', 'info'),
  text('log-prefix'),
  bool('log-timestamps', true),
  texts('log-file'),
  flag('disable-mpp'),
  int('autoconnect-seeker-peers', 10),
  bool('xpay-handle-pay', true),
  bcli(text('bitcoin-datadir')),
  bcli(text('bitcoin-cli')),
  bcli(text('bitcoin-rpcuser')),
  bcli(text('bitcoin-rpcpassword')),
  bcli(text('bitcoin-rpcconnect')),
  bcli({ name: 'bitcoin-rpcport', kind: 'int' }),
  bcli(int('bitcoin-rpcclienttimeout', 60)),
  bcli(int('bitcoin-retry-timeout', 60)),
  { name: 'dev-bitcoind-poll', kind: 'int' },
  flag('dev-fast-gossip'),
  flag('dev-fast-reconnect'),
];
