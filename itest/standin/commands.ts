import type { Node } from './node.js';
import { type Args, type Params, readArgs } from './params.js';
import { CODE, type Json, type JsonObject, RpcError } from './types.js';

/** One call of a command: who asked, and how to tell him something before the answer. */
export interface Call {
  /** The request's id as the caller wrote it. */
  readonly id: Json;
  notify(method: 'message' | 'progress', params: JsonObject): void;
  /** Only check the parameters (`check`). */
  readonly checkOnly: boolean;
}

export interface Command {
  readonly name: string;
  readonly usage: string;
  run(params: Json | undefined, call: Call): Promise<Json> | Json;
}

/** A command of the node's own. What `run` throws other than an RpcError is a bug and answered as code -1. */
export const command = <P extends Params>(name: string, params: P, run: (args: Args<P>, call: Call) => Promise<Json> | Json): Command => ({
  name,
  usage: Object.entries(params)
    .map(([param, spec]) => (spec.required ? param : `[${param}]`))
    .join(' '),
  run: (given, call) => {
    const args = readArgs(params, given);
    return call.checkOnly ? { command_to_check: name } : run(args, call);
  },
});

/** A request as it came in, or as a plugin has replaced it. */
export interface Request {
  readonly id: Json;
  readonly method: string;
  readonly params: Json;
}

/** Finds and runs commands, the node's and the plugins', behind the `rpc_command` hook. */
export class Commands {
  private readonly byName = new Map<string, Command>();

  constructor(private readonly node: Node) {}

  add(commands: readonly Command[]): void {
    for (const one of commands) this.byName.set(one.name, one);
  }

  remove(name: string): void {
    this.byName.delete(name);
  }

  has(name: string): boolean {
    return this.byName.has(name);
  }

  all(): readonly Command[] {
    return [...this.byName.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** @throws RpcError */
  async run(request: Request, call: Call): Promise<Json> {
    this.find(request.method);
    const verdict = await this.node.plugins.rpcCommandHook(request);
    if (verdict.kind === 'return') return verdict.result;
    const { method, params } = verdict.kind === 'replace' ? verdict.request : request;
    return this.find(method).run(params, call);
  }

  /** `check`: the named command with its parameters, up to where it would do something. */
  async check(params: Json | undefined, call: Call): Promise<Json> {
    const [name, rest] = Array.isArray(params)
      ? [params[0] as Json, params.slice(1) as Json]
      : [(params as JsonObject | undefined)?.['command_to_check'] ?? null, without(params, 'command_to_check')];
    if (typeof name !== 'string') throw new RpcError(CODE.invalidParams, 'missing required parameter: command_to_check');
    return this.find(name).run(rest, { ...call, notify: (m, p) => call.notify(m, p), checkOnly: true });
  }

  private find(name: string): Command {
    const found = this.byName.get(name);
    if (found === undefined) throw new RpcError(CODE.methodNotFound, `Unknown command '${name}'`);
    return found;
  }
}

const without = (params: Json | undefined, name: string): Json =>
  Object.fromEntries(Object.entries((params as JsonObject | undefined) ?? {}).filter(([key]) => key !== name));
