/** What a plugin says about itself: the types of its commands, hooks, options and subscriptions, and the manifest made of them. */
import type { HookName, Hooks } from './hooks.js';
import type { JsonObject, JsonValue } from './json.js';
import type { OptionSchema, OptionsOf } from './options.js';
import { readParams, usageOf, type ParamSchema, type ParamsOf } from './params.js';
import type { Rpc } from './rpc-client.js';

/** lightningd's log levels. `unusual` and `broken` also raise its `warning` notification. */
export type LogLevel = 'trace' | 'debug' | 'info' | 'unusual' | 'broken';
export type Log = (level: LogLevel, message: string) => void;

/** What a running command can do besides answering. */
export interface CommandContext {
  /** lightningd's id of the request, to be the parent of calls made on its behalf. */
  readonly id: string;
  /** The operator only asks whether the command would be accepted: nothing may change. */
  readonly check: boolean;
  /** Aborted when the plugin stops. */
  readonly signal: AbortSignal;
  /**
   * Shown as a bar by lightning-cli: step `num` of `total`, the first being 0; `stage` likewise. Sent always; lightningd
   * forwards it to callers that enabled notifications. A total of less than two steps shows nothing.
   */
  readonly progress: (num: number, total: number, stage?: { readonly num: number; readonly total: number }) => void;
  /** A line for the caller while the command runs. */
  readonly message: (level: LogLevel, text: string) => void;
}

export interface MethodDefinition<S extends ParamSchema> {
  readonly description: string;
  readonly longDescription?: string;
  readonly category?: string;
  readonly deprecated?: boolean;
  readonly params: S;
  /**
   * What `check` does beyond reading the parameters: throws `CommandError` for what `run` would refuse. `run` itself is
   * never called for a check, so that nobody can forget to look at a flag.
   */
  readonly check?: (params: ParamsOf<S>, ctx: CommandContext) => void | Promise<void>;
  /** Returns the result, an object. Throws `CommandError`. */
  readonly run: (params: ParamsOf<S>, ctx: CommandContext) => object | Promise<object>;
}

/** A command whose parameter types have done their work. */
export interface Method {
  readonly usage: string;
  readonly description: string;
  readonly longDescription?: string;
  readonly category?: string;
  readonly deprecated?: boolean;
  readonly check: (params: JsonValue | undefined, ctx: CommandContext) => Promise<void>;
  readonly run: (params: JsonValue | undefined, ctx: CommandContext) => Promise<object>;
}

/** Throws when a required parameter follows an optional one: such a list has no positional form. */
export const method = <S extends ParamSchema>(definition: MethodDefinition<S>): Method => {
  const { params: schema, check, run, ...about } = definition;
  const optionals = Object.values(schema).map((p) => p.absent !== undefined);
  if (optionals.some((optional, i) => optional && optionals[i + 1] === false))
    throw new Error(`a required parameter follows an optional one: ${usageOf(schema)}`);
  return {
    ...about,
    usage: usageOf(schema),
    check: async (params, ctx) => {
      const read = readParams(schema, params);
      await check?.(read, ctx);
    },
    run: async (params, ctx) => run(readParams(schema, params), ctx),
  };
};

export interface NotificationContext {
  readonly topic: string;
  /** Which plugin sent it; undefined for lightningd's own topics. */
  readonly origin?: string;
}
/** Called in the order of arrival, and not waited for: what must stay in order after an `await` is the handler's affair. */
export type Subscription = (payload: JsonObject, ctx: NotificationContext) => void | Promise<void>;

/** Where and as what the node runs (`init`). */
export interface Configuration {
  /** The node's directory for this network. */
  readonly lightningDir: string;
  /** The RPC socket's absolute path. */
  readonly rpcPath: string;
  /** `bitcoin`, `testnet`, `testnet4`, `signet` or `regtest`. */
  readonly network: string;
  /** Whether we were started with the node. */
  readonly startup: boolean;
  /** Feature bits by place (`init`, `node`, `channel`, `invoice`), hex. */
  readonly features: Readonly<Record<string, string>>;
}

export interface InitContext<O extends OptionSchema> {
  readonly options: OptionsOf<O>;
  readonly configuration: Configuration;
  readonly rpc: Rpc;
}

export interface PluginDefinition<O extends OptionSchema> {
  /** The prefix of our JSON-RPC ids (lightningd-rpc(7)). */
  readonly name: string;
  readonly options?: O;
  readonly methods?: Readonly<Record<string, Method>>;
  readonly hooks?: Hooks;
  /** By topic; `*` is every topic but `log`. `shutdown` is the runtime's, see `onShutdown`. */
  readonly subscriptions?: Readonly<Record<string, Subscription>>;
  /** Topics of ours that others may subscribe to. */
  readonly notifications?: readonly string[];
  /** Hex by place. lightningd refuses them from a dynamic plugin. */
  readonly featurebits?: Readonly<Partial<Record<'node' | 'init' | 'channel' | 'invoice', string>>>;
  /** Message types beyond BOLT that peers may send us; an even one would cost them the connection otherwise. */
  readonly custommessages?: readonly number[];
  /** Whether `plugin start` and `plugin stop` work. Default false. */
  readonly dynamic?: boolean;
  /**
   * Before `init` is answered; lightningd waits 60 s. `{ disable: reason }` has it go on without us, even if its operator called
   * us important: it takes that back from a plugin that disables itself. An exception ends the plugin, and an important
   * one the node. So does an option that cannot be used.
   */
  readonly onInit?: (ctx: InitContext<O>) => { readonly disable: string } | undefined | Promise<{ readonly disable: string } | undefined>;
  /** A dynamic option has a new, valid value (`plugin.options` has it already). */
  readonly onOptionChanged?: (name: keyof O & string) => void | Promise<void>;
  /** lightningd stops, stops us, or has gone away. It kills us after 30 s. */
  readonly onShutdown?: () => void | Promise<void>;
}

const hookEntry = ([name, hook]: [string, Hooks[HookName]]): JsonObject => ({
  name,
  ...(hook?.before === undefined ? {} : { before: hook.before }),
  ...(hook?.after === undefined ? {} : { after: hook.after }),
  ...(hook?.filters === undefined ? {} : { filters: hook.filters }),
});

/** The answer to `getmanifest`. */
export const manifestOf = <O extends OptionSchema>(definition: PluginDefinition<O>): JsonObject => ({
  options: Object.entries(definition.options ?? {}).map(([name, o]) => ({
    name,
    type: o.type,
    description: o.description,
    ...(o.default === undefined ? {} : { default: o.default }),
    ...(o.multi ? { multi: true } : {}),
    ...(o.dynamic ? { dynamic: true } : {}),
    ...(o.deprecated ? { deprecated: true } : {}),
  })),
  rpcmethods: Object.entries(definition.methods ?? {}).map(([name, m]) => ({
    name,
    usage: m.usage,
    description: m.description,
    ...(m.longDescription === undefined ? {} : { long_description: m.longDescription }),
    ...(m.category === undefined ? {} : { category: m.category }),
    ...(m.deprecated === true ? { deprecated: true } : {}),
  })),
  subscriptions: [...Object.keys(definition.subscriptions ?? {}), 'shutdown'],
  hooks: Object.entries(definition.hooks ?? {}).map(hookEntry),
  notifications: (definition.notifications ?? []).map((topic) => ({ method: topic })),
  ...(definition.featurebits === undefined ? {} : { featurebits: definition.featurebits }),
  custommessages: definition.custommessages ?? [],
  nonnumericids: true,
  cancheck: true,
  dynamic: definition.dynamic ?? false,
});
