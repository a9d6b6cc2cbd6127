/** `factory-join`: this node would like to be in an LSP's next factory (architecture 8). */
import { sat, type NodeId, type Sat } from '../../blip/brands.js';
import { DUST_LIMIT } from '../../factory-core/transactions.js';
import { wishOf, type Wish } from '../../factory-core/waiting.js';
import { isNamed } from '../engine/accepting.js';
import type { CommandContext } from '../runtime/definition.js';
import type { JsonObject } from '../runtime/json.js';
import { method, param } from '../runtime/plugin.js';
import { networkForbidden, requireSigning, type Context } from './context.js';
import { checkPeer } from './create-checks.js';
import { ErrorCode, fail, invalid, stopping } from './errors.js';
import { nodeIdParam, satAmount } from './params.js';

interface Params {
  readonly lsp_node_id: NodeId;
  readonly capacity: Sat;
  readonly stock: Sat | undefined;
}

export const factoryJoin = (context: () => Context) =>
  method({
    description: 'Ask an LSP for a place in its next channel factory',
    longDescription:
      'Puts this node into the waiting room of {lsp_node_id}, with the wish for a channel of {capacity} and for {stock} to be set aside. It takes the ' +
      'place of any wish before; a {capacity} of 0 withdraws it.',
    category: 'factory',
    params: { lsp_node_id: nodeIdParam, capacity: satAmount, stock: param.optional(satAmount) },
    check: async (p) => {
      await allowed(context(), p);
    },
    run: (p, command) => join(context(), p, command),
  });

const allowed = async (ctx: Context, { lsp_node_id: lsp, capacity, stock }: Params): Promise<void> => {
  requireSigning(ctx);
  if (lsp === ctx.self.nodeId) invalid('lsp_node_id', 'is this node itself');
  if (capacity === 0n) {
    if (!wishOf(ctx.waiting.wishes(), lsp)) invalid('capacity', `there is no wish at ${lsp} to withdraw`);
    return;
  }
  if (networkForbidden(ctx)) fail(ErrorCode.NetworkNotAllowed, 'this is the main network: set the option factory-mainnet=true to join factories on it');
  const { min, max } = ctx.policy.capacity;
  if (capacity < min || capacity > max) invalid('capacity', `${capacity} sat: must be from ${min} to ${max} sat, or 0 to withdraw`);
  if (stock !== undefined && stock !== 0n && (stock < DUST_LIMIT || stock > max)) invalid('stock', `${stock} sat: must be 0, or from ${DUST_LIMIT} to ${max} sat`);
  // The invitation would be declined.
  if (!isNamed(ctx.settings.accept, lsp)) {
    fail(ErrorCode.WrongState, `factory-join: this node does not take invitations from ${lsp}: name it in the option factory-accept`, { field: 'lsp_node_id' });
  }
  await checkPeer(ctx, await ctx.lightning.peer(lsp), lsp, 'lsp_node_id');
};

const join = async (ctx: Context, p: Params, { signal }: CommandContext): Promise<JsonObject> => {
  const { lsp_node_id: lsp, capacity, stock } = p;
  await allowed(ctx, p);
  if (capacity === 0n) ctx.waiting.withdraw(lsp);
  else ctx.waiting.ask(lsp, capacity, stock ?? sat(0n));
  const wish = await answered(ctx, lsp, signal);
  if (wish?.state === 'over') {
    const { reason = '' } = wish;
    return fail(ErrorCode.NotTaken, `factory-join: ${lsp} has not taken it: ${reason}`, { lsp_node_id: lsp, reason });
  }
  return wish ? wishView(wish) : { lsp_node_id: lsp, state: 'withdrawn' };
};

/** As it is once the LSP has answered, or when that takes too long: it is said again whenever the two connect. */
const answered = (ctx: Context, lsp: NodeId, signal: AbortSignal): Promise<Wish | undefined> =>
  new Promise((resolve, reject) => {
    const end = (): void => {
      clearTimeout(timer);
      stop();
      signal.removeEventListener('abort', stopped);
    };
    const now = (): Wish | undefined => wishOf(ctx.waiting.wishes(), lsp);
    const stopped = (): void => {
      end();
      reject(stopping());
    };
    const look = (): void => {
      const wish = now();
      if (wish?.state === 'asked' || wish?.state === 'withdrawn') return;
      end();
      resolve(wish);
    };
    const stop = ctx.waiting.onChange(look);
    const timer = setTimeout(() => {
      end();
      resolve(now());
    }, ctx.settings.stepTimeout * 1_000);
    signal.addEventListener('abort', stopped);
    look();
  });

export const wishView = ({ coordinator, capacity, stock, state, since, reason }: Wish): JsonObject => ({
  lsp_node_id: coordinator,
  state,
  capacity_msat: capacity * 1000n,
  stock_msat: stock * 1000n,
  since,
  ...(reason === undefined ? {} : { reason }),
});
