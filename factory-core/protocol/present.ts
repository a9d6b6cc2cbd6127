/**
 * For indexes our own code has made: a value that cannot be missing unless we have a bug. Never for what a peer said.
 */
export const present = <T>(value: T | null | undefined): T => {
  if (value === undefined || value === null) throw new Error('internal: a value that must be there is missing');
  return value;
};

/** `list` with the element at `index` replaced. */
export const withAt = <T>(list: readonly T[], index: number, value: T): readonly T[] =>
  list.map((old, i) => (i === index ? value : old));
