import { expect, test } from 'vitest';
import type { InstanceId } from '../../base/ids.ts';
import { mib } from '../../base/quantity.ts';
import type { Sample } from '../measures.ts';
import type { ActualState } from '../state/actual.ts';
import { RecentUse } from './recent-use.ts';

const id = 'i-one' as InstanceId;
const actual = {
  get: () => ({ life: { phase: 'serving', known: { info: { grant: { memory: 100 * mib } } } } }),
} as unknown as Pick<ActualState, 'get'>;

function sampleAt(cpuUsageMicros: number, workingSetBytes = 50 * mib): Sample {
  return { instances: [{ id, usage: { cpuUsageMicros, workingSetBytes } }] } as unknown as Sample;
}

/** Looks once a second, from the second `from` to `to`; `micros` says what it has run for by then. */
function look(recent: RecentUse, from: number, to: number, micros: (second: number) => number): void {
  for (let second = from; second <= to; second += 1)
    recent.note(sampleAt(micros(second)), actual, second * 1_000);
}

test('who takes less than one per cent of a processor is not busy, and who takes more is', () => {
  const recent = new RecentUse();
  look(recent, 0, 60, (second) => second * 9_000);
  expect(recent.busyAtMs(id)).toBe(0);
  look(recent, 61, 80, (second) => 60 * 9_000 + (second - 60) * 12_000);
  expect(recent.busyAtMs(id)).toBe(80_000);
});

test('a timer that fires once in five seconds is no work, however long it takes in its own', () => {
  const recent = new RecentUse();
  look(recent, 0, 60, (second) => Math.floor(second / 5) * 40_000);
  expect(recent.busyAtMs(id)).toBe(0);
});

test('who really works is busy at once', () => {
  const recent = new RecentUse();
  look(recent, 0, 15, () => 0);
  recent.note(sampleAt(150_000), actual, 16_000);
  expect(recent.busyAtMs(id)).toBe(16_000);
});
