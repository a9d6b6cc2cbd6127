/** All commands, by name; `plugin/schemas/<name>.json` documents each. */
import type { Method } from '../runtime/definition.js';
import { factoryBackup } from './backup.js';
import { factoryClose } from './close.js';
import type { Context } from './context.js';
import { factoryCreate } from './create.js';
import { factoryExit } from './exit.js';
import { factoryList, factoryStatus } from './status.js';
import { factoryPlan, factoryTree } from './tree.js';
import { factoryVerify } from './verify.js';

export const commands = (context: () => Context): Readonly<Record<string, Method>> => ({
  'factory-create': factoryCreate(context),
  'factory-status': factoryStatus(context),
  'factory-list': factoryList(context),
  'factory-close': factoryClose(context),
  'factory-exit': factoryExit(context),
  'factory-plan': factoryPlan(context),
  'factory-tree': factoryTree(context),
  'factory-verify': factoryVerify(context),
  'factory-backup': factoryBackup(context),
});
