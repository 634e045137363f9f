import { expect, test } from 'vitest';
import type { InstanceId } from '../../base/ids.ts';
import { CurrentLinesOfInstances, logTailBytes, tailOf } from './current-lines.ts';

const id = 'i-1' as InstanceId;
const start = 'START RequestId: r-1 Version: $LATEST';

test('keeps what each instance printed since its last START', () => {
  const current = new CurrentLinesOfInstances();
  current.note(id, 'before any');
  current.note(id, 'START RequestId: r-0 Version: $LATEST');
  current.note(id, 'earlier');
  current.note(id, start);
  current.note(id, 'mine');
  current.note('i-2' as InstanceId, "another's");
  expect(current.take(id)).toMatchObject({ start, printed: ['mine'] });
  expect(current.take(id)).toBeUndefined();
});

test('keeps the last 4 KiB however much is printed, and no more than some times that', () => {
  const current = new CurrentLinesOfInstances();
  current.note(id, start);
  const lines = Array.from({ length: 100_000 }, (_, index) => `line ${index}`);
  for (const line of lines) current.note(id, line);
  const printed = current.take(id)?.printed ?? [];
  expect(tailOf(printed)).toBe(tailOf(lines));
  expect(printed.join('\n').length).toBeLessThan(5 * logTailBytes);
});

test('one line that is longer than a tail is cut at its front', () => {
  const current = new CurrentLinesOfInstances();
  current.note(id, start);
  current.note(id, `${'x'.repeat(300_000)}end`);
  const tail = tailOf(current.take(id)?.printed ?? []);
  expect(tail.length).toBe(logTailBytes);
  expect(tail).toMatch(/^x+end\n$/);
});
