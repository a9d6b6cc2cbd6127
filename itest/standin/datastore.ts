import { bytesToHex, hexToBytes, utf8ToBytes } from '@noble/hashes/utils.js';
import { command, type Command } from './commands.js';
import type { Node } from './node.js';
import { badParam, bytes, def, int, oneOf, opt, type Parser, req, str } from './params.js';
import { CODE, type JsonObject, RpcError } from './types.js';

interface Entry {
  readonly key: readonly string[];
  readonly hex: string;
  readonly generation: number;
}

const keyParam: Parser<readonly string[]> = (value, name) => {
  const parts = Array.isArray(value) ? value.map(String) : typeof value === 'string' || typeof value === 'number' ? [String(value)] : [];
  if (parts.length === 0) throw badParam(name, 'should be string or array of strings', value);
  return parts;
};

const isPrefix = (prefix: readonly string[], key: readonly string[]): boolean => prefix.length <= key.length && prefix.every((part, i) => key[i] === part);

const shown = ({ key, hex, generation }: Entry): JsonObject => {
  const text = printable(hex);
  return { key, generation, hex, ...(text === undefined ? {} : { string: text }) };
};

const printable = (hex: string): string | undefined => {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(hexToBytes(hex));
    return text.includes('\0') ? undefined : text;
  } catch {
    return undefined;
  }
};

type Mode = 'must-create' | 'must-replace' | 'create-or-replace' | 'must-append' | 'create-or-append';

/** `datastore`, `listdatastore`, `deldatastore`: keys in a tree, values only at its leaves, generations that count writes. */
export const datastoreCommands = (node: Node): readonly Command[] => {
  const entries = node.store.collection<Entry>('datastore');
  const id = (key: readonly string[]): string => JSON.stringify(key);

  const write = (key: readonly string[], data: string, mode: Mode, generation: number | undefined): Entry => {
    if (generation !== undefined && mode !== 'must-replace' && mode !== 'must-append') throw new RpcError(CODE.invalidParams, 'generation only valid with must-replace or must-append');
    const old = entries.get(id(key));
    if (old === undefined && mode.startsWith('must-') && mode !== 'must-create') throw new RpcError(CODE.datastoreAbsent, 'Key does not exist');
    if (old !== undefined && mode === 'must-create') throw new RpcError(CODE.datastoreExists, 'Key already exists');
    if (old !== undefined && generation !== undefined && generation !== old.generation) throw new RpcError(CODE.datastoreGeneration, 'generation is different');
    if (old === undefined && entries.find((entry) => isPrefix(key, entry.key))) throw new RpcError(CODE.datastoreHasChildren, 'Key has children already');
    if (old === undefined && entries.find((entry) => isPrefix(entry.key, key))) throw new RpcError(CODE.datastoreNoChildren, 'Parent key exists and is not a node');
    const entry = { key, hex: mode.endsWith('append') ? (old?.hex ?? '') + data : data, generation: old === undefined ? 0 : old.generation + 1 };
    entries.put(id(key), entry);
    return entry;
  };

  /** The entry itself, and one level below it. */
  const list = (prefix: readonly string[]): readonly JsonObject[] => {
    const found = new Map<string, JsonObject>();
    for (const entry of entries.values()) {
      if (!isPrefix(prefix, entry.key)) continue;
      const child = entry.key.slice(0, prefix.length + 1);
      found.set(id(child), child.length === entry.key.length ? shown(entry) : { key: child });
    }
    return [...found].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, entry]) => entry);
  };

  return [
    command(
      'datastore',
      {
        key: req(keyParam),
        string: opt(str),
        hex: opt(bytes),
        mode: def(oneOf<Mode>('must-create', 'must-replace', 'create-or-replace', 'must-append', 'create-or-append'), 'must-create'),
        generation: opt(int),
      },
      ({ key, string, hex, mode, generation }) => {
        if ((string === undefined) === (hex === undefined)) throw new RpcError(CODE.invalidParams, 'Must have either hex or string');
        return shown(write(key, bytesToHex(hex ?? utf8ToBytes(string ?? '')), mode, generation));
      },
    ),
    command('listdatastore', { key: opt(keyParam) }, ({ key = [] }) => ({ datastore: list(key) })),
    command('deldatastore', { key: req(keyParam), generation: opt(int) }, ({ key, generation }) => {
      const entry = entries.get(id(key));
      if (entry === undefined) throw new RpcError(CODE.datastoreDelAbsent, 'Key does not exist');
      if (generation !== undefined && generation !== entry.generation) throw new RpcError(CODE.datastoreDelGeneration, 'generation is different');
      entries.delete(id(key));
      return shown(entry);
    }),
  ];
};
