/** What is said of a factory that is to be, by `factory-create` and by `factory-rotate`. */
import { param } from '../runtime/plugin.js';
import { feerateParam, shapeParam } from './params.js';

export interface NewFactoryParams {
  readonly request_id: string | undefined;
  readonly min_clients: number | undefined;
  readonly feerate: number | undefined;
  readonly active_blocks: number | undefined;
  readonly dying_blocks: number | undefined;
  readonly shape: readonly number[] | undefined;
  readonly dry_run: boolean;
}

export const newFactoryParams = {
  request_id: param.optional(param.string({ maxLength: 128 })),
  min_clients: param.optional(param.int(1, 1_000)),
  feerate: param.optional(feerateParam),
  active_blocks: param.optional(param.int(1, 1_000_000)),
  dying_blocks: param.optional(param.int(1, 1_000_000)),
  shape: param.optional(shapeParam),
  dry_run: param.withDefault(param.bool(), false),
};

/** Everything as it is by default. */
export const NOTHING_SAID: NewFactoryParams = {
  request_id: undefined,
  min_clients: undefined,
  feerate: undefined,
  active_blocks: undefined,
  dying_blocks: undefined,
  shape: undefined,
  dry_run: false,
};
