import { describe, expect, test } from 'vitest';
import { newInstanceId, newTransactionId, parseTenantId, parseWorkloadName, workloadKey } from './ids.ts';

const refused = expect.objectContaining({ code: 'InvalidName', hint: expect.stringMatching(/^Use /) });

/** One argument each, also where the input is a list. */
const each = (inputs: readonly unknown[]): [unknown][] => inputs.map((input) => [input]);

describe('a tenant’s name', () => {
  test.each(['a', '0', 'default', 'acme-2', 'a'.repeat(40), 'a--b'])('%j is allowed', (name) => {
    expect(parseTenantId(name)).toBe(name);
  });
  test.each(
    each([
      '',
      '-a',
      'a-',
      'Acme',
      'a.b',
      'a/b',
      'a b',
      'a\n',
      '..',
      'ü',
      'a'.repeat(41),
      'a_b',
      1,
      { toString: false },
      null,
      undefined,
      {},
      ['a'],
    ]),
  )('%j is refused', (name) => {
    expect(() => parseTenantId(name)).toThrow(refused);
  });
});

describe('a workload’s name', () => {
  test.each(['a', 'Chat_App-2', '-', '_', 'x'.repeat(64)])('%j is allowed', (name) => {
    expect(parseWorkloadName(name)).toBe(name);
  });
  test.each(
    each(['', 'a.b', 'a/b', '../a', 'a b', 'a\n', 'a\0', 'ü', 'x'.repeat(65), 7, null, undefined, ['a']]),
  )('%j is refused', (name) => {
    expect(() => parseWorkloadName(name)).toThrow(refused);
  });
});

test('a refusal does not repeat a long name in full', () => {
  expect(() => parseTenantId('x'.repeat(1e6))).toThrow(
    expect.objectContaining({ message: expect.stringMatching(/^.{1,150}$/) }),
  );
});

test('a key names a workload among all tenants', () => {
  expect(workloadKey(parseTenantId('acme'), parseWorkloadName('chat'))).toBe('acme/chat');
});

test('new ids are short file names, tell what they are of, and do not repeat', () => {
  const ids = new Set(Array.from({ length: 10_000 }, newInstanceId));
  expect(ids.size).toBe(10_000);
  for (const id of ids) expect(id).toMatch(/^i-[0-9a-hjkmnp-tv-z]{12}$/);
  expect(newTransactionId()).toMatch(/^t-/);
});
