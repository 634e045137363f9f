// When lent instances are looked at, over a kernel that only counts; that the real one tells is shown in tests/integration.
import { pino } from 'pino';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { InstanceId } from '../../base/ids.ts';
import { mib } from '../../base/quantity.ts';
import type { Cgroup } from '../cgroup/port.ts';
import { LentWatch } from './lent-watch.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const idOf = (index: number): InstanceId => `i-${index}` as InstanceId;
const groupOf = (index: number): string[] => ['tenants', 'acme', idOf(index)];

function makeWatch({ tells }: { tells: boolean }) {
  const state = {
    looks: 0,
    chargedBytes: 40 * mib,
    cacheBytes: 0,
    frozen: false,
    waiting: false,
    watched: 0,
  };
  const strained: InstanceId[] = [];
  let near = (): void => undefined;
  const cgroup = {
    memoryStrain: () => {
      state.looks += 1;
      return { memoryBytes: state.chargedBytes, waiting: state.waiting };
    },
    usage: () => ({ workingSetBytes: state.chargedBytes - state.cacheBytes }),
    isFrozen: () => state.frozen,
    watchMemory: (_: unknown, __: number, onNear: () => void) => {
      near = onNear;
      state.watched += 1;
      return { tells: Promise.resolve(tells), stop: () => (state.watched -= 1) };
    },
  } as unknown as Cgroup;
  const watch = new LentWatch({
    cgroup,
    log: pino({ level: 'silent' }),
    onStrained: (id) => {
      strained.push(id);
      watch.end(id);
    },
  });
  return { state, strained, watch, tell: () => near() };
}

/** Until the kernel tells. */
async function begin(watch: LentWatch, index = 1): Promise<void> {
  watch.begin(idOf(index), groupOf(index), 100 * mib);
  await Promise.resolve();
}

test('two hundred that are not near are not looked at: the kernel would tell', async () => {
  const { state, watch } = makeWatch({ tells: true });
  for (let index = 0; index < 200; index += 1) await begin(watch, index);
  const atTheBeginning = state.looks;
  vi.advanceTimersByTime(60_000);
  expect(state.looks).toBe(atTheBeginning);
  expect(state.watched).toBe(200);
  watch.close();
  expect(state.watched).toBe(0);
});

test('who is told of as near is strained at once; near by cache alone, it is looked at until that changes', async () => {
  const { state, strained, watch, tell } = makeWatch({ tells: true });
  await begin(watch);
  Object.assign(state, { chargedBytes: 99 * mib, cacheBytes: 60 * mib });
  tell();
  expect(strained).toEqual([]);
  const before = state.looks;
  vi.advanceTimersByTime(1000);
  expect(state.looks - before).toBe(10);
  state.cacheBytes = 0;
  vi.advanceTimersByTime(100);
  expect(strained).toEqual([idOf(1)]);
  const after = state.looks;
  vi.advanceTimersByTime(10_000);
  expect(state.looks).toBe(after);
});

test('a process that waits is strain, whatever is charged', async () => {
  const { state, strained, watch, tell } = makeWatch({ tells: true });
  await begin(watch);
  state.waiting = true;
  tell();
  expect(strained).toEqual([idOf(1)]);
});

test('one that was near before it was watched is seen without being told of', async () => {
  const { state, strained, watch } = makeWatch({ tells: true });
  state.chargedBytes = 99 * mib;
  await begin(watch);
  expect(strained).toEqual([idOf(1)]);
});

test('one that stands still is never strained, however near, and not looked at', async () => {
  const { state, strained, watch } = makeWatch({ tells: true });
  Object.assign(state, { chargedBytes: 100 * mib, frozen: true });
  await begin(watch);
  const before = state.looks;
  vi.advanceTimersByTime(10_000);
  expect([strained, state.looks]).toEqual([[], before]);
});

test('where nobody tells, each is looked at ten times a second', async () => {
  const { state, strained, watch } = makeWatch({ tells: false });
  await begin(watch);
  const before = state.looks;
  vi.advanceTimersByTime(1000);
  expect(state.looks - before).toBe(10);
  state.chargedBytes = 99 * mib;
  vi.advanceTimersByTime(100);
  expect(strained).toEqual([idOf(1)]);
});
