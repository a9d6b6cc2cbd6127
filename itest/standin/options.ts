import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import { OPTIONS, type OptionKind, type OptionSpec } from './option-table.js';
import type { Json, JsonObject } from './types.js';

interface Setting {
  readonly name: string;
  readonly value: string | undefined;
  readonly source: string;
}

/** An option that lightningd would refuse, too; the process ends with its words and code 1. */
export class OptionError extends Error {
  override readonly name = 'OptionError';
}

const VALUE_FIELD: Readonly<Record<OptionKind, string>> = { flag: 'set', string: 'str', int: 'int', bool: 'bool', msat: 'msat' };

/**
 * Command line and config files. Options of plugins are known only after their manifests, hence two phases: what is
 * registered can be read at once, `check()` refuses the rest.
 */
export class Options {
  private readonly specs = new Map<string, OptionSpec>(OPTIONS.map((spec) => [spec.name, spec]));
  private readonly fromFiles: readonly Setting[];
  private settings: readonly Setting[];
  readonly baseDir: string;
  readonly network: string;
  readonly networkDir: string;

  constructor(private readonly argv: readonly string[]) {
    const first = this.commandLine();
    const given = (name: string): string | undefined => first.findLast((setting) => setting.name === name)?.value;
    this.baseDir = path.resolve(given('lightning-dir') ?? path.join(homedir(), '.lightning'));
    this.network = given('network') ?? 'regtest';
    if (this.network !== 'regtest') throw new OptionError(`--network=${this.network}: the stand-in knows regtest only`);
    this.networkDir = path.join(this.baseDir, this.network);
    const conf = given('conf');
    const files = conf === undefined ? [path.join(this.baseDir, 'config'), path.join(this.networkDir, 'config')] : [conf];
    this.fromFiles = files.flatMap(readConfig);
    this.settings = [...this.fromFiles, ...first];
  }

  /** What a plugin's manifest adds. @throws when the name is taken */
  register(spec: OptionSpec): void {
    if (this.specs.has(spec.name)) throw new OptionError(`error starting plugin '${spec.plugin ?? ''}': option name '${spec.name}' is already taken`);
    this.specs.set(spec.name, spec);
    this.settings = [...this.fromFiles, ...this.commandLine()];
  }

  /** @throws OptionError for options nobody knows; dev- options that only tune lightningd itself are let through. */
  check(): void {
    for (const { name, value } of this.settings) {
      const shown = value === undefined ? `--${name}` : `--${name}=${value}`;
      if (name.startsWith('dev-')) {
        if (!this.flag('developer')) throw new OptionError(`${shown}: requires --developer`);
        continue;
      }
      const spec = this.specs.get(name);
      if (spec === undefined) throw new OptionError(`${shown}: unknown option`);
      if (spec.kind === 'flag' && value !== undefined) throw new OptionError(`${shown}: doesn't allow an argument`);
      if (spec.kind !== 'flag' && value === undefined) throw new OptionError(`${shown}: requires an argument`);
      if (value !== undefined) parseValue(spec.kind, value, shown);
    }
  }

  flag(name: string): boolean {
    return this.all(name).length > 0;
  }

  string(name: string): string | undefined {
    const value = this.all(name).at(-1)?.value ?? this.specs.get(name)?.default;
    return value === undefined ? undefined : String(value);
  }

  strings(name: string): readonly string[] {
    return this.all(name).flatMap(({ value }) => (value === undefined ? [] : [value]));
  }

  /** An integer option that has a default. */
  int(name: string): number {
    return Number(this.string(name));
  }

  /** The `options` of a plugin's init: what is set or has a default; an unset flag is left out, as lightningd does. */
  forPlugin(plugin: string): JsonObject {
    const own = [...this.specs.values()].filter((spec) => spec.plugin === plugin);
    return Object.fromEntries(own.flatMap((spec): [string, Json][] => {
      const values = this.all(spec.name).map(({ value }) => parseValue(spec.kind, value ?? 'true', spec.name));
      if (spec.multi === true) return values.length > 0 ? [[spec.name, values]] : [];
      const value = values.at(-1) ?? (spec.kind === 'flag' ? undefined : spec.default);
      return value === undefined ? [] : [[spec.name, value]];
    }));
  }

  /** The plugin whose option this is, if `setconfig` may change it. */
  dynamic(name: string): string | undefined {
    const spec = this.specs.get(name);
    return spec?.dynamic === true ? spec.plugin : undefined;
  }

  /** @returns how `setconfig` shows it */
  change(name: string, value: string | undefined, transient: boolean): JsonObject {
    this.settings = [...this.settings, { name, value, source: transient ? 'setconfig transient' : 'setconfig' }];
    return { config: name, ...(this.configs()[name] as JsonObject) };
  }

  /** `listconfigs`. */
  configs(): JsonObject {
    const entries = [...this.specs.values()].flatMap((spec): [string, Json][] => {
      const shown = this.config(spec);
      return shown === undefined ? [] : [[spec.name, shown]];
    });
    return Object.fromEntries(entries);
  }

  private config(spec: OptionSpec): Json | undefined {
    const set = this.all(spec.name);
    const rest = { plugin: spec.plugin, ...(spec.dynamic === true ? { dynamic: true } : {}) };
    if (spec.multi === true) {
      const values = set.map(({ value }) => parseValue(spec.kind, value ?? '', spec.name));
      return { [`values_${VALUE_FIELD[spec.kind]}`]: values, sources: set.map(({ source }) => source), ...rest };
    }
    const last = set.at(-1);
    const source = last?.source ?? 'default';
    if (spec.kind === 'flag') return { set: last !== undefined, source, ...rest };
    const value = last?.value === undefined ? spec.default : parseValue(spec.kind, last.value, spec.name);
    return value === undefined ? undefined : { [`value_${VALUE_FIELD[spec.kind]}`]: value, source, ...rest };
  }

  private all(name: string): readonly Setting[] {
    return this.settings.filter((setting) => setting.name === name);
  }

  /** `--name=value` or, where the option is known to take one, `--name value`. */
  private commandLine(): readonly Setting[] {
    const found: Setting[] = [];
    for (let i = 0; i < this.argv.length; i += 1) {
      const arg = this.argv[i] ?? '';
      if (!arg.startsWith('--')) throw new OptionError(`no arguments accepted: ${arg}`);
      const equals = arg.indexOf('=');
      const name = arg.slice(2, equals < 0 ? undefined : equals);
      const spec = this.specs.get(name);
      const separate = equals < 0 && spec !== undefined && spec.kind !== 'flag';
      if (separate) i += 1;
      found.push({ name, value: equals >= 0 ? arg.slice(equals + 1) : separate ? this.argv[i] : undefined, source: 'cmdline' });
    }
    return found;
  }
}

const readConfig = (file: string): readonly Setting[] => {
  if (!existsSync(file)) return [];
  return readFileSync(file, 'utf8').split('\n').flatMap((line, index) => {
    const trimmed = line.trim();
    if (trimmed === '' || trimmed.startsWith('#')) return [];
    const equals = trimmed.indexOf('=');
    const name = equals < 0 ? trimmed : trimmed.slice(0, equals);
    return [{ name, value: equals < 0 ? undefined : trimmed.slice(equals + 1), source: `${file}:${index + 1}` }];
  });
};

const parseValue = (kind: OptionKind, value: string, shown: string): string | number | boolean => {
  switch (kind) {
    case 'string':
      return value;
    case 'flag':
      return true;
    case 'bool':
      if (value === 'true' || value === 'false') return value === 'true';
      throw new OptionError(`${shown}: '${value}' is not a boolean`);
    case 'int':
    case 'msat': {
      const number = Number(value.replace(/msat$/, ''));
      if (value === '' || !Number.isSafeInteger(number)) throw new OptionError(`${shown}: '${value}' is not a number`);
      return number;
    }
  }
};
