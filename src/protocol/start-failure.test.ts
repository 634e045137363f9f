// What people read when code could not be started.
import { expect, test } from 'vitest';
import { BellowsError } from '../base/errors.ts';
import { wordedStartFailure } from './start-failure.ts';

const failed = (errorMessage: string, trace: readonly string[]): BellowsError =>
  new BellowsError('StartFailed', JSON.stringify({ errorType: 'Error', errorMessage, trace }));

test('a start that failed says why, and then where, not in JSON', () => {
  const trace = ["Error: Cannot find module 'x'", 'Require stack:', '    at y'];
  const worded = wordedStartFailure(failed("Cannot find module 'x'\nRequire stack:", trace));
  expect(worded.message).toBe("It could not be started: Cannot find module 'x'\nRequire stack:\n    at y");
  expect(worded).toMatchObject({ code: 'StartFailed', hint: expect.stringContaining('deploy it again') });
});

test("a stack tells of the user's code alone, and not more than five places", () => {
  const own = Array.from({ length: 8 }, (_, index) => `    at load (/var/task/index.mjs:${index}:1)`);
  const trace = [
    'Error: no',
    '    at Module._resolve (node:internal/modules/cjs/loader:1421:15)',
    ...own,
    '    at node:internal/main/run_main_module:36:49',
  ];
  expect(wordedStartFailure(failed('no', trace)).message).toBe(
    ['It could not be started: no', ...own.slice(0, 5)].join('\n'),
  );
});

test('what a process wrote before it ended is kept whole', () => {
  const worded = wordedStartFailure(
    failed('Error: Runtime exited with error: exit status 127', ['sh: nope: not found']),
  );
  expect(worded.message).toBe(
    'It could not be started: Runtime exited with error: exit status 127\n    sh: nope: not found',
  );
});

test.each([
  new BellowsError('StartFailed', 'The sandbox could not be made.', 'Run doctor.'),
  new BellowsError('StartFailed', '{"errorType":1}'),
  new BellowsError('NotFound', '{"errorType":"a","errorMessage":"b","trace":[]}'),
])('other errors stay as they are: $code $message', (error) => {
  expect(wordedStartFailure(error)).toBe(error);
});
