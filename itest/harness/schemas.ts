/**
 * Holds every `factory-…` call of the tests against its documentation in plugin/schemas/: an undocumented field, or one that
 * is missing, fails the test that made the call. The files have the form of CLN's doc/schemas, whose types (`msat`, `pubkey`, …)
 * are turned into plain JSON Schema here.
 */
import { Ajv, type ValidateFunction } from 'ajv';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import type { Params } from './rpc.js';
import { REPOSITORY } from './workspace.js';

export interface CommandSchema {
  readonly rpc: string;
  readonly title: string;
  readonly description: readonly string[];
  readonly definitions?: Readonly<Record<string, Schema>>;
  readonly request: { readonly required: readonly string[]; readonly properties: Readonly<Record<string, Schema>> };
  readonly response: Schema;
  readonly errors: readonly string[];
  readonly examples: readonly { readonly request: { readonly method: string; readonly params: unknown }; readonly response: unknown }[];
}
type Schema = Readonly<Record<string, unknown>>;

const FOLDER = path.join(REPOSITORY, 'plugin/schemas');

/** All of them, by command. */
export const commandSchemas = (): ReadonlyMap<string, CommandSchema> =>
  new Map(
    readdirSync(FOLDER).map((file) => {
      const schema = JSON.parse(readFileSync(path.join(FOLDER, file), 'utf8')) as CommandSchema;
      return [path.basename(file, '.json'), schema];
    }),
  );

const text = (pattern: string): Schema => ({ type: 'string', pattern });
const integer = (maximum: number): Schema => ({ type: 'integer', minimum: 0, maximum });

/** CLN's types. `msat` is an answer's, `sat` and `feerate` are requests'. */
const TYPES: Readonly<Record<string, Schema>> = {
  pubkey: text('^0[23][0-9a-f]{64}$'),
  hash: text('^[0-9a-f]{64}$'),
  txid: text('^[0-9a-f]{64}$'),
  hex: text('^(?:[0-9a-f]{2})*$'),
  short_channel_id: text('^[0-9]+x[0-9]+x[0-9]+$'),
  u32: integer(2 ** 32 - 1),
  u64: integer(Number.MAX_SAFE_INTEGER),
  msat: integer(Number.MAX_SAFE_INTEGER),
  sat: { oneOf: [integer(Number.MAX_SAFE_INTEGER), text('^[0-9]+(?:sat|000msat|(?:\\.[0-9]{1,11})?btc)?$')] },
  feerate: { oneOf: [integer(2 ** 32 - 1), text('^[0-9]+(?:perkb|perkw)?$')] },
};

/** For people; they check nothing. */
const PROSE = new Set(['description', 'default', 'added']);

const isSchema = (value: unknown): value is Schema => typeof value === 'object' && value !== null && !Array.isArray(value);

const each = (schemas: unknown): Schema => Object.fromEntries(Object.entries(schemas as Schema).map(([name, one]) => [name, plain(one as Schema)]));

/** As JSON Schema (draft 7). What Ajv does not know it refuses, so that a misspelt word is not a check that never fails. */
const plain = (schema: Schema): Schema => {
  const converted = Object.entries(schema).flatMap(([word, value]): [string, unknown][] => {
    if (PROSE.has(word)) return [];
    if (word === 'properties' || word === 'definitions') return [[word, each(value)]];
    if (word === 'type' && typeof value === 'string') return Object.entries(TYPES[value] ?? { type: value });
    if (Array.isArray(value) && word === 'oneOf') return [[word, (value as readonly Schema[]).map(plain)]];
    return [[word, isSchema(value) ? plain(value) : value]];
  });
  return Object.fromEntries(converted);
};

/** An answer, or a request that was granted, that is not as its documentation says. */
export class SchemaMismatch extends Error {
  readonly code = 'schema_mismatch';
  constructor(
    readonly method: string,
    readonly part: 'request' | 'response',
    what: string,
  ) {
    super(`${method}: this ${part} is not as plugin/schemas/${method}.json documents it: ${what}`);
    this.name = 'SchemaMismatch';
  }
}

interface Validators {
  readonly request: ValidateFunction;
  readonly response: ValidateFunction;
}

let validators: ReadonlyMap<string, Validators> | undefined;

/** @throws when a schema is none */
const compile = (): ReadonlyMap<string, Validators> => {
  const ajv = new Ajv({ strict: true, strictRequired: true, allErrors: true });
  const part = ({ definitions = {} }: CommandSchema, schema: Schema): ValidateFunction =>
    ajv.compile({ definitions: each(definitions), ...('oneOf' in schema ? {} : { type: 'object' }), ...plain(schema) });
  return new Map([...commandSchemas()].map(([name, schema]) => [name, { request: part(schema, schema.request), response: part(schema, schema.response) }]));
};

const check = (method: string, part: keyof Validators, value: unknown): void => {
  validators ??= compile();
  const validate = validators.get(method)?.[part];
  if (!validate) throw new SchemaMismatch(method, part, 'there is no such file');
  if (validate(value)) return;
  const errors = (validate.errors ?? []).map(({ instancePath, message, params }) => `${instancePath === '' ? part : instancePath} ${message ?? ''} ${JSON.stringify(params)}`);
  throw new SchemaMismatch(method, part, `${errors.join('; ')}\n${JSON.stringify(value, undefined, 2)}`);
};

/** Parameters by name, whatever the call did: positional ones get their names from the schema, and null is a gap among them. */
const named = (method: string, params: Params): unknown => {
  if (!Array.isArray(params)) return params;
  const names = Object.keys(commandSchemas().get(method)?.request.properties ?? {});
  const given = (params as readonly unknown[]).map((value, i) => [names[i] ?? `parameter ${i}`, value] as const);
  return Object.fromEntries(given.filter(([, value]) => value !== null));
};

/** @throws SchemaMismatch */
export const checkCall = (method: string, params: Params, result: unknown): void => {
  check(method, 'request', named(method, params));
  check(method, 'response', result);
};
