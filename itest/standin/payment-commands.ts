import { command, type Command } from './commands.js';
import type { Node } from './node.js';
import { any, arrayOf, badParam, def, hash, int, msat, nodeId, opt, type Parser, req, str } from './params.js';
import { paymentJson, type RouteStep } from './payments.js';
import { CODE, field, type Json, RpcError } from './types.js';

/** lightningd numbers a payment's only part 0 and shows it nowhere. */
const partOf = (partid: number): number | undefined => (partid === 0 ? undefined : partid);

const sendpay = (node: Node): Command =>
  command(
    'sendpay',
    {
      route: req(arrayOf(stepParam)), payment_hash: req(hash), label: opt(str), amount_msat: opt(msat), bolt11: opt(str), payment_secret: opt(hash), partid: def(int, 0),
      localinvreqid: opt(hash), groupid: opt(int), payment_metadata: opt(any), description: opt(str),
    },
    ({ route, payment_hash, label, amount_msat, bolt11, payment_secret: secret, partid, groupid: group }) => {
      const bad = (why: string): RpcError => new RpcError(CODE.invalidParams, why);
      const [first, last] = [route[0], route.at(-1)];
      if (partid !== 0 && amount_msat === undefined) throw bad('Must specify msatoshi with partid');
      if (first === undefined || last === undefined) throw bad(amount_msat === undefined ? 'Self-payment requires amount_msat' : 'the stand-in pays itself along a route only');
      const final = last.amount_msat;
      if (partid === 0 && amount_msat !== undefined && amount_msat !== final)
        throw bad(`Do not specify msatoshi (${amount_msat}msat) without partid: if you do, it must be exactly the final amount (${final}msat)`);
      if (partid !== 0 && final > (amount_msat ?? 0)) throw bad(`Final amount ${final}msat is greater than ${amount_msat ?? 0}msat, despite MPP`);
      if (partid !== 0 && secret === undefined) throw bad('partid requires payment_secret');

      const { payments } = node;
      const groupid = group ?? payments.lastGroup(payment_hash) + 1;
      const attempt = { hash: payment_hash, groupid, partid: partOf(partid), total: amount_msat ?? final };
      const known = payments.underway({ ...attempt, amount: final, destination: last.id });
      if (known?.status === 'complete') return paymentJson(known);
      if (known === undefined) payments.mustBeOffered(first);
      const payment = known ?? payments.send({ route, secret, bolt11, label, ...attempt });
      // What came of it at once is for waitsendpay to tell.
      return { message: 'Monitor status with listpays or waitsendpay', ...paymentJson({ ...payment, status: 'pending' }) };
    },
  );

const waitsendpay = (node: Node): Command =>
  command('waitsendpay', { payment_hash: req(hash), timeout: opt(int), partid: def(int, 0), groupid: opt(int) }, async ({ payment_hash, timeout, partid, groupid }) => {
    const wanted = node.payments.part(payment_hash, groupid ?? node.payments.lastGroup(payment_hash), partOf(partid));
    if (wanted === undefined) throw new RpcError(CODE.payNoSuchPayment, `Never attempted payment part ${partid} for '${payment_hash}'`);
    const payment = await node.payments.wait(wanted.id, timeout);
    if (payment.failure !== undefined) throw new RpcError(payment.failure.code, payment.failure.message, { ...paymentJson(payment), ...payment.failure.data });
    return paymentJson(payment);
  });

export const paymentCommands = (node: Node): readonly Command[] => [
  sendpay(node),
  waitsendpay(node),
  command('listsendpays', { bolt11: opt(str), payment_hash: opt(hash), status: opt(str) }, ({ bolt11, payment_hash, status }) => ({
    payments: node.payments
      .all()
      .filter((one) => (bolt11 === undefined || one.bolt11 === bolt11) && (payment_hash === undefined || one.hash === payment_hash) && (status === undefined || one.status === status))
      .map(paymentJson),
  })),
  command('listpays', { bolt11: opt(str), payment_hash: opt(hash), status: opt(str) }, ({ bolt11, payment_hash, status }) => ({
    pays: node.payments
      .pays()
      .filter(
        (pay) => (bolt11 === undefined || pay['bolt11'] === bolt11) && (payment_hash === undefined || pay['payment_hash'] === payment_hash) && (status === undefined || pay['status'] === status),
      ),
  })),
];

/** A hop in sendpay's own words, or as getroutes writes it. */
const stepParam: Parser<RouteStep> = (value) => {
  const either = <T>(one: string, other: string, parse: Parser<T>): T => {
    const found: Json | undefined = field(value, one) ?? field(value, other);
    if (found === undefined) throw badParam('route', `must have either ${one} or ${other}`, value);
    return parse(found, 'route');
  };
  return {
    channel: either('short_channel_id_dir', 'channel', channelParam),
    id: either('node_id_out', 'id', nodeId),
    amount_msat: either('amount_out_msat', 'amount_msat', msat),
    delay: either('cltv_out', 'delay', int),
  };
};

const channelParam: Parser<string> = (value, name) => {
  const match = typeof value === 'string' ? /^(\d+x\d+x\d+)(?:\/[01])?$/.exec(value) : null;
  if (match?.[1] === undefined) throw badParam(name, 'bad short_channel_id', value);
  return match[1];
};
