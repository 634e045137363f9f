import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';

const runner = fileURLToPath(new URL('../../node_modules/vitest/vitest.mjs', import.meta.url));
const reporter = fileURLToPath(new URL('reporter.ts', import.meta.url));
const here = fileURLToPath(new URL('.', import.meta.url));

/** What our reporter prints of a run of these tests. Beside this file, so that `vitest` is found. */
function closingLinesOf(tests: string): string[] {
  const root = mkdtempSync(join(here, '.reporter-'));
  onTestFinished(() => rmSync(root, { recursive: true }));
  writeFileSync(
    join(root, 'a.test.ts'),
    `import { afterAll, beforeAll, describe, expect, test } from 'vitest';\n${tests}`,
  );
  // Not the project's own: it has none of these tests.
  writeFileSync(join(root, 'vitest.config.mjs'), 'export default {};\n');
  const { CI: _, ...env } = process.env;
  const { stdout } = spawnSync(process.execPath, [runner, 'run', '--root', root, '--reporter', reporter], {
    encoding: 'utf8',
    env,
    cwd: root,
  });
  return stdout.trim().split('\n');
}

test.each([
  [
    'a failed test whose suite failed too, once',
    `describe('a', () => { afterAll(() => { throw new Error('hook'); }); test('x', () => expect(1).toBe(2)); });`,
    '0 passed, 1 failed',
  ],
  [
    'a suite whose hook failed and whose tests did not, once',
    `describe('a', () => { afterAll(() => { throw new Error('hook'); }); test('x', () => {}); });`,
    '1 passed, 1 failed',
  ],
  [
    'a suite in a file that both failed, once',
    `afterAll(() => { throw new Error('hook'); });
     describe('a', () => { afterAll(() => { throw new Error('hook'); }); test('x', () => {}); });`,
    '1 passed, 1 failed',
  ],
  [
    'suites that failed for themselves, each',
    `describe('a', () => { beforeAll(() => { throw new Error('hook'); }); test('x', () => {}); });
     describe('b', () => { test('y', () => expect(1).toBe(2)); test('z', () => {}); });`,
    '1 passed, 2 failed, 1 skipped',
  ],
  ['a file that did not load, once', `throw new Error('no');`, '0 passed, 1 failed'],
])('counts %s', (_, tests, line) => {
  expect(closingLinesOf(tests).at(-1)).toBe(line);
});

test('names all that failed at the end, with the reason', () => {
  const lines = closingLinesOf(`
    describe('a', () => { beforeAll(() => { throw new Error('hook\\nmore'); }); test('x', () => {}); });
    describe('b', () => { test('y', () => expect(1).toBe(2)); test('z', () => {}); });
    test('late', () => { Promise.reject(new Error('stray')); });`);
  expect(lines.slice(lines.indexOf('Failed:') + 1, -2)).toEqual([
    expect.stringMatching(/a\.test\.ts > a: hook$/),
    expect.stringMatching(/a\.test\.ts > b > y: expected 1 to be 2/),
    '  outside of tests: stray',
  ]);
});
