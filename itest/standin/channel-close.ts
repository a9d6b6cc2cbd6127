import { bytesToHex } from '@noble/hashes/utils.js';
import { type Cause, type Channel, isClosing, nameOf } from './channel.js';
import type { Channels } from './channels.js';
import type { Call } from './commands.js';
import { CLOSING_FEE, closingTx, ourCommitment, signClosing } from './commitment.js';
import { PERMANENT_CHANNEL_FAILURE } from './failures.js';
import type { Node } from './node.js';
import { badParam } from './params.js';
import { parsePsbt } from './tx.js';
import { CODE, type Json, type JsonObject, RpcError, text } from './types.js';
import { RESERVATION } from './wallet.js';

interface CloseCall {
  readonly resolve: (result: Json) => void;
  readonly timer: NodeJS.Timeout | undefined;
}

/** Ends of channels: by agreement (BOLT 2: shutdown, closing_signed), by force, by an error. */
export class ChannelCloser {
  private readonly calls = new Map<number, CloseCall[]>();

  constructor(private readonly channels: Channels) {}

  private get node(): Node {
    return this.channels.node;
  }

  /** `close`: resolves when the closing transaction is on its way. Seconds; 0 never forces. @throws RpcError */
  close(channel: Channel, timeout: number, destination: string | undefined, call: Call): Promise<Json> {
    if (isClosing(channel)) throw badParam('id', `Channel in state ${channel.state}`, channel.channelId);
    if (destination !== undefined && destination !== channel.shutdown.local) {
      if (channel.shutdown.sent || this.node.wallet.ownerOf(channel.shutdown.local) === undefined)
        throw new RpcError(CODE.invalidParams, `Destination address ${destination} does not match previous shutdown script ${channel.shutdown.local}`);
      channel.shutdown.local = destination;
    }
    if (!channel.shutdown.sent) {
      channel.shutdown.sent = true;
      if (!channel.shutdown.received) {
        channel.closer = 'local';
        this.channels.setState(channel, 'CHANNELD_SHUTTING_DOWN', 'user', 'User or plugin invoked close command');
      }
      this.channels.save(channel);
      this.sendShutdown(channel);
    }
    if (!this.channels.link.isLive(channel)) {
      const patience = timeout === 0 ? '' : ` (${timeout} seconds before unilateral close)`;
      call.notify('message', { level: 'info', message: `peer is offline, will negotiate once they reconnect${patience}.` });
    }
    const answer = new Promise<Json>((resolve) => {
      const timer = timeout === 0 ? undefined : setTimeout(() => {
        this.fail(channel, 'user', 'Forcibly closed by `close` command timeout');
      }, timeout * 1000);
      timer?.unref();
      this.calls.set(channel.id, [...(this.calls.get(channel.id) ?? []), { resolve, timer }]);
    });
    this.resume(channel);
    return answer;
  }

  /** Goes on with a close where it stopped, if there is one. */
  resume(channel: Channel): void {
    const { link } = this.channels;
    if (!link.isLive(channel) || !channel.shutdown.sent) return;
    if (channel.state === 'CHANNELD_SHUTTING_DOWN') {
      if (!channel.shutdown.received || channel.htlcs.length > 0 || channel.pendingCommit !== undefined) return;
      this.channels.setState(channel, 'CLOSINGD_SIGEXCHANGE', causeOf(channel), 'Start closingd');
    }
    if (channel.state === 'CLOSINGD_SIGEXCHANGE' && channel.opener === 'local') link.send(channel, 'closing_signed', { signature: signClosing(channel, this.node.keys) });
  }

  /** After a reconnection: what the peer may have missed. */
  reconnected(channel: Channel): void {
    if (channel.shutdown.sent) this.sendShutdown(channel);
    this.resume(channel);
  }

  /** The peer comes back to a close that is complete for us: it lacks our signature. */
  completed(channel: Channel): void {
    if (channel.state === 'CLOSINGD_COMPLETE' && channel.opener === 'remote') this.channels.link.send(channel, 'closing_signed', { signature: signClosing(channel, this.node.keys) });
  }

  /** @returns false when the message is about something else */
  received(channel: Channel, type: string, message: JsonObject): boolean {
    if (type === 'shutdown') this.peerCloses(channel, text(message, 'script') ?? '');
    else if (type === 'closing_signed') this.agreed(channel, text(message, 'signature') ?? '');
    else if (type === 'error') this.fail(channel, 'protocol', `channeld: received ERROR channel ${channel.channelId}: ${text(message, 'text') ?? ''}`);
    else return false;
    return true;
  }

  /** Gives up on the peer: the commitment transaction goes to the chain, or a withheld channel goes for good. */
  fail(channel: Channel, cause: Cause, why: string): void {
    if (isClosing(channel)) return;
    this.channels.logOf(channel).unusual(`Peer permanent failure in ${channel.state}: ${why} (reason=${cause})`);
    channel.error ??= why;
    this.channels.link.send(channel, 'error', { text: channel.error });
    if (!channel.withheld) this.channels.setState(channel, 'AWAITING_UNILATERAL', cause, why);
    this.drop(channel, false, cause);
  }

  private sendShutdown(channel: Channel): void {
    this.channels.link.send(channel, 'shutdown', { script: channel.shutdown.local });
  }

  private peerCloses(channel: Channel, script: string): void {
    if (isClosing(channel)) return;
    channel.shutdown.remote = script;
    channel.shutdown.received = true;
    if (!channel.shutdown.sent) {
      channel.shutdown.sent = true;
      channel.closer = 'remote';
      this.channels.setState(channel, 'CHANNELD_SHUTTING_DOWN', 'remote', 'Peer closes channel');
      this.sendShutdown(channel);
    }
    this.channels.save(channel);
    this.resume(channel);
  }

  private agreed(channel: Channel, signature: string): void {
    this.resume(channel);
    if (channel.state !== 'CLOSINGD_SIGEXCHANGE') return;
    const tx = closingTx(channel, this.node.keys, signature);
    if (tx === undefined) {
      this.fail(channel, 'protocol', 'closingd: bad closing_signed signature');
      return;
    }
    channel.status = [`CLOSINGD_SIGEXCHANGE:We agreed on a closing fee of ${CLOSING_FEE} satoshi for tx:${tx.txid}`];
    channel.closingTx = tx;
    this.channels.setState(channel, 'CLOSINGD_COMPLETE', causeOf(channel), 'Closing complete');
    this.completed(channel);
    this.drop(channel, true, causeOf(channel));
  }

  private drop(channel: Channel, cooperative: boolean, cause: Cause): void {
    if (channel.withheld) {
      this.forgetWithheld(channel, cooperative, cause);
      return;
    }
    const tx = cooperative ? channel.closingTx : ourCommitment(channel, this.node.keys);
    if (tx === undefined) return;
    if (cooperative)
      this.node.store.atomically(() => {
        this.node.wallet.sent(tx.hex);
      });
    if (channel.lost !== true) this.channels.chain.broadcast(channel, tx.hex);
    this.answer(channel, cooperative, [tx]);
  }

  /** Nobody has its funding transaction: nothing to send, and the coins meant for it are free again (lightningd-facts). */
  private forgetWithheld(channel: Channel, cooperative: boolean, cause: Cause): void {
    this.channels.logOf(channel).info('Withheld channel: not sending a close transaction');
    this.node.store.atomically(() => {
      this.failHtlcs(channel);
      const psbt = channel.fundingPsbt === undefined ? undefined : parsePsbt(channel.fundingPsbt);
      for (let i = 0; i < (psbt?.inputsLength ?? 0); i += 1) {
        const { txid, index } = psbt?.getInput(i) ?? {};
        const utxo = txid === undefined || index === undefined ? undefined : this.node.wallet.utxo(bytesToHex(txid), index);
        if (utxo !== undefined) this.node.wallet.unreserve(utxo, Math.max(RESERVATION, utxo.reservedTil));
      }
      this.channels.forget(channel, cause);
    });
    this.answer(channel, cooperative, []);
  }

  /** What we have forwarded into this channel will not be paid. */
  failHtlcs(channel: Channel): void {
    const open = channel.htlcs.filter(({ direction, preimage }) => direction === 'out' && preimage === undefined);
    channel.htlcs = [];
    for (const { origin } of open)
      if (origin !== undefined) this.node.forwards.failed(origin, { message: PERMANENT_CHANNEL_FAILURE, node: this.node.keys.nodeId, channel: nameOf(channel) });
  }

  /** Everybody who waits for this channel's end hears of it. */
  answer(channel: Channel, cooperative: boolean, txs: readonly { readonly txid: string; readonly hex: string }[]): void {
    for (const { resolve, timer } of this.calls.get(channel.id) ?? []) {
      clearTimeout(timer);
      resolve({ txs: txs.map(({ hex }) => hex), txids: txs.map(({ txid }) => txid), type: cooperative ? 'mutual' : 'unilateral' });
    }
    this.calls.delete(channel.id);
  }
}

const causeOf = ({ closer }: Channel): Cause => (closer === 'local' ? 'user' : 'remote');
