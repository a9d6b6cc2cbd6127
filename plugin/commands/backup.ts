/** `factory-backup`: a copy of the plugin's database while it runs. */
import { isAbsolute } from 'node:path';

import { method, param } from '../runtime/plugin.js';
import { StoreError } from '../store/errors.js';
import type { Context } from './context.js';
import { ErrorCode, fail, invalid } from './errors.js';

export const factoryBackup = (context: () => Context) =>
  method({
    description: 'Copy the plugin’s database to a new file',
    longDescription:
      'The copy is whole, checked and readable by its owner only; nothing is overwritten. To restore it, stop the node and put it where the database was. ' +
      'A copy that is not the newest is only watched with: nothing is signed, exits work.',
    category: 'factory',
    params: { file: param.string({ pattern: /^[^\0]+$/, expected: 'a file name', maxLength: 4096 }) },
    check: ({ file }) => {
      absolute(file);
    },
    run: async ({ file }) => {
      absolute(file);
      const ctx = context();
      try {
        const { path, bytes, generation } = await ctx.store.backup(file);
        return { file: path, bytes, generation, factories: ctx.engine.all().length };
      } catch (error) {
        if (!(error instanceof StoreError)) throw error;
        return error.code === 'exists' ? invalid('file', error.message) : fail(ErrorCode.Unavailable, `factory-backup: ${error.message}`, { file });
      }
    },
  });

/** The plugin's working directory is lightningd's, which the operator does not see. */
const absolute = (file: string): void => {
  if (!isAbsolute(file)) invalid('file', 'must be an absolute path');
};
