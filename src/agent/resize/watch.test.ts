// When a group whose memory limit was lowered is looked at, over a kernel that only counts; that the real one tells, and what
// follows from it, is shown in tests/integration.
import { pino } from 'pino';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { mib } from '../../base/quantity.ts';
import type { Cgroup } from '../cgroup/port.ts';
import { MemoryHolds } from './memory-holds.ts';
import { ShrinkWatch } from './watch.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const group = ['tenants', 'acme', 'i-1'];

function makeWatch({ tells }: { tells: boolean }) {
  const state = {
    looks: 0,
    chargedBytes: 40 * mib,
    cacheBytes: 0,
    waiting: false,
    limitBytes: (200 * mib) as number | null,
    held: false,
    /** Charged so much, the kernel tells; undefined while it does not. */
    tellsAtBytes: undefined as number | undefined,
  };
  let near = (): void => undefined;
  const strained: string[] = [];
  const cgroup = {
    memoryStrain: () => {
      state.looks += 1;
      const { chargedBytes: memoryBytes, limitBytes, waiting, held } = state;
      return { memoryBytes, limitBytes, limitHits: 0, waiting, held };
    },
    usage: () => ({ workingSetBytes: state.chargedBytes - state.cacheBytes }),
    setLimits: async (_: unknown, { memoryBytes }: { memoryBytes: number | null }) => {
      state.limitBytes = memoryBytes;
      return 'applied';
    },
    holdOutOfMemory: (_: unknown, held: boolean) => (state.held = held),
    watchMemory: (_: unknown, nearBytes: number, onNear: () => void) => {
      near = onNear;
      state.tellsAtBytes = nearBytes;
      return { tells: Promise.resolve(tells), stop: () => (state.tellsAtBytes = undefined) };
    },
  } as unknown as Cgroup;
  const watch = new ShrinkWatch({
    cgroup,
    holds: new MemoryHolds(cgroup),
    clock: { nowMs: () => Date.now(), monotonicMs: () => Date.now() },
    log: pino({ level: 'silent' }),
    onStrained: (key) => strained.push(key),
  });
  return { state, strained, watch, tell: () => near() };
}

test('a lowered limit that nobody comes near costs two looks, and the hold ends after two seconds', async () => {
  const { state, strained, watch } = makeWatch({ tells: true });
  await watch.lower('one', group, 200 * mib, 100 * mib);
  const before = state.looks;
  await vi.advanceTimersByTimeAsync(1_990);
  expect(state.looks - before).toBe(2);
  expect(state).toMatchObject({ held: true, tellsAtBytes: 98 * mib });
  await vi.advanceTimersByTimeAsync(20);
  expect(state).toMatchObject({ held: false, tellsAtBytes: undefined, limitBytes: 100 * mib });
  expect(strained).toEqual([]);
});

test('who is told of as near has the old limit again at once', async () => {
  const { state, strained, watch, tell } = makeWatch({ tells: true });
  await watch.lower('one', group, 200 * mib, 100 * mib);
  await vi.advanceTimersByTimeAsync(500);
  state.chargedBytes = 99 * mib;
  tell();
  await vi.advanceTimersByTimeAsync(0);
  expect(state).toMatchObject({ limitBytes: 200 * mib, held: false });
  expect(strained).toEqual(['one']);
});

test('a process that waits at the limit has the old one again, whatever is charged', async () => {
  const { state, strained, watch, tell } = makeWatch({ tells: true });
  await watch.lower('one', group, 200 * mib, 100 * mib);
  await vi.advanceTimersByTimeAsync(500);
  state.waiting = true;
  tell();
  await vi.advanceTimersByTimeAsync(0);
  expect([state.limitBytes, strained]).toEqual([200 * mib, ['one']]);
});

test('who comes near before the kernel tells, or before anything was arranged, is seen within a look', async () => {
  const { state, strained, watch } = makeWatch({ tells: true });
  await watch.lower('one', group, 200 * mib, 100 * mib);
  state.chargedBytes = 99 * mib;
  await vi.advanceTimersByTimeAsync(10);
  expect([state.limitBytes, strained]).toEqual([200 * mib, ['one']]);
});

test('one that cache fills is looked at until it can not be dropped any more', async () => {
  const { state, strained, watch, tell } = makeWatch({ tells: true });
  await watch.lower('one', group, 200 * mib, 100 * mib);
  await vi.advanceTimersByTimeAsync(500);
  Object.assign(state, { chargedBytes: 99 * mib, cacheBytes: 50 * mib });
  tell();
  await vi.advanceTimersByTimeAsync(500);
  expect(strained).toEqual([]);
  state.cacheBytes = 0;
  await vi.advanceTimersByTimeAsync(10);
  expect(strained).toEqual(['one']);
});

test('where nobody tells it is looked at a hundred times a second', async () => {
  const { state, strained, watch } = makeWatch({ tells: false });
  await watch.lower('one', group, 200 * mib, 100 * mib);
  await vi.advanceTimersByTimeAsync(500);
  const before = state.looks;
  await vi.advanceTimersByTimeAsync(1_000);
  expect(state.looks - before).toBe(100);
  state.chargedBytes = 99 * mib;
  await vi.advanceTimersByTimeAsync(10);
  expect(strained).toEqual(['one']);
});

test('raised to less than before, it is told of at the new limit, and no longer than from when it was lowered', async () => {
  const { state, watch } = makeWatch({ tells: true });
  await watch.lower('one', group, 200 * mib, 100 * mib);
  await vi.advanceTimersByTimeAsync(1_000);
  state.limitBytes = 150 * mib;
  watch.raised('one', 150 * mib);
  await vi.advanceTimersByTimeAsync(100);
  expect(state).toMatchObject({ held: true, tellsAtBytes: 148 * mib });
  await vi.advanceTimersByTimeAsync(901);
  expect(state).toMatchObject({ held: false, tellsAtBytes: undefined });
});

test('raised to what it was before, nobody watches it', async () => {
  const { state, watch } = makeWatch({ tells: true });
  await watch.lower('one', group, 200 * mib, 100 * mib);
  await vi.advanceTimersByTimeAsync(500);
  watch.raised('one', 200 * mib);
  expect(state).toMatchObject({ held: false, tellsAtBytes: undefined });
});
