/**
 * Hooks: lightningd asks and waits. Whatever happens in a handler, lightningd gets an answer it can live with, in time:
 * a JSON-RPC error, or an answer of the wrong form, from a hook aborts lightningd (architecture 12.12). So each hook
 * declares what to answer when its handler throws, takes too long or answers nonsense, and answers are checked here
 * against what lightningd (v26.06) dies of.
 */
import { isObject, stringifyJson, type JsonObject } from './json.js';

export interface Continue {
  readonly result: 'continue';
}
export const CONTINUE: Continue = { result: 'continue' };

/** What each hook may answer. Hex is lowercase. */
export interface HookAnswers {
  readonly custommsg: Continue;
  readonly openchannel:
    | (Continue & { readonly mindepth?: number; readonly reserve?: string; readonly close_to?: string })
    | { readonly result: 'reject'; readonly error_message?: string };
  readonly openchannel2: Continue | { readonly result: 'reject'; readonly error_message?: string };
  readonly htlc_accepted:
    | (Continue & { readonly payload?: string; readonly forward_to?: string; readonly extra_tlvs?: string; readonly invoice_msat?: bigint })
    /** `failure_message`: a BOLT 4 failure with its two type bytes. */
    | { readonly result: 'fail'; readonly failure_message: string }
    | { readonly result: 'fail'; readonly failure_onion: string }
    | { readonly result: 'resolve'; readonly payment_key: string };
  readonly rpc_command:
    | Continue
    | { readonly replace: { readonly jsonrpc: '2.0'; readonly id: string | number | bigint; readonly method: string; readonly params: unknown } }
    | { readonly return: { readonly result: unknown } }
    | { readonly return: { readonly error: { readonly code: number; readonly message: string; readonly data?: unknown } } };
  readonly peer_connected: Continue | { readonly result: 'disconnect'; readonly error_message?: string };
  readonly invoice_payment: Continue | { readonly result: 'reject' } | { readonly failure_message: string };
}
export type HookName = keyof HookAnswers;

/** What narrows a hook down in lightningd itself (v26.06): message types, or commands. Other hooks refuse filters. */
export type HookFilter<N extends HookName> = N extends 'custommsg' ? number : N extends 'rpc_command' ? string : never;

export interface HookContext {
  /** lightningd's id of the request, to be the parent of calls made on its behalf. */
  readonly id: string;
  /** Aborted when the answer is no longer waited for. */
  readonly signal: AbortSignal;
}

/** Why the fallback is answered. */
export type FallbackCause = 'exception' | 'deadline' | 'bad_answer' | 'unreadable';

export interface Hook<N extends HookName> {
  readonly handle: (params: JsonObject, ctx: HookContext) => HookAnswers[N] | Promise<HookAnswers[N]>;
  /** Answered when `handle` throws or is late; a function decides at once, from memory. `params` is empty if it was unreadable. */
  readonly fallback: HookAnswers[N] | ((params: JsonObject, cause: FallbackCause) => HookAnswers[N]);
  /** Milliseconds until the fallback is answered. Default 5,000. */
  readonly deadlineMs?: number;
  readonly filters?: readonly HookFilter<N>[];
  /** Plugins (by file name) that are to be asked after, or before, this one. */
  readonly before?: readonly string[];
  readonly after?: readonly string[];
}
export type Hooks = { readonly [N in HookName]?: Hook<N> };

export const DEFAULT_DEADLINE_MS = 5_000;

const HEX = /^(?:[0-9a-fA-F]{2})*$/;
const isHex = (value: unknown, bytes?: number): boolean =>
  typeof value === 'string' && HEX.test(value) && (bytes === undefined || value.length === bytes * 2);
const optional = (value: unknown, ok: (value: unknown) => boolean): boolean => value === undefined || ok(value);
const isAmount = (value: unknown): boolean => (typeof value === 'bigint' || Number.isSafeInteger(value)) && (value as bigint | number) >= 0;
const isText = (value: unknown): boolean => typeof value === 'string';

/** Whether lightningd survives an answer of this form. */
const survives: { readonly [N in HookName]: (answer: JsonObject) => boolean } = {
  custommsg: (a) => a['result'] === 'continue',
  openchannel: (a) =>
    (a['result'] === 'continue' &&
      optional(a['mindepth'], (v) => Number.isInteger(v) && (v as number) >= 0) &&
      optional(a['reserve'], isText) &&
      optional(a['close_to'], isText)) ||
    (a['result'] === 'reject' && a['close_to'] === undefined && optional(a['error_message'], isText)),
  openchannel2: (a) => a['result'] === 'continue' || (a['result'] === 'reject' && optional(a['error_message'], isText)),
  htlc_accepted: (a) =>
    optional(a['payload'], (v) => isHex(v)) &&
    optional(a['forward_to'], (v) => isHex(v, 32)) &&
    optional(a['extra_tlvs'], (v) => isHex(v)) &&
    optional(a['invoice_msat'], isAmount) &&
    (a['result'] === 'continue' ||
      (a['result'] === 'fail' && (isHex(a['failure_onion']) || (a['failure_onion'] === undefined && isHex(a['failure_message'])))) ||
      (a['result'] === 'resolve' && isHex(a['payment_key'], 32))),
  rpc_command: (a) => a['result'] === 'continue' || isObject(a['replace']) || isObject(a['return']),
  peer_connected: (a) => a['result'] === 'continue' || (a['result'] === 'disconnect' && optional(a['error_message'], isText)),
  invoice_payment: (a) => a['result'] === 'continue' || a['result'] === 'reject' || (a['result'] === undefined && isHex(a['failure_message'])),
};

const usable = (name: HookName, answer: unknown): answer is JsonObject => {
  if (!isObject(answer) || !survives[name](answer)) return false;
  try {
    stringifyJson(answer);
    return true;
  } catch {
    return false;
  }
};

/** Told when a fallback had to be answered, or a handler ended after its deadline. */
export type HookReport = (cause: FallbackCause | 'late', detail: string) => void;

const DEADLINE = Symbol('deadline');

/** The answer to one call of a hook. Never rejects. */
export const answerHook = async <N extends HookName>(
  name: N,
  hook: Hook<N>,
  params: JsonObject,
  id: string,
  report: HookReport,
): Promise<JsonObject> => {
  const deadlineMs = hook.deadlineMs ?? DEFAULT_DEADLINE_MS;
  const aborter = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<typeof DEADLINE>((resolve) => {
    timer = setTimeout(() => resolve(DEADLINE), deadlineMs);
  });
  const handled = (async () => hook.handle(params, { id, signal: aborter.signal }))();
  try {
    const answer: unknown = await Promise.race([handled, deadline]);
    if (answer === DEADLINE) {
      handled.then(
        () => report('late', 'its answer came after the deadline and was dropped'),
        (error: unknown) => report('late', `it failed after the deadline: ${describe(error)}`),
      );
      aborter.abort();
      return fallbackAnswer(name, hook, params, 'deadline', `no answer within ${deadlineMs} ms`, report);
    }
    if (usable(name, answer)) return answer;
    return fallbackAnswer(name, hook, params, 'bad_answer', 'lightningd would not survive its answer', report);
  } catch (error) {
    return fallbackAnswer(name, hook, params, 'exception', describe(error), report);
  } finally {
    clearTimeout(timer);
  }
};

/** The declared fallback; if that fails too, `continue`, which every hook accepts. Never throws. */
export const fallbackAnswer = <N extends HookName>(
  name: N,
  hook: Hook<N>,
  params: JsonObject,
  cause: FallbackCause,
  detail: string,
  report: HookReport,
): JsonObject => {
  report(cause, detail);
  try {
    const answer: unknown = typeof hook.fallback === 'function' ? hook.fallback(params, cause) : hook.fallback;
    if (usable(name, answer)) return answer;
    report('bad_answer', 'the fallback itself is no answer lightningd survives');
  } catch (error) {
    report('exception', `the fallback itself failed: ${describe(error)}`);
  }
  return { ...CONTINUE };
};

/** An exception as one line for the log (lightningd begins a new entry at every line feed): what, and the innermost frames. */
export const describe = (error: unknown): string => {
  if (!(error instanceof Error)) return String(error);
  const frames = (error.stack ?? '').split('\n').filter((line) => /^\s+at /.test(line));
  return [`${error.name}: ${error.message}`, ...frames.slice(0, 3).map((frame) => frame.trim())].join(' ');
};
