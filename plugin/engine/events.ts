/** What happens by itself and people may want to hear of: into the log, and out as the notification `factory_event`. */
import type { InstanceId, NodeId } from '../../blip/brands.js';
import type { Log } from '../runtime/definition.js';

export interface FactoryEvent {
  /** One of few words, for scripts. */
  readonly event: string;
  /** For people. */
  readonly text: string;
  readonly instanceId?: InstanceId;
  readonly node?: NodeId;
  readonly height: number;
}

export class Events {
  private readonly listeners = new Set<(event: FactoryEvent) => void>();

  constructor(private readonly log: Log) {}

  on(listener: (event: FactoryEvent) => void): void {
    this.listeners.add(listener);
  }
  emit(event: FactoryEvent): void {
    const subject = event.instanceId === undefined ? '' : `factory ${event.instanceId}: `;
    this.log('info', `${subject}${event.event}: ${event.text}`);
    for (const listener of this.listeners) listener(event);
  }
}
