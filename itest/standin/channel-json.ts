import { type Channel, directionOf, type Htlc, policyOf, receivable, spendable } from './channel.js';
import { FORGET_DEPTH, localUpdate } from './channel-chain.js';
import { MAX_IN_FLIGHT } from './channel-open.js';
import { CLOSING_FEE, commitmentFee, DELAY, ourCommitment } from './commitment.js';
import { channelFeatureNames, channelTypeJson } from './features.js';
import type { Node } from './node.js';
import { COMMITMENT_PERKW } from './params.js';
import { scriptToAddress } from './tx.js';
import type { Json, JsonObject } from './types.js';

const OWNERS: Readonly<Record<string, string>> = { CHANNELD_AWAITING_LOCKIN: 'channeld', CHANNELD_NORMAL: 'channeld', CHANNELD_SHUTTING_DOWN: 'channeld', CLOSINGD_SIGEXCHANGE: 'closingd', ONCHAIN: 'onchaind' };

const htlcJson = ({ direction, id, amount, expiry, hash, preimage, failure }: Htlc): Json => {
  const [sent, received] = direction === 'out' ? ['SENT', 'RCVD'] : ['RCVD', 'SENT'];
  const state = preimage === undefined && failure === undefined ? `${sent}_ADD_ACK_REVOCATION` : `${received}_REMOVE_HTLC`;
  return { direction, id, amount_msat: amount, expiry, payment_hash: hash, state };
};

/** What onchaind would say of the outputs. */
const onchainStatus = ({ spend }: Channel, height: number): readonly string[] => {
  if (spend === undefined) return [];
  if (spend.resolved !== undefined) return [`ONCHAIN:All outputs resolved: waiting ${spend.resolved + FORGET_DEPTH - 1 - height} more blocks before forgetting channel`];
  const ready = spend.height + DELAY - 1;
  const when = height < ready ? `in ${ready - height} blocks will spend` : 'waiting confirmation that we spent';
  return [`ONCHAIN:1 outputs unresolved: ${when} DELAYED_OUTPUT_TO_US (${spend.txid}:${spend.delayed?.vout ?? 0}) using OUR_DELAYED_RETURN_TO_WALLET`];
};

/** An entry of listpeerchannels. */
export const channelJson = (node: Node, channel: Channel): JsonObject => {
  const { counts, capacity } = channel;
  const connected = node.peers.isConnected(channel.peerId);
  const local = channel.opener === 'local';
  const owner = channel.state === 'ONCHAIN' || node.channels.link.isLive(channel) ? OWNERS[channel.state] : undefined;
  return {
    peer_id: channel.peerId,
    peer_connected: connected,
    ...(connected ? { reestablished: node.channels.link.isLive(channel) } : {}),
    channel_type: channelTypeJson(channel.type),
    ignore_fee_limits: true,
    updates: { local: localUpdate(channel, node), ...(channel.remoteUpdate === undefined ? {} : { remote: channel.remoteUpdate }) },
    state: channel.state,
    scratch_txid: channel.closingTx?.txid ?? ourCommitment(channel, node.keys).txid,
    last_tx_fee_msat: (channel.closingTx === undefined ? commitmentFee : CLOSING_FEE) * 1000,
    lost_state: channel.lost ?? false,
    feerate: { perkw: COMMITMENT_PERKW, perkb: COMMITMENT_PERKW * 4 },
    owner,
    short_channel_id: channel.scid,
    direction: directionOf(node.keys.nodeId, channel.peerId),
    channel_id: channel.channelId,
    funding_txid: channel.fundingTxid,
    funding_outnum: channel.fundingVout,
    close_to_addr: scriptToAddress(channel.shutdown.local),
    close_to: channel.shutdown.local,
    private: channel.private,
    opener: channel.opener,
    closer: channel.closer,
    alias: { local: channel.aliasLocal, ...(channel.aliasRemote === undefined ? {} : { remote: channel.aliasRemote }) },
    features: channelFeatureNames(channel.type),
    funding: {
      local_funds_msat: local ? capacity * 1000 : 0,
      remote_funds_msat: local ? 0 : capacity * 1000,
      pushed_msat: channel.pushed,
      psbt: channel.fundingPsbt,
      withheld: channel.withheld,
    },
    to_us_msat: channel.toUs,
    min_to_us_msat: channel.minToUs,
    max_to_us_msat: channel.maxToUs,
    total_msat: capacity * 1000,
    fee_base_msat: channel.fees.base,
    fee_proportional_millionths: channel.fees.ppm,
    dust_limit_msat: 546_000,
    their_max_htlc_value_in_flight_msat: MAX_IN_FLIGHT,
    our_max_htlc_value_in_flight_msat: MAX_IN_FLIGHT,
    their_reserve_msat: channel.theirReserve * 1000,
    our_reserve_msat: channel.ourReserve * 1000,
    spendable_msat: spendable(channel, COMMITMENT_PERKW),
    receivable_msat: receivable(channel, COMMITMENT_PERKW),
    minimum_htlc_in_msat: 0,
    minimum_htlc_out_msat: policyOf(channel).least,
    maximum_htlc_out_msat: policyOf(channel).most,
    their_to_self_delay: DELAY,
    our_to_self_delay: DELAY,
    max_accepted_htlcs: 483,
    state_changes: channel.stateChanges,
    status: [...channel.status, ...onchainStatus(channel, node.blocks.height)],
    in_payments_offered: counts.inOffered,
    in_offered_msat: counts.inOfferedMsat,
    in_payments_fulfilled: counts.inFulfilled,
    in_fulfilled_msat: counts.inFulfilledMsat,
    out_payments_offered: counts.outOffered,
    out_offered_msat: counts.outOfferedMsat,
    out_payments_fulfilled: counts.outFulfilled,
    out_fulfilled_msat: counts.outFulfilledMsat,
    htlcs: channel.htlcs.map(htlcJson),
  };
};

/** An entry of listclosedchannels. */
export const closedJson = (node: Node, channel: Channel, cause: string): JsonObject => ({
  peer_id: channel.peerId,
  channel_id: channel.channelId,
  short_channel_id: channel.scid,
  alias: { local: channel.aliasLocal, ...(channel.aliasRemote === undefined ? {} : { remote: channel.aliasRemote }) },
  opener: channel.opener,
  closer: channel.closer,
  private: channel.private,
  channel_type: channelTypeJson(channel.type),
  total_local_commitments: channel.commitNumber + 1,
  total_remote_commitments: channel.commitNumber + 1,
  total_htlcs_sent: channel.nextHtlcId,
  funding_txid: channel.fundingTxid,
  funding_outnum: channel.fundingVout,
  leased: false,
  funding_psbt: channel.fundingPsbt,
  funding_withheld: channel.withheld,
  total_msat: channel.capacity * 1000,
  final_to_us_msat: channel.toUs,
  min_to_us_msat: channel.minToUs,
  max_to_us_msat: channel.maxToUs,
  last_commitment_txid: channel.closingTx?.txid ?? ourCommitment(channel, node.keys).txid,
  last_commitment_fee_msat: commitmentFee * 1000,
  close_cause: cause,
});
