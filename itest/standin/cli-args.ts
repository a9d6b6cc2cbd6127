/** Command line and output of the stand-in's lightning-cli. */
import { homedir } from 'node:os';
import path from 'node:path';
import { parseJson, stringifyJson } from '../../plugin/runtime/json.js';
import { field, isObject, type Json, show, text } from './types.js';

export const LEVELS = ['io', 'trace', 'debug', 'info', 'unusual', 'broken'];

export class UsageError extends Error {
  override readonly name = 'UsageError';
}

export interface Invocation {
  readonly socket: string;
  readonly method: string;
  readonly params: Json;
  readonly filter: Json | undefined;
  readonly output: 'json' | 'raw' | 'flat';
  /** Lowest level of notification to print; undefined for none. */
  readonly level: number | undefined;
}

/** JSON stays what it is, everything else is a string. */
const paramValue = (given: string): Json => {
  if (!/^[[{"]|^-?\d+(?:\.\d+)?$|^(?:true|false|null)$/.test(given)) return given;
  try {
    return parseJson(given);
  } catch {
    return given;
  }
};

/** `key=value` when asked for, or when the first argument looks like it. */
const readParams = (args: readonly string[], style: 'keywords' | 'order' | undefined): Json => {
  const keywords = style === 'keywords' || (style === undefined && args[0]?.includes('=') === true);
  if (!keywords) return args.map(paramValue);
  return Object.fromEntries(
    args.map((arg) => {
      const at = arg.indexOf('=');
      if (at < 0) throw new UsageError(`Expected key=value in '${arg}'`);
      return [arg.slice(0, at), paramValue(arg.slice(at + 1))];
    }),
  );
};

const WITH_VALUE: Readonly<Record<string, string>> = { 'lightning-dir': 'lightning-dir', conf: 'conf', network: 'network', 'rpc-file': 'rpc-file', notifications: 'notifications', N: 'notifications', filter: 'filter', l: 'filter' };
const FLAGS: Readonly<Record<string, string>> = { k: 'keywords', keywords: 'keywords', o: 'order', order: 'order', J: 'json', json: 'json', R: 'raw', raw: 'raw', F: 'flat', flat: 'flat', H: 'human', 'human-readable': 'human', regtest: 'regtest' };

/** @throws UsageError */
export const parseInvocation = (argv: readonly string[]): Invocation => {
  const values = new Map<string, string>();
  const flags = new Set<string>();
  let at = 0;
  for (; at < argv.length; at += 1) {
    const [, name = '', value] = /^--?([^=]+)(?:=(.*))?$/s.exec(argv[at] ?? '') ?? [];
    if (name === '') break;
    const taker = WITH_VALUE[name];
    const flag = FLAGS[name];
    if (taker !== undefined) {
      if (value === undefined) at += 1;
      values.set(taker, value ?? argv[at] ?? '');
    } else if (flag !== undefined) flags.add(flag);
    else throw new UsageError(`--${name}: unrecognized option`);
  }
  const [method, ...args] = argv.slice(at);
  if (method === undefined) throw new UsageError('Need at least one argument: the command');
  const network = values.get('network') ?? (flags.has('regtest') ? 'regtest' : 'bitcoin');
  const level = values.get('notifications') ?? 'info';
  const filter = values.get('filter');
  return {
    socket: path.resolve(values.get('lightning-dir') ?? path.join(homedir(), '.lightning'), network, values.get('rpc-file') ?? 'lightning-rpc'),
    method,
    params: readParams(args, flags.has('keywords') ? 'keywords' : flags.has('order') ? 'order' : undefined),
    filter: filter === undefined ? undefined : parseJson(filter),
    output: flags.has('raw') ? 'raw' : flags.has('flat') ? 'flat' : 'json',
    level: level === 'none' ? undefined : Math.max(0, LEVELS.indexOf(level)),
  };
};

/** Three blanks per level, as lightning-cli has it. */
export const pretty = (value: Json, indent = ''): string => {
  const inner = `${indent}   `;
  const [open, close, items] = Array.isArray(value)
    ? ['[', ']', (value as readonly Json[]).map((item) => inner + pretty(item, inner))]
    : isObject(value)
      ? ['{', '}', Object.entries(value).flatMap(([name, member]) => (member === undefined ? [] : [`${inner}${JSON.stringify(name)}: ${pretty(member, inner)}`]))]
      : ['', '', undefined];
  if (items === undefined) return stringifyJson(value);
  return items.length === 0 ? open + close : `${open}\n${items.join(',\n')}\n${indent}${close}`;
};

/** `a.b[0]=value` lines. */
export const flat = (value: Json, name = ''): readonly string[] => {
  if (Array.isArray(value)) return (value as readonly Json[]).flatMap((item, i) => flat(item, `${name}[${i}]`));
  if (isObject(value)) return Object.entries(value).flatMap(([key, member]) => (member === undefined ? [] : flat(member, name === '' ? key : `${name}.${key}`)));
  return [`${name}=${show(value)}`];
};

export const notification = (method: string, params: Json | undefined): string => {
  if (method === 'message') return `# ${text(params, 'message') ?? ''}`;
  const stage = field(params, 'stage');
  const part = stage === undefined ? '' : `Stage ${Number(field(stage, 'num')) + 1}/${show(field(stage, 'total'))} `;
  return `# ${part}${Number(field(params, 'num')) + 1}/${show(field(params, 'total'))}`;
};
