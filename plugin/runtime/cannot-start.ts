/** Thrown by `onInit`: why the plugin cannot run, in words that need no stack beside them. */
export class CannotStart extends Error {
  override readonly name = 'CannotStart';
}
