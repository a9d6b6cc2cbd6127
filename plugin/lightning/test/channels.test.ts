import { describe, expect, test } from '@jest/globals';
import { channelId, hex, nodeId, sat, schnorrSignature, script, txid } from '../../../blip/brands.js';
import type { SignedTx, UnsignedTx } from '../../../factory-core/model.js';
import { sighashOf, txidOf } from '../../../factory-core/serialize.js';
import { RpcUnavailable } from '../../runtime/rpc-client.js';
import { createLightning } from '../cln.js';
import { FakeRpc, rpcError } from './fake-rpc.js';

const PEER = nodeId('02c25eb8bfaafda27b38cd450af0e26aa460cb802222a3ddee81a38cdb0ccfe858');
const ID = channelId('f94c9836e2238fe8f680d561843989bb2fc612988dafc39ad95d2f0b345b1122');
const OTHER = channelId('18a845a1c8a4777e15cdbe555504c8d73f224b7ff6662b006516d2f93f22346a');
const SCRIPT = script(`0020${'ab'.repeat(32)}`);
const AMOUNT = sat(500_000n);

const tx: UnsignedTx = {
  version: 3,
  lockTime: 0,
  sequence: 0xfffffffe,
  prevout: { outpoint: { txid: txid('cd'.repeat(32)), vout: 0 }, amount: sat(501_000n), script: script(`5120${'11'.repeat(32)}`) },
  outputs: [{ amount: AMOUNT, script: SCRIPT, role: { kind: 'channel', member: 0 } }],
};
const leaf: SignedTx = {
  signable: { purpose: 'leaf', tx, txid: txidOf(tx), sighash: sighashOf(tx), signers: [], vsize: 100, fee: sat(1_000n) },
  signature: schnorrSignature('ee'.repeat(64)),
};

const update = (cltv: number) => ({
  fee_base_msat: 1,
  fee_proportional_millionths: 10,
  cltv_expiry_delta: cltv,
  htlc_minimum_msat: 0,
  htlc_maximum_msat: 495_000_000,
});

/** As `listpeerchannels` of v26.06.6 shows one, without what nobody here reads. */
const listed = (more: object = {}) => ({
  peer_id: PEER,
  peer_connected: true,
  state: 'CHANNELD_NORMAL',
  channel_id: ID,
  funding_txid: leaf.signable.txid,
  funding_outnum: 0,
  private: true,
  opener: 'local',
  alias: { local: '7617768x7943681x26448', remote: '8262812x15812948x34982' },
  funding: { local_funds_msat: 500_000_000, remote_funds_msat: 0, pushed_msat: 0, withheld: true },
  to_us_msat: 500_000_000,
  total_msat: 500_000_000,
  their_reserve_msat: 546_000,
  our_reserve_msat: 546_000,
  spendable_msat: 495_163_000,
  receivable_msat: 0,
  out_fulfilled_msat: 1_234_000,
  updates: { local: update(10), remote: update(34) },
  htlcs: [],
  ...more,
});
const list = (...channels: readonly object[]) => ({ channels: channels as never });
const MISSING = rpcError('sendpsbt', -1, 'Error broadcasting transaction: error code: -25\\nerror message:\\nbad-txns-inputs-missingorspent\\n. Unsent tx discarded 03');
const STARTED = { funding_address: 'bcrt1q', scriptpubkey: SCRIPT, warning_usage: '' };

describe('channels', () => {
  test('are read', async () => {
    const htlc = { direction: 'out', id: 3, amount_msat: 1_000, expiry: 239, payment_hash: 'ee'.repeat(32), state: 'SENT_ADD_ACK_REVOCATION' };
    const [channel] = await createLightning(new FakeRpc({ listpeerchannels: list(listed({ htlcs: [htlc], short_channel_id: '217x1x0' })) })).channels();
    expect(channel).toEqual({
      peer: PEER,
      connected: true,
      channelId: ID,
      funding: { txid: leaf.signable.txid, vout: 0 },
      state: 'CHANNELD_NORMAL',
      opener: 'local',
      private: true,
      withheld: true,
      toUs: 500_000_000n,
      total: 500_000_000n,
      ourReserve: 546_000n,
      theirReserve: 546_000n,
      spendable: 495_163_000n,
      receivable: 0n,
      sentInAll: 1_234_000n,
      localUpdate: { feeBase: 1n, feePpm: 10, cltvDelta: 10, htlcMin: 0n, htlcMax: 495_000_000n },
      remoteUpdate: { feeBase: 1n, feePpm: 10, cltvDelta: 34, htlcMin: 0n, htlcMax: 495_000_000n },
      shortChannelId: '217x1x0',
      localAlias: '7617768x7943681x26448',
      remoteAlias: '8262812x15812948x34982',
      htlcs: [{ direction: 'out', id: 3n, amount: 1_000n, expiry: 239, paymentHash: 'ee'.repeat(32), state: 'SENT_ADD_ACK_REVOCATION' }],
    });
  });
  test('that are only being negotiated are none yet, and an unknown state is no error', async () => {
    const rpc = new FakeRpc({ listpeerchannels: list({ peer_id: PEER, peer_connected: true, state: 'OPENINGD', opener: 'local' }, listed({ state: 'SOMETHING_NEW' })) });
    expect((await createLightning(rpc).channels()).map((c) => c.state)).toEqual(['UNKNOWN']);
  });
  test('are filtered', async () => {
    const rpc = new FakeRpc({ listpeerchannels: list(listed(), listed({ channel_id: OTHER, funding_txid: '00'.repeat(32) })) });
    const ln = createLightning(rpc);
    expect((await ln.channels({ channelId: OTHER })).map((c) => c.channelId)).toEqual([OTHER]);
    expect((await ln.channels({ fundingTxid: leaf.signable.txid })).map((c) => c.channelId)).toEqual([ID]);
    await ln.channels({ peer: PEER });
    expect(rpc.of('listpeerchannels').at(-1)).toEqual({ id: PEER });
  });
});

describe('opening', () => {
  test('asks for a zero-conf, unannounced channel without push', async () => {
    const rpc = new FakeRpc({ fundchannel_start: STARTED });
    expect(await createLightning(rpc).openStart({ peer: PEER, amount: AMOUNT })).toEqual({ script: SCRIPT });
    expect(rpc.of('fundchannel_start')).toEqual([{ id: PEER, amount: AMOUNT, announce: false, mindepth: 0, reserve: 0, channel_type: [12, 22, 46, 50] }]);
  });
  test('names the peer that refuses, is away or busy', async () => {
    const fails = (code: number, message: string) => createLightning(new FakeRpc({ fundchannel_start: rpcError('fundchannel_start', code, message) })).openStart({ peer: PEER, amount: AMOUNT });
    await expect(fails(305, 'Peer not connected')).rejects.toMatchObject({ code: 'not_connected', culprit: PEER });
    await expect(fails(-1, 'Already funding channel')).rejects.toMatchObject({ code: 'unavailable', culprit: PEER });
    await expect(fails(-1, 'They sent ERROR channel 00: no')).rejects.toMatchObject({ code: 'rejected', culprit: PEER, details: { rpcCode: -1 } });
  });
  test('is cancelled only when it is ours: the same command would drop a channel that waits for its confirmations', async () => {
    const rpc = new FakeRpc({ fundchannel_start: STARTED, fundchannel_cancel: { cancelled: 'Channel open canceled by RPC' } });
    const ln = createLightning(rpc);
    await ln.openCancel(PEER);
    expect(rpc.calls).toHaveLength(0);
    await ln.openStart({ peer: PEER, amount: AMOUNT });
    await ln.openCancel(PEER);
    await ln.openCancel(PEER);
    expect(rpc.of('fundchannel_cancel')).toEqual([{ id: PEER }]);
  });
  test('that has ended by itself is cancelled, too', async () => {
    const rpc = new FakeRpc({ fundchannel_start: STARTED, fundchannel_cancel: rpcError('fundchannel_cancel', 307, 'No channels being opened') });
    const ln = createLightning(rpc);
    await ln.openStart({ peer: PEER, amount: AMOUNT });
    await ln.openCancel(PEER);
  });
  test('a completed one is no opening any more', async () => {
    const rpc = new FakeRpc({ fundchannel_start: STARTED, fundchannel_complete: { channel_id: ID, commitments_secured: true }, fundchannel_cancel: {} });
    const ln = createLightning(rpc);
    await ln.openStart({ peer: PEER, amount: AMOUNT });
    expect(await ln.openComplete({ peer: PEER, fundingTx: leaf.signable })).toEqual({ channelId: ID });
    expect(rpc.of('fundchannel_complete')[0]).toMatchObject({ id: PEER, withhold: true });
    await ln.openCancel(PEER);
    expect(rpc.of('fundchannel_cancel')).toEqual([]);
  });
  test('without an answer in time is cancelled at once', async () => {
    const rpc = new FakeRpc({ fundchannel_start: new RpcUnavailable('fundchannel_start', 'timeout', true, ''), fundchannel_cancel: {} });
    await expect(createLightning(rpc).openStart({ peer: PEER, amount: AMOUNT })).rejects.toMatchObject({ code: 'unavailable' });
    expect(rpc.of('fundchannel_cancel')).toEqual([{ id: PEER }]);
  });
});

describe('arming', () => {
  const entry = (withheld: boolean) => ({ funding_txid: leaf.signable.txid, funding: { withheld } });

  test('succeeds when the flag is gone, whatever became of the broadcast', async () => {
    for (const sendpsbt of [MISSING, { tx: '00', txid: leaf.signable.txid }]) await createLightning(new FakeRpc({ sendpsbt, listpeerchannels: list(entry(false)) })).arm(leaf.signable);
  });
  test('fails when a channel on that transaction is still withheld, or when there is none', async () => {
    const both = list(entry(false), entry(true));
    await expect(createLightning(new FakeRpc({ sendpsbt: MISSING, listpeerchannels: both })).arm(leaf.signable)).rejects.toMatchObject({ code: 'rejected', culprit: leaf.signable.txid });
    const others = list({ funding_txid: '00'.repeat(32), funding: { withheld: false } }, {});
    await expect(createLightning(new FakeRpc({ sendpsbt: MISSING, listpeerchannels: others })).arm(leaf.signable)).rejects.toMatchObject({ code: 'not_found' });
  });
  test('is not believed when lightningd did not answer', async () => {
    const rpc = new FakeRpc({ sendpsbt: new RpcUnavailable('sendpsbt', 'lost', true, ''), listpeerchannels: list(entry(false)) });
    await expect(createLightning(rpc).arm(leaf.signable)).rejects.toMatchObject({ code: 'unavailable' });
  });
});

describe('forgetting a withheld channel', () => {
  test('does nothing for one that is gone, and refuses one that is armed', async () => {
    await createLightning(new FakeRpc({ listpeerchannels: list() })).forgetWithheld(ID);
    const armed = list(listed({ funding: { withheld: false } }));
    const rpc = new FakeRpc({ listpeerchannels: armed, close: {} });
    await expect(createLightning(rpc).forgetWithheld(ID)).rejects.toMatchObject({ code: 'rejected', culprit: ID });
    expect(rpc.of('close')).toEqual([]);
  });
  test('waits for the peer only when it is there', async () => {
    const closed = { type: 'unilateral', txs: [], txids: [] };
    for (const [connected, unilateraltimeout] of [
      [true, 20],
      [false, 1],
    ] as const) {
      const rpc = new FakeRpc({ listpeerchannels: list(listed({ peer_connected: connected })), close: closed });
      await createLightning(rpc).forgetWithheld(ID);
      expect(rpc.of('close')).toEqual([{ id: ID, unilateraltimeout }]);
    }
  });
  test('is done when it vanishes meanwhile', async () => {
    const gone = rpcError('close', -32602, `id: Channel id not found: invalid token '"${ID}"'`);
    await createLightning(new FakeRpc({ listpeerchannels: [list(listed()), list()], close: gone })).forgetWithheld(ID);
    await expect(createLightning(new FakeRpc({ listpeerchannels: list(listed()), close: rpcError('close', -1, 'no') })).forgetWithheld(ID)).rejects.toMatchObject({ code: 'rejected' });
  });
});

describe('closing', () => {
  test('says how it ended', async () => {
    const rpc = new FakeRpc({ close: { type: 'mutual', txs: ['00'], txids: ['ab'.repeat(32)] } });
    expect(await createLightning(rpc).closeChannel({ channelId: ID, destination: 'bcrt1q', unilateralTimeout: 5 })).toEqual({ kind: 'mutual', txids: ['ab'.repeat(32)] });
    expect(rpc.calls[0]).toMatchObject({ params: { id: ID, unilateraltimeout: 5, destination: 'bcrt1q' }, options: { timeoutMs: 65_000 } });
  });
  test('of something else than documented is a protocol error', async () => {
    await expect(createLightning(new FakeRpc({ close: { type: 'sudden' } })).closeChannel({ channelId: ID })).rejects.toMatchObject({ code: 'protocol', culprit: 'type' });
    expect(await createLightning(new FakeRpc({ close: { type: 'unopened' } })).closeChannel({ channelId: ID })).toEqual({ kind: 'unopened', txids: [] });
  });
});

describe('freezing', () => {
  const quiescent = { channels: [{ channel_id: ID, available_msat: 1 }] };
  const busy = (message: string) => rpcError('stfu_channels', 358, message);

  test('is idempotent', async () => {
    const rpc = new FakeRpc({ stfu_channels: [quiescent, busy("Can't stfu splice while currently in STFU")] });
    const ln = createLightning(rpc);
    await ln.freeze([ID]);
    await ln.freeze([ID]);
  });
  test('is all or none, and says which one failed', async () => {
    const rpc = new FakeRpc({
      stfu_channels: ({ channel_ids }) => ((channel_ids as string[])[0] === ID ? quiescent : rpcError('stfu_channels', 351, 'Channel is disconnected')),
      abort_channels: {},
    });
    await expect(createLightning(rpc).freeze([ID, OTHER])).rejects.toMatchObject({ code: 'not_connected', culprit: OTHER });
    expect(rpc.of('abort_channels')).toEqual([{ channel_ids: [ID] }, { channel_ids: [OTHER] }]);
  });
  test('still under way is not frozen', async () => {
    for (const message of ["Can't stfu splice while waiting for STFU.", 'Currently waiting on previous splice command to finish.']) {
      const rpc = new FakeRpc({ stfu_channels: message.startsWith('Can') ? busy(message) : rpcError('stfu_channels', 355, message), abort_channels: {} });
      await expect(createLightning(rpc).freeze([ID])).rejects.toMatchObject({ code: 'unavailable', culprit: ID });
    }
  });
  test('thawing what is not frozen is no error', async () => {
    for (const code of [351, 352, 353]) await createLightning(new FakeRpc({ abort_channels: rpcError('abort_channels', code, '') })).thaw([ID]);
    await expect(createLightning(new FakeRpc({ abort_channels: rpcError('abort_channels', 354, 'Peer does not support splicing') })).thaw([ID])).rejects.toMatchObject({ code: 'rejected' });
    await createLightning(new FakeRpc({})).thaw([]);
  });
});

test('every failure is a LightningError; a bug stays a bug', async () => {
  await expect(createLightning(new FakeRpc({ listpeerchannels: {} })).channels()).rejects.toMatchObject({ name: 'LightningError', code: 'protocol', culprit: 'channels' });
  await expect(createLightning(new FakeRpc({ listpeerchannels: list(listed({ peer_id: 'xx' })) })).channels()).rejects.toMatchObject({ code: 'protocol', culprit: 'listpeerchannels.peer_id' });
  await expect(createLightning(new FakeRpc({})).secret('x')).rejects.toMatchObject({ code: 'not_found', culprit: 'makesecret' });
  await expect(createLightning(new FakeRpc({ makesecret: new TypeError('bug') })).secret('x')).rejects.toBeInstanceOf(TypeError);
  await expect(createLightning(new FakeRpc({ sendcustommsg: rpcError('sendcustommsg', -32600, 'Peer is not connected') })).sendMessage(PEER, hex('8020'))).rejects.toMatchObject({ code: 'not_connected' });
});
