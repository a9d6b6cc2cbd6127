/** lightningd's questions, answered from the engine's memory. */
import { setImmediate as immediately, setTimeout as pause } from 'node:timers/promises';
import type { ChannelId, NodeId } from '../blip/brands.js';
import { decideHtlc, type FactoryChannelFacts, type HtlcFacts } from '../factory-core/htlc-policy.js';
import type { App } from './app.js';
import type { ChannelBook } from './engine/channel-book.js';
import { isVirtual } from './engine/guardian.js';
import { raiseBolt12Cltv } from './lightning/bolt12.js';
import {
  ACCEPT_ZERO_CONF,
  commandParam,
  htlcAnswer,
  raiseInvoiceCltv,
  raiseRouteCltv,
  readBlockAdded,
  readChannelStateChange,
  readCommand,
  readCustomMessage,
  readHtlc,
  readOpenChannel,
  readPeerId,
  refuseCommand,
  rejectOpen,
  replaceParams,
  splicedChannel,
  readRoutes,
  withLayers,
  SPLICING_COMMANDS,
  type CommandEvent,
  type HtlcEvent,
} from './lightning/hooks.js';
import { FACTORY_MESSAGE_TYPE } from '../blip/factory-message.js';
import type { Subscription } from './runtime/definition.js';
import { CONTINUE, DEFAULT_DEADLINE_MS, type HookAnswers, type Hooks } from './runtime/hooks.js';
import type { JsonObject } from './runtime/json.js';

/** BOLT 4 `temporary_node_failure`. */
const TEMPORARY_NODE_FAILURE = '2002';
const INVALID_REQUEST = -32600;

/** `app` is undefined until `init` is through, and stays so when the plugin could not start. */
export const hooks = (app: () => App | undefined): Hooks => ({
  custommsg: {
    filters: [FACTORY_MESSAGE_TYPE],
    fallback: CONTINUE,
    handle: (params) => {
      const { peer, message } = readCustomMessage(params);
      // The answer first: lightningd holds the peer's next message until then.
      setImmediate(() => app()?.context.inbox.receive(peer, message));
      return CONTINUE;
    },
  },
  openchannel: {
    fallback: CONTINUE,
    handle: (params) => {
      const open = readOpenChannel(params);
      if (app()?.book.expects(open.peer, open.amount) !== true) return CONTINUE;
      // Architecture 3.2: a push aborts the node when the leaf confirms.
      if (open.pushed !== 0n) return rejectOpen('a factory channel must not push');
      return open.private ? ACCEPT_ZERO_CONF : rejectOpen('a factory channel is not announced');
    },
  },
  htlc_accepted: {
    // Without an answer in time, an HTLC that might be unsafe is not taken on.
    fallback: () => (app()?.book.hasFactories() === true ? { result: 'fail', failure_message: TEMPORARY_NODE_FAILURE } : CONTINUE),
    // A purchase's fee is held for as long as it takes; everything else is answered in time.
    deadlineMs: LONGEST_HOLD_MS,
    handle: async (params) => {
      const { held, answer } = await inTime(htlc(app(), params));
      return held ?? answer;
    },
  },
  rpc_command: {
    filters: ['invoice', 'createinvoice', 'getroutes', 'close', ...SPLICING_COMMANDS],
    fallback: CONTINUE,
    handle: (params) => command(app(), params),
  },
});

type HtlcAnswer = HookAnswers['htlc_accepted'];
/** `held`: the answer will come by itself. */
interface HtlcVerdict {
  readonly answer: HtlcAnswer;
  readonly held?: Promise<HtlcAnswer>;
}

/** Below what a timer can hold; long before that the HTLC expires. */
const LONGEST_HOLD_MS = 20 * 86_400_000;

/** @throws when it takes too long: the fallback is answered then */
const inTime = async <T>(work: Promise<T>): Promise<T> => {
  const ended = new AbortController();
  const late = pause(DEFAULT_DEADLINE_MS, undefined, { signal: ended.signal }).then(() => {
    throw new Error(`no answer within ${DEFAULT_DEADLINE_MS} ms`);
  });
  late.catch(() => undefined); // aborted, when the work was in time
  try {
    return await Promise.race([work, late]);
  } finally {
    ended.abort();
  }
};

const htlc = async (app: App | undefined, params: JsonObject): Promise<HtlcVerdict> => {
  if (app?.book.hasFactories() !== true) return { answer: CONTINUE };
  const event = readHtlc(params);
  const from = await app.book.look(event.incoming.shortChannelId);
  const incoming = from?.facts;
  const decision = decideHtlc({
    height: Math.max(event.height, app.context.engine.currentHeight()),
    amount: event.amount,
    cltvExpiry: event.cltvExpiry,
    ...(incoming ? { incoming } : {}),
    ...(event.forward ? { forward: await outgoing(app.book, from?.peer, event.forward) } : {}),
  });
  const answer = htlcAnswer(decision);
  if (decision.result === 'fail') {
    app.log('info', `HTLC ${event.paymentHash.slice(0, 16)}… refused: ${decision.why}`);
    return { answer };
  }
  const held = app.heldFees.answer(event, incoming?.earlyWarning);
  return held ? { answer, held } : { answer };
};

/**
 * What decides about the channel an HTLC would leave by. lightningd takes the one with most room, whichever is named, frozen or not:
 * another one to the same peer may do, or be what is meant.
 */
const outgoing = async (
  book: Pick<ChannelBook, 'look' | 'others'>,
  from: NodeId | undefined,
  { channelId, shortChannelId, cltvExpiry, amount }: NonNullable<HtlcEvent['forward']>,
): Promise<NonNullable<HtlcFacts['forward']>> => {
  const name = channelId ?? shortChannelId;
  const chosen = name === undefined ? undefined : await book.look(name);
  const asked = channelId === undefined || shortChannelId === undefined ? undefined : await book.look(shortChannelId);
  const named = asked?.channelId === channelId ? undefined : asked;
  // A member that pays itself knows of the factory it names, however new that is here.
  const own = asked !== undefined && asked.peer === from ? asked.channelId : undefined;
  const heeded = (id: ChannelId, facts: FactoryChannelFacts): FactoryChannelFacts => (id === own ? { ...facts, avoid: false } : facts);
  const facts = chosen && heeded(chosen.channelId, chosen.facts);
  const poor = facts && (!facts.active || facts.frozen || facts.avoid === true) ? chosen : undefined;
  const peer = (named ?? poor)?.peer;
  const others = peer === undefined ? undefined : await book.others(peer, chosen?.channelId ?? channelId, amount);
  return {
    ...(cltvExpiry === undefined ? {} : { cltvExpiry }),
    ...(facts ? { channel: facts } : {}),
    ...(others ? { others: others.map((other) => (other.channel ? { ...other, channel: heeded(other.channelId, other.channel) } : other)) } : {}),
    ...(named ? { named: named.channelId } : {}),
  };
};

const command = async (app: App | undefined, params: JsonObject): Promise<HookAnswers['rpc_command']> => {
  if (app?.book.hasLive() !== true) return CONTINUE;
  const called = readCommand(params);
  const spliced = splicedChannel(called);
  if (spliced !== undefined) {
    const channel = await app.book.byAny(spliced);
    return channel ? refuseCommand(INVALID_REQUEST, `${spliced} is a factory channel: a splice would force-close it on both sides`) : CONTINUE;
  }
  if (called.method === 'close') return closing(app, called);
  if (called.method === 'getroutes') return routes(app, called);
  const invoice = await app.book.forInvoice();
  if (!invoice) return CONTINUE;
  const raised =
    called.method === 'createinvoice'
      ? raiseBolt12Cltv(called.params, invoice.earlyWarning, app.cltvFinal)
      : raiseInvoiceCltv(called.params, invoice.earlyWarning, app.cltvFinal, invoice.hints);
  return raised ? replaceParams(called, raised) : CONTINUE;
};

/** The askrene layers in which channels are disabled: those that are being left, and those that are too new. */
const LEFT = 'cln-factory';
const UNPROVEN = 'cln-factory-new';

const routes = async (app: App, called: CommandEvent): Promise<HookAnswers['rpc_command']> => {
  const early = app.book.earlyWarningOfOwn();
  const raised = early === undefined ? undefined : raiseRouteCltv(called.params, early);
  const { lightning } = app.context;
  const avoided = await app.book.avoided();
  await lightning.avoid(LEFT, avoided.left);
  await lightning.avoid(UNPROVEN, avoided.unproven);
  // Not if nothing else has room: it may work, and nothing else will.
  const payment = avoided.unproven.length > 0 ? readRoutes(called.params) : undefined;
  const spare = payment !== undefined && (await app.book.canSpareUnproven(avoided, payment));
  const layers = [...(avoided.left.length > 0 ? [LEFT] : []), ...(spare ? [UNPROVEN] : [])];
  const layered = layers.length > 0 ? withLayers(raised ?? called.params, layers) : undefined;
  const changed = layered ?? raised;
  return changed ? replaceParams(called, changed) : CONTINUE;
};

/** A channel that is not on chain yet cannot be closed by itself: the operator is told how. Our own closes come later. */
const closing = async (app: App, called: CommandEvent): Promise<HookAnswers['rpc_command']> => {
  const id = commandParam(called.params, 'id', 0);
  const named = typeof id === 'string' ? await app.book.byAnyOrPeer(id) : undefined;
  if (!named || !isVirtual(named.state.live, named.branch, named.channel)) return CONTINUE;
  const factory = named.state.live.spec.instanceId;
  return refuseCommand(INVALID_REQUEST, `${named.channel.channelId} is a channel of factory ${factory}, not on chain: use factory-exit or factory-close`);
};

export const subscriptions = (app: () => App | undefined): Readonly<Record<string, Subscription>> => ({
  // Both in turn with its messages (above): the last of one connection must not be taken for the first of the next.
  connect: async (params) => {
    const peer = readPeerId('connect', params);
    await immediately();
    await connected(app(), peer);
  },
  disconnect: (params) => {
    const peer = readPeerId('disconnect', params);
    setImmediate(() => app()?.context.peers.disconnected(peer));
  },
  block_added: (params) => {
    readBlockAdded(params);
    app()?.poll();
  },
  channel_state_changed: (params) => {
    // A channel that lightningd has failed has no time to lose: the guardian looks now, not with the next block.
    if (readChannelStateChange(params).to === 'AWAITING_UNILATERAL') app()?.poll();
  },
});

/** bLIP-56: `supported_factory_protocols` to every peer with the feature bit. Ceremonies go on when the peer's has come. */
export const connected = async (app: App | undefined, peer: NodeId): Promise<void> => {
  if (!app) return;
  const { lightning, peers } = app.context;
  const visit = peers.visitOf(peer);
  const known = await lightning.peer(peer);
  if (known?.connected === true && known.supportsFactories) peers.greet(peer, visit);
};
