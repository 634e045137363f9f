// What two processes must agree on although each has its own configuration.
import { expect, test } from 'vitest';
import { hostKeepAlive, virtualKeepAlive } from '../allocator/arrivals/keeping.ts';
import { defaultInvokeTuning, tuningIn, virtualInvokeTuning } from '../gateway/config.ts';
import { unitKinds } from '../model/unit-kind.ts';
import {
  controllerConfig,
  defaultTuning,
  keepAliveIn,
  startTimeoutIn,
  tuningOf,
  virtualStartTimeoutMs,
} from './config.ts';

test('the gateway waits for a start longer than one may take, as a process and in a virtual machine', () => {
  expect(defaultInvokeTuning.acquireTimeoutMs).toBeGreaterThan(defaultTuning.startTimeoutMs);
  expect(virtualInvokeTuning.acquireTimeoutMs).toBeGreaterThan(virtualStartTimeoutMs);
});

test("a client of an app waits for its machine as long as a function's caller waits for one", () => {
  expect(virtualInvokeTuning.appWaitMs).toBe(virtualInvokeTuning.maxWaitMs);
});

test('a start on this machine is given no more time for the machines that there are beside it', () => {
  expect(startTimeoutIn('host', defaultTuning)).toBe(60_000);
  expect(startTimeoutIn('vm', defaultTuning)).toBe(virtualStartTimeoutMs);
  const here = tuningIn(virtualInvokeTuning, 'host');
  expect(here).toMatchObject({ maxWaitMs: defaultInvokeTuning.maxWaitMs, firstStartMs: 50 });
  expect(tuningIn(virtualInvokeTuning, 'vm')).toBe(virtualInvokeTuning);
});

test('idle instances stay as somebody named it, else for less long in virtual machines, which cost something while they idle', () => {
  const config = controllerConfig.parse({
    dataDirectory: '/data',
    port: 0,
    host: '127.0.0.1',
    network: 'host',
    cgroupRoot: '/groups',
  });
  expect(keepAliveIn('host', tuningOf(config))).toEqual(hostKeepAlive);
  expect(keepAliveIn('vm', tuningOf({ ...config, units: {} }))).toEqual(virtualKeepAlive);
  for (const kind of unitKinds)
    expect(keepAliveIn(kind, tuningOf({ ...config, units: {}, keepAliveMs: 5_000 }))).toEqual({
      type: 'fixed',
      keptMs: 5_000,
    });
});

test('machines go to disk by themselves only where somebody said so, and for others’ need no later than that', () => {
  const config = controllerConfig.parse({
    dataDirectory: '/data',
    port: 0,
    host: '127.0.0.1',
    network: 'host',
    cgroupRoot: '/groups',
    units: {},
  });
  const after = (hibernateAfterMs: number | undefined) => {
    const { hibernateAfterMs: bySelf, hibernateIdleMs: whenNeeded } = tuningOf({
      ...config,
      hibernateAfterMs,
    });
    return [bySelf, whenNeeded];
  };
  expect(after(undefined)).toEqual([null, 60_000]);
  expect(after(600_000)).toEqual([600_000, 60_000]);
  expect(after(15_000)).toEqual([15_000, 15_000]);
});
