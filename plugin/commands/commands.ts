/** All commands, by name; `plugin/schemas/<name>.json` documents each. */
import type { Method } from '../runtime/definition.js';
import { factoryBackup } from './backup.js';
import { StoreError } from '../store/errors.js';
import { factoryBuy } from './buy.js';
import { factoryClose } from './close.js';
import type { Context } from './context.js';
import { ErrorCode, fail } from './errors.js';
import { factoryCreate } from './create.js';
import { factoryExit } from './exit.js';
import { factoryJoin } from './join.js';
import { factoryLeave } from './leave.js';
import { factorySell } from './sell.js';
import { factoryRotate } from './rotate.js';
import { factoryList, factoryStatus } from './status.js';
import { factoryPlan } from './plan.js';
import { factoryTree } from './tree.js';
import { factoryVerify } from './verify.js';

/** What cannot be stored has not happened, and is no bug: a full disk, say. */
const storing = (method: Method): Method => ({
  ...method,
  run: async (params, command) => {
    try {
      return await method.run(params, command);
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      return fail(ErrorCode.Unavailable, `nothing was done, since it could not be stored: ${error.message}`);
    }
  },
});

export const commands = (context: () => Context): Readonly<Record<string, Method>> =>
  Object.fromEntries(Object.entries(all(context)).map(([name, method]) => [name, storing(method)]));

const all = (context: () => Context): Readonly<Record<string, Method>> => ({
  'factory-create': factoryCreate(context),
  'factory-status': factoryStatus(context),
  'factory-list': factoryList(context),
  'factory-close': factoryClose(context),
  'factory-exit': factoryExit(context),
  'factory-buy': factoryBuy(context),
  'factory-sell': factorySell(context),
  'factory-rotate': factoryRotate(context),
  'factory-join': factoryJoin(context),
  'factory-leave': factoryLeave(context),
  'factory-plan': factoryPlan(context),
  'factory-tree': factoryTree(context),
  'factory-verify': factoryVerify(context),
  'factory-backup': factoryBackup(context),
});
