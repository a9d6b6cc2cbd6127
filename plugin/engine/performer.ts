/** Which code performs which effect. */
import type { InstanceId, PaymentHash } from '../../blip/brands.js';
import type { DurableEffect, Event, VolatileEffect } from '../../factory-core/protocol/effects.js';
import type { Lightning } from '../lightning/lightning.js';
import type { Log } from '../runtime/definition.js';
import type { Broadcaster } from './broadcaster.js';
import { balancesTold, closeAttempt, type Factory } from './factory.js';
import type { Messenger } from './messenger.js';
import type { Outcome } from './outbox.js';
import { arm, audit, closeChannel, discardChannels, drain, openComplete, openStart, retireChannel } from './perform-channels.js';
import { dropPurchase, payFee } from './perform-purchase.js';
import { awaitNext, awaitOwed, moveBalance, payOwed, type MigrationParts } from './perform-migration.js';
import { sweepStock } from './perform-sweep.js';
import { prepareFunding, releaseFunding, selectCoins, sendFunding } from './perform-funding.js';

export interface PerformerParts {
  readonly lightning: Lightning;
  readonly messenger: Messenger;
  readonly broadcaster: Broadcaster;
  readonly log: Log;
  readonly random: (bytes: number) => Uint8Array;
  readonly height: () => number;
  readonly factory: (instanceId: InstanceId) => Factory | undefined;
  /** False: it could not be stored, and has not happened. */
  readonly dispatch: (instanceId: InstanceId, event: Event) => boolean;
}

/** How soon what could not be stored is tried again. */
const AGAIN_MS = 2_000;

export class Performer {
  private readonly timers = new Set<NodeJS.Timeout>();
  /** Hashes of the payments this process has sent by `sendpay`. */
  private readonly sent = new Set<PaymentHash>();
  private stopped = false;

  private readonly moving: MigrationParts;

  constructor(private readonly parts: PerformerParts) {
    this.moving = { ...parts, sent: this.sent };
  }

  stop(): void {
    this.stopped = true;
    for (const timer of this.timers) clearTimeout(timer);
    this.timers.clear();
  }

  durable(instanceId: InstanceId, effect: DurableEffect, signal: AbortSignal): Promise<Outcome> {
    const { lightning, log, factory } = this.parts;
    switch (effect.kind) {
      case 'select_coins':
        return selectCoins(lightning, effect);
      case 'prepare_funding':
        return prepareFunding(lightning, effect);
      case 'release_funding':
        return releaseFunding(lightning, effect);
      case 'send_funding':
        return sendFunding(lightning, effect);
      case 'open_start':
        return openStart(lightning, effect);
      case 'open_complete':
        return openComplete(lightning, effect);
      case 'discard_channels':
        return discardChannels(lightning, effect, log);
      case 'audit':
        return audit(lightning, effect, signal);
      case 'arm':
        return arm(lightning, effect);
      case 'pay_fee':
        return payFee(lightning, this.sent, effect, () => {
          const known = factory(instanceId);
          return known !== undefined && balancesTold(known.state);
        });
      case 'drop_purchase':
        return dropPurchase(lightning, effect, log);
      case 'retire_channel':
        return retireChannel(lightning, effect, signal);
      case 'await_next':
        return awaitNext(this.moving, instanceId, effect, signal);
      case 'move_balance':
      case 'settle_balance':
        return moveBalance(this.moving, instanceId, effect, signal);
      case 'await_owed':
        return awaitOwed(this.moving, instanceId, effect, signal);
      case 'pay_owed':
        return payOwed(this.moving, effect, signal);
    }
  }

  volatile(factory: Factory, effect: Exclude<VolatileEffect, { kind: 'progress' | 'log' }>): void {
    const { lightning, messenger, broadcaster, dispatch, log } = this.parts;
    const { instanceId } = factory;
    switch (effect.kind) {
      case 'send':
        messenger.send(effect.to, { header: { instanceId, attempt: effect.attempt }, message: effect.message });
        return;
      case 'timer':
        this.wake(instanceId, effect.name, effect.seconds * 1000);
        return;
      case 'broadcast':
        broadcaster.publish({ ...effect, instanceId }, this.parts.height());
        return;
      case 'sweep_stock':
        this.run(instanceId, effect.kind, () => sweepStock(lightning, factory.signer, effect, log));
        return;
      case 'close_channel':
        this.run(instanceId, effect.kind, () => closeChannel(lightning, effect));
        return;
      case 'thaw':
        this.run(instanceId, effect.kind, () => lightning.thaw(effect.channelIds));
        return;
      case 'drain':
        this.run(instanceId, effect.kind, async () => {
          const current = (): boolean => {
            const now = this.parts.factory(instanceId);
            return now !== undefined && closeAttempt(now.state) === effect.attempt;
          };
          const channels = await drain(lightning, effect.channelIds, current);
          if (channels) dispatch(instanceId, { type: 'drained', attempt: effect.attempt, channels });
        });
        return;
      case 'freeze':
        this.run(instanceId, effect.kind, async () => {
          try {
            await lightning.freeze(effect.channelIds);
          } catch (error) {
            const reason = error instanceof Error ? error.message : String(error);
            dispatch(instanceId, { type: 'freeze_failed', attempt: effect.attempt, reason });
            return;
          }
          dispatch(instanceId, { type: 'frozen', attempt: effect.attempt });
        });
        return;
    }
  }

  /** The one thing that must not be lost while this process lives: everything else that is lost times out. */
  private wake(instanceId: InstanceId, name: string, milliseconds: number): void {
    const timer = setTimeout(() => {
      this.timers.delete(timer);
      if (!this.stopped && !this.parts.dispatch(instanceId, { type: 'timeout', name })) this.wake(instanceId, name, AGAIN_MS);
    }, milliseconds);
    this.timers.add(timer);
  }

  /** Whatever fails here is planned again, or times out. */
  private run(instanceId: InstanceId, what: string, work: () => Promise<void>): void {
    work().catch((error: unknown) => {
      this.parts.log('unusual', `factory ${instanceId}: ${what}: ${error instanceof Error ? error.message : String(error)}`);
    });
  }
}
