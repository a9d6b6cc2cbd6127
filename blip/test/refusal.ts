import { DecodeError, EncodeError } from '../errors.js';

/** The error of a call that must throw one of ours; anything else it throws fails the test as it is. */
export const refusal = (call: () => unknown): DecodeError | EncodeError => {
  try {
    call();
  } catch (e) {
    if (e instanceof DecodeError || e instanceof EncodeError) return e;
    throw e;
  }
  throw new Error('was accepted');
};

/** A decoder's answer: its value, or its refusal. Any other exception is a bug, and thrown on. */
export const attempt = <T>(call: () => T): T | DecodeError => {
  try {
    return call();
  } catch (e) {
    if (e instanceof DecodeError) return e;
    throw e;
  }
};
