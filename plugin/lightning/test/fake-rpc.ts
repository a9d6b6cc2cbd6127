import { RpcError, type CallOptions, type Rpc } from '../../runtime/rpc-client.js';
import type { JsonObject } from '../../runtime/json.js';

type Params = Readonly<Record<string, unknown>>;
type Answer = JsonObject | Error | ((params: Params) => JsonObject | Error);

/** lightningd's side of the RPC: an answer per method; a list is given out one by one, the last one again and again. */
export class FakeRpc implements Rpc {
  readonly calls: { readonly method: string; readonly params: Params; readonly options: CallOptions | undefined }[] = [];

  constructor(private readonly answers: Record<string, Answer | readonly Answer[]>) {}

  call(method: string, params: Params = {}, options?: CallOptions): Promise<JsonObject> {
    this.calls.push({ method, params, options });
    const prepared = this.answers[method];
    const times = this.of(method).length - 1;
    const answer = Array.isArray(prepared) ? (prepared as readonly Answer[])[Math.min(times, prepared.length - 1)] : (prepared as Answer | undefined);
    const given = typeof answer === 'function' ? answer(params) : answer;
    if (given === undefined) return Promise.reject(rpcError(method, -32601, `Unknown command '${method}'`));
    return given instanceof Error ? Promise.reject(given) : Promise.resolve(given);
  }

  close(): void {
    this.calls.length = 0;
  }

  /** The parameters of every call of a method. */
  of(method: string): readonly Params[] {
    return this.calls.filter((call) => call.method === method).map((call) => call.params);
  }
}

export const rpcError = (method: string, code: number, message: string): RpcError => new RpcError(method, code, message);
