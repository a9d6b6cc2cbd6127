/** The plugin, as lightningd starts it. */
import { FACTORY_FEATURE_BITS, FACTORY_MESSAGE_TYPE } from '../blip/index.js';
import { createApp, openPluginStore, type App } from './app.js';
import { commands } from './commands/commands.js';
import type { Context } from './commands/context.js';
import { ErrorCode, fail } from './commands/errors.js';
import { stateName } from './commands/views.js';
import type { Change } from './engine/engine.js';
import type { FactoryEvent } from './engine/events.js';
import type { FactoryWarning } from './engine/watchdog.js';
import { connected, hooks, subscriptions } from './hooks.js';
import { createLightning } from './lightning/cln.js';
import { versionProblem } from './lightning/version.js';
import { OPTIONS } from './options.js';
import { CannotStart } from './runtime/cannot-start.js';
import { createPlugin } from './runtime/plugin.js';
import { runPlugin } from './runtime/run.js';
import { StoreError } from './store/errors.js';

let app: App | undefined;
const running = (): App | undefined => app;
const context = (): Context => app?.context ?? fail(ErrorCode.Unavailable, 'the plugin is still starting');

/** For other plugins and scripts: a factory has come to another state. */
const STATE_CHANGED = 'factory_state_changed';
const announceState = ({ instanceId, before, after }: Change): void => {
  const [was, is] = [before && stateName(before), stateName(after)];
  if (was === is) return;
  plugin.log('info', `factory ${instanceId}: ${was === undefined ? '' : `${was} -> `}${is}`);
  plugin.notify(STATE_CHANGED, { factory_id: instanceId, role: after.role, ...(was === undefined ? {} : { old_state: was }), new_state: is });
};

/** Something presses: the same that `factory-status` lists, said when it is new and again the oftener the more it does. */
const WARNING = 'factory_warning';
const announceWarning = ({ instanceId, role, height, code, urgency, text, deadline }: FactoryWarning): void =>
  plugin.notify(WARNING, { factory_id: instanceId, role, code, urgency, text, height, deadline });

/** What happens by itself: of rotations, the waiting room, members who leave. */
const EVENT = 'factory_event';
const announceEvent = ({ event, text, instanceId, node, height }: FactoryEvent): void =>
  plugin.notify(EVENT, { event, text, height, ...(instanceId === undefined ? {} : { factory_id: instanceId }), ...(node === undefined ? {} : { node_id: node }) });

const plugin = createPlugin({
  name: 'cln-factory',
  options: OPTIONS,
  featurebits: { node: FACTORY_FEATURE_BITS, init: FACTORY_FEATURE_BITS },
  custommessages: [FACTORY_MESSAGE_TYPE],
  methods: commands(context),
  hooks: hooks(running),
  subscriptions: subscriptions(running),
  notifications: [STATE_CHANGED, WARNING, EVENT],
  onInit: async ({ options, rpc }) => {
    const lightning = createLightning(rpc);
    const log = plugin.log.bind(plugin);
    const info = await lightning.info();
    const tooOld = versionProblem(info.version);
    if (tooOld !== undefined) throw new CannotStart(tooOld);
    try {
      const store = openPluginStore(info, options);
      const starting = await createApp(lightning, info, store, () => plugin.options, log);
      starting.context.engine.onChange(announceState);
      starting.watchdog.onWarning(announceWarning);
      starting.context.events.on(announceEvent);
      await starting.start();
      app = starting;
    } catch (error) {
      // Fail closed: what fails here ends the plugin. A node must not go on as if it had no factories.
      throw error instanceof StoreError ? new CannotStart(error.message, { cause: error }) : error;
    }
    // Peers that are connected already (a restart of the plugin alone).
    for (const peer of await lightning.peers()) if (peer.connected) await connected(app, peer.id);
    return undefined;
  },
  onShutdown: () => app?.stop(),
});

await runPlugin(plugin);
