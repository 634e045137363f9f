import { expect, test } from 'vitest';
import { brokenLines } from './broken-lines.ts';

const mib = 1024 * 1024;
const facts = {
  version: '$LATEST',
  memoryBytes: 192 * mib,
  memoryPeakBytes: 59.5 * mib,
  lastStart: 'START RequestId: r-1 Version: $LATEST',
};
const timedOut = {
  requestId: 'r-1',
  durationMs: 2000,
  cause: { kind: 'timedOut', timeoutMs: 2000 },
} as const;
const atMs = Date.UTC(2026, 0, 2, 3, 4, 5, 6);

test('a time-out reads as on Lambda', () => {
  expect(brokenLines(timedOut, facts, atMs)).toEqual([
    '2026-01-02T03:04:05.006Z r-1 Task timed out after 2.00 seconds',
    'END RequestId: r-1',
    'REPORT RequestId: r-1\tDuration: 2000.00 ms\tBilled Duration: 2000 ms\tMemory Size: 192 MB\tMax Memory Used: 60 MB\tStatus: timeout',
  ]);
});

test('an exit tells its status and its type', () => {
  const cause = {
    kind: 'exited',
    errorType: 'Runtime.ExitError',
    message: 'Runtime exited with error: exit status 7',
  } as const;
  expect(brokenLines({ requestId: 'r-1', durationMs: 12.341, cause }, facts, atMs)).toEqual([
    'RequestId: r-1 Error: Runtime exited with error: exit status 7',
    'Runtime.ExitError',
    'END RequestId: r-1',
    'REPORT RequestId: r-1\tDuration: 12.34 ms\tBilled Duration: 13 ms\tMemory Size: 192 MB\tMax Memory Used: 60 MB\tStatus: error\tError Type: Runtime.ExitError',
  ]);
});

test.each([[undefined], ['START RequestId: r-0 Version: $LATEST']])(
  'an invocation that could not write its START line has one all the same (last one: %s)',
  (lastStart) => {
    expect(brokenLines(timedOut, { ...facts, lastStart }, atMs)[0]).toBe(
      'START RequestId: r-1 Version: $LATEST',
    );
  },
);

test('memory that nobody measured is not told as none', () => {
  expect(brokenLines(timedOut, { ...facts, memoryPeakBytes: 0 }, atMs).join('\n')).not.toContain(
    'Max Memory',
  );
});
