import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { BellowsError, errorKinds, messageOf, toErrorRecord } from './errors.ts';

test('docs/ERRORS.md lists every code with its status and fault, and no other', () => {
  const documented = [
    ...readFileSync(new URL('../../docs/ERRORS.md', import.meta.url), 'utf8').matchAll(
      /^\| `(\w+)` \| (\d+) \| (\w+) \|/gm,
    ),
  ];
  const listed = Object.fromEntries(
    documented.map(([, code, status, fault]) => [code, { status: Number(status), fault }]),
  );
  expect(listed).toEqual(errorKinds);
});

test('an error keeps code, message, hint and cause on its way through a record', () => {
  const cause = new Error('ENOSPC');
  const error = new BellowsError('NoRoom', 'No memory is left.', 'Stop something.', { cause });
  expect(error).toMatchObject({ code: 'NoRoom', status: 503, cause, name: 'BellowsError' });
  const record = error.toRecord();
  expect(record).toEqual({ code: 'NoRoom', message: 'No memory is left.', hint: 'Stop something.' });
  expect(BellowsError.fromRecord(record)).toMatchObject({ ...record, status: 503 });
});

test('without a hint there is none in the record, not even an empty one', () => {
  const record = new BellowsError('NotFound', 'It is not here.').toRecord();
  expect(Object.keys(record)).toEqual(['code', 'message']);
});

test.each([
  new Error('secret path /root/x'),
  new TypeError('x is undefined'),
  'text',
  null,
  undefined,
  { code: 'NotFound' },
])('a caller learns nothing of a defect: %s', (thrown) => {
  expect(toErrorRecord(thrown)).toEqual({
    code: 'Internal',
    message: expect.stringMatching(/^Bellows failed/),
  });
});

test.each([
  Object.assign(new Error('write'), { code: 'ENOSPC' }),
  Object.assign(new Error('write'), { code: 'EDQUOT' }),
  Object.assign(new Error('database or disk is full'), { code: 'ERR_SQLITE_ERROR', errcode: 13 }),
])('a full disk is told to callers: $message $code', (thrown) => {
  expect(toErrorRecord(thrown)).toMatchObject({ code: 'NoRoom', message: expect.stringContaining('full') });
});

test('the message of anything thrown', () => {
  expect([new Error('a'), 'b', 3, null, undefined].map(messageOf)).toEqual([
    'a',
    'b',
    '3',
    'null',
    'undefined',
  ]);
});

test.each(Object.entries(errorKinds))(
  '%s has a status that fits whose fault it is',
  (_, { status, fault }) => {
    const classOf = { caller: 4, workload: 5, host: 5 } as const;
    expect(Math.floor(status / 100)).toBe(classOf[fault]);
  },
);
