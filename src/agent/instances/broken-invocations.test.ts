import { expect, test } from 'vitest';
import type { InstanceId, WorkloadKey } from '../../base/ids.ts';
import type { InstanceSpec } from '../../protocol/agent.ts';
import type { CurrentLines } from '../logs/current-lines.ts';
import { BrokenInvocations } from './broken-invocations.ts';

const id = 'i-1' as InstanceId;
const workload = 'acme/fn' as WorkloadKey;
const spec = { id, workload, function: { version: '$LATEST' } } as InstanceSpec;
const invocation = {
  requestId: 'r-1',
  durationMs: 5,
  cause: { kind: 'timedOut', timeoutMs: 5 },
} as const;

function bench(current?: CurrentLines): { broken: BrokenInvocations; lines: string[] } {
  const lines: string[] = [];
  const logs = {
    sinkOf: () => (more: readonly string[]) => void lines.push(...more.map((line) => line.split(' ')[0]!)),
    takeCurrent: () => current,
  };
  const clock = { nowMs: () => 0, monotonicMs: () => 0 };
  return { broken: new BrokenInvocations(logs, clock), lines };
}
const all = ['START', '1970-01-01T00:00:00.000Z', 'END', 'REPORT'];

test('what is told of a running instance is logged after it has ended, once', () => {
  const { broken, lines } = bench();
  void broken.tell(id, invocation, true);
  expect(lines).toEqual([]);
  broken.ended(spec, 1, 1);
  expect(lines).toEqual(all);
});

test('what is told of an instance that has ended is logged at once', () => {
  const { broken, lines } = bench();
  broken.ended(spec, 1, 1);
  void broken.tell(id, invocation, false);
  expect(lines).toEqual(all);
});

test('a log that was removed does not come back, nor does a stranger get one', () => {
  const { broken, lines } = bench();
  broken.ended(spec, 1, 1);
  broken.forget(workload);
  void broken.tell(id, invocation, false);
  void broken.tell('i-other' as InstanceId, invocation, false);
  expect(lines).toEqual([]);
});

test('the tail is all the lines of the invocation: what it printed, and how it ended', async () => {
  const { broken } = bench({ start: 'START RequestId: r-1 Version: $LATEST', printed: ['one', 'two'] });
  const tail = broken.tell(id, invocation, true);
  broken.ended(spec, 1, 1);
  expect((await tail).split('\n').map((line) => line.split(' ')[0])).toEqual([
    'START',
    'one',
    'two',
    ...all.slice(1),
    '',
  ]);
});

test('the tail has nothing of the invocation before, when this one wrote nothing', async () => {
  const { broken } = bench({ start: 'START RequestId: r-0 Version: $LATEST', printed: ['one'] });
  broken.ended(spec, 1, 1);
  expect(await broken.tell(id, invocation, false)).not.toMatch(/r-0|one/);
});

test('the tail of a stranger is empty', async () => {
  expect(await bench().broken.tell(id, invocation, false)).toBe('');
});
