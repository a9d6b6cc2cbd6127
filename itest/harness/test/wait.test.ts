import { expect, test } from '@jest/globals';
import { waitFor } from '../wait.js';

test('answers as soon as the probe does, whatever it threw before', async () => {
  let calls = 0;
  const probe = (): number | undefined => {
    calls += 1;
    if (calls === 1) throw new Error('not yet');
    return calls === 3 ? 0 : undefined; // 0 is an answer, undefined and false are none
  };
  await expect(waitFor('the third call', probe, { interval: 1 })).resolves.toBe(0);
  expect(calls).toBe(3);
});

test('says what it waited for and why it did not come', async () => {
  const refuse = (): never => {
    throw new Error('connection refused');
  };
  await expect(waitFor('a node', refuse, { timeout: 5, interval: 1 })).rejects.toMatchObject({
    code: 'wait_timeout',
    what: 'a node',
    message: 'gave up after 5 ms waiting for a node; last error: connection refused',
  });
});
