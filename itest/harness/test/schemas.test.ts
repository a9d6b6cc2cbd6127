/** The commands' documentation, held against the commands. */
import { describe, expect, test } from '@jest/globals';
import { commands } from '../../../plugin/commands/commands.js';
import { ErrorCode } from '../../../plugin/commands/errors.js';
import type { Params } from '../rpc.js';
import { checkCall, commandSchemas, SchemaMismatch, type CommandSchema } from '../schemas.js';

const methods = commands(() => {
  throw new Error('no command runs here');
});
const schemas = commandSchemas();
const schemaOf = (name: string): CommandSchema => {
  const schema = schemas.get(name);
  if (!schema) throw new Error(`plugin/schemas/${name}.json is not there`);
  return schema;
};
const names = Object.keys(methods);

test('every command has its file, every file its command', () => {
  expect([...schemas.keys()].sort()).toEqual([...names].sort());
});

describe.each(names)('%s', (name) => {
  const schema = schemaOf(name);

  test('is named, and has the parameters of its usage line in that order', () => {
    const { required, properties } = schema.request;
    const usage = Object.keys(properties).map((p) => (required.includes(p) ? p : `[${p}]`));
    expect(schema.rpc).toBe(name);
    expect(usage.join(' ')).toBe(methods[name]?.usage);
  });

  test('every parameter is described', () => {
    for (const p of Object.values(schema.request.properties)) expect(p).toMatchObject({ description: [expect.any(String)] });
  });

  test('its error codes exist', () => {
    const codes: readonly number[] = Object.values(ErrorCode);
    const documented = schema.errors.flatMap((line) => /^- (-?\d+): /.exec(line)?.[1] ?? []).map(Number);
    expect(documented).not.toEqual([]);
    for (const code of documented) expect(codes).toContain(code);
  });

  test('its examples are as it says', () => {
    expect(schema.examples).not.toEqual([]);
    for (const { request, response } of schema.examples) {
      expect(request.method).toBe(name);
      checkCall(name, request.params as Params, response);
    }
  });
});

test('every error code is documented somewhere', () => {
  const all = [...schemas.values()].flatMap((s) => s.errors).join('\n');
  for (const code of Object.values(ErrorCode)) expect(all).toContain(`- ${code}: `);
});

describe('a call that is not as documented', () => {
  const entry = { factory_id: '11'.repeat(32), role: 'member', state: 'active', member_count: 2 };
  const list = (factory: object): unknown => ({ factories: [factory] });

  test('passes when it is', () => {
    expect(() => checkCall('factory-list', {}, list(entry))).not.toThrow();
  });
  test.each([
    ['has a field more', { ...entry, mood: 'good' }],
    ['has a field less', { ...entry, member_count: undefined }],
    ['has a wrong type', { ...entry, factory_id: 'x' }],
    ['has an unknown state', { ...entry, state: 'sleeping' }],
  ])('%s', (_, factory) => {
    expect(() => checkCall('factory-list', {}, list(JSON.parse(JSON.stringify(factory)) as object))).toThrow(SchemaMismatch);
  });
  test('has a parameter that is not documented, by name or by position', () => {
    expect(() => checkCall('factory-list', { more: 1 }, list(entry))).toThrow(/request/);
    expect(() => checkCall('factory-list', ['more'], list(entry))).toThrow(/parameter 0/);
  });
  test('is of a command without a file', () => {
    expect(() => checkCall('factory-nothing', {}, {})).toThrow(/no such file/);
  });
});
