/** Commands that are done once for a `request_id` (architecture 12.16). */
import { StoreError } from '../store/errors.js';
import { digest } from '../store/state-json.js';
import type { RequestKey, Store } from '../store/store.js';
import type { Context } from './context.js';
import { ErrorCode, fail } from './errors.js';

export const requestKey = (command: string, params: { readonly request_id: string | undefined }): RequestKey | undefined =>
  params.request_id === undefined ? undefined : { requestId: params.request_id, command, digest: digest({ ...params, request_id: null }) };

/** What is on record of the same request, if anything. @throws CommandError RequestMismatch, when it was another one */
export const recordOf = (ctx: Context, request: RequestKey | undefined): ReturnType<Store['request']> => {
  if (!request) return undefined;
  try {
    return ctx.store.request(request);
  } catch (error) {
    if (!(error instanceof StoreError) || error.code !== 'request_mismatch') throw error;
    return fail(ErrorCode.RequestMismatch, `request_id: ${request.requestId} was used before with other arguments`, { field: 'request_id' });
  }
};
