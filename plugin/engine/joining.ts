/** From an invitation to a factory of ours (as a member). */
import type { NodeId } from '../../blip/brands.js';
import type { FactoryEnvelope, Invite } from '../../blip/messages.js';
import { deriveFactoryKey, factorySecretLabel } from '../../factory-core/keys.js';
import { join } from '../../factory-core/member/machine.js';
import { createSigner, type Signer } from '../../factory-core/musig/index.js';
import type { InstanceId } from '../../blip/brands.js';
import type { Lightning } from '../lightning/lightning.js';
import type { Log } from '../runtime/definition.js';
import { refusal, type InviteContext } from './accepting.js';
import type { Engine } from './engine.js';
import type { Messenger } from './messenger.js';

export type Random = (bytes: number) => Uint8Array;

/** The key of one factory, from the node's seed (architecture 3.8). The coordinator's id keeps roles and factories apart. */
export const factorySigner = async (ln: Lightning, coordinator: NodeId, instanceId: InstanceId, random: Random): Promise<Signer> => {
  const secret = await ln.secret(factorySecretLabel(coordinator, instanceId));
  return createSigner(deriveFactoryKey(secret, coordinator, instanceId), random);
};

export interface JoiningParts {
  readonly lightning: Lightning;
  readonly engine: Engine;
  readonly messenger: Messenger;
  readonly log: Log;
  readonly random: Random;
  readonly context: (from: NodeId) => InviteContext;
}

export class Joining {
  /** Invitations being answered: the same one may come twice. */
  private readonly busy = new Set<InstanceId>();

  constructor(private readonly parts: JoiningParts) {}

  /** Answers `join` or `decline`; a stranger's invitation costs a line in the log and one short message. */
  invited(from: NodeId, envelope: FactoryEnvelope): void {
    const { header, message } = envelope;
    if (message.type !== 'invite' || this.busy.has(header.instanceId)) return;
    const no = refusal(from, message, this.parts.context(from));
    if (no) {
      this.parts.log('info', `invitation from ${from} declined: ${no.reason}`);
      this.parts.messenger.send(from, { header, message: { type: 'decline', ...no } });
      return;
    }
    this.busy.add(header.instanceId);
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
