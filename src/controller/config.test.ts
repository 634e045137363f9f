// What two processes must agree on although each has its own configuration.
import { expect, test } from 'vitest';
import { defaultInvokeTuning, virtualInvokeTuning } from '../gateway/config.ts';
import { defaultTuning, virtualStartTimeoutMs } from './config.ts';

test('the gateway waits for a start longer than one may take, as a process and in a virtual machine', () => {
  expect(defaultInvokeTuning.acquireTimeoutMs).toBeGreaterThan(defaultTuning.startTimeoutMs);
  expect(virtualInvokeTuning.acquireTimeoutMs).toBeGreaterThan(virtualStartTimeoutMs);
});
