import { createHash } from 'node:crypto';
import { hexToBytes } from '@noble/hashes/utils.js';
import { bolt11Json, decodeBolt11 } from './bolt11.js';
import { type Call, command, type Command } from './commands.js';
import type { Layer } from './layers.js';
import type { Node } from './node.js';
import { any, arrayOf, int, msat, nodeId, opt, req, str } from './params.js';
import type { Payment, RouteStep } from './payments.js';
import { CODE, field, type Json, type JsonObject, nowSeconds, RpcError, text } from './types.js';

interface Target {
  readonly destination: string;
  readonly hash: string;
  readonly secret: string | undefined;
  readonly keysend?: string;
  readonly amount: number;
  readonly finalCltv: number;
  readonly hints: Layer['hints'];
  readonly bolt11?: string;
  readonly label?: string | undefined;
}

interface Limits {
  readonly maxFee: number;
  readonly retrySeconds: number;
  /** Of the caller's choice, after xpay's own. */
  readonly layers: readonly string[];
}

type Asked = { readonly [K in keyof Limits]?: Limits[K] | undefined };

interface Outcome {
  readonly preimage: string;
  readonly sent: number;
  readonly parts: number;
  readonly failed: number;
}

/** 1%, or 5 sat for small amounts: xpay's default. */
const defaultMaxFee = (amount: number): number => Math.max(5_000, Math.floor(amount / 100));

/** xpay and its relatives: routes by `getroutes`, parts side by side, channels that fail left out of the next attempt. */
export class Xpay {
  private counter = 0;

  constructor(private readonly node: Node) {}

  /** @throws RpcError */
  private async pay(target: Target, limits: Limits, call: Call): Promise<Outcome> {
    this.counter += 1;
    const layer = `xpay-${this.counter}`;
    this.node.layers.add(layer, target.hints);
    try {
      return await this.attempts(target, limits, layer, call);
    } finally {
      this.node.layers.remove(layer);
    }
  }

  private async attempts(target: Target, limits: Limits, layer: string, call: Call): Promise<Outcome> {
    const deadline = Date.now() + limits.retrySeconds * 1000;
    const groupid = Date.now() * 1000 + Math.floor(Math.random() * 1000);
    const flying = new Map<number, Promise<Payment>>();
    let [partid, failed, story, missing] = [0, 0, '', target.amount];
    for (;;) {
      if (missing > 0) {
        const routes = await this.routes({ ...target, amount: missing }, limits, layer, call).catch((error: unknown) => {
          if (!(error instanceof RpcError) || failed === 0) throw error;
          throw new RpcError(CODE.payUnspecified, `Failed after ${failed} attempts. ${story}Then routing failed: ${error.message}`);
        });
        for (const route of routes) {
          partid += 1;
          const { hash, secret, keysend, bolt11, label, amount: total } = target;
          const { id } = this.node.payments.send({ route, hash, secret, total, groupid, partid, bolt11, label, ...(keysend === undefined ? {} : { keysend }) });
          flying.set(id, this.node.payments.wait(id, undefined));
        }
        missing = 0;
      }
      const part = await Promise.race(flying.values());
      flying.delete(part.id);
      if (part.preimage !== undefined) {
        // Whoever shows the preimage takes all parts.
        const parts = [part, ...(await Promise.all(flying.values()))].filter(({ status }) => status === 'complete');
        return { preimage: part.preimage, sent: parts.reduce((sum, { sent }) => sum + sent, 0), parts: parts.length, failed };
      }
      failed += 1;
      missing += part.amount;
      const { code = 0, data = {} } = part.failure ?? {};
      const failure = text(data, 'failcodename')?.replace('WIRE_', '').toLowerCase() ?? '';
      if (code === CODE.payDestinationFailed) throw new RpcError(code, `Destination said it doesn't know invoice: ${failure}`);
      // A part that timed out at the receiver says nothing of its route.
      if (failure !== 'mpp_timeout') story = this.learn(layer, data, part.route, failure);
      if (Date.now() > deadline) throw new RpcError(CODE.payUnspecified, `Failed after ${failed} attempts. ${story}Timed out after ${limits.retrySeconds} seconds`);
    }
  }

  /** The channel that failed can carry less than what was asked of it; a node that failed, nothing at all. */
  private learn(layer: string, data: JsonObject, route: readonly RouteStep[], failure: string): string {
    const channel = `${text(data, 'erring_channel') ?? ''}/${Number(data['erring_direction'])}`;
    const index = Number(data['erring_index']);
    const carried = (route[index] ?? route.at(-1))?.amount_msat ?? 0;
    const capacity = failure === 'temporary_channel_failure';
    const limit = capacity ? carried - 1 : 0;
    this.node.layers.limit(layer, channel, limit);
    return `We got ${failure} for ${channel}, assuming it can't carry ${capacity ? `${carried}msat` : 'anything'}. `;
  }

  /** Through the command, so that plugins may have their say (rpc_command hook). */
  private async routes(target: Target, { maxFee, layers }: Limits, layer: string, call: Call): Promise<readonly (readonly RouteStep[])[]> {
    const params = {
      source: this.node.keys.nodeId,
      destination: target.destination,
      amount_msat: target.amount,
      layers: ['auto.localchans', 'auto.sourcefree', layer, ...layers],
      maxfee_msat: maxFee,
      final_cltv: target.finalCltv,
    };
    const id = typeof call.id === 'string' ? `${call.id}/xpay:getroutes` : 'cln:xpay/getroutes';
    const answer = await this.node.commands.run({ id, method: 'getroutes', params }, { ...call, id, notify: () => undefined });
    return ((field(answer, 'routes') ?? []) as readonly Json[]).map((route) =>
      ((field(route, 'path') ?? []) as readonly Json[]).map((hop) => ({
        id: text(hop, 'node_id_out') ?? '',
        channel: (text(hop, 'short_channel_id_dir') ?? '').split('/')[0] ?? '',
        amount_msat: Number(field(hop, 'amount_out_msat')),
        delay: Number(field(hop, 'cltv_out')),
      })),
    );
  }

  private target(invstring: string, asked: number | undefined, label?: string): Target {
    const invoice = decodeBolt11(invstring);
    if (invoice.amount !== undefined && asked !== undefined) throw new RpcError(CODE.invalidParams, 'Cannot override amount for fixed-amount invoice');
    const amount = invoice.amount ?? asked;
    if (amount === undefined) throw new RpcError(CODE.invalidParams, 'amount_msat required');
    if (invoice.timestamp + invoice.expiry < nowSeconds()) throw new RpcError(CODE.payInvoiceExpired, 'Invoice expired');
    if (invoice.payee === this.node.keys.nodeId) throw new RpcError(CODE.payUnspecified, 'the stand-in does not pay itself: use sendpay');
    // Those from ourselves are not needed: we know our channels, and what they can carry.
    const hints = invoice.routes.flatMap((hops) => hops.map((hop, i) => ({ hop, to: hops[i + 1]?.pubkey ?? invoice.payee })).filter(({ hop }) => hop.pubkey !== this.node.keys.nodeId));
    return { destination: invoice.payee, hash: invoice.hash, secret: invoice.secret, amount, finalCltv: invoice.finalCltv, hints, bolt11: invstring, label };
  }

  private payInvoice(invstring: string, amount: number | undefined, limits: Asked, label: string | undefined, call: Call): { readonly target: Target; readonly outcome: Promise<Outcome> } {
    const target = this.target(invstring, amount, label);
    if (this.node.payments.isPaid(target.hash) !== undefined) throw new RpcError(CODE.payAlreadyPaid, 'Already paid this invoice successfully');
    if (this.node.payments.isPending(target.hash)) throw new RpcError(CODE.payInProgress, 'Payment is already in progress');
    return { target, outcome: this.pay(target, { maxFee: limits.maxFee ?? defaultMaxFee(target.amount), retrySeconds: limits.retrySeconds ?? 60, layers: limits.layers ?? [] }, call) };
  }

  commands(): readonly Command[] {
    return [
      command(
        'xpay',
        { invstring: req(str), amount_msat: opt(msat), maxfee: opt(msat), layers: opt(arrayOf(str)), retry_for: opt(int), partial_msat: opt(msat), maxdelay: opt(int), payer_note: opt(str), label: opt(str) },
        async ({ invstring, amount_msat, maxfee: maxFee, layers, retry_for: retrySeconds, label }, call) => {
          const { target, outcome } = this.payInvoice(invstring, amount_msat, { maxFee, retrySeconds, layers }, label, call);
          const { preimage, sent, parts, failed } = await outcome;
          return { payment_preimage: preimage, amount_msat: target.amount, amount_sent_msat: sent, failed_parts: failed, successful_parts: parts };
        },
      ),
      // xpay answers `pay` since v26.04, in pay's words (option xpay-handle-pay).
      command(
        'pay',
        {
          bolt11: req(str), amount_msat: opt(msat), label: opt(str), riskfactor: opt(any), maxfeepercent: opt(any), retry_for: opt(int), maxdelay: opt(int), exemptfee: opt(any),
          localinvreqid: opt(any), exclude: opt(any), maxfee: opt(msat), description: opt(str), partial_msat: opt(msat),
        },
        async ({ bolt11, amount_msat, label, retry_for: retrySeconds, maxfee: maxFee }, call) => {
          const before = this.node.payments.isPaid(decodeBolt11(bolt11).hash);
          const created = nowSeconds();
          if (before !== undefined) return payJson(this.target(bolt11, amount_msat), { preimage: before.preimage ?? '', sent: before.sent, parts: 1 }, before.created);
          const { target, outcome } = this.payInvoice(bolt11, amount_msat, { maxFee, retrySeconds }, label, call);
          return payJson(target, await outcome, created);
        },
      ),
      command('xkeysend', { destination: req(nodeId), amount_msat: req(msat), label: opt(str), maxfee: opt(msat), retry_for: opt(int), extratlvs: opt(any), layers: opt(arrayOf(str)), maxdelay: opt(int) }, async (args, call) => {
        const { destination, amount_msat: amount, label, maxfee: maxFee = defaultMaxFee(amount), layers = [], retry_for: retrySeconds = 60 } = args;
        const keysend = this.node.keys.random();
        const target: Target = { destination, hash: createHash('sha256').update(hexToBytes(keysend)).digest('hex'), secret: this.node.keys.random(), keysend, amount, finalCltv: 22, hints: [], label };
        const { preimage, sent, parts, failed } = await this.pay(target, { maxFee, retrySeconds, layers }, call);
        return { payment_preimage: preimage, amount_msat: amount, amount_sent_msat: sent, failed_parts: failed, successful_parts: parts };
      }),
      command('keysend', { destination: opt(any), amount_msat: opt(any) }, () => {
        throw new RpcError(CODE.methodNotFound, 'Command "keysend" is deprecated');
      }),
      command('decode', { string: req(str) }, ({ string }) => bolt11Json(decodeBolt11(string))),
    ];
  }
}

const payJson = (target: Target, { preimage, sent, parts }: Pick<Outcome, 'preimage' | 'sent' | 'parts'>, created: number): JsonObject => ({
  payment_preimage: preimage,
  status: 'complete',
  amount_msat: target.amount,
  amount_sent_msat: sent,
  destination: target.destination,
  payment_hash: target.hash,
  created_at: created,
  parts,
});
