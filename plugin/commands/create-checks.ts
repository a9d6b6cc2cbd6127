/** What `factory-create` refuses before it does anything: nothing reserved, nothing written, nobody asked. */
import { sat, type NodeId, type Sat } from '../../blip/brands.js';
import { factoryEarlyWarningTime } from '../../factory-core/exit-plan.js';
import { DUST_LIMIT, fundingAmount } from '../../factory-core/transactions.js';
import type { ClientRequest } from '../../factory-core/coordinator/state.js';
import type { FactoryPlan, Terms } from '../../factory-core/model.js';
import { checkShape, MAX_CLIENTS, MIN_CLIENTS, planShape } from '../../factory-core/shape.js';
import type { Bounds } from '../../factory-core/validate.js';
import type { WaitingRoom } from '../../factory-core/waiting.js';
import { LightningError, type Peer } from '../lightning/lightning.js';
import type { JsonObject } from '../runtime/json.js';
import { networkForbidden, requireSigning, type Context } from './context.js';
import { ErrorCode, fail, invalid } from './errors.js';
import type { NewFactoryParams } from './new-factory-params.js';

export interface CreateParams extends NewFactoryParams {
  readonly clients: readonly (NodeId | typeof WAITING | { readonly node_id: NodeId; readonly capacity: Sat | undefined; readonly stock: Sat | undefined })[];
  readonly capacity: Sat;
  readonly stock: Sat | undefined;
}

/** Stands for everybody in the waiting room who is connected, with what each has asked for. */
export const WAITING = 'waiting';

/** A creation that may begin. */
export interface Checked {
  readonly clients: readonly ClientRequest[];
  readonly minClients: number;
  readonly terms: Terms;
  readonly fanouts: readonly number[] | undefined;
  readonly height: number;
}

/** How long a client that has just connected has to name its protocols. */
const PROTOCOLS_MS = 5_000;

/** Of those who wait, those who are connected. */
export const present = (ctx: Pick<Context, 'waiting' | 'peers'>): WaitingRoom => ctx.waiting.waiting().filter((w) => ctx.peers.speaksOurs(w.nodeId));

/** Checks that need no other node and no wallet. */
export const checkParams = (ctx: Context, p: CreateParams): Checked => {
  if (networkForbidden(ctx)) {
    fail(ErrorCode.NetworkNotAllowed, 'this is the main network: set the option factory-mainnet=true to create factories on it');
  }
  requireSigning(ctx);
  const named = p.clients.flatMap((c): readonly ClientRequest[] =>
    c === WAITING
      ? []
      : typeof c === 'string'
        ? [{ nodeId: c, capacity: p.capacity, stock: p.stock ?? sat(0n) }]
        : [{ nodeId: c.node_id, capacity: c.capacity ?? p.capacity, stock: c.stock ?? p.stock ?? sat(0n) }],
  );
  const waiting = p.clients.includes(WAITING) ? present(ctx).filter((w) => !named.some((c) => c.nodeId === w.nodeId)) : [];
  const clients = [...named, ...waiting.map(({ nodeId, capacity, stock }) => ({ nodeId, capacity, stock }))];
  if (clients.length < MIN_CLIENTS || clients.length > MAX_CLIENTS) {
    invalid('clients', `a factory has from ${MIN_CLIENTS} to ${MAX_CLIENTS} clients, not ${clients.length}`);
  }
  clients.forEach((c, i) => {
    if (c.nodeId === ctx.self.nodeId) invalid(`clients[${i}]`, 'is this node itself');
    if (clients.findIndex((d) => d.nodeId === c.nodeId) < i) invalid(`clients[${i}]`, `${c.nodeId} is in the list twice`);
    checkAmounts(ctx, c, i);
  });
  const minClients = p.min_clients ?? clients.length;
  within('min_clients', minClients, { min: MIN_CLIENTS, max: clients.length });
  const terms = termsOf(ctx, p);
  const shape = p.shape && checkShape(clients.length, p.shape);
  if (shape) invalid('shape', shape.reason);
  return { clients, minClients, terms, fanouts: p.shape, height: ctx.engine.currentHeight() };
};

const checkAmounts = ({ policy }: Context, c: ClientRequest, index: number): void => {
  const { min, max } = policy.capacity;
  if (c.capacity < min || c.capacity > max) invalid('capacity', `${c.capacity} sat of client ${index}: must be from ${min} to ${max} sat`);
  // Less than the limit of dust could never become a channel.
  if (c.stock !== 0n && (c.stock < DUST_LIMIT || c.stock > max)) {
    invalid('stock', `${c.stock} sat of client ${index}: must be 0, or from ${DUST_LIMIT} to ${max} sat`);
  }
};

const within = (field: string, value: number, { min, max }: Bounds<number>): void => {
  if (value < min || value > max) invalid(field, `${value}: must be from ${min} to ${max}`);
};

const termsOf = ({ settings, policy, self }: Context, p: CreateParams): Terms => {
  const terms: Terms = {
    ...settings.terms,
    chainHash: self.chainHash,
    treeFeerate: p.feerate ?? settings.terms.treeFeerate,
    activeBlocks: p.active_blocks ?? settings.terms.activeBlocks,
    dyingBlocks: p.dying_blocks ?? settings.terms.dyingBlocks,
  };
  within('feerate', terms.treeFeerate, policy.terms.treeFeerate);
  within('active_blocks', terms.activeBlocks, policy.terms.activeBlocks);
  within('dying_blocks', terms.dyingBlocks, policy.terms.dyingBlocks);
  return terms;
};

/** Everyone is known, connected, and speaks bLIP-56 and our protocol. */
export const checkPeers = async (ctx: Context, clients: readonly ClientRequest[]): Promise<void> => {
  const peers = new Map((await ctx.lightning.peers()).map((peer) => [peer.id, peer]));
  await Promise.all(clients.map((c, i) => checkPeer(ctx, peers.get(c.nodeId), c.nodeId, `clients[${i}]`)));
};

/** @param field that names it */
export const checkPeer = async (ctx: Context, peer: Peer | undefined, id: NodeId, field: string): Promise<void> => {
  const data = { field, node_id: id };
  if (!peer) return fail(ErrorCode.UnknownPeer, `${field}: ${id} is not a peer of this node; connect to it first`, data);
  if (!peer.connected) return fail(ErrorCode.PeerNotConnected, `${field}: ${id} is not connected`, data);
  if (!peer.supportsFactories) {
    return fail(ErrorCode.PeerUnsupported, `${field}: ${id} does not support channel factories (feature bit 270/271)`, data);
  }
  if (!(await ctx.peers.waitForOurs(id, PROTOCOLS_MS))) {
    // It may have gone while we waited for it to speak.
    if ((await ctx.lightning.peer(id))?.connected !== true) return fail(ErrorCode.PeerNotConnected, `${field}: ${id} is not connected`, data);
    return fail(ErrorCode.PeerUnsupported, `${field}: ${id} does not run cln-factory (its supported_factory_protocols)`, data);
  }
  return undefined;
};

/** What the factory will look like with everyone in it; keys are not needed for the amounts. */
export const previewPlan = (ctx: Context, { clients, terms, fanouts, height }: Checked): FactoryPlan => {
  const placeholder = ctx.self.nodeId as string as FactoryPlan['coordinatorKey'];
  return {
    instanceId: '00'.repeat(32) as FactoryPlan['instanceId'],
    terms,
    coordinatorKey: placeholder,
    roster: clients.map(({ capacity, stock }) => ({ key: placeholder, payoutScript: '' as FactoryPlan['roster'][0]['payoutScript'], capacity, stock })),
    fanouts: fanouts ?? planShape(clients.length),
    startHeight: height,
    expiryHeight: height + terms.activeBlocks + terms.dyingBlocks + terms.settlingBlocks,
  };
};

export interface Wallet {
  readonly amount: Sat;
  /** Estimated fee of the funding transaction. */
  readonly fee: Sat;
}

/** The wallet can pay; how much is missing otherwise. Reserves nothing. */
export const checkWallet = async (ctx: Context, plan: FactoryPlan): Promise<Wallet> => {
  const amount = fundingAmount(plan);
  try {
    const { normal } = await ctx.lightning.feerates();
    const { fee } = await ctx.lightning.selectCoins(amount, normal);
    return { amount, fee };
  } catch (error) {
    if (!(error instanceof LightningError)) throw error;
    if (error.code !== 'insufficient_funds') return fail(ErrorCode.Unavailable, error.message);
    const { missing } = error.details;
    return fail(
      ErrorCode.CannotAfford,
      `capacity: the factory needs ${amount} sat and fees; ${missing === undefined ? error.message : `the wallet lacks ${missing} sat`}`,
      { field: 'capacity', needed_msat: amount * 1000n, ...(missing === undefined ? {} : { missing_msat: missing * 1000n }) },
    );
  }
};

/**
 * What is allowed and yet not wise, in CLN's manner a field for each. Of a client's payment that this node passes on, it may learn
 * the preimage as late as `cltv-delta` blocks before the client can take it back; by then the client's channel must be on chain.
 */
export const warningsFor = async (ctx: Context, plan: FactoryPlan): Promise<JsonObject> => {
  const early = factoryEarlyWarningTime(plan);
  try {
    const { cltvDelta } = await ctx.lightning.config();
    if (cltvDelta >= early) return {};
    return {
      warning_cltv_delta:
        `this node's cltv-delta of ${cltvDelta} blocks is below the early warning time of ${early}: payments of clients that it forwards are at risk ` +
        `when a client falls silent; restart lightningd with cltv-delta=${early} or more`,
    };
  } catch (error) {
    // A warning that cannot be given must not make a failure of what has succeeded.
    if (error instanceof LightningError) return {};
    throw error;
  }
};
