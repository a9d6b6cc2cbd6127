import type { FeaturePlace } from './features.js';
import type { OptionKind, OptionSpec } from './option-table.js';
import { field, isObject, type Json, show, text } from './types.js';

export interface HookRegistration {
  readonly name: string;
  /** Message types of `custommsg`, command names of `rpc_command`; absent: everything. */
  readonly filters?: readonly (string | number)[];
  /** Names of plugins that are asked later, and of those that are asked earlier. */
  readonly before?: readonly string[];
  readonly after?: readonly string[];
}

export interface Manifest {
  readonly dynamic: boolean;
  readonly options: readonly OptionSpec[];
  readonly methods: readonly { readonly name: string; readonly usage: string }[];
  readonly hooks: readonly HookRegistration[];
  readonly subscriptions: readonly string[];
  readonly topics: readonly string[];
  readonly features: Readonly<Partial<Record<FeaturePlace, string>>>;
  readonly customMessages: readonly number[];
  readonly canCheck: boolean;
  readonly disable?: string;
}

/** A manifest lightningd would not take, either: the plugin is killed with these words. */
export class ManifestError extends Error {
  override readonly name = 'ManifestError';
}

const HOOKS = [
  'htlc_accepted', 'custommsg', 'openchannel', 'openchannel2', 'openchannel2_changed', 'openchannel2_sign', 'rbf_channel', 'peer_connected',
  'invoice_payment', 'rpc_command', 'db_write', 'commitment_revocation', 'onion_message_recv', 'onion_message_recv_secret', 'recover',
] as const;
const KINDS: Readonly<Record<string, OptionKind>> = { string: 'string', 'string-conceal': 'string', int: 'int', bool: 'bool', flag: 'flag' };

const items = (manifest: Json, name: string): readonly Json[] => {
  const found = field(manifest, name);
  if (found === undefined) return [];
  if (!Array.isArray(found)) throw new ManifestError(`Invalid/missing "${name}" in manifest`);
  return found as readonly Json[];
};

const strings = (manifest: Json, name: string): readonly string[] => items(manifest, name).filter((item) => typeof item === 'string');

const option = (plugin: string, given: Json): OptionSpec => {
  const name = text(given, 'name');
  const kind = KINDS[text(given, 'type') ?? ''];
  if (name === undefined || kind === undefined || text(given, 'description') === undefined) throw new ManifestError('An option is missing either "name", "description" or "type"');
  if (!/^[0-9a-z_-]+$/.test(name)) throw new ManifestError('Option "name" must be lowercase alphanumeric, plus _ or -\'');
  const value = field(given, 'default');
  if (kind === 'flag' && value !== undefined && value !== false) throw new ManifestError(`--${name} type flag default must be 'false' not ${show(value)}`);
  return {
    name,
    kind,
    plugin,
    ...(field(given, 'multi') === true ? { multi: true } : {}),
    ...(field(given, 'dynamic') === true ? { dynamic: true } : {}),
    ...(typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' ? { default: value } : {}),
  };
};

const hook = (given: Json): HookRegistration => {
  const name = typeof given === 'string' ? given : text(given, 'name');
  if (name === undefined || !HOOKS.some((known) => known === name)) throw new ManifestError(`Unknown hook name ${String(name)}`);
  const names = (key: string): readonly string[] => items(given, key).filter((one) => typeof one === 'string');
  const registration = { name, before: names('before'), after: names('after') };
  const filters = field(given, 'filters');
  if (filters === undefined) return registration;
  const kind = name === 'rpc_command' ? 'string' : name === 'custommsg' ? 'number' : undefined;
  if (kind === undefined) throw new ManifestError(`Hook ${name} does not allow filters`);
  if (!Array.isArray(filters) || filters.some((filter) => typeof filter !== kind)) throw new ManifestError(`filters must be array of ${kind === 'string' ? 'strings' : 'unsigned integers'}`);
  return { ...registration, filters: filters as readonly (string | number)[] };
};

const method = (given: Json): { name: string; usage: string } => {
  const name = text(given, 'name');
  if (name === undefined) throw new ManifestError('rpcmethod does not have a string "name"');
  const usage = text(given, 'usage');
  if (usage === undefined) throw new ManifestError('"usage" not provided by plugin');
  return { name, usage };
};

/** @throws ManifestError */
export const parseManifest = (plugin: string, manifest: Json): Manifest => {
  if (!isObject(manifest)) throw new ManifestError('Invalid/missing result tok');
  const hooks = items(manifest, 'hooks').map(hook);
  const twice = hooks.find(({ name }, index) => hooks.findIndex((other) => other.name === name) !== index);
  if (twice !== undefined) throw new ManifestError(`Registered for hook ${twice.name} multiple times`);
  const features = field(manifest, 'featurebits');
  const dynamic = field(manifest, 'dynamic') !== false;
  const disable = text(manifest, 'disable');
  return {
    dynamic,
    options: items(manifest, 'options').map((given) => option(plugin, given)),
    methods: items(manifest, 'rpcmethods').map(method),
    hooks,
    subscriptions: strings(manifest, 'subscriptions'),
    topics: items(manifest, 'notifications').flatMap((topic) => text(topic, 'method') ?? []),
    features: isObject(features) ? (features) : {},
    customMessages: items(manifest, 'custommessages').filter((type) => typeof type === 'number'),
    canCheck: field(manifest, 'cancheck') === true,
    ...(disable === undefined ? {} : { disable }),
  };
};
