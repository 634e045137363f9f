// Shortfalls over a kernel that is a few fields; what a real one does is shown in tests/integration.
import fc from 'fast-check';
import { pino } from 'pino';
import { afterEach, expect, onTestFinished, test, vi } from 'vitest';
import { systemClock } from '../../base/clock.ts';
import { parseTenantId, parseWorkloadName, workloadKey, type InstanceId } from '../../base/ids.ts';
import { mib } from '../../base/quantity.ts';
import { defaultRequest } from '../../model/workload.ts';
import type { Cgroup } from '../cgroup/port.ts';
import { MemoryHolds } from './memory-holds.ts';
import { Shortfalls } from './shortfalls.ts';

const id = 'i-one' as InstanceId;
const group = ['tenants', 'acme', id];
const workload = workloadKey(parseTenantId('acme'), parseWorkloadName('app'));
const requestedBytes = 256 * mib;

function makeUnit() {
  const state = { limitBytes: requestedBytes, usedBytes: 40 * mib, held: false, frozen: false };
  let near: (() => void) | undefined;
  let watchers = 0;
  const fields = {
    capabilities: { memoryLimit: true },
    limits: () => ({ memoryBytes: state.limitBytes }),
    usage: () => ({ memoryBytes: state.usedBytes, workingSetBytes: state.usedBytes }),
    isFrozen: () => state.frozen,
    holdOutOfMemory: (_: unknown, held: boolean) => (state.held = held),
    memoryStrain: () => ({
      memoryBytes: state.usedBytes,
      limitBytes: state.limitBytes,
      held: state.held,
      waiting: state.held && state.usedBytes >= state.limitBytes,
    }),
    setLimits: async (_: unknown, { memoryBytes }: { memoryBytes: number }) => {
      state.limitBytes = memoryBytes;
      return 'applied';
    },
    watchMemory: (_: unknown, __: number, onNear: () => void) => {
      watchers += 1;
      near = onNear;
      const stop = (): void => {
        watchers -= 1;
        near = undefined;
      };
      return { tells: Promise.resolve(true), stop };
    },
  };
  const cgroup = fields as unknown as Cgroup;
  const told: string[] = [];
  let isLent = false;
  const shortfalls = new Shortfalls({
    cgroup,
    control: {
      describe: () => ({ tenant: parseTenantId('acme'), workload, grant: defaultRequest }),
      strained: (_, { strain }) => told.push(strain),
    },
    groupOfInstance: () => group,
    holds: new MemoryHolds(cgroup),
    clock: systemClock,
    log: pino({ level: 'silent' }),
    isLent: () => isLent,
  });
  /** It is granted so much of what is asked for it, as by a resize. */
  const settle = (limitMib: number, lent = false): void => {
    isLent = lent;
    shortfalls.request(id, requestedBytes, limitMib * mib);
    state.limitBytes = limitMib * mib;
    shortfalls.settle(id);
  };
  const use = (usedMib: number): void => {
    state.usedBytes = Math.min(usedMib * mib, state.limitBytes);
    near?.();
  };
  onTestFinished(() => shortfalls.close());
  return { state, shortfalls, told, settle, use, watchers: () => watchers };
}

afterEach(() => void vi.useRealTimers());

test('M-B4: while the limit is below what was asked for, out-of-memory is held; with all of it, it is not', () => {
  const { state, settle, watchers } = makeUnit();
  settle(128);
  expect([state.held, watchers()]).toEqual([true, 1]);
  settle(192);
  expect([state.held, watchers()]).toEqual([true, 1]);
  settle(256);
  expect([state.held, watchers()]).toEqual([false, 0]);
});

test('M-B4: that it comes near its limit is told, then that it waits, and that it is well again when it has more', () => {
  const { settle, use, told } = makeUnit();
  settle(128);
  use(100);
  expect(told).toEqual([]);
  use(115);
  use(128);
  expect(told).toEqual(['near', 'waiting']);
  settle(256);
  expect(told).toEqual(['near', 'waiting', 'easy']);
});

test('it is told again each second while it lasts, and once when it is over', () => {
  vi.useFakeTimers();
  const { settle, use, told } = makeUnit();
  settle(128);
  use(128);
  vi.advanceTimersByTime(2_500);
  expect(told).toEqual(['waiting', 'waiting', 'waiting']);
  use(60);
  vi.advanceTimersByTime(2_500);
  expect(told).toEqual(['waiting', 'waiting', 'waiting', 'easy']);
});

test('one that is frozen near its limit needs nothing until it runs again', () => {
  vi.useFakeTimers();
  const { state, settle, use, told } = makeUnit();
  state.frozen = true;
  settle(128);
  use(120);
  vi.advanceTimersByTime(2_000);
  expect(told).toEqual([]);
  state.frozen = false;
  vi.advanceTimersByTime(200);
  expect(told).toEqual(['near']);
});

test('what is lent of is held too, and looked after by whoever lent it', () => {
  const { state, settle, use, told, watchers } = makeUnit();
  settle(128, true);
  expect([state.held, watchers()]).toEqual([true, 0]);
  use(128);
  expect(told).toEqual([]);
  settle(128);
  expect([told, watchers()]).toEqual([['waiting'], 1]);
});

test('M-B4: an agent that stops leaves no hold, and nobody at a limit without one', async () => {
  const { state, settle, use, shortfalls } = makeUnit();
  settle(128);
  use(128);
  shortfalls.close();
  await expect.poll(() => state.held).toBe(false);
  expect(state.limitBytes).toBe(256 * mib);
});

type Event = { is: 'limit' | 'use'; count: number } | { is: 'lend' | 'forget' };
const event: fc.Arbitrary<Event> = fc.oneof(
  fc.record({ is: fc.constantFrom('limit', 'use'), count: fc.integer({ min: 20, max: 256 }) }),
  fc.record({ is: fc.constantFrom('lend', 'forget') }),
);

test('M-B4: whatever happens in whatever order, exactly who has less than was asked for is held, and no watch is left', () => {
  fc.assert(
    fc.property(fc.array(event, { maxLength: 25 }), (events) => {
      const { state, shortfalls, settle, use, watchers } = makeUnit();
      let isKnown = false;
      for (const each of events) {
        switch (each.is) {
          case 'limit':
            settle(each.count);
            isKnown = true;
            break;
          case 'lend':
            settle(state.limitBytes / mib, true);
            isKnown = true;
            break;
          case 'use':
            use(each.count);
            break;
          case 'forget':
            shortfalls.forget(id);
            isKnown = false;
            break;
        }
        expect(state.held).toBe(isKnown && state.limitBytes < requestedBytes);
        expect(watchers()).toBeLessThanOrEqual(1);
      }
      shortfalls.forget(id);
      expect([state.held, watchers()]).toEqual([false, 0]);
    }),
  );
});
