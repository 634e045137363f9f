import { expect, test } from 'vitest';
import type { WorkloadKey } from '../../base/ids.ts';
import { BusyElsewhere } from './busy-elsewhere.ts';
import type { Traffic } from './traffic.ts';

let nowMs = 0;
const clock = { nowMs: () => nowMs, monotonicMs: () => nowMs };

function lineOf(name: string, busyInstances: number, most = busyInstances): Traffic[number] {
  const counts = {
    requests: 1,
    errors: 0,
    throttles: 0,
    waiting: 0,
    connections: 0,
    bytesIn: 1,
    bytesOut: 1,
  };
  const calls = { most, calledAtMs: null, endedAtMs: null };
  return { workload: name as WorkloadKey, busyInstances, ...counts, calls };
}

test('instances that work for another gateway are counted, and its bytes are not counted again', () => {
  const elsewhere = new BusyElsewhere<string>(clock);
  elsewhere.withOthers('a', [lineOf('acme/x', 2), lineOf('acme/y', 1)]);
  const [told] = elsewhere.withOthers('b', [lineOf('acme/x', 1, 3)]);
  expect(told).toMatchObject({ busyInstances: 3, requests: 1, bytesIn: 1, calls: { most: 5 } });
});

test('one gateway alone is passed on as it is, and one that is gone or says nothing any more counts for nothing', () => {
  const elsewhere = new BusyElsewhere<string>(clock);
  const report = [lineOf('acme/x', 2)];
  expect(elsewhere.withOthers('a', report)).toBe(report);
  elsewhere.withOthers('b', [lineOf('acme/x', 4)]);
  elsewhere.gone('b');
  expect(elsewhere.withOthers('a', report)).toBe(report);
  elsewhere.withOthers('b', [lineOf('acme/x', 4)]);
  nowMs += 2_001;
  expect(elsewhere.withOthers('a', report)).toBe(report);
});
