import { type Channel, mostPossible, type Policy, policyOf } from './channel.js';
import { command, type Command } from './commands.js';
import type { Node } from './node.js';
import { badParam, bool, def, int, msat, opt, req, str } from './params.js';
import { CODE, type JsonObject, nowSeconds, RpcError } from './types.js';

/** How long senders may still use better terms, unless the caller says otherwise (BOLT 7: 10 minutes). */
const ENFORCE_DELAY_SECONDS = 600;

const canChange = ({ state }: Channel): boolean => state === 'CHANNELD_NORMAL' || state === 'CHANNELD_AWAITING_LOCKIN';

/** What `id` means for setchannel: everything, all channels of a peer, or one. @throws RpcError */
const chosen = (node: Node, id: string): readonly Channel[] => {
  if (id === 'all') return node.channels.all().filter(canChange);
  const ofPeer = node.channels.withPeer(id);
  if (ofPeer.length === 0) {
    const channel = node.channels.find(id, () => true);
    if (!canChange(channel)) throw badParam('id', `Channel in state ${channel.state}`, id);
    return [channel];
  }
  const found = ofPeer.filter(canChange);
  if (found.length === 0) throw new RpcError(CODE.lightningd, 'Could not find any active channels of peer with that id');
  return found;
};

const change = (node: Node, channel: Channel, asked: Policy, delay: number): JsonObject => {
  const old = policyOf(channel);
  const most = Math.min(asked.most, mostPossible(channel));
  if (asked.fees.base > old.fees.base || asked.fees.ppm > old.fees.ppm || asked.least > old.least || most < old.most) channel.formerPolicy = { ...old, until: nowSeconds() + delay };
  channel.fees = asked.fees;
  channel.limits = { least: asked.least, most };
  node.channels.save(channel);
  node.channels.chain.tellTerms(channel);
  return {
    peer_id: channel.peerId,
    channel_id: channel.channelId,
    short_channel_id: channel.scid,
    fee_base_msat: asked.fees.base,
    fee_proportional_millionths: asked.fees.ppm,
    minimum_htlc_out_msat: asked.least,
    maximum_htlc_out_msat: most,
    ignore_fee_limits: true,
    ...(asked.most > most ? { warning_htlcmax_too_high: 'Set maximum_htlc_out_msat to maximum possible in channel' } : {}),
  };
};

/** `setchannel`: the terms on which we forward into a channel. */
export const policyCommands = (node: Node): readonly Command[] => [
  command(
    'setchannel',
    { id: req(str), feebase: opt(msat), feeppm: opt(int), htlcmin: opt(msat), htlcmax: opt(msat), enforcedelay: def(int, ENFORCE_DELAY_SECONDS), ignorefeelimits: opt(bool) },
    ({ id, feebase, feeppm, htlcmin, htlcmax, enforcedelay }) => {
      const channels = chosen(node, id);
      if (htlcmin !== undefined && htlcmax !== undefined && htlcmax < htlcmin) throw new RpcError(CODE.lightningd, 'htlcmax cannot be less than htlcmin');
      return node.store.atomically(() => ({
        channels: channels.map((channel) => {
          const { fees, least, most } = policyOf(channel);
          return change(node, channel, { fees: { base: feebase ?? fees.base, ppm: feeppm ?? fees.ppm }, least: htlcmin ?? least, most: htlcmax ?? most }, enforcedelay);
        }),
      }));
    },
  ),
];
