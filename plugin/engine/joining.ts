/** From an invitation to a factory of ours (as a member). */
import type { NodeId } from '../../blip/brands.js';
import type { FactoryEnvelope, Invite } from '../../blip/messages.js';
import { AbortCode } from '../../factory-core/protocol/abort-codes.js';
import { deriveFactoryKey, factorySecretLabel } from '../../factory-core/keys.js';
import { join } from '../../factory-core/member/machine.js';
import { createSigner, type Signer } from '../../factory-core/musig/index.js';
import type { InstanceId } from '../../blip/brands.js';
import type { Lightning } from '../lightning/lightning.js';
import type { Log } from '../runtime/definition.js';
import { refusal, type InviteContext, type Refusal } from './accepting.js';
import type { Engine } from './engine.js';
import type { Gate } from './gate.js';
import type { Messenger } from './messenger.js';

export type Random = (bytes: number) => Uint8Array;

/** The key of one factory, from the node's seed (architecture 3.8). The coordinator's id keeps roles and factories apart. */
export const factorySigner = async (ln: Pick<Lightning, 'secret'>, coordinator: NodeId, instanceId: InstanceId, random: Random): Promise<Signer> => {
  const secret = await ln.secret(factorySecretLabel(coordinator, instanceId));
  return createSigner(deriveFactoryKey(secret, coordinator, instanceId), random);
};

export interface JoiningParts {
  readonly lightning: Pick<Lightning, 'secret' | 'newPayout'>;
  readonly engine: Pick<Engine, 'get' | 'begin' | 'currentHeight'>;
  readonly messenger: Pick<Messenger, 'send'>;
  readonly log: Log;
  readonly random: Random;
  readonly gate: Pick<Gate, 'answers' | 'begins' | 'ignored'>;
  readonly context: (from: NodeId) => InviteContext;
}

const TOO_OFTEN: Refusal = { code: AbortCode.Busy, reason: 'too many invitations' };

export class Joining {
  /** Invitations being answered, and whose: the same one may come twice, and each is one more factory that is pending. */
  private readonly busy = new Map<InstanceId, NodeId>();

  constructor(private readonly parts: JoiningParts) {}

  /** Answers `join` or `decline`. */
  invited(from: NodeId, envelope: FactoryEnvelope): void {
    const { header, message } = envelope;
    if (message.type !== 'invite' || this.busy.has(header.instanceId)) return;
    const { gate } = this.parts;
    const context = this.parts.context(from);
    const pending = context.pending + [...this.busy.values()].filter((id) => id === from).length;
    const no = refusal(from, message, { ...context, pending }) ?? (gate.begins(from) ? undefined : TOO_OFTEN);
    if (no) {
      gate.ignored(from);
      // The first few times a stranger learns why; a flood of invitations costs neither a message nor a line.
      if (!gate.answers(from)) return;
      this.parts.log('info', `invitation from ${from} declined: ${no.reason}`);
      this.parts.messenger.send(from, { header, message: { type: 'decline', ...no } });
      return;
    }
    this.busy.set(header.instanceId, from);
    this.accept(from, header.instanceId, header.attempt, message)
      .catch((error: unknown) => {
        this.parts.log('unusual', `invitation from ${from} not answered: ${error instanceof Error ? error.message : String(error)}`);
      })
      .finally(() => this.busy.delete(header.instanceId));
  }

  private async accept(from: NodeId, instanceId: InstanceId, attempt: number, invite: Invite): Promise<void> {
    const { lightning, engine, random } = this.parts;
    const [signer, payout] = await Promise.all([factorySigner(lightning, from, instanceId, random), lightning.newPayout()]);
    if (engine.get(instanceId)) return;
    const first = join({
      instanceId,
      coordinator: from,
      attempt,
      invite,
      key: signer.publicKey,
      payoutScript: payout.script,
      height: engine.currentHeight(),
    });
    engine.begin(first.state, first.effects, signer);
  }
}
