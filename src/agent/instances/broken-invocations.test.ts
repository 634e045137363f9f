import { expect, test } from 'vitest';
import type { InstanceId, WorkloadKey } from '../../base/ids.ts';
import type { InstanceSpec } from '../../protocol/agent.ts';
import { BrokenInvocations } from './broken-invocations.ts';

const id = 'i-1' as InstanceId;
const workload = 'acme/fn' as WorkloadKey;
const spec = { id, workload, function: { version: '$LATEST' } } as InstanceSpec;
const invocation = {
  requestId: 'r-1',
  durationMs: 5,
  cause: { kind: 'timedOut', timeoutMs: 5 },
} as const;

function bench(): { broken: BrokenInvocations; lines: string[] } {
  const lines: string[] = [];
  const logs = {
    sinkOf: () => (line: string) => void lines.push(line.split(' ')[0]!),
    takeLastStart: () => undefined,
  };
  const clock = { nowMs: () => 0, monotonicMs: () => 0 };
  return { broken: new BrokenInvocations(logs, clock), lines };
}
const all = ['START', '1970-01-01T00:00:00.000Z', 'END', 'REPORT'];

test('what is told of a running instance is logged after it has ended, once', () => {
  const { broken, lines } = bench();
  broken.tell(id, invocation, true);
  expect(lines).toEqual([]);
  broken.ended(spec, 1, 1);
  expect(lines).toEqual(all);
});

test('what is told of an instance that has ended is logged at once', () => {
  const { broken, lines } = bench();
  broken.ended(spec, 1, 1);
  broken.tell(id, invocation, false);
  expect(lines).toEqual(all);
});

test('a log that was removed does not come back, nor does a stranger get one', () => {
  const { broken, lines } = bench();
  broken.ended(spec, 1, 1);
  broken.forget(workload);
  broken.tell(id, invocation, false);
  broken.tell('i-other' as InstanceId, invocation, false);
  expect(lines).toEqual([]);
});
