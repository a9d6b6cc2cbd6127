import { describe, expect, test } from '@jest/globals';
import { msat, nodeId, paymentHash, paymentSecret } from '../../../blip/brands.js';
import { createLightning } from '../cln.js';
import { FakeRpc, rpcError } from './fake-rpc.js';

const HASH = paymentHash('ab'.repeat(32));
const SECRET = paymentSecret('cd'.repeat(32));
const PEER = nodeId('02c25eb8bfaafda27b38cd450af0e26aa460cb802222a3ddee81a38cdb0ccfe858');
const listed = (...statuses: readonly string[]) => ({
  payments: statuses.map((status, i) => ({ id: i, status, payment_hash: HASH, amount_msat: 1_000, amount_sent_msat: 1_007, label: `cln-factory/x/move/${String(i)}` })) as never,
});

describe('payments', () => {
  test.each([
    [[], 'none'],
    [['failed', 'failed'], 'failed'],
    [['failed', 'pending'], 'pending'],
    [['failed', 'complete'], 'complete'],
  ])('tries %j: %s', async (statuses, expected) => {
    expect(await createLightning(new FakeRpc({ listsendpays: listed(...statuses) })).paymentStatus(HASH)).toBe(expected);
  });
  test('go along the route that is given', async () => {
    const rpc = new FakeRpc({ sendpay: {} });
    const route = [{ peer: PEER, channel: '1x2x3', delay: 50, amount: msat(1_001n) }];
    await createLightning(rpc).sendAlong({ route, invoice: { paymentHash: HASH, paymentSecret: SECRET }, amount: msat(1_000n), label: 'l' });
    expect(rpc.of('sendpay')).toEqual([
      { route: [{ id: PEER, channel: '1x2x3', delay: 50, amount_msat: 1_001n }], payment_hash: HASH, payment_secret: SECRET, amount_msat: 1_000n, label: 'l' },
    ]);
  });
  test('are awaited: done, failed, or not yet', async () => {
    const waited = (answer: Record<string, never> | Error) => createLightning(new FakeRpc({ waitsendpay: answer })).waitForPayment(HASH, 3);
    expect(await waited({})).toEqual({ kind: 'complete' });
    expect(await waited(rpcError('waitsendpay', 200, 'Timed out while waiting'))).toEqual({ kind: 'pending' });
    expect(await waited(rpcError('waitsendpay', 204, 'WIRE_FEE_INSUFFICIENT'))).toEqual({ kind: 'failed', reason: expect.stringMatching(/WIRE_FEE_INSUFFICIENT/) });
  });
  test('of a label are found', async () => {
    const ln = createLightning(new FakeRpc({ listsendpays: listed('complete') }));
    expect(await ln.completedPayments('cln-factory/x/move/')).toEqual([{ paymentHash: HASH, status: 'complete', amount: 1_000n, sent: 1_007n, label: 'cln-factory/x/move/0' }]);
    expect(await ln.completedPayments('cln-factory/y/')).toEqual([]);
  });
  test('forwarded for a fee are added up, from these channels to those', async () => {
    const forwards = [
      { in_channel: '1x1x1', out_channel: '2x2x2', fee_msat: 11 },
      { in_channel: '1x1x1', out_channel: '3x3x3', fee_msat: 500 },
    ];
    const rpc = new FakeRpc({ listforwards: ({ in_channel }) => ({ forwards: (in_channel === '1x1x1' ? forwards : []) as never }) });
    expect(await createLightning(rpc).forwardFees(['1x1x1', '4x4x4'], ['2x2x2'])).toBe(11n);
    expect(rpc.of('listforwards')).toEqual([{ in_channel: '1x1x1', status: 'settled' }, { in_channel: '4x4x4', status: 'settled' }]);
  });
});

describe('invoices of our own', () => {
  const invoice = (amount: number, status: string) => ({ invoices: [{ label: 'l', payment_hash: HASH, bolt11: `lnbcrt${String(amount)}`, amount_msat: amount, status }] as never });
  const decode = ({ string }: Readonly<Record<string, unknown>>) => ({ payment_secret: SECRET, min_final_cltv_expiry: 43, amount_msat: Number(String(string).slice(6)) });
  const request = { label: 'l', amount: msat(1_000n), description: 'd', expirySeconds: 60 };
  const own = { paymentHash: HASH, paymentSecret: SECRET, finalCltv: 43, amount: 1_000n };

  test('are made once', async () => {
    const rpc = new FakeRpc({ listinvoices: [{ invoices: [] as never }, invoice(1_000, 'unpaid')], invoice: {}, decode });
    expect(await createLightning(rpc).ownInvoice(request)).toEqual({ ...own, status: 'unpaid' });
    expect(await createLightning(rpc).ownInvoice(request)).toEqual({ ...own, status: 'unpaid' });
    expect(rpc.of('invoice')).toEqual([{ amount_msat: 1_000n, label: 'l', description: 'd', expiry: 60 }]);
  });
  test('give way to another amount, unless they are paid', async () => {
    const rpc = new FakeRpc({ listinvoices: [invoice(999, 'unpaid'), invoice(1_000, 'unpaid')], invoice: {}, delinvoice: {}, decode });
    expect(await createLightning(rpc).ownInvoice(request)).toMatchObject({ amount: 1_000n });
    expect(rpc.of('delinvoice')).toEqual([{ label: 'l', status: 'unpaid' }]);
    const paid = new FakeRpc({ listinvoices: invoice(999, 'paid'), decode });
    expect(await createLightning(paid).ownInvoice(request)).toEqual({ ...own, amount: 999n, status: 'paid' });
  });
  test('give way when they are not wanted any more, unless they are paid', async () => {
    const another = paymentHash('ba'.repeat(32));
    const made = { invoices: [{ label: 'l', payment_hash: another, bolt11: 'lnbcrt1000', amount_msat: 1_000, status: 'unpaid' }] as never };
    const rpc = new FakeRpc({ listinvoices: [invoice(1_000, 'unpaid'), made], invoice: {}, delinvoice: {}, decode });
    expect(await createLightning(rpc).ownInvoice({ ...request, unlike: HASH })).toMatchObject({ paymentHash: another });
    expect(rpc.of('delinvoice')).toEqual([{ label: 'l', status: 'unpaid' }]);
    const twice = new FakeRpc({ listinvoices: made, decode });
    expect(await createLightning(twice).ownInvoice({ ...request, unlike: HASH })).toMatchObject({ paymentHash: another });
    const paid = new FakeRpc({ listinvoices: invoice(1_000, 'paid'), decode });
    expect(await createLightning(paid).ownInvoice({ ...request, unlike: HASH })).toEqual({ ...own, status: 'paid' });
  });
  test('are looked up', async () => {
    const ln = (status: string) => createLightning(new FakeRpc({ listinvoices: invoice(1_000, status) }));
    expect(await ln('paid').isPaid(HASH)).toBe(true);
    expect(await ln('unpaid').isPaid(HASH)).toBe(false);
  });
});

describe('channels that routes avoid', () => {
  const LAYERS = { 'askrene-create-layer': {}, 'askrene-update-channel': {}, 'askrene-remove-channel-update': {}, 'askrene-remove-layer': {} };
  const updated = (rpc: FakeRpc, method = 'askrene-update-channel') => rpc.of(method).map((p) => p['short_channel_id_dir']);

  test('both ways, each once, until they are not on the list any more', async () => {
    const rpc = new FakeRpc(LAYERS);
    const ln = createLightning(rpc);
    await ln.avoid('own', []);
    expect(rpc.calls).toEqual([]);
    await ln.avoid('own', ['1x1x1']);
    await Promise.all([ln.avoid('own', ['1x1x1', '2x2x2']), ln.avoid('own', ['2x2x2'])]);
    expect(rpc.of('askrene-create-layer')).toEqual([{ layer: 'own' }]);
    expect(updated(rpc)).toEqual(['1x1x1/0', '1x1x1/1', '2x2x2/0', '2x2x2/1']);
    expect(updated(rpc, 'askrene-remove-channel-update')).toEqual(['1x1x1/0', '1x1x1/1']);
  });
  test('on a lightningd that cannot take an update back, and with a layer from before', async () => {
    const exists = [rpcError('askrene-create-layer', -32602, 'Layer already exists'), {}];
    const rpc = new FakeRpc({ ...LAYERS, 'askrene-create-layer': exists, 'askrene-remove-channel-update': rpcError('x', -32601, 'Unknown command') });
    const ln = createLightning(rpc);
    await ln.avoid('own', ['1x1x1']);
    await ln.avoid('own', []);
    expect(rpc.of('askrene-remove-layer')).toEqual([{ layer: 'own' }]);
    expect(rpc.of('askrene-update-channel').map((p) => p['enabled'])).toEqual([false, false, true, true]);
  });
});
