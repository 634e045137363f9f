import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { BellowsError, errorKinds, toErrorRecord } from './errors.ts';

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

test('a defect’s details do not reach a caller', () => {
  const record = toErrorRecord(new TypeError('secret path /x/y'));
  expect(record.code).toBe('Internal');
  expect(JSON.stringify(record)).not.toContain('secret');
});

test('an error survives its way between processes', () => {
  const error = new BellowsError('NoRoom', 'The machine is full.', 'Stop something.');
  const arrived = BellowsError.fromRecord(
    JSON.parse(JSON.stringify(error.toRecord())) as ReturnType<typeof error.toRecord>,
  );
  expect(arrived).toMatchObject({
    code: 'NoRoom',
    message: 'The machine is full.',
    hint: 'Stop something.',
    status: 503,
  });
});
