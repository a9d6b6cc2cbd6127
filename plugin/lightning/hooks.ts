/**
 * What lightningd asks and tells, as typed events, and our answers in its form. The shapes are those v26.06.6 sends (the
 * tests hold real payloads). Throws `UnexpectedReply` or `FormatError` on anything else: the runtime then answers the
 * hook's fallback.
 */
import { channelId, hex, msat, nodeId, paymentHash, sat, type ChannelId, type Hex, type Msat, type NodeId, type PaymentHash, type Sat } from '../../blip/brands.js';
import { invoiceCltv, type HtlcDecision } from '../../factory-core/htlc-policy.js';
import type { HookAnswers } from '../runtime/hooks.js';
import { isObject, type JsonObject, type JsonValue } from '../runtime/json.js';
import { Reply } from '../runtime/json-read.js';

/** lightningd wraps a payload under its topic (since v25.12), and with deprecated APIs allowed repeats it unwrapped. */
const payload = (topic: string, params: JsonObject, name = topic): Reply => {
  const inner = params[name];
  return new Reply(topic, isObject(inner) ? inner : params);
};

// --- openchannel ------------------------------------------------------------------------------------------------------

export interface OpenChannelEvent {
  readonly peer: NodeId;
  readonly amount: Sat;
  readonly pushed: Msat;
  /** Feature bits of the channel type (BOLT 9): 50 is zeroconf. */
  readonly channelType: readonly number[];
  readonly private: boolean;
}

const ANNOUNCE_CHANNEL = 1;

export const readOpenChannel = (params: JsonObject): OpenChannelEvent => {
  const open = payload('openchannel', params);
  const funding = open.msat('funding_msat');
  return {
    peer: nodeId(open.str('id'), 'openchannel.id'),
    amount: sat(funding / 1000n, 'openchannel.funding_msat'),
    pushed: msat(open.msat('push_msat'), 'openchannel.push_msat'),
    channelType: (open.optObj('channel_type')?.arr('bits') ?? []).filter((bit): bit is number => typeof bit === 'number'),
    private: (open.int('channel_flags') & ANNOUNCE_CHANNEL) === 0,
  };
};

/** Trust the funder before the funding transaction is on chain: only for an open we were told to expect (architecture 6). */
export const ACCEPT_ZERO_CONF: HookAnswers['openchannel'] = { result: 'continue', mindepth: 0, reserve: '0sat' };
export const rejectOpen = (message: string): HookAnswers['openchannel'] => ({ result: 'reject', error_message: message });

// --- htlc_accepted ----------------------------------------------------------------------------------------------------

export interface HtlcEvent {
  /** lightningd's height when it asked. */
  readonly height: number;
  readonly amount: Msat;
  readonly cltvExpiry: number;
  readonly paymentHash: PaymentHash;
  readonly incoming: {
    readonly peer?: NodeId;
    /** The channel's real short channel id, or while it has none our own alias for it. */
    readonly shortChannelId: string;
    readonly id: bigint;
  };
  /** Absent: the payment ends here. */
  readonly forward?: {
    readonly amount?: Msat;
    readonly cltvExpiry?: number;
    /** What the sender names: for an unannounced channel, our alias for it. */
    readonly shortChannelId?: string;
    readonly nextNode?: NodeId;
    /** The channel lightningd would take: of those to that peer the one it finds best, named or not. Absent when it knows none. */
    readonly channelId?: ChannelId;
  };
}

export const readHtlc = (params: JsonObject): HtlcEvent => {
  const root = new Reply('htlc_accepted', params);
  const [htlc, onion] = [root.obj('htlc'), root.obj('onion')];
  const cltvExpiry = htlc.int('cltv_expiry');
  const peer = root.optStr('peer_id');
  const to = root.optStr('forward_to');
  const scid = onion.optStr('short_channel_id');
  const next = onion.optStr('next_node_id');
  const amount = onion.optMsat('forward_msat');
  // The final hop's onion has an outgoing_cltv_value, too.
  const outgoing = onion.optInt('outgoing_cltv_value');
  const isForward = to !== undefined || scid !== undefined || next !== undefined;
  const forward = {
    ...(amount === undefined ? {} : { amount: msat(amount, 'onion.forward_msat') }),
    ...(outgoing === undefined ? {} : { cltvExpiry: outgoing }),
    ...(scid === undefined ? {} : { shortChannelId: scid }),
    ...(next === undefined ? {} : { nextNode: nodeId(next, 'onion.next_node_id') }),
    ...(to === undefined ? {} : { channelId: channelId(to, 'forward_to') }),
  };
  return {
    height: cltvExpiry - htlc.int('cltv_expiry_relative'),
    amount: msat(htlc.msat('amount_msat'), 'htlc.amount_msat'),
    cltvExpiry,
    paymentHash: paymentHash(htlc.hex('payment_hash'), 'htlc.payment_hash'),
    incoming: { ...(peer === undefined ? {} : { peer: nodeId(peer, 'peer_id') }), shortChannelId: htlc.str('short_channel_id'), id: htlc.big('id') },
    ...(isForward ? { forward } : {}),
  };
};

export const htlcAnswer = (decision: HtlcDecision): HookAnswers['htlc_accepted'] => {
  if (decision.result === 'fail') return { result: 'fail', failure_message: decision.failure };
  return { result: 'continue', ...(decision.forwardTo === undefined ? {} : { forward_to: decision.forwardTo }) };
};

// --- rpc_command ------------------------------------------------------------------------------------------------------

type CommandParams = JsonObject | readonly JsonValue[];

/** A command somebody (the operator, or a plugin of lightningd's) has called. */
export interface CommandEvent {
  readonly id: string | number | bigint;
  readonly method: string;
  readonly params: CommandParams;
}

export const readCommand = (params: JsonObject): CommandEvent => {
  const command = payload('rpc_command', params);
  const id = command.json['id'];
  if (typeof id !== 'string' && typeof id !== 'number' && typeof id !== 'bigint') throw command.unexpected('id', 'a string or a number');
  const given = command.json['params'] ?? {};
  if (Array.isArray(given)) return { id, method: command.str('method'), params: given as readonly JsonValue[] };
  return { id, method: command.str('method'), params: command.has('params') ? command.obj('params').json : {} };
};

/** A parameter, by name or by its place in the command's usage. `null` counts as absent. */
export const commandParam = (params: CommandParams, name: string, place: number): JsonValue | undefined => {
  const value = isObject(params) ? params[name] : params[place];
  return value ?? undefined;
};

export const replaceParams = ({ id, method }: CommandEvent, params: CommandParams): HookAnswers['rpc_command'] => ({ replace: { jsonrpc: '2.0', id, method, params } });
export const refuseCommand = (code: number, message: string): HookAnswers['rpc_command'] => ({ return: { error: { code, message } } });

const INVOICE = ['amount_msat', 'label', 'description', 'expiry', 'fallbacks', 'preimage', 'exposeprivatechannels', 'cltv', 'deschashonly'] as const;
const LABEL = INVOICE.indexOf('label');
const EXPOSE = INVOICE.indexOf('exposeprivatechannels');
const CLTV = INVOICE.indexOf('cltv');

const readCltv = (value: JsonValue | undefined): number | undefined => {
  const number = typeof value === 'string' && /^[0-9]{1,6}$/.test(value) ? Number(value) : value;
  return typeof number === 'number' && Number.isSafeInteger(number) ? number : undefined;
};

/**
 * An `invoice` call's parameters such that the invoice can be paid over factory channels; undefined when they are already.
 * The final CLTV delta is raised to what `decideHtlc` will ask for. Our channels are named in `exposeprivatechannels`,
 * unless the caller decided about that: by itself CLN hints at an unannounced channel only if its peer has announced
 * channels and this node has none. Parameters stay as they came, by name or by place.
 * @param defaultCltv the node's `cltv-final`
 * @param exposeAliases a short channel id or alias of each usable, *connected* factory channel: CLN refuses the invoice when
 *   none of those named can be used. The peer's alias is the one that stays valid when the leaf confirms.
 */
export const raiseInvoiceCltv = (params: CommandParams, earlyWarning: number, defaultCltv: number, exposeAliases: readonly string[]): CommandParams | undefined => {
  const label = commandParam(params, 'label', LABEL);
  // The keysend plugin's record of a payment that has arrived: nobody will see it.
  if (typeof label === 'string' && label.startsWith('keysend-')) return undefined;
  const asked = commandParam(params, 'cltv', CLTV);
  const current = asked === undefined ? defaultCltv : readCltv(asked);
  if (current === undefined) return undefined; // lightningd will say what is wrong with it
  const cltv = invoiceCltv(earlyWarning, current);
  const expose = exposeAliases.length > 0 && commandParam(params, 'exposeprivatechannels', EXPOSE) === undefined;
  if (cltv === current && !expose) return undefined;
  const changes = { ...(cltv === current ? {} : { cltv }), ...(expose ? { exposeprivatechannels: [...exposeAliases] } : {}) };
  if (isObject(params)) return { ...params, ...changes };
  const list: JsonValue[] = Array.from({ length: Math.max(params.length, cltv === current ? 0 : CLTV + 1, expose ? EXPOSE + 1 : 0) }, (_, i) => params[i] ?? null);
  if (changes.cltv !== undefined) list[CLTV] = changes.cltv;
  if (changes.exposeprivatechannels !== undefined) list[EXPOSE] = changes.exposeprivatechannels;
  return list;
};

/**
 * A `getroutes` call's parameters (xpay asks askrene so) such that the HTLC on the first hop, a factory channel, lives long
 * enough: bLIP-56 wants that of the sender. A larger final delta raises every hop's, as xpay's own shadow delta does; the
 * final node's payload is not made of it. undefined: it is enough already, or not xpay's form.
 */
export const raiseRouteCltv = (params: CommandParams, earlyWarning: number): CommandParams | undefined => {
  const asked = isObject(params) ? readCltv(params['final_cltv']) : undefined;
  if (asked === undefined || !isObject(params)) return undefined;
  const cltv = invoiceCltv(earlyWarning, asked);
  return cltv === asked ? undefined : { ...params, final_cltv: cltv };
};

/** What a `getroutes` call is to pay, and to whom; undefined: not xpay's form. */
export const readRoutes = (params: CommandParams): { readonly destination: string; readonly amount: Msat } | undefined => {
  const { destination, amount_msat: asked } = isObject(params) ? params : {};
  const digits = typeof asked === 'number' || typeof asked === 'bigint' || typeof asked === 'string' ? /^([0-9]{1,18})(?:msat)?$/.exec(String(asked))?.[1] : undefined;
  return typeof destination !== 'string' || digits === undefined ? undefined : { destination, amount: msat(BigInt(digits), 'getroutes.amount_msat') };
};

/** A `getroutes` call with more askrene layers, the last ones: they change what the others say. undefined: not xpay's form. */
export const withLayers = (params: CommandParams, more: readonly string[]): CommandParams | undefined => {
  const layers = isObject(params) ? params['layers'] : undefined;
  if (!isObject(params) || !Array.isArray(layers)) return undefined;
  return { ...params, layers: [...(layers as readonly JsonValue[]).filter((l) => !more.some((m) => m === l)), ...more] };
};

/** Commands that splice, which force-closes a virtual channel on both sides (lightningd-facts), and what names the channel. */
const SPLICING: ReadonlyMap<string, string> = new Map([
  ['splice_init', 'channel_id'],
  ['splicein', 'channel'],
  ['spliceout', 'channel'],
]);
/** For the `rpc_command` hook's filter. `dev-splice` ends in `splice_init`. */
export const SPLICING_COMMANDS: readonly string[] = [...SPLICING.keys()];

/** What the command calls the channel it would splice: channel id, short channel id, alias or a query; undefined: no splice. */
export const splicedChannel = ({ method, params }: CommandEvent): string | undefined => {
  const name = SPLICING.get(method);
  if (name === undefined) return undefined;
  const value = commandParam(params, name, 0);
  return typeof value === 'string' ? value : '';
};

// --- messages and notifications ---------------------------------------------------------------------------------------

export interface CustomMessage {
  readonly peer: NodeId;
  /** With its two type bytes. */
  readonly message: Hex;
}

/** The `custommsg` hook, or the notification of that name. */
export const readCustomMessage = (params: JsonObject): CustomMessage => {
  const custom = payload('custommsg', params);
  return { peer: nodeId(custom.str('peer_id'), 'custommsg.peer_id'), message: hex(custom.hex('payload'), 'custommsg.payload') };
};

/** `connect` and `disconnect`. At `connect` the peer's `init` has been exchanged. */
export const readPeerId = (topic: 'connect' | 'disconnect', params: JsonObject): NodeId => nodeId(payload(topic, params).str('id'), `${topic}.id`);

export interface BlockAdded {
  readonly height: number;
  readonly hash: Hex;
}
/** After a reorganisation heights come again, lower than before. */
export const readBlockAdded = (params: JsonObject): BlockAdded => {
  const block = payload('block_added', params);
  return { height: block.int('height'), hash: hex(block.hex('hash'), 'block_added.hash') };
};

export interface ChannelStateChange {
  readonly peer: NodeId;
  readonly channelId: ChannelId;
  /** Absent for a new channel. */
  readonly from?: string;
  readonly to: string;
  readonly cause: string;
  readonly message?: string;
}
/** A withheld channel that is dropped ends in `CLOSED`. */
export const readChannelStateChange = (params: JsonObject): ChannelStateChange => {
  const change = payload('channel_state_changed', params);
  const from = change.optStr('old_state');
  const message = change.optStr('message');
  return {
    peer: nodeId(change.str('peer_id'), 'channel_state_changed.peer_id'),
    channelId: channelId(change.hex('channel_id'), 'channel_state_changed.channel_id'),
    ...(from === undefined ? {} : { from }),
    to: change.str('new_state'),
    cause: change.str('cause'),
    ...(message === undefined ? {} : { message }),
  };
};
